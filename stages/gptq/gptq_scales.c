/* Scales of one point's groups. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gptq_constrain.h"
#include "gptq_scales.h"
#include "mdq_linalg.h"

struct change {
    double at;   /* the scale below which the entry's code lies one further from the zero point */
    double w;    /* |w| */
    int code;    /* the further code's distance from the zero point */
};

/* Falling: the sweep goes from large scales to small ones. */
static int by_scale(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at ? -1 : 1) : x->code - y->code;
}

double gptq_best_scale(int64_t n, const float *w, int zero, int top, double *scale)
{
    /* Entry i has value s c sign(w), c the nearest of 0..m; it is c rather than c - 1 while s < |w| / (c - 1/2). Between changes the error
     * is sum w^2 - 2 s sum |w| c + s^2 sum c^2, least at s = sum |w| c / sum c^2. */
    const int below = zero, above = top - zero;
    const int most = below > above ? below : above;
    struct change *v = mdq_alloc((size_t)n * (size_t)(most > 0 ? most : 1), sizeof *v, "changes of codes");
    if (!v)
        return -1;
    int64_t count = 0;
    double squares = 0, wc = 0, cc = 0;
    for (int64_t i = 0; i < n; i++) {
        double a = fabs((double)w[i]);
        squares += a * a;
        for (int c = 1; c <= (w[i] < 0 ? below : above) && a > 0; c++)
            v[count++] = (struct change){a / (c - 0.5), a, c};
    }
    qsort(v, (size_t)count, sizeof *v, by_scale);
    double best = squares, upper = INFINITY;
    *scale = count > 0 ? v[0].at : 1; /* everything rounds to zero */
    for (int64_t k = 0; k < count; k++) {
        upper = v[k].at;
        wc += v[k].w;
        cc += (double)v[k].code * v[k].code - (double)(v[k].code - 1) * (v[k].code - 1);
        double lower = k + 1 < count ? v[k + 1].at : 0, s = fmin(fmax(wc / cc, lower), upper);
        double error = squares - 2 * s * wc + s * s * cc;
        if (error < best && s > 0) {
            best = error;
            *scale = s;
        }
    }
    free(v);
    return fmax(best, 0);
}

bool gptq_scales_refit(struct gptq_row *r, const struct gptq_segment *s, const double *start, enum mdq_dtype type)
{
    enum { MOST = 80 };
    const int64_t g0 = s->first / r->group, g1 = (s->first + s->D - 1) / r->group + 1, G = g1 - g0;
    if (G > MOST)
        return false;
    double a[MOST * MOST], b[MOST], *uv = mdq_calloc((size_t)((G + 1) * (s->rank > 0 ? s->rank : 1)), sizeof *uv, "groups");
    if (!uv)
        return false;
    double *uw = uv + G * s->rank;
    memset(a, 0, sizeof *a * (size_t)(G * G));
    memset(b, 0, sizeof *b * (size_t)G);
    for (int64_t g = 0; g < G; g++)
        for (int64_t i = (g0 + g) * r->group; i < (g0 + g + 1) * r->group; i++) {
            double v = (double)r->codes[i] - r->zeros[g0 + g];
            /* columns of the group outside of the point count as they are */
            a[g * G + g] += v * v;
            b[g] += v * r->target[i];
            if (i < s->first || i >= s->first + s->D)
                continue;
            for (int64_t k = 0; k < s->rank; k++) {
                uv[g * s->rank + k] += v * s->u[(i - s->first) * s->rank + k];
                uw[k] += r->target[i] * s->u[(i - s->first) * s->rank + k];
            }
        }
    double trace = 0;
    for (int64_t g = 0; g < G; g++)
        trace += a[g * G + g];
    for (int64_t g = 0; g < G; g++) {
        for (int64_t k = 0; k < s->rank; k++)
            b[g] -= uv[g * s->rank + k] * uw[k];
        for (int64_t h = 0; h <= g; h++)
            for (int64_t k = 0; k < s->rank; k++)
                a[g * G + h] -= uv[g * s->rank + k] * uv[h * s->rank + k];
        a[g * G + g] += 1e-9 * trace + 1e-300;
    }
    free(uv);
    int64_t bad;
    if (mdq_cholesky_f64(G, a, G, &bad) != MDQ_OK || bad >= 0)
        return false;
    for (int64_t g = 0; g < G; g++) {
        for (int64_t h = 0; h < g; h++)
            b[g] -= a[g * G + h] * b[h];
        b[g] /= a[g * G + g];
    }
    for (int64_t g = G - 1; g >= 0; g--) {
        for (int64_t h = g + 1; h < G; h++)
            b[g] -= a[h * G + g] * b[h];
        b[g] /= a[g * G + g];
    }
    bool changed = false;
    for (int64_t g = 0; g < G; g++) {
        double t = quant_round_to(type, b[g]);
        if (!(t > 0.1 * start[g0 + g]) || !(t < 4 * start[g0 + g]) || !isfinite(t))
            continue;
        changed |= t != r->scales[g0 + g];
        r->scales[g0 + g] = t;
    }
    return changed;
}
