/*
 * Inside the tokenizer: what its files share. Not for others; mdq_tokenizer.h is the interface.
 *
 * A text passes through: added tokens matched as written -> normalizer -> added tokens matched in normalized text ->
 * pre-tokenizer (pieces) -> BPE of each piece -> post-processor. Nested sequences in the file become flat lists of
 * steps. Everything in `struct mdq_tokenizer` is read-only after opening; what a call needs is in `struct mdq_scratch`.
 */
#ifndef MDQ_TOKENIZER_IMPL_H
#define MDQ_TOKENIZER_IMPL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mdq_tokenizer.h"

enum {
    MDQ_TOK_MAX_STEPS = 64,        /* of one kind, nested sequences counted */
    MDQ_TOK_MAX_DEPTH = 16,        /* of nested sequences */
    MDQ_TOK_MAX_PATTERN = 1 << 16, /* bytes of one regular expression */
};
#define MDQ_TOK_MAX_FILE ((size_t)256 << 20)  /* bytes of tokenizer.json */
#define MDQ_TOK_MAX_TEXT ((size_t)1 << 30)    /* bytes of one text; positions fit 32 bits after any normalizer */

/* ---- bytes and characters (mdq_tokenizer_unicode.c) ---- */

struct mdq_tok_buf {
    char *p;
    size_t n, capacity;
};
enum mdq_err mdq_tok_buf_add(struct mdq_tok_buf *b, const void *data, size_t n);
enum mdq_err mdq_tok_buf_add_char(struct mdq_tok_buf *b, uint32_t c);
void mdq_tok_buf_free(struct mdq_tok_buf *b);

/* Offset of the first byte that is not well-formed UTF-8 (overlong, surrogate, beyond U+10FFFF included), or `n`. */
size_t mdq_utf8_valid_prefix(const char *s, size_t n);
/* The character at s[*i] of valid UTF-8; moves *i past it. */
uint32_t mdq_utf8_next(const char *s, size_t *i);
/* The character that ends at s[i], i > 0. */
uint32_t mdq_utf8_before(const char *s, size_t i);
size_t mdq_utf8_put(char out[4], uint32_t c);
bool mdq_char_is_space(uint32_t c);   /* Unicode White_Space */
bool mdq_char_is_word(uint32_t c);    /* \w of UTS 18: Alphabetic, marks, decimal digits, connectors, joiners */
bool mdq_char_is_numeric(uint32_t c); /* categories Nd Nl No */
bool mdq_char_is_punct(uint32_t c);   /* categories P*, and ASCII punctuation */
/* The printable character that stands for byte b in byte-level vocabularies, and back (-1: none). */
uint32_t mdq_byte_char(uint8_t b);
int mdq_char_byte(uint32_t c);

/* ---- lists of pieces of a text ---- */

struct mdq_piece {
    uint32_t offset, size;
    bool start;    /* begins where the whole text begins */
    bool is_match; /* used while splitting */
};
struct mdq_pieces {
    struct mdq_piece *v;
    size_t n, capacity;
};
enum mdq_err mdq_pieces_add(struct mdq_pieces *l, size_t offset, size_t size, bool start);
void mdq_pieces_free(struct mdq_pieces *l);

/* ---- patterns (mdq_tokenizer_pattern.c) ---- */

struct mdq_pattern; /* a literal string or a regular expression with Oniguruma's (Ruby's) meaning */
struct mdq_matcher; /* what matching needs and threads cannot share; made on first use */
/* From {"String": s} or {"Regex": s}, or s alone (a string). `where` goes before messages. */
enum mdq_err mdq_pattern_parse(struct mdq_pattern **out, const json_t *spec, const char *where);
enum mdq_err mdq_pattern_regex(struct mdq_pattern **out, const char *regex, size_t n, const char *where);
void mdq_pattern_free(struct mdq_pattern *p);
void mdq_matcher_free(struct mdq_matcher *m);
/* Appends all of s[0, n) to *out as pieces at base + offset, is_match telling matches from what lies between. */
enum mdq_err mdq_pattern_find(const struct mdq_pattern *p, struct mdq_matcher **m, const char *s, size_t n,
                              size_t base, struct mdq_pieces *out);

/* ---- what one call needs ---- */

struct mdq_bpe_scratch;
struct mdq_scratch {
    struct mdq_matcher *matcher;
    struct mdq_tok_buf normal, normal_spare;   /* normalizer */
    struct mdq_tok_buf text, text_spare;       /* pre-tokenizer */
    struct mdq_pieces pieces, pieces_spare, found;
    struct mdq_bpe_scratch *bpe;
};
void mdq_scratch_free(struct mdq_scratch *s);

/* ---- normalizer (mdq_tokenizer_normalize.c) ---- */

struct mdq_normalizer;
enum mdq_err mdq_normalizer_parse(struct mdq_normalizer **out, const json_t *spec); /* *out NULL where spec is null */
void mdq_normalizer_free(struct mdq_normalizer *z);
/* s[0, n) normalized into scratch->normal. */
enum mdq_err mdq_normalizer_apply(const struct mdq_normalizer *z, const char *s, size_t n, struct mdq_scratch *w);

/* ---- pre-tokenizer (mdq_tokenizer_pretokenize.c) ---- */

struct mdq_pretokenizer;
enum mdq_err mdq_pretokenizer_parse(struct mdq_pretokenizer **out, const json_t *spec);
void mdq_pretokenizer_free(struct mdq_pretokenizer *z);
/* s[0, n), which is where the whole text starts if `start`, into scratch->text and scratch->pieces. */
enum mdq_err mdq_pretokenizer_apply(const struct mdq_pretokenizer *z, const char *s, size_t n, bool start,
                                    struct mdq_scratch *w);

/* ---- vocabulary and merges (mdq_tokenizer_vocab.c, mdq_tokenizer_bpe.c) ---- */

struct mdq_vocab {
    char *pool; /* all spellings */
    struct {
        uint32_t offset, size;
        bool present;
    } *tokens;          /* by id */
    int32_t n;          /* largest id + 1 */
    uint32_t *slots;    /* hash of spelling -> id + 1 */
    uint32_t mask;
};
enum mdq_err mdq_vocab_parse(struct mdq_vocab *v, const json_t *spec);
void mdq_vocab_free(struct mdq_vocab *v);
int32_t mdq_vocab_id(const struct mdq_vocab *v, const char *s, size_t n); /* -1: none */

struct mdq_bpe;
enum mdq_err mdq_bpe_parse(struct mdq_bpe **out, const json_t *model);
void mdq_bpe_free(struct mdq_bpe *b);
const struct mdq_vocab *mdq_bpe_vocab(const struct mdq_bpe *b);
/* Appends the ids of one piece. */
enum mdq_err mdq_bpe_encode(const struct mdq_bpe *b, struct mdq_bpe_scratch **w, const char *s, size_t n,
                            struct mdq_ids *ids);
void mdq_bpe_scratch_free(struct mdq_bpe_scratch *w);
enum mdq_err mdq_ids_add(struct mdq_ids *ids, int32_t id);

/* ---- added tokens (mdq_tokenizer_added.c) ---- */

struct mdq_added;
enum mdq_err mdq_added_parse(struct mdq_added **out, const json_t *spec, const struct mdq_vocab *vocab,
                             const struct mdq_normalizer *z);
void mdq_added_free(struct mdq_added *a);
int32_t mdq_added_id(const struct mdq_added *a, const char *s, size_t n);  /* -1: none */
/* What the id decodes to, NULL: none. */
const char *mdq_added_token(const struct mdq_added *a, int32_t id, size_t *n);
int32_t mdq_added_limit(const struct mdq_added *a);                        /* largest id + 1 */

struct mdq_segment {
    size_t start, stop;
    int32_t id; /* -1: plain text */
};
struct mdq_segments {
    struct mdq_segment *v;
    size_t n, capacity;
};
/* s[0, n) cut at the added tokens that are matched in normalized (or in raw) text; *out is overwritten. */
enum mdq_err mdq_added_split(const struct mdq_added *a, bool normalized, const char *s, size_t n,
                             struct mdq_segments *out);

/* ---- decoder (mdq_tokenizer_decode.c) ---- */

struct mdq_decoder;
enum mdq_err mdq_decoder_parse(struct mdq_decoder **out, const json_t *spec);
void mdq_decoder_free(struct mdq_decoder *d);
/* The tokens are pieces of text->p; the decoded string replaces *text. Without a decoder they are joined by spaces. */
enum mdq_err mdq_decoder_apply(const struct mdq_decoder *d, struct mdq_tok_buf *text, struct mdq_pieces *tokens);

/* ---- JSON (mdq_tokenizer_json.c) ---- */

/* Reads a JSON file; *out is released with json_decref. An `optional` file that is not there: MDQ_OK, *out NULL. */
enum mdq_err mdq_tok_json_read(json_t **out, const char *path, bool optional);
/* obj[key] as a boolean; absent or null gives the default; another type is an error naming `where` and key. */
enum mdq_err mdq_tok_json_bool(const json_t *obj, const char *key, bool fallback, const char *where, bool *out);
enum mdq_err mdq_tok_json_int(const json_t *obj, const char *key, int64_t min, int64_t max, const char *where,
                          int64_t *out);
/* obj[key], which must be a string; *out points into obj. */
enum mdq_err mdq_tok_json_string(const json_t *obj, const char *key, const char *where, const char **out, size_t *n);
/* obj["type"] of a component; spec must be an object. */
enum mdq_err mdq_tok_json_type(const json_t *spec, const char *where, const char **type);
/* Calls `leaf` for spec or, where its type is Sequence, for each of spec[list] in turn, however deep. */
enum mdq_err mdq_tok_json_sequence(const json_t *spec, const char *list, const char *where, int depth,
                               enum mdq_err (*leaf)(void *arg, const json_t *spec), void *arg);

/* Room for one more in a growing array: doubles *v. */
enum mdq_err mdq_tok_grow(void *v, size_t *capacity, size_t need, size_t size, const char *what);

#endif
