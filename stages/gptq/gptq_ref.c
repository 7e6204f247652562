/*
 * GPTQ in the words of the paper that named it (Frantar et al., arXiv 2210.17323), plain loops in double: what the
 * fast path is tested against. It shares no formula with it beyond the grid.
 */
#include <math.h>
#include <stdlib.h>

#include "gptq_core.h"

/* inverse of the symmetric positive definite a [n, n], by Gauss-Jordan without pivoting */
static void invert(int64_t n, double *a)
{
    for (int64_t p = 0; p < n; p++) {
        double pivot = a[p * n + p];
        a[p * n + p] = 1;
        for (int64_t c = 0; c < n; c++)
            a[p * n + c] /= pivot;
        for (int64_t r = 0; r < n; r++) {
            double t = a[r * n + p];
            if (r == p)
                continue;
            a[r * n + p] = 0;
            for (int64_t c = 0; c < n; c++)
                a[r * n + c] -= t * a[p * n + c];
        }
    }
}

/* upper u with a = u^T u, in place; the lower triangle is left as it was */
static void cholesky_upper(int64_t n, double *a)
{
    for (int64_t j = 0; j < n; j++) {
        for (int64_t p = 0; p < j; p++)
            a[j * n + j] -= a[p * n + j] * a[p * n + j];
        a[j * n + j] = sqrt(a[j * n + j]);
        for (int64_t c = j + 1; c < n; c++) {
            for (int64_t p = 0; p < j; p++)
                a[j * n + c] -= a[p * n + j] * a[p * n + c];
            a[j * n + c] /= a[j * n + j];
        }
    }
}

enum mdq_err gptq_quantize_ref(const float *w, const struct quant_grid *g, const double *hd, const int64_t *column,
                               uint8_t *codes)
{
    int64_t n = g->cols;
    double *u = mdq_alloc((size_t)n * (size_t)n, sizeof *u, "inverse of H");
    double *row = mdq_alloc((size_t)n, sizeof *row, "row");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!u || !row)
        goto done;
    err = MDQ_OK;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            u[i * n + j] = hd[column[n - 1 - i] * n + column[n - 1 - j]];
    invert(n, u);
    cholesky_upper(n, u);
    for (int64_t r = 0; r < g->rows; r++) {
        for (int64_t i = 0; i < n; i++)
            row[i] = w[r * n + column[n - 1 - i]];
        for (int64_t i = 0; i < n; i++) {
            int64_t c = column[n - 1 - i], at = r * g->groups + c / g->group;
            double s = g->scales[at], z = g->zeros[at];
            double code = fmin(fmax(rint(row[i] / s) + z, 0), quant_max_code(g));
            double error = (row[i] - s * (code - z)) / u[i * n + i];
            for (int64_t j = i + 1; j < n; j++)
                row[j] -= error * u[i * n + j];
            codes[r * n + c] = (uint8_t)code;
        }
    }
done:
    free(u);
    free(row);
    return err;
}
