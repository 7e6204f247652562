/*
 * Safetensors, writing. The header stands before the data, so tensors are announced first; the first piece of data
 * fixes how they spread over shards. Files are written one after the other, each atomically.
 */
#include "mdq_safetensors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "mdq_output.h"

enum { BUFFER = 1 << 20 };

struct announced {
    char *name;
    enum mdq_dtype dtype;
    int ndim;
    int64_t shape[MDQ_TENSOR_DIMS];
    size_t bytes;
    int shard;
};

struct mdq_safetensors_writer {
    char *dir;
    size_t max_shard;
    struct announced *tensors;
    int n, capacity;
    bool laid_out; /* shards are fixed; nothing can be announced any more */
    int shards;
    struct mdq_output *out; /* the shard being written */
    int current;            /* next or unfinished tensor */
    size_t done;            /* bytes of it that are written */
    unsigned char *buffer;
    size_t held;
};

static void release(struct mdq_safetensors_writer **out)
{
    struct mdq_safetensors_writer *w = *out;
    mdq_output_abort(&w->out);
    for (int i = 0; i < w->n; i++)
        free(w->tensors[i].name);
    free(w->tensors);
    free(w->buffer);
    free(w->dir);
    free(w);
    *out = NULL;
}

enum mdq_err mdq_safetensors_writer_new(struct mdq_safetensors_writer **out, const char *dir, size_t max_shard)
{
    struct mdq_safetensors_writer *w = *out = mdq_calloc(1, sizeof *w, "safetensors writer");
    if (!w)
        return MDQ_E_INTERNAL;
    w->max_shard = max_shard ? max_shard : SIZE_MAX;
    if (!(w->dir = mdq_strdup(dir)) || !(w->buffer = mdq_alloc(BUFFER, 1, "write buffer"))) {
        release(out);
        return MDQ_E_INTERNAL;
    }
    return MDQ_OK;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum mdq_err mdq_safetensors_writer_announce(struct mdq_safetensors_writer *w, const char *name,
                                             enum mdq_dtype dtype, int ndim, const int64_t *shape)
{
    if (w->laid_out)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: announced after the first data", w->dir, name);
    if (dtype >= MDQ_U2 || ndim < 0 || ndim > MDQ_TENSOR_DIMS)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: safetensors cannot hold dtype %s in %d dimensions", w->dir,
                        name, mdq_dtype_name(dtype), ndim);
    if (w->n == w->capacity) {
        int capacity = w->capacity ? 2 * w->capacity : 256;
        struct announced *v = mdq_realloc(w->tensors, (size_t)capacity, sizeof *v, "announced tensors");
        if (!v)
            return MDQ_E_INTERNAL;
        w->tensors = v;
        w->capacity = capacity;
    }
    struct announced t = {.dtype = dtype, .ndim = ndim};
    int64_t count = 1;
    for (int d = 0; d < ndim; d++) {
        t.shape[d] = shape[d];
        if (shape[d] < 0 || __builtin_mul_overflow(count, shape[d], &count))
            return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: impossible shape", w->dir, name);
    }
    t.bytes = mdq_dtype_bytes(dtype, count);
    if (t.bytes == SIZE_MAX)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: impossible shape", w->dir, name);
    if (!(t.name = mdq_strdup(name)))
        return MDQ_E_INTERNAL;
    w->tensors[w->n++] = t;
    return MDQ_OK;
}

static enum mdq_err check_names(const struct mdq_safetensors_writer *w)
{
    const char **names = mdq_alloc((size_t)w->n, sizeof *names, "tensor names");
    if (!names)
        return MDQ_E_INTERNAL;
    for (int i = 0; i < w->n; i++)
        names[i] = w->tensors[i].name;
    if (w->n > 0)
        qsort(names, (size_t)w->n, sizeof *names, compare_strings);
    enum mdq_err err = MDQ_OK;
    for (int i = 1; i < w->n && err == MDQ_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            err = mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: announced twice", w->dir, names[i]);
    free(names);
    return err;
}

/* Shards are filled in order; a tensor larger than max_shard gets one of its own. */
static enum mdq_err lay_out(struct mdq_safetensors_writer *w)
{
    MDQ_TRY(check_names(w));
    size_t used = 0;
    w->shards = 1;
    for (int i = 0; i < w->n; i++) {
        size_t b = w->tensors[i].bytes;
        if (used > 0 && (used > w->max_shard || b > w->max_shard - used)) {
            w->shards++;
            used = 0;
        }
        used += b;
        w->tensors[i].shard = w->shards - 1;
    }
    w->laid_out = true;
    return MDQ_OK;
}

/* Base name of shard i. */
static char *shard_name(const struct mdq_safetensors_writer *w, int i)
{
    if (w->shards == 1)
        return mdq_strdup("model.safetensors");
    return mdq_asprintf("model-%05d-of-%05d.safetensors", i + 1, w->shards);
}

static json_t *header_entry(const struct announced *t, size_t begin)
{
    char dtype[8];
    snprintf(dtype, sizeof dtype, "%s", mdq_dtype_name(t->dtype));
    for (char *p = dtype; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    json_t *shape = json_array();
    for (int d = 0; d < t->ndim; d++)
        json_array_append_new(shape, json_integer(t->shape[d]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype, "shape", shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)(begin + t->bytes));
}

/* Opens the shard that starts with tensor `first` and writes its header. */
static enum mdq_err start_shard(struct mdq_safetensors_writer *w, int first)
{
    int shard = first < w->n ? w->tensors[first].shard : 0;
    char *name = shard_name(w, shard), *path = name ? mdq_asprintf("%s/%s", w->dir, name) : NULL, *text = NULL;
    json_t *header = json_object();
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!path || !header)
        goto out;
    MDQ_GOTO(err, mdq_output_open(&w->out, path, true), out);
    /* readers of the Hugging Face libraries insist on this entry */
    int bad = json_object_set_new(header, "__metadata__", json_pack("{s:s}", "format", "pt"));
    size_t begin = 0;
    for (int i = first; i < w->n && w->tensors[i].shard == shard; i++) {
        bad |= json_object_set_new(header, w->tensors[i].name, header_entry(&w->tensors[i], begin));
        begin += w->tensors[i].bytes;
    }
    if (bad || !(text = json_dumps(header, JSON_COMPACT))) {
        err = mdq_fail(MDQ_E_INTERNAL, "%s: cannot make the header (a tensor name that is no UTF-8?)", path);
        goto out;
    }
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    unsigned char size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    MDQ_GOTO(err, mdq_output_write(w->out, size, 8), out);
    MDQ_GOTO(err, mdq_output_write(w->out, text, length), out);
    err = mdq_output_write(w->out, "        ", padded - length);
out:
    json_decref(header);
    free(text);
    free(path);
    free(name);
    return err;
}

static enum mdq_err flush(struct mdq_safetensors_writer *w)
{
    enum mdq_err err = w->held ? mdq_output_write(w->out, w->buffer, w->held) : MDQ_OK;
    w->held = 0;
    return err;
}

static enum mdq_err put(struct mdq_safetensors_writer *w, const void *data, size_t bytes)
{
    if (bytes >= BUFFER / 4) {
        MDQ_TRY(flush(w));
        return mdq_output_write(w->out, data, bytes);
    }
    if (bytes > BUFFER - w->held)
        MDQ_TRY(flush(w));
    memcpy(w->buffer + w->held, data, bytes);
    w->held += bytes;
    return MDQ_OK;
}

/* Steps over tensors that are complete (empty ones among them), closing and opening shards on the way. */
static enum mdq_err advance(struct mdq_safetensors_writer *w)
{
    for (;;) {
        if (!w->out)
            MDQ_TRY(start_shard(w, w->current));
        if (w->current == w->n || w->done < w->tensors[w->current].bytes)
            return MDQ_OK;
        w->current++;
        w->done = 0;
        if (w->current < w->n && w->tensors[w->current].shard != w->tensors[w->current - 1].shard) {
            MDQ_TRY(flush(w));
            MDQ_TRY(mdq_output_commit(&w->out));
        }
    }
}

enum mdq_err mdq_safetensors_writer_data(struct mdq_safetensors_writer *w, const char *name, const void *data,
                                         size_t bytes)
{
    if (!w->laid_out)
        MDQ_TRY(lay_out(w));
    if (bytes == 0)
        return MDQ_OK;
    MDQ_TRY(advance(w));
    if (w->current == w->n)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: data after the last announced tensor", w->dir, name);
    const struct announced *t = &w->tensors[w->current];
    if (strcmp(t->name, name) != 0)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: data out of turn, %s comes first", w->dir, name, t->name);
    if (bytes > t->bytes - w->done)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: more data than its %zu bytes", w->dir, name, t->bytes);
    w->done += bytes;
    return put(w, data, bytes);
}

static enum mdq_err write_index(const struct mdq_safetensors_writer *w)
{
    enum mdq_err err = MDQ_E_INTERNAL;
    char *path = mdq_asprintf("%s/model.safetensors.index.json", w->dir), *text = NULL;
    json_t *index = NULL, *map = json_object();
    struct mdq_output *out = NULL;
    size_t total = 0;
    bool bad = !map;
    for (int i = 0; i < w->n && !bad; i++) {
        char *file = shard_name(w, w->tensors[i].shard);
        bad = !file || json_object_set_new(map, w->tensors[i].name, json_string(file)) != 0;
        free(file);
        total += w->tensors[i].bytes;
    }
    if (!bad)
        index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    if (!path || !index || !(text = json_dumps(index, JSON_INDENT(2)))) {
        err = mdq_fail_nomem("index of shards", 0);
        goto out;
    }
    MDQ_GOTO(err, mdq_output_open(&out, path, true), out);
    MDQ_GOTO(err, mdq_output_write(out, text, strlen(text)), out);
    MDQ_GOTO(err, mdq_output_write(out, "\n", 1), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    json_decref(index);
    json_decref(map);
    free(text);
    free(path);
    return err;
}

enum mdq_err mdq_safetensors_writer_finish(struct mdq_safetensors_writer **out)
{
    struct mdq_safetensors_writer *w = *out;
    enum mdq_err err = w->laid_out ? MDQ_OK : lay_out(w);
    if (err != MDQ_OK)
        goto done;
    MDQ_GOTO(err, advance(w), done);
    if (w->current < w->n) {
        err = mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: only %zu of %zu bytes were written", w->dir,
                       w->tensors[w->current].name, w->done, w->tensors[w->current].bytes);
        goto done;
    }
    MDQ_GOTO(err, flush(w), done);
    MDQ_GOTO(err, mdq_output_commit(&w->out), done);
    if (w->shards > 1)
        err = write_index(w);
done:
    release(out);
    return err;
}

void mdq_safetensors_writer_abort(struct mdq_safetensors_writer **w)
{
    if (w && *w)
        release(w);
}
