/* The plain versions: straight from the definitions, in double precision, against which the others are tested. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lle_embedding.h"
#include "lle_neighbours.h"
#include "lle_weights.h"

enum mdq_err lle_neighbours_ref(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, uint16_t *neighbours,
                                double *dist2)
{
    double *d = mdq_alloc((size_t)n, sizeof *d, "distances");
    if (!d)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            d[j] = 0;
            for (int64_t p = 0; p < D; p++)
                d[j] += pow((double)x[i * ldx + p] - (double)x[j * ldx + p], 2);
        }
        d[i] = INFINITY;
        for (int64_t a = 0; a < k; a++) {
            int64_t best = 0;
            for (int64_t j = 1; j < n; j++)
                if (d[j] < d[best])
                    best = j;
            neighbours[i * k + a] = (uint16_t)best;
            if (dist2)
                dist2[i * k + a] = d[best];
            d[best] = INFINITY;
        }
    }
    free(d);
    return MDQ_OK;
}

/* a x = b by Gaussian elimination with the largest pivot of each column; a [n,n] and b are overwritten, b with x. */
static void eliminate(int64_t n, double *a, double *b)
{
    for (int64_t c = 0; c < n; c++) {
        int64_t best = c;
        for (int64_t r = c + 1; r < n; r++)
            if (fabs(a[r * n + c]) > fabs(a[best * n + c]))
                best = r;
        for (int64_t q = 0; q < n; q++) {
            double v = a[c * n + q];
            a[c * n + q] = a[best * n + q];
            a[best * n + q] = v;
        }
        double v = b[c];
        b[c] = b[best];
        b[best] = v;
        for (int64_t r = c + 1; r < n; r++) {
            double f = a[r * n + c] / a[c * n + c];
            for (int64_t q = c; q < n; q++)
                a[r * n + q] -= f * a[c * n + q];
            b[r] -= f * b[c];
        }
    }
    for (int64_t c = n - 1; c >= 0; c--) {
        for (int64_t q = c + 1; q < n; q++)
            b[c] -= a[c * n + q] * b[q];
        b[c] /= a[c * n + c];
    }
}

enum mdq_err lle_weights_ref(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours,
                             double reg, double *weights, double *residual)
{
    double *g = mdq_alloc((size_t)(k * k), sizeof *g, "Gram matrix");
    if (!g)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < n; i++) {
        const uint16_t *nb = neighbours + i * k;
        double *w = weights + i * k, trace = 0, sum = 0;
        for (int64_t a = 0; a < k; a++)
            for (int64_t b = 0; b < k; b++) {
                g[a * k + b] = 0;
                for (int64_t p = 0; p < D; p++)
                    g[a * k + b] += ((double)x[nb[a] * ldx + p] - (double)x[i * ldx + p]) *
                                    ((double)x[nb[b] * ldx + p] - (double)x[i * ldx + p]);
                trace += a == b ? g[a * k + b] : 0;
            }
        for (int64_t a = 0; a < k; a++) {
            g[a * k + a] += trace > 0 ? reg * trace : reg;
            w[a] = 1;
        }
        eliminate(k, g, w);
        for (int64_t a = 0; a < k; a++)
            sum += w[a];
        for (int64_t a = 0; a < k; a++)
            w[a] /= sum;
        residual[i] = 0;
        for (int64_t p = 0; p < D; p++) {
            double off = (double)x[i * ldx + p];
            for (int64_t a = 0; a < k; a++)
                off -= w[a] * (double)x[nb[a] * ldx + p];
            residual[i] += off * off;
        }
    }
    free(g);
    return MDQ_OK;
}

/* Cyclic Jacobi: eigenvalues on the diagonal of a, eigenvectors in the columns of v. */
static void jacobi(int64_t n, double *a, double *v)
{
    for (int64_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < 40; sweep++) {
        double off = 0;
        for (int64_t i = 0; i < n * n; i++)
            off += i % (n + 1) ? a[i] * a[i] : 0;
        if (off < 1e-28)
            return;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0)
                    continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t i = 0; i < 3 * n; i++) { /* columns of a, rows of a, columns of v: in this order */
                    double *u = i < n ? a + i * n + p : i < 2 * n ? a + p * n + (i - n) : v + (i - 2 * n) * n + p;
                    double *w = i < n ? a + i * n + q : i < 2 * n ? a + q * n + (i - n) : v + (i - 2 * n) * n + q;
                    double x = *u, y = *w;
                    *u = c * x - s * y;
                    *w = s * x + c * y;
                }
            }
    }
}

enum mdq_err lle_embedding_ref(int64_t n, int64_t k, const uint16_t *neighbours, const double *weights, int64_t m, double *y,
                               double *value)
{
    size_t square = (size_t)(n * n);
    double *w = mdq_calloc(square, sizeof *w, "I - W"), *a = mdq_calloc(square, sizeof *a, "M");
    double *v = mdq_calloc(square, sizeof *v, "eigenvectors");
    enum mdq_err err = w && a && v ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t i = 0; i < n && err == MDQ_OK; i++) {
        w[i * n + i] = 1;
        for (int64_t p = 0; p < k; p++)
            w[i * n + neighbours[i * k + p]] = -weights[i * k + p];
    }
    for (int64_t r = 0; r < n && err == MDQ_OK; r++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                a[i * n + j] += w[r * n + i] * w[r * n + j];
    if (err == MDQ_OK)
        jacobi(n, a, v);
    for (int64_t j = 0; j < n && err == MDQ_OK; j++) {
        int64_t best = 0, at = 0;
        for (int64_t i = 1; i < n; i++)
            if (a[i * n + i] < a[best * n + best])
                best = i;
        if (value)
            value[j] = a[best * n + best];
        a[best * n + best] = INFINITY;
        for (int64_t i = 1; i < n; i++)
            if (fabs(v[i * n + best]) > fabs(v[at * n + best]))
                at = i;
        for (int64_t i = 0; i < n && j >= 1 && j <= m; i++)
            y[i * m + j - 1] = v[at * n + best] < 0 ? -v[i * n + best] : v[i * n + best];
    }
    free(w);
    free(a);
    free(v);
    return err;
}
