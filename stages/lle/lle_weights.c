#include "lle_weights.h"

#include <stdbool.h>
#include <stdlib.h>

#include "mdq_local_lanes.h"
#include "mdq_local_pca.h"

/*
 * Entries of C from g carry some 1e-14 of the rows' squared lengths; they are taken when reg * (mean squared
 * distance), what the solution depends on, is this much of those lengths. Weights are then good to 1e-7 and better.
 */
#define FAR_ENOUGH 1e-7

/* Lane `lane` of c by g; false when the neighbours are too near for that. */
static bool gram_of(int64_t n, const double *g, int64_t i, int64_t k, const uint16_t *nb, const double *dist2, double reg,
                    int lane, mdq_lanes *c)
{
    double mean = 0, most = g[i * n + i];
    for (int64_t a = 0; a < k; a++) {
        mean += dist2[a] / (double)k;
        double length = g[nb[a] * n + nb[a]];
        most = length > most ? length : most;
    }
    if (!(mean * reg > FAR_ENOUGH * most))
        return false;
    const double *gi = g + i * n;
    double off[MDQ_LOCAL_MAX_K];
    for (int64_t a = 0; a < k; a++)
        off[a] = gi[nb[a]];
    for (int64_t a = 0; a < k; a++) {
        const double *ga = g + nb[a] * n;
        double base = gi[i] - off[a];
        for (int64_t b = 0; b <= a; b++)
            c[mdq_packed(a, b)][lane] = ga[nb[b]] - off[b] + base;
    }
    return true;
}

/* w: the solutions of (C + R I) w = 1 divided by their sums; l: scratch for the factor. Returns w^T C w in *error. */
static void solve(int64_t k, const mdq_lanes *c, double reg, mdq_lanes *l, mdq_lanes *w, mdq_lanes *error)
{
    const mdq_lanes zero = {0}, one = zero + 1.0;
    mdq_lanes trace = zero, sum = zero;
    for (int64_t a = 0; a < k; a++)
        trace += c[mdq_packed(a, a)];
    mdq_lane_mask some = trace > zero;
    mdq_lanes add = MDQ_SELECT(some, trace * reg, zero + reg);
    /* Cholesky, the diagonal of l holding reciprocals, with the forward substitution on the way */
    for (int64_t a = 0; a < k; a++) {
        mdq_lanes *la = l + mdq_packed(a, 0), y = one;
        for (int64_t b = 0; b <= a; b++) {
            const mdq_lanes *lb = l + mdq_packed(b, 0);
            mdq_lanes s = c[mdq_packed(a, b)] + (a == b ? add : zero);
            for (int64_t p = 0; p < b; p++)
                s -= la[p] * lb[p];
            if (a == b) {
                mdq_lane_mask good = s > zero; /* reg keeps it so but for rounding */
                s = MDQ_SELECT(good, s, add);
                mdq_lanes_sqrt(&s);
                la[a] = one / s;
            } else {
                la[b] = s * lb[b];
                y -= la[b] * w[b];
            }
        }
        w[a] = y * la[a];
    }
    for (int64_t a = k - 1; a >= 0; a--) {
        mdq_lanes s = w[a];
        for (int64_t b = a + 1; b < k; b++)
            s -= l[mdq_packed(b, a)] * w[b];
        w[a] = s * l[mdq_packed(a, a)];
        sum += w[a];
    }
    sum = one / sum;
    *error = zero;
    for (int64_t a = 0; a < k; a++) {
        w[a] *= sum;
        mdq_lanes s = 0.5 * c[mdq_packed(a, a)] * w[a];
        for (int64_t b = 0; b < a; b++)
            s += c[mdq_packed(a, b)] * w[b];
        *error += 2.0 * s * w[a];
    }
}

enum mdq_err lle_local(int64_t n, int64_t D, const float *x, int64_t ldx, const double *g, int64_t k,
                       const uint16_t *neighbours, const double *dist2, double reg, double variance, struct lle_local *out)
{
    int64_t packed = k * (k + 1) / 2;
    mdq_lanes *c = mdq_alloc_aligned((size_t)(2 * packed + 5 * k), sizeof *c, "neighbourhoods");
    double *rows = mdq_alloc_aligned((size_t)(k * D + k * k), sizeof *rows, "a neighbourhood");
    enum mdq_err err = c && rows ? MDQ_OK : MDQ_E_INTERNAL;
    mdq_lanes *l = c + packed, *w = l + packed, *work = w + k;
    for (int64_t i = 0; i < n && err == MDQ_OK; i += MDQ_LANES) {
        int64_t points = n - i < MDQ_LANES ? n - i : MDQ_LANES;
        for (int lane = 0; lane < MDQ_LANES; lane++) { /* lanes too many repeat the last row */
            int64_t at = i + (lane < points ? lane : points - 1);
            if (!gram_of(n, g, at, k, neighbours + at * k, dist2 + at * k, reg, lane, c))
                mdq_local_gram(D, x, ldx, at, k, neighbours + at * k, rows, lane, c);
        }
        mdq_lanes error;
        solve(k, c, reg, l, w, &error);
        for (int64_t p = 0; p < points; p++) {
            out->residual[i + p] = error[p] > 0 ? error[p] : 0;
            for (int64_t a = 0; out->weights && a < k; a++)
                out->weights[(i + p) * k + a] = w[a][p];
        }
        if (!out->dim)
            continue;
        uint8_t dims[MDQ_LANES];
        double normals[MDQ_LANES];
        mdq_local_spectrum(k, c, variance, 0, work, dims, normals);
        for (int64_t p = 0; p < points; p++) {
            out->dim[i + p] = dims[p];
            out->normal[i + p] = normals[p];
        }
    }
    free(c);
    free(rows);
    return err;
}
