/* Leading eigenpairs of small symmetric matrices, by LAPACK. */
#ifndef VAE_EIGEN_H
#define VAE_EIGEN_H

#include <stdint.h>

#include "mdq_error.h"

/* The `count` largest eigenvalues of a [n, n] (symmetric, left as it was), falling, into values; their vectors, unless NULL, into
 * the columns of vectors [n, ldv]. The sign: the entry of largest size is positive. */
enum mdq_err vae_eigen_top(int64_t n, const double *a, int64_t count, double *values, double *vectors, int64_t ldv);

/*
 * Rayleigh-Ritz on the span of [U, A U], U [n, ldu] with `count` orthonormal columns, which are replaced by the best
 * `count` of it, values by theirs. No value is below that of the same rank before.
 */
enum mdq_err vae_eigen_span(int64_t n, const double *a, int64_t count, double *values, double *u, int64_t ldu);

#endif
