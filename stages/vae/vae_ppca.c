#include "vae_ppca.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"
#include "vae_eigen.h" /* eigenvalues and vectors from LAPACK */

enum { ROWS = 256 };
#define LN_2PI 1.8378770664093453
/* Responsibilities below this count for nothing. */
#define NEGLIGIBLE 1e-12

enum mdq_err vae_mixture_new(struct vae_mixture *m, int64_t D, int64_t cap)
{
    *m = (struct vae_mixture){.D = D, .cap = cap > 0 ? cap : 1};
    for (int k = 0; k < VAE_MAX_CHARTS; k++) {
        struct vae_ppca *c = &m->c[k];
        c->mean = mdq_calloc((size_t)D, sizeof(double), "mixture");
        c->u = mdq_calloc((size_t)(D * m->cap), sizeof(double), "mixture");
        c->lambda = mdq_calloc((size_t)m->cap, sizeof(double), "mixture");
        if (!c->mean || !c->u || !c->lambda)
            return MDQ_E_INTERNAL;
    }
    return MDQ_OK;
}

void vae_mixture_free(struct vae_mixture *m)
{
    for (int k = 0; k < VAE_MAX_CHARTS; k++) {
        free(m->c[k].mean);
        free(m->c[k].u);
        free(m->c[k].lambda);
    }
    *m = (struct vae_mixture){0};
}

static void component_copy(int64_t D, int64_t cap, struct vae_ppca *to, const struct vae_ppca *from)
{
    double *mean = to->mean, *u = to->u, *lambda = to->lambda;
    *to = *from;
    to->mean = mean, to->u = u, to->lambda = lambda;
    memcpy(mean, from->mean, (size_t)D * sizeof(double));
    memcpy(u, from->u, (size_t)(D * cap) * sizeof(double));
    memcpy(lambda, from->lambda, (size_t)cap * sizeof(double));
}

enum mdq_err vae_mixture_copy(struct vae_mixture *to, const struct vae_mixture *from)
{
    if (to->D != from->D || to->cap != from->cap)
        return mdq_fail(MDQ_E_INTERNAL, "mixtures of different sizes");
    for (int k = 0; k < from->k; k++)
        component_copy(from->D, from->cap, &to->c[k], &from->c[k]);
    to->k = from->k;
    to->loglik = from->loglik;
    to->iterations = from->iterations, to->floor_hits = from->floor_hits, to->removed = from->removed;
    return MDQ_OK;
}

/* ---- expectation ---- */

static double log_constant(const struct vae_ppca *c, int64_t D)
{
    double logdet = (double)(D - c->d) * log(c->noise);
    for (int64_t j = 0; j < c->d; j++)
        logdet += log(c->lambda[j]);
    return log(c->weight) - 0.5 * ((double)D * LN_2PI + logdet);
}

/* ln(weight N(x)) of `rows` rows into out[., stride]; centred [rows, D] and y [rows, cap] are scratch. */
static void log_joint(const struct vae_mixture *m, const struct vae_ppca *c, const float *x, int64_t rows, double *centred,
                      double *y, double *out, int64_t stride)
{
    const int64_t D = m->D, d = c->d;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < D; i++)
            centred[r * D + i] = x[r * D + i] - c->mean[i];
    if (d > 0)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)d, (int)D, 1, centred, (int)D, c->u,
                    (int)m->cap, 0, y, (int)d);
    double constant = log_constant(c, D);
    for (int64_t r = 0; r < rows; r++) {
        double rest = 0, distance = 0;
        for (int64_t i = 0; i < D; i++)
            rest += centred[r * D + i] * centred[r * D + i];
        for (int64_t j = 0; j < d; j++) {
            double t = y[r * d + j] * y[r * d + j];
            rest -= t;
            distance += t / c->lambda[j];
        }
        out[r * stride] = constant - 0.5 * (distance + fmax(rest, 0) / c->noise);
    }
}

/* Log joints of one row to responsibilities; returns their log sum. */
static double normalise(int k, double *v)
{
    double top = v[0], sum = 0;
    for (int i = 1; i < k; i++)
        top = fmax(top, v[i]);
    for (int i = 0; i < k; i++)
        sum += v[i] = exp(v[i] - top);
    for (int i = 0; i < k; i++)
        v[i] /= sum;
    return top + log(sum);
}

enum mdq_err vae_mixture_expect(const struct vae_mixture *m, const struct vae_rows *rows, double *resp, double *log_density,
                                double *loglik)
{
    double *centred = mdq_alloc_aligned((size_t)(ROWS * m->D), sizeof(double), "rows");
    double *y = mdq_alloc_aligned((size_t)(ROWS * m->cap), sizeof(double), "coordinates");
    double sum = 0;
    for (int64_t r0 = 0; centred && y && r0 < rows->n; r0 += ROWS) {
        int64_t n = rows->n - r0 < ROWS ? rows->n - r0 : ROWS;
        double *to = resp + r0 * m->k;
        for (int k = 0; k < m->k; k++)
            log_joint(m, &m->c[k], rows->x + r0 * m->D, n, centred, y, to + k, m->k);
        for (int64_t r = 0; r < n; r++) {
            double t = normalise(m->k, to + r * m->k);
            sum += t;
            if (log_density)
                log_density[r0 + r] = t;
        }
    }
    *loglik = sum;
    enum mdq_err err = centred && y ? MDQ_OK : MDQ_E_INTERNAL;
    free(centred);
    free(y);
    return err;
}

enum mdq_err vae_mixture_expect_ref(const struct vae_mixture *m, const struct vae_rows *rows, double *resp,
                                    double *log_density, double *loglik)
{
    *loglik = 0;
    for (int64_t r = 0; r < rows->n; r++) {
        double sum = 0;
        for (int k = 0; k < m->k; k++) {
            const struct vae_ppca *c = &m->c[k];
            double rest = 0, distance = 0, logdet = 0;
            for (int64_t i = 0; i < m->D; i++) {
                double v = rows->x[r * m->D + i] - c->mean[i];
                rest += v * v;
            }
            for (int64_t j = 0; j < c->d; j++) {
                double y = 0;
                for (int64_t i = 0; i < m->D; i++)
                    y += c->u[i * m->cap + j] * (rows->x[r * m->D + i] - c->mean[i]);
                rest -= y * y;
                distance += y * y / c->lambda[j];
                logdet += log(c->lambda[j]);
            }
            logdet += (double)(m->D - c->d) * log(c->noise) + (double)m->D * LN_2PI;
            resp[r * m->k + k] = c->weight * exp(-0.5 * (logdet + distance + rest / c->noise));
            sum += resp[r * m->k + k];
        }
        for (int k = 0; k < m->k; k++)
            resp[r * m->k + k] /= sum;
        if (log_density)
            log_density[r] = log(sum);
        *loglik += log(sum);
    }
    return MDQ_OK;
}

/* ---- maximisation ---- */

struct moments {
    double mass, trace;
    double *cov; /* [D, D], both triangles; untouched when only the trace is wanted */
};

/* Mean, into c->mean, and covariance of rows weighted by resp, or its trace alone. */
static enum mdq_err weighted_moments(const struct vae_mixture *m, struct vae_ppca *c, const struct vae_rows *rows,
                                     const double *resp, int64_t stride, bool whole, struct moments *s)
{
    const int64_t D = m->D;
    double *block = mdq_alloc_aligned((size_t)(ROWS * D), sizeof(double), "rows");
    if (!block)
        return MDQ_E_INTERNAL;
    s->mass = s->trace = 0;
    memset(c->mean, 0, (size_t)D * sizeof(double));
    if (whole)
        memset(s->cov, 0, (size_t)(D * D) * sizeof(double));
    for (int64_t r = 0; r < rows->n; r++) {
        double w = resp[r * stride];
        if (w < NEGLIGIBLE)
            continue;
        s->mass += w;
        for (int64_t i = 0; i < D; i++)
            c->mean[i] += w * rows->x[r * D + i];
    }
    for (int64_t i = 0; i < D && s->mass > 0; i++)
        c->mean[i] /= s->mass;
    int64_t filled = 0;
    for (int64_t r = 0; r <= rows->n; r++) {
        if (filled == ROWS || (r == rows->n && filled > 0)) {
            if (whole)
                cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)D, (int)filled, 1, block, (int)D, 1, s->cov, (int)D);
            filled = 0;
        }
        if (r == rows->n || resp[r * stride] < NEGLIGIBLE)
            continue;
        double w = sqrt(resp[r * stride]), sum = 0, *to = block + filled * D;
        for (int64_t i = 0; i < D; i++) {
            to[i] = w * (rows->x[r * D + i] - c->mean[i]);
            sum += to[i] * to[i];
        }
        s->trace += sum;
        filled++;
    }
    s->trace = s->mass > 0 ? s->trace / s->mass : 0;
    for (int64_t i = 0; i < D && whole; i++)
        for (int64_t j = 0; j <= i; j++)
            s->cov[j * D + i] = s->cov[i * D + j] = s->mass > 0 ? s->cov[i * D + j] / s->mass : 0;
    free(block);
    return MDQ_OK;
}

/* The noise from what the plane leaves, and eigenvalues not below it. Tells whether the floor was hit. */
static bool set_noise(struct vae_ppca *c, int64_t D, double trace, double floor)
{
    double rest = trace;
    for (int64_t j = 0; j < c->d; j++)
        rest -= c->lambda[j];
    c->noise = rest / (double)(D - c->d);
    bool hit = !(c->noise > floor);
    if (hit)
        c->noise = floor;
    for (int64_t j = 0; j < c->d; j++)
        c->lambda[j] = fmax(c->lambda[j], c->noise);
    return hit;
}

/* The largest eigenvalue of the covariance of rows whose entries are permuted within each column, over some copies. */
static enum mdq_err null_eigenvalue(const struct vae_mixture *m, const struct vae_rows *rows, const double *resp,
                                    int64_t stride, const struct vae_dims *dims, double *largest)
{
    const int64_t D = m->D;
    int64_t n = 0;
    for (int64_t r = 0; r < rows->n; r++)
        n += resp[r * stride] > 0.5;
    *largest = INFINITY;
    if (n < 2)
        return MDQ_OK;
    float *copy = mdq_alloc_aligned((size_t)(n * D), sizeof *copy, "permuted rows");
    double *ones = mdq_alloc((size_t)n, sizeof *ones, "weights"), *cov = mdq_alloc((size_t)(D * D), sizeof *cov, "covariance");
    struct vae_ppca c = {.mean = mdq_alloc((size_t)D, sizeof(double), "mean")};
    enum mdq_err err = copy && ones && cov && c.mean ? MDQ_OK : MDQ_E_INTERNAL;
    *largest = 0;
    for (int p = 0; p < dims->permutations && err == MDQ_OK; p++) {
        struct mdq_random random;
        mdq_random_seed(&random, dims->seed, dims->name, dims->block, p);
        int64_t at = 0;
        for (int64_t r = 0; r < rows->n; r++)
            if (resp[r * stride] > 0.5)
                memcpy(copy + at++ * D, rows->x + r * D, (size_t)D * sizeof *copy);
        for (int64_t i = 0; i < n; i++)
            ones[i] = 1;
        for (int64_t i = n - 1; i > 0; i--) /* row by row keeps to the cache: each column draws its own partner */
            for (int64_t j = 0; j < D; j++) {
                int64_t o = mdq_random_below(&random, i + 1);
                float t = copy[i * D + j];
                copy[i * D + j] = copy[o * D + j];
                copy[o * D + j] = t;
            }
        struct moments s = {.cov = cov};
        double top;
        MDQ_GOTO(err, weighted_moments(m, &c, &(struct vae_rows){n, D, copy}, ones, 1, true, &s), done);
        MDQ_GOTO(err, vae_eigen_top(D, cov, 1, &top, NULL, 0), done);
        *largest = fmax(*largest, top);
    }
done:
    free(copy);
    free(ones);
    free(cov);
    free(c.mean);
    return err;
}

static enum mdq_err choose_dim(struct vae_mixture *m, struct vae_ppca *c, const struct vae_rows *rows, const double *resp,
                               int64_t stride, const struct vae_dims *dims, const struct moments *s, int64_t most)
{
    const int64_t D = m->D;
    double trace = s->trace, sum = 0, edge;
    if (dims->fixed >= 0) {
        c->d = dims->fixed < most ? dims->fixed : most;
        return MDQ_OK;
    }
    double *values = mdq_alloc((size_t)D, sizeof *values, "eigenvalues");
    if (!values)
        return MDQ_E_INTERNAL;
    enum mdq_err err;
    MDQ_GOTO(err, vae_eigen_top(D, s->cov, D, values, NULL, 0), done);
    MDQ_GOTO(err, null_eigenvalue(m, rows, resp, stride, dims, &edge), done);
    c->dim95 = 0;
    while (c->dim95 < D && sum < dims->variance * trace)
        sum += values[c->dim95++];
    c->dim_parallel = 0;
    while (c->dim_parallel < D && values[c->dim_parallel] > edge)
        c->dim_parallel++;
    c->d = c->dim_parallel < c->dim95 ? c->dim_parallel : c->dim95;
    c->d = c->d < most ? c->d : most;
done:
    free(values);
    return err;
}

/* Planes from the covariance by a full decomposition. */
static enum mdq_err decompose(struct vae_mixture *m, struct vae_ppca *c, const struct moments *s, double floor, bool *hit)
{
    if (c->d > 0)
        MDQ_TRY(vae_eigen_top(m->D, s->cov, c->d, c->lambda, c->u, m->cap));
    *hit = set_noise(c, m->D, s->trace, floor);
    return MDQ_OK;
}

/* The best plane in the span of [U, S U]. */
static enum mdq_err improve(struct vae_mixture *m, struct vae_ppca *c, const struct moments *s, double floor, bool *hit)
{
    if (c->d > 0)
        MDQ_TRY(vae_eigen_span(m->D, s->cov, c->d, c->lambda, c->u, m->cap));
    *hit = set_noise(c, m->D, s->trace, floor);
    return MDQ_OK;
}

static int64_t largest_dim(const struct vae_mixture *m, double mass)
{
    int64_t most = m->cap < m->D - 1 ? m->cap : m->D - 1;
    int64_t by_mass = (int64_t)(mass / 2) - 1; /* mass of at least 2 (d + 1) */
    return by_mass < most ? (by_mass > 0 ? by_mass : 0) : most;
}

enum mdq_err vae_component_fit(struct vae_mixture *m, int k, const struct vae_rows *rows, const double *resp, int64_t stride,
                               const struct vae_dims *dims, double floor)
{
    struct vae_ppca *c = &m->c[k];
    struct moments s = {.cov = mdq_alloc((size_t)(m->D * m->D), sizeof(double), "covariance")};
    bool hit;
    enum mdq_err err = s.cov ? MDQ_OK : MDQ_E_INTERNAL;
    if (err == MDQ_OK)
        err = weighted_moments(m, c, rows, resp, stride, dims || c->d > 0, &s);
    if (err == MDQ_OK && !dims) {
        int64_t most = largest_dim(m, s.mass);
        c->d = c->d < most ? c->d : most;
    }
    if (err == MDQ_OK && dims) {
        c->dim95 = c->dim_parallel = -1;
        err = choose_dim(m, c, rows, resp, stride, dims, &s, largest_dim(m, s.mass));
    }
    if (err == MDQ_OK)
        err = decompose(m, c, &s, floor, &hit);
    c->weight = s.mass / (double)rows->n;
    m->floor_hits += err == MDQ_OK && hit;
    free(s.cov);
    return err;
}

/* Columns of resp without column `gone`, in place. */
static void drop_column(int64_t n, int k, int gone, double *resp)
{
    for (int64_t r = 0, to = 0; r < n; r++)
        for (int j = 0; j < k; j++)
            if (j != gone)
                resp[to++] = resp[r * k + j];
}

static void drop_component(struct vae_mixture *m, int64_t n, int gone, double *resp)
{
    struct vae_ppca c = m->c[gone];
    drop_column(n, m->k, gone, resp);
    for (int j = gone; j + 1 < m->k; j++)
        m->c[j] = m->c[j + 1];
    m->c[--m->k] = c; /* its buffers */
    m->removed++;
    double sum = 0;
    for (int64_t r = 0; r < n; r++) { /* what it held goes to the others */
        double t = 0;
        for (int j = 0; j < m->k; j++)
            t += resp[r * m->k + j];
        for (int j = 0; j < m->k; j++)
            resp[r * m->k + j] = t > 1e-300 ? resp[r * m->k + j] / t : 1.0 / m->k;
        sum += t;
    }
    (void)sum;
}

static bool remove_empty(struct vae_mixture *m, int64_t n, double *resp)
{
    bool any = false;
    for (int k = 0; k < m->k && m->k > 1; k++) {
        double mass = 0;
        for (int64_t r = 0; r < n; r++)
            mass += resp[r * m->k + k];
        if (mass >= 2 * (double)(m->c[k].d + 1))
            continue;
        drop_component(m, n, k--, resp);
        any = true;
    }
    return any;
}

enum mdq_err vae_mixture_em(struct vae_mixture *m, const struct vae_rows *rows, double *resp, int iterations, double floor,
                            void (*trace)(void *context, double loglik, bool exempt), void *context)
{
    struct moments s = {.cov = mdq_alloc((size_t)(m->D * m->D), sizeof(double), "covariance")};
    enum mdq_err err = s.cov ? MDQ_OK : MDQ_E_INTERNAL;
    double before = -INFINITY;
    bool last = false;
    for (int it = 0; err == MDQ_OK && it <= iterations; it++) {
        bool exempt = remove_empty(m, rows->n, resp), hit = false;
        bool exact = it == 0 || last || it == iterations;
        for (int k = 0; k < m->k && err == MDQ_OK; k++) {
            bool one;
            MDQ_GOTO(err, weighted_moments(m, &m->c[k], rows, resp + k, m->k, m->c[k].d > 0, &s), done);
            MDQ_GOTO(err, exact ? decompose(m, &m->c[k], &s, floor, &one) : improve(m, &m->c[k], &s, floor, &one), done);
            m->c[k].weight = s.mass / (double)rows->n;
            hit |= one;
        }
        m->floor_hits += hit;
        MDQ_GOTO(err, vae_mixture_expect(m, rows, resp, NULL, &m->loglik), done);
        m->iterations++;
        if (trace)
            trace(context, m->loglik, exempt || hit);
        if (last)
            break;
        last = m->loglik - before < 1e-5 * (double)rows->n;
        before = m->loglik;
    }
done:
    free(s.cov);
    return err;
}

double vae_total_variance(const struct vae_rows *rows)
{
    double total = 0;
    for (int64_t i = 0; i < rows->D; i++) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < rows->n; r++)
            sum += rows->x[r * rows->D + i];
        sum /= (double)rows->n;
        for (int64_t r = 0; r < rows->n; r++)
            squares += (rows->x[r * rows->D + i] - sum) * (rows->x[r * rows->D + i] - sum);
        total += squares;
    }
    return total / ((double)rows->n * (double)rows->D);
}

double vae_hierarchical_bic(const struct vae_mixture *m, int64_t n)
{
    double bic = m->loglik - 0.5 * (m->k - 1) * log((double)n);
    for (int k = 0; k < m->k; k++) {
        double D = (double)m->D, d = (double)m->c[k].d;
        bic -= 0.5 * (D * d - d * (d - 1) / 2 + D + 1) * log((double)n * m->c[k].weight);
    }
    return bic;
}
