/*
 * What the geometry of one layer costs against its plain quantization: forward over 128 x 2048 tokens (measured on 8192
 * and multiplied), the Hessian of them (likewise), GPTQ. On Gaussian weights, where mixtures find nothing, and on weights of
 * rank 16 with noise, where every column block has a plane. Then manifold distortion of the layer, tangents given, against
 * GPTQ, and how mdq-vae's cost grows.
 *
 *   bench-geometry [-j N] [SIZE]     default 4096
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "gptq_core.h"
#include "gptq_distortion.h"
#include "lle_tile.h"
#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_linalg.h"
#include "mdq_log.h"
#include "mdq_random.h"
#include "mdq_tiling.h"
#include "vae_block.h"

enum { T = MDQ_TILE, TOKENS = 8192, TIMES = 128 * 2048 / TOKENS };

struct opts {
    struct mdq_cli cli;
    int64_t size;
};

static float *random_floats(size_t n, uint64_t seed, double scale)
{
    float *v = mdq_alloc_aligned(n, sizeof *v, "random numbers");
    struct mdq_random r;
    mdq_random_seed(&r, seed, "bench", 0, 0);
    for (size_t i = 0; v && i < n; i++)
        v[i] = (float)(scale * mdq_random_normal(&r));
    return v;
}

/* Rank 16 and as much noise as half of its size. */
static void add_rank(float *w, int64_t n)
{
    enum { RANK = 16 };
    float *a = random_floats((size_t)(n * RANK), 3, 1), *b = random_floats((size_t)(n * RANK), 4, 0.02 * 2 / sqrt(RANK));
    if (a && b)
        mdq_gemm(0, 1, n, n, RANK, 1, a, RANK, b, RANK, 1, w, n);
    free(a);
    free(b);
}

static enum mdq_err time_lle(const float *w, int64_t n, const struct lle_options *o, double *seconds)
{
    const int64_t parts = mdq_tiling_parts(n, T);
    bool bad = false;
    double start = mdq_seconds();
#pragma omp parallel for schedule(dynamic, 1) reduction(|| : bad)
    for (int64_t t = 0; t < parts * parts; t++) {
        const int64_t r = mdq_tiling_first(n, parts, t % parts), c = mdq_tiling_first(n, parts, t / parts);
        const int64_t rows = mdq_tiling_length(n, parts, t % parts), cols = mdq_tiling_length(n, parts, t / parts);
        float *x = mdq_alloc_aligned((size_t)(rows * cols), sizeof *x, "tile");
        struct lle_tile out;
        struct mdq_random random;
        mdq_random_seed(&random, 0, "bench", (uint64_t)t, 0);
        for (int64_t i = 0; x && i < rows; i++)
            memcpy(x + i * cols, w + (r + i) * n + c, sizeof *x * (size_t)cols);
        if (!x || lle_tile_run(rows, cols, x, o, &random, &out) != MDQ_OK)
            bad = true;
        else
            lle_tile_free(&out);
        free(x);
    }
    *seconds = mdq_seconds() - start;
    return bad ? mdq_fail(MDQ_E_INTERNAL, "lle") : MDQ_OK;
}

static enum mdq_err time_vae(const float *w, int64_t n, double *seconds, double *charts, double *dims)
{
    const int64_t parts = mdq_tiling_parts(n, T);
    const struct vae_options o = {.select = {.max_charts = VAE_MAX_CHARTS, .restarts = 4, .iterations = 40,
                                             .dims = {.fixed = -1, .cap = MDQ_CHART_MAX_DIM, .variance = 0.95, .permutations = 3}},
                                  .train = {.hidden = 24, .epochs = 24}, .sweeps = 3, .target = 1e-3, .holdout = 0.125, .foot_steps = 10};
    bool bad = false;
    double k = 0, d = 0, start = mdq_seconds();
#pragma omp parallel for schedule(dynamic, 1) reduction(|| : bad) reduction(+ : k, d)
    for (int64_t j = 0; j < parts; j++) {
        const int64_t c = mdq_tiling_first(n, parts, j), cols = mdq_tiling_length(n, parts, j);
        float *x = mdq_alloc_aligned((size_t)(n * cols), sizeof *x, "column block");
        struct vae_block b;
        for (int64_t i = 0; x && i < n; i++)
            for (int64_t p = 0; p < cols; p++)
                x[i * cols + p] = w[i * n + c + p] / 0.02f;
        if (!x || vae_block_fit(&b, n, cols, x, &o, "bench", j) != MDQ_OK) {
            bad = true;
        } else {
            k += b.k;
            for (int i = 0; i < b.k; i++)
                d += (double)b.chart[i].dim;
            vae_block_free(&b);
        }
        free(x);
    }
    *seconds = mdq_seconds() - start;
    *charts = k / (double)parts;
    *dims = d / k;
    return bad ? mdq_fail(MDQ_E_INTERNAL, "vae") : MDQ_OK;
}

/* Distortion of what was rounded, with one chart of 13 dimensions a column block, flat or curved. */
static enum mdq_err time_md(const float *w, const struct quant_grid *grid, const uint8_t *codes, int64_t n, int64_t hidden,
                            double *seconds)
{
    const int64_t parts = mdq_tiling_parts(n, T), dim = 13;
    struct mdq_points g = {.basis = MDQ_BASIS_CHART, .rows = n, .cols = n, .blocks = parts, .tile_rows = parts, .points = n * parts,
                              .most_charts = 1, .most_dim = dim};
    struct mdq_random r;
    enum mdq_err err = MDQ_E_INTERNAL;
    mdq_random_seed(&r, 9, "charts", 0, 0);
    float *md = mdq_alloc((size_t)g.points, sizeof *md, "distortions");
    g.first = mdq_alloc((size_t)parts + 1, sizeof *g.first, "blocks");
    g.tile_first = mdq_alloc((size_t)parts + 1, sizeof *g.tile_first, "blocks");
    g.norm = mdq_alloc((size_t)g.points, sizeof *g.norm, "normals");
    g.chart = mdq_calloc((size_t)g.points, 1, "charts");
    g.foot = mdq_alloc((size_t)(g.points * dim), sizeof *g.foot, "feet");
    g.charts = mdq_calloc((size_t)parts, sizeof *g.charts, "charts");
    if (!md || !g.first || !g.tile_first || !g.norm || !g.chart || !g.foot || !g.charts)
        goto done;
    for (int64_t i = 0; i <= parts; i++)
        g.first[i] = g.tile_first[i] = mdq_tiling_first(n, parts, i);
    for (int64_t i = 0; i < g.points; i++)
        g.norm[i] = 0.3;
    for (int64_t i = 0; i < g.points * dim; i++)
        g.foot[i] = mdq_random_normal(&r);
    for (int64_t j = 0; j < parts; j++) {
        struct mdq_chart *c = &g.charts[j];
        MDQ_GOTO(err, mdq_chart_new(c, g.first[j + 1] - g.first[j], dim, hidden), done);
        for (int64_t i = 0; i < c->dim_in * dim; i++)
            c->basis[i] = (float)mdq_random_normal(&r);
        for (int64_t i = 0; i < c->dim_in * hidden; i++)
            c->dec_out[i] = (float)(0.3 * mdq_random_normal(&r));
        for (int64_t i = 0; i < hidden * dim; i++)
            c->dec_in[i] = (float)(0.5 * mdq_random_normal(&r));
        mdq_chart_prepare(c);
    }
    *seconds = INFINITY;
    for (int run = 0; run < 3; run++) {
        double start = mdq_seconds();
        MDQ_GOTO(err, gptq_distortion(&g, w, grid, codes, md), done);
        *seconds = fmin(*seconds, mdq_seconds() - start);
    }
done:
    mdq_points_free(&g);
    free(md);
    return err;
}

/* Rates of what mdq-vae consists of, on one column block and thread: n rows, 16 dimensions, 24 hidden units. */
static enum mdq_err vae_rates(int64_t n, double rate)
{
    enum { D = T, DIM = 16, H = 24, EPOCHS = 3 };
    struct vae_mixture m = {0};
    struct vae_rows rows = {n, D, random_floats((size_t)(n * D), 6, 1)};
    struct vae_part part = {0};
    struct mdq_chart c = {0};
    const struct vae_dims dims = {.fixed = DIM, .cap = DIM};
    const struct vae_train_options how = {.hidden = H, .epochs = EPOCHS, .name = "bench"};
    double *resp = mdq_alloc((size_t)n, sizeof *resp, "responsibilities"), loglik, gain, start, seconds;
    float mean[D];
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!rows.x || !resp)
        goto done;
    MDQ_GOTO(err, vae_mixture_new(&m, D, DIM), done);
    m.k = 1;
    for (int64_t i = 0; i < n; i++)
        resp[i] = 1;
    printf("\nparts of mdq-vae, one thread; share of sgemm's rate of one thread (%.1f Gflop/s)\n", rate / 1e9);
    start = mdq_seconds();
    MDQ_GOTO(err, vae_component_fit(&m, 0, &rows, resp, 1, &dims, 1e-9), done);
    seconds = mdq_seconds() - start;
    printf("  covariance and plane (double) %6.1f ms %5.2f\n", 1e3 * seconds, (double)n * D * D / seconds / rate);
    start = mdq_seconds();
    MDQ_GOTO(err, vae_mixture_expect(&m, &rows, resp, NULL, &loglik), done);
    seconds = mdq_seconds() - start;
    printf("  expectation (double)          %6.1f ms %5.2f\n", 1e3 * seconds, 2.0 * (double)n * D * DIM / seconds / rate);
    for (int i = 0; i < D; i++)
        mean[i] = (float)m.c[0].mean[i];
    MDQ_GOTO(err, vae_part_new(&part, &rows, resp, 1, mean), done);
    MDQ_GOTO(err, vae_chart_start(&c, &m.c[0], D, DIM, H, &part, 0, "bench", 0), done);
    start = mdq_seconds();
    MDQ_GOTO(err, vae_sweep(&c, &part, &part, &how, 0, &gain), done);
    seconds = mdq_seconds() - start;
    /* a gradient: six products of [rows, D] with [D, d + h]; the output layer, solved four times: as much again for two samples each */
    printf("  training, 3 epochs            %6.1f ms %5.2f\n", 1e3 * seconds,
           (EPOCHS * 12.0 + 4 * 6.0) * (double)n * D * (DIM + H) / seconds / rate);
done:
    vae_part_free(&part);
    mdq_chart_free(&c);
    vae_mixture_free(&m);
    free((float *)rows.x);
    free(resp);
    return err;
}

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    const int64_t n = o->size;
    const int threads = o->cli.jobs;
    float *w = random_floats((size_t)(n * n), 1, 0.02), *x = random_floats((size_t)(TOKENS * n), 2, 1);
    float *y = mdq_alloc_aligned((size_t)(TOKENS * n), sizeof *y, "outputs"), *h = mdq_calloc((size_t)(n * n), sizeof *h, "Hessian");
    uint8_t *codes = mdq_alloc((size_t)(n * n), 1, "codes");
    struct quant_grid grid = {0};
    struct gptq_factor f = {0};
    struct quant_outcome out;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!w || !x || !y || !h || !codes)
        goto done;
    omp_set_num_threads(threads);
    double start = mdq_seconds();
    mdq_gemm(0, 1, TOKENS, n, n, 1, x, n, w, n, 0, y, n);
    double gemm = mdq_seconds() - start, rate = 2.0 * TOKENS * (double)n * (double)n / gemm;
    start = mdq_seconds();
    mdq_syrk_add(TOKENS, n, x, n, h, n);
    double syrk = mdq_seconds() - start;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++)
            h[i * n + j] = h[j * n + i];
    start = mdq_seconds();
    MDQ_GOTO(err, quant_grid_fit(&grid, w, n, n, &(struct quant_spec){4, 128, true, MDQ_F16}), done);
    MDQ_GOTO(err, gptq_factor_make(&f, n, h, &(struct gptq_options){.order = GPTQ_ORDER_ACT, .damp = 0.01}), done);
    MDQ_GOTO(err, gptq_quantize(w, &grid, &f, codes, &out), done);
    double gptq = mdq_seconds() - start, plain = TIMES * (gemm + syrk) + gptq, hess = TIMES * syrk + gptq;
    printf("%lld x %lld, %d threads; sgemm %.1f Gflop/s\n", (long long)n, (long long)n, threads, rate / 1e9);
    printf("plain quantization: forward %.2f s, Hessian %.2f s (128 x 2048 tokens: %d times what was measured), GPTQ %.2f s\n",
           TIMES * gemm, TIMES * syrk, TIMES, gptq);
    const struct lle_options bare = {.k = 15, .reg = 1e-3, .variance = 0.95}, full = {15, 1e-3, 0.95, 2, 3, 3};
    printf("%-12s %8s %8s %8s %8s %8s %20s %22s\n", "weights", "lle bare", "lle all", "vae", "charts", "dims", "bare + vae of plain",
           "of Hessian and GPTQ");
    for (int kind = 0; kind < 2; kind++) {
        double a, b, v, charts, dims;
        if (kind == 1)
            add_rank(w, n);
        MDQ_GOTO(err, time_lle(w, n, &bare, &a), done);
        MDQ_GOTO(err, time_lle(w, n, &full, &b), done);
        MDQ_GOTO(err, time_vae(w, n, &v, &charts, &dims), done);
        printf("%-12s %7.2fs %7.2fs %7.2fs %8.1f %8.1f %10.1f %% (12) %20.1f %%\n", kind ? "rank 16" : "Gaussian", a, b, v, charts, dims,
               100 * (a + v) / plain, 100 * (a + v) / hess);
        printf("%-12s with everything mdq-lle does by default: %.1f %% of plain\n", "", 100 * (b + v) / plain);
        fflush(stdout);
    }
    for (int curved = 0; curved < 2; curved++) {
        double md;
        MDQ_GOTO(err, time_md(w, &grid, codes, n, curved ? 24 : 0, &md), done);
        printf("distortion of the layer, %s charts of 13 dimensions: %.4f s, %.1f %% of GPTQ (goal 2), %.2f of sgemm's rate\n",
               curved ? "curved" : "flat", md, 100 * md / gptq, 26.0 * (double)n * (double)n / md / rate);
    }
    MDQ_GOTO(err, vae_rates(n, rate / threads), done);
    printf("\nmdq-vae by size, Gaussian (ratio: time for each weight, against the smallest)\n");
    double first = 0;
    for (int64_t size = 1024; size <= 2 * n; size *= 2) {
        double v, charts, dims;
        free(y);
        y = random_floats((size_t)(size * size), 5, 0.02);
        if (!y)
            goto done;
        MDQ_GOTO(err, time_vae(y, size, &v, &charts, &dims), done);
        double each = v / ((double)size * (double)size);
        first = first > 0 ? first : each;
        printf("%6lld %8.2f s %8.2f\n", (long long)size, v, each / first);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("peak memory of this benchmark: %.0f MiB\n", (double)usage.ru_maxrss / 1024);
done:
    quant_grid_free(&grid);
    gptq_factor_free(&f);
    free(w);
    free(x);
    free(y);
    free(h);
    free(codes);
    return err;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    o->size = mdq_arg_int(state, "SIZE", arg, 256, 8192);
    return 0;
}

static const struct mdq_program program = {.name = "bench-geometry", .args = "[SIZE]", .doc = "Cost of a layer's geometry.",
                                           .parse = parse, .start = mdq_blas_start};

int main(int argc, char **argv)
{
    struct opts o = {.size = 4096};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
