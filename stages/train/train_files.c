#include "train_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_dtype.h"
#include "mdq_json.h"
#include "mdq_output.h"
#include "mdq_safetensors.h"

enum { JSON_BYTES = 1 << 24, PIECE = 1 << 16 };
static const char marker[] = "train.json";

static enum mdq_err write_file(const char *dir, const char *name, const char *text, size_t size)
{
    char *path = mdq_asprintf("%s/%s", dir, name);
    if (!path)
        return MDQ_E_INTERNAL;
    struct mdq_output *out = NULL;
    enum mdq_err err = mdq_output_open(&out, path, false);
    if (err == MDQ_OK && (err = mdq_output_write(out, text, size)) == MDQ_OK)
        err = mdq_output_commit(&out);
    mdq_output_abort(&out);
    free(path);
    return err;
}

static enum mdq_err write_json(const char *dir, const char *name, const json_t *object)
{
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text)
        return mdq_fail_nomem(name, 0);
    size_t n = strlen(text);
    text[n] = '\n'; /* over the terminator */
    enum mdq_err err = write_file(dir, name, text, n + 1);
    free(text);
    return err;
}

static enum mdq_err announce(struct mdq_safetensors_writer *w, const struct train_params *p, const char *prefix,
                             enum mdq_dtype dtype)
{
    char name[100];
    for (int i = 0; i < p->count; i++) {
        const struct train_tensor *t = &p->tensors[i];
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        MDQ_TRY(mdq_safetensors_writer_announce(w, name, dtype, t->ndim, t->shape));
    }
    return MDQ_OK;
}

enum mdq_err train_checkpoint_save(const char *dir, const struct train_params *p, int64_t step, json_t *settings,
                                   json_t *state)
{
    struct mdq_output_dir *out = NULL;
    struct mdq_safetensors_writer *w = NULL;
    char name[100];
    static const char *const prefixes[] = {"", "m.", "v."};
    json_t *about = json_pack("{s:I, s:O, s:O}", "step", (json_int_t)step, "settings", settings, "state", state);
    enum mdq_err err = about ? MDQ_OK : mdq_fail_nomem("checkpoint", 0);
    if (err != MDQ_OK)
        goto out;
    MDQ_GOTO(err, mdq_output_dir_open(&out, dir, marker), out);
    MDQ_GOTO(err, mdq_safetensors_writer_new(&w, mdq_output_dir_path(out), SIZE_MAX), out);
    for (int k = 0; k < 3; k++)
        MDQ_GOTO(err, announce(w, p, prefixes[k], MDQ_F32), out);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < p->count; i++) {
            const struct train_tensor *t = &p->tensors[i];
            snprintf(name, sizeof name, "%s%s", prefixes[k], t->name);
            MDQ_GOTO(err, mdq_safetensors_writer_data(w, name, k == 0 ? t->w : k == 1 ? t->m : t->v,
                                                      (size_t)t->n * sizeof(float)), out);
        }
    MDQ_GOTO(err, mdq_safetensors_writer_finish(&w), out);
    MDQ_GOTO(err, write_json(mdq_output_dir_path(out), marker, about), out);
    err = mdq_output_dir_commit(&out);
out:
    mdq_safetensors_writer_abort(&w);
    mdq_output_dir_abort(&out);
    json_decref(about);
    return err;
}

static enum mdq_err same_settings(const char *path, const json_t *then, json_t *now)
{
    const char *key;
    json_t *value;
    json_object_foreach(now, key, value) {
        const json_t *old = json_object_get(then, key);
        if (old && json_equal(old, value))
            continue;
        char *a = old ? json_dumps(old, JSON_ENCODE_ANY) : NULL, *b = json_dumps(value, JSON_ENCODE_ANY);
        enum mdq_err err = mdq_fail(MDQ_E_USAGE, "%s: was made with another %s (%s, now %s): --resume continues the "
                                    "same training only", path, key, a ? a : "none", b ? b : "?");
        free(a);
        free(b);
        return err;
    }
    return MDQ_OK;
}

static enum mdq_err load_tensor(const struct mdq_safetensors *st, const char *dir, const char *prefix,
                                const struct train_tensor *t, float *to)
{
    char name[100];
    snprintf(name, sizeof name, "%s%s", prefix, t->name);
    const struct mdq_tensor *from = mdq_safetensors_find(st, name);
    if (!from)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: is missing", dir, name);
    bool same = from->dtype == MDQ_F32 && from->ndim == t->ndim;
    for (int i = 0; same && i < t->ndim; i++)
        same = from->shape[i] == t->shape[i];
    if (!same)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: has another type or shape than the model", dir, name);
    memcpy(to, from->data, from->bytes);
    return MDQ_OK;
}

enum mdq_err train_checkpoint_load(const char *dir, struct train_params *p, int64_t *step, json_t *settings,
                                   json_t **state)
{
    struct mdq_safetensors *st = NULL;
    json_t *about = NULL;
    char *path = mdq_asprintf("%s/%s", dir, marker);
    enum mdq_err err = path ? MDQ_OK : MDQ_E_INTERNAL;
    *state = NULL;
    if (err != MDQ_OK)
        goto out;
    MDQ_GOTO(err, mdq_json_read(&about, path, JSON_BYTES), out);
    const json_t *at = json_object_get(about, "step"), *then = json_object_get(about, "settings");
    if (!json_is_integer(at) || json_integer_value(at) < 0 || !json_is_object(then) ||
        !json_is_object(json_object_get(about, "state"))) {
        err = mdq_fail(MDQ_E_DATA, "%s: is no checkpoint of mdq-train: no step, settings and state", path);
        goto out;
    }
    *step = json_integer_value(at);
    MDQ_GOTO(err, same_settings(path, then, settings), out);
    MDQ_GOTO(err, mdq_safetensors_open(&st, dir), out);
    for (int i = 0; i < p->count; i++) {
        const struct train_tensor *t = &p->tensors[i];
        MDQ_GOTO(err, load_tensor(st, dir, "", t, t->w), out);
        MDQ_GOTO(err, load_tensor(st, dir, "m.", t, t->m), out);
        MDQ_GOTO(err, load_tensor(st, dir, "v.", t, t->v), out);
    }
    *state = json_incref(json_object_get(about, "state"));
out:
    mdq_safetensors_close(&st);
    json_decref(about);
    free(path);
    return err;
}

/* A file that is not there is no error. */
static enum mdq_err copy_file(const char *from, const char *to, const char *name)
{
    char *path = mdq_asprintf("%s/%s", from, name), *text = NULL;
    if (!path)
        return MDQ_E_INTERNAL;
    enum mdq_err err = MDQ_OK;
    FILE *f = fopen(path, "re");
    if (!f) {
        if (errno != ENOENT)
            err = mdq_fail_errno(MDQ_E_IO, "%s: cannot open", path);
        goto out;
    }
    size_t size = 0, n;
    do {
        char *more = mdq_realloc(text, size + PIECE, 1, name);
        if (!more) {
            err = MDQ_E_INTERNAL;
            goto out;
        }
        text = more;
        size += n = fread(text + size, 1, PIECE, f);
    } while (n > 0);
    err = ferror(f) ? mdq_fail_errno(MDQ_E_IO, "%s: reading failed", path) : write_file(to, name, text, size);
out:
    if (f)
        fclose(f);
    free(text);
    free(path);
    return err;
}

static enum mdq_err write_config(const char *from, const char *to, enum mdq_dtype dtype)
{
    char *path = mdq_asprintf("%s/config.json", from);
    json_t *config = NULL;
    if (!path)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_json_read(&config, path, JSON_BYTES);
    free(path);
    if (err != MDQ_OK)
        return err;
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype"; /* newer and older folders */
    const char *want = dtype == MDQ_BF16 ? "bfloat16" : "float32", *now = json_string_value(json_object_get(config, key));
    if (now && strcmp(now, want) == 0)
        err = copy_file(from, to, "config.json");
    else if (json_object_set_new(config, key, json_string(want)) != 0)
        err = mdq_fail_nomem("config.json", 0);
    else
        err = write_json(to, "config.json", config);
    json_decref(config);
    return err;
}

static enum mdq_err write_weights(const char *dir, const struct train_params *p, enum mdq_dtype dtype)
{
    struct mdq_safetensors_writer *w = NULL;
    void *piece = mdq_alloc(PIECE, sizeof(float), "weights");
    enum mdq_err err = piece ? MDQ_OK : MDQ_E_INTERNAL;
    if (err != MDQ_OK)
        goto out;
    MDQ_GOTO(err, mdq_safetensors_writer_new(&w, dir, SIZE_MAX), out);
    MDQ_GOTO(err, announce(w, p, "", dtype), out);
    for (int i = 0; i < p->count; i++) {
        const struct train_tensor *t = &p->tensors[i];
        for (int64_t at = 0; at < t->n; at += PIECE) {
            int64_t n = t->n - at < PIECE ? t->n - at : PIECE;
            if (mdq_dtype_from_f32(dtype, t->w + at, n, piece) != 0) {
                err = mdq_fail(MDQ_E_INTERNAL, "weights: cannot be written as %s", mdq_dtype_name(dtype));
                goto out;
            }
            MDQ_GOTO(err, mdq_safetensors_writer_data(w, t->name, piece, mdq_dtype_bytes(dtype, n)), out);
        }
    }
    err = mdq_safetensors_writer_finish(&w);
out:
    mdq_safetensors_writer_abort(&w);
    free(piece);
    return err;
}

enum mdq_err train_model_write(const char *path, const struct train_params *p, enum mdq_dtype dtype,
                               const char *source, const char *tokenizer)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                        "generation_config.json"};
    struct mdq_output_dir *out = NULL;
    enum mdq_err err = mdq_output_dir_open(&out, path, "config.json");
    if (err != MDQ_OK)
        return err;
    const char *dir = mdq_output_dir_path(out);
    MDQ_GOTO(err, write_config(source, dir, dtype), out);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        MDQ_GOTO(err, copy_file(tokenizer, dir, files[i]), out);
    MDQ_GOTO(err, write_weights(dir, p, dtype), out);
    err = mdq_output_dir_commit(&out);
out:
    mdq_output_dir_abort(&out);
    return err;
}

enum mdq_err train_model_probe(const char *path)
{
    struct mdq_output_dir *out = NULL;
    enum mdq_err err = mdq_output_dir_open(&out, path, "config.json");
    mdq_output_dir_abort(&out);
    return err;
}
