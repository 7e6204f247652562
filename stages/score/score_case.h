/* All points of a model, ranked; and sets of them as moves for a probe. */
#ifndef SCORE_CASE_H
#define SCORE_CASE_H

#include "mdq.h"
#include "mdq_random.h"
#include "score_layer.h"
#include "score_probe.h"

struct score_case {
    int layers;
    const struct mdq_layer_entry *const *layer; /* [layers] */
    int64_t *first_point, *first_weight;        /* [layers + 1] */
    int64_t points;
    struct score_point *p;                      /* [points] */
    struct mdq_scratch shift;                   /* float [weights]: the protective shift of every point in its place */
    double median_cost;                         /* of the points whose gain is positive */
    int64_t *functional;                        /* [points] by falling functional rank */
    int64_t *privacy;                           /* [with_gain] points of positive gain by falling privacy rank */
    int64_t with_gain;
};

/* Room for the points of these layers (the array must outlive it). Released with score_case_free, on failure too. */
enum mdq_err score_case_new(struct score_case *c, const struct mdq_layer_entry *const *layer, int layers);
void score_case_free(struct score_case *c);
/* gain / (cost + 1e-3 median cost); 0 where the gain is not positive. */
double score_privacy_rank(const struct score_case *c, int64_t point);
/* Fills median, orders. Equal ranks stand by their number. */
enum mdq_err score_case_rank(struct score_case *c);
/* Reasons: the share of points by Fisher entries and by privacy rank, and the model's super weights; *candidates = points with any. */
enum mdq_err score_case_reasons(struct score_case *c, double fisher_share, double privacy_share, const struct score_spike *spikes,
                                int64_t n_spikes, int64_t *candidates);

/* Where a point lies. */
struct score_place {
    int layer, block; /* in the table; transformer block */
    enum mdq_linear linear;
    int64_t row, column, D, tile_col, weight; /* weight: of its first entry in `shift` */
};
enum mdq_err score_place_of(const struct score_case *c, int64_t point, struct score_place *out);

/* How a set of points is moved. */
enum score_way {
    SCORE_ZERO,           /* to zero */
    SCORE_RANDOM_AS_ZERO, /* control of it: a random direction, as far as zero is */
    SCORE_SHIFT,          /* along their protective shift */
    SCORE_RANDOM          /* control of it: a random direction, as far */
};

struct score_moves {
    struct score_move *v; /* room for the case's points */
    int64_t n;
    float *d;    /* random directions; others are the case's own */
    double norm; /* root of the summed squares */
};
/* points [n] moved as far as like [n] would be (the same array, unless the points are a control). */
enum mdq_err score_moves_new(struct score_moves *m, const struct score_case *c, const int64_t *points, const int64_t *like, int64_t n,
                             enum score_way way, struct mdq_random *random);
/*
 * How all points drift: a step along A c in their normal space, at most as far as distortion `most`. What a point is multiplied with
 * beside the step is the same for all (by_row false: the best for a cost of d^T H d) or 1 / sqrt(G_row) (true: rows of large output
 * gradients, which general text needs, move less).
 */
struct score_drift {
    double step, most;
    bool by_row;
};
/* Adds the drift of all points that `stays` [points] does not mark. */
enum mdq_err score_moves_drift(struct score_moves *m, const struct score_case *c, const uint8_t *stays, const struct score_drift *drift);
void score_moves_free(struct score_moves *m);
/* Distortion of a point's drift. */
double score_drift_md(const struct score_case *c, int64_t point, const struct score_drift *drift);
/* What the point's shift is multiplied with to become its drift. */
double score_drift_scale(const struct score_case *c, int64_t point, const struct score_drift *drift);
/* The step at which the root mean square distortion over all points is `md`, were there no `most`. */
double score_drift_step(const struct score_case *c, bool by_row, double md);
/* n different points at random (*found fewer where there are not as many), none of them among chosen [n], in the order of their numbers;
 * with_shift: only those that have a protective direction. out [n]. */
enum mdq_err score_random_points(const struct score_case *c, const int64_t *chosen, int64_t n, bool with_shift, struct mdq_random *random,
                                 int64_t *out, int64_t *found);

#endif
