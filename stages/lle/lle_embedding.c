#include "lle_embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_eigen.h"

enum mdq_err lle_embedding(int64_t n, int64_t k, const uint16_t *neighbours, const double *weights, int64_t m, double *y)
{
    if (m < 1)
        return MDQ_OK;
    double *a = mdq_alloc_aligned((size_t)(n * n), sizeof *a, "embedding"), *w = mdq_alloc((size_t)n, sizeof *w, "embedding");
    double *z = mdq_alloc_aligned((size_t)((m + 1) * n), sizeof *z, "embedding");
    enum mdq_err err = a && w && z ? MDQ_OK : MDQ_E_INTERNAL;
    if (err != MDQ_OK)
        goto done;
    memset(a, 0, (size_t)(n * n) * sizeof *a);
    for (int64_t i = 0; i < n; i++) { /* the outer product of row i of I - W with itself */
        const uint16_t *nb = neighbours + i * k;
        const double *v = weights + i * k;
        a[i * n + i] += 1;
        for (int64_t p = 0; p < k; p++) {
            double *row = a + nb[p] * n;
            row[i] -= v[p];
            a[i * n + nb[p]] -= v[p];
            for (int64_t q = 0; q < k; q++)
                row[nb[q]] += v[p] * v[q];
        }
    }
    MDQ_GOTO(err, mdq_eigen(n, a, 1, m + 1, w, z), done);
    for (int64_t j = 0; j < m; j++) {
        const double *v = z + (j + 1) * n;
        int64_t at = 0;
        for (int64_t i = 1; i < n; i++)
            if (fabs(v[i]) > fabs(v[at]))
                at = i;
        for (int64_t i = 0; i < n; i++)
            y[i * m + j] = v[at] < 0 ? -v[i] : v[i];
    }
done:
    free(a);
    free(w);
    free(z);
    return err;
}

enum mdq_err lle_largest(int64_t n, double *a, double *value)
{
    double *w = mdq_alloc((size_t)n, sizeof *w, "eigenvalues");
    enum mdq_err err = w ? mdq_eigen(n, a, n, n, w, NULL) : MDQ_E_INTERNAL;
    if (err == MDQ_OK)
        *value = w[0];
    free(w);
    return err;
}

enum mdq_err lle_count_above(int64_t n, double *a, double bound, int64_t *count)
{
    double *w = mdq_alloc((size_t)n, sizeof *w, "eigenvalues");
    enum mdq_err err = w ? mdq_eigen(n, a, 1, n, w, NULL) : MDQ_E_INTERNAL;
    *count = 0;
    for (int64_t i = 0; i < n && err == MDQ_OK; i++)
        *count += w[i] > bound;
    free(w);
    return err;
}
