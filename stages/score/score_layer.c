#include "score_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_shift.h"

static int rising(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_of(float *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, rising);
    return n % 2 ? v[n / 2] : 0.5 * ((double)v[n / 2 - 1] + v[n / 2]);
}

void score_robust(const float *v, int64_t n, float *some, double *median, double *deviation)
{
    memcpy(some, v, sizeof *v * (size_t)n);
    *median = median_of(some, n);
    for (int64_t i = 0; i < n; i++)
        some[i] = (float)fabs(v[i] - *median);
    *deviation = 1.4826 * median_of(some, n);
}

/* w^T H w of columns [first, first + D). */
static double quadratic(const struct score_layer *l, const float *w, int64_t first, int64_t D)
{
    const int64_t n = l->points->cols;
    double sum = 0;
    for (int64_t i = 0; i < D; i++) {
        const float *h = l->h + (first + i) * n + first;
        double dot = 0;
        for (int64_t k = 0; k < D; k++)
            dot += (double)h[k] * w[k];
        sum += dot * w[i];
    }
    return sum;
}

/* Numbers near the largest that a float holds come in from a stream; what is made of them has to be ranked and written. */
static float narrow(double x)
{
    return (float)fmin(fmax(x, -1e30), 1e30); /* NaN: the lowest */
}

static enum mdq_err one_point(const struct score_layer *l, const struct score_options *o, int64_t row, int64_t block, const double *factor,
                              double *u, double *c, double *v, struct score_point *p, float *d)
{
    const struct mdq_points *g = l->points;
    const int64_t first = g->first[block], D = g->first[block + 1] - first, at = row * g->blocks + block;
    const float *w = l->w + row * g->cols + first, *contrast = l->contrast + row * g->cols + first,
                *fisher = l->fisher + row * g->cols + first;
    int64_t rank;
    double reach, size = 0, gain = 0, cost = 0, length = 0;
    for (int64_t i = 0; i < D; i++) {
        c[i] = contrast[i];
        size += c[i] * c[i];
        length += (double)w[i] * w[i];
        p->fisher = fmaxf(p->fisher, fisher[i]);
    }
    p->norm = narrow(g->norm[at]);
    p->length = narrow(sqrt(length));
    p->output = (float)sqrt(fmax(l->output[row], 0));
    p->functional = narrow(fabs(l->dot[at]) +
                           0.5 * l->output[row] * quadratic(l, w, first, D) / (double)(l->count > 0 ? l->count : 1));
    memset(d, 0, sizeof *d * (size_t)D);
    if (!(size > 0) || !(g->norm[at] > 0))
        return MDQ_OK;
    MDQ_TRY(mdq_point_tangent(g, l->w, row, block, u, &rank));
    MDQ_TRY(mdq_shift_direction(D, factor, rank, u, c, NULL, v, &reach));
    if (!(reach > 0))
        return MDQ_OK;
    for (int64_t i = 0; i < D; i++) {
        d[i] = narrow(o->md * g->norm[at] * v[i]);
        gain += c[i] * d[i];
        cost += 0.5 * (double)fisher[i] * d[i] * d[i];
    }
    p->reach = narrow(reach * (double)l->count / g->norm[at]);
    p->gain = narrow(gain);
    p->cost = narrow(cost);
    return MDQ_OK;
}

/* Entries beyond so many robust deviations of their output row. */
static void mark_outliers(const struct score_layer *l, const struct score_options *o, int64_t row, float *some, struct score_point *p)
{
    const struct mdq_points *g = l->points;
    const float *w = l->w + row * g->cols;
    double median, deviation;
    score_robust(w, g->cols, some, &median, &deviation);
    for (int64_t j = 0; j < g->blocks; j++)
        for (int64_t i = g->first[j]; i < g->first[j + 1]; i++)
            if (fabs(w[i] - median) > o->deviations * deviation && deviation > 0)
                p[j].reasons |= SCORE_MAGNITUDE;
}

enum mdq_err score_layer(const struct score_layer *l, const struct score_options *o, struct score_point *out, float *d)
{
    const struct mdq_points *g = l->points;
    const int64_t most = g->first_most;
    double *factor = mdq_alloc_aligned((size_t)(most * most), sizeof *factor, "block of H");
    bool starved = factor == NULL;
    memset(out, 0, sizeof *out * (size_t)g->points);
    for (int64_t j = 0; j < g->blocks && !starved; j++) {
        const int64_t first = g->first[j], D = g->first[j + 1] - first;
        if (mdq_shift_factor(g->cols, l->h, first, D, factor) != MDQ_OK) {
            starved = true;
            break;
        }
#pragma omp parallel reduction(|| : starved)
        {
            double *u = mdq_alloc_aligned((size_t)(D * MDQ_CHART_MAX_DIM), sizeof *u, "tangent");
            double *c = mdq_alloc_aligned((size_t)(2 * D), sizeof *c, "direction");
            const bool ready = u && c;
            starved = starved || !ready;
#pragma omp for schedule(dynamic, 8)
            for (int64_t r = 0; r < g->rows; r++)
                if (ready && one_point(l, o, r, j, factor, u, c, c + D, &out[r * g->blocks + j], d + r * g->cols + first) != MDQ_OK)
                    starved = true;
            free(u);
            free(c);
        }
    }
#pragma omp parallel reduction(|| : starved)
    {
        float *some = mdq_alloc((size_t)g->cols, sizeof *some, "a row");
        starved = starved || !some;
#pragma omp for schedule(static)
        for (int64_t r = 0; r < g->rows; r++)
            if (some)
                mark_outliers(l, o, r, some, out + r * g->blocks);
        free(some);
    }
    free(factor);
    return starved ? mdq_fail(MDQ_E_INTERNAL, "out of memory: scores of a layer") : MDQ_OK;
}
