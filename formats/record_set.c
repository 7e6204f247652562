/* Setters of records, and uniting two records of the same identity. */
#include <stdlib.h>
#include <string.h>

#include "mdq_internal.h"

static bool same_array(struct mdq_entry *a, struct mdq_entry *b)
{
    struct mdq_array x, y;
    const char *why;
    return mdq_entry_array(a, &x, &why) == MDQ_OK && mdq_entry_array(b, &y, &why) == MDQ_OK && x.dtype == y.dtype &&
           x.ndim == y.ndim && memcmp(x.shape, y.shape, (size_t)x.ndim * sizeof *x.shape) == 0 && x.bytes == y.bytes &&
           memcmp(x.data, y.data, x.bytes) == 0;
}

/* The same key was found in both. Arrays may differ in how they are stored. */
static bool same_value(struct mdq_entry *a, struct mdq_entry *b)
{
    const uint8_t *ae, *be, *av = mdq_entry_value(a, &ae), *bv = mdq_entry_value(b, &be);
    if (a->joined == b->joined && ae - av == be - bv && memcmp(av, bv, (size_t)(ae - av)) == 0)
        return true;
    return same_array(a, b);
}

/* Takes b. */
static enum mdq_err add(struct mdq_record *r, const char *key, struct mdq_bytes *b, size_t value_at, bool joined)
{
    if (b->failed) {
        mdq_bytes_free(b);
        return MDQ_E_INTERNAL;
    }
    size_t key_size = strlen(key);
    struct mdq_entry e = {.raw = b->data, .size = b->size, .key_at = (uint32_t)(value_at - key_size),
                          .key_size = (uint32_t)key_size, .value_at = (uint32_t)value_at, .owned = true,
                          .joined = joined};
    const char *why = NULL;
    if (key_size == 0 || key_size > MDQ_LIMIT_KEY || strcmp(key, "t") == 0 || strcmp(key, "id") == 0 ||
        strcmp(key, "n") == 0)
        why = "not a key that can be set";
    else if (b->size > MDQ_LIMIT_RECORD - 65536)
        why = "larger than a record may be";
    else
        why = mdq_entry_check_finite(r, &e);
    struct mdq_entry *old = why ? NULL : mdq_record_find(r, key);
    if (old && !same_value(old, &e))
        why = "the record has it already, with another value";
    if (why || old) {
        free(b->data);
        return why ? mdq_fail(MDQ_E_DATA, "%s: key %s: %s", mdq_record_name(r), key, why) : MDQ_OK;
    }
    return mdq_record_insert(r, e);
}

#define SET_BEGIN(b, pk, at)                                                                                 \
    struct mdq_bytes b = {0};                                                                                  \
    msgpack_packer pk = mdq_packer(&b);                                                                      \
    mdq_pack_str(&pk, key);                                                                                  \
    size_t at = b.size

enum mdq_err mdq_record_set_int(struct mdq_record *r, const char *key, int64_t v)
{
    SET_BEGIN(b, pk, at);
    msgpack_pack_int64(&pk, v);
    return add(r, key, &b, at, false);
}

enum mdq_err mdq_record_set_f64(struct mdq_record *r, const char *key, double v)
{
    SET_BEGIN(b, pk, at);
    msgpack_pack_double(&pk, v);
    return add(r, key, &b, at, false);
}

enum mdq_err mdq_record_set_bool(struct mdq_record *r, const char *key, bool v)
{
    SET_BEGIN(b, pk, at);
    v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk);
    return add(r, key, &b, at, false);
}

static enum mdq_err check_packed(struct mdq_record *r, const char *key, struct mdq_bytes *b, size_t at)
{
    const uint8_t *next;
    const char *why = b->failed ? NULL : mdq_mp_check(b->data + at, b->data + b->size, MDQ_LIMIT_DEPTH - 1, &next);
    if (!why)
        return MDQ_OK;
    mdq_bytes_free(b);
    return mdq_fail(MDQ_E_DATA, "%s: key %s: %s", mdq_record_name(r), key, why);
}

enum mdq_err mdq_record_set_str(struct mdq_record *r, const char *key, const char *v)
{
    SET_BEGIN(b, pk, at);
    mdq_pack_str(&pk, v);
    MDQ_TRY(check_packed(r, key, &b, at));
    return add(r, key, &b, at, false);
}

enum mdq_err mdq_record_set_json(struct mdq_record *r, const char *key, const char *json)
{
    struct mdq_bytes b = {0};
    msgpack_packer pk = mdq_packer(&b);
    mdq_pack_str(&pk, key);
    size_t at = b.size;
    enum mdq_err err = mdq_mp_from_json(&b, json, key);
    if (err) {
        mdq_bytes_free(&b);
        return mdq_fail_in(err, "%s", mdq_record_name(r));
    }
    return add(r, key, &b, at, false);
}

enum mdq_err mdq_record_set_array(struct mdq_record *r, const char *key, const struct mdq_array *a)
{
    bool fits = a->ndim >= 0 && a->ndim <= MDQ_ARRAY_DIMS;
    int64_t count = 1;
    for (int i = 0; fits && i < a->ndim; i++)
        fits = a->shape[i] >= 0 && !__builtin_mul_overflow(count, a->shape[i], &count);
    if (!fits || mdq_dtype_bytes(a->dtype, count) != a->bytes)
        return mdq_fail(MDQ_E_INTERNAL, "%s: key %s: an array of %zu bytes, which its shape and dtype %s contradict",
                        mdq_record_name(r), key, a->bytes, mdq_dtype_name(a->dtype));
    if (a->bytes > MDQ_LIMIT_RECORD - 65536)
        return mdq_fail(MDQ_E_DATA, "%s: key %s: an array of %zu bytes is larger than a record may be",
                        mdq_record_name(r), key, a->bytes);
    bool planes = mdq_dtype_bits(a->dtype) >= 16 && count >= MDQ_PLANES_MIN;
    SET_BEGIN(b, pk, at);
    msgpack_pack_map(&pk, 4);
    mdq_pack_str(&pk, "dtype");
    mdq_pack_str(&pk, mdq_dtype_name(a->dtype));
    mdq_pack_str(&pk, "shape");
    msgpack_pack_array(&pk, (size_t)a->ndim);
    for (int i = 0; i < a->ndim; i++)
        msgpack_pack_int64(&pk, a->shape[i]);
    mdq_pack_str(&pk, "enc");
    mdq_pack_str(&pk, planes ? "planes" : "raw");
    mdq_pack_str(&pk, "data");
    msgpack_pack_bin(&pk, a->bytes);
    /* exactly as much as needed: stages hold many records */
    void *exact = b.failed ? NULL : mdq_realloc(b.data, b.size + a->bytes, 1, key);
    if (!exact) {
        mdq_bytes_free(&b);
        return MDQ_E_INTERNAL;
    }
    b.data = exact;
    b.cap = b.size + a->bytes;
    mdq_bytes_add(&b, a->data, a->bytes);
    return add(r, key, &b, at, planes); /* elements now, planes when written */
}

enum mdq_err mdq_record_unite(struct mdq_record *a, struct mdq_record *b)
{
    for (int i = 0; i < b->n; i++) {
        struct mdq_entry *e = &b->entries[i];
        char key[MDQ_LIMIT_KEY + 1];
        memcpy(key, e->raw + e->key_at, e->key_size);
        key[e->key_size] = 0;
        struct mdq_entry *old = mdq_record_find(a, key);
        if (old && !same_value(old, e))
            return mdq_fail(MDQ_E_DATA, "%s: key %s: has another value in %s", mdq_record_name(a), key,
                            b->source ? b->source->name : "the other record");
        if (old)
            continue;
        struct mdq_entry copy = *e;
        copy.owned = false;
        MDQ_TRY(mdq_record_insert(a, copy));
    }
    return MDQ_OK;
}
