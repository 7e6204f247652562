/* msgpack to JSON text and back. Numbers are printed with the fewest digits that read back the same. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_limits.h"
#include "mdq_pack.h"

void mdq_mp_quote(struct mdq_bytes *out, const void *s, size_t n)
{
    const uint8_t *c = s;
    mdq_bytes_add(out, "\"", 1);
    for (size_t i = 0, from = 0; i <= n; i++) {
        if (i < n && c[i] >= 0x20 && c[i] != '"' && c[i] != '\\' && c[i] != 0x7f)
            continue;
        mdq_bytes_add(out, c + from, i - from);
        from = i + 1;
        if (i == n)
            break;
        if (c[i] == '"' || c[i] == '\\')
            mdq_bytes_printf(out, "\\%c", c[i]);
        else if (c[i] == '\n')
            mdq_bytes_add(out, "\\n", 2);
        else
            mdq_bytes_printf(out, "\\u%04x", c[i]);
    }
    mdq_bytes_add(out, "\"", 1);
}

static void print_float(struct mdq_bytes *out, double f, bool single)
{
    char text[40];
    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (single ? strtof(text, NULL) == (float)f : strtod(text, NULL) == f)
            break;
    }
    mdq_bytes_add(out, text, strlen(text));
    if (!strpbrk(text, ".e"))
        mdq_bytes_add(out, ".0", 2); /* a float stays a float when read back */
}

/* The summary of an array: everything but its data. */
static bool is_array(const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp v, k, e;
    bool dtype = false, shape = false, data = false;
    p = mdq_mp_get(p, end, &v);
    for (uint32_t i = 0; i < v.size; i++) {
        mdq_mp_get(mdq_mp_get(p, end, &k), end, &e);
        dtype |= mdq_mp_is(&k, "dtype") && e.type == MDQ_MP_STR;
        shape |= mdq_mp_is(&k, "shape") && e.type == MDQ_MP_LIST;
        data |= mdq_mp_is(&k, "data") && e.type == MDQ_MP_BIN;
        p = mdq_mp_skip(k.next, end);
    }
    return dtype && shape && data;
}

const char *mdq_mp_print(struct mdq_bytes *out, const uint8_t *p, const uint8_t *end, enum mdq_mp_style style)
{
    struct mdq_mp v, k;
    const char *why = NULL;
    const uint8_t *q = mdq_mp_get(p, end, &v);
    switch (v.type) {
    case MDQ_MP_NIL: mdq_bytes_add(out, "null", 4); break;
    case MDQ_MP_BOOL: mdq_bytes_printf(out, "%s", v.u ? "true" : "false"); break;
    case MDQ_MP_UINT: mdq_bytes_printf(out, "%llu", (unsigned long long)v.u); break;
    case MDQ_MP_INT: mdq_bytes_printf(out, "%lld", (long long)v.i); break;
    case MDQ_MP_STR: mdq_mp_quote(out, v.data, v.size); break;
    case MDQ_MP_FLOAT:
        if (isfinite(v.f))
            print_float(out, v.f, v.single);
        else if (style == MDQ_MP_STRICT)
            return "a number that is not finite";
        else
            mdq_bytes_printf(out, "{\"$float\":\"%s\"}", isnan(v.f) ? "nan" : v.f > 0 ? "inf" : "-inf");
        break;
    case MDQ_MP_BIN:
        if (style == MDQ_MP_STRICT)
            return "binary data";
        mdq_bytes_printf(out, "{\"$bin\":%u}", v.size);
        break;
    case MDQ_MP_EXT:
        if (style == MDQ_MP_STRICT)
            return "an extension value";
        mdq_bytes_printf(out, "{\"$ext\":[%d,%u]}", v.ext, v.size);
        break;
    case MDQ_MP_LIST:
        mdq_bytes_add(out, "[", 1);
        for (uint32_t i = 0; i < v.size && !why; i++, q = mdq_mp_skip(q, end)) {
            mdq_bytes_add(out, ",", i > 0);
            why = mdq_mp_print(out, q, end, style);
        }
        mdq_bytes_add(out, "]", 1);
        break;
    case MDQ_MP_MAP: {
        bool array = style == MDQ_MP_SUMMARY && is_array(p, end);
        mdq_bytes_add(out, "{", 1);
        for (uint32_t i = 0, printed = 0; i < v.size && !why; i++) {
            q = mdq_mp_get(q, end, &k);
            if (!array || !(mdq_mp_is(&k, "data") || mdq_mp_is(&k, "enc"))) {
                mdq_bytes_add(out, ",", printed++ > 0);
                mdq_mp_quote(out, k.data, k.size);
                mdq_bytes_add(out, ":", 1);
                why = mdq_mp_print(out, q, end, style);
            }
            q = mdq_mp_skip(q, end);
        }
        mdq_bytes_add(out, "}", 1);
    }
    }
    return why;
}

/* ---- JSON text to msgpack ---- */

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void pack_json(msgpack_packer *pk, json_t *j, bool *nomem)
{
    size_t n = json_is_array(j) ? json_array_size(j) : json_object_size(j), i = 0;
    switch (json_typeof(j)) {
    case JSON_NULL: msgpack_pack_nil(pk); break;
    case JSON_TRUE: msgpack_pack_true(pk); break;
    case JSON_FALSE: msgpack_pack_false(pk); break;
    case JSON_INTEGER: msgpack_pack_int64(pk, json_integer_value(j)); break;
    case JSON_REAL: msgpack_pack_double(pk, json_real_value(j)); break;
    case JSON_STRING:
        msgpack_pack_str(pk, json_string_length(j));
        msgpack_pack_str_body(pk, json_string_value(j), json_string_length(j));
        break;
    case JSON_ARRAY:
        msgpack_pack_array(pk, n);
        for (; i < n; i++)
            pack_json(pk, json_array_get(j, i), nomem);
        break;
    case JSON_OBJECT: {
        const char **names = mdq_alloc(n, sizeof *names, "JSON keys"), *name;
        json_t *value;
        if (!names) {
            *nomem = true;
            return;
        }
        json_object_foreach(j, name, value)
            names[i++] = name;
        qsort(names, n, sizeof *names, name_cmp);
        msgpack_pack_map(pk, n);
        for (i = 0; i < n; i++) {
            mdq_pack_str(pk, names[i]);
            pack_json(pk, json_object_get(j, names[i]), nomem);
        }
        free(names);
    }
    }
}

enum mdq_err mdq_mp_from_json(struct mdq_bytes *out, const char *json, const char *what)
{
    json_error_t e;
    json_t *j = json_loads(json, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!j)
        return mdq_fail(MDQ_E_DATA, "%s: no JSON: %s (column %d)", what, e.text, e.column);
    bool nomem = false;
    size_t from = out->size;
    msgpack_packer pk = mdq_packer(out);
    pack_json(&pk, j, &nomem);
    json_decref(j);
    if (nomem || out->failed)
        return MDQ_E_INTERNAL;
    const uint8_t *next;
    const char *why = mdq_mp_check(out->data + from, out->data + out->size, MDQ_LIMIT_DEPTH - 1, &next);
    return why ? mdq_fail(MDQ_E_DATA, "%s: %s", what, why) : MDQ_OK;
}
