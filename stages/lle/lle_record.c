#include "lle_record.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_ROWS = 16384 };

static enum mdq_err weights_of(struct mdq_record *rec, float **w, int64_t *rows, int64_t *cols)
{
    struct mdq_array a;
    if (mdq_record_has(rec, "lle") || mdq_record_has(rec, "lle_neighbours"))
        return mdq_fail(MDQ_E_DATA, "has neighbours already (key lle)");
    MDQ_TRY(mdq_record_get_array(rec, "w", &a));
    if (a.ndim != 2 || a.shape[0] < 1 || a.shape[1] < 1)
        return mdq_fail(MDQ_E_DATA, "w is no matrix with entries");
    if (a.shape[0] > MOST_ROWS)
        return mdq_fail(MDQ_E_DATA, "%lld rows: a tile can have %d here", (long long)a.shape[0], MOST_ROWS);
    int64_t count = a.shape[0] * a.shape[1];
    if (!(*w = mdq_alloc_aligned((size_t)count, sizeof **w, "tile")))
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_record_copy_f32(rec, "w", count, *w));
    for (int64_t i = 0; i < count; i++)
        if (!isfinite((*w)[i]))
            return mdq_fail(MDQ_E_DATA, "row %lld, column %lld: weight %g is not finite", (long long)(i / a.shape[1]),
                            (long long)(i % a.shape[1]), (double)(*w)[i]);
    *rows = a.shape[0];
    *cols = a.shape[1];
    return MDQ_OK;
}

enum mdq_err lle_record_weights(struct mdq_record *rec, float **w, int64_t *rows, int64_t *cols)
{
    struct mdq_id id = mdq_record_id(rec);
    *w = NULL;
    enum mdq_err err = weights_of(rec, w, rows, cols);
    if (err == MDQ_OK)
        return MDQ_OK;
    free(*w);
    *w = NULL;
    return mdq_fail_in(err, "%s: tile %lld, %lld", id.tensor, (long long)id.row, (long long)id.col);
}

/* [rows, cols] (cols < 0: [rows]) of doubles as float32. */
static enum mdq_err store_f32(struct mdq_record *rec, const char *key, const double *v, int64_t rows, int64_t cols)
{
    int64_t n = cols < 0 ? rows : rows * cols;
    float *single = mdq_alloc((size_t)n, sizeof *single, key);
    if (!single)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < n; i++)
        single[i] = (float)v[i];
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = cols < 0 ? 1 : 2, .shape = {rows, cols < 0 ? 0 : cols}, .data = single,
                          .bytes = (size_t)n * sizeof *single};
    enum mdq_err err = mdq_record_set_array(rec, key, &a);
    free(single);
    return err;
}

static char *report(const struct lle_tile *t, const struct lle_options *o)
{
    return mdq_asprintf("{\"k\":%lld,\"reg\":%.17g,\"variance\":%.17g,\"residual\":%.17g,\"null_residual\":%.17g,"
                        "\"dim95\":%.17g,\"dim_parallel\":%lld,\"components\":%lld,\"duplicates\":%lld,"
                        "\"normal_ratio\":%.17g,\"manifold\":%s}",
                        (long long)t->k, o->reg, o->variance, t->residual, t->null_residual, t->dim95,
                        (long long)t->dim_parallel, (long long)t->components, (long long)t->duplicates, t->normal_ratio,
                        t->manifold ? "true" : "false");
}

enum mdq_err lle_record_store(struct mdq_record *rec, const struct lle_tile *t, const struct lle_options *o)
{
    struct mdq_array neighbours = {.dtype = MDQ_U16, .ndim = 2, .shape = {t->n, t->k}, .data = t->neighbours,
                                   .bytes = (size_t)(t->n * t->k) * sizeof *t->neighbours};
    struct mdq_array dims = {.dtype = MDQ_U8, .ndim = 1, .shape = {t->n}, .data = t->dim, .bytes = (size_t)t->n};
    char *map = report(t, o);
    enum mdq_err err = map ? mdq_record_set_json(rec, "lle", map) : MDQ_E_INTERNAL;
    free(map);
    MDQ_TRY(err);
    MDQ_TRY(mdq_record_set_array(rec, "lle_neighbours", &neighbours));
    MDQ_TRY(store_f32(rec, "lle_weights", t->weights, t->n, t->k));
    MDQ_TRY(store_f32(rec, "lle_residual", t->squared, t->n, -1));
    if (o->embedding > 0)
        MDQ_TRY(store_f32(rec, "lle_embedding", t->embedding, t->n, t->m));
    MDQ_TRY(mdq_record_set_array(rec, "tangent_dim", &dims));
    return store_f32(rec, "tangent_normal", t->normal, t->n, -1);
}
