/* The plain version of mdq_local_pca: Jacobi's method on each neighbourhood, projections from the directions themselves. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_local_pca.h"

/* Eigenvalues of the symmetric a [n,n] on its diagonal, eigenvectors in the columns of v; cyclic Jacobi. */
static void jacobi(int64_t n, double *a, double *v)
{
    for (int64_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0, all = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                all += a[i * n + j] * a[i * n + j];
                off += i == j ? 0 : a[i * n + j] * a[i * n + j];
            }
        if (off <= 1e-32 * all)
            return;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0)
                    continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t i = 0; i < n; i++) {
                    double x = a[i * n + p], y = a[i * n + q];
                    a[i * n + p] = c * x - s * y;
                    a[i * n + q] = s * x + c * y;
                }
                for (int64_t i = 0; i < n; i++) {
                    double x = a[p * n + i], y = a[q * n + i];
                    a[p * n + i] = c * x - s * y;
                    a[q * n + i] = s * x + c * y;
                }
                for (int64_t i = 0; i < n; i++) {
                    double x = v[i * n + p], y = v[i * n + q];
                    v[i * n + p] = c * x - s * y;
                    v[i * n + q] = s * x + c * y;
                }
            }
    }
}

/* One point. y: the neighbours about their mean [k, D]; u [D, k]. Returns the dimension. */
static int64_t directions(int64_t k, int64_t D, const double *y, double *gram, double *v, double variance, int64_t cap,
                          double *u)
{
    double total = 0, sum = 0;
    for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b < k; b++) {
            gram[a * k + b] = 0;
            for (int64_t p = 0; p < D; p++)
                gram[a * k + b] += y[a * D + p] * y[b * D + p];
        }
    jacobi(k, gram, v);
    for (int64_t a = 0; a < k; a++)
        total += gram[a * k + a];
    memset(u, 0, (size_t)(D * k) * sizeof *u);
    int64_t dim = 0;
    while (dim < k && (cap <= 0 || dim < cap) && sum < (variance - 1e-12) * total) {
        int64_t best = 0;
        for (int64_t a = 1; a < k; a++)
            if (gram[a * k + a] > gram[best * k + best])
                best = a;
        double value = gram[best * k + best];
        if (!(value > 1e-12 * total))
            break;
        for (int64_t p = 0; p < D; p++)
            for (int64_t a = 0; a < k; a++)
                u[p * k + dim] += v[a * k + best] * y[a * D + p] / sqrt(value);
        sum += value;
        gram[best * k + best] = -1;
        dim++;
    }
    return dim;
}

enum mdq_err mdq_local_pca_ref(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours,
                               double variance, int64_t cap, int64_t first, int64_t count, uint8_t *dim, double *normal,
                               double *basis)
{
    (void)n;
    double *y = mdq_calloc((size_t)((k + 1) * D), sizeof *y, "neighbours"), *u = mdq_calloc((size_t)(D * k), sizeof *u, "basis");
    double *gram = mdq_calloc((size_t)(2 * k * k), sizeof *gram, "Gram matrix");
    enum mdq_err err = y && u && gram ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t i = first; i < first + count && err == MDQ_OK; i++) {
        double *off = y + k * D, length = 0;
        for (int64_t p = 0; p < D; p++) {
            double mean = 0;
            for (int64_t a = 0; a < k; a++)
                mean += (double)x[neighbours[i * k + a] * ldx + p] / (double)k;
            for (int64_t a = 0; a < k; a++)
                y[a * D + p] = (double)x[neighbours[i * k + a] * ldx + p] - mean;
            off[p] = k > 0 ? (double)x[i * ldx + p] - mean : 0;
        }
        int64_t d = directions(k, D, y, gram, gram + k * k, variance, cap, u);
        for (int64_t j = 0; j < d; j++) {
            double along = 0;
            for (int64_t p = 0; p < D; p++)
                along += u[p * k + j] * off[p];
            for (int64_t p = 0; p < D; p++)
                off[p] -= along * u[p * k + j];
        }
        for (int64_t p = 0; p < D; p++)
            length += off[p] * off[p];
        if (dim)
            dim[i - first] = (uint8_t)d;
        if (normal)
            normal[i - first] = sqrt(length);
        if (basis)
            memcpy(basis + (i - first) * D * k, u, (size_t)(D * k) * sizeof *u);
    }
    free(y);
    free(u);
    free(gram);
    return err;
}
