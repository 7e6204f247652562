#include "train_optim.h"

#include <math.h>

enum { CHUNK = 1 << 14 }; /* unit of parallel work and of summation: fixed, so that results are */

double train_rate(int64_t step, int64_t steps, int64_t warmup, double lr, double least)
{
    if (step < warmup)
        return lr * (double)(step + 1) / (double)warmup;
    int64_t span = steps - 1 - warmup;
    double x = span > 0 ? (double)(step - warmup) / (double)span : 1;
    return least + (lr - least) * 0.5 * (1 + cos(3.14159265358979323846 * (x < 1 ? x : 1)));
}

double train_clip_scale(double norm, double clip)
{
    return clip > 0 && norm > clip ? clip / norm : 1;
}

double train_square_sum(const float *g, int64_t n)
{
    double total = 0;
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t to = from + CHUNK < n ? from + CHUNK : n;
        double sum[8] = {0}; /* eight chains, or the additions wait for each other */
        int64_t i = from;
        for (; i + 8 <= to; i += 8)
            for (int k = 0; k < 8; k++)
                sum[k] += (double)g[i + k] * g[i + k];
        for (; i < to; i++)
            sum[0] += (double)g[i] * g[i];
        total += ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    }
    return total;
}

void train_adamw_step(const struct train_adamw *a, int64_t t, double lr, double decay, double scale, int64_t n,
                      const float *g, float *w, float *m, float *v)
{
    const float b1 = (float)a->beta1, b2 = (float)a->beta2, c1 = (float)(1 - a->beta1), c2 = (float)(1 - a->beta2);
    const float keep = (float)(1 - lr * decay), by = (float)scale, eps = (float)a->eps;
    /* the bias corrections go into two factors, so that the loop has one square root and one division */
    const float rate = (float)(lr / (1 - pow(a->beta1, (double)t))), root = (float)(1 / (1 - pow(a->beta2, (double)t)));
#pragma omp parallel for schedule(static)
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t to = from + CHUNK < n ? from + CHUNK : n;
#pragma omp simd
        for (int64_t i = from; i < to; i++) {
            float gi = g[i] * by;
            m[i] = b1 * m[i] + c1 * gi;
            v[i] = b2 * v[i] + c2 * gi * gi;
            w[i] = w[i] * keep - rate * m[i] / (sqrtf(v[i] * root) + eps);
        }
    }
}

void train_adamw_step_ref(const struct train_adamw *a, int64_t t, double lr, double decay, double scale, int64_t n,
                          const double *g, double *w, double *m, double *v)
{
    for (int64_t i = 0; i < n; i++) {
        double gi = g[i] * scale;
        m[i] = a->beta1 * m[i] + (1 - a->beta1) * gi;
        v[i] = a->beta2 * v[i] + (1 - a->beta2) * gi * gi;
        double mean = m[i] / (1 - pow(a->beta1, (double)t)), square = v[i] / (1 - pow(a->beta2, (double)t));
        w[i] = w[i] * (1 - lr * decay) - lr * mean / (sqrt(square) + a->eps);
    }
}
