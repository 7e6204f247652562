#include "vae_eigen.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_eigen.h"

static void fix_sign(int64_t n, double *v, int64_t stride)
{
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        if (fabs(v[i * stride]) > fabs(v[at * stride]))
            at = i;
    if (v[at * stride] < 0)
        for (int64_t i = 0; i < n; i++)
            v[i * stride] = -v[i * stride];
}

enum mdq_err vae_eigen_top(int64_t n, const double *a, int64_t count, double *values, double *vectors, int64_t ldv)
{
    double *copy = mdq_alloc_aligned((size_t)(n * n), sizeof *copy, "matrix");
    double *w = mdq_alloc((size_t)n, sizeof *w, "eigenvalues");
    double *z = vectors ? mdq_alloc_aligned((size_t)(n * count), sizeof *z, "eigenvectors") : NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!copy || !w || (vectors && !z))
        goto done;
    memcpy(copy, a, (size_t)(n * n) * sizeof *copy);
    MDQ_GOTO(err, mdq_eigen(n, copy, n - count + 1, n, w, z), done);
    for (int64_t j = 0; j < count; j++) {
        values[j] = w[count - 1 - j];
        if (!vectors)
            continue;
        for (int64_t i = 0; i < n; i++)
            vectors[i * ldv + j] = z[(count - 1 - j) * n + i];
        fix_sign(n, vectors + j, ldv);
    }
done:
    free(copy);
    free(w);
    free(z);
    return err;
}

/* Orthonormalises the columns of q [n, m] in place against those before them; a column that vanishes becomes 0. */
static void orthonormalise(int64_t n, int64_t m, double *q)
{
    for (int64_t j = 0; j < m; j++) {
        double before = 0, after = 0;
        for (int64_t i = 0; i < n; i++)
            before += q[i * m + j] * q[i * m + j];
        for (int pass = 0; pass < 2; pass++)
            for (int64_t p = 0; p < j; p++) {
                double dot = 0;
                for (int64_t i = 0; i < n; i++)
                    dot += q[i * m + p] * q[i * m + j];
                for (int64_t i = 0; i < n; i++)
                    q[i * m + j] -= dot * q[i * m + p];
            }
        for (int64_t i = 0; i < n; i++)
            after += q[i * m + j] * q[i * m + j];
        double scale = after > 1e-24 * before && after > 0 ? 1 / sqrt(after) : 0;
        for (int64_t i = 0; i < n; i++)
            q[i * m + j] *= scale;
    }
}

enum mdq_err vae_eigen_span(int64_t n, const double *a, int64_t count, double *values, double *u, int64_t ldu)
{
    const int64_t m = 2 * count;
    double *q = mdq_alloc_aligned((size_t)(n * m), sizeof *q, "span"), *aq = mdq_alloc_aligned((size_t)(n * m), sizeof *aq, "span");
    double *t = mdq_alloc((size_t)(m * m), sizeof *t, "span"), *v = mdq_alloc((size_t)(m * count), sizeof *v, "span");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!q || !aq || !t || !v)
        goto done;
    for (int64_t i = 0; i < n; i++)
        memcpy(q + i * m, u + i * ldu, (size_t)count * sizeof *q);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)count, (int)n, 1, a, (int)n, u, (int)ldu, 0, q + count,
                (int)m);
    orthonormalise(n, m, q);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)m, (int)n, 1, a, (int)n, q, (int)m, 0, aq, (int)m);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)m, (int)n, 1, q, (int)m, aq, (int)m, 0, t, (int)m);
    MDQ_GOTO(err, vae_eigen_top(m, t, count, values, v, count), done);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)count, (int)m, 1, q, (int)m, v, (int)count, 0, u,
                (int)ldu);
done:
    free(q);
    free(aq);
    free(t);
    free(v);
    return err;
}
