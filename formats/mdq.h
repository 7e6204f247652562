/*
 * mdq record streams, version 1: the library. formats/mdq1.md is the specification, formats/keys.md the registry.
 *
 * Ownership, once: the reader owns a record until its next read; mdq_record_take() is the only transfer.
 * Everything a getter returns points into the record and lives as long as it does.
 *
 * Typical stage:
 *
 *     mdq_reader_open(&in, paths, n, NULL);                    // several inputs are merged by identity
 *     mdq_header_derive(&head, mdq_reader_header(in), "mdq-x", args);   // adds the provenance entry
 *     mdq_writer_open(&out, path, head, &wopts);
 *     while (mdq_reader_next(in, &rec) == MDQ_OK && rec) { ...; mdq_record_set_f64(rec, "x-y", 1); mdq_writer_put(out, rec); }
 *     mdq_writer_finish(&out);                                 // end record, fsync, rename
 */
#ifndef MDQ_H
#define MDQ_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_dtype.h"
#include "mdq_error.h"

enum { MDQ_MAJOR = 1, MDQ_MINOR = 0, MDQ_ARRAY_DIMS = 4 };

/* ---- identity ---- */

/*
 * Model hash (in the header), tensor, kind, row, column. kind is the record's type `t`: "layer" (what belongs to a
 * whole layer), "tile", "hessian" and "gradient" (one panel of rows), "activations", "probe", ... Layer records: row = col = 0.
 * Panels: row = panel index, col = 0. Canonical order of a stream: layer order (the header's table), then kind (layer,
 * hessian, chart, tile, then others by name), then column, then row.
 */
struct mdq_id {
    const char *tensor, *kind;
    int64_t row, col;
};

/* ---- arrays ---- */

struct mdq_array {
    enum mdq_dtype dtype;
    int ndim;
    int64_t shape[MDQ_ARRAY_DIMS];
    const void *data; /* row-major, little-endian, possibly unaligned */
    size_t bytes;
};
int64_t mdq_array_count(const struct mdq_array *a);

/* ---- records ---- */

struct mdq_record;

/* A new record without other keys. NULL: out of memory (message set). */
struct mdq_record *mdq_record_new(const struct mdq_id *id);
void mdq_record_free(struct mdq_record **r);
/* The reader gives up its ownership; the caller releases with mdq_record_free. */
struct mdq_record *mdq_record_take(struct mdq_record *r);
struct mdq_id mdq_record_id(const struct mdq_record *r);
bool mdq_record_has(const struct mdq_record *r, const char *key);

/*
 * Getters: MDQ_E_DATA, naming record and key, when the key is missing or of another type. _opt variants leave *out
 * as it was when the key is missing. Integers of any msgpack width; f64 also takes integers and float32.
 * An array that is stored byte-shuffled is unshuffled at the first get. `key` may not contain NUL.
 */
enum mdq_err mdq_record_get_int(const struct mdq_record *r, const char *key, int64_t *out);
enum mdq_err mdq_record_get_bool(const struct mdq_record *r, const char *key, bool *out);
enum mdq_err mdq_record_get_f64(const struct mdq_record *r, const char *key, double *out);
enum mdq_err mdq_record_get_str(const struct mdq_record *r, const char *key, const char **out); /* NUL-terminated */
enum mdq_err mdq_record_get_array(struct mdq_record *r, const char *key, struct mdq_array *out);
/* JSON text of any value of scalars, lists and maps (reports); released with free(). */
enum mdq_err mdq_record_get_json(const struct mdq_record *r, const char *key, char **out);
enum mdq_err mdq_record_get_int_opt(const struct mdq_record *r, const char *key, int64_t *out);
enum mdq_err mdq_record_get_f64_opt(const struct mdq_record *r, const char *key, double *out);
enum mdq_err mdq_record_get_str_opt(const struct mdq_record *r, const char *key, const char **out);
/* f32/f16/bf16/f64 array of exactly `count` elements as float32 into out. */
enum mdq_err mdq_record_copy_f32(struct mdq_record *r, const char *key, int64_t count, float *out);

/*
 * Setters add a key; one that is there already is an error (stages add, they do not rewrite), unless the value is
 * the same byte for byte. Arrays are copied. Keys that a registered NaN policy forbids to be non-finite are checked.
 */
enum mdq_err mdq_record_set_int(struct mdq_record *r, const char *key, int64_t v);
enum mdq_err mdq_record_set_f64(struct mdq_record *r, const char *key, double v);
enum mdq_err mdq_record_set_str(struct mdq_record *r, const char *key, const char *v);
enum mdq_err mdq_record_set_bool(struct mdq_record *r, const char *key, bool v);
enum mdq_err mdq_record_set_array(struct mdq_record *r, const char *key, const struct mdq_array *a);
/* A JSON value as msgpack (maps, lists, strings, numbers): for reports and small tables. */
enum mdq_err mdq_record_set_json(struct mdq_record *r, const char *key, const char *json);

/* ---- header ---- */

struct mdq_layer_entry {
    const char *tensor; /* "model.layers.0.self_attn.q_proj.weight" */
    int64_t rows, cols; /* out, in */
    int64_t tile_rows, tile_cols; /* how many tiles each way */
    int block;          /* transformer block */
};

struct mdq_header;
/* A header for a new stream. `layers` is copied. `model` is the 32-digit model identity. */
enum mdq_err mdq_header_new(struct mdq_header **out, const char *model, const struct mdq_layer_entry *layers, int n);
/* A copy of `in` (unknown keys included) with one provenance entry more: program, version, arguments that change
 * results (a JSON object as text, canonical: keys sorted), parents = all chain ends of `in`. prog NULL: plain copy. */
enum mdq_err mdq_header_derive(struct mdq_header **out, const struct mdq_header *in, const char *prog,
                               const char *args_json);
/* As mdq_header_derive in place, and with further parents taken from another stream (gptq's --stats). */
enum mdq_err mdq_header_add_provenance(struct mdq_header *h, const struct mdq_header *other, const char *prog,
                                       const char *args_json);
/* Announces that records of this kind will follow (header key `kinds`; merging relies on it). Idempotent. A writer
 * refuses records of a kind that its header does not announce. */
enum mdq_err mdq_header_add_kind(struct mdq_header *h, const char *kind);
bool mdq_header_has_kind(const struct mdq_header *h, const char *kind);
/* Extra header key with a JSON value (e.g. "calib"); replaces nothing. Get: NULL when absent, else free(). */
enum mdq_err mdq_header_set_json(struct mdq_header *h, const char *key, const char *json);
char *mdq_header_get_json(const struct mdq_header *h, const char *key);
void mdq_header_free(struct mdq_header **h);
const char *mdq_header_model(const struct mdq_header *h);
int mdq_header_layers(const struct mdq_header *h);
const struct mdq_layer_entry *mdq_header_layer(const struct mdq_header *h, int i);
int mdq_header_find_layer(const struct mdq_header *h, const char *tensor); /* -1: not there */
/* Cuts the layer table to one block. MDQ_E_DATA, naming the blocks there are, when it has none of that block. */
enum mdq_err mdq_header_cut(struct mdq_header *h, int block);
/* The whole header as one line of JSON; free(). */
char *mdq_header_json(const struct mdq_header *h);

/* ---- reader ---- */

struct mdq_reader;
struct mdq_reader_options {
    int threads;  /* decoding; 0: all of OpenMP's */
    uint64_t max_total; /* 0: no bound on the stream's decoded size */
    bool join; /* mdq-cat: inputs of one model that hold different layers or records; layer tables are united */
};

/*
 * Opens n streams (n = 0, or a path "-": standard input) and merges them by identity: records with the same identity
 * become one with the keys of all. Same model and layer table; a kind that several inputs announce must have each of
 * its records in all of them; a key that two hold with different values is an error. All errors name file and record.
 */
enum mdq_err mdq_reader_open(struct mdq_reader **out, char *const *paths, int n,
                             const struct mdq_reader_options *options);
const struct mdq_header *mdq_reader_header(const struct mdq_reader *r);
/* *rec = the next record, or NULL after the end record was seen and verified. Without an end record: MDQ_E_IO. */
enum mdq_err mdq_reader_next(struct mdq_reader *r, struct mdq_record **rec);
/* Bytes of compressed input read so far, for progress. */
uint64_t mdq_reader_bytes(const struct mdq_reader *r);
void mdq_reader_close(struct mdq_reader **r);

/* ---- writer ---- */

struct mdq_writer;
struct mdq_writer_options {
    int level;   /* zstd; MDQ_LEVEL_DEFAULT: the measured default */
    int threads; /* encoding; 0: all of OpenMP's */
    bool thin;   /* drop the keys that a record had when it was read */
};
/* Path NULL or "-": standard output (a terminal is refused). The header is written at once. Does not take `h`. */
enum mdq_err mdq_writer_open(struct mdq_writer **out, const char *path, const struct mdq_header *h,
                             const struct mdq_writer_options *options);
/* Copies what it needs: the record stays its owner's. Assigns the sequence number. */
enum mdq_err mdq_writer_put(struct mdq_writer *w, struct mdq_record *rec);
/* End record, flush, fsync, rename. Always releases *w. */
enum mdq_err mdq_writer_finish(struct mdq_writer **w);
/* No end record; what was written under a temporary name is removed. */
void mdq_writer_abort(struct mdq_writer **w);
uint64_t mdq_writer_records(const struct mdq_writer *w);

#endif
