/*
 * General matrix product: the result is cut into tiles that depend on its shape only, each tile is one
 * single-threaded sgemm. The whole inner dimension belongs to one tile, so nothing is summed across tiles.
 */
#include <cblas.h>

#include "mdq_linalg.h"

enum {
    TILE_MAX = 1024,      /* beyond it sgemm's own packing is below 5 % of the work */
    TILE_MIN = 256,       /* below it packing costs more than 15 % */
    TILES_WANTED = 16,    /* so that a machine of 16 threads is busy */
    WORTH_FLOPS = 1 << 22 /* less than this is done before other threads wake up */
};

/* The length of a tile's side: a multiple of 16, so that only the last tile has ragged edges. */
static int64_t side(int64_t n, int64_t parts)
{
    int64_t s = (n + parts - 1) / parts;
    return (s + 15) / 16 * 16;
}

static void tile_shape(int64_t m, int64_t n, int64_t k, int64_t *tm, int64_t *tn)
{
    *tm = m;
    *tn = n;
    if (2.0 * (double)m * (double)n * (double)k < WORTH_FLOPS)
        return;
    int64_t pm = (m + TILE_MAX - 1) / TILE_MAX, pn = (n + TILE_MAX - 1) / TILE_MAX;
    while (pm * pn < TILES_WANTED) {
        double lm = (double)m / (double)pm, ln = (double)n / (double)pn;
        if (lm < 2 * TILE_MIN && ln < 2 * TILE_MIN)
            break;
        if (lm > ln)
            pm *= 2;
        else
            pn *= 2;
    }
    *tm = side(m, pm);
    *tn = side(n, pn);
}

void mdq_gemm(int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m <= 0 || n <= 0)
        return;
    /* a program that was not started through mdq_blas_start (a test) would get results that depend on -j */
    if (openblas_get_num_threads() != 1)
        openblas_set_num_threads(1);
    int64_t tm, tn;
    tile_shape(m, n, k, &tm, &tn);
    int64_t rows = (m + tm - 1) / tm, cols = (n + tn - 1) / tn;
#pragma omp parallel for schedule(dynamic, 1) if (rows * cols > 1)
    for (int64_t t = 0; t < rows * cols; t++) {
        int64_t i = t / cols * tm, j = t % cols * tn;
        int64_t mm = m - i < tm ? m - i : tm, nn = n - j < tn ? n - j : tn;
        cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)mm, (int)nn,
                    (int)k, alpha, ta ? a + i : a + i * lda, (int)lda, tb ? b + j * ldb : b + j, (int)ldb, beta,
                    c + i * ldc + j, (int)ldc);
    }
}

void mdq_gemm_ref(int ta, int tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++)
                sum += (double)(ta ? a[p * lda + i] : a[i * lda + p]) * (tb ? b[j * ldb + p] : b[p * ldb + j]);
            /* beta 0 does not read C, as in BLAS */
            c[i * ldc + j] = (float)(alpha * sum + (beta != 0 ? (double)beta * c[i * ldc + j] : 0.0));
        }
}
