/* tokenizer.json: reading the file and its fields, with messages that name file and field. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tokenizer_impl.h"

enum mdq_err mdq_tok_json_read(json_t **out, const char *path, bool optional)
{
    *out = NULL;
    FILE *f = fopen(path, "rb");
    if (!f) {
        if (optional && (errno == ENOENT || errno == ENOTDIR))
            return MDQ_OK;
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot be opened", path);
    }
    struct mdq_tok_buf b = {0};
    enum mdq_err err = MDQ_OK;
    char block[1 << 16];
    size_t got;
    while (!err && (got = fread(block, 1, sizeof block, f)) > 0) {
        if (b.n + got > MDQ_TOK_MAX_FILE)
            err = mdq_fail(MDQ_E_DATA, "%s: longer than %zu bytes: no tokenizer", path, MDQ_TOK_MAX_FILE);
        else
            err = mdq_tok_buf_add(&b, block, got);
    }
    if (!err && ferror(f))
        err = mdq_fail_errno(MDQ_E_IO, "%s: reading failed", path);
    fclose(f);
    if (!err && b.n == 0)
        err = mdq_fail(MDQ_E_DATA, "%s: the file is empty", path);
    if (!err) {
        json_error_t why;
        *out = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
        if (!*out)
            err = mdq_fail(MDQ_E_DATA, "%s: line %d: no valid JSON: %s", path, why.line, why.text);
        else if (!json_is_object(*out)) {
            json_decref(*out);
            *out = NULL;
            err = mdq_fail(MDQ_E_DATA, "%s: no JSON object", path);
        }
    }
    mdq_tok_buf_free(&b);
    return err;
}

enum mdq_err mdq_tok_json_bool(const json_t *obj, const char *key, bool fallback, const char *where, bool *out)
{
    const json_t *v = json_object_get(obj, key);
    *out = fallback;
    if (!v || json_is_null(v))
        return MDQ_OK;
    if (!json_is_boolean(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s: neither true nor false", where, key);
    *out = json_is_true(v);
    return MDQ_OK;
}

enum mdq_err mdq_tok_json_int(const json_t *obj, const char *key, int64_t min, int64_t max, const char *where,
                          int64_t *out)
{
    const json_t *v = json_object_get(obj, key);
    *out = 0;
    if (!json_is_integer(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s: %s", where, key, v ? "no integer" : "missing");
    *out = json_integer_value(v);
    if (*out < min || *out > max)
        return mdq_fail(MDQ_E_DATA, "%s: %s: %lld is not within %lld and %lld", where, key, (long long)*out,
                        (long long)min, (long long)max);
    return MDQ_OK;
}

enum mdq_err mdq_tok_json_string(const json_t *obj, const char *key, const char *where, const char **out, size_t *n)
{
    const json_t *v = json_object_get(obj, key);
    *out = "";
    *n = 0;
    if (!json_is_string(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s: %s", where, key, v ? "no string" : "missing");
    *out = json_string_value(v);
    *n = json_string_length(v);
    return MDQ_OK;
}

enum mdq_err mdq_tok_json_type(const json_t *spec, const char *where, const char **type)
{
    if (!json_is_object(spec))
        return mdq_fail(MDQ_E_DATA, "%s: neither null nor an object", where);
    size_t n;
    return mdq_tok_json_string(spec, "type", where, type, &n);
}

enum mdq_err mdq_tok_json_sequence(const json_t *spec, const char *list, const char *where, int depth,
                               enum mdq_err (*leaf)(void *arg, const json_t *spec), void *arg)
{
    if (depth > MDQ_TOK_MAX_DEPTH)
        return mdq_fail(MDQ_E_DATA, "%s: Sequence: nested deeper than %d", where, MDQ_TOK_MAX_DEPTH);
    const char *type;
    MDQ_TRY(mdq_tok_json_type(spec, where, &type));
    if (strcmp(type, "Sequence") != 0)
        return leaf(arg, spec);
    const json_t *items = json_object_get(spec, list);
    if (!json_is_array(items))
        return mdq_fail(MDQ_E_DATA, "%s: Sequence: %s: no list", where, list);
    for (size_t i = 0; i < json_array_size(items); i++)
        MDQ_TRY(mdq_tok_json_sequence(json_array_get(items, i), list, where, depth + 1, leaf, arg));
    return MDQ_OK;
}
