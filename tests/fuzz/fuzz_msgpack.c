/*
 * Any bytes as a msgpack value: what our scanner accepts, msgpack-c unpacks to the same length and the same kinds of
 * things; it can be skipped, printed as JSON, and that JSON packed and printed again is the same text.
 * `fuzz_msgpack FILE`, or without arguments values made and mutated by itself, always the same.
 */
#include <time.h>

#include "mdq_limits.h"
#include "mdq_pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "max_allocation_size_mb=64:allocator_may_return_null=0";
}

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                    \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* The same value by our reader and by msgpack-c's. Returns behind it. */
static const uint8_t *compare(const uint8_t *p, const uint8_t *end, const msgpack_object *o)
{
    struct mdq_mp v;
    const uint8_t *q = mdq_mp_get(p, end, &v);
    switch (v.type) {
    case MDQ_MP_NIL: MUST(o->type == MSGPACK_OBJECT_NIL); break;
    case MDQ_MP_BOOL: MUST(o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean == (v.u == 1)); break;
    case MDQ_MP_UINT: MUST(o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 == v.u); break;
    case MDQ_MP_INT: MUST(o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && o->via.i64 == v.i); break;
    case MDQ_MP_FLOAT: {
        MUST(o->type == (v.single ? MSGPACK_OBJECT_FLOAT32 : MSGPACK_OBJECT_FLOAT64));
        MUST(o->via.f64 == v.f || (o->via.f64 != o->via.f64 && v.f != v.f));
        break;
    }
    case MDQ_MP_STR:
        MUST(o->type == MSGPACK_OBJECT_STR && o->via.str.size == v.size);
        MUST(v.size == 0 || memcmp(o->via.str.ptr, v.data, v.size) == 0);
        break;
    case MDQ_MP_BIN:
        MUST(o->type == MSGPACK_OBJECT_BIN && o->via.bin.size == v.size);
        MUST(v.size == 0 || memcmp(o->via.bin.ptr, v.data, v.size) == 0);
        break;
    case MDQ_MP_EXT: MUST(o->type == MSGPACK_OBJECT_EXT && o->via.ext.size == v.size && o->via.ext.type == v.ext); break;
    case MDQ_MP_LIST:
        MUST(o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == v.size);
        for (uint32_t i = 0; i < v.size; i++)
            q = compare(q, end, &o->via.array.ptr[i]);
        break;
    case MDQ_MP_MAP:
        MUST(o->type == MSGPACK_OBJECT_MAP && o->via.map.size == v.size);
        for (uint32_t i = 0; i < v.size; i++) {
            q = compare(q, end, &o->via.map.ptr[i].key);
            q = compare(q, end, &o->via.map.ptr[i].val);
        }
    }
    return q;
}

static void check_json(const uint8_t *p, const uint8_t *end)
{
    struct mdq_bytes text = {0}, again = {0}, packed = {0};
    MUST(mdq_mp_print(&text, p, end, MDQ_MP_SUMMARY) == NULL);
    text.size = 0;
    if (mdq_mp_print(&text, p, end, MDQ_MP_STRICT) == NULL) {
        mdq_bytes_add(&text, "", 1);
        const uint8_t *next;
        /* jansson refuses what it cannot hold: integers over 63 bits, NUL in strings; and it sorts keys */
        if (mdq_mp_from_json(&packed, (const char *)text.data, "fuzz") == MDQ_OK) {
            MUST(mdq_mp_check(packed.data, packed.data + packed.size, MDQ_LIMIT_DEPTH, &next) == NULL);
            MUST(next == packed.data + packed.size);
            MUST(mdq_mp_print(&again, packed.data, next, MDQ_MP_STRICT) == NULL);
            mdq_bytes_add(&again, "", 1);
            struct mdq_bytes third = {0};
            MUST(mdq_mp_from_json(&third, (const char *)again.data, "fuzz") == MDQ_OK);
            MUST(third.size == packed.size && memcmp(third.data, packed.data, packed.size) == 0);
            mdq_bytes_free(&third);
        }
    }
    mdq_bytes_free(&text);
    mdq_bytes_free(&again);
    mdq_bytes_free(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1); /* of exactly its size, so that reading beyond it shows */
    MUST(copy);
    uint8_t *p = realloc(copy, size ? size : 1);
    MUST(p);
    if (size)
        memcpy(p, data, size);
    const uint8_t *next, *end = p + size;
    if (mdq_mp_check(p, end, MDQ_LIMIT_DEPTH, &next) == NULL) {
        MUST(next > p && next <= end && mdq_mp_skip(p, end) == next);
        msgpack_unpacked u;
        msgpack_unpacked_init(&u);
        size_t at = 0;
        msgpack_unpack_return r = msgpack_unpack_next(&u, (const char *)p, size, &at);
        MUST(r == MSGPACK_UNPACK_SUCCESS || r == MSGPACK_UNPACK_EXTRA_BYTES);
        MUST(at == (size_t)(next - p));
        MUST(compare(p, end, &u.data) == next);
        msgpack_unpacked_destroy(&u);
        check_json(p, end);
    }
    free(p);
    return 0;
}

#ifndef MDQ_LIBFUZZER

enum { ROUNDS = 400000 };
#define SECONDS 2.5 /* of processor time */

static uint64_t state = 0xD1B54A32D192ED03u;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

/* A random value, mostly valid. */
static void make(struct mdq_bytes *b, int depth)
{
    static const uint8_t heads[] = {0xc0, 0xc1, 0xc2, 0xc3, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3};
    static const uint8_t sizes[] = {0, 0, 0, 0, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
    uint32_t kind = below(depth > 0 ? 10 : 6), n = below(5);
    uint8_t bytes[8], c;
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(below(4) ? below(256) : 0);
    if (kind < 3) {
        uint32_t i = below(sizeof heads);
        i = heads[i] == 0xc1 && below(50) ? 0 : i;
        mdq_bytes_add(b, &heads[i], 1);
        mdq_bytes_add(b, bytes, sizes[i]);
    } else if (kind == 3) {
        c = (uint8_t)(below(2) ? below(128) : 0xe0 + below(32));
        mdq_bytes_add(b, &c, 1);
    } else if (kind == 4) {
        c = (uint8_t)(0xa0 + n);
        mdq_bytes_add(b, &c, 1);
        mdq_bytes_add(b, "\xe2\x82\xac" "a", n < 4 ? n : 4);
        mdq_bytes_add(b, "z", n > 4);
    } else if (kind == 5) {
        static const uint8_t bin[][3] = {{0xc4, 0, 0}, {0xc5, 0, 0}, {0xc7, 0, 9}, {0xd5, 0, 0}};
        uint32_t i = below(4);
        uint8_t head[3];
        memcpy(head, bin[i], 3);
        uint32_t used = i == 0 ? 2 : i == 3 ? 2 : 3;
        head[i == 1 ? 2 : 1] = (uint8_t)n; /* of a fixed extension this is the type */
        mdq_bytes_add(b, head, used);
        mdq_bytes_add(b, bytes, i == 3 ? 2 : n);
    } else if (kind < 8) {
        c = (uint8_t)(0x90 + n);
        mdq_bytes_add(b, &c, 1);
        for (uint32_t i = 0; i < n; i++)
            make(b, depth - 1);
    } else {
        c = (uint8_t)(0x80 + n);
        mdq_bytes_add(b, &c, 1);
        for (uint32_t i = 0; i < n; i++) {
            uint8_t key[2] = {0xa1, (uint8_t)('a' + i + (below(40) == 0))};
            mdq_bytes_add(b, key, 2);
            make(b, depth - 1);
        }
    }
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        static uint8_t data[1 << 20];
        FILE *f = fopen(argv[i], "rb");
        if (!f) {
            perror(argv[i]);
            return 3;
        }
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, n);
    }
    if (argc > 1)
        return 0;
    int round = 0, accepted = 0;
    struct mdq_bytes b = {0};
    for (double from = cpu_seconds(); round < ROUNDS && cpu_seconds() - from < SECONDS; round++) {
        b.size = 0;
        make(&b, 1 + (int)below(18));
        for (uint32_t k = below(3); k > 0; k--)
            b.data[below((uint32_t)b.size)] ^= (uint8_t)(1u << below(8));
        const uint8_t *next;
        accepted += mdq_mp_check(b.data, b.data + b.size, MDQ_LIMIT_DEPTH, &next) == NULL;
        LLVMFuzzerTestOneInput(b.data, b.size);
    }
    mdq_bytes_free(&b);
    fprintf(stderr, "fuzz_msgpack: %d values, %d accepted\n", round, accepted);
    MUST(accepted > round / 10 && accepted < round);
    return 0;
}

#endif
