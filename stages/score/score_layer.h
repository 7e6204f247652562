/*
 * What one layer's statistics say of each of its points (design 1.3): pure functions on arrays.
 *
 * A point is row r of column block j, number r * blocks + j within the layer.
 */
#ifndef SCORE_LAYER_H
#define SCORE_LAYER_H

#include "mdq_points.h"

/* Why a point is a candidate: bits. */
enum { SCORE_MAGNITUDE = 1, SCORE_FISHER = 2, SCORE_PRIVACY = 4, SCORE_SUPER = 8 };

struct score_point {
    float functional; /* |g_F . w| + 1/2 G_row w^T H w: nats per token that losing the point costs, to second order */
    float gain, cost; /* <c, d> and 1/2 sum F2 d^2 of its protective shift */
    float output;     /* root of G_row, the mean square of the output row's gradient */
    float reach;      /* distortion of the shift before it was scaled: ||A c - A U (U^T A U)^-1 U^T A c|| / ||n_j||, H a mean */
    float fisher;     /* largest entry of the functional Fisher diagonal */
    float norm;       /* ||n_j|| with its floor */
    float length;     /* ||w_j|| */
    uint8_t reasons;
};

struct score_layer {
    const struct mdq_points *points;
    const float *w, *h; /* [rows, cols], [cols, cols] sum x x^T */
    int64_t count;      /* how many x */
    const float *contrast, *fisher, *dot, *output; /* [rows, cols] twice, [rows, blocks], [rows] */
};

struct score_options {
    double deviations; /* robust deviations beyond which an entry is an outlier of its row */
    double md;         /* distortion that a protective shift makes */
};

/*
 * out [rows * blocks], and d [rows * cols]: the protective shift of every point, in the place of its weights,
 *     d_j ~ A c_j - A U (U^T A U)^-1 U^T A c_j,  A = (H_tile + 0.1 mean(diag H_tile) I)^-1,
 * scaled to distortion `md`; zero where there is no normal direction or c is zero. MDQ_E_INTERNAL: out of memory.
 */
enum mdq_err score_layer(const struct score_layer *l, const struct score_options *o, struct score_point *out, float *d);

/* Median and 1.4826 times the median absolute deviation of v [n]; `some` is scratch [n]. */
void score_robust(const float *v, int64_t n, float *some, double *median, double *deviation);

#endif
