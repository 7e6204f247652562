#include "mdq_qlayer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tiling.h"

static enum mdq_err resize(void **p, int64_t count, size_t size, const char *what)
{
    void *q = mdq_realloc(*p, (size_t)count, size, what);
    if (!q)
        return MDQ_E_INTERNAL;
    *p = q;
    return MDQ_OK;
}

static enum mdq_err read_text(const struct mdq_record *rec, const char *key, char *out, size_t size)
{
    const char *s;
    MDQ_TRY(mdq_record_get_str(rec, key, &s));
    if ((size_t)snprintf(out, size, "%s", s) >= size)
        return mdq_fail(MDQ_E_DATA, "%s: %s: '%.40s...' is too long", mdq_record_id(rec).tensor, key, s);
    return MDQ_OK;
}

static enum mdq_err read_scales(struct mdq_qlayer *q, struct mdq_record *rec)
{
    struct mdq_array a;
    const int64_t n = q->rows * q->groups;
    MDQ_TRY(mdq_record_get_array(rec, "scales", &a));
    if (a.ndim != 2 || a.shape[0] != q->rows || a.shape[1] != q->groups)
        return mdq_fail(MDQ_E_DATA, "%s: scales: want the shape [%" PRId64 ", %" PRId64 "]", q->tensor, q->rows, q->groups);
    q->scale_type = a.dtype;
    MDQ_TRY(resize((void **)&q->scales, n, sizeof *q->scales, "scales"));
    if (a.dtype == MDQ_F64) {
        memcpy(q->scales, a.data, (size_t)n * sizeof *q->scales);
    } else {
        float *f = mdq_alloc((size_t)n, sizeof *f, "scales");
        if (!f)
            return MDQ_E_INTERNAL;
        int bad = mdq_dtype_to_f32(a.dtype, a.data, n, f);
        for (int64_t i = 0; !bad && i < n; i++)
            q->scales[i] = f[i];
        free(f);
        if (bad)
            return mdq_fail(MDQ_E_DATA, "%s: scales: of type %s: want f16, bf16, f32 or f64", q->tensor,
                            mdq_dtype_name(a.dtype));
    }
    for (int64_t i = 0; i < n; i++)
        if (!(q->scales[i] > 0) || !isfinite(q->scales[i]))
            return mdq_fail(MDQ_E_DATA, "%s: scales: row %" PRId64 ", group %" PRId64 ": %g is no scale", q->tensor,
                            i / q->groups, i % q->groups, q->scales[i]);
    return MDQ_OK;
}

static enum mdq_err read_zeros(struct mdq_qlayer *q, struct mdq_record *rec)
{
    const int64_t n = q->rows * q->groups;
    MDQ_TRY(resize((void **)&q->zeros, n, 1, "zeros"));
    if (q->sym) {
        memset(q->zeros, 1 << (q->bits - 1), (size_t)n);
        return MDQ_OK;
    }
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_array(rec, "zeros", &a));
    if (a.dtype != MDQ_U8 || a.ndim != 2 || a.shape[0] != q->rows || a.shape[1] != q->groups)
        return mdq_fail(MDQ_E_DATA, "%s: zeros: want u8 of shape [%" PRId64 ", %" PRId64 "]", q->tensor, q->rows, q->groups);
    memcpy(q->zeros, a.data, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        if (q->zeros[i] >> q->bits)
            return mdq_fail(MDQ_E_DATA, "%s: zeros: row %" PRId64 ", group %" PRId64 ": %d does not fit %d bits",
                            q->tensor, i / q->groups, i % q->groups, q->zeros[i], q->bits);
    return MDQ_OK;
}

static enum mdq_err begin(struct mdq_qlayer *q, const struct mdq_layer_entry *e, struct mdq_record *rec)
{
    if ((size_t)snprintf(q->tensor, sizeof q->tensor, "%s", e->tensor) >= sizeof q->tensor)
        return mdq_fail(MDQ_E_DATA, "%.60s...: the tensor's name is too long", e->tensor);
    if (!mdq_record_has(rec, "qbits"))
        return mdq_fail(MDQ_E_DATA, "%s: is not quantized: no qbits in its layer record (run mdq-gptq first)", e->tensor);
    int64_t bits;
    MDQ_TRY(mdq_record_get_int(rec, "qbits", &bits));
    MDQ_TRY(mdq_record_get_int(rec, "qgroup", &q->group));
    MDQ_TRY(mdq_record_get_bool(rec, "qsym", &q->sym));
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return mdq_fail(MDQ_E_DATA, "%s: qbits: %" PRId64 " is none of 2, 3, 4, 8", e->tensor, bits);
    q->block = e->block;
    q->rows = e->rows;
    q->cols = e->cols;
    q->bits = (int)bits;
    if (q->group < 1 || q->cols % q->group)
        return mdq_fail(MDQ_E_DATA, "%s: qgroup: %" PRId64 " does not divide %" PRId64 " columns", e->tensor, q->group,
                        q->cols);
    q->groups = q->cols / q->group;
    MDQ_TRY(read_text(rec, "qmethod", q->method, sizeof q->method));
    MDQ_TRY(read_text(rec, "qorder", q->order, sizeof q->order));
    free(q->report);
    q->report = NULL;
    if (mdq_record_has(rec, "qreport"))
        MDQ_TRY(mdq_record_get_json(rec, "qreport", &q->report));
    MDQ_TRY(read_scales(q, rec));
    MDQ_TRY(read_zeros(q, rec));
    return resize((void **)&q->codes, q->rows * q->cols, 1, "codes");
}

static enum mdq_err take_tile(struct mdq_qlayer *q, const struct mdq_layer_entry *e, struct mdq_record *rec, int64_t i,
                              int64_t j)
{
    struct mdq_id id = mdq_record_id(rec);
    if (strcmp(id.tensor, q->tensor) != 0 || id.row != i || id.col != j)
        return mdq_fail(MDQ_E_DATA, "%s: tile %" PRId64 ",%" PRId64 ": is missing (found tile %" PRId64 ",%" PRId64 " of %s)",
                        q->tensor, i, j, id.row, id.col, id.tensor);
    const int64_t row = mdq_tiling_first(q->rows, e->tile_rows, i), rows = mdq_tiling_length(q->rows, e->tile_rows, i);
    const int64_t col = mdq_tiling_first(q->cols, e->tile_cols, j), cols = mdq_tiling_length(q->cols, e->tile_cols, j);
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_array(rec, "codes", &a));
    if (a.ndim != 2 || a.shape[0] != rows || a.shape[1] != cols)
        return mdq_fail(MDQ_E_DATA, "%s: tile %" PRId64 ",%" PRId64 ": codes: want the shape [%" PRId64 ", %" PRId64 "]",
                        q->tensor, i, j, rows, cols);
    if (mdq_dtype_bits(a.dtype) != (unsigned)q->bits || (q->bits == 8 && a.dtype != MDQ_U8))
        return mdq_fail(MDQ_E_DATA, "%s: tile %" PRId64 ",%" PRId64 ": codes: of type %s: want u%d", q->tensor, i, j,
                        mdq_dtype_name(a.dtype), q->bits);
    uint8_t *flat = mdq_alloc((size_t)(rows * cols), 1, "codes of a tile");
    if (!flat)
        return MDQ_E_INTERNAL;
    mdq_bits_unpack(a.data, rows * cols, (unsigned)q->bits, flat);
    for (int64_t r = 0; r < rows; r++)
        memcpy(q->codes + (row + r) * q->cols + col, flat + r * cols, (size_t)cols);
    free(flat);
    return MDQ_OK;
}

/* The next record that is a layer or a tile; NULL at the end. */
static enum mdq_err next_of_layer(struct mdq_reader *r, struct mdq_record **rec)
{
    do {
        MDQ_TRY(mdq_reader_next(r, rec));
    } while (*rec && strcmp(mdq_record_id(*rec).kind, "layer") != 0 && strcmp(mdq_record_id(*rec).kind, "tile") != 0);
    return MDQ_OK;
}

enum mdq_err mdq_qlayer_next(struct mdq_reader *r, struct mdq_qlayer *q, bool *found)
{
    struct mdq_record *rec;
    MDQ_TRY(next_of_layer(r, &rec));
    *found = rec != NULL;
    if (!rec)
        return MDQ_OK;
    struct mdq_id id = mdq_record_id(rec);
    const struct mdq_header *h = mdq_reader_header(r);
    int layer = mdq_header_find_layer(h, id.tensor);
    if (strcmp(id.kind, "layer") != 0 || layer < 0)
        return mdq_fail(MDQ_E_DATA, "%s: tile %" PRId64 ",%" PRId64 ": stands where a layer record should", id.tensor,
                        id.row, id.col);
    const struct mdq_layer_entry *e = mdq_header_layer(h, layer);
    MDQ_TRY(begin(q, e, rec));
    for (int64_t j = 0; j < e->tile_cols; j++)
        for (int64_t i = 0; i < e->tile_rows; i++) {
            MDQ_TRY(next_of_layer(r, &rec));
            if (!rec)
                return mdq_fail(MDQ_E_DATA, "%s: tile %" PRId64 ",%" PRId64 ": is missing: the stream ends", q->tensor, i, j);
            MDQ_TRY(take_tile(q, e, rec, i, j));
        }
    return MDQ_OK;
}

void mdq_qlayer_row(const struct mdq_qlayer *q, int64_t row, double *w)
{
    const uint8_t *codes = q->codes + row * q->cols;
    for (int64_t g = 0; g < q->groups; g++) {
        const double scale = q->scales[row * q->groups + g];
        const int zero = q->zeros[row * q->groups + g];
        for (int64_t j = g * q->group; j < (g + 1) * q->group; j++)
            w[j] = scale * (codes[j] - zero);
    }
}

void mdq_qlayer_dequantize(const struct mdq_qlayer *q, float *w)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < q->rows; i++)
        for (int64_t j = 0; j < q->cols; j++) {
            int64_t g = i * q->groups + j / q->group;
            w[i * q->cols + j] = (float)(q->scales[g] * (q->codes[i * q->cols + j] - q->zeros[g]));
        }
}

void mdq_qlayer_free(struct mdq_qlayer *q)
{
    free(q->scales);
    free(q->zeros);
    free(q->codes);
    free(q->report);
    *q = (struct mdq_qlayer){0};
}
