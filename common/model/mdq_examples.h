/*
 * Short texts that are looked at one by one: records, choices, sentences. Each is tokenized by itself with the tokenizer's own
 * special tokens (BOS) in front. For the model they are put together to batches of rows of one length, padded on the right:
 * attention is causal, so padding changes nothing before it.
 */
#ifndef MDQ_EXAMPLES_H
#define MDQ_EXAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "mdq_error.h"
#include "mdq_tokenizer.h"

/* Bytes of the longest line, and lines of the longest file. */
enum { MDQ_EXAMPLE_MAX_BYTES = 1 << 24, MDQ_EXAMPLES_MAX = 1 << 22 };

struct mdq_examples {
    int64_t n, capacity;
    struct mdq_ids ids;  /* of all, one after the other */
    int64_t *first;      /* [n + 1] where each begins in ids.v */
    int32_t *from, *to;  /* [n] the span: tokens from .. to - 1 counted from the example's first; all but the first where none is marked */
    char **text;         /* [n] as it stood in the file, NUL-terminated */
    size_t *bytes;       /* [n] */
    int64_t *line;       /* [n] of the file, from 1; 0 where there is none */
    int64_t longest;     /* tokens of the longest */
    int64_t cut;         /* how many had more than ctx tokens and were cut there */
    int64_t marked;      /* how many had a span */
    int64_t *begin, *end; /* [n] the span as bytes of the text, the end excluded; -1: none is marked */
    int64_t *repeats;    /* [n] how often the record was trained on, where the file says so ("repeats"); -1: it does not */
};

/*
 * One text more. ctx > 0 cuts it there. MDQ_E_DATA: fewer than two tokens (nothing to predict), an id at or above `vocab` (0: any).
 * [start, end) marks a span in Unicode characters; start < 0: none. A token belongs to it when any of its bytes do. MDQ_E_DATA when
 * it is empty, lies outside, was cut off, or the tokenizer changes the text so that it cannot be found again.
 */
enum mdq_err mdq_examples_add(struct mdq_examples *e, const struct mdq_tokenizer *t, const char *text, size_t bytes, int64_t ctx,
                              int32_t vocab, int64_t start, int64_t end);
/*
 * One of these token ids more, without a text; its span is [from, to), 1 <= from < to <= n. For what was put together from others:
 * prefixes, a query whose beginning was left out.
 */
enum mdq_err mdq_examples_add_ids(struct mdq_examples *e, const int32_t *ids, int64_t n, int32_t from, int32_t to);
/*
 * All records of a file ("-": standard input): lines of JSON {"text": ..., "span": [start, end], "repeats": k} (span and repeats
 * optional, other members ignored) or plain lines; empty lines are passed over. A warning says how many were cut at ctx. MDQ_E_DATA
 * names file and line; no record at all is MDQ_E_DATA too. Released with mdq_examples_free, on failure too.
 */
enum mdq_err mdq_examples_read(struct mdq_examples *e, const struct mdq_tokenizer *t, const char *path, int64_t ctx, int32_t vocab);
void mdq_examples_free(struct mdq_examples *e);
/* The spans become the whole examples. */
void mdq_examples_unmark(struct mdq_examples *e);
/* Only the first n stay (all, where there are not more); the counts `longest`, `cut` and `marked` are still of what was read. */
void mdq_examples_keep(struct mdq_examples *e, int64_t n);
/* Tokens of example i. */
int64_t mdq_examples_length(const struct mdq_examples *e, int64_t i);
/* XXH3-128, chained, over ids, lengths and spans of the examples [first, first + n): 32 hex digits. */
void mdq_examples_hash(const struct mdq_examples *e, int64_t first, int64_t n, char hash[33]);
/* How many texts of b also stand in a (byte for byte); *i, *j (may be NULL) receive the first such pair. -1: out of memory. */
int64_t mdq_examples_common(const struct mdq_examples *a, const struct mdq_examples *b, int64_t *i, int64_t *j);

/* Rows for the model: `count` examples padded to `ctx` tokens each. */
struct mdq_batch {
    int64_t first, count, ctx; /* examples order[first ...] */
};
struct mdq_batches {
    int64_t n;
    struct mdq_batch *v;
    int64_t *order;      /* the examples by rising length */
    int64_t most_tokens; /* count * ctx of the largest batch */
    int64_t most_ctx;
};
/* Batches of at most max_tokens tokens (at least one example) that depend on the examples alone; of [first, first + n). */
enum mdq_err mdq_batches_new(struct mdq_batches *b, const struct mdq_examples *e, int64_t first, int64_t n, int64_t max_tokens);
void mdq_batches_free(struct mdq_batches *b);
/*
 * ids, targets [count * ctx] of batch i: targets[t] is the token after t, -1 in the padding and at the end; with `spans` also outside
 * of the example's span. Position p of example k of the batch lies at k * ctx + p.
 */
void mdq_batch_fill(const struct mdq_batches *b, int64_t i, const struct mdq_examples *e, int spans, int32_t *ids, int32_t *targets);

#endif
