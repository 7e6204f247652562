/*
 * The tangent at a point by the principal components of its nearest neighbours (the local PCA of LTSA: Zhang and Zha
 * 2004), batched over the points of a tile. The point itself is never among its neighbours.
 */
#ifndef MDQ_LOCAL_PCA_H
#define MDQ_LOCAL_PCA_H

#include <stdint.h>

#include "mdq_error.h"

enum { MDQ_LOCAL_MAX_K = 64 };

/*
 * For points i of [first, first + count) of x [n, D] (row stride ldx), neighbours [n, k] (indices into x):
 * dim[i - first] = directions that reach `variance` of the neighbourhood's variance about its mean (0 when that is 0), at most
 * `cap` when cap > 0; normal[i - first] = ||(I - U U^T)(x_i - mean of the neighbours)||; basis, unless NULL:
 * [count, D, k] with U in the first dim columns (row-major [D, k] per point), the others 0. Either output may be NULL.
 */
enum mdq_err mdq_local_pca(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours,
                           double variance, int64_t cap, int64_t first, int64_t count, uint8_t *dim, double *normal,
                           double *basis);
enum mdq_err mdq_local_pca_ref(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours,
                               double variance, int64_t cap, int64_t first, int64_t count, uint8_t *dim, double *normal,
                               double *basis);

#endif
