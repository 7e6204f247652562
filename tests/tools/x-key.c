/*
 * A stream filter for tests of pass-through.
 *
 *     x-key IN OUT                adds unknown keys, in odd but valid encodings, to the header and to every record
 *     x-key --verify OUT RESULT   every key of every record of OUT, and of its header, is in RESULT byte for byte
 *                                 (--thin: only the header's; --kind K: only records of this kind)
 *
 * "-" is standard input or output. The keys' values depend on the record's identity, so that mixed-up records show.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_cli.h"
#include "mdq_internal.h"

/* Bytes of a key and value with the identity's mark behind them. */
struct odd {
    const char *key;
    size_t key_head; /* 0: fixstr, 1: str 8, 2: str 16, 4: str 32 */
    const char *value;
    size_t size;
    bool mark; /* four bytes of the identity follow: value ends in their container */
};
#define VALUE(s) s, sizeof(s) - 1
static const struct odd odds[] = {
    {"x-odd-int", 0, VALUE("\xd3\0\0\0\0\0\0\0\5"), false},                  /* 5 in 64 bits */
    {"x-odd-negative", 1, VALUE("\xd2\xff\xff\xff\xfe"), false},             /* -2 in 32 bits */
    {"x-odd-f32", 0, VALUE("\xca\x7f\xc0\0\1"), false},                      /* a NaN with a payload */
    {"x-odd-str", 0, VALUE("\xdb\0\0\0\4na\xc3\xaf"), false},                /* str 32 of 4 bytes */
    {"x-odd-bin", 0, VALUE("\xc5\0\4"), true},                               /* bin 16 of 4 bytes */
    {"x-odd-ext", 2, VALUE("\xc7\4\x7f"), true},                             /* ext 8, type 127, of 4 bytes */
    {"x-odd-map", 0, VALUE("\xde\0\2\xa1z\xdf\0\0\0\1\xd9\1y\xdc\0\2\xc0\xc3\xa1" "a\xc4\4"), true}, /* keys not in order */
    {"x-odd-deep", 4, VALUE("\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc2"), false},
    {"x-odd-empty", 0, VALUE("\x80"), false},
    {"x-odd-\xc3\xbcnicode", 0, VALUE("\xa0"), false},
};
enum { ODDS = sizeof odds / sizeof *odds };

static uint32_t mark_of(const struct mdq_id *id)
{
    uint32_t h = 2166136261u;
    for (const char *s = id->tensor; *s; s++)
        h = (h ^ (uint8_t)*s) * 16777619u;
    for (const char *s = id->kind; *s; s++)
        h = (h ^ (uint8_t)*s) * 16777619u;
    return ((h ^ (uint32_t)id->row) * 16777619u ^ (uint32_t)id->col) * 16777619u;
}

static void value_of(const struct odd *o, uint32_t mark, struct mdq_bytes *b)
{
    mdq_bytes_add(b, o->value, o->size);
    mdq_bytes_add(b, &mark, o->mark ? 4 : 0);
}

static enum mdq_err add_odd(struct mdq_record *r, const struct odd *o, uint32_t mark)
{
    struct mdq_bytes b = {0};
    size_t n = strlen(o->key);
    uint8_t head[5] = {0};
    head[0] = (uint8_t)(o->key_head == 0 ? 0xa0 + n : o->key_head == 1 ? 0xd9 : o->key_head == 2 ? 0xda : 0xdb);
    if (o->key_head)
        head[o->key_head] = (uint8_t)n;
    mdq_bytes_add(&b, head, 1 + o->key_head);
    mdq_bytes_add(&b, o->key, n);
    size_t at = b.size;
    value_of(o, mark, &b);
    return mdq_record_insert(r, (struct mdq_entry){.raw = b.data, .size = b.size, .key_at = (uint32_t)(at - n),
                                                   .key_size = (uint32_t)n, .value_at = (uint32_t)at, .owned = true,
                                                   .read = true});
}

/* Through the header's bytes: there is no function that adds raw values. */
static enum mdq_err odd_header(struct mdq_header **out, const struct mdq_header *in)
{
    struct mdq_bytes b = {0};
    MDQ_TRY(mdq_header_pack(in, &b));
    struct mdq_mp map;
    const uint8_t *body = mdq_mp_get(b.data, b.data + b.size, &map);
    struct mdq_bytes c = {0};
    uint8_t head[3] = {0xde, (uint8_t)((map.size + ODDS) >> 8), (uint8_t)(map.size + ODDS)};
    mdq_bytes_add(&c, head, sizeof head);
    mdq_bytes_add(&c, body, b.size - (size_t)(body - b.data));
    for (int i = 0; i < ODDS; i++) {
        msgpack_packer pk = mdq_packer(&c);
        mdq_pack_str(&pk, odds[i].key);
        value_of(&odds[i], 0xdeadbeef, &c);
    }
    enum mdq_err err = c.failed ? MDQ_E_INTERNAL : mdq_header_parse(out, c.data, c.data + c.size);
    mdq_bytes_free(&b);
    mdq_bytes_free(&c);
    return err;
}

static enum mdq_err add(char *from, const char *to)
{
    struct mdq_reader *in = NULL;
    struct mdq_writer *out = NULL;
    struct mdq_header *h = NULL;
    struct mdq_record *r;
    MDQ_TRY(mdq_reader_open(&in, &from, 1, NULL));
    MDQ_TRY(odd_header(&h, mdq_reader_header(in)));
    MDQ_TRY(mdq_writer_open(&out, to, h, NULL));
    for (;;) {
        MDQ_TRY(mdq_reader_next(in, &r));
        if (!r)
            break;
        struct mdq_id id = mdq_record_id(r);
        for (int i = 0; i < ODDS; i++)
            MDQ_TRY(add_odd(r, &odds[i], mark_of(&id)));
        MDQ_TRY(mdq_writer_put(out, r));
    }
    mdq_reader_close(&in);
    mdq_header_free(&h);
    return mdq_writer_finish(&out);
}

/* ---- --verify ---- */

static enum mdq_err verify_record(const struct mdq_record *a, const struct mdq_record *b)
{
    for (int i = 0; i < a->n; i++) {
        const struct mdq_entry *e = &a->entries[i], *f;
        char key[MDQ_LIMIT_KEY + 1];
        memcpy(key, e->raw + e->key_at, e->key_size);
        key[e->key_size] = 0;
        if (!(f = mdq_record_find(b, key)))
            return mdq_fail(MDQ_E_DATA, "%s: key %s is lost", mdq_record_name(b), key);
        if (f->size != e->size || memcmp(f->raw, e->raw, e->size) != 0)
            return mdq_fail(MDQ_E_DATA, "%s: key %s changed", mdq_record_name(b), key);
    }
    return MDQ_OK;
}

static enum mdq_err verify_header(const struct mdq_header *a, const struct mdq_header *b)
{
    for (int i = 0; i < a->n_extra; i++) {
        const struct mdq_extra *x = &a->extra[i], *y = NULL;
        for (int k = 0; k < b->n_extra; k++)
            if (strcmp(b->extra[k].key, x->key) == 0)
                y = &b->extra[k];
        if (!y || y->value.size != x->value.size || memcmp(y->value.data, x->value.data, x->value.size) != 0)
            return mdq_fail(MDQ_E_DATA, "header key %s is %s", x->key, y ? "changed" : "lost");
    }
    return MDQ_OK;
}

static enum mdq_err verify(const char *before, const char *after, bool thin, const char *kind)
{
    struct mdq_reader_options o = {.threads = 1};
    struct mdq_stream *x = NULL, *y = NULL;
    struct mdq_record *a, *b = NULL;
    MDQ_TRY(mdq_stream_open(&x, before, &o));
    MDQ_TRY(mdq_stream_open(&y, after, &o));
    MDQ_TRY(verify_header(mdq_stream_header(x), mdq_stream_header(y)));
    long n = 0;
    for (;; n++) {
        do {
            MDQ_TRY(mdq_stream_next(x, &a));
        } while (a && kind && strcmp(a->kind, kind) != 0);
        if (!a)
            break;
        struct mdq_id id = mdq_record_id(a);
        int c;
        do { /* the result may hold records of its own */
            MDQ_TRY(mdq_stream_next(y, &b));
            struct mdq_id other = {0};
            if (b)
                other = mdq_record_id(b);
            c = b ? mdq_order(mdq_stream_header(x), &other, &id) : 1;
        } while (c < 0);
        if (c > 0)
            return mdq_fail(MDQ_E_DATA, "%s is lost", mdq_record_name(a));
        if (!thin)
            MDQ_TRY(verify_record(a, b));
    }
    while (b) /* its end record is checked too */
        MDQ_TRY(mdq_stream_next(y, &b));
    mdq_stream_close(&x);
    mdq_stream_close(&y);
    if (n == 0)
        return mdq_fail(MDQ_E_DATA, "%s: no records to verify", before);
    fprintf(stderr, "x-key: %ld records and %d keys each are as they were\n", n, thin ? 0 : ODDS);
    return MDQ_OK;
}

int main(int argc, char **argv)
{
    bool check = false, thin = false;
    const char *kind = NULL;
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        check |= strcmp(argv[i], "--verify") == 0;
        thin |= strcmp(argv[i], "--thin") == 0;
        if (strcmp(argv[i], "--kind") == 0 && i + 1 < argc)
            kind = argv[++i];
    }
    if (argc - i != 2) {
        fprintf(stderr, "usage: x-key IN OUT | x-key --verify [--thin] [--kind K] BEFORE AFTER\n");
        return MDQ_E_USAGE;
    }
    enum mdq_err err = check ? verify(argv[i], argv[i + 1], thin, kind) : add(argv[i], argv[i + 1]);
    if (err)
        fprintf(stderr, "x-key: %s\n", mdq_error_message());
    return (int)err;
}
