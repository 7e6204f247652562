#include "lle_neighbours.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void lle_gram(int64_t n, int64_t D, const float *x, int64_t ldx, double *centred, double *g)
{
    double *mean = centred; /* its first row takes the sums and is filled last */
    memset(mean, 0, (size_t)D * sizeof *mean);
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < D; p++)
            mean[p] += (double)x[i * ldx + p];
    for (int64_t p = 0; p < D; p++)
        mean[p] /= (double)n;
    for (int64_t i = n - 1; i >= 0; i--)
        for (int64_t p = 0; p < D; p++)
            centred[i * D + p] = (double)x[i * ldx + p] - mean[p];
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)n, (int)D, 1, centred, (int)D, 0, g, (int)n);
    enum { BLOCK = 32 };
    for (int64_t bi = 0; bi < n; bi += BLOCK)
        for (int64_t bj = 0; bj <= bi; bj += BLOCK)
            for (int64_t i = bi; i < bi + BLOCK && i < n; i++)
                for (int64_t j = bj; j < bj + BLOCK && j < i; j++)
                    g[j * n + i] = g[i * n + j];
}

static double distance2(int64_t D, const float *a, const float *b)
{
    enum { WIDE = 16 }; /* partial sums that do not wait for each other */
    double part[WIDE] = {0}, sum = 0;
    int64_t p = 0;
    for (; p + WIDE <= D; p += WIDE)
#pragma omp simd
        for (int64_t l = 0; l < WIDE; l++) {
            double d = (double)a[p + l] - (double)b[p + l];
            part[l] += d * d;
        }
    for (; p < D; p++) {
        double d = (double)a[p] - (double)b[p];
        sum += d * d;
    }
    for (int64_t l = 0; l < WIDE; l++)
        sum += part[l];
    return sum;
}

/* Inserts (d, j) into a list of n pairs that rises in d, equal d by index, of which at most k are kept. */
static int64_t insert(double *list, int32_t *index, int64_t n, int64_t k, double d, int32_t j)
{
    int64_t at = n < k ? n : k;
    if (n >= k) {
        if (!(d < list[k - 1] || (d == list[k - 1] && j < index[k - 1])))
            return n;
        at = k - 1;
    }
    for (; at > 0 && (d < list[at - 1] || (d == list[at - 1] && j < index[at - 1])); at--) {
        list[at] = list[at - 1];
        index[at] = index[at - 1];
    }
    list[at] = d;
    index[at] = j;
    return n < k ? n + 1 : k;
}

enum { GROUPS = 16, MOST_GROUPS = 1024 };

/* A bound that at least k of the n values do not exceed: the largest of the minima of k or more groups of them. */
static double rough_bound(int64_t n, int64_t k, const double *near)
{
    double least[MOST_GROUPS], bound = 0;
    int64_t groups = (k + GROUPS - 1) / GROUPS * GROUPS, j = 0;
    if (groups > MOST_GROUPS || groups > n)
        return INFINITY;
    for (int64_t l = 0; l < groups; l++)
        least[l] = near[l];
    for (j = groups; j + groups <= n; j += groups)
        for (int64_t b = 0; b < groups; b += GROUPS)
            for (int64_t l = b; l < b + GROUPS; l++)
                least[l] = near[j + l] < least[l] ? near[j + l] : least[l];
    for (int64_t l = 0; l < groups; l++)
        bound = least[l] > bound ? least[l] : bound;
    return bound;
}

/* The k-th smallest of near[from[0]], ..., n >= k of them. list: 2 (k + 1) doubles of scratch. */
static double kth_smallest(int64_t n, int64_t k, const double *near, const int32_t *from, double *list)
{
    double *old = list, *new = list + k + 1;
    for (int64_t a = 0; a <= k; a++)
        old[a] = a == 0 ? -INFINITY : INFINITY;
    new[0] = -INFINITY;
    for (int64_t c = 0; c < n; c++) { /* without branches: every place takes its own or what is moved up to it */
        double d = near[from[c]], *swap = old;
#pragma omp simd
        for (int64_t a = 1; a <= k; a++) {
            double moved = old[a - 1] > d ? old[a - 1] : d;
            new[a] = old[a] < moved ? old[a] : moved;
        }
        old = new;
        new = swap;
    }
    return old[k];
}

enum mdq_err lle_neighbours(int64_t n, int64_t D, const float *x, int64_t ldx, const double *g, int64_t k,
                            uint16_t *neighbours, double *dist2)
{
    double *near = mdq_alloc_aligned((size_t)(2 * n + 2 * (k + 1)), sizeof *near, "distances"), most = 0;
    int32_t *index = mdq_alloc((size_t)(k + 1 + n), sizeof *index, "candidates"), *from = index + k + 1;
    enum mdq_err err = near && index ? MDQ_OK : MDQ_E_INTERNAL;
    double *square = near + n, *list = square + n;
    for (int64_t i = 0; i < n && err == MDQ_OK; i++) {
        square[i] = g[i * n + i];
        most = fmax(most, square[i]);
    }
    for (int64_t i = 0; i < n && k > 0 && err == MDQ_OK; i++) {
        /* twice the worst rounding error of a squared distance from g, either way */
        const double *row = g + i * n, slack = 8 * (double)(D + 16) * DBL_EPSILON * (square[i] + most);
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            near[j] = square[i] + square[j] - 2 * row[j];
        near[i] = INFINITY;
        double bound = rough_bound(n, k, near) + slack;
        int64_t candidates = 0, kept = 0;
        for (int64_t j = 0; j < n; j++) {
            from[candidates] = (int32_t)j;
            candidates += near[j] <= bound;
        }
        bound = kth_smallest(candidates, k, near, from, list) + slack;
        for (int64_t c = 0; c < candidates; c++)
            if (near[from[c]] <= bound && from[c] != i)
                kept = insert(list, index, kept, k, distance2(D, x + i * ldx, x + from[c] * ldx), from[c]);
        for (int64_t a = 0; a < k; a++) {
            neighbours[i * k + a] = (uint16_t)index[a];
            if (dist2)
                dist2[i * k + a] = list[a];
        }
    }
    free(near);
    free(index);
    return err;
}

int64_t lle_components(int64_t n, int64_t k, const uint16_t *neighbours)
{
    int32_t *parent = mdq_alloc((size_t)n, sizeof *parent, "components");
    if (!parent)
        return 0;
    int64_t parts = n;
    for (int64_t i = 0; i < n; i++)
        parent[i] = (int32_t)i;
    for (int64_t i = 0; i < n; i++)
        for (int64_t a = 0; a < k; a++) {
            int32_t u = (int32_t)i, v = neighbours[i * k + a];
            while (parent[u] != u)
                u = parent[u] = parent[parent[u]];
            while (parent[v] != v)
                v = parent[v] = parent[parent[v]];
            parts -= u != v;
            parent[u > v ? u : v] = u > v ? v : u;
        }
    free(parent);
    return parts;
}

int64_t lle_duplicates(int64_t n, int64_t k, const uint16_t *neighbours, const double *dist2)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n && k > 0; i++)
        count += dist2[i * k] == 0 && neighbours[i * k] < i; /* the first of equal distances has the lowest index */
    return count;
}
