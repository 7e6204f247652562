#include "mdq_layer_tiles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tiling.h"

enum mdq_err mdq_layer_tiles_hold(struct mdq_layer_tiles *l, struct mdq_record *rec)
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

bool mdq_tile_place(const struct mdq_layer_entry *e, struct mdq_id id, struct mdq_tile_place *p)
{
    if (id.row < 0 || id.row >= e->tile_rows || id.col < 0 || id.col >= e->tile_cols)
        return false;
    *p = (struct mdq_tile_place){mdq_tiling_first(e->rows, e->tile_rows, id.row), mdq_tiling_first(e->cols, e->tile_cols, id.col),
                        mdq_tiling_length(e->rows, e->tile_rows, id.row),
                        mdq_tiling_length(e->cols, e->tile_cols, id.col)};
    return true;
}

static enum mdq_err take_tile(struct mdq_layer_tiles *l, struct mdq_record *rec, float *buffer, uint8_t *seen)
{
    const struct mdq_layer_entry *e = &l->entry;
    struct mdq_id id = mdq_record_id(rec);
    struct mdq_tile_place p;
    struct mdq_array a;
    if (!mdq_tile_place(e, id, &p))
        return mdq_fail(MDQ_E_DATA, "the header's table has %lld x %lld tiles", (long long)e->tile_rows,
                        (long long)e->tile_cols);
    if (seen[id.row * e->tile_cols + id.col]++)
        return mdq_fail(MDQ_E_DATA, "comes twice");
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

enum mdq_err mdq_layer_tiles_assemble(struct mdq_layer_tiles *l)
{
    const struct mdq_layer_entry *e = &l->entry;
    if (e->rows < 1 || e->cols < 1 || e->tile_rows < 1 || e->tile_rows > e->rows || e->tile_cols < 1 ||
        e->tile_cols > e->cols)
        return mdq_fail(MDQ_E_DATA, "%s: the header's table has no sensible shape for it", e->tensor);
    size_t size = (size_t)e->rows * (size_t)e->cols, tiles = (size_t)e->tile_rows * (size_t)e->tile_cols;
    if (size > l->size) {
        free(l->w);
        l->size = 0;
        l->w = mdq_alloc_aligned(size, sizeof *l->w, "weights");
        if (!l->w)
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

void mdq_layer_tiles_clear(struct mdq_layer_tiles *l)
{
    for (int i = 0; i < l->n; i++)
        mdq_record_free(&l->held[i]);
    l->n = 0;
}

void mdq_layer_tiles_free(struct mdq_layer_tiles *l)
{
    mdq_layer_tiles_clear(l);
    free(l->held);
    free(l->w);
    *l = (struct mdq_layer_tiles){0};
}
