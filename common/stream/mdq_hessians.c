#include "mdq_hessians.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct mdq_hessians {
    char *path;
    struct mdq_reader *in;
    struct mdq_hessian now;
    json_t *sharing;   /* the tensors that `now` belongs to, NULL at first */
    bool ended;
};

enum mdq_err mdq_hessians_take(struct mdq_hessians **out, struct mdq_reader **in, const char *path, const struct mdq_header *tiles)
{
    struct mdq_hessians *s = *out = mdq_calloc(1, sizeof *s, "statistics");
    if (!s || !(s->path = mdq_strdup(path))) {
        mdq_reader_close(in);
        return MDQ_E_INTERNAL;
    }
    s->in = *in;
    *in = NULL;
    const struct mdq_header *h = mdq_reader_header(s->in);
    if (strcmp(mdq_header_model(h), mdq_header_model(tiles)) != 0)
        return mdq_fail(MDQ_E_DATA, "%s: statistics of model %s, but the tiles are of model %s", path,
                        mdq_header_model(h), mdq_header_model(tiles));
    if (!mdq_header_has_kind(h, "hessian"))
        return mdq_fail(MDQ_E_DATA, "%s: holds no Hessians: --stats wants what mdq-calib writes", path);
    return MDQ_OK;
}

enum mdq_err mdq_hessians_open(struct mdq_hessians **out, const char *path, const struct mdq_header *tiles)
{
    struct mdq_reader *in = NULL;
    char *one = (char *)path;
    *out = NULL;
    /* panels are large and each thread would hold some: one is enough beside the work on a layer */
    enum mdq_err err = mdq_reader_open(&in, &one, 1, &(struct mdq_reader_options){.threads = 1});
    if (err != MDQ_OK) {
        mdq_reader_close(&in);
        return err;
    }
    return mdq_hessians_take(out, &in, path, tiles);
}

const struct mdq_header *mdq_hessians_header(const struct mdq_hessians *s)
{
    return mdq_reader_header(s->in);
}

static bool shares(const json_t *list, const char *tensor)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && strcmp(name, tensor) == 0)
            return true;
    }
    return false;
}

static enum mdq_err get_sharing(const struct mdq_record *rec, json_t **list)
{
    char *text;
    MDQ_TRY(mdq_record_get_json(rec, "for", &text));
    *list = json_loads(text, 0, NULL);
    free(text);
    if (!json_is_array(*list)) {
        json_decref(*list);
        *list = NULL;
        return mdq_fail(MDQ_E_DATA, "key for: not a list of tensors");
    }
    return MDQ_OK;
}

/* The next Hessian record, NULL at the end. */
static enum mdq_err next_panel(struct mdq_hessians *s, struct mdq_record **rec)
{
    *rec = NULL;
    while (!s->ended) {
        MDQ_TRY(mdq_reader_next(s->in, rec));
        if (!*rec)
            s->ended = true;
        else if (strcmp(mdq_record_id(*rec).kind, "hessian") == 0)
            return MDQ_OK;
    }
    return MDQ_OK;
}

/* Rows of one panel into h; *done = rows that are in. */
static enum mdq_err take_panel(struct mdq_hessian *h, struct mdq_record *rec, int64_t *done)
{
    int64_t first, dim, count;
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_int(rec, "first", &first));
    MDQ_TRY(mdq_record_get_int(rec, "dim", &dim));
    MDQ_TRY(mdq_record_get_int(rec, "count", &count));
    MDQ_TRY(mdq_record_get_array(rec, "h", &a));
    if (dim != h->n)
        return mdq_fail(MDQ_E_DATA, "Hessian of %lld inputs, but the layer has %lld columns", (long long)dim,
                        (long long)h->n);
    if (count < 0 || (*done > 0 && count != h->count))
        return mdq_fail(MDQ_E_DATA, "count %lld, in the panels before it %lld", (long long)count, (long long)h->count);
    if (first != *done)
        return mdq_fail(MDQ_E_DATA, "panel starts at row %lld, expected row %lld", (long long)first,
                        (long long)*done);
    if (a.dtype != MDQ_F32 || a.ndim != 2 || a.shape[0] < 1 || a.shape[0] > dim - first ||
        a.shape[1] != first + a.shape[0])
        return mdq_fail(MDQ_E_DATA, "panel at row %lld of %lld: h is not f32 [rows, %lld + rows]", (long long)first,
                        (long long)dim, (long long)first);
    h->count = count;
    const char *from = a.data;
    for (int64_t r = 0; r < a.shape[0]; r++)
        memcpy(h->h + (first + r) * dim, from + sizeof(float) * (size_t)(r * a.shape[1]),
               sizeof(float) * (size_t)(first + r + 1));
    *done = first + a.shape[0];
    return MDQ_OK;
}

/* Upper triangle from the lower one, tile by tile so that both sides stay in cache. */
static void mirror(int64_t n, float *h)
{
    enum { SIDE = 64 };
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < n; i += SIDE)
        for (int64_t j = 0; j <= i; j += SIDE)
            for (int64_t r = i; r < i + SIDE && r < n; r++)
                for (int64_t c = j; c < j + SIDE && c < r; c++)
                    h[c * n + r] = h[r * n + c];
}

static enum mdq_err missing(const struct mdq_hessians *s, const char *tensor)
{
    return mdq_fail(MDQ_E_DATA, "%s: no Hessian for layer %s (layers come in the order of the header's table)", s->path,
                    tensor);
}

static enum mdq_err load(struct mdq_hessians *s, const struct mdq_layer_entry *layer, struct mdq_record *rec)
{
    struct mdq_id id = mdq_record_id(rec);
    char *owner = mdq_strdup(id.tensor);
    float *h = mdq_realloc(s->now.h, (size_t)layer->cols * (size_t)layer->cols, sizeof *h, "Hessian");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (h)
        s->now.h = h;
    if (!h || !owner)
        goto done;
    s->now.n = layer->cols;
    for (int64_t rows = 0;;) {
        err = take_panel(&s->now, rec, &rows);
        if (err != MDQ_OK) {
            mdq_fail_in(err, "%s: Hessian of %s, panel %lld", s->path, owner, (long long)mdq_record_id(rec).row);
            goto done;
        }
        if (rows == layer->cols)
            break;
        MDQ_GOTO(err, next_panel(s, &rec), done);
        if (!rec || strcmp(mdq_record_id(rec).tensor, owner) != 0) {
            err = mdq_fail(MDQ_E_DATA, "%s: Hessian of %s: %lld of %lld rows are there", s->path, owner,
                           (long long)rows, (long long)layer->cols);
            goto done;
        }
    }
    mirror(s->now.n, s->now.h);
done:
    free(owner);
    return err;
}

bool mdq_hessians_covers(const struct mdq_hessians *s, const char *tensor)
{
    return s->sharing && shares(s->sharing, tensor);
}

enum mdq_err mdq_hessians_find(struct mdq_hessians *s, const struct mdq_layer_entry *layer,
                                const struct mdq_hessian **h, bool *fresh)
{
    *fresh = false;
    *h = &s->now;
    if (mdq_hessians_covers(s, layer->tensor))
        return s->now.n == layer->cols
                   ? MDQ_OK
                   : mdq_fail(MDQ_E_DATA, "%s: Hessian of %lld inputs is said to be for layer %s of %lld columns",
                              s->path, (long long)s->now.n, layer->tensor, (long long)layer->cols);
    const struct mdq_header *head = mdq_reader_header(s->in);
    int want = mdq_header_find_layer(head, layer->tensor);
    for (;;) {
        struct mdq_record *rec;
        json_t *list = NULL;
        MDQ_TRY(next_panel(s, &rec));
        if (!rec)
            return missing(s, layer->tensor);
        struct mdq_id id = mdq_record_id(rec);
        enum mdq_err err = get_sharing(rec, &list);
        if (err != MDQ_OK)
            return mdq_fail_in(err, "%s: Hessian of %s", s->path, id.tensor);
        if (shares(list, layer->tensor)) {
            json_decref(s->sharing);
            s->sharing = list;
            *fresh = true;
            return load(s, layer, rec);
        }
        json_decref(list);
        if (want >= 0 && mdq_header_find_layer(head, id.tensor) > want)
            return missing(s, layer->tensor);
    }
}

enum mdq_err mdq_hessians_drain(struct mdq_hessians *s)
{
    struct mdq_record *rec;
    do
        MDQ_TRY(next_panel(s, &rec));
    while (rec);
    return MDQ_OK;
}

void mdq_hessians_close(struct mdq_hessians **s)
{
    if (!*s)
        return;
    mdq_reader_close(&(*s)->in);
    json_decref((*s)->sharing);
    free((*s)->now.h);
    free((*s)->path);
    free(*s);
    *s = NULL;
}
