#include "vae_train.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"
#include "vae_adam.h"
#include "vae_eigen.h"

/* Rows of a product; rows of a gradient step; steps of a sweep at least, as far as four times the epochs allow. */
enum { BATCH = 256, STEP = 64, STEPS = 400, PAIRS = 2, EXTRA = 4 };
#define LN_2PI 1.8378770664093453

/* LAPACK: a x = b for symmetric positive definite a. */
void dposv_(const char *uplo, const int *n, const int *nrhs, double *a, const int *lda, double *b, const int *ldb, int *info);

enum mdq_err vae_part_new(struct vae_part *p, const struct vae_rows *rows, const double *resp, int64_t stride, const float *mean)
{
    *p = (struct vae_part){0};
    for (int64_t r = 0; r < rows->n; r++)
        p->n += resp[r * stride] > 1e-3;
    p->x = mdq_alloc_aligned((size_t)(p->n * rows->D), sizeof *p->x, "rows of a component");
    p->weight = mdq_alloc((size_t)p->n, sizeof *p->weight, "responsibilities");
    if (!p->x || !p->weight)
        return MDQ_E_INTERNAL;
    int64_t at = 0;
    for (int64_t r = 0; r < rows->n; r++) {
        if (!(resp[r * stride] > 1e-3))
            continue;
        for (int64_t i = 0; i < rows->D; i++)
            p->x[at * rows->D + i] = rows->x[r * rows->D + i] - mean[i];
        p->weight[at++] = (float)resp[r * stride];
    }
    return MDQ_OK;
}

void vae_part_free(struct vae_part *p)
{
    free(p->x);
    free(p->weight);
    *p = (struct vae_part){0};
}

enum mdq_err vae_chart_copy(struct mdq_chart *to, const struct mdq_chart *c)
{
    const size_t D = (size_t)c->dim_in, d = (size_t)c->dim, h = (size_t)c->hidden;
    if (to->dim_in != c->dim_in || to->dim != c->dim || to->hidden != c->hidden) {
        mdq_chart_free(to);
        MDQ_TRY(mdq_chart_new(to, c->dim_in, c->dim, c->hidden));
    }
    to->weight = c->weight;
    to->noise = c->noise;
    memcpy(to->mean, c->mean, D * sizeof(float));
    memcpy(to->basis, c->basis, D * d * sizeof(float));
    memcpy(to->dec_in, c->dec_in, h * d * sizeof(float));
    memcpy(to->dec_bias, c->dec_bias, h * sizeof(float));
    memcpy(to->dec_out, c->dec_out, D * h * sizeof(float));
    memcpy(to->enc_lin, c->enc_lin, D * d * sizeof(float));
    memcpy(to->enc_in, c->enc_in, h * D * sizeof(float));
    memcpy(to->enc_bias, c->enc_bias, h * sizeof(float));
    memcpy(to->enc_out, c->enc_out, d * h * sizeof(float));
    memcpy(to->post_sd, c->post_sd, d * sizeof(float));
    mdq_chart_prepare(to);
    return MDQ_OK;
}

/* Leading directions of the rows, [D, *count], and their standard deviations: what hidden units of the encoder look along. */
static enum mdq_err directions(const struct vae_part *rows, int64_t D, int64_t *count, double *u, double *sd)
{
    double *cov = mdq_calloc((size_t)(D * D), sizeof *cov, "covariance");
    double *x = mdq_alloc_aligned((size_t)(BATCH * D), sizeof *x, "rows");
    enum mdq_err err = cov && x ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t r0 = 0; err == MDQ_OK && r0 < rows->n; r0 += BATCH) {
        int64_t n = rows->n - r0 < BATCH ? rows->n - r0 : BATCH;
        for (int64_t i = 0; i < n * D; i++)
            x[i] = rows->x[r0 * D + i];
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, (int)D, (int)n, 1.0 / (double)rows->n, x, (int)D, 1, cov, (int)D);
    }
    if (err == MDQ_OK) {
        for (int64_t i = 0; i < D; i++)
            for (int64_t j = 0; j < i; j++)
                cov[j * D + i] = cov[i * D + j];
        *count = *count < D ? *count : D;
        err = vae_eigen_top(D, cov, *count, sd, u, *count);
        for (int64_t j = 0; j < *count; j++)
            sd[j] = sqrt(fmax(sd[j], 1e-30));
    }
    free(cov);
    free(x);
    return err;
}

enum mdq_err vae_chart_start(struct mdq_chart *c, const struct vae_ppca *p, int64_t D, int64_t stride, int hidden,
                             const struct vae_part *rows, uint64_t seed, const char *name, int64_t block)
{
    const int64_t d = p->d, h = d > 0 ? hidden : 0;
    MDQ_TRY(mdq_chart_new(c, D, d, h));
    c->weight = p->weight;
    c->noise = p->noise;
    for (int64_t i = 0; i < D; i++)
        c->mean[i] = (float)p->mean[i];
    for (int64_t j = 0; j < d; j++) {
        /* B = U (Lambda - s^2)^(1/2), E = M^-1 B^T with M = B^T B + s^2 = Lambda; posterior variance s^2 / lambda */
        double size = sqrt(fmax(p->lambda[j] - p->noise, 0));
        c->post_sd[j] = (float)sqrt(p->noise / p->lambda[j]);
        for (int64_t i = 0; i < D; i++) {
            c->basis[i * d + j] = (float)(p->u[i * stride + j] * size);
            c->enc_lin[j * D + i] = (float)(p->u[i * stride + j] * size / p->lambda[j]);
        }
    }
    enum mdq_err err = MDQ_OK;
    if (h > 0) {
        int64_t count = d + EXTRA;
        double *u = mdq_alloc((size_t)(D * count), sizeof *u, "directions"), *sd = mdq_alloc((size_t)count, sizeof *sd, "directions");
        struct mdq_random random;
        mdq_random_seed(&random, seed, name, (uint64_t)block, 7);
        err = u && sd ? directions(rows, D, &count, u, sd) : MDQ_E_INTERNAL;
        for (int64_t i = 0; i < h && err == MDQ_OK; i++) {
            /* the last unit is constant: with it the decoder's mean can move */
            bool constant = i == h - 1;
            double width = 1.5 / sqrt((double)d), across = 1.5 / sqrt((double)count);
            for (int64_t j = 0; j < d; j++)
                c->dec_in[i * d + j] = constant ? 0 : (float)(width * mdq_random_normal(&random));
            c->dec_bias[i] = constant ? 20 : (float)(3 * mdq_random_uniform(&random) - 1.5);
            for (int64_t j = 0; j < count; j++) {
                double g = across * mdq_random_normal(&random) / sd[j];
                for (int64_t k = 0; k < D && !constant; k++)
                    c->enc_in[i * D + k] += (float)(g * u[k * count + j]);
            }
            c->enc_bias[i] = constant ? 20 : (float)(3 * mdq_random_uniform(&random) - 1.5);
        }
        free(u);
        free(sd);
    }
    mdq_chart_prepare(c);
    return err;
}

/* What a batch needs: features, samples, residuals. */
struct batch {
    float *u, *m, *z, *t, *r, *f, *g, *gu, *eps; /* [B,h] [B,d] [B,d] [B,h] [B,D] [B,D] [B,d+h] [B,h] [B,d] */
};

static enum mdq_err batch_new(struct batch *b, const struct mdq_chart *c)
{
    size_t d = (size_t)c->dim, h = (size_t)c->hidden, D = (size_t)c->dim_in;
    float **const arrays[] = {&b->u, &b->m, &b->z, &b->t, &b->r, &b->f, &b->g, &b->gu, &b->eps};
    const size_t widths[] = {h, d, d, h, D, D, d + h, h, d};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (!(*arrays[i] = mdq_alloc_aligned(BATCH * widths[i], sizeof(float), "batch")))
            return MDQ_E_INTERNAL;
    return MDQ_OK;
}

static void batch_free(struct batch *b)
{
    float *const arrays[] = {b->u, b->m, b->z, b->t, b->r, b->f, b->g, b->gu, b->eps};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

/* out [n, w] (+)= a [n, k] op(b): b [k, w], or [w, k] when transposed. */
static void product(int64_t n, int64_t w, int64_t k, const float *a, const float *b, bool transposed, float beta, float *out)
{
    if (n > 0 && w > 0 && k > 0)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, (int)n, (int)w, (int)k, 1, a, (int)k, b,
                    (int)(transposed ? k : w), beta, out, (int)w);
    else if (beta == 0)
        memset(out, 0, (size_t)(n * w) * sizeof *out);
}

/* tanh of v [n, h] + bias, in place. */
static void squash(int64_t n, int64_t h, const float *bias, float *v)
{
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < h; i++)
            v[r * h + i] = tanhf(v[r * h + i] + bias[i]);
}

/* b->u, b->m = encoder of x [n, D] (centred). */
static void encode(const struct mdq_chart *c, int64_t n, const float *x, struct batch *b)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    product(n, h, D, x, c->enc_in, true, 0, b->u);
    squash(n, h, c->enc_bias, b->u);
    product(n, d, D, x, c->enc_lin, true, 0, b->m);
    product(n, d, h, b->u, c->enc_out, true, 1, b->m);
}

/* b->z = m + sign sd eps, b->t its hidden features. */
static void sample(const struct mdq_chart *c, int64_t n, float sign, struct batch *b)
{
    const int64_t d = c->dim, h = c->hidden;
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < d; j++)
            b->z[r * d + j] = b->m[r * d + j] + sign * c->post_sd[j] * b->eps[r * d + j];
    product(n, h, d, b->z, c->dec_in, true, 0, b->t);
    squash(n, h, c->dec_bias, b->t);
}

/* ELBO of n <= BATCH centred rows; first: number of the first row, from which its noise is drawn. */
static void elbo_batch(const struct mdq_chart *c, int64_t n, const float *x, int64_t first, struct batch *b, double *elbo)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    double spread = 0, kl = 0;
    for (int64_t j = 0; j < d; j++) {
        double size = 0, v = (double)c->post_sd[j] * c->post_sd[j];
        for (int64_t i = 0; i < D; i++)
            size += (double)c->basis[i * d + j] * c->basis[i * d + j];
        spread += v * size;
        kl += 0.5 * (v - 1 - log(v));
    }
    encode(c, n, x, b);
    product(n, D, d, b->m, c->basis, true, 0, b->f);
    for (int64_t r = 0; r < n; r++) {
        double e = spread, m2 = 0;
        for (int64_t i = 0; i < D; i++) {
            double t = (double)x[r * D + i] - b->f[r * D + i];
            e += t * t;
        }
        for (int64_t j = 0; j < d; j++)
            m2 += (double)b->m[r * d + j] * b->m[r * d + j];
        elbo[r] = -0.5 * ((double)D * (LN_2PI + log(c->noise)) + e / c->noise + m2) - kl;
    }
    if (h == 0)
        return;
    for (int pair = 0; pair < PAIRS; pair++) {
        for (int64_t r = 0; r < n; r++) {
            struct mdq_random random;
            mdq_random_seed(&random, 99, "elbo", (uint64_t)(first + r), (uint64_t)pair);
            for (int64_t j = 0; j < d; j++)
                b->eps[r * d + j] = (float)mdq_random_normal(&random);
        }
        for (int sign = -1; sign <= 1; sign += 2) {
            sample(c, n, (float)sign, b);
            product(n, D, h, b->t, c->dec_out, true, 0, b->f);
            product(n, D, d, b->z, c->basis, true, 0, b->r);
            for (int64_t r = 0; r < n; r++) {
                double e = 0;
                for (int64_t i = 0; i < D; i++) {
                    double f = b->f[r * D + i];
                    e += f * (f - 2 * ((double)x[r * D + i] - b->r[r * D + i]));
                }
                elbo[r] -= 0.5 * e / c->noise / (2 * PAIRS);
            }
        }
    }
}

enum mdq_err vae_elbo(const struct mdq_chart *c, int64_t n, const float *x, int64_t ldx, double *elbo)
{
    const int64_t D = c->dim_in;
    struct batch b = {0};
    float *centred = mdq_alloc_aligned((size_t)(BATCH * D), sizeof *centred, "rows");
    enum mdq_err err = centred ? batch_new(&b, c) : MDQ_E_INTERNAL;
    for (int64_t r0 = 0; err == MDQ_OK && r0 < n; r0 += BATCH) {
        int64_t rows = n - r0 < BATCH ? n - r0 : BATCH;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < D; i++)
                centred[r * D + i] = x[(r0 + r) * ldx + i] - c->mean[i];
        elbo_batch(c, rows, centred, r0, &b, elbo + r0);
    }
    batch_free(&b);
    free(centred);
    return err;
}

enum mdq_err vae_part_elbo(const struct mdq_chart *c, const struct vae_part *p, double *mean)
{
    struct batch b = {0};
    double elbo[BATCH], sum = 0, weight = 0;
    enum mdq_err err = batch_new(&b, c);
    for (int64_t r0 = 0; err == MDQ_OK && r0 < p->n; r0 += BATCH) {
        int64_t rows = p->n - r0 < BATCH ? p->n - r0 : BATCH;
        elbo_batch(c, rows, p->x + r0 * c->dim_in, r0, &b, elbo);
        for (int64_t r = 0; r < rows; r++) {
            sum += p->weight[r0 + r] * elbo[r];
            weight += p->weight[r0 + r];
        }
    }
    *mean = weight > 0 ? sum / weight : 0;
    batch_free(&b);
    return err;
}

/*
 * [B V] by weighted least squares on samples of the posterior, and the noise that is left: the maximisation step in
 * the decoder's output layer. s s^T and s x^T are summed in double.
 */
static enum mdq_err solve_output(struct mdq_chart *c, const struct vae_part *p, struct mdq_random *random, struct batch *b)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden, m = d + h;
    double *ss = mdq_calloc((size_t)(m * m), sizeof *ss, "normal equations");
    double *sx = mdq_calloc((size_t)(m * D), sizeof *sx, "normal equations");
    double *s = mdq_alloc_aligned((size_t)(BATCH * m), sizeof *s, "features");
    double *x = mdq_alloc_aligned((size_t)(BATCH * D), sizeof *x, "rows");
    enum mdq_err err = ss && sx && s && x ? MDQ_OK : MDQ_E_INTERNAL;
    double weight = 0, total = 0, left = 0;
    for (int64_t r0 = 0; err == MDQ_OK && r0 < p->n; r0 += BATCH) {
        int64_t n = p->n - r0 < BATCH ? p->n - r0 : BATCH;
        encode(c, n, p->x + r0 * D, b);
        for (int64_t i = 0; i < n * d; i++)
            b->eps[i] = (float)mdq_random_normal(random);
        for (int64_t r = 0; r < n; r++) {
            double w = sqrt(p->weight[r0 + r]);
            for (int64_t i = 0; i < D; i++) {
                x[r * D + i] = w * p->x[(r0 + r) * D + i];
                total += 2 * x[r * D + i] * x[r * D + i];
            }
            weight += 2 * p->weight[r0 + r];
        }
        for (int sign = -1; sign <= 1; sign += 2) {
            sample(c, n, (float)sign, b);
            for (int64_t r = 0; r < n; r++) {
                double w = sqrt(p->weight[r0 + r]);
                for (int64_t j = 0; j < d; j++)
                    s[r * m + j] = w * b->z[r * d + j];
                for (int64_t j = 0; j < h; j++)
                    s[r * m + d + j] = w * b->t[r * h + j];
            }
            cblas_dsyrk(CblasColMajor, CblasLower, CblasNoTrans, (int)m, (int)n, 1, s, (int)m, 1, ss, (int)m);
            cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)D, (int)n, 1, s, (int)m, x, (int)D, 1, sx, (int)D);
        }
    }
    if (err == MDQ_OK) {
        /* the right-hand sides as columns; a ridge a million times below the features keeps alike features apart */
        const int order = (int)m, sides = (int)D;
        int info;
        double *rhs = mdq_alloc((size_t)(m * D), sizeof *rhs, "normal equations");
        double ridge = 0;
        for (int64_t j = 0; j < m; j++)
            ridge += ss[j * m + j] / (double)m;
        for (int64_t j = 0; j < m; j++)
            ss[j * m + j] += 1e-6 * ridge;
        for (int64_t i = 0; rhs && i < D; i++)
            for (int64_t j = 0; j < m; j++)
                rhs[i * m + j] = sx[j * D + i];
        err = rhs ? MDQ_OK : MDQ_E_INTERNAL;
        if (rhs)
            dposv_("L", &order, &sides, ss, &order, rhs, &order, &info);
        if (rhs && info == 0) {
            left = total;
            for (int64_t i = 0; i < D; i++)
                for (int64_t j = 0; j < m; j++) {
                    double v = rhs[i * m + j];
                    left -= v * sx[j * D + i];
                    *(j < d ? c->basis + i * d + j : c->dec_out + i * h + j - d) = (float)v;
                }
            /* what is left of a least-squares fit is total - fit; the ridge makes it a little less than that */
            c->noise = fmax(left / (weight * (double)D), 1e-9 * total / (weight * (double)D));
        }
        free(rhs);
    }
    free(ss);
    free(sx);
    free(s);
    free(x);
    return err;
}

/* Gradients of the mean negative ELBO of a batch with respect to all but the output layer. */
static void gradients(const struct mdq_chart *c, int64_t n, const float *x, const float *weight, struct batch *b,
                      struct vae_gradient *g)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    double total = 0;
    for (int64_t r = 0; r < n; r++)
        total += weight[r];
    const float scale = (float)(1 / (c->noise * total));
    encode(c, n, x, b);
    sample(c, n, 1, b);
    memcpy(b->r, x, (size_t)(n * D) * sizeof *b->r);
    product(n, D, d, b->z, c->basis, true, 0, b->f);
    product(n, D, h, b->t, c->dec_out, true, 1, b->f);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < D; i++)
            b->r[r * D + i] = (b->f[r * D + i] - b->r[r * D + i]) * scale * weight[r];
    float *gt = b->gu, *gz = b->g; /* first with respect to t and z */
    product(n, h, D, b->r, c->dec_out, false, 0, gt);
    for (int64_t i = 0; i < n * h; i++)
        gt[i] *= 1 - b->t[i] * b->t[i];
    product(n, d, D, b->r, c->basis, false, 0, gz);
    product(n, d, h, gt, c->dec_in, false, 1, gz);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)h, (int)d, (int)n, 1, gt, (int)h, b->z, (int)d, 0, g->dec_in, (int)d);
    memset(g->dec_bias, 0, (size_t)h * sizeof(float));
    memset(g->log_sd, 0, (size_t)d * sizeof(float));
    memset(g->enc_bias, 0, (size_t)h * sizeof(float));
    for (int64_t r = 0; r < n; r++) {
        float share = (float)(weight[r] / total);
        for (int64_t i = 0; i < h; i++)
            g->dec_bias[i] += gt[r * h + i];
        for (int64_t j = 0; j < d; j++) {
            float sd = c->post_sd[j];
            g->log_sd[j] += gz[r * d + j] * sd * b->eps[r * d + j] + share * (sd * sd - 1);
            gz[r * d + j] += share * b->m[r * d + j]; /* from here on with respect to m */
        }
    }
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)d, (int)D, (int)n, 1, gz, (int)d, x, (int)D, 0, g->enc_lin, (int)D);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)d, (int)h, (int)n, 1, gz, (int)d, b->u, (int)h, 0, g->enc_out, (int)h);
    float *gu = b->gu;
    product(n, h, d, gz, c->enc_out, false, 0, gu);
    for (int64_t i = 0; i < n * h; i++)
        gu[i] *= 1 - b->u[i] * b->u[i];
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)h, (int)D, (int)n, 1, gu, (int)h, x, (int)D, 0, g->enc_in, (int)D);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < h; i++)
            g->enc_bias[i] += gu[r * h + i];
}

enum mdq_err vae_sweep(struct mdq_chart *c, const struct vae_part *train, const struct vae_part *held,
                       const struct vae_train_options *o, int sweep, double *gain)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    const struct vae_part *judge = held->n > 0 ? held : train;
    struct mdq_chart best = {0};
    struct batch b = {0};
    struct vae_adam adam = {0};
    struct mdq_random random;
    double start, now, top;
    enum mdq_err err;
    *gain = 0;
    if (h == 0 || train->n < 2)
        return MDQ_OK;
    mdq_random_seed(&random, o->seed, o->name, (uint64_t)o->block, 100 + (uint64_t)sweep);
    MDQ_GOTO(err, vae_chart_copy(&best, c), done);
    MDQ_GOTO(err, batch_new(&b, c), done);
    MDQ_GOTO(err, vae_adam_new(&adam, c), done);
    MDQ_GOTO(err, vae_part_elbo(c, judge, &start), done);
    top = start;
    const int64_t batches = (train->n + STEP - 1) / STEP, wanted = (STEPS + batches - 1) / batches;
    const int epochs = wanted <= o->epochs ? o->epochs : wanted < 4 * o->epochs ? (int)wanted : 4 * o->epochs;
    for (int epoch = 0; epoch < epochs; epoch++) {
        MDQ_GOTO(err, solve_output(c, train, &random, &b), done);
        /* the step falls along a cosine; batches come in another order each time */
        double rate = 0.5 * (1 + cos(3.14159265358979 * epoch / epochs)) / (1 + sweep);
        int64_t shift = mdq_random_below(&random, batches);
        for (int64_t k = 0; k < batches; k++) {
            int64_t r0 = (k + shift) % batches * STEP, n = train->n - r0 < STEP ? train->n - r0 : STEP;
            for (int64_t i = 0; i < n * d; i++)
                b.eps[i] = (float)mdq_random_normal(&random);
            gradients(c, n, train->x + r0 * D, train->weight + r0, &b, &adam.gradient);
            vae_adam_step(&adam, c, rate);
        }
        if (epoch % 3 != 2 && epoch != epochs - 1)
            continue;
        MDQ_GOTO(err, solve_output(c, train, &random, &b), done);
        MDQ_GOTO(err, vae_part_elbo(c, judge, &now), done);
        if (now > top) {
            top = now;
            MDQ_GOTO(err, vae_chart_copy(&best, c), done);
        } else if (epoch >= 2 && top == start) {
            break; /* curvature shows at the first solution of the output layer: nothing there to learn */
        }
    }
    *gain = top - start;
    err = vae_chart_copy(c, &best);
done:
    mdq_chart_free(&best);
    batch_free(&b);
    vae_adam_free(&adam);
    return err;
}
