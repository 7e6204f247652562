#include "mdq_chart.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows that share one product, and the share of the largest pivot below which a direction of the Jacobian is absent. */
enum { ROWS = 128 };
#define RANK_TOLERANCE 1e-12

enum mdq_err mdq_chart_new(struct mdq_chart *c, int64_t dim_in, int64_t dim, int64_t hidden)
{
    *c = (struct mdq_chart){.dim_in = dim_in, .dim = dim, .hidden = hidden, .weight = 1, .noise = 1};
    if (dim_in < 1 || dim_in > MDQ_CHART_MAX_COLS || dim < 0 || dim > MDQ_CHART_MAX_DIM || (dim > 0 && dim >= dim_in) || hidden < 0 ||
        hidden > MDQ_CHART_MAX_HIDDEN || (dim == 0 && hidden > 0))
        return mdq_fail(MDQ_E_DATA, "chart of %lld dimensions and %lld hidden units in %lld columns", (long long)dim,
                        (long long)hidden, (long long)dim_in);
    const size_t D = (size_t)dim_in, d = (size_t)dim, h = (size_t)hidden;
    c->mean = mdq_calloc(D, sizeof *c->mean, "chart");
    c->basis = mdq_calloc(D * d, sizeof *c->basis, "chart");
    c->dec_in = mdq_calloc(h * d, sizeof *c->dec_in, "chart");
    c->dec_bias = mdq_calloc(h, sizeof *c->dec_bias, "chart");
    c->dec_out = mdq_calloc(D * h, sizeof *c->dec_out, "chart");
    c->enc_lin = mdq_calloc(d * D, sizeof *c->enc_lin, "chart");
    c->enc_in = mdq_calloc(h * D, sizeof *c->enc_in, "chart");
    c->enc_bias = mdq_calloc(h, sizeof *c->enc_bias, "chart");
    c->enc_out = mdq_calloc(d * h, sizeof *c->enc_out, "chart");
    c->post_sd = mdq_calloc(d, sizeof *c->post_sd, "chart");
    c->joint = mdq_calloc(D * (d + h), sizeof *c->joint, "chart");
    c->gram = mdq_calloc((d + h) * (d + h), sizeof *c->gram, "chart");
    return c->mean && c->basis && c->dec_in && c->dec_bias && c->dec_out && c->enc_lin && c->enc_in && c->enc_bias &&
                   c->enc_out && c->post_sd && c->joint && c->gram
               ? MDQ_OK
               : MDQ_E_INTERNAL;
}

void mdq_chart_free(struct mdq_chart *c)
{
    float **const arrays[] = {&c->mean, &c->basis, &c->dec_in, &c->dec_bias, &c->dec_out, &c->enc_lin, &c->enc_in,
                              &c->enc_bias, &c->enc_out, &c->post_sd};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(*arrays[i]);
    free(c->joint);
    free(c->gram);
    *c = (struct mdq_chart){0};
}

void mdq_chart_prepare(struct mdq_chart *c)
{
    const int64_t d = c->dim, h = c->hidden, m = d + h;
    c->flat = true;
    for (int64_t i = 0; i < c->dim_in * h; i++)
        c->flat = c->flat && c->dec_out[i] == 0;
    if (m == 0)
        return;
    for (int64_t i = 0; i < c->dim_in; i++) {
        for (int64_t j = 0; j < d; j++)
            c->joint[i * m + j] = c->basis[i * d + j];
        for (int64_t j = 0; j < h; j++)
            c->joint[i * m + d + j] = c->dec_out[i * h + j];
    }
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)m, (int)c->dim_in, 1, c->joint, (int)m, c->joint,
                (int)m, 0, c->gram, (int)m);
}

/* s = [z; tanh(A z + a)], and slope = 1 - tanh^2. */
static void features(const struct mdq_chart *c, const double *z, double *s, double *slope)
{
    const int64_t d = c->dim, h = c->hidden;
    memcpy(s, z, (size_t)d * sizeof *s);
    for (int64_t i = 0; i < h; i++) {
        double u = c->dec_bias[i];
        for (int64_t j = 0; j < d; j++)
            u += c->dec_in[i * d + j] * z[j];
        double t = tanh(u);
        s[d + i] = t;
        slope[i] = 1 - t * t;
    }
}

/* out [d] = Y^T v, v [d + h]. */
static void pull(const struct mdq_chart *c, const double *slope, const double *v, double *out)
{
    const int64_t d = c->dim, h = c->hidden;
    for (int64_t j = 0; j < d; j++)
        out[j] = v[j];
    for (int64_t i = 0; i < h; i++) {
        double t = slope[i] * v[d + i];
        for (int64_t j = 0; j < d; j++)
            out[j] += t * c->dec_in[i * d + j];
    }
}

/* jtj [d, d] = Y^T G Y; work [d + h, d]. */
static void metric(const struct mdq_chart *c, const double *slope, double *work, double *jtj)
{
    const int64_t d = c->dim, h = c->hidden, m = d + h;
    for (int64_t r = 0; r < m; r++) {
        double *to = work + r * d;
        const double *g = c->gram + r * m;
        for (int64_t j = 0; j < d; j++)
            to[j] = g[j];
        for (int64_t i = 0; i < h; i++) {
            double t = g[d + i] * slope[i];
            for (int64_t j = 0; j < d; j++)
                to[j] += t * c->dec_in[i * d + j];
        }
    }
    for (int64_t p = 0; p < d; p++)
        for (int64_t j = 0; j < d; j++)
            jtj[p * d + j] = work[p * d + j];
    for (int64_t i = 0; i < h; i++)
        for (int64_t p = 0; p < d; p++) {
            double t = slope[i] * c->dec_in[i * d + p];
            for (int64_t j = 0; j < d; j++)
                jtj[p * d + j] += t * work[(d + i) * d + j];
        }
}

/* Lower Cholesky factor in place; a direction whose pivot vanishes is left out (its diagonal becomes 0). */
static void factor(int64_t d, double *a)
{
    double largest = 0;
    for (int64_t j = 0; j < d; j++)
        largest = fmax(largest, a[j * d + j]);
    for (int64_t j = 0; j < d; j++) {
        double pivot = a[j * d + j];
        for (int64_t p = 0; p < j; p++)
            pivot -= a[j * d + p] * a[j * d + p];
        bool absent = !(pivot > RANK_TOLERANCE * largest);
        double root = absent ? 0 : sqrt(pivot);
        a[j * d + j] = root;
        for (int64_t i = j + 1; i < d; i++) {
            double v = a[i * d + j];
            for (int64_t p = 0; p < j; p++)
                v -= a[i * d + p] * a[j * d + p];
            a[i * d + j] = absent ? 0 : v / root;
        }
    }
}

/* v = L^-1 v, 0 where the direction is absent. */
static void forward(int64_t d, const double *l, double *v)
{
    for (int64_t i = 0; i < d; i++) {
        double t = v[i];
        for (int64_t p = 0; p < i; p++)
            t -= l[i * d + p] * v[p];
        v[i] = l[i * d + i] > 0 ? t / l[i * d + i] : 0;
    }
}

static void backward(int64_t d, const double *l, double *v)
{
    for (int64_t i = d - 1; i >= 0; i--) {
        double t = v[i];
        for (int64_t p = i + 1; p < d; p++)
            t -= l[p * d + i] * v[p];
        v[i] = l[i * d + i] > 0 ? t / l[i * d + i] : 0;
    }
}

void mdq_chart_encode(const struct mdq_chart *c, int64_t n, const float *x, int64_t ldx, double *z)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    double u[MDQ_CHART_MAX_HIDDEN];
    for (int64_t r = 0; r < n && d > 0; r++) {
        const float *row = x + r * ldx;
        for (int64_t i = 0; i < h; i++) {
            double t = c->enc_bias[i];
            for (int64_t p = 0; p < D; p++)
                t += (double)c->enc_in[i * D + p] * (row[p] - (double)c->mean[p]);
            u[i] = tanh(t);
        }
        for (int64_t j = 0; j < d; j++) {
            double t = 0;
            for (int64_t p = 0; p < D; p++)
                t += (double)c->enc_lin[j * D + p] * (row[p] - (double)c->mean[p]);
            for (int64_t i = 0; i < h; i++)
                t += c->enc_out[j * h + i] * u[i];
            z[r * d + j] = t;
        }
    }
}

void mdq_chart_decode(const struct mdq_chart *c, const double *z, double *f)
{
    const int64_t m = c->dim + c->hidden;
    double s[MDQ_CHART_MAX_DIM + MDQ_CHART_MAX_HIDDEN], slope[MDQ_CHART_MAX_HIDDEN];
    features(c, z, s, slope);
    for (int64_t i = 0; i < c->dim_in; i++) {
        double t = c->mean[i];
        for (int64_t j = 0; j < m; j++)
            t += c->joint[i * m + j] * s[j];
        f[i] = t;
    }
}

/* What the two functions over many rows need. */
struct scratch {
    double *rows;    /* [ROWS, D] */
    double *product; /* [ROWS, d + h] */
    double *s;       /* [ROWS, d + h] features */
    double *work;    /* [d + h, d] */
};

static enum mdq_err scratch_new(struct scratch *k, const struct mdq_chart *c)
{
    size_t m = (size_t)(c->dim + c->hidden);
    k->rows = mdq_alloc_aligned(ROWS * (size_t)c->dim_in, sizeof(double), "rows");
    k->product = mdq_alloc_aligned(ROWS * m, sizeof(double), "projections");
    k->s = mdq_alloc_aligned(ROWS * m, sizeof(double), "features");
    k->work = mdq_alloc_aligned(m * (size_t)c->dim, sizeof(double), "Jacobian");
    return k->rows && k->product && k->s && k->work ? MDQ_OK : MDQ_E_INTERNAL;
}

static void scratch_free(struct scratch *k)
{
    free(k->rows);
    free(k->product);
    free(k->s);
    free(k->work);
}

/* product = rows C for n rows. */
static void project(const struct mdq_chart *c, int64_t n, struct scratch *k)
{
    const int64_t m = c->dim + c->hidden;
    if (m > 0)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)m, (int)c->dim_in, 1, k->rows, (int)c->dim_in,
                    c->joint, (int)m, 0, k->product, (int)m);
}

/* Sums of squares in lanes of their own type, so that they vectorise; the order is fixed. */
enum { LANES = 16 };
#define DEFINE_SQUARES(name, type)                                                                           \
    static double name(int64_t n, const type *v)                                                             \
    {                                                                                                        \
        type lane[LANES] = {0};                                                                              \
        double sum = 0;                                                                                      \
        int64_t i = 0;                                                                                       \
        for (; i + LANES <= n; i += LANES)                                                                   \
            for (int l = 0; l < LANES; l++)                                                                  \
                lane[l] += v[i + l] * v[i + l];                                                              \
        for (; i < n; i++)                                                                                   \
            lane[i % LANES] += v[i] * v[i];                                                                  \
        for (int l = 0; l < LANES; l++)                                                                      \
            sum += lane[l];                                                                                  \
        return sum;                                                                                          \
    }
DEFINE_SQUARES(squares, double)
DEFINE_SQUARES(squares_f32, float)

/* ||y - C s||^2 by its products: nn = ||y||^2, p = C^T y; gs [m] = G s. */
static double distance(const struct mdq_chart *c, double nn, const double *p, const double *s, double *gs)
{
    const int64_t m = c->dim + c->hidden;
    double sum = nn;
    for (int64_t i = 0; i < m; i++) {
        double t = 0;
        for (int64_t j = 0; j < m; j++)
            t += c->gram[i * m + j] * s[j];
        gs[i] = t;
        sum += s[i] * (t - 2 * p[i]);
    }
    return sum;
}

/* Levenberg-Marquardt from z, in place; p = C^T (x - mean). */
static void refine(const struct mdq_chart *c, double nn, const double *p, int steps, double *z, double *work)
{
    enum { M = MDQ_CHART_MAX_DIM + MDQ_CHART_MAX_HIDDEN, TRIES = 8 };
    const int64_t d = c->dim, m = d + c->hidden;
    double s[M], gs[M], left[M], slope[MDQ_CHART_MAX_HIDDEN], trial[MDQ_CHART_MAX_DIM], step[MDQ_CHART_MAX_DIM];
    double jtj[MDQ_CHART_MAX_DIM * MDQ_CHART_MAX_DIM], l[MDQ_CHART_MAX_DIM * MDQ_CHART_MAX_DIM], damp = 0;
    features(c, z, s, slope);
    double now = distance(c, nn, p, s, gs);
    for (int k = 0; k < steps; k++) {
        for (int64_t i = 0; i < m; i++)
            left[i] = p[i] - gs[i];
        double gradient[MDQ_CHART_MAX_DIM];
        pull(c, slope, left, gradient);
        metric(c, slope, work, jtj);
        double next = now, trace = 0;
        for (int64_t j = 0; j < d; j++)
            trace += jtj[j * d + j];
        bool better = false;
        for (int t = 0; t < TRIES && !better; t++) {
            memcpy(l, jtj, (size_t)(d * d) * sizeof *l);
            for (int64_t j = 0; j < d; j++)
                l[j * d + j] += damp * trace / (double)d;
            factor(d, l);
            memcpy(step, gradient, (size_t)d * sizeof *step);
            forward(d, l, step);
            backward(d, l, step);
            for (int64_t j = 0; j < d; j++)
                trial[j] = z[j] + step[j];
            features(c, trial, s, slope);
            next = distance(c, nn, p, s, gs);
            better = next < now;
            damp = better ? damp / 10 : damp > 0 ? damp * 10 : 1e-3;
        }
        if (!better)
            return;
        memcpy(z, trial, (size_t)d * sizeof *z);
        double gain = now - next;
        now = next;
        if (!(gain > 1e-12 * nn))
            return;
    }
}

/* U^T v's squared length for v with C^T v = p: what the tangent at z holds of v. */
static double within(const struct mdq_chart *c, const double *z, const double *p, const double *shared, double *work)
{
    double s[MDQ_CHART_MAX_DIM + MDQ_CHART_MAX_HIDDEN], slope[MDQ_CHART_MAX_HIDDEN], v[MDQ_CHART_MAX_DIM];
    double l[MDQ_CHART_MAX_DIM * MDQ_CHART_MAX_DIM];
    const int64_t d = c->dim;
    if (shared) {
        memcpy(v, p, (size_t)d * sizeof *v);
        forward(d, shared, v);
        return squares(d, v);
    }
    features(c, z, s, slope);
    metric(c, slope, work, l);
    factor(d, l);
    pull(c, slope, p, v);
    forward(d, l, v);
    return squares(d, v);
}

/* The factor that all points of a linear chart share, or NULL. Released with free. */
static enum mdq_err shared_factor(const struct mdq_chart *c, double **l)
{
    *l = NULL;
    const int64_t d = c->dim, m = d + c->hidden;
    if (!c->flat || d == 0)
        return MDQ_OK;
    *l = mdq_alloc((size_t)(d * d), sizeof **l, "factor");
    if (!*l)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < d; i++)
        memcpy(*l + i * d, c->gram + i * m, (size_t)d * sizeof **l);
    factor(c->dim, *l);
    return MDQ_OK;
}

enum mdq_err mdq_chart_foot(const struct mdq_chart *c, int64_t n, const float *x, int64_t ldx, int steps, double *z,
                            double *residual, double *normal)
{
    const int64_t D = c->dim_in, d = c->dim, m = d + c->hidden;
    struct scratch k = {0};
    double *l = NULL;
    enum mdq_err err = scratch_new(&k, c);
    if (err == MDQ_OK)
        err = shared_factor(c, &l);
    for (int64_t r0 = 0; r0 < n && err == MDQ_OK; r0 += ROWS) {
        int64_t rows = n - r0 < ROWS ? n - r0 : ROWS;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < D; i++)
                k.rows[r * D + i] = x[(r0 + r) * ldx + i] - (double)c->mean[i];
        project(c, rows, &k);
        for (int64_t r = 0; r < rows && d > 0; r++) {
            double *at = z + (r0 + r) * d, slope[MDQ_CHART_MAX_HIDDEN];
            const double *p = k.product + r * m;
            if (l) { /* linear: the foot in one step, whatever the start */
                memcpy(at, p, (size_t)d * sizeof *at);
                forward(d, l, at);
                backward(d, l, at);
            } else {
                refine(c, squares(D, k.rows + r * D), p, steps, at, k.work);
            }
            features(c, at, k.s + r * m, slope);
        }
        /* the residual itself, not by its products: it may be small */
        if (m > 0)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)D, (int)m, -1, k.s, (int)m, c->joint,
                        (int)m, 1, k.rows, (int)D);
        project(c, rows, &k);
        for (int64_t r = 0; r < rows; r++) {
            double all = squares(D, k.rows + r * D);
            double in = d > 0 ? within(c, z + (r0 + r) * d, k.product + r * m, l, k.work) : 0;
            residual[r0 + r] = sqrt(all);
            normal[r0 + r] = sqrt(fmax(all - in, 0));
        }
    }
    scratch_free(&k);
    free(l);
    return err;
}

/* The same for linear charts (and those of one point), by a product in float32: an error of rounding off the tangent is not small beside
 * the whole of it. */
static enum mdq_err off_plane(const struct mdq_chart *c, int64_t n, const float *e, int64_t lde, double *off)
{
    const int64_t D = c->dim_in, d = c->dim;
    double *l = NULL, v[MDQ_CHART_MAX_DIM];
    float *product = mdq_alloc_aligned((size_t)(ROWS * d), sizeof *product, "projections");
    enum mdq_err err = product ? shared_factor(c, &l) : MDQ_E_INTERNAL;
    for (int64_t r0 = 0; r0 < n && err == MDQ_OK; r0 += ROWS) {
        int64_t rows = n - r0 < ROWS ? n - r0 : ROWS;
        if (d > 0)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)d, (int)D, 1, e + r0 * lde, (int)lde, c->basis, (int)d,
                        0, product, (int)d);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t j = 0; j < d; j++)
                v[j] = product[r * d + j];
            if (d > 0)
                forward(d, l, v);
            off[r0 + r] = sqrt(fmax(squares_f32(D, e + (r0 + r) * lde) - squares(d, v), 0));
        }
    }
    free(product);
    free(l);
    return err;
}

enum mdq_err mdq_chart_off_tangent(const struct mdq_chart *c, int64_t n, const double *z, const float *e, int64_t lde,
                                   double *off)
{
    if (c->flat)
        return off_plane(c, n, e, lde, off);
    const int64_t D = c->dim_in, d = c->dim, m = d + c->hidden;
    struct scratch k = {0};
    enum mdq_err err = scratch_new(&k, c);
    for (int64_t r0 = 0; r0 < n && err == MDQ_OK; r0 += ROWS) {
        int64_t rows = n - r0 < ROWS ? n - r0 : ROWS;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < D; i++)
                k.rows[r * D + i] = e[(r0 + r) * lde + i];
        project(c, rows, &k);
        for (int64_t r = 0; r < rows; r++) {
            double all = squares(D, k.rows + r * D);
            off[r0 + r] = sqrt(fmax(all - within(c, z + (r0 + r) * d, k.product + r * m, NULL, k.work), 0));
        }
    }
    scratch_free(&k);
    return err;
}

void mdq_chart_tangent(const struct mdq_chart *c, const double *z, double *u, int64_t *rank)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden, m = d + h;
    double s[MDQ_CHART_MAX_DIM + MDQ_CHART_MAX_HIDDEN], slope[MDQ_CHART_MAX_HIDDEN], v[MDQ_CHART_MAX_DIM];
    features(c, z, s, slope);
    *rank = 0;
    double largest = 0;
    for (int64_t i = 0; i < D; i++) {
        pull(c, slope, c->joint + i * m, v); /* a row of J = C Y */
        for (int64_t j = 0; j < d; j++)
            u[i * d + j] = v[j];
    }
    for (int64_t j = 0; j < d; j++) {
        double size = 0;
        for (int64_t i = 0; i < D; i++)
            size += u[i * d + j] * u[i * d + j];
        largest = fmax(largest, size);
    }
    for (int64_t j = 0; j < d; j++) {
        int64_t to = *rank;
        for (int pass = 0; pass < 2; pass++) /* twice is enough (Giraud et al. 2005) */
            for (int64_t p = 0; p < to; p++) {
                double dot = 0;
                for (int64_t i = 0; i < D; i++)
                    dot += u[i * d + p] * u[i * d + j];
                for (int64_t i = 0; i < D; i++)
                    u[i * d + j] -= dot * u[i * d + p];
            }
        double size = 0;
        for (int64_t i = 0; i < D; i++)
            size += u[i * d + j] * u[i * d + j];
        bool keep = size > RANK_TOLERANCE * largest;
        double scale = keep ? 1 / sqrt(size) : 0;
        for (int64_t i = 0; i < D; i++) {
            double t = u[i * d + j] * scale;
            u[i * d + j] = 0;
            if (keep)
                u[i * d + to] = t;
        }
        *rank += keep;
    }
}

double mdq_chart_normal_floor(const struct mdq_chart *c, double normal, int *floored)
{
    double least = sqrt(0.01 * (double)(c->dim_in - c->dim) * c->noise);
    *floored = normal < least;
    return *floored ? least : normal;
}
