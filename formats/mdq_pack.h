/*
 * Inside formats/: growing byte buffers, msgpack values read with bounds, JSON. Not for stages.
 */
#ifndef MDQ_PACK_H
#define MDQ_PACK_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mdq_error.h"

/* ---- buffers: `failed` is sticky, so that a caller checks once, after the last addition ---- */

struct mdq_bytes {
    uint8_t *data;
    size_t size, cap;
    bool failed;
};
/* Room for `more` bytes behind size; NULL when out of memory (message set). */
uint8_t *mdq_bytes_room(struct mdq_bytes *b, size_t more);
void mdq_bytes_add(struct mdq_bytes *b, const void *p, size_t n);
void mdq_bytes_printf(struct mdq_bytes *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mdq_bytes_free(struct mdq_bytes *b);
/* A msgpack packer that appends to b. */
msgpack_packer mdq_packer(struct mdq_bytes *b);
void mdq_pack_str(msgpack_packer *pk, const char *s);

/* ---- reading ---- */

enum mdq_mp_type { MDQ_MP_NIL, MDQ_MP_BOOL, MDQ_MP_UINT, MDQ_MP_INT, MDQ_MP_FLOAT, MDQ_MP_STR, MDQ_MP_BIN, MDQ_MP_EXT,
                   MDQ_MP_LIST, MDQ_MP_MAP };

/* One msgpack value, or the head of a list or map. */
struct mdq_mp {
    enum mdq_mp_type type;
    uint64_t u;          /* MDQ_MP_UINT: values of 0 and above; MDQ_MP_BOOL */
    int64_t i;           /* MDQ_MP_INT: values below 0 */
    double f;            /* MDQ_MP_FLOAT */
    bool single;         /* a 32-bit float */
    int8_t ext;          /* type of an extension */
    const uint8_t *data; /* of strings, bins, extensions */
    uint32_t size;       /* their bytes; elements of a list, pairs of a map */
    const uint8_t *next; /* behind the value; behind the head of a list or map */
};
/* Reads one value or head at p. NULL, or what is wrong with it. */
const char *mdq_mp_read(const uint8_t *p, const uint8_t *end, struct mdq_mp *v);
/* As above for bytes that mdq_mp_check has seen; returns v->next. */
const uint8_t *mdq_mp_get(const uint8_t *p, const uint8_t *end, struct mdq_mp *v);
/*
 * Checks the whole value at p: bounds, nesting (`depth` levels are left), string keys, no duplicate keys, UTF-8.
 * Allocates nothing but a table of keys for maps of more than 32. *next: behind it. NULL, or what is wrong.
 */
const char *mdq_mp_check(const uint8_t *p, const uint8_t *end, int depth, const uint8_t **next);
/* Behind the value at p, which was checked. */
const uint8_t *mdq_mp_skip(const uint8_t *p, const uint8_t *end);
bool mdq_mp_is(const struct mdq_mp *v, const char *text); /* a string equal to text */
bool mdq_mp_int(const struct mdq_mp *v, int64_t *out);    /* false: no integer, or out of range */

/* ---- JSON ---- */

enum mdq_mp_style {
    MDQ_MP_STRICT,  /* bins, extensions and non-finite numbers are errors */
    MDQ_MP_SUMMARY, /* {"$bin":bytes}, {"$ext":[type,bytes]}, {"$float":"nan"}; arrays without their data */
};
/* A checked value as JSON text. NULL, or what JSON cannot hold. */
const char *mdq_mp_print(struct mdq_bytes *out, const uint8_t *p, const uint8_t *end, enum mdq_mp_style style);
void mdq_mp_quote(struct mdq_bytes *out, const void *s, size_t n);
/* JSON text as msgpack, keys sorted. */
enum mdq_err mdq_mp_from_json(struct mdq_bytes *out, const char *json, const char *what);

#endif
