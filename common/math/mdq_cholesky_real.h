/*
 * Blocked Cholesky factor and triangular inverse, for one element type. Included by mdq_cholesky.c once for float
 * and once for double, with REAL, FN(name) (the name with its suffix) and BLAS(name) defined; no include guard.
 *
 * The factor is left-looking: a block of columns first takes the updates of all columns before it, one long matrix
 * product per tile, which keeps the BLAS kernels in their best shape and needs no order among threads.
 */

/* Serial and recursive, for a diagonal block. Returns the first pivot that is not positive, or -1. */
static int64_t FN(factor_block)(int64_t n, REAL *a, int64_t lda)
{
    if (n <= CHOLESKY_LEAF) {
        for (int64_t j = 0; j < n; j++) {
            double d = a[j * lda + j];
            for (int64_t p = 0; p < j; p++)
                d -= (double)a[j * lda + p] * a[j * lda + p];
            if (!(d > 0) || isinf(d))
                return j;
            d = sqrt(d);
            a[j * lda + j] = (REAL)d;
            for (int64_t i = j + 1; i < n; i++) {
                double s = a[i * lda + j];
                for (int64_t p = 0; p < j; p++)
                    s -= (double)a[i * lda + p] * a[j * lda + p];
                a[i * lda + j] = (REAL)(s / d);
            }
        }
        return -1;
    }
    int64_t n1 = n / 2, n2 = n - n1;
    REAL *a21 = a + n1 * lda, *a22 = a21 + n1;
    int64_t bad = FN(factor_block)(n1, a, lda);
    if (bad >= 0)
        return bad;
    BLAS(trsm)(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)n2, (int)n1, 1, a, (int)lda, a21,
               (int)lda);
    BLAS(syrk)(CblasRowMajor, CblasLower, CblasNoTrans, (int)n2, (int)n1, -1, a21, (int)lda, 1, a22, (int)lda);
    bad = FN(factor_block)(n2, a22, lda);
    return bad < 0 ? -1 : bad + n1;
}

static int64_t FN(factor)(int64_t n, REAL *a, int64_t lda)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
    for (int64_t j = 0; j < blocks; j++) {
        int64_t cj = j * BLOCK, nj = min64(BLOCK, n - cj);
        REAL *ajj = a + cj * lda + cj;
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t i = j; i < blocks; i++) {
            int64_t ri = i * BLOCK, ni = min64(BLOCK, n - ri);
            if (cj == 0)
                continue;
            if (i == j)
                BLAS(syrk)(CblasRowMajor, CblasLower, CblasNoTrans, (int)nj, (int)cj, -1, a + cj * lda, (int)lda, 1,
                           ajj, (int)lda);
            else
                BLAS(gemm)(CblasRowMajor, CblasNoTrans, CblasTrans, (int)ni, (int)nj, (int)cj, -1, a + ri * lda,
                           (int)lda, a + cj * lda, (int)lda, 1, a + ri * lda + cj, (int)lda);
        }
        int64_t bad = FN(factor_block)(nj, ajj, lda);
        if (bad >= 0)
            return cj + bad;
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t i = j + 1; i < blocks; i++) {
            int64_t ri = i * BLOCK, ni = min64(BLOCK, n - ri);
            BLAS(trsm)(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)ni, (int)nj, 1, ajj,
                       (int)lda, a + ri * lda + cj, (int)lda);
        }
    }
    return -1;
}

/* Inverse of a diagonal block, serial. */
static void FN(invert_block)(int64_t n, REAL *l, int64_t ldl)
{
    for (int64_t i = 0; i < n; i++) {
        double d = 1.0 / l[i * ldl + i];
        /* row i of the inverse from those above it; entry j reads row i of L from j on, so j runs upwards */
        for (int64_t j = 0; j < i; j++) {
            double s = 0;
            for (int64_t p = j; p < i; p++)
                s += (double)l[i * ldl + p] * l[p * ldl + j];
            l[i * ldl + j] = (REAL)(-s * d);
        }
        l[i * ldl + i] = (REAL)d;
    }
}

/* Block row by block row: X_i = -L_ii^-1 (L_i X), X the rows of the inverse that are done. */
static enum mdq_err FN(invert)(int64_t n, REAL *l, int64_t ldl)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
    REAL *row = mdq_alloc((size_t)(n > 0 ? n : 1) * BLOCK, sizeof *row, "triangular inverse");
    if (!row)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < blocks; i++) {
        int64_t ri = i * BLOCK, ni = min64(BLOCK, n - ri);
        REAL *li = l + ri * ldl, *lii = li + ri;
        for (int64_t r = 0; r < ni; r++)
            memcpy(row + r * n, li + r * ldl, (size_t)ri * sizeof *row);
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t j = 0; j < i; j++) {
            int64_t cj = j * BLOCK, below = cj + BLOCK;
            REAL *x = li + cj; /* holds L_ij, times X_jj = the first term of the sum */
            BLAS(trmm)(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)ni, BLOCK, -1,
                       l + cj * ldl + cj, (int)ldl, x, (int)ldl);
            if (below < ri)
                BLAS(gemm)(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)ni, BLOCK, (int)(ri - below), -1,
                           row + below, (int)n, l + below * ldl + cj, (int)ldl, 1, x, (int)ldl);
            BLAS(trsm)(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)ni, BLOCK, 1, lii,
                       (int)ldl, x, (int)ldl);
        }
        FN(invert_block)(ni, lii, ldl);
    }
    free(row);
    return MDQ_OK;
}
