#include "pack_input.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mdq_layers.h"

/* Streams that share one layer table. */
struct part {
    char **paths;
    bool join; /* they may hold different layers */
    int n, first, layers; /* place of the first layer in the model, number of layers */
};

struct pack_input {
    const struct mdq_model *model;
    struct part *parts;
    int n_parts, threads;
    json_t *provenance;

    int part; /* being read */
    struct mdq_reader *reader;
    int next; /* layer expected */
};

static int layer_count(const struct mdq_model *m)
{
    return m->config.layers * MDQ_LINEARS;
}

const char *pack_input_name(const struct pack_input *in)
{
    const struct part *p = &in->parts[in->part < in->n_parts ? in->part : in->n_parts - 1];
    return p->n && strcmp(p->paths[0], "-") != 0 ? p->paths[0] : "standard input";
}

/* ---- headers ---- */

static enum mdq_err collect_provenance(struct pack_input *in, const struct mdq_header *h)
{
    char *text = mdq_header_json(h);
    if (!text)
        return MDQ_E_INTERNAL;
    json_t *header = json_loads(text, 0, NULL), *entry;
    free(text);
    size_t i, k;
    json_array_foreach(json_object_get(header, "prov"), i, entry) {
        json_t *known, *id = json_object_get(entry, "id");
        bool seen = false;
        json_array_foreach(in->provenance, k, known)
            seen |= json_equal(json_object_get(known, "id"), id);
        if (!seen)
            json_array_append(in->provenance, entry);
    }
    json_decref(header);
    return MDQ_OK;
}

/* Checks a header against the model and gives the place of its first layer. */
static enum mdq_err check_header(const struct mdq_model *m, const char *name, const struct mdq_header *h, int *first)
{
    MDQ_TRY(mdq_layers_same_model(h, name, m));
    const int n = mdq_header_layers(h);
    if (n == 0)
        return mdq_fail(MDQ_E_DATA, "%s: no layers in its table", name);
    for (int i = 0; i < n; i++) {
        const struct mdq_layer_entry *e = mdq_header_layer(h, i);
        int block;
        enum mdq_linear l;
        int64_t rows, cols;
        if (mdq_linear_parse(e->tensor, &block, &l) != 0 || block < 0 || block >= m->config.layers)
            return mdq_fail(MDQ_E_DATA, "%s: %s: no linear layer of %s", name, e->tensor, m->dir);
        mdq_linear_shape(&m->config, l, &rows, &cols);
        if (e->rows != rows || e->cols != cols)
            return mdq_fail(MDQ_E_DATA,
                            "%s: %s: shape [%" PRId64 ", %" PRId64 "] but the model says [%" PRId64 ", %" PRId64 "]",
                            name, e->tensor, e->rows, e->cols, rows, cols);
        if (e->tile_rows < 1 || e->tile_cols < 1 || e->tile_rows > rows || e->tile_cols > cols)
            return mdq_fail(MDQ_E_DATA, "%s: %s: cut into %" PRId64 " x %" PRId64 " tiles", name, e->tensor,
                            e->tile_rows, e->tile_cols);
        const int place = block * MDQ_LINEARS + (int)l;
        if (i == 0)
            *first = place;
        else if (place != *first + i)
            return mdq_fail(MDQ_E_DATA, "%s: %s: layers are missing before it, or not in layer order", name, e->tensor);
    }
    return MDQ_OK;
}

static enum mdq_err add_path(struct part *p, char *path)
{
    char **paths = mdq_realloc(p->paths, (size_t)p->n + 1, sizeof *paths, "inputs");
    if (!paths)
        return MDQ_E_INTERNAL;
    p->paths = paths;
    paths[p->n++] = path;
    return MDQ_OK;
}

static enum mdq_err add_part(struct pack_input *in, int first, int layers, struct part **out)
{
    struct part *parts = mdq_realloc(in->parts, (size_t)in->n_parts + 1, sizeof *parts, "inputs");
    if (!parts)
        return MDQ_E_INTERNAL;
    in->parts = parts;
    *out = &parts[in->n_parts++];
    **out = (struct part){.first = first, .layers = layers};
    return MDQ_OK;
}

/* Reads only the header of a file, and puts it to those with the same layers. */
static enum mdq_err sort_file(struct pack_input *in, char *path)
{
    struct mdq_reader *r = NULL;
    const struct mdq_reader_options options = {.threads = 1};
    int first = 0;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_reader_open(&r, &path, 1, &options), out);
    MDQ_GOTO(err, check_header(in->model, path, mdq_reader_header(r), &first), out);
    MDQ_GOTO(err, collect_provenance(in, mdq_reader_header(r)), out);
    const int layers = mdq_header_layers(mdq_reader_header(r));
    struct part *p = NULL;
    for (int i = 0; i < in->n_parts; i++)
        if (in->parts[i].first == first && in->parts[i].layers == layers)
            p = &in->parts[i];
    if (!p)
        MDQ_GOTO(err, add_part(in, first, layers, &p), out);
    err = add_path(p, path);
out:
    mdq_reader_close(&r);
    return err;
}

static int by_place(const void *a, const void *b)
{
    const struct part *p = a, *q = b;
    return (p->first > q->first) - (p->first < q->first);
}

static enum mdq_err check_complete(const struct pack_input *in)
{
    int expected = 0;
    char name[96];
    for (int i = 0; i <= in->n_parts; i++) {
        const int first = i < in->n_parts ? in->parts[i].first : layer_count(in->model);
        if (first < expected)
            return mdq_fail(MDQ_E_DATA, "%s: %s: another input holds it too", in->parts[i].paths[0],
                            mdq_linear_name(name, first / MDQ_LINEARS, (enum mdq_linear)(first % MDQ_LINEARS)));
        if (first > expected)
            return mdq_fail(MDQ_E_DATA, "%s: %d of its %d linear layers are in no input, the first is %s",
                            in->model->dir, first - expected, layer_count(in->model),
                            mdq_linear_name(name, expected / MDQ_LINEARS, (enum mdq_linear)(expected % MDQ_LINEARS)));
        if (i < in->n_parts)
            expected = first + in->parts[i].layers;
    }
    return MDQ_OK;
}

static enum mdq_err open_part(struct pack_input *in)
{
    const struct part *p = &in->parts[in->part];
    const struct mdq_reader_options options = {.threads = in->threads, .join = p->join};
    return mdq_reader_open(&in->reader, p->paths, p->n, &options);
}

/* Pipes can be opened once only, so all inputs are read side by side. */
static enum mdq_err open_once(struct pack_input *in, char *const *paths, int n)
{
    struct part *p;
    MDQ_TRY(add_part(in, 0, 0, &p));
    p->join = n > 1;
    for (int i = 0; i < n; i++)
        MDQ_TRY(add_path(p, paths[i]));
    MDQ_TRY(open_part(in));
    const struct mdq_header *h = mdq_reader_header(in->reader);
    MDQ_TRY(check_header(in->model, pack_input_name(in), h, &p->first));
    p->layers = mdq_header_layers(h);
    return collect_provenance(in, h);
}

enum mdq_err pack_input_open(struct pack_input **out, const struct mdq_model *m, char *const *paths, int n, int threads)
{
    struct pack_input *in = *out = mdq_calloc(1, sizeof *in, "input");
    if (!in)
        return MDQ_E_INTERNAL;
    in->model = m;
    in->threads = threads;
    if (!(in->provenance = json_array()))
        return mdq_fail_nomem("input", 0);
    bool files = n > 0;
    for (int i = 0; i < n; i++) {
        struct stat st;
        files &= strcmp(paths[i], "-") != 0 && (stat(paths[i], &st) != 0 || S_ISREG(st.st_mode));
    }
    if (!files) {
        MDQ_TRY(open_once(in, paths, n));
        return check_complete(in);
    }
    for (int i = 0; i < n; i++)
        MDQ_TRY(sort_file(in, paths[i]));
    qsort(in->parts, (size_t)in->n_parts, sizeof *in->parts, by_place);
    MDQ_TRY(check_complete(in));
    return open_part(in);
}

void pack_input_close(struct pack_input **input)
{
    struct pack_input *in = *input;
    if (!in)
        return;
    mdq_reader_close(&in->reader);
    for (int i = 0; i < in->n_parts; i++)
        free(in->parts[i].paths);
    free(in->parts);
    json_decref(in->provenance);
    free(in);
    *input = NULL;
}

int64_t pack_input_asked_group(const struct pack_input *in)
{
    int64_t group = 0;
    size_t i;
    json_t *entry;
    json_array_foreach(in->provenance, i, entry) {
        const json_t *g = json_object_get(json_object_get(entry, "args"), "group");
        if (json_is_integer(g) && json_integer_value(g) > 0)
            group = json_integer_value(g);
    }
    return group;
}

enum mdq_err pack_input_provenance(const struct pack_input *in, char **json)
{
    *json = json_dumps(in->provenance, JSON_COMPACT);
    return *json ? MDQ_OK : mdq_fail_nomem("provenance", 0);
}

/* ---- layers ---- */

enum mdq_err pack_input_next(struct pack_input *in, struct mdq_qlayer *l, bool *more)
{
    *more = false;
    for (;;) {
        if (in->part == in->n_parts)
            return MDQ_OK;
        bool found;
        enum mdq_err err = mdq_qlayer_next(in->reader, l, &found);
        if (err != MDQ_OK) /* the reader names its file, what was made of its records does not */
            return strncmp(mdq_error_message(), pack_input_name(in), strlen(pack_input_name(in))) == 0
                       ? err
                       : mdq_fail_in(err, "%s", pack_input_name(in));
        const struct part *p = &in->parts[in->part];
        const int end = p->first + p->layers;
        char name[96] = "";
        if (in->next < end)
            mdq_linear_name(name, in->next / MDQ_LINEARS, (enum mdq_linear)(in->next % MDQ_LINEARS));
        if (found && strcmp(name, l->tensor) == 0) {
            in->next++;
            *more = true;
            return MDQ_OK;
        }
        if (found || in->next < end)
            return mdq_fail(MDQ_E_DATA, "%s: %s: is %s", pack_input_name(in), found && !*name ? l->tensor : name,
                            found && !*name ? "one layer too many" : "missing");
        mdq_reader_close(&in->reader);
        if (++in->part < in->n_parts)
            MDQ_TRY(open_part(in));
    }
}
