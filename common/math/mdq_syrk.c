#include "mdq_linalg.h"

#include <cblas.h>

/*
 * Rows per partial sum, and the side of the tiles of H that threads work on: fixed by the size alone, so that neither
 * the number of threads nor the way a caller cuts X into multiples of ROWS changes a bit of the result. Larger tiles
 * are nearer to the speed of one large product (0.85 of ssyrk's with 512, 0.93 with 1024), smaller ones feed more threads.
 */
enum { ROWS = 2048 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void mdq_syrk_add(int64_t n, int64_t k, const float *x, int64_t ldx, float *h, int64_t ldh)
{
    int64_t tile = k < 2048 ? 256 : k < 4096 ? 512 : 1024;
    int64_t across = (k + tile - 1) / tile, tiles = across * (across + 1) / 2;
    /* the costly tiles left of the diagonal first, those on it, at half the work, last */
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t t = 0; t < tiles; t++) {
        int64_t i = 0, j = t;
        if (t >= tiles - across) {
            i = j = t - (tiles - across);
        } else {
            for (i = 1; j >= i; i++)
                j -= i;
        }
        int64_t ri = i * tile, rj = j * tile, m = min64(tile, k - ri), w = min64(tile, k - rj);
        for (int64_t r = 0; r < n; r += ROWS) {
            int64_t rows = min64(ROWS, n - r);
            const float *p = x + r * ldx;
            if (i == j)
                cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)m, (int)rows, 1, p + ri, (int)ldx, 1,
                            h + ri * ldh + rj, (int)ldh);
            else
                cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)w, (int)rows, 1, p + ri, (int)ldx,
                            p + rj, (int)ldx, 1, h + ri * ldh + rj, (int)ldh);
        }
    }
}

void mdq_syrk_add_ref(int64_t n, int64_t k, const float *x, int64_t ldx, double *h, int64_t ldh)
{
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t r = 0; r < n; r++)
                sum += (double)x[r * ldx + i] * x[r * ldx + j];
            h[i * ldh + j] += sum;
        }
}
