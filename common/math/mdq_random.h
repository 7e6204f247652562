/*
 * Random numbers that are the same everywhere: xoroshiro128++ (Blackman and Vigna 2021), seeded from a user's seed and a
 * name, so that each tensor, tile and purpose has a stream of its own whatever the order in which threads come to it.
 */
#ifndef MDQ_RANDOM_H
#define MDQ_RANDOM_H

#include <stdint.h>

struct mdq_random {
    uint64_t s[2]; /* never both 0 */
};

/* Starts the stream of (seed, text, a, b): the same four give the same numbers. text may be NULL (as ""). */
void mdq_random_seed(struct mdq_random *r, uint64_t seed, const char *text, uint64_t a, uint64_t b);
uint64_t mdq_random_next(struct mdq_random *r);
/* In [0, 1), a multiple of 2^-53. */
double mdq_random_uniform(struct mdq_random *r);
/* In [0, n), each equally likely (Lemire's rejection); n >= 1. */
int64_t mdq_random_below(struct mdq_random *r, int64_t n);
/* Standard normal (Marsaglia's polar method, the second value of a pair is dropped: no hidden state). */
double mdq_random_normal(struct mdq_random *r);

#endif
