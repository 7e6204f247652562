#include "hessian.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_linalg.h"

/* Tokens summed in float32 before they go into the double total: the total's traffic is then a few per cent of
 * syrk's time, and float32 sums stay short. */
enum { CHUNK = 8192 };

enum mdq_err hessian_init(struct hessian *h, int64_t dim)
{
    *h = (struct hessian){.dim = dim};
    h->part = mdq_alloc_aligned((size_t)dim * (size_t)dim, sizeof *h->part, "Hessian");
    h->total = mdq_alloc_aligned((size_t)dim * (size_t)(dim + 1) / 2, sizeof *h->total, "Hessian total");
    if (!h->part || !h->total) {
        hessian_free(h);
        return MDQ_E_INTERNAL;
    }
    hessian_reset(h);
    return MDQ_OK;
}

void hessian_free(struct hessian *h)
{
    free(h->part);
    free(h->total);
    *h = (struct hessian){0};
}

static void zero_part(struct hessian *h)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < h->dim; i++)
        memset(h->part + i * h->dim, 0, (size_t)(i + 1) * sizeof *h->part);
    h->pending = 0;
}

void hessian_reset(struct hessian *h)
{
    memset(h->total, 0, (size_t)h->dim * (size_t)(h->dim + 1) / 2 * sizeof *h->total);
    h->count = 0;
    zero_part(h);
}

static void add_pending(struct hessian *h)
{
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < h->dim; i++) {
        const float *from = h->part + i * h->dim;
        double *to = h->total + i * (i + 1) / 2;
        for (int64_t j = 0; j <= i; j++)
            to[j] += from[j];
    }
    zero_part(h);
}

void hessian_add(struct hessian *h, const float *x, int64_t tokens)
{
    while (tokens > 0) {
        int64_t n = CHUNK - h->pending < tokens ? CHUNK - h->pending : tokens;
        mdq_syrk_add(n, h->dim, x, h->dim, h->part, h->dim);
        h->pending += n;
        h->count += n;
        x += n * h->dim;
        tokens -= n;
        if (h->pending == CHUNK)
            add_pending(h);
    }
}

enum mdq_err hessian_flush(struct hessian *h)
{
    if (h->pending > 0)
        add_pending(h);
    for (int64_t i = 0; i < h->dim; i++)
        if (!isfinite(h->total[i * (i + 1) / 2 + i]))
            return mdq_fail(MDQ_E_DATA, "input column %" PRId64 " of %" PRId64 ": activations are not finite", i,
                            h->dim);
    return MDQ_OK;
}

int64_t hessian_panel_rows(int64_t dim)
{
    int64_t rows = (int64_t)(8 << 20) / (dim * (int64_t)sizeof(float)) / 64 * 64;
    if (rows < 64)
        rows = 64;
    return rows < dim ? rows : dim;
}

void hessian_panel(const struct hessian *h, int64_t first, int64_t rows, float *out)
{
    int64_t width = first + rows;
#pragma omp parallel for schedule(static)
    for (int64_t i = first; i < width; i++) {
        float *row = out + (i - first) * width;
        for (int64_t j = 0; j <= i; j++)
            row[j] = (float)h->total[i * (i + 1) / 2 + j];
        for (int64_t j = i + 1; j < width; j++)
            row[j] = (float)h->total[j * (j + 1) / 2 + i];
    }
}
