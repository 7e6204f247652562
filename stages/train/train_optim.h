/*
 * The optimiser of mdq-train: AdamW (Loshchilov and Hutter 2019, decoupled weight decay), clipping by the global norm
 * of the gradients, and the learning rate's schedule. Pure functions on plain arrays.
 */
#ifndef MDQ_TRAIN_OPTIM_H
#define MDQ_TRAIN_OPTIM_H

#include <stdint.h>

struct train_adamw {
    double beta1, beta2, eps, decay;
};

/*
 * Learning rate of step `step` (counted from 0) of `steps`: rises linearly over the first `warmup` steps, lr at their
 * end, then falls along half a cosine to `least` at the last step.
 */
double train_rate(int64_t step, int64_t steps, int64_t warmup, double lr, double least);

/* What the gradients are multiplied by so that their global norm is at most `clip`; 1 when clip is 0. */
double train_clip_scale(double norm, double clip);

/* Sum of squares, in double, in blocks of a fixed size. */
double train_square_sum(const float *g, int64_t n);

/*
 * Step `t` (counted from 1) on n parameters, with g multiplied by `scale` first:
 *     m = b1 m + (1 - b1) g    v = b2 v + (1 - b2) g^2
 *     w = w (1 - lr decay) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 */
void train_adamw_step(const struct train_adamw *a, int64_t t, double lr, double decay, double scale, int64_t n,
                      const float *g, float *w, float *m, float *v);
void train_adamw_step_ref(const struct train_adamw *a, int64_t t, double lr, double decay, double scale, int64_t n,
                          const double *g, double *w, double *m, double *v);

#endif
