/*
 * What is run through the model for gradients: rows of tokens in parts that are taken at a time, with a target and a weight
 * for every prediction. The records come first: the weights of the members add up to 1, those of the matched records to -1
 * (each record has the same share, however long it is), so that the gradient of the weighted sum is the contrast. Then the
 * windows of the functional text, with weights 1.
 */
#ifndef GRADIENT_TEXTS_H
#define GRADIENT_TEXTS_H

#include <stdbool.h>

#include "mdq_examples.h"

struct gradient_part {
    bool functional;
    int rows, ctx;
    int64_t first; /* token */
};

struct gradient_texts {
    int64_t n, tokens;   /* parts; tokens of all, with padding */
    struct gradient_part *part;
    int32_t *ids;        /* [tokens] */
    int32_t *targets;    /* [tokens] -1: no prediction */
    float *weights;      /* [tokens] */
    int64_t most_tokens; /* of the largest part */
    int64_t windows;     /* of functional text, ctx tokens each */
    int ctx;
};

/*
 * ids [windows, ctx]; a part holds at most max_tokens tokens, or one row. Parts depend on the texts alone. Released with
 * gradient_texts_free, on failure too.
 */
enum mdq_err gradient_texts_new(struct gradient_texts *t, const int32_t *ids, int64_t windows, int ctx,
                                const struct mdq_examples *sensitive, const struct mdq_examples *matched, int64_t max_tokens);
void gradient_texts_free(struct gradient_texts *t);

#endif
