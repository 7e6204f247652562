#include "mdq_local_lanes.h"

#include <cblas.h>
#include <math.h>

#include "mdq_local_pca.h"

enum { MOST_SWEEPS = 60 };
#define SMALL 1e-15   /* an off-diagonal entry that counts as 0, the trace being 1 */
#define NOTHING 1e-12 /* an eigenvalue that counts as 0, the trace being 1 */

void mdq_local_gram(int64_t D, const float *x, int64_t ldx, int64_t i, int64_t k, const uint16_t *neighbours, double *work,
                    int lane, mdq_lanes *c)
{
    double *y = work, *g = work + k * D;
    const float *xi = x + i * ldx;
    for (int64_t a = 0; a < k; a++) {
        const float *xa = x + (int64_t)neighbours[a] * ldx;
        for (int64_t p = 0; p < D; p++)
            y[a * D + p] = (double)xa[p] - (double)xi[p];
    }
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)k, (int)D, 1, y, (int)D, 0, g, (int)k);
    for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b <= a; b++)
            c[mdq_packed(a, b)][lane] = g[a * k + b];
}

/*
 * From C about the point to B about the neighbours' mean m, divided by the trace of B; z_a = (x_a - m) . (x_i - m) over
 * that trace, far = |x_i - m|^2. A neighbourhood without extent becomes 0.
 */
static void centre(int64_t k, mdq_lanes *c, mdq_lanes *mean, mdq_lanes *z, mdq_lanes *trace, mdq_lanes *far)
{
    const double part = 1.0 / (double)k;
    mdq_lanes grand = {0}, t = {0};
    for (int64_t a = 0; a < k; a++)
        mean[a] = (mdq_lanes){0};
    for (int64_t a = 0; a < k; a++) {
        for (int64_t b = 0; b < a; b++) {
            mean[a] += c[mdq_packed(a, b)];
            mean[b] += c[mdq_packed(a, b)];
        }
        mean[a] += c[mdq_packed(a, a)];
    }
    for (int64_t a = 0; a < k; a++) {
        mean[a] *= part;
        grand += mean[a];
    }
    grand *= part;
    for (int64_t a = 0; a < k; a++) {
        mdq_lanes whole = c[mdq_packed(a, a)];
        for (int64_t b = 0; b <= a; b++)
            c[mdq_packed(a, b)] += grand - mean[a] - mean[b];
        /* what is left of equal neighbours is rounding */
        mdq_lane_mask real = c[mdq_packed(a, a)] > 1e-14 * (whole + grand);
        t += MDQ_SELECT(real, c[mdq_packed(a, a)], (mdq_lanes){0});
    }
    mdq_lane_mask some = t > (mdq_lanes){0};
    mdq_lanes scale = MDQ_SELECT(some, 1.0 / MDQ_SELECT(some, t, t + 1.0), (mdq_lanes){0});
    for (int64_t a = 0; a < k; a++)
        z[a] = (grand - mean[a]) * scale;
    for (int64_t a = 0; a < k * (k + 1) / 2; a++)
        c[a] *= scale;
    *trace = t;
    *far = grand;
}

/* T = Q^T B Q with diagonal d and subdiagonal e (e[k-1] = 0); z becomes Q^T z. w: k vectors of scratch. */
static void tridiagonal(int64_t k, mdq_lanes *c, mdq_lanes *d, mdq_lanes *e, mdq_lanes *z, mdq_lanes *w)
{
    const mdq_lanes zero = {0}, one = zero + 1.0;
    mdq_lanes v[MDQ_LOCAL_MAX_K];
    for (int64_t j = 0; j + 2 < k; j++) {
        mdq_lanes alpha = c[mdq_packed(j + 1, j)], rest = zero;
        for (int64_t a = j + 2; a < k; a++)
            rest += c[mdq_packed(a, j)] * c[mdq_packed(a, j)];
        mdq_lane_mask turn = rest > zero;
        mdq_lanes beta = alpha * alpha + rest;
        mdq_lanes_sqrt(&beta);
        beta = MDQ_SELECT(alpha > zero, -beta, beta);
        mdq_lanes tau = MDQ_SELECT(turn, (beta - alpha) / MDQ_SELECT(turn, beta, one), zero);
        mdq_lanes scale = 1.0 / MDQ_SELECT(turn, alpha - beta, one);
        d[j] = c[mdq_packed(j, j)];
        e[j] = MDQ_SELECT(turn, beta, alpha);
        v[j + 1] = one;
        for (int64_t a = j + 2; a < k; a++)
            v[a] = c[mdq_packed(a, j)] * scale;
        for (int64_t a = j + 1; a < k; a++)
            w[a] = zero;
        for (int64_t a = j + 1; a < k; a++) {
            const mdq_lanes *row = c + mdq_packed(a, 0), va = v[a];
            mdq_lanes sum = row[a] * va;
            for (int64_t b = j + 1; b < a; b++) {
                sum += row[b] * v[b];
                w[b] += row[b] * va;
            }
            w[a] += sum;
        }
        mdq_lanes dot = zero, along = zero;
        for (int64_t a = j + 1; a < k; a++) {
            w[a] *= tau;
            dot += w[a] * v[a];
            along += z[a] * v[a];
        }
        dot *= 0.5 * tau;
        along *= tau;
        for (int64_t a = j + 1; a < k; a++) {
            w[a] -= dot * v[a];
            z[a] -= along * v[a];
        }
        for (int64_t a = j + 1; a < k; a++) {
            mdq_lanes *row = c + mdq_packed(a, 0), va = v[a], wa = w[a];
            for (int64_t b = j + 1; b <= a; b++)
                row[b] -= va * w[b] + wa * v[b];
        }
    }
    if (k > 1) {
        d[k - 2] = c[mdq_packed(k - 2, k - 2)];
        e[k - 2] = c[mdq_packed(k - 1, k - 2)];
    }
    d[k - 1] = c[mdq_packed(k - 1, k - 1)];
    e[k - 1] = zero;
}

/* Implicit QL in all lanes: each has its own end of block m and stands still where it is done. d: eigenvalues, z rotated along. */
static void ql(int64_t k, mdq_lanes *d, mdq_lanes *e, mdq_lanes *z)
{
    const mdq_lanes zero = {0}, one = zero + 1.0;
    for (int64_t first = 0; first + 1 < k; first++)
        for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
            mdq_lane_mask at = (mdq_lane_mask){0} + (k - 1), none = {0};
            mdq_lanes end = d[k - 1];
            for (int64_t i = k - 2; i >= first; i--) {
                mdq_lane_mask cut = (e[i] <= SMALL) & (e[i] >= -SMALL);
                at = (cut & ((mdq_lane_mask){0} + i)) | (~cut & at);
                end = MDQ_SELECT(cut, d[i], end);
            }
            mdq_lane_mask live = at != first;
            int64_t any = 0, last = first;
            for (int l = 0; l < MDQ_LANES; l++) {
                any |= live[l];
                last = at[l] > last ? at[l] : last;
            }
            if (!any)
                break;
            mdq_lanes el = MDQ_SELECT(live, e[first], one), g = (d[first + 1] - d[first]) / (2.0 * el), r = g * g + 1.0;
            mdq_lanes_sqrt(&r);
            g = end - d[first] + el / (g + MDQ_SELECT(g < zero, -r, r));
            mdq_lanes s = one, c = one, p = zero;
            mdq_lane_mask going = live, stuck = none;
            for (int64_t i = last - 1; i >= first; i--) {
                mdq_lane_mask on = going & (at > i);
                mdq_lanes f = s * e[i], b = c * e[i], h = f * f + g * g;
                mdq_lanes_sqrt(&h);
                e[i + 1] = MDQ_SELECT(on, h, e[i + 1]);
                mdq_lane_mask lost = on & (h == zero); /* the block falls apart here: this lane tries again */
                d[i + 1] = MDQ_SELECT(lost, d[i + 1] - p, d[i + 1]);
                stuck |= lost;
                going &= ~lost;
                on &= ~lost;
                mdq_lanes inverse = 1.0 / MDQ_SELECT(on, h, one);
                s = MDQ_SELECT(on, f * inverse, s);
                c = MDQ_SELECT(on, g * inverse, c);
                mdq_lanes back = d[i + 1] - p, q = (d[i] - back) * s + 2.0 * c * b;
                p = MDQ_SELECT(on, s * q, p);
                d[i + 1] = MDQ_SELECT(on, back + p, d[i + 1]);
                g = MDQ_SELECT(on, c * q - b, g);
                mdq_lanes upper = z[i + 1], lower = z[i];
                z[i + 1] = MDQ_SELECT(on, s * lower + c * upper, upper);
                z[i] = MDQ_SELECT(on, c * lower - s * upper, lower);
            }
            mdq_lane_mask whole = live & ~stuck;
            d[first] = MDQ_SELECT(whole, d[first] - p, d[first]);
            e[first] = MDQ_SELECT(whole, g, e[first]);
            for (int64_t i = first + 1; i <= last; i++)
                e[i] = MDQ_SELECT(live & (at == i), zero, e[i]);
        }
}

void mdq_local_spectrum(int64_t k, mdq_lanes *c, double variance, int64_t cap, mdq_lanes *work, uint8_t *dim, double *normal)
{
    mdq_lanes *d = work, *e = work + k, *z = work + 2 * k, *w = work + 3 * k, trace, far;
    centre(k, c, w, z, &trace, &far);
    tridiagonal(k, c, d, e, z, w);
    ql(k, d, e, z);
    for (int l = 0; l < MDQ_LANES; l++) {
        double value[MDQ_LOCAL_MAX_K], along[MDQ_LOCAL_MAX_K], total = 0, sum = 0, off = far[l];
        int64_t n = 0, used = 0;
        for (int64_t a = 0; a < k && trace[l] > 0; a++) {
            double v = d[a][l];
            if (!(v > NOTHING))
                continue;
            int64_t to = n++;
            for (; to > 0 && value[to - 1] < v; to--) {
                value[to] = value[to - 1];
                along[to] = along[to - 1];
            }
            value[to] = v;
            along[to] = z[a][l];
            total += v;
        }
        while (used < n && (cap <= 0 || used < cap) && sum < variance * total - NOTHING) {
            sum += value[used];
            off -= along[used] * along[used] / value[used] * trace[l];
            used++;
        }
        dim[l] = (uint8_t)used;
        normal[l] = off > 0 ? sqrt(off) : 0;
    }
}
