/*
 * Inside formats/: what a record is made of, frames, one input stream. For the library, its tests and mdq-check.
 */
#ifndef MDQ_INTERNAL_H
#define MDQ_INTERNAL_H

#include <stdatomic.h>

#include "mdq.h"
#include "mdq_limits.h"
#include "mdq_pack.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are little-endian and used in place");

/* ---- arrays ---- */

/* Where an array's parts are within its msgpack value. */
struct mdq_layout {
    enum mdq_dtype dtype;
    bool planes;
    int ndim;
    int64_t shape[MDQ_ARRAY_DIMS];
    int64_t count;
    size_t offset, bytes; /* of the data, from the value's first byte */
};
/* NULL, or what is wrong; *is_array false (and NULL) when the value is no array at all. The value was checked. */
const char *mdq_layout_read(const uint8_t *value, const uint8_t *end, struct mdq_layout *out, bool *is_array);
void mdq_planes_split(const void *elements, size_t count, unsigned size, void *planes);
void mdq_planes_join(const void *planes, size_t count, unsigned size, void *elements);
/* Index of the first NaN or infinity, -1 when there is none (or the type is no float). Reads elements, not planes. */
int64_t mdq_find_nonfinite(enum mdq_dtype t, const void *data, int64_t count);

/* ---- records ---- */

/* A string that records share: the name of their input. */
struct mdq_source {
    atomic_int references;
    char name[];
};
struct mdq_source *mdq_source_new(const char *name);
struct mdq_source *mdq_source_ref(struct mdq_source *s);
void mdq_source_free(struct mdq_source *s);

/* One key and its value as msgpack. */
struct mdq_entry {
    uint8_t *raw;
    size_t size;
    uint32_t key_at, key_size, value_at; /* the key's text and the value, from raw */
    bool owned;  /* raw was allocated for this entry */
    bool read;   /* came with the record from a stream */
    bool joined; /* planes were joined to elements, in place; undone when written */
};

struct mdq_record {
    char *tensor, *kind;
    int64_t row, col;
    int64_t number;             /* n, for messages; -1: not from a stream */
    struct mdq_source *source;  /* NULL: made by this program */
    struct mdq_record **holder; /* the reader's pointer to it, while it owns it */
    struct mdq_entry *entries;  /* ascending by key; t, id and n are not among them */
    int n, capacity;
    uint8_t *bytes;             /* what entries that are not owned point into, once taken */
    struct mdq_text *texts;     /* strings that getters handed out */
};

/* Parses the record at p, pointing into it. *next: behind it. Messages do not name place or record. */
enum mdq_err mdq_record_parse(struct mdq_record **out, uint8_t *p, const uint8_t *end, struct mdq_source *source,
                              const uint8_t **next);
/* "record 12: tile model.layers.0.mlp.up_proj.weight [1,2]" in a buffer of this thread. */
const char *mdq_record_name(const struct mdq_record *r);
struct mdq_entry *mdq_record_find(const struct mdq_record *r, const char *key);
/* Adds raw (key and value, allocated) at its place; takes raw even when it fails. */
enum mdq_err mdq_record_insert(struct mdq_record *r, struct mdq_entry e);
/* Puts b's entries into a: the same key must have the same value. b keeps its storage, a points into it. */
enum mdq_err mdq_record_unite(struct mdq_record *a, struct mdq_record *b);
/* The value in whatever encoding, joined planes put back first where `as_stored`. */
const uint8_t *mdq_entry_value(const struct mdq_entry *e, const uint8_t **end);
enum mdq_err mdq_entry_array(struct mdq_entry *e, struct mdq_array *out, const char **why);
/* Whether the registry forbids NaN and infinity there. */
bool mdq_key_finite(const char *kind, const char *key, size_t key_size);
/* Of an entry that holds an array or a number under a finite key: NULL, or what is wrong. Joins planes. */
const char *mdq_entry_check_finite(const struct mdq_record *r, struct mdq_entry *e);

/* ---- identity ---- */

/* Canonical order, the header giving tensors their rank. <0, 0, >0. */
int mdq_order(const struct mdq_header *h, const struct mdq_id *a, const struct mdq_id *b);

/* ---- header ---- */

enum mdq_err mdq_header_parse(struct mdq_header **out, const uint8_t *p, const uint8_t *end);
/* The header as msgpack. */
enum mdq_err mdq_header_pack(const struct mdq_header *h, struct mdq_bytes *out);
/* Unites b into a. `tables`: layer tables may differ (mdq-cat) and are united. */
enum mdq_err mdq_header_unite(struct mdq_header *a, const struct mdq_header *b, bool tables);
enum mdq_err mdq_prov_unite(struct mdq_header *h, const struct mdq_header *other);

struct mdq_prov {
    char *id;
    char **prev;
    int n_prev;
    struct mdq_bytes fields; /* the other keys and values, packed one after the other, ascending by key */
    uint32_t n_fields;
};
struct mdq_extra {
    char *key;
    struct mdq_bytes value;
};
struct mdq_header {
    char model[33];
    int64_t minor;
    char **require, **kinds;
    int n_require, n_kinds;
    struct mdq_layer_entry *layers;
    int n_layers;
    int *by_name; /* layers sorted by tensor */
    struct mdq_prov *prov;
    int n_prov;
    struct mdq_extra *extra; /* ascending by key */
    int n_extra;
};
enum mdq_err mdq_header_index(struct mdq_header *h);
enum mdq_err mdq_list_add(char ***list, int *n, const char *s, size_t size);
void mdq_prov_free(struct mdq_prov *p);
enum mdq_err mdq_prov_parse(struct mdq_header *h, const uint8_t *p, const uint8_t *end);
void mdq_prov_pack(const struct mdq_header *h, struct mdq_bytes *out);

/* ---- frames ---- */

/* A file descriptor read in large pieces, with its position. */
struct mdq_input {
    int fd;
    const char *name;
    uint8_t *buf;
    size_t at, have;
    uint64_t offset; /* of buf[at] in the input */
    int wake;        /* a descriptor whose readability ends waiting, or -1 */
};

/*
 * Reads one whole compressed frame into `packed` (replacing what it held). *size: what it decodes to, at most limit.
 * *end true: there was none, the input is at its end. Errors do not name the place; MDQ_E_IO for a frame cut short.
 */
enum mdq_err mdq_frame_read(struct mdq_input *in, struct mdq_bytes *packed, size_t limit, size_t *size, bool *end);
struct ZSTD_DCtx_s;
enum mdq_err mdq_frame_decode(struct ZSTD_DCtx_s *d, const struct mdq_bytes *packed, uint8_t *out, size_t size);
struct ZSTD_CCtx_s;
struct ZSTD_CCtx_s *mdq_frame_coder(int level);
/* Appends the frame of data; zstd blocks end at each of the n cuts (ascending offsets). */
enum mdq_err mdq_frame_encode(struct ZSTD_CCtx_s *c, const uint8_t *data, size_t size, const size_t *cuts, size_t n,
                              struct mdq_bytes *out);

/* ---- one input stream ---- */

struct mdq_stream;
enum mdq_err mdq_stream_open(struct mdq_stream **out, const char *path, const struct mdq_reader_options *options);
const struct mdq_header *mdq_stream_header(const struct mdq_stream *s);
const char *mdq_stream_name(const struct mdq_stream *s);
/* As mdq_reader_next. */
enum mdq_err mdq_stream_next(struct mdq_stream *s, struct mdq_record **rec);
uint64_t mdq_stream_bytes(const struct mdq_stream *s);
void mdq_stream_close(struct mdq_stream **s);

#endif
