#include "mdq_linalg.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, CHOLESKY_LEAF = 32 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#define REAL float
#define FN(name) name##_f32
#define BLAS(name) cblas_s##name
#include "mdq_cholesky_real.h"
#undef REAL
#undef FN
#undef BLAS

#define REAL double
#define FN(name) name##_f64
#define BLAS(name) cblas_d##name
#include "mdq_cholesky_real.h"
#undef REAL
#undef FN
#undef BLAS

enum mdq_err mdq_cholesky(int64_t n, float *a, int64_t lda, int64_t *bad)
{
    *bad = factor_f32(n, a, lda);
    return MDQ_OK;
}

enum mdq_err mdq_cholesky_f64(int64_t n, double *a, int64_t lda, int64_t *bad)
{
    *bad = factor_f64(n, a, lda);
    return MDQ_OK;
}

enum mdq_err mdq_trtri(int64_t n, float *l, int64_t ldl)
{
    return invert_f32(n, l, ldl);
}

enum mdq_err mdq_trtri_f64(int64_t n, double *l, int64_t ldl)
{
    return invert_f64(n, l, ldl);
}
