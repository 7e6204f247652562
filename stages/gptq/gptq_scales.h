/* Scales of one point's groups, given its codes. */
#ifndef GPTQ_SCALES_H
#define GPTQ_SCALES_H

#include "gptq_descent.h"
#include "mdq_dtype.h"

/*
 * Sets the scales of the groups that segment s touches to the least-squares solution in its normal metric,
 * min ||(I - U U^T)(w - sum_g s_g v_g)||^2 with v_g = c - z on the group's columns, rounded to `type`. A scale that would
 * leave (0.1, 4) times `start` stays. Tells whether one changed; the row has to be reset then.
 */
bool gptq_scales_refit(struct gptq_row *r, const struct gptq_segment *s, const double *start, enum mdq_dtype type);

#endif
