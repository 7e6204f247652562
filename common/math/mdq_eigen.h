/* Eigenvalues and vectors of symmetric matrices, by LAPACK's dsyevr. */
#ifndef MDQ_EIGEN_H
#define MDQ_EIGEN_H

#include <stdint.h>

#include "mdq_error.h"

/*
 * Eigenvalues il to iu (from 1, rising) of the symmetric a [size, size], which is destroyed, into w [size]; unless z is NULL,
 * their eigenvectors as rows of z [iu - il + 1, size]. MDQ_E_INTERNAL: not found, out of memory.
 */
enum mdq_err mdq_eigen(int64_t size, double *a, int64_t il, int64_t iu, double *w, double *z);

#endif
