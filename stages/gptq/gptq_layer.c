#include "gptq_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tiling.h"

struct place {
    int64_t row, col, rows, cols; /* in W */
};

static bool is_kind(const struct mdq_record *rec, const char *kind)
{
    return strcmp(mdq_record_id(rec).kind, kind) == 0;
}

enum mdq_err gptq_layer_hold(struct gptq_layer *l, struct mdq_record *rec)
{
    if (l->n == l->capacity) {
        int more = l->capacity ? 2 * l->capacity : 64;
        struct mdq_record **held = mdq_realloc(l->held, (size_t)more, sizeof *held, "held records");
        if (!held)
            return MDQ_E_INTERNAL;
        l->held = held;
        l->capacity = more;
    }
    struct mdq_record *own = mdq_record_take(rec);
    if (!own)
        return MDQ_E_INTERNAL;
    l->held[l->n++] = own;
    return MDQ_OK;
}

/* Where a tile lies by the header's table; false when its identity is outside of it. */
static bool tile_place(const struct mdq_layer_entry *e, struct mdq_id id, struct place *p)
{
    if (id.row < 0 || id.row >= e->tile_rows || id.col < 0 || id.col >= e->tile_cols)
        return false;
    *p = (struct place){mdq_tiling_first(e->rows, e->tile_rows, id.row), mdq_tiling_first(e->cols, e->tile_cols, id.col),
                        mdq_tiling_length(e->rows, e->tile_rows, id.row),
                        mdq_tiling_length(e->cols, e->tile_cols, id.col)};
    return true;
}

static enum mdq_err take_tile(struct gptq_layer *l, struct mdq_record *rec, float *buffer, uint8_t *seen)
{
    const struct mdq_layer_entry *e = &l->entry;
    struct mdq_id id = mdq_record_id(rec);
    struct place p;
    struct mdq_array a;
    if (!tile_place(e, id, &p))
        return mdq_fail(MDQ_E_DATA, "the header's table has %lld x %lld tiles", (long long)e->tile_rows,
                        (long long)e->tile_cols);
    if (seen[id.row * e->tile_cols + id.col]++)
        return mdq_fail(MDQ_E_DATA, "comes twice");
    if (mdq_record_has(rec, "codes"))
        return mdq_fail(MDQ_E_DATA, "is quantized already (key codes)");
    MDQ_TRY(mdq_record_get_array(rec, "w", &a));
    if (a.ndim != 2 || a.shape[0] != p.rows || a.shape[1] != p.cols)
        return mdq_fail(MDQ_E_DATA, "w is not [%lld, %lld] as the header's table has it", (long long)p.rows,
                        (long long)p.cols);
    MDQ_TRY(mdq_record_copy_f32(rec, "w", p.rows * p.cols, buffer));
    for (int64_t r = 0; r < p.rows; r++) {
        const float *from = buffer + r * p.cols;
        for (int64_t c = 0; c < p.cols; c++)
            if (!isfinite(from[c]))
                return mdq_fail(MDQ_E_DATA, "row %lld, column %lld of W: weight %g is not finite",
                                (long long)(p.row + r), (long long)(p.col + c), (double)from[c]);
        memcpy(l->w + (p.row + r) * e->cols + p.col, from, sizeof(float) * (size_t)p.cols);
    }
    return MDQ_OK;
}

/* The largest tile has the first part of each side. */
static size_t largest_tile(const struct mdq_layer_entry *e)
{
    return (size_t)mdq_tiling_length(e->rows, e->tile_rows, 0) * (size_t)mdq_tiling_length(e->cols, e->tile_cols, 0);
}

enum mdq_err gptq_layer_assemble(struct gptq_layer *l)
{
    const struct mdq_layer_entry *e = &l->entry;
    if (e->rows < 1 || e->cols < 1 || e->tile_rows < 1 || e->tile_rows > e->rows || e->tile_cols < 1 ||
        e->tile_cols > e->cols)
        return mdq_fail(MDQ_E_DATA, "%s: the header's table has no sensible shape for it", e->tensor);
    size_t size = (size_t)e->rows * (size_t)e->cols, tiles = (size_t)e->tile_rows * (size_t)e->tile_cols;
    if (size > l->size) {
        free(l->w);
        free(l->codes);
        l->size = 0;
        l->w = mdq_alloc_aligned(size, sizeof *l->w, "weights");
        l->codes = mdq_alloc_aligned(size, 1, "codes");
        if (!l->w || !l->codes)
            return MDQ_E_INTERNAL;
        l->size = size;
    }
    uint8_t *seen = mdq_calloc(tiles, 1, "tiles seen");
    float *buffer = mdq_alloc(largest_tile(e), sizeof *buffer, "tile");
    enum mdq_err err = seen && buffer ? MDQ_OK : MDQ_E_INTERNAL;
    bool has_layer = false;
    for (int i = 0; i < l->n && err == MDQ_OK; i++) {
        struct mdq_id id = mdq_record_id(l->held[i]);
        if (strcmp(id.kind, "layer") == 0) {
            has_layer = true;
            if (mdq_record_has(l->held[i], "qbits"))
                err = mdq_fail(MDQ_E_DATA, "%s: is quantized already (key qbits)", id.tensor);
        } else if (strcmp(id.kind, "tile") == 0) {
            err = take_tile(l, l->held[i], buffer, seen);
            if (err != MDQ_OK)
                mdq_fail_in(err, "%s: tile %lld, %lld", id.tensor, (long long)id.row, (long long)id.col);
        }
    }
    if (err == MDQ_OK && !has_layer)
        err = mdq_fail(MDQ_E_DATA, "%s: tiles without a layer record", e->tensor);
    for (int64_t t = 0; t < (int64_t)tiles && err == MDQ_OK; t++)
        if (!seen[t])
            err = mdq_fail(MDQ_E_DATA, "%s: tile %lld, %lld is missing", e->tensor, (long long)(t / e->tile_cols),
                           (long long)(t % e->tile_cols));
    free(seen);
    free(buffer);
    return err;
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
    struct place p;
    if (!tile_place(&l->entry, mdq_record_id(rec), &p))
        return mdq_fail(MDQ_E_INTERNAL, "%s: a tile outside of the table", l->entry.tensor);
    for (int64_t r = 0; r < p.rows; r++)
        memcpy(flat + r * p.cols, l->codes + (p.row + r) * l->entry.cols + p.col, (size_t)p.cols);
    enum mdq_dtype t = bits == 2 ? MDQ_U2 : bits == 3 ? MDQ_U3 : bits == 4 ? MDQ_U4 : MDQ_U8;
    mdq_bits_pack(flat, p.rows * p.cols, (unsigned)bits, packed);
    struct mdq_array codes = {.dtype = t, .ndim = 2, .shape = {p.rows, p.cols}, .data = packed,
                              .bytes = mdq_dtype_bytes(t, p.rows * p.cols)};
    return mdq_record_set_array(rec, "codes", &codes);
}

enum mdq_err gptq_layer_store(struct gptq_layer *l, const struct quant_grid *g, const char *method, const char *order,
                              const char *report)
{
    size_t most = largest_tile(&l->entry);
    uint8_t *flat = mdq_alloc(most, 1, "codes of a tile"), *packed = mdq_alloc(most, 1, "packed codes");
    enum mdq_err err = flat && packed ? MDQ_OK : MDQ_E_INTERNAL;
    for (int i = 0; i < l->n && err == MDQ_OK; i++) {
        struct mdq_record *rec = l->held[i];
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
    for (int i = 0; i < l->n; i++)
        mdq_record_free(&l->held[i]);
    l->n = 0;
}

void gptq_layer_free(struct gptq_layer *l)
{
    gptq_layer_clear(l);
    free(l->held);
    free(l->w);
    free(l->codes);
    *l = (struct gptq_layer){0};
}
