#include "eval_attacks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

const char *const eval_attack_names[EVAL_ATTACKS] = {"loss", "zlib", "min_k", "min_k_pp", "reference"};

int64_t eval_min_k_tokens(int64_t n, double share)
{
    int64_t k = (int64_t)((double)n * share);
    return k < 1 ? 1 : k > n ? n : k;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double eval_min_k(const double *v, int64_t n, double share, double *scratch)
{
    const int64_t k = eval_min_k_tokens(n, share);
    memcpy(scratch, v, (size_t)n * sizeof *v);
    qsort(scratch, (size_t)n, sizeof *scratch, by_value);
    double sum = 0;
    for (int64_t i = 0; i < k; i++)
        sum += scratch[i];
    return -sum / (double)k;
}

double eval_token_z(const float *logits, int64_t vocab, int64_t target)
{
    double top = logits[0], sum = 0, mu = 0, spread = 0;
    for (int64_t v = 1; v < vocab; v++)
        top = logits[v] > top ? logits[v] : top;
    for (int64_t v = 0; v < vocab; v++) {
        double l = logits[v] - top, e = exp(l);
        sum += e;
        mu += e * l;
    }
    mu /= sum; /* of ln p + ln sum, which shifts mu and ln p alike */
    /* about the mean: sum p l^2 - mu^2 would cancel where one token has nearly all probability */
    for (int64_t v = 0; v < vocab; v++) {
        double l = logits[v] - top;
        spread += exp(l) * (l - mu) * (l - mu);
    }
    double sigma = sqrt(spread / sum);
    return sigma > 0 ? (logits[target] - top - mu) / sigma : 0;
}

enum mdq_err eval_zlib_bytes(const char *text, size_t bytes, size_t *compressed)
{
    uLongf size = compressBound(bytes);
    Bytef *to = mdq_alloc(size, 1, "compressed text");
    if (!to)
        return MDQ_E_INTERNAL;
    int status = compress2(to, &size, (const Bytef *)text, bytes, Z_DEFAULT_COMPRESSION);
    free(to);
    *compressed = size;
    return status == Z_OK ? MDQ_OK : mdq_fail(MDQ_E_INTERNAL, "zlib: compressing %zu bytes failed with status %d", bytes, status);
}
