/* The embedding of locally linear embedding, and eigenvalues of a tile. */
#ifndef LLE_EMBEDDING_H
#define LLE_EMBEDDING_H

#include <stdint.h>

#include "mdq_error.h"

/*
 * y [n, m] = eigenvectors 2 to m + 1 (by rising eigenvalue; m <= n - 1) of (I - W)^T (I - W), W [n, n] having the weights
 * [n, k] at the neighbours: unit length, the entry of largest magnitude (the first of equal ones) positive. With more
 * than one component in the neighbour graph the eigenvalue 0 is multiple, and the first ones are some basis of its space.
 */
enum mdq_err lle_embedding(int64_t n, int64_t k, const uint16_t *neighbours, const double *weights, int64_t m, double *y);
/* The same by Jacobi's method; value, unless NULL: all n eigenvalues, rising. */
enum mdq_err lle_embedding_ref(int64_t n, int64_t k, const uint16_t *neighbours, const double *weights, int64_t m, double *y,
                               double *value);

/* Eigenvalues of the symmetric a [n, n] (overwritten): the largest one, or, from lle_count_above, how many are above `bound`. */
enum mdq_err lle_largest(int64_t n, double *a, double *value);
enum mdq_err lle_count_above(int64_t n, double *a, double bound, int64_t *count);

#endif
