#include "calib_stream.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_layers.h"
#include "mdq_qlayer.h"
#include "mdq_tiling.h"

enum mdq_err calib_header(struct mdq_header **out, const struct mdq_model *m, int first, int last, const char *kind,
                          const struct calib_origin *origin)
{
    json_t *j = json_loads(origin->calib, 0, NULL);
    json_object_set_new(j, "sequential", json_boolean(origin->before || origin->quantized));
    char *calib = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    if (origin->gradients)
        json_object_set_new(j, "gradients", json_loads(origin->gradients, 0, NULL));
    char *args = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(j);
    enum mdq_err err = calib && args ? MDQ_OK : mdq_fail_nomem("header", 0);
    if (err == MDQ_OK)
        err = mdq_layers_header(out, m, first, last, MDQ_TILE);
    if (err == MDQ_OK && kind)
        err = mdq_header_add_kind(*out, kind);
    if (err == MDQ_OK)
        err = mdq_header_set_json(*out, "calib", calib);
    if (err == MDQ_OK && origin->gradients)
        err = mdq_header_add_kind(*out, "gradient");
    if (err == MDQ_OK && origin->gradients)
        err = mdq_header_set_json(*out, "gradients", origin->gradients);
    /* the chain of a quantized block holds that of the activations it was calibrated with */
    if (err == MDQ_OK && origin->provenance)
        err = mdq_header_add_provenance(*out, origin->quantized ? origin->quantized : origin->before, "mdq-calib", args);
    free(calib);
    free(args);
    return err;
}

/* What a Hessian is called by: the first layer with that input is its identity, `for` lists all. */
static void layers_of(int block, enum mdq_input in, char *first, char *list, size_t size)
{
    char name[96];
    size_t used = 0;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        if (mdq_linear_input((enum mdq_linear)l) != in)
            continue;
        mdq_linear_name(name, block, (enum mdq_linear)l);
        if (used == 0)
            strcpy(first, name);
        used += (size_t)snprintf(list + used, size - used, "%c\"%s\"", used ? ',' : '[', name);
    }
    snprintf(list + used, size - used, "]");
}

static enum mdq_err put_panel(struct mdq_writer *w, const char *tensor, const char *tensors, const struct hessian *h,
                              int64_t index, int64_t first, int64_t rows)
{
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = 2, .shape = {rows, first + rows}};
    a.bytes = mdq_dtype_bytes(MDQ_F32, mdq_array_count(&a));
    float *panel = mdq_alloc_aligned(a.bytes, 1, "Hessian panel");
    struct mdq_record *rec =
        panel ? mdq_record_new(&(struct mdq_id){.tensor = tensor, .kind = "hessian", .row = index}) : NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!rec)
        goto out;
    hessian_panel(h, first, rows, panel);
    a.data = panel;
    MDQ_GOTO(err, mdq_record_set_int(rec, "dim", h->dim), out);
    MDQ_GOTO(err, mdq_record_set_int(rec, "first", first), out);
    MDQ_GOTO(err, mdq_record_set_int(rec, "count", h->count), out);
    MDQ_GOTO(err, mdq_record_set_json(rec, "for", tensors), out);
    MDQ_GOTO(err, mdq_record_set_array(rec, "h", &a), out);
    err = mdq_writer_put(w, rec);
out:
    mdq_record_free(&rec);
    free(panel);
    return err;
}

enum mdq_err calib_put_hessian(struct mdq_writer *w, const struct mdq_model *m, int block, enum mdq_input in,
                               struct hessian *h)
{
    char first_layer[96], layers[MDQ_LINEARS * 100];
    layers_of(block, in, first_layer, layers, sizeof layers);
    enum mdq_err err = hessian_flush(h);
    if (err != MDQ_OK)
        return mdq_fail_in(err, "%s: block %d, input of %s", m->dir, block, layers);
    int64_t step = hessian_panel_rows(h->dim), index = 0;
    for (int64_t at = 0; at < h->dim; at += step, index++)
        MDQ_TRY(put_panel(w, first_layer, layers, h, index, at, h->dim - at < step ? h->dim - at : step));
    return MDQ_OK;
}

int64_t calib_gradient_rows(int64_t rows, int64_t cols)
{
    int64_t n = (int64_t)(8 << 20) / (2 * cols * (int64_t)sizeof(float)) / 64 * 64;
    n = n < 64 ? 64 : n;
    return n < rows ? n : rows;
}

static enum mdq_err set_rows(struct mdq_record *rec, const char *key, const float *data, int64_t first, int64_t rows, int64_t cols)
{
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = cols ? 2 : 1, .shape = {rows, cols}, .data = data + first * (cols ? cols : 1)};
    a.bytes = mdq_dtype_bytes(MDQ_F32, mdq_array_count(&a));
    return mdq_record_set_array(rec, key, &a);
}

enum mdq_err calib_put_gradients(struct mdq_writer *w, int block, enum mdq_linear l, const struct gradient_result *r)
{
    char name[96];
    mdq_linear_name(name, block, l);
    const int64_t step = calib_gradient_rows(r->rows, r->cols);
    for (int64_t first = 0, index = 0; first < r->rows; first += step, index++) {
        const int64_t rows = r->rows - first < step ? r->rows - first : step;
        struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = name, .kind = "gradient", .row = index});
        enum mdq_err err = MDQ_E_INTERNAL;
        if (!rec)
            return err;
        MDQ_GOTO(err, mdq_record_set_int(rec, "first", first), next);
        MDQ_GOTO(err, set_rows(rec, "contrast", r->contrast, first, rows, r->cols), next);
        MDQ_GOTO(err, set_rows(rec, "fisher", r->fisher, first, rows, r->cols), next);
        MDQ_GOTO(err, set_rows(rec, "gradient_dot", r->dot, first, rows, r->blocks), next);
        MDQ_GOTO(err, set_rows(rec, "output_gradient", r->output, first, rows, 0), next);
        err = mdq_writer_put(w, rec);
    next:
        mdq_record_free(&rec);
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

enum mdq_err calib_put_activations(struct mdq_writer *w, int block, int64_t index, const float *x, int windows,
                                   int ctx, int hidden)
{
    char name[96];
    mdq_linear_name(name, block, MDQ_Q_PROJ);
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = 3, .shape = {windows, ctx, hidden}, .data = x};
    a.bytes = mdq_dtype_bytes(MDQ_F32, mdq_array_count(&a));
    struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = name, .kind = "activations", .row = index});
    enum mdq_err err = rec ? mdq_record_set_array(rec, "x", &a) : MDQ_E_INTERNAL;
    if (err == MDQ_OK)
        err = mdq_writer_put(w, rec);
    mdq_record_free(&rec);
    return err;
}

enum mdq_err calib_load_quantized(struct mdq_reader *in, const char *name, int block, struct mdq_block *b)
{
    struct mdq_qlayer q = {0};
    bool found, seen[MDQ_LINEARS] = {false};
    enum mdq_err err;
    for (;;) {
        int of;
        enum mdq_linear l;
        MDQ_GOTO(err, mdq_qlayer_next(in, &q, &found), out);
        if (!found)
            break;
        if (mdq_linear_parse(q.tensor, &of, &l) != 0 || of != block)
            continue;
        mdq_qlayer_dequantize(&q, b->linear[l]);
        seen[l] = true;
    }
    for (int l = 0; l < MDQ_LINEARS && err == MDQ_OK; l++)
        if (!seen[l]) {
            char layer[96];
            err = mdq_fail(MDQ_E_DATA, "%s: %s is missing", name, mdq_linear_name(layer, block, (enum mdq_linear)l));
        }
out:
    mdq_qlayer_free(&q);
    return err;
}
