/*
 * What else could have stood in a span: texts in which each ASCII digit and letter of the span is another of its class (0-9, a-z,
 * A-Z), and everything else is as it was. R is the set of all of them, the true one included.
 */
#ifndef EVAL_FILLS_H
#define EVAL_FILLS_H

#include <stddef.h>
#include <stdint.h>

#include "mdq_error.h"
#include "mdq_random.h"

/* |R| for the bytes [begin, end) of a text: the product of the sizes of their classes; at most `most`. */
int64_t eval_fills_space(const char *text, int64_t begin, int64_t end, int64_t most);
/*
 * Up to `want` different fill-ins of text [bytes] other than the text itself, one after the other, each of `bytes` bytes: all others
 * there are, where these are not more, otherwise so many drawn at random without repetition. *n of them; *out is released with free().
 */
enum mdq_err eval_fills(const char *text, size_t bytes, int64_t begin, int64_t end, int64_t want, struct mdq_random *random, char **out,
                        int64_t *n);

/* Exposure (Carlini et al. 2019), in bits. */
struct eval_exposure {
    double rank;   /* 1 + those of lower loss + half of those of equal loss */
    double bits;   /* log2(candidates) - log2(rank) */
    double most;   /* log2(candidates): rank 1 */
    double chance; /* the mean where every rank is equally likely: log2(candidates) - log2(candidates!) / candidates */
};
/* The true text's total loss and that of n others. */
struct eval_exposure eval_exposure(double truth, const double *others, int64_t n);

#endif
