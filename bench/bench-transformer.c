/*
 * How near the transformer comes to the machine's own sgemm: rates of one thread's sgemm (2048^3) times the threads,
 * against the useful floating-point operations (products with weights, causal half of attention; recomputation and
 * everything elementwise counts as nothing) of
 *   demo      hidden 256, intermediate 640, 4 blocks, 4/2 heads of 64, vocabulary 1024, windows of 256: forward with
 *             head, and forward + backward
 *   4096      one block of a 4096-wide model (32/8 heads of 128, intermediate 14336), forward
 * Best of several runs each. Usage: bench-transformer [-j N] [--repeat N]
 */
#include <argp.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cblas.h>

#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_transformer.h"

struct opts {
    struct mdq_cli cli;
    int repeat;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill(float *x, int64_t n, float scale)
{
    uint64_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x[i] = scale * (float)((int32_t)(s >> 32)) / 2147483648.0f;
    }
}

/* Operations per second of one thread. */
static double sgemm_rate(int repeat)
{
    enum { N = 2048 };
    float *a = mdq_calloc(3 * N * N, sizeof *a, "matrices"), *b = a + N * N, *c = b + N * N;
    double best = 1e9;
    if (!a)
        return 0;
    fill(a, 2 * N * N, 1);
    for (int i = 0; i < repeat; i++) {
        double t = now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1, a, N, b, N, 0, c, N);
        t = now() - t;
        best = t < best ? t : best;
    }
    free(a);
    return 2.0 * N * N * N / best;
}

struct bench {
    struct mdq_config c;
    struct mdq_block *blocks, *grads;
    struct mdq_outer outer, outer_grads;
    struct mdq_workspace **ws;
    struct mdq_rotary rotary;
    float *x, *dx;
    int32_t *ids;
    int windows, ctx;
};

static enum mdq_err fill_block(const struct mdq_config *c, struct mdq_block *b)
{
    MDQ_TRY(mdq_block_alloc(c, b));
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        fill(b->linear[l], out * in, 0.02f);
    }
    for (int j = 0; j < c->hidden; j++)
        b->attn_norm[j] = b->mlp_norm[j] = 1;
    return MDQ_OK;
}

static enum mdq_err outer_alloc(const struct mdq_config *c, struct mdq_outer *o)
{
    o->tied = true;
    o->head = o->embedding = mdq_calloc((size_t)c->vocab * (size_t)c->hidden, sizeof(float), "embedding");
    o->norm = mdq_calloc((size_t)c->hidden, sizeof(float), "norm");
    if (!o->embedding || !o->norm)
        return MDQ_E_INTERNAL;
    fill(o->embedding, (int64_t)c->vocab * c->hidden, 0.02f);
    for (int j = 0; j < c->hidden; j++)
        o->norm[j] = 1;
    return MDQ_OK;
}

static void bench_free(struct bench *b)
{
    for (int i = 0; i < b->c.layers; i++) {
        if (b->blocks)
            mdq_block_free(&b->blocks[i]);
        if (b->grads)
            mdq_block_free(&b->grads[i]);
        if (b->ws)
            mdq_workspace_free(&b->ws[i]);
    }
    free(b->blocks), free(b->grads), free(b->ws), free(b->x), free(b->dx), free(b->ids);
    mdq_outer_free(&b->outer);
    mdq_outer_free(&b->outer_grads);
    mdq_rotary_free(&b->rotary);
}

static enum mdq_err bench_new(struct bench *b, struct mdq_config c, int windows, int ctx, bool backward)
{
    size_t n = (size_t)windows * (size_t)ctx;
    *b = (struct bench){.c = c, .windows = windows, .ctx = ctx};
    b->blocks = mdq_calloc((size_t)c.layers, sizeof *b->blocks, "blocks");
    b->grads = mdq_calloc((size_t)c.layers, sizeof *b->grads, "blocks");
    b->ws = mdq_calloc((size_t)c.layers, sizeof *b->ws, "workspaces");
    b->x = mdq_calloc(n * (size_t)c.hidden, sizeof *b->x, "activations");
    b->dx = mdq_calloc(n * (size_t)c.hidden, sizeof *b->dx, "activations");
    b->ids = mdq_calloc(n, sizeof *b->ids, "tokens");
    if (!b->blocks || !b->grads || !b->ws || !b->x || !b->dx || !b->ids)
        return MDQ_E_INTERNAL;
    for (size_t i = 0; i < n; i++)
        b->ids[i] = (int32_t)(i * 7919 % (size_t)c.vocab);
    for (int i = 0; i < c.layers; i++) {
        if (!(b->ws[i] = mdq_workspace_new(&c)))
            return MDQ_E_INTERNAL;
        MDQ_TRY(fill_block(&c, &b->blocks[i]));
        if (backward)
            MDQ_TRY(mdq_block_alloc(&c, &b->grads[i]));
    }
    MDQ_TRY(mdq_rotary_init(&b->rotary, &c, ctx));
    MDQ_TRY(outer_alloc(&c, &b->outer));
    return outer_alloc(&c, &b->outer_grads);
}

static double block_flops(const struct bench *b)
{
    double weights = 0, tokens = (double)b->windows * b->ctx;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(&b->c, (enum mdq_linear)l, &out, &in);
        weights += (double)(out * in);
    }
    return 2 * tokens * weights + 2 * tokens * b->c.heads * b->c.head_dim * (b->ctx + 1.0);
}

static enum mdq_err forward(struct bench *b, bool keep)
{
    for (int i = 0; i < b->c.layers; i++)
        MDQ_TRY(mdq_block_forward(&b->c, &b->blocks[i], i, &b->rotary, b->x, b->windows, b->ctx,
                                  b->ws[keep ? i : 0], keep, NULL, NULL));
    return MDQ_OK;
}

static enum mdq_err step(struct bench *b, bool backward)
{
    int64_t tokens = (int64_t)b->windows * b->ctx;
    double loss, *nll;
    MDQ_TRY(mdq_embed(&b->c, &b->outer, b->ids, tokens, b->x));
    MDQ_TRY(forward(b, backward));
    if (!backward) {
        if (!(nll = mdq_alloc((size_t)tokens, sizeof *nll, "losses")))
            return MDQ_E_INTERNAL;
        enum mdq_err err = mdq_head_forward(&b->c, &b->outer, b->x, tokens, b->ids, nll, NULL, NULL);
        free(nll);
        return err;
    }
    MDQ_TRY(mdq_head_backward(&b->c, &b->outer, b->x, tokens, b->ids, 1, b->dx, &b->outer_grads, &loss));
    for (int i = b->c.layers - 1; i >= 0; i--)
        MDQ_TRY(mdq_block_backward(&b->c, &b->blocks[i], i, &b->rotary, b->dx, b->windows, b->ctx, b->ws[i], &b->grads[i]));
    mdq_embed_backward(&b->c, b->ids, tokens, b->dx, &b->outer_grads);
    return MDQ_OK;
}

enum what { STEP_FORWARD, STEP_BOTH, BLOCK_FORWARD };

static enum mdq_err measure(const char *name, struct bench *b, enum what what, int repeat, double peak)
{
    double best = 1e9, flops = b->c.layers * block_flops(b), tokens = (double)b->windows * b->ctx;
    if (what != BLOCK_FORWARD)
        flops += 2 * tokens * b->c.vocab * b->c.hidden;
    if (what == STEP_BOTH)
        flops *= 3;
    for (int i = 0; i < repeat; i++) {
        double t = now();
        if (what == BLOCK_FORWARD)
            fill(b->x, (int64_t)tokens * b->c.hidden, 1), t = now();
        MDQ_TRY(what == BLOCK_FORWARD ? forward(b, false) : step(b, what == STEP_BOTH));
        t = now() - t;
        best = t < best ? t : best;
    }
    printf("%-28s %9.1f %10.0f %9.1f %7.2f\n", name, 1e3 * best, tokens / best, 1e-9 * flops / best, flops / best / peak);
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    struct mdq_config demo = {.hidden = 256, .intermediate = 640, .layers = 4, .heads = 4, .kv_heads = 2, .head_dim = 64,
                              .vocab = 1024, .max_position = 2048, .rms_eps = 1e-5, .tied = true,
                              .rope = {.theta = 10000, .factor = 1}};
    struct mdq_config wide = {.hidden = 4096, .intermediate = 14336, .layers = 1, .heads = 32, .kv_heads = 8, .head_dim = 128,
                              .vocab = 16, .max_position = 8192, .rms_eps = 1e-5, .tied = true,
                              .rope = {.theta = 500000, .factor = 1}};
    struct bench b;
    int threads = omp_get_max_threads();
    double one = sgemm_rate(o->repeat);
    printf("sgemm, one thread: %.1f GFLOP/s; %d threads: ratios are to %.1f GFLOP/s\n\n", 1e-9 * one, threads,
           1e-9 * one * threads);
    printf("%-28s %9s %10s %9s %7s\n", "", "ms", "tokens/s", "GFLOP/s", "ratio");
    enum mdq_err err;
    MDQ_GOTO(err, bench_new(&b, demo, 32, 256, true), out);
    MDQ_GOTO(err, measure("demo forward", &b, STEP_FORWARD, o->repeat, one * threads), out);
    MDQ_GOTO(err, measure("demo forward + backward", &b, STEP_BOTH, o->repeat, one * threads), out);
    bench_free(&b);
    MDQ_GOTO(err, bench_new(&b, wide, 2, 512, false), out);
    MDQ_GOTO(err, measure("4096 block, 2 x 512", &b, BLOCK_FORWARD, (o->repeat + 2) / 3, one * threads), out);
    bench_free(&b);
    MDQ_GOTO(err, bench_new(&b, wide, 1, 2048, false), out);
    err = measure("4096 block, 1 x 2048", &b, BLOCK_FORWARD, (o->repeat + 2) / 3, one * threads);
out:
    bench_free(&b);
    return err;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    if (key != 'r')
        return ARGP_ERR_UNKNOWN;
    o->repeat = (int)mdq_arg_int(state, "--repeat", arg, 1, 1000);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {{"repeat", 'r', "N", 0, "runs of each measurement (default 7)", 0}, {0}};
    static const struct mdq_program program = {.name = "bench-transformer",
                                               .doc = "Rates of the transformer against the machine's sgemm",
                                               .options = options,
                                               .parse = parse,
                                               .start = mdq_blas_start};
    struct opts o = {.repeat = 7};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
