/*
 * Dense linear algebra, row-major float32, parallel over fixed blocks with single-threaded OpenBLAS inside each, so
 * that the bytes of a result depend neither on the number of threads nor on scheduling.
 */
#ifndef MDQ_LINALG_H
#define MDQ_LINALG_H

#include <stdint.h>

#include "mdq_error.h"

/* C [m,n] = alpha * op(A) op(B) + beta * C; ta/tb: transpose. Leading dimensions are row strides. */
void mdq_gemm(int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void mdq_gemm_ref(int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/*
 * H [k,k] (lower triangle, the rest untouched) += X^T X, X [n,k] row-major. Rows are summed in fixed chunks of 2048:
 * cutting X into several calls at multiples of that changes no bit of H.
 */
void mdq_syrk_add(int64_t n, int64_t k, const float *x, int64_t ldx, float *h, int64_t ldh);
void mdq_syrk_add_ref(int64_t n, int64_t k, const float *x, int64_t ldx, double *h, int64_t ldh);

/*
 * In place on the lower triangle of A [n,n] (row-major): Cholesky factor L, A = L L^T. Returns MDQ_OK and *bad = -1,
 * or MDQ_OK and *bad = the first pivot that is not positive (A is then undefined).
 */
enum mdq_err mdq_cholesky(int64_t n, float *a, int64_t lda, int64_t *bad);
enum mdq_err mdq_cholesky_f64(int64_t n, double *a, int64_t lda, int64_t *bad);
/* L^-1 in place, lower triangular, row-major. */
enum mdq_err mdq_trtri(int64_t n, float *l, int64_t ldl);
enum mdq_err mdq_trtri_f64(int64_t n, double *l, int64_t ldl);

#endif
