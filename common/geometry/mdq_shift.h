/* The protective shift of a point (design 1.3): a direction in its normal space that costs little in H. */
#ifndef MDQ_SHIFT_H
#define MDQ_SHIFT_H

#include <stdint.h>

#include "mdq_error.h"
#include "mdq_random.h"

/* L [D, D] lower with L L^T = H_block + 0.1 mean(diag) I, the inverse of A of design 1.3; h [n, n], block at `first`. */
enum mdq_err mdq_shift_factor(int64_t n, const float *h, int64_t first, int64_t D, double *l);

/*
 * v [D], a unit vector with U^T v = 0, u [D, rank]: with c the direction A c - A U (U^T A U)^-1 U^T A c of design 1.3; c NULL: the
 * same map iterated from a random start, which goes to the normal direction of lowest cost in H. *size = its length before it was made
 * a unit vector, 0 where there is no normal direction.
 */
enum mdq_err mdq_shift_direction(int64_t D, const double *l, int64_t rank, const double *u, const double *c,
                                  struct mdq_random *random, double *v, double *size);

/* v [D] = the part of d [D] normal to u [D, rank], made a unit vector. 0: there is none. */
int mdq_shift_normal(int64_t D, int64_t rank, const double *u, const float *d, double *v);

#endif
