#include "gptq_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_points.h"
#include "mdq_tiling.h"

static bool is_kind(const struct mdq_record *rec, const char *kind)
{
    return strcmp(mdq_record_id(rec).kind, kind) == 0;
}

static void add(const struct gptq_layer *l, const struct mdq_tile_place *p, int64_t row, const float *d)
{
    float *to = l->target + (p->row + row) * l->tiles.entry.cols + p->col;
    for (int64_t i = 0; i < p->cols; i++)
        to[i] += d[i];
}

static enum mdq_err add_drift(struct gptq_layer *l, struct mdq_record *rec, const struct mdq_tile_place *p, float *d)
{
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_array(rec, "drift", &a));
    if (a.ndim != 2 || a.shape[0] != p->rows || a.shape[1] != p->cols)
        return mdq_fail(MDQ_E_DATA, "drift: want [%lld, %lld], a row for each point", (long long)p->rows, (long long)p->cols);
    MDQ_TRY(mdq_record_copy_f32(rec, "drift", p->rows * p->cols, d));
    for (int64_t r = 0; r < p->rows; r++)
        add(l, p, r, d + r * p->cols);
    l->moved = true;
    return MDQ_OK;
}

/* One for each sensitive or overlap point, in the order of the rows. */
static enum mdq_err add_shifts(struct gptq_layer *l, struct mdq_record *rec, const struct mdq_tile_place *p, float *d)
{
    struct mdq_array label, shift;
    int64_t n = 0;
    if (!mdq_record_has(rec, "label"))
        return mdq_fail(MDQ_E_DATA, "shift: there is no label that says whose they are");
    MDQ_TRY(mdq_record_get_array(rec, "label", &label));
    MDQ_TRY(mdq_record_get_array(rec, "shift", &shift));
    if (label.dtype != MDQ_U8 || label.ndim != 1 || label.shape[0] != p->rows)
        return mdq_fail(MDQ_E_DATA, "label: want u8 with %lld rows", (long long)p->rows);
    const uint8_t *labels = label.data;
    for (int64_t r = 0; r < p->rows; r++)
        n += labels[r] == MDQ_SENSITIVE || labels[r] == MDQ_OVERLAP;
    if (shift.ndim != 2 || shift.shape[0] != n || shift.shape[1] != p->cols)
        return mdq_fail(MDQ_E_DATA, "shift: want [%lld, %lld], a row for each sensitive or overlap point", (long long)n,
                        (long long)p->cols);
    MDQ_TRY(mdq_record_copy_f32(rec, "shift", n * p->cols, d));
    for (int64_t r = 0; r < p->rows; r++)
        if (labels[r] == MDQ_SENSITIVE || labels[r] == MDQ_OVERLAP) {
            add(l, p, r, d);
            d += p->cols;
        }
    l->moved = true;
    return MDQ_OK;
}

/* All points of a tile by its drift, those that are to be moved away by their shifts. */
static enum mdq_err move_tile(struct gptq_layer *l, struct mdq_record *rec, const struct mdq_tile_place *p)
{
    const bool drift = mdq_record_has(rec, "drift"), shift = mdq_record_has(rec, "shift");
    if (!drift && !shift)
        return MDQ_OK;
    float *d = mdq_alloc((size_t)(p->rows * p->cols), sizeof *d, "drift");
    enum mdq_err err = !d ? MDQ_E_INTERNAL : drift ? add_drift(l, rec, p, d) : MDQ_OK;
    if (err == MDQ_OK && shift)
        err = add_shifts(l, rec, p, d);
    free(d);
    return err;
}

static enum mdq_err make_target(struct gptq_layer *l)
{
    const struct mdq_layer_entry *e = &l->tiles.entry;
    memcpy(l->target, l->tiles.w, (size_t)(e->rows * e->cols) * sizeof *l->target);
    l->moved = false;
    for (int i = 0; i < l->tiles.n; i++) {
        struct mdq_record *rec = l->tiles.held[i];
        struct mdq_id id = mdq_record_id(rec);
        struct mdq_tile_place p;
        if (!is_kind(rec, "tile") || !mdq_tile_place(e, id, &p))
            continue;
        enum mdq_err err = move_tile(l, rec, &p);
        if (err != MDQ_OK)
            return mdq_fail_in(err, "%s: tile %lld, %lld", id.tensor, (long long)id.row, (long long)id.col);
    }
    return MDQ_OK;
}

enum mdq_err gptq_layer_assemble(struct gptq_layer *l)
{
    for (int i = 0; i < l->tiles.n; i++) {
        const struct mdq_record *rec = l->tiles.held[i];
        struct mdq_id id = mdq_record_id(rec);
        if (is_kind(rec, "layer") && mdq_record_has(rec, "qbits"))
            return mdq_fail(MDQ_E_DATA, "%s: is quantized already (key qbits)", id.tensor);
        if (is_kind(rec, "tile") && mdq_record_has(rec, "codes"))
            return mdq_fail(MDQ_E_DATA, "%s: tile %lld, %lld: is quantized already (key codes)", id.tensor, (long long)id.row,
                            (long long)id.col);
    }
    MDQ_TRY(mdq_layer_tiles_assemble(&l->tiles));
    if (l->tiles.size > l->size) {
        free(l->codes);
        free(l->target);
        l->size = 0;
        l->codes = mdq_alloc_aligned(l->tiles.size, 1, "codes");
        l->target = mdq_alloc_aligned(l->tiles.size, sizeof *l->target, "targets");
        if (!l->codes || !l->target)
            return MDQ_E_INTERNAL;
        l->size = l->tiles.size;
    }
    return make_target(l);
}

/* The largest tile has the first part of each side. */
static size_t largest_tile(const struct mdq_layer_entry *e)
{
    return (size_t)mdq_tiling_length(e->rows, e->tile_rows, 0) * (size_t)mdq_tiling_length(e->cols, e->tile_cols, 0);
}

static enum mdq_err store_grid(struct mdq_record *rec, const struct quant_grid *g)
{
    size_t n = (size_t)g->rows * (size_t)g->groups;
    void *narrow = NULL;
    float *single = NULL;
    enum mdq_err err = MDQ_OK;
    struct mdq_array scales = {.dtype = g->scale_type, .ndim = 2, .shape = {g->rows, g->groups},
                               .data = g->scales, .bytes = mdq_dtype_bytes(g->scale_type, (int64_t)n)};
    if (g->scale_type != MDQ_F64) {
        narrow = mdq_alloc(1, scales.bytes, "scales");
        single = mdq_alloc(n, sizeof *single, "scales");
        if (!narrow || !single) {
            err = MDQ_E_INTERNAL;
            goto done;
        }
        /* exact: the grid rounded them to this type */
        for (size_t i = 0; i < n; i++)
            single[i] = (float)g->scales[i];
        mdq_dtype_from_f32(g->scale_type, single, (int64_t)n, narrow);
        scales.data = narrow;
    }
    MDQ_GOTO(err, mdq_record_set_array(rec, "scales", &scales), done);
    if (!g->symmetric) {
        struct mdq_array zeros = {.dtype = MDQ_U8, .ndim = 2, .shape = {g->rows, g->groups}, .data = g->zeros,
                                  .bytes = n};
        err = mdq_record_set_array(rec, "zeros", &zeros);
    }
done:
    free(narrow);
    free(single);
    return err;
}

static enum mdq_err store_codes(const struct gptq_layer *l, struct mdq_record *rec, int bits, uint8_t *flat,
                                uint8_t *packed)
{
    struct mdq_tile_place p;
    if (!mdq_tile_place(&l->tiles.entry, mdq_record_id(rec), &p))
        return mdq_fail(MDQ_E_INTERNAL, "%s: a tile outside of the table", l->tiles.entry.tensor);
    for (int64_t r = 0; r < p.rows; r++)
        memcpy(flat + r * p.cols, l->codes + (p.row + r) * l->tiles.entry.cols + p.col, (size_t)p.cols);
    enum mdq_dtype t = bits == 2 ? MDQ_U2 : bits == 3 ? MDQ_U3 : bits == 4 ? MDQ_U4 : MDQ_U8;
    mdq_bits_pack(flat, p.rows * p.cols, (unsigned)bits, packed);
    struct mdq_array codes = {.dtype = t, .ndim = 2, .shape = {p.rows, p.cols}, .data = packed,
                              .bytes = mdq_dtype_bytes(t, p.rows * p.cols)};
    return mdq_record_set_array(rec, "codes", &codes);
}

enum mdq_err gptq_layer_store(struct gptq_layer *l, const struct quant_grid *g, const char *method, const char *order,
                              const char *report)
{
    size_t most = largest_tile(&l->tiles.entry);
    uint8_t *flat = mdq_alloc(most, 1, "codes of a tile"), *packed = mdq_alloc(most, 1, "packed codes");
    enum mdq_err err = flat && packed ? MDQ_OK : MDQ_E_INTERNAL;
    for (int i = 0; i < l->tiles.n && err == MDQ_OK; i++) {
        struct mdq_record *rec = l->tiles.held[i];
        if (is_kind(rec, "tile")) {
            err = store_codes(l, rec, g->bits, flat, packed);
        } else if (is_kind(rec, "layer")) {
            MDQ_GOTO(err, mdq_record_set_int(rec, "qbits", g->bits), done);
            MDQ_GOTO(err, mdq_record_set_int(rec, "qgroup", g->group), done);
            MDQ_GOTO(err, mdq_record_set_bool(rec, "qsym", g->symmetric), done);
            MDQ_GOTO(err, mdq_record_set_str(rec, "qmethod", method), done);
            MDQ_GOTO(err, mdq_record_set_str(rec, "qorder", order), done);
            MDQ_GOTO(err, store_grid(rec, g), done);
            err = mdq_record_set_json(rec, "qreport", report);
        }
    }
done:
    free(flat);
    free(packed);
    return err;
}

void gptq_layer_clear(struct gptq_layer *l)
{
    mdq_layer_tiles_clear(&l->tiles);
}

void gptq_layer_free(struct gptq_layer *l)
{
    mdq_layer_tiles_free(&l->tiles);
    free(l->codes);
    free(l->target);
    *l = (struct gptq_layer){0};
}
