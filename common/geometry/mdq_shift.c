#include "mdq_shift.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_linalg.h"

/* Few steps: the direction of lowest cost alone often means one or two columns, which leave the grid before they move far. */
enum { STEPS = 4 };

enum mdq_err mdq_shift_factor(int64_t n, const float *h, int64_t first, int64_t D, double *l)
{
    double mean = 0;
    int64_t bad;
    for (int64_t i = 0; i < D; i++)
        mean += h[(first + i) * n + first + i] / (double)D;
    for (int64_t i = 0; i < D; i++) {
        for (int64_t j = 0; j < D; j++)
            l[i * D + j] = j <= i ? h[(first + i) * n + first + j] : 0;
        l[i * D + i] += mean > 0 ? 0.1 * mean : 1;
    }
    MDQ_TRY(mdq_cholesky_f64(D, l, D, &bad));
    if (bad < 0)
        return MDQ_OK;
    memset(l, 0, sizeof *l * (size_t)(D * D)); /* not positive definite by rounding: every direction costs the same */
    for (int64_t i = 0; i < D; i++)
        l[i * D + i] = 1;
    return MDQ_OK;
}

/* x = A x for `columns` columns of x [D, columns]. */
static void solve(int64_t D, const double *l, int64_t columns, double *x)
{
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)D, (int)columns, 1, l, (int)D, x, (int)columns);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)D, (int)columns, 1, l, (int)D, x, (int)columns);
}

static double dot(int64_t n, const double *a, const double *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* v less what u [D, rank] holds of it. */
static void project(int64_t D, int64_t rank, const double *u, double *v)
{
    for (int64_t a = 0; a < rank; a++) {
        double t = 0;
        for (int64_t i = 0; i < D; i++)
            t += u[i * rank + a] * v[i];
        for (int64_t i = 0; i < D; i++)
            v[i] -= t * u[i * rank + a];
    }
}

enum mdq_err mdq_shift_direction(int64_t D, const double *l, int64_t rank, const double *u, const double *c,
                                  struct mdq_random *random, double *v, double *size)
{
    double *au = mdq_alloc((size_t)(D * (rank + 1)), sizeof *au, "directions");
    double *small = mdq_alloc((size_t)(rank * rank + 1), sizeof *small, "directions");
    double *t = mdq_alloc((size_t)rank + 1, sizeof *t, "directions");
    enum mdq_err err = au && small && t ? MDQ_OK : MDQ_E_INTERNAL;
    int64_t bad = -1;
    double length = 0;
    *size = 0;
    if (err != MDQ_OK)
        goto done;
    if (rank > 0) {
        memcpy(au, u, sizeof *au * (size_t)(D * rank));
        solve(D, l, rank, au);
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rank, (int)rank, (int)D, 1, u, (int)rank, au, (int)rank, 0, small,
                    (int)rank);
        MDQ_GOTO(err, mdq_cholesky_f64(rank, small, rank, &bad), done);
        if (bad >= 0)
            goto done;
    }
    for (int64_t i = 0; i < D; i++)
        v[i] = c ? c[i] : mdq_random_normal(random);
    for (int step = 0; step < (c ? 1 : STEPS); step++) {
        solve(D, l, 1, v);
        if (rank > 0) {
            cblas_dgemv(CblasRowMajor, CblasTrans, (int)D, (int)rank, 1, u, (int)rank, v, 1, 0, t, 1);
            cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)rank, small, (int)rank, t, 1);
            cblas_dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, (int)rank, small, (int)rank, t, 1);
            cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)D, (int)rank, -1, au, (int)rank, t, 1, 1, v, 1);
            project(D, rank, u, v); /* rounding */
        }
        length = sqrt(dot(D, v, v));
        if (!(length > 1e-200))
            goto done;
        for (int64_t i = 0; i < D; i++)
            v[i] /= length;
    }
    *size = length;
done:
    free(au);
    free(small);
    free(t);
    return err;
}

int mdq_shift_normal(int64_t D, int64_t rank, const double *u, const float *d, double *v)
{
    for (int64_t i = 0; i < D; i++)
        v[i] = d[i];
    project(D, rank, u, v);
    double size = sqrt(dot(D, v, v));
    for (int64_t i = 0; i < D && size > 0; i++)
        v[i] /= size;
    return size > 0;
}
