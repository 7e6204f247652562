/* The text of mdq-train: tokenized once, and windows of it in a random order. */
#ifndef MDQ_TRAIN_TEXT_H
#define MDQ_TRAIN_TEXT_H

#include "mdq_tokenizer.h"

/* Reads and tokenizes the file; no special token is added. Ids at or above `vocab` and fewer tokens than a window of
 * `least` are MDQ_E_DATA. */
enum mdq_err train_text_read(struct mdq_ids *out, const struct mdq_tokenizer *t, const char *path, int vocab,
                             int64_t least);

/*
 * What a model that knows only how often each token occurs would score on the same tokens as train_held_out: mean
 * -ln p over tokens 2 to ctx of the windows, p = (occurrences in `text` + 1) / (tokens of `text` + vocab).
 */
enum mdq_err train_unigram(const struct mdq_ids *text, int vocab, const int32_t *ids, int64_t windows, int64_t ctx,
                           double *loss);

/*
 * The order of windows: epoch after epoch, each a random shift of the grid of windows and a random permutation of
 * them. Window number i (of the whole run) is a function of seed and i: that is all there is to resume.
 */
struct train_order {
    uint64_t seed;
    int64_t tokens, ctx;
    int64_t windows; /* of an epoch */
    int64_t epoch;   /* whose permutation is in memory; -1: none */
    uint32_t *place;
};
/* A window is ctx tokens and the one after them; tokens > ctx. Released by train_order_free. */
enum mdq_err train_order_new(struct train_order *o, int64_t tokens, int64_t ctx, uint64_t seed);
void train_order_free(struct train_order *o);
/* First token of window i. */
int64_t train_order_at(struct train_order *o, int64_t i);

#endif
