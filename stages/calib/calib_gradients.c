#include "calib_gradients.h"

#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"
#include "mdq_tiling.h"

enum {
    PART_TOKENS = 8192,       /* at most */
    KEPT_FLOATS = 1 << 28,    /* of activations that a part may keep for the backward pass */
    COLUMNS = 64,             /* outputs that one thread sums over a window's tokens */
};

int64_t gradients_part_tokens(const struct mdq_config *c)
{
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    int64_t floats = 7 * (int64_t)c->hidden + 4 * (int64_t)c->intermediate + 4 * q + 3 * kv, tokens = KEPT_FLOATS / floats;
    return tokens < 1 ? 1 : tokens > PART_TOKENS ? PART_TOKENS : tokens;
}

static int64_t shape(const struct gradients *g, int l, int64_t *out, int64_t *in)
{
    mdq_linear_shape(g->config, (enum mdq_linear)l, out, in);
    return mdq_tiling_parts(*in, MDQ_TILE);
}

enum mdq_err gradients_new(struct gradients *g, const struct mdq_config *c, const struct mdq_rotary *r,
                           const struct gradient_texts *t)
{
    *g = (struct gradients){.config = c, .rotary = r, .texts = t};
    int64_t floats = 0;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in, blocks = shape(g, l, &out, &in);
        g->weight.linear[l] = mdq_calloc((size_t)(out * in), sizeof(float), "gradients");
        g->total[l] = mdq_alloc_aligned((size_t)(out * in), sizeof(double), "sums of gradients");
        g->dot[l] = mdq_alloc((size_t)(out * blocks), sizeof(double), "sums of gradients");
        g->output[l] = mdq_alloc((size_t)out, sizeof(double), "sums of gradients");
        if (!g->weight.linear[l] || !g->total[l] || !g->dot[l] || !g->output[l])
            return MDQ_E_INTERNAL;
        floats += g->result_floats[l] = out * (2 * in + blocks + 1);
    }
    g->x = mdq_alloc_aligned((size_t)t->most_tokens * (size_t)c->hidden, sizeof *g->x, "activations");
    g->ws = mdq_workspace_new(c);
    if (!g->x || !g->ws)
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_scratch_map(&g->results, (size_t)floats * (size_t)c->layers, sizeof(float), "gradients"));
    return mdq_scratch_map(&g->activations, (size_t)t->tokens * (size_t)c->hidden * ((size_t)c->layers + 1), sizeof(float),
                           "activations");
}

void gradients_finish(struct gradients *g)
{
    mdq_scratch_unmap(&g->activations);
    mdq_workspace_free(&g->ws);
    mdq_block_free(&g->weight);
    free(g->x);
    g->x = NULL;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        free(g->total[l]);
        free(g->dot[l]);
        free(g->output[l]);
        g->total[l] = g->dot[l] = g->output[l] = NULL;
    }
}

void gradients_free(struct gradients *g)
{
    gradients_finish(g);
    mdq_scratch_unmap(&g->results);
}

/* What enters block i, from token t on; i = layers: what enters the head, later dL/d(output of the block in work). */
static float *boundary(const struct gradients *g, int i, int64_t t)
{
    return (float *)g->activations.p + ((int64_t)i * g->texts->tokens + t) * g->config->hidden;
}

float *gradients_input(struct gradients *g)
{
    return boundary(g, 0, 0);
}

static size_t part_bytes(const struct gradients *g, const struct gradient_part *p)
{
    return (size_t)p->rows * (size_t)p->ctx * (size_t)g->config->hidden * sizeof(float);
}

enum mdq_err gradients_forward(struct gradients *g, int i, const struct mdq_block *b)
{
    for (int64_t k = 0; k < g->texts->n; k++) {
        const struct gradient_part *p = &g->texts->part[k];
        float *x = boundary(g, i + 1, p->first);
        memcpy(x, boundary(g, i, p->first), part_bytes(g, p));
        MDQ_TRY(mdq_block_forward(g->config, b, i, g->rotary, x, p->rows, p->ctx, g->ws, false, NULL, NULL));
        mdq_progress_add((double)p->rows * p->ctx);
    }
    return MDQ_OK;
}

enum mdq_err gradients_head(struct gradients *g, const struct mdq_outer *o)
{
    struct mdq_outer none = {.tied = o->tied};
    double loss;
    for (int64_t k = 0; k < g->texts->n; k++) {
        const struct gradient_part *p = &g->texts->part[k];
        const int64_t t = p->first;
        float *x = boundary(g, g->config->layers, t);
        MDQ_TRY(mdq_head_backward_weighted(g->config, o, x, (int64_t)p->rows * p->ctx, g->texts->targets + t,
                                           g->texts->weights + t, g->x, &none, &loss));
        memcpy(x, g->x, part_bytes(g, p));
    }
    return MDQ_OK;
}

static void reset(struct gradients *g)
{
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in, blocks = shape(g, l, &out, &in);
        memset(g->total[l], 0, (size_t)(out * in) * sizeof(double));
        memset(g->dot[l], 0, (size_t)(out * blocks) * sizeof(double));
        memset(g->output[l], 0, (size_t)out * sizeof(double));
    }
}

static float *result(const struct gradients *g, int block, int l)
{
    int64_t at = 0, all = 0;
    for (int i = 0; i < MDQ_LINEARS; i++) {
        at += i < l ? g->result_floats[i] : 0;
        all += g->result_floats[i];
    }
    return (float *)g->results.p + block * all + at;
}

/* to = scale from */
static void put(int64_t n, double scale, const double *from, float *to)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)(scale * from[i]);
}

/* The forward pass of a part again, for the backward pass. */
static enum mdq_err keep(struct gradients *g, int i, const struct gradient_part *p)
{
    memcpy(g->x, boundary(g, i, p->first), part_bytes(g, p));
    return mdq_block_forward(g->config, g->block, i, g->rotary, g->x, p->rows, p->ctx, g->ws, true, NULL, NULL);
}

/* The gradients of a part go into the totals, and are zero again. */
static void take_part(struct gradients *g)
{
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        shape(g, l, &out, &in);
        float *w = g->weight.linear[l];
        double *total = g->total[l];
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < out * in; i++) {
            total[i] += (double)w[i];
            w[i] = 0;
        }
    }
}

static enum mdq_err contrast(struct gradients *g, int i)
{
    reset(g);
    for (int64_t k = 0; k < g->texts->n; k++) {
        const struct gradient_part *p = &g->texts->part[k];
        if (p->functional)
            continue;
        MDQ_TRY(keep(g, i, p));
        MDQ_TRY(mdq_block_backward(g->config, g->block, i, g->rotary, boundary(g, g->config->layers, p->first), p->rows, p->ctx,
                                   g->ws, &g->weight));
        take_part(g);
        mdq_progress_add(3.0 * p->rows * p->ctx);
    }
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        shape(g, l, &out, &in);
        put(out * in, 1, g->total[l], result(g, i, l));
    }
    return MDQ_OK;
}

/* Squares, and products with the weights, of one window's gradient d [in] of an output row; d is zero afterwards. */
static void take_row(int64_t in, int64_t blocks, const float *w, float *d, double *squares, double *dot)
{
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t first = mdq_tiling_first(in, blocks, b), end = first + mdq_tiling_length(in, blocks, b);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = first; j < end; j++) {
            const double v = (double)d[j];
            squares[j] += v * v;
            sum += v * (double)w[j];
            d[j] = 0;
        }
        dot[b] += sum;
    }
}

/* The squares of n outputs' gradients, summed over the tokens in order. */
static void take_outputs(int64_t tokens, int64_t n, const float *dy, int64_t stride, double *sum)
{
    for (int64_t t = 0; t < tokens; t++, dy += stride) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            sum[j] += (double)dy[j] * (double)dy[j];
    }
}

/* Threads meet once at the end: a small model's window is little work. */
static enum mdq_err take_window(void *arg, int window, const struct mdq_output_gradient dy[MDQ_LINEARS])
{
    struct gradients *g = arg;
    (void)window;
#pragma omp parallel
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in, blocks = shape(g, l, &out, &in);
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < out; i++)
            take_row(in, blocks, g->block->linear[l] + i * in, g->weight.linear[l] + i * in, g->total[l] + i * in,
                     g->dot[l] + i * blocks);
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < out; i += COLUMNS)
            take_outputs(g->texts->ctx, out - i < COLUMNS ? out - i : COLUMNS, dy[l].dy + i, dy[l].stride, g->output[l] + i);
    }
    return MDQ_OK;
}

static enum mdq_err functional(struct gradients *g, int i)
{
    reset(g);
    for (int64_t k = 0; k < g->texts->n; k++) {
        const struct gradient_part *p = &g->texts->part[k];
        if (!p->functional)
            continue;
        MDQ_TRY(keep(g, i, p));
        MDQ_TRY(mdq_block_backward_windows(g->config, g->block, i, g->rotary, boundary(g, g->config->layers, p->first), p->rows,
                                           p->ctx, g->ws, &g->weight, take_window, g));
        mdq_progress_add(3.0 * p->rows * p->ctx);
    }
    /* the gradients so far are those of sums over a window's predictions */
    const double windows = (double)g->texts->windows, predictions = g->texts->ctx - 1;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in, blocks = shape(g, l, &out, &in);
        float *to = result(g, i, l);
        put(out * in, 1 / (windows * predictions * predictions), g->total[l], to + out * in);
        put(out * blocks, 1 / (windows * predictions), g->dot[l], to + 2 * out * in);
        put(out, 1 / (windows * g->texts->ctx), g->output[l], to + 2 * out * in + out * blocks);
    }
    return MDQ_OK;
}

enum mdq_err gradients_backward(struct gradients *g, int i, const struct mdq_block *b)
{
    g->block = b;
    MDQ_TRY(contrast(g, i));
    return functional(g, i);
}

struct gradient_result gradients_of(const struct gradients *g, int block, enum mdq_linear l)
{
    int64_t out, in, blocks = shape(g, (int)l, &out, &in);
    const float *p = result(g, block, (int)l);
    return (struct gradient_result){out, in, blocks, p, p + out * in, p + 2 * out * in, p + 2 * out * in + out * blocks};
}
