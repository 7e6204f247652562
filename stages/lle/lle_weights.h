/* Reconstruction weights and tangents of all rows of a tile, several rows at a time. */
#ifndef LLE_WEIGHTS_H
#define LLE_WEIGHTS_H

#include <stdint.h>

#include "mdq_error.h"

struct lle_local {
    double *weights;  /* [n, k], or NULL */
    double *residual; /* [n]: ||x_i - sum_a w_ia x_a||^2 */
    uint8_t *dim;     /* [n]: directions of the local PCA, or NULL: neither these nor normals */
    double *normal;   /* [n]: distance from the local tangent plane */
};

/*
 * Weights (Saul and Roweis 2003, as scikit-learn's barycenter_weights): with the local Gram matrix C of row i,
 * (C + R I) w = 1, R = reg * trace(C), or reg where the trace is 0, then divided by the sum of w.
 * Tangents: mdq_local_pca.h, with `variance`. x [n, D], g its Gram matrix from lle_gram, neighbours and dist2 [n, k] from
 * lle_neighbours; k >= 1 and at most MDQ_LOCAL_MAX_K. C comes from g where the neighbours are far enough for
 * its rounding not to matter, else from the differences of the rows.
 */
enum mdq_err lle_local(int64_t n, int64_t D, const float *x, int64_t ldx, const double *g, int64_t k,
                       const uint16_t *neighbours, const double *dist2, double reg, double variance, struct lle_local *out);

/* weights [n, k] and residual [n] from the definition. */
enum mdq_err lle_weights_ref(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours,
                             double reg, double *weights, double *residual);

#endif
