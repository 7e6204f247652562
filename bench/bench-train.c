/*
 * Training against the machine's own sgemm: a step of the example's model (gradients and AdamW) beside a product of
 * two matrices, with the same number of threads, in one run. bench-train [-j N] [MODEL]
 */
#include <stdio.h>
#include <stdlib.h>

#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_linalg.h"
#include "mdq_log.h"
#include "train_optim.h"
#include "train_params.h"
#include "train_step.h"

enum { BATCH = 16, CTX = 256, STEPS = 6, SIZE = 1536, PRODUCTS = 6 };

struct opts {
    struct mdq_cli cli;
    const char *dir;
};

static double sgemm_rate(float *a)
{
    const int64_t n = SIZE;
    double best = 1e30;
    for (int i = 0; i < PRODUCTS; i++) {
        double start = mdq_seconds();
        mdq_gemm(0, 1, n, n, n, 1, a, n, a + n * n, n, 0, a + 2 * n * n, n);
        double took = mdq_seconds() - start;
        best = took < best ? took : best;
    }
    return 2.0 * SIZE * SIZE * SIZE / best;
}

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    struct mdq_config c = {0};
    struct train_params p = {0};
    struct train_machine t = {0};
    const struct train_adamw adamw = {0.9, 0.95, 1e-8, 0.1};
    float *a = mdq_calloc((size_t)3 * SIZE * SIZE, sizeof *a, "matrices");
    int32_t *ids = mdq_alloc(BATCH * CTX + 1, sizeof *ids, "tokens");
    int64_t starts[BATCH];
    enum mdq_err err = a && ids ? mdq_config_read(&c, o->dir) : MDQ_E_INTERNAL;
    if (err != MDQ_OK)
        goto out;
    MDQ_GOTO(err, train_params_new(&p, &c), out);
    train_params_init(&p, 1, 0.02);
    MDQ_GOTO(err, train_machine_new(&t, &c, BATCH, CTX), out);
    for (int i = 0; i <= BATCH * CTX; i++)
        ids[i] = (int32_t)(train_random(1, 1, (uint64_t)i) % (uint64_t)c.vocab);
    for (int b = 0; b < BATCH; b++)
        starts[b] = (int64_t)b * CTX;
    double best = 1e30, optimiser = 0, loss;
    for (int i = 0; i < STEPS; i++) {
        double start = mdq_seconds();
        MDQ_GOTO(err, train_gradients(&t, &p, ids, starts, &loss), out);
        double middle = mdq_seconds(), scale = train_clip_scale(train_params_grad_norm(&p), 1);
        for (int k = 0; k < p.count; k++)
            train_adamw_step(&adamw, i + 1, 1e-3, 0.1, scale, p.tensors[k].n, p.tensors[k].g, p.tensors[k].w,
                             p.tensors[k].m, p.tensors[k].v);
        double end = mdq_seconds();
        if (end - start < best) {
            best = end - start;
            optimiser = end - middle;
        }
    }
    /* 2 per weight and token forward, twice that backward; causal attention: half of 4 ctx heads head_dim a layer */
    double flops = 3.0 * BATCH * CTX * (2.0 * (double)p.total + 2.0 * CTX * c.heads * c.head_dim * c.layers);
    double sgemm = sgemm_rate(a), rate = flops / best;
    printf("threads  tokens/s  GFLOP/s  sgemm GFLOP/s  ratio  optimiser\n");
    printf("%7d  %8.0f  %7.0f  %13.0f  %5.2f  %8.1f%%\n", o->cli.jobs, BATCH * CTX / best, rate * 1e-9, sgemm * 1e-9,
           rate / sgemm, 100 * optimiser / best);
out:
    train_machine_free(&t);
    train_params_free(&p);
    mdq_config_free(&c);
    free(a);
    free(ids);
    return err;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case ARGP_KEY_ARG: o->dir = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct mdq_program program = {.name = "bench-train", .args = "[MODEL]", .doc = "Training against sgemm.",
                                           .parse = parse, .start = mdq_blas_start};

int main(int argc, char **argv)
{
    struct opts o = {.dir = "examples/stories/model"};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
