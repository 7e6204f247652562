/*
 * Rounding that obeys: after GPTQ (or plain rounding) of a layer, the rows that hold labelled points are made to meet their constraints on
 * manifold distortion. Group size and bits never change.
 *
 *   functional   MD <= target: integer coordinate descent on e^T (H + mu N) e, N the normal projector of the row's
 *                functional points, mu raised until it holds; where that is not enough, other scales for the point's
 *                groups, by least squares in the normal metric in turn with descent, and random restarts along the
 *                tangent, which costs nothing there
 *   sensitive    MD >= target: the point's target becomes w + d, d the normal direction of lowest cost in H (mdq_shift.h);
 *                the row is rounded anew, MD measured against w, d rescaled; what is then still missing is made up by
 *                single code moves, cheapest in H per MD gained first
 *   overlap      |MD - target| <= 0.03, in the same manner
 */
#ifndef GPTQ_CONSTRAIN_H
#define GPTQ_CONSTRAIN_H

#include "gptq_core.h"
#include "gptq_distortion.h"

struct gptq_miss {
    int64_t row, block;
    int label;
    double target, md; /* what is stored; of functional points it is the best over all restarts */
    double bound;      /* certified: no codes and scales on this grid give less (functional) ; -1: none known */
    const char *reason;
};

struct gptq_constraints {
    int restarts;
    uint64_t seed;
    const char *tensor;
};

struct gptq_constrained {
    int64_t rows;      /* that were worked on */
    int64_t rescaled;  /* points whose groups got other scales */
    int64_t shifted;   /* points whose target was shifted */
    struct gptq_miss *miss;
    int64_t misses, capacity;
    double ehe, residual, sq_error, bound, max_abs; /* what to add to the layer's sums (max_abs: to take the maximum with); residual and
                                                       bound in the damped H, of the shifted target where there is one */
};

/*
 * codes [rows, cols] and the scales of `grid` are changed in the rows that need it; md [points] is brought up to date. h [n, n]
 * undamped; f: its factor, or NULL after plain rounding (then lambda = 0). w [rows, cols]. Released with gptq_constrained_free.
 */
enum mdq_err gptq_constrain(const struct mdq_points *g, const float *w, const float *target, struct quant_grid *grid, const float *h,
                            const struct gptq_factor *f, const struct gptq_constraints *o, uint8_t *codes, float *md,
                            struct gptq_constrained *out);
/* Adds the points of the layer whose constraint md does not meet, functional ones with a bound where one is certain. */
enum mdq_err gptq_list_misses(const struct mdq_points *g, const float *w, const struct quant_grid *grid, const float *md,
                              struct gptq_constrained *out);
void gptq_constrained_free(struct gptq_constrained *c);

/*
 * The least sum of squared distances of w [n] from the grid s (c - zero), c in 0..top, over all s > 0: exact, by the values of s at which a
 * code changes. O(n top log(n top)). *scale is where it is reached. -1: out of memory.
 */
double gptq_best_scale(int64_t n, const float *w, int zero, int top, double *scale);

#endif
