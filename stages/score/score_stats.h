/* What mdq-calib measured, layer by layer: the Hessian of the layer's input and the gradients of its weights. */
#ifndef SCORE_STATS_H
#define SCORE_STATS_H

#include "mdq_hessians.h"

struct score_gradient {
    int64_t rows, cols, blocks;
    float *contrast, *fisher; /* [rows, cols] */
    float *dot;               /* [rows, blocks] functional gradient times weight */
    float *output;            /* [rows] mean square of the output's gradient */
};

struct score_stats;

/*
 * Streams of mdq-calib that together hold Hessians and gradients of the model of `tiles`; one stream with both is read twice and has
 * to be a file. MDQ_E_DATA when one of the two is missing or comes from two streams.
 */
enum mdq_err score_stats_open(struct score_stats **out, char *const *paths, int n, const struct mdq_header *tiles);
void score_stats_close(struct score_stats **s);
/* Header of the stream with Hessians, and of that with gradients (the same when one holds both). */
const struct mdq_header *score_stats_hessian_header(const struct score_stats *s);
const struct mdq_header *score_stats_gradient_header(const struct score_stats *s);
/* Both of a layer; layers are asked for in the order of the header's table. Valid until the next call. */
enum mdq_err score_stats_layer(struct score_stats *s, const struct mdq_layer_entry *e, const struct mdq_hessian **h,
                               const struct score_gradient **g);
/* Reads on to the end records: a truncated stream is an error. */
enum mdq_err score_stats_drain(struct score_stats *s);

#endif
