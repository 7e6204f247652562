#include "lle_tile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lle_embedding.h"
#include "lle_neighbours.h"
#include "lle_weights.h"

struct scratch {
    double *centred, *g, *dist2, *squared;
    uint16_t *neighbours;
    float *copy;
};

void lle_permute(int64_t n, int64_t D, const float *x, struct mdq_random *random, float *out)
{
    memcpy(out, x, (size_t)(n * D) * sizeof *out);
    for (int64_t p = 0; p < D; p++)
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = mdq_random_below(random, i + 1);
            float v = out[i * D + p];
            out[i * D + p] = out[j * D + p];
            out[j * D + p] = v;
        }
}

static double sum(const double *v, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

/* A permuted copy: its relative residual (the sum of squares is the tile's) and the largest eigenvalue of its covariance. */
static enum mdq_err copy_once(int64_t n, int64_t D, const float *x, const struct lle_options *o, int64_t k, double squares,
                              struct mdq_random *random, bool residual, bool eigen, struct scratch *s, double *ratio,
                              double *top)
{
    lle_permute(n, D, x, random, s->copy);
    lle_gram(n, D, s->copy, D, s->centred, s->g);
    if (residual) {
        struct lle_local l = {.residual = s->squared};
        MDQ_TRY(lle_neighbours(n, D, s->copy, D, s->g, k, s->neighbours, s->dist2));
        MDQ_TRY(lle_local(n, D, s->copy, D, s->g, k, s->neighbours, s->dist2, o->reg, o->variance, &l));
        *ratio = squares > 0 ? sum(s->squared, n) / squares : 0;
    }
    return eigen ? lle_largest(n, s->g, top) : MDQ_OK;
}

static enum mdq_err nulls(int64_t n, int64_t D, const float *x, const struct lle_options *o, double squares,
                          struct mdq_random *random, struct scratch *s, struct lle_tile *out, double *largest)
{
    int64_t copies = o->permutations > o->parallel ? o->permutations : o->parallel;
    out->null_least = INFINITY;
    for (int64_t c = 0; c < copies; c++) {
        double ratio = 0, top = 0;
        bool residual = c < o->permutations, eigen = c < o->parallel;
        MDQ_TRY(copy_once(n, D, x, o, out->k, squares, random, residual, eigen, s, &ratio, &top));
        *largest = eigen ? fmax(*largest, top) : *largest;
        if (residual) {
            out->null_residual += ratio / (double)o->permutations;
            out->null_least = fmin(out->null_least, ratio);
        }
    }
    if (o->permutations == 0)
        out->null_least = 0;
    return MDQ_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median over rows that are not 0; v: n doubles of scratch. */
static double normal_ratio(int64_t n, int64_t D, const float *x, const double *normal, double *v)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        for (int64_t p = 0; p < D; p++)
            s += (double)x[i * D + p] * (double)x[i * D + p];
        if (s > 0)
            v[m++] = normal[i] / sqrt(s);
    }
    qsort(v, (size_t)m, sizeof *v, ascending);
    return m == 0 ? 0 : m % 2 ? v[m / 2] : (v[m / 2 - 1] + v[m / 2]) / 2;
}

static enum mdq_err run(int64_t n, int64_t D, const float *x, const struct lle_options *o, struct mdq_random *random,
                        struct scratch *s, struct lle_tile *out)
{
    double squares = 0, largest = 0;
    struct lle_local l = {.weights = out->weights, .residual = out->squared, .dim = out->dim, .normal = out->normal};
    lle_gram(n, D, x, D, s->centred, s->g);
    for (int64_t i = 0; i < n; i++)
        squares += s->g[i * n + i];
    MDQ_TRY(lle_neighbours(n, D, x, D, s->g, out->k, out->neighbours, s->dist2));
    MDQ_TRY(lle_local(n, D, x, D, s->g, out->k, out->neighbours, s->dist2, o->reg, o->variance, &l));
    out->residual = squares > 0 ? sum(out->squared, n) / squares : 0;
    for (int64_t i = 0; i < n; i++)
        out->dim95 += (double)out->dim[i] / (double)n;
    out->duplicates = lle_duplicates(n, out->k, out->neighbours, s->dist2);
    out->normal_ratio = normal_ratio(n, D, x, out->normal, s->squared);
    if ((out->components = lle_components(n, out->k, out->neighbours)) == 0)
        return MDQ_E_INTERNAL;
    MDQ_TRY(lle_embedding(n, out->k, out->neighbours, out->weights, out->m, out->embedding));
    MDQ_TRY(nulls(n, D, x, o, squares, random, s, out, &largest));
    if (o->parallel > 0) {
        lle_gram(n, D, x, D, s->centred, s->g);
        MDQ_TRY(lle_count_above(n, s->g, largest, &out->dim_parallel));
    }
    out->manifold = o->permutations > 0 && out->residual < LLE_EVIDENCE * out->null_least;
    return MDQ_OK;
}

enum mdq_err lle_tile_run(int64_t n, int64_t D, const float *x, const struct lle_options *o, struct mdq_random *random,
                          struct lle_tile *out)
{
    int64_t k = o->k < n - 1 ? o->k : n - 1, m = o->embedding < n - 1 ? o->embedding : n - 1;
    size_t rows = (size_t)n, pairs = rows * (size_t)k;
    *out = (struct lle_tile){.n = n, .k = k, .m = m};
    out->neighbours = mdq_calloc(pairs, sizeof *out->neighbours, "neighbours");
    out->weights = mdq_calloc(pairs, sizeof *out->weights, "weights");
    out->squared = mdq_calloc(rows, sizeof *out->squared, "residuals");
    out->embedding = mdq_calloc(rows * (size_t)m, sizeof *out->embedding, "embedding");
    out->dim = mdq_calloc(rows, sizeof *out->dim, "dimensions");
    out->normal = mdq_calloc(rows, sizeof *out->normal, "normals");
    if (!out->neighbours || !out->weights || !out->squared || !out->embedding || !out->dim || !out->normal)
        return MDQ_E_INTERNAL;
    if (k == 0) { /* a single row */
        out->components = 1;
        return MDQ_OK;
    }
    struct scratch s = {.centred = mdq_alloc_aligned(rows * (size_t)D, sizeof(double), "tile"),
                        .g = mdq_alloc_aligned(rows * rows, sizeof(double), "Gram matrix"),
                        .dist2 = mdq_alloc(pairs, sizeof(double), "distances"),
                        .squared = mdq_alloc(rows, sizeof(double), "residuals"),
                        .neighbours = mdq_alloc(pairs, sizeof(uint16_t), "neighbours"),
                        .copy = mdq_alloc_aligned(rows * (size_t)D, sizeof(float), "permuted tile")};
    enum mdq_err err = s.centred && s.g && s.dist2 && s.squared && s.neighbours && s.copy ? MDQ_OK : MDQ_E_INTERNAL;
    if (err == MDQ_OK)
        err = run(n, D, x, o, random, &s, out);
    free(s.centred);
    free(s.g);
    free(s.dist2);
    free(s.squared);
    free(s.neighbours);
    free(s.copy);
    return err;
}

void lle_tile_free(struct lle_tile *t)
{
    free(t->neighbours);
    free(t->weights);
    free(t->squared);
    free(t->embedding);
    free(t->dim);
    free(t->normal);
    *t = (struct lle_tile){0};
}
