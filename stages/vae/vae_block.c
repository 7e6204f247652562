#include "vae_block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"

enum { LEAST_HELD = 64 };

/* Training rows first, held-out rows behind them; *held of them. */
static enum mdq_err split_rows(int64_t n, int64_t D, const float *x, const struct vae_options *o, const char *tensor,
                               int64_t block, float *out, int64_t *held)
{
    struct mdq_random random;
    int64_t *order = mdq_alloc((size_t)n, sizeof *order, "order of rows");
    if (!order)
        return MDQ_E_INTERNAL;
    mdq_random_seed(&random, o->seed, tensor, (uint64_t)block, 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = mdq_random_below(&random, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    *held = n >= LEAST_HELD ? (int64_t)((double)n * o->holdout) : 0;
    for (int64_t i = 0; i < n; i++)
        memcpy(out + i * D, x + order[i] * D, (size_t)D * sizeof *x);
    free(order);
    return MDQ_OK;
}

enum mdq_err vae_mixture_elbo(const struct mdq_chart *charts, int k, int64_t n, const float *x, double *resp, double *elbo)
{
    double *one = mdq_alloc((size_t)n, sizeof *one, "bounds");
    if (!one)
        return MDQ_E_INTERNAL;
    enum mdq_err err = MDQ_OK;
    for (int c = 0; c < k && err == MDQ_OK; c++) {
        err = vae_elbo(&charts[c], n, x, charts[c].dim_in, one);
        for (int64_t r = 0; r < n && err == MDQ_OK; r++)
            resp[r * k + c] = log(charts[c].weight) + one[r];
    }
    for (int64_t r = 0; r < n && err == MDQ_OK; r++) {
        double top = resp[r * k], sum = 0;
        for (int c = 1; c < k; c++)
            top = fmax(top, resp[r * k + c]);
        for (int c = 0; c < k; c++)
            sum += resp[r * k + c] = exp(resp[r * k + c] - top);
        for (int c = 0; c < k; c++)
            resp[r * k + c] /= sum;
        elbo[r] = top + log(sum);
    }
    free(one);
    return err;
}

static double mean_of(int64_t n, const double *v)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i];
    return n > 0 ? sum / (double)n : 0;
}

/* Everything that lives while one block is fitted. */
struct work {
    const struct vae_options *o;
    struct vae_rows train, held;
    double *resp_train, *resp_held; /* [n, k] */
    double *values;                 /* [larger n] */
    struct vae_part part[VAE_MAX_CHARTS], part_held[VAE_MAX_CHARTS];
    struct mdq_chart before[VAE_MAX_CHARTS];
    bool active[VAE_MAX_CHARTS];
};

static enum mdq_err parts_of(struct work *w, const struct vae_block *b)
{
    for (int c = 0; c < b->k; c++) {
        vae_part_free(&w->part[c]);
        vae_part_free(&w->part_held[c]);
        MDQ_TRY(vae_part_new(&w->part[c], &w->train, w->resp_train + c, b->k, b->chart[c].mean));
        MDQ_TRY(vae_part_new(&w->part_held[c], &w->held, w->resp_held + c, b->k, b->chart[c].mean));
    }
    return MDQ_OK;
}

/* Weighted mean squared error per entry at the feet of a part's rows. */
static enum mdq_err squared_error(const struct mdq_chart *c, const struct vae_part *p, int steps, double *mse)
{
    size_t n = (size_t)p->n, d = (size_t)c->dim;
    double *z = mdq_calloc(n * d, sizeof *z, "feet"), *res = mdq_alloc(n, sizeof *res, "residuals");
    double *nor = mdq_alloc(n, sizeof *nor, "normals");
    float *x = mdq_alloc_aligned(n * (size_t)c->dim_in, sizeof *x, "rows");
    double sum = 0, weight = 0;
    enum mdq_err err = z && res && nor && x ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t r = 0; err == MDQ_OK && r < p->n; r++)
        for (int64_t i = 0; i < c->dim_in; i++)
            x[r * c->dim_in + i] = p->x[r * c->dim_in + i] + c->mean[i];
    if (err == MDQ_OK) {
        if (!c->flat) /* the foot in a plane needs no start */
            mdq_chart_encode(c, p->n, x, c->dim_in, z);
        err = mdq_chart_foot(c, p->n, x, c->dim_in, steps, z, res, nor);
    }
    for (int64_t r = 0; err == MDQ_OK && r < p->n; r++) {
        sum += p->weight[r] * res[r] * res[r];
        weight += p->weight[r];
    }
    *mse = weight > 0 ? sum / (weight * (double)c->dim_in) : 0;
    free(z);
    free(res);
    free(nor);
    free(x);
    return err;
}

/* The expectation step over charts: responsibilities of both parts, mixing weights, the bound on what was held out. */
static enum mdq_err expect(struct work *w, struct vae_block *b, bool weights, double *bound)
{
    MDQ_TRY(vae_mixture_elbo(b->chart, b->k, w->train.n, w->train.x, w->resp_train, w->values));
    *bound = mean_of(w->train.n, w->values);
    for (int c = 0; weights && c < b->k; c++) {
        double sum = 0;
        for (int64_t r = 0; r < w->train.n; r++)
            sum += w->resp_train[r * b->k + c];
        b->chart[c].weight = fmax(sum / (double)w->train.n, 1e-12);
    }
    if (w->held.n > 0) {
        MDQ_TRY(vae_mixture_elbo(b->chart, b->k, w->held.n, w->held.x, w->resp_held, w->values));
        *bound = mean_of(w->held.n, w->values);
    }
    return MDQ_OK;
}

static enum mdq_err one_sweep(struct work *w, struct vae_block *b, int sweep, bool *any)
{
    const struct vae_options *o = w->o;
    *any = false;
    for (int c = 0; c < b->k; c++) {
        struct vae_chart_report *r = &b->report[c];
        double gain, mse = r->mse;
        MDQ_TRY(vae_chart_copy(&w->before[c], &b->chart[c]));
        if (!w->active[c])
            continue;
        struct vae_train_options how = o->train;
        how.block = o->train.block * 1000 + c;
        MDQ_TRY(vae_sweep(&b->chart[c], &w->part[c], &w->part_held[c], &how, sweep, &gain));
        if (gain > 0)
            MDQ_TRY(squared_error(&b->chart[c], &w->part[c], o->foot_steps, &mse));
        r->sweeps = sweep + 1;
        r->nonlinear |= gain > 0;
        w->active[c] = mse > o->target && mse <= 0.99 * r->mse;
        *any |= gain > 0;
    }
    return MDQ_OK;
}

static enum mdq_err train(struct work *w, struct vae_block *b)
{
    const struct vae_options *o = w->o;
    bool any = true;
    double now;
    MDQ_TRY(parts_of(w, b));
    for (int c = 0; c < b->k; c++) {
        MDQ_TRY(squared_error(&b->chart[c], &w->part[c], o->foot_steps, &b->report[c].mse_linear));
        b->report[c].mse = b->report[c].mse_linear;
        MDQ_TRY(vae_part_elbo(&b->chart[c], w->held.n > 0 ? &w->part_held[c] : &w->part[c], &b->report[c].elbo[0]));
        w->active[c] = b->chart[c].hidden > 0;
    }
    for (int s = 0; any && s <= o->sweeps && o->train.epochs > 0; s++) {
        MDQ_TRY(one_sweep(w, b, s, &any));
        MDQ_TRY(expect(w, b, true, &now));
        bool worse = !(now >= b->elbo[b->sweeps]);
        for (int c = 0; worse && c < b->k; c++) { /* as a mixture it has to hold too */
            MDQ_TRY(vae_chart_copy(&b->chart[c], &w->before[c]));
            b->chart[c].weight = w->before[c].weight;
            b->report[c].nonlinear = b->report[c].nonlinear && s > 0;
        }
        if (worse)
            MDQ_TRY(expect(w, b, false, &now));
        now = worse ? b->elbo[b->sweeps] : now;
        b->elbo[++b->sweeps] = now;
        MDQ_TRY(parts_of(w, b));
        bool left = false;
        for (int c = 0; c < b->k; c++) {
            struct vae_chart_report *r = &b->report[c];
            MDQ_TRY(vae_part_elbo(&b->chart[c], w->held.n > 0 ? &w->part_held[c] : &w->part[c], &r->elbo[b->sweeps]));
            MDQ_TRY(squared_error(&b->chart[c], &w->part[c], o->foot_steps, &r->mse));
            left |= w->active[c];
        }
        if (worse || !left)
            break;
    }
    for (int c = 0; c < b->k; c++)
        b->report[c].missed = b->report[c].mse > o->target;
    return MDQ_OK;
}

/* A chart whose hidden units do nothing is served as the linear one it is. */
static enum mdq_err make_linear(struct mdq_chart *c)
{
    struct mdq_chart plain = {0};
    enum mdq_err err = mdq_chart_new(&plain, c->dim_in, c->dim, 0);
    const size_t D = (size_t)c->dim_in, d = (size_t)c->dim;
    if (err == MDQ_OK) {
        plain.weight = c->weight;
        plain.noise = c->noise;
        memcpy(plain.mean, c->mean, D * sizeof(float));
        memcpy(plain.basis, c->basis, D * d * sizeof(float));
        memcpy(plain.enc_lin, c->enc_lin, D * d * sizeof(float));
        memcpy(plain.post_sd, c->post_sd, d * sizeof(float));
        mdq_chart_prepare(&plain);
    }
    mdq_chart_free(c);
    *c = plain;
    return err;
}

/* Noise as held-out rows have it: their squared distance from the foot per direction off the chart. */
static enum mdq_err held_out_noise(struct work *w, struct vae_block *b)
{
    for (int c = 0; c < b->k; c++) {
        double mse, mass = 0;
        for (int64_t r = 0; r < w->part_held[c].n; r++)
            mass += w->part_held[c].weight[r];
        if (mass < 16)
            continue;
        MDQ_TRY(squared_error(&b->chart[c], &w->part_held[c], w->o->foot_steps, &mse));
        if (mse > 0)
            b->chart[c].noise = mse * (double)b->D / (double)(b->D - b->chart[c].dim);
    }
    return MDQ_OK;
}

/* Chart, foot and normal of every row. */
static enum mdq_err place_rows(struct vae_block *b, const float *x, const struct vae_options *o, const double *resp)
{
    const int64_t n = b->n, D = b->D;
    for (int c = 0; c < b->k; c++)
        b->most = b->chart[c].dim > b->most ? b->chart[c].dim : b->most;
    b->chart_of = mdq_calloc((size_t)n, 1, "charts of rows");
    b->resp = mdq_alloc((size_t)(n * b->k), sizeof *b->resp, "responsibilities");
    b->foot = mdq_calloc((size_t)(n * b->most), sizeof *b->foot, "feet");
    b->normal = mdq_calloc((size_t)n, sizeof *b->normal, "normals");
    int64_t *of = mdq_alloc((size_t)n, sizeof *of, "rows of a chart");
    float *rows = mdq_alloc_aligned((size_t)(n * D), sizeof *rows, "rows of a chart");
    double *z = mdq_calloc((size_t)(n * b->most), sizeof *z, "feet"), *res = mdq_alloc((size_t)n, sizeof *res, "residuals");
    double *nor = mdq_alloc((size_t)n, sizeof *nor, "normals");
    enum mdq_err err = b->chart_of && b->resp && b->foot && b->normal && of && rows && z && res && nor ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t r = 0; r < n && err == MDQ_OK; r++)
        for (int c = 0; c < b->k; c++) {
            b->resp[r * b->k + c] = (float)resp[r * b->k + c];
            if (resp[r * b->k + c] > resp[r * b->k + b->chart_of[r]])
                b->chart_of[r] = (uint8_t)c;
        }
    for (int c = 0; c < b->k && err == MDQ_OK; c++) {
        const struct mdq_chart *chart = &b->chart[c];
        int64_t count = 0;
        for (int64_t r = 0; r < n; r++)
            if (b->chart_of[r] == c) {
                memcpy(rows + count * D, x + r * D, (size_t)D * sizeof *x);
                of[count++] = r;
            }
        b->report[c].rows = count;
        if (chart->hidden > 0)
            mdq_chart_encode(chart, count, rows, D, z);
        err = mdq_chart_foot(chart, count, rows, D, o->foot_steps, z, res, nor);
        for (int64_t i = 0; i < count && err == MDQ_OK; i++) {
            int floored;
            mdq_chart_normal_floor(chart, nor[i], &floored);
            b->floored += floored;
            b->normal[of[i]] = (float)nor[i];
            for (int64_t j = 0; j < chart->dim; j++)
                b->foot[of[i] * b->most + j] = z[i * chart->dim + j];
        }
    }
    free(of);
    free(rows);
    free(z);
    free(res);
    free(nor);
    return err;
}

static enum mdq_err start_charts(struct work *w, struct vae_block *b, const struct vae_mixture *m)
{
    const struct vae_options *o = w->o;
    b->k = m->k;
    for (int c = 0; c < m->k; c++) {
        float *mean = mdq_alloc((size_t)b->D, sizeof *mean, "mean");
        struct vae_part part = {0};
        if (!mean)
            return MDQ_E_INTERNAL;
        for (int64_t i = 0; i < b->D; i++)
            mean[i] = (float)m->c[c].mean[i];
        enum mdq_err err = vae_part_new(&part, &w->train, w->resp_train + c, m->k, mean);
        /* fewer rows than features: nothing non-linear can be learned from them */
        int hidden = o->train.epochs > 0 && part.n >= 4 * (m->c[c].d + o->train.hidden) ? o->train.hidden : 0;
        if (err == MDQ_OK)
            err = vae_chart_start(&b->chart[c], &m->c[c], b->D, m->cap, hidden, &part, o->seed, o->train.name, o->train.block * 1000 + c);
        vae_part_free(&part);
        free(mean);
        MDQ_TRY(err);
        b->report[c].dim95 = m->c[c].dim95;
        b->report[c].dim_parallel = m->c[c].dim_parallel;
    }
    return MDQ_OK;
}

/* Selection, linear start and training for a number of components, 0: chosen. */
static enum mdq_err fit_once(struct work *w, struct vae_block *b, int charts, int64_t cap)
{
    struct vae_select_options select = w->o->select;
    struct vae_mixture m = {0};
    enum mdq_err err;
    double loglik;
    select.charts = charts;
    select.dims.cap = cap;
    MDQ_GOTO(err, vae_mixture_new(&m, b->D, cap), done);
    MDQ_GOTO(err, vae_select(&m, &w->train, &w->held, &select, w->resp_train, &b->selection), done);
    if (w->held.n > 0)
        MDQ_GOTO(err, vae_mixture_expect(&m, &w->held, w->resp_held, NULL, &loglik), done);
    MDQ_GOTO(err, start_charts(w, b, &m), done);
    MDQ_GOTO(err, expect(w, b, false, &b->elbo[0]), done);
    MDQ_GOTO(err, train(w, b), done);
    for (int c = 0; c < b->k; c++)
        if (b->chart[c].hidden > 0 && !b->report[c].nonlinear)
            MDQ_GOTO(err, make_linear(&b->chart[c]), done);
done:
    vae_mixture_free(&m);
    return err;
}

/*
 * Many flat pieces may stand for few curved ones: half as many components are trained too, and half of these, until
 * one loses more than a fifth of what components gained on held-out rows at all; the best on these is kept.
 */
static enum mdq_err try_fewer(struct work *w, struct vae_block *b, int64_t cap)
{
    int k = 1;
    const double plain = b->selection.tried[0].heldout;
    while (2 * k < b->k)
        k *= 2;
    for (bool near = true; near && b->k > 1 && k >= 1; k /= 2) {
        struct vae_block fewer = {.n = b->n, .D = b->D, .held = b->held};
        enum mdq_err err = fit_once(w, &fewer, k, cap);
        const double bound = fewer.elbo[fewer.sweeps], best = b->elbo[b->sweeps];
        bool better = err == MDQ_OK && bound > best;
        near = best - bound < 0.2 * (best - plain);
        if (better) {
            struct vae_selection chosen = b->selection; /* how the linear ones compared stays on record */
            vae_block_free(b);
            *b = fewer;
            b->selection = chosen;
            b->fewer++;
        } else {
            vae_block_free(&fewer);
        }
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

enum mdq_err vae_block_fit(struct vae_block *b, int64_t n, int64_t D, const float *x, const struct vae_options *options,
                           const char *tensor, int64_t block)
{
    struct vae_options o = *options;
    struct work w = {.o = &o};
    float *rows = mdq_alloc_aligned((size_t)(n * D), sizeof *rows, "rows of a column block");
    double *resp = mdq_alloc_aligned((size_t)(n * VAE_MAX_CHARTS), sizeof *resp, "responsibilities"), bound;
    enum mdq_err err = MDQ_E_INTERNAL;
    *b = (struct vae_block){.n = n, .D = D};
    o.select.dims.seed = o.train.seed = o.seed;
    o.select.dims.name = o.train.name = tensor;
    o.select.dims.block = block * VAE_MAX_CHARTS;
    o.train.block = block;
    w.resp_train = mdq_alloc_aligned((size_t)(n * VAE_MAX_CHARTS), sizeof(double), "responsibilities");
    w.resp_held = mdq_alloc_aligned((size_t)(n * VAE_MAX_CHARTS), sizeof(double), "responsibilities");
    w.values = mdq_alloc((size_t)n, sizeof(double), "bounds");
    if (!rows || !resp || !w.resp_train || !w.resp_held || !w.values)
        goto done;
    MDQ_GOTO(err, split_rows(n, D, x, &o, tensor, block, rows, &b->held), done);
    w.train = (struct vae_rows){n - b->held, D, rows};
    w.held = (struct vae_rows){b->held, D, rows + (n - b->held) * D};
    int64_t cap = o.select.dims.fixed >= 0 ? o.select.dims.fixed : o.select.dims.cap;
    cap = cap < D - 1 ? cap : D - 1;
    MDQ_GOTO(err, fit_once(&w, b, o.select.charts, cap), done);
    if (o.select.charts == 0 && o.train.epochs > 0 && b->held > 0)
        MDQ_GOTO(err, try_fewer(&w, b, cap), done);
    MDQ_GOTO(err, expect(&w, b, false, &bound), done);
    MDQ_GOTO(err, parts_of(&w, b), done);
    MDQ_GOTO(err, held_out_noise(&w, b), done);
    MDQ_GOTO(err, vae_mixture_elbo(b->chart, b->k, n, x, resp, w.values), done);
    err = place_rows(b, x, &o, resp);
done:
    for (int c = 0; c < VAE_MAX_CHARTS; c++) {
        vae_part_free(&w.part[c]);
        vae_part_free(&w.part_held[c]);
        mdq_chart_free(&w.before[c]);
    }
    free(rows);
    free(resp);
    free(w.resp_train);
    free(w.resp_held);
    free(w.values);
    return err;
}

void vae_block_free(struct vae_block *b)
{
    for (int c = 0; c < VAE_MAX_CHARTS; c++)
        mdq_chart_free(&b->chart[c]);
    free(b->chart_of);
    free(b->resp);
    free(b->foot);
    free(b->normal);
    *b = (struct vae_block){0};
}
