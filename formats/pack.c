/* Byte buffers and the bounded msgpack scanner. */
#include "mdq_pack.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_limits.h"

/* ---- buffers ---- */

uint8_t *mdq_bytes_room(struct mdq_bytes *b, size_t more)
{
    if (b->failed)
        return NULL;
    if (more > b->cap - b->size || !b->data) {
        size_t need = b->size + more, cap = b->cap + b->cap / 2 > need ? b->cap + b->cap / 2 : need;
        void *p = need < more ? NULL : mdq_realloc(b->data, cap < 64 ? 64 : cap, 1, "buffer");
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->data = p;
        b->cap = cap < 64 ? 64 : cap;
    }
    return b->data + b->size;
}

void mdq_bytes_add(struct mdq_bytes *b, const void *p, size_t n)
{
    uint8_t *to = mdq_bytes_room(b, n);
    if (!to || n == 0)
        return;
    memcpy(to, p, n);
    b->size += n;
}

void mdq_bytes_printf(struct mdq_bytes *b, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    mdq_bytes_add(b, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void mdq_bytes_free(struct mdq_bytes *b)
{
    free(b->data);
    *b = (struct mdq_bytes){0};
}

static int pack_write(void *b, const char *p, size_t n)
{
    mdq_bytes_add(b, p, n);
    return 0; /* a failure is sticky in the buffer */
}

msgpack_packer mdq_packer(struct mdq_bytes *b)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, b, pack_write);
    return pk;
}

void mdq_pack_str(msgpack_packer *pk, const char *s)
{
    size_t n = strlen(s);
    msgpack_pack_str(pk, n);
    msgpack_pack_str_body(pk, s, n);
}

/* ---- reading ---- */

static uint64_t big(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static const char too_short[] = "an object runs over the end of what is there";

/* A head of 1 + n length bytes, then (extensions) one type byte. */
static const char *sized(const uint8_t *p, const uint8_t *end, int n, enum mdq_mp_type type, struct mdq_mp *v)
{
    int head = 1 + n + (type == MDQ_MP_EXT);
    if (end - p < head)
        return too_short;
    v->type = type;
    v->size = (uint32_t)big(p + 1, n);
    if (type == MDQ_MP_EXT)
        v->ext = (int8_t)p[1 + n];
    v->data = v->next = p + head;
    if (type == MDQ_MP_LIST || type == MDQ_MP_MAP)
        return NULL;
    if ((uint64_t)(end - v->data) < v->size)
        return too_short;
    v->next += v->size;
    return NULL;
}

static const char *small(const uint8_t *p, const uint8_t *end, enum mdq_mp_type type, unsigned size, struct mdq_mp *v)
{
    v->type = type;
    v->size = size;
    v->data = v->next = p + 1;
    if (type == MDQ_MP_LIST || type == MDQ_MP_MAP)
        return NULL;
    if (end - v->data < (ptrdiff_t)size)
        return too_short;
    v->next += size;
    return NULL;
}

static const char *number(const uint8_t *p, const uint8_t *end, int n, struct mdq_mp *v)
{
    if (end - p < 1 + n)
        return too_short;
    uint64_t u = big(p + 1, n);
    v->next = p + 1 + n;
    if (*p >= 0xcc && *p <= 0xcf) {
        v->type = MDQ_MP_UINT;
        v->u = u;
    } else if (*p >= 0xd0 && *p <= 0xd3) {
        int64_t i = n == 8 ? (int64_t)u : (int64_t)(u << (64 - 8 * n)) >> (64 - 8 * n);
        v->type = i < 0 ? MDQ_MP_INT : MDQ_MP_UINT;
        v->i = i;
        v->u = (uint64_t)i;
    } else {
        union { uint32_t u; float f; } single = {.u = (uint32_t)u};
        union { uint64_t u; double f; } twice = {.u = u};
        v->type = MDQ_MP_FLOAT;
        v->single = n == 4;
        v->f = v->single ? (double)single.f : twice.f;
    }
    return NULL;
}

const char *mdq_mp_read(const uint8_t *p, const uint8_t *end, struct mdq_mp *v)
{
    *v = (struct mdq_mp){0};
    if (p >= end)
        return too_short;
    uint8_t c = *p;
    v->next = p + 1;
    if (c < 0x80 || c >= 0xe0) {
        v->type = c < 0x80 ? MDQ_MP_UINT : MDQ_MP_INT;
        v->u = c;
        v->i = (int8_t)c;
        return NULL;
    }
    if (c < 0x90)
        return small(p, end, MDQ_MP_MAP, c & 15, v);
    if (c < 0xa0)
        return small(p, end, MDQ_MP_LIST, c & 15, v);
    if (c < 0xc0)
        return small(p, end, MDQ_MP_STR, c & 31, v);
    switch (c) {
    case 0xc0: v->type = MDQ_MP_NIL; return NULL;
    case 0xc2: case 0xc3: v->type = MDQ_MP_BOOL; v->u = c & 1; return NULL;
    case 0xc4: case 0xc5: case 0xc6: return sized(p, end, 1 << (c - 0xc4), MDQ_MP_BIN, v);
    case 0xc7: case 0xc8: case 0xc9: return sized(p, end, 1 << (c - 0xc7), MDQ_MP_EXT, v);
    case 0xca: case 0xcb: return number(p, end, c == 0xca ? 4 : 8, v);
    case 0xcc: case 0xcd: case 0xce: case 0xcf: return number(p, end, 1 << (c - 0xcc), v);
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: return number(p, end, 1 << (c - 0xd0), v);
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: {
        unsigned n = 1u << (c - 0xd4);
        if (end - p < (ptrdiff_t)(2 + n))
            return too_short;
        v->type = MDQ_MP_EXT;
        v->ext = (int8_t)p[1];
        v->data = p + 2;
        v->size = n;
        v->next = p + 2 + n;
        return NULL;
    }
    case 0xd9: case 0xda: case 0xdb: return sized(p, end, 1 << (c - 0xd9), MDQ_MP_STR, v);
    case 0xdc: case 0xdd: return sized(p, end, c == 0xdc ? 2 : 4, MDQ_MP_LIST, v);
    case 0xde: case 0xdf: return sized(p, end, c == 0xde ? 2 : 4, MDQ_MP_MAP, v);
    default: return "byte 0xc1, which begins no msgpack value";
    }
}

const uint8_t *mdq_mp_get(const uint8_t *p, const uint8_t *end, struct mdq_mp *v)
{
    if (mdq_mp_read(p, end, v))
        abort(); /* only for bytes that were checked: a defect */
    return v->next;
}

static bool utf8(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = s[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        int more = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;
        if (more < 0 || (size_t)more >= n - i)
            return false;
        uint32_t u = c & (0x3fu >> more);
        for (int k = 1; k <= more; k++) {
            if ((s[i + (size_t)k] & 0xc0) != 0x80)
                return false;
            u = u << 6 | (s[i + (size_t)k] & 0x3f);
        }
        if ((more == 2 && (u < 0x800 || (u >= 0xd800 && u < 0xe000))) || (more == 3 && (u < 0x10000 || u > 0x10ffff)))
            return false;
        i += (size_t)more + 1;
    }
    return true;
}

struct slice {
    const uint8_t *data;
    size_t size;
};

static int slice_cmp(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    int c = memcmp(x->data, y->data, x->size < y->size ? x->size : y->size);
    return c ? c : (x->size > y->size) - (x->size < y->size);
}

static const char *map_check(const uint8_t *p, const uint8_t *end, uint32_t n, int depth, const uint8_t **next)
{
    enum { FEW = 32 };
    struct slice few[FEW], *keys = few;
    const char *why = NULL;
    if (n > MDQ_LIMIT_MAP)
        return "a map claims more keys than the limit";
    if ((uint64_t)(end - p) < 2 * (uint64_t)n)
        return "a map claims more keys than there are bytes";
    if (n > FEW && !(keys = malloc(n * sizeof *keys)))
        return "out of memory";
    for (uint32_t i = 0; i < n && !why; i++) {
        struct mdq_mp k;
        if ((why = mdq_mp_read(p, end, &k)))
            break;
        if (k.type != MDQ_MP_STR)
            why = "a map has a key that is no string";
        else if (k.size > MDQ_LIMIT_KEY)
            why = "a key is longer than the limit";
        else if (!utf8(k.data, k.size) || memchr(k.data, 0, k.size))
            why = "a key is no UTF-8 text";
        else
            why = mdq_mp_check(k.next, end, depth, &p);
        keys[i] = (struct slice){k.data, k.size};
    }
    if (!why && n > FEW) {
        qsort(keys, n, sizeof *keys, slice_cmp);
        for (uint32_t i = 1; i < n && !why; i++)
            if (slice_cmp(&keys[i - 1], &keys[i]) == 0)
                why = "a map has a duplicate key";
    } else if (!why) {
        for (uint32_t i = 1; i < n && !why; i++)
            for (uint32_t j = 0; j < i && !why; j++)
                if (keys[i].size == keys[j].size && memcmp(keys[i].data, keys[j].data, keys[i].size) == 0)
                    why = "a map has a duplicate key";
    }
    if (keys != few)
        free(keys);
    *next = p;
    return why;
}

const char *mdq_mp_check(const uint8_t *p, const uint8_t *end, int depth, const uint8_t **next)
{
    struct mdq_mp v;
    const char *why = mdq_mp_read(p, end, &v);
    if (why)
        return why;
    *next = v.next;
    switch (v.type) {
    case MDQ_MP_STR: return utf8(v.data, v.size) ? NULL : "a string is no UTF-8 text";
    case MDQ_MP_LIST:
        if (depth < 1)
            return "nested deeper than the limit";
        if ((uint64_t)(end - v.next) < v.size)
            return "a list claims more elements than there are bytes";
        for (uint32_t i = 0; i < v.size; i++)
            if ((why = mdq_mp_check(*next, end, depth - 1, next)))
                return why;
        return NULL;
    case MDQ_MP_MAP:
        return depth < 1 ? "nested deeper than the limit" : map_check(v.next, end, v.size, depth - 1, next);
    default: return NULL;
    }
}

const uint8_t *mdq_mp_skip(const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp v;
    mdq_mp_get(p, end, &v);
    uint64_t n = v.type == MDQ_MP_LIST ? v.size : v.type == MDQ_MP_MAP ? 2 * (uint64_t)v.size : 0;
    p = v.next;
    while (n--)
        p = mdq_mp_skip(p, end);
    return p;
}

bool mdq_mp_is(const struct mdq_mp *v, const char *text)
{
    return v->type == MDQ_MP_STR && v->size == strlen(text) && memcmp(v->data, text, v->size) == 0;
}

bool mdq_mp_int(const struct mdq_mp *v, int64_t *out)
{
    if (v->type == MDQ_MP_INT)
        *out = v->i;
    else if (v->type == MDQ_MP_UINT && v->u <= INT64_MAX)
        *out = (int64_t)v->u;
    else
        return false;
    return true;
}
