#include "gptq_md.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const bases[] = {"none", "lle", "chart"};
static const char *const classes[] = {"free", "functional", "sensitive", "overlap"};

enum mdq_err gptq_md_layer(struct gptq_md *m, struct gptq_layer *l, struct quant_grid *grid, const float *h,
                           const struct gptq_factor *f, const struct gptq_constraints *o, struct quant_outcome *outcome, double *ehe)
{
    const struct mdq_points *g = &m->geometry;
    *m = (struct gptq_md){0};
    MDQ_TRY(mdq_points_read(&m->geometry, &l->tiles));
    m->md = mdq_alloc((size_t)g->points, sizeof *m->md, "distortions");
    if (!m->md)
        return MDQ_E_INTERNAL;
    MDQ_TRY(gptq_distortion(g, l->tiles.w, grid, l->codes, m->md));
    if (o && g->labelled) {
        MDQ_TRY(gptq_constrain(g, l->tiles.w, l->target, grid, h, f, o, l->codes, m->md, &m->done));
        outcome->residual += m->done.residual;
        outcome->sq_error += m->done.sq_error;
        outcome->bound += m->done.bound;
        outcome->max_abs = fmax(outcome->max_abs, m->done.max_abs);
        *ehe += m->done.ehe;
    }
    for (int64_t i = 0; i < g->points; i++)
        if (g->label[i] != MDQ_FREE) {
            bool met = mdq_md_met(g->label[i], g->target[i], m->md[i]);
            m->met += met;
            m->missed += !met;
        }
    return MDQ_OK;
}

enum mdq_err gptq_md_store(const struct gptq_md *m, struct gptq_layer *l)
{
    const struct mdq_points *g = &m->geometry;
    for (int i = 0; i < l->tiles.n; i++) {
        struct mdq_record *rec = l->tiles.held[i];
        struct mdq_id id = mdq_record_id(rec);
        struct mdq_tile_place p;
        if (strcmp(id.kind, "tile") != 0 || !mdq_tile_place(&l->tiles.entry, id, &p))
            continue;
        float *md = mdq_alloc((size_t)p.rows, sizeof *md, "distortions of a tile");
        uint8_t *status = mdq_alloc((size_t)p.rows, 1, "constraints of a tile");
        enum mdq_err err = md && status ? MDQ_OK : MDQ_E_INTERNAL;
        for (int64_t r = 0; r < p.rows && err == MDQ_OK; r++) {
            int64_t at = (p.row + r) * g->blocks + id.col;
            md[r] = m->md[at];
            status[r] = g->label[at] == MDQ_FREE ? 0 : mdq_md_met(g->label[at], g->target[at], m->md[at]) ? 1 : 2;
        }
        struct mdq_array a = {.dtype = MDQ_F32, .ndim = 1, .shape = {p.rows}, .data = md, .bytes = sizeof *md * (size_t)p.rows};
        struct mdq_array b = {.dtype = MDQ_U8, .ndim = 1, .shape = {p.rows}, .data = status, .bytes = (size_t)p.rows};
        if (err == MDQ_OK)
            err = mdq_record_set_array(rec, "md", &a);
        if (err == MDQ_OK && g->labelled)
            err = mdq_record_set_array(rec, "md_status", &b);
        free(md);
        free(status);
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

static int rising(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* One class (-1: all): count, quantiles, constraints. NULL when it has no points. */
static json_t *class_json(const struct gptq_md *m, int label, float *some, int *bad)
{
    static const struct { const char *name; double at; } quantiles[] = {
        {"min", 0}, {"q05", 0.05}, {"q25", 0.25}, {"q50", 0.5}, {"q75", 0.75}, {"q95", 0.95}, {"max", 1},
    };
    const struct mdq_points *g = &m->geometry;
    int64_t n = 0, met = 0;
    for (int64_t i = 0; i < g->points; i++)
        if (label < 0 || g->label[i] == label) {
            some[n++] = m->md[i];
            met += mdq_md_met(g->label[i], g->target[i], m->md[i]);
        }
    if (n == 0)
        return NULL;
    qsort(some, (size_t)n, sizeof *some, rising);
    json_t *o = json_object();
    *bad |= json_object_set_new(o, "points", json_integer(n));
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        *bad |= json_object_set_new(o, quantiles[i].name, json_real(some[(int64_t)(quantiles[i].at * (double)(n - 1) + 0.5)]));
    if (label > 0) {
        *bad |= json_object_set_new(o, "met", json_integer(met));
        *bad |= json_object_set_new(o, "missed", json_integer(n - met));
    }
    return o;
}

static json_t *miss_json(const struct gptq_md *m, const struct gptq_miss *s, int *bad)
{
    const struct mdq_points *g = &m->geometry;
    json_t *o = json_object();
    int64_t tile = 0;
    while (g->tile_first[tile + 1] <= s->row)
        tile++;
    *bad |= json_object_set_new(o, "tile", json_pack("[I,I]", (json_int_t)tile, (json_int_t)s->block));
    *bad |= json_object_set_new(o, "row", json_integer(s->row - g->tile_first[tile]));
    *bad |= json_object_set_new(o, "class", json_string(classes[s->label]));
    *bad |= json_object_set_new(o, "target", json_real(s->target));
    *bad |= json_object_set_new(o, "md", json_real(s->md));
    if (s->bound >= 0)
        *bad |= json_object_set_new(o, "bound", json_real(s->bound));
    *bad |= json_object_set_new(o, "reason", json_string(s->reason));
    return o;
}

json_t *gptq_md_json(const struct gptq_md *m)
{
    const struct mdq_points *g = &m->geometry;
    json_t *o = json_object(), *list = json_array();
    float *some = mdq_alloc((size_t)g->points, sizeof *some, "distortions");
    int bad = !o || !list || !some;
    if (some) {
        bad |= json_object_set_new(o, "basis", json_string(bases[g->basis]));
        bad |= json_object_set_new(o, "floored", json_real((double)g->floored / (double)g->points));
        if (g->zero)
            bad |= json_object_set_new(o, "without_normal", json_integer(g->zero));
        bad |= json_object_set_new(o, "all", class_json(m, -1, some, &bad));
        for (int c = 0; c < MDQ_CLASSES && g->labelled; c++) {
            json_t *one = class_json(m, c, some, &bad);
            if (one)
                bad |= json_object_set_new(o, classes[c], one);
        }
        if (m->done.rows) {
            bad |= json_object_set_new(o, "rows_changed", json_integer(m->done.rows));
            bad |= json_object_set_new(o, "rescaled", json_integer(m->done.rescaled));
            bad |= json_object_set_new(o, "shifted", json_integer(m->done.shifted));
        }
    }
    for (int64_t i = 0; i < m->done.misses && !bad; i++)
        bad |= json_array_append_new(list, miss_json(m, &m->done.miss[i], &bad));
    if (m->done.misses)
        bad |= json_object_set(o, "list", list);
    json_decref(list);
    free(some);
    if (!bad)
        return o;
    json_decref(o);
    mdq_fail_nomem("report", 0);
    return NULL;
}

void gptq_md_free(struct gptq_md *m)
{
    mdq_points_free(&m->geometry);
    gptq_constrained_free(&m->done);
    free(m->md);
    *m = (struct gptq_md){0};
}
