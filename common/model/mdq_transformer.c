/* The forward pass of one block, and the embedding. The head is in mdq_head.c, attention in mdq_attention.c. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_linalg.h"
#include "mdq_transformer_impl.h"

enum { BATCH_SMALL = 8192, BATCH_LARGE = 2048 }; /* tokens at a time when nothing is kept (at least one window) */

struct mdq_workspace *mdq_workspace_new(const struct mdq_config *c)
{
    struct mdq_workspace *ws = mdq_calloc(1, sizeof *ws, "transformer workspace");
    if (!ws)
        return NULL;
    ws->q_dim = c->heads * c->head_dim;
    ws->kv_dim = c->kv_heads * c->head_dim;
    ws->qkv_dim = ws->q_dim + 2 * ws->kv_dim;
    return ws;
}

void mdq_workspace_free(struct mdq_workspace **w)
{
    struct mdq_workspace *ws = *w;
    if (!ws)
        return;
    struct mdq_buffer *all[] = {&ws->x_in,  &ws->h1,  &ws->qkv,    &ws->raw, &ws->o,   &ws->x_mid, &ws->h2,
                                &ws->gu,    &ws->act, &ws->rstd1,  &ws->rstd2, &ws->lse, &ws->kt,   &ws->d_o,
                                &ws->d_h,   &ws->d_act, &ws->partial, &ws->panels, &ws->back_panels, &ws->thread};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->p);
    free(ws);
    *w = NULL;
}

/* One batch of windows on its way through the block. */
struct pass {
    const struct mdq_config *c;
    const struct mdq_block *b;
    const struct mdq_rotary *rotary;
    struct mdq_workspace *ws;
    struct mdq_rows rows;
    const float *panels[MDQ_LINEARS]; /* NULL: the weights as they are */
    int ctx;
    bool keep;
    bool slots; /* nobody looks at the MLP's activations later: each thread uses the same rows, in its cache, again */
};

static void linear(const struct pass *p, enum mdq_linear l, int64_t n, const float *x, bool add, float *y, int64_t ldy)
{
    int64_t out, in;
    mdq_linear_shape(p->c, l, &out, &in);
    mdq_rows_linear(&p->rows, x, in, p->b->linear[l], p->panels[l], p->b->bias[l], n, in, out, add, y, ldy);
}

static enum mdq_err fill_panels(struct pass *p)
{
    size_t at[MDQ_LINEARS + 1] = {0};
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(p->c, (enum mdq_linear)l, &out, &in);
        at[l + 1] = at[l] + mdq_panels_floats(out, in, true);
    }
    MDQ_TRY(mdq_buffer_reserve(&p->ws->panels, at[MDQ_LINEARS]));
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(p->c, (enum mdq_linear)l, &out, &in);
        mdq_panels_fill(out, in, p->b->linear[l], true, p->ws->panels.p + at[l]);
        p->panels[l] = p->ws->panels.p + at[l];
    }
    return MDQ_OK;
}

static enum mdq_err reserve(const struct pass *p, size_t tokens, size_t panel)
{
    struct mdq_workspace *ws = p->ws;
    size_t hidden = (size_t)p->c->hidden, inner = (size_t)p->c->intermediate;
    if (p->slots)
        panel = (size_t)p->rows.block * (size_t)omp_get_max_threads();
    MDQ_TRY(mdq_buffer_reserve(&ws->h1, tokens * hidden));
    MDQ_TRY(mdq_buffer_reserve(&ws->qkv, tokens * (size_t)ws->qkv_dim));
    MDQ_TRY(mdq_buffer_reserve(&ws->o, tokens * (size_t)ws->q_dim));
    MDQ_TRY(mdq_buffer_reserve(&ws->h2, panel * hidden));
    MDQ_TRY(mdq_buffer_reserve(&ws->gu, panel * 2 * inner));
    MDQ_TRY(mdq_buffer_reserve(&ws->act, panel * inner));
    if (!p->keep)
        return MDQ_OK;
    MDQ_TRY(mdq_buffer_reserve(&ws->x_in, tokens * hidden));
    MDQ_TRY(mdq_buffer_reserve(&ws->x_mid, tokens * hidden));
    MDQ_TRY(mdq_buffer_reserve(&ws->rstd1, tokens));
    MDQ_TRY(mdq_buffer_reserve(&ws->rstd2, tokens));
    if (p->c->qk_norm)
        MDQ_TRY(mdq_buffer_reserve(&ws->raw, tokens * (size_t)(ws->q_dim + ws->kv_dim)));
    return MDQ_OK;
}

/* Norm, q, k, v of rows [t0, t0 + n), their norms and rotation. False: the input is not finite. */
static bool project(const struct pass *p, const float *x, int64_t t0, int64_t n)
{
    const struct mdq_config *c = p->c;
    const struct mdq_block *b = p->b;
    struct mdq_workspace *ws = p->ws;
    int hidden = c->hidden, dim = c->head_dim, half = dim / 2;
    float *h1 = ws->h1.p + t0 * hidden, *qkv = ws->qkv.p + t0 * ws->qkv_dim;
    if (p->keep)
        memcpy(ws->x_in.p + t0 * hidden, x + t0 * hidden, (size_t)(n * hidden) * sizeof *x);
    bool finite = mdq_rmsnorm(n, hidden, x + t0 * hidden, hidden, b->attn_norm, c->rms_eps, h1, hidden,
                              p->keep ? ws->rstd1.p + t0 : NULL);
    int64_t column = 0;
    for (int l = MDQ_Q_PROJ; l <= MDQ_V_PROJ; l++) {
        linear(p, (enum mdq_linear)l, n, h1, false, qkv + column, ws->qkv_dim);
        column += l == MDQ_Q_PROJ ? ws->q_dim : ws->kv_dim;
    }
#pragma omp parallel for schedule(static) if (!p->rows.small)
    for (int64_t i = 0; i < n; i++) {
        float *q = qkv + i * ws->qkv_dim, *k = q + ws->q_dim;
        int64_t at = (t0 + i) % p->ctx * half;
        if (c->qk_norm) {
            if (p->keep)
                memcpy(ws->raw.p + (t0 + i) * (ws->q_dim + ws->kv_dim), q,
                       (size_t)(ws->q_dim + ws->kv_dim) * sizeof *q);
            mdq_rmsnorm(c->heads, dim, q, dim, b->q_norm, c->rms_eps, q, dim, NULL);
            mdq_rmsnorm(c->kv_heads, dim, k, dim, b->k_norm, c->rms_eps, k, dim, NULL);
        }
        mdq_rotate(q, c->heads, half, p->rotary->cos + at, p->rotary->sin + at, false);
        mdq_rotate(k, c->kv_heads, half, p->rotary->cos + at, p->rotary->sin + at, false);
    }
    return finite;
}

/* Where the activations of the panel's row r go in the MLP's buffers. */
static int64_t mlp_row(const struct pass *p, int64_t r)
{
    return p->slots ? p->rows.block * omp_get_thread_num() : r;
}

/* Output projection, norm, gate and up of rows [t0, t0 + n) of the batch; m0: their row in the MLP's buffers. */
static bool middle(const struct pass *p, float *x, int64_t t0, int64_t m0, int64_t n)
{
    const struct mdq_config *c = p->c;
    const struct mdq_block *b = p->b;
    struct mdq_workspace *ws = p->ws;
    int hidden = c->hidden, inner = c->intermediate;
    float *xt = x + t0 * hidden, *h2 = ws->h2.p + m0 * hidden, *gu = ws->gu.p + m0 * 2 * inner;
    linear(p, MDQ_O_PROJ, n, ws->o.p + t0 * ws->q_dim, true, xt, hidden);
    if (p->keep)
        memcpy(ws->x_mid.p + t0 * hidden, xt, (size_t)(n * hidden) * sizeof *xt);
    bool finite = mdq_rmsnorm(n, hidden, xt, hidden, b->mlp_norm, c->rms_eps, h2, hidden,
                              p->keep ? ws->rstd2.p + t0 : NULL);
    linear(p, MDQ_GATE_PROJ, n, h2, false, gu, 2 * inner);
    linear(p, MDQ_UP_PROJ, n, h2, false, gu + inner, 2 * inner);
    mdq_swiglu(n, inner, gu, ws->act.p + m0 * inner);
    return finite;
}

static bool down(const struct pass *p, float *x, int64_t t0, int64_t m0, int64_t n)
{
    int hidden = p->c->hidden, inner = p->c->intermediate;
    float *xt = x + t0 * hidden;
    linear(p, MDQ_DOWN_PROJ, n, p->ws->act.p + m0 * inner, true, xt, hidden);
    return mdq_all_finite(n * hidden, xt);
}

static enum mdq_err not_finite(int block, const char *step)
{
    return mdq_fail(MDQ_E_DATA, "block %d: %s: values are not finite (weights out of range, or an input that was "
                                "already broken)", block, step);
}

/* Rows [t0, t0 + tokens) from attention's output to the block's, buffers of the MLP holding just these. */
static enum mdq_err mlp_panel(const struct pass *p, int block_index, float *x, int64_t t0, int64_t tokens,
                              mdq_capture *capture, void *arg)
{
    int64_t block = p->rows.block;
    bool mid_finite = true, out_finite = true;
#pragma omp parallel for schedule(dynamic, 1) if (p->rows.small) reduction(&& : mid_finite, out_finite)
    for (int64_t r = 0; r < tokens; r += block) {
        int64_t n = tokens - r < block ? tokens - r : block, m0 = mlp_row(p, r);
        mid_finite = middle(p, x, t0 + r, m0, n) && mid_finite;
        if (!capture)
            out_finite = down(p, x, t0 + r, m0, n) && out_finite;
    }
    if (!mid_finite)
        return not_finite(block_index, "attention output");
    if (capture) {
        MDQ_TRY(capture(arg, MDQ_IN_GATE_UP, p->ws->h2.p, tokens, p->c->hidden));
        MDQ_TRY(capture(arg, MDQ_IN_DOWN, p->ws->act.p, tokens, p->c->intermediate));
#pragma omp parallel for schedule(dynamic, 1) if (p->rows.small) reduction(&& : out_finite)
        for (int64_t r = 0; r < tokens; r += block)
            out_finite = down(p, x, t0 + r, r, tokens - r < block ? tokens - r : block) && out_finite;
    }
    return out_finite ? MDQ_OK : not_finite(block_index, "MLP output");
}

static enum mdq_err forward_batch(const struct pass *p, int block_index, float *x, int windows, mdq_capture *capture,
                                  void *arg)
{
    struct mdq_workspace *ws = p->ws;
    int64_t tokens = (int64_t)windows * p->ctx, block = p->rows.block;
    int64_t panel = p->keep ? tokens : p->rows.small ? BATCH_SMALL : BATCH_LARGE;
    if (panel > tokens)
        panel = tokens;
    MDQ_TRY(reserve(p, (size_t)tokens, (size_t)panel));
    bool finite = true;
#pragma omp parallel for schedule(dynamic, 1) if (p->rows.small) reduction(&& : finite)
    for (int64_t t = 0; t < tokens; t += block)
        finite = project(p, x, t, tokens - t < block ? tokens - t : block) && finite;
    if (!finite)
        return not_finite(block_index, "input");
    if (capture)
        MDQ_TRY(capture(arg, MDQ_IN_QKV, ws->h1.p, tokens, p->c->hidden));
    MDQ_TRY(mdq_attention_forward(p->c, mdq_block_window(p->c, block_index), ws, windows, p->ctx, p->keep));
    if (capture)
        MDQ_TRY(capture(arg, MDQ_IN_O, ws->o.p, tokens, ws->q_dim));
    for (int64_t t = 0; t < tokens; t += panel)
        MDQ_TRY(mlp_panel(p, block_index, x, t, tokens - t < panel ? tokens - t : panel, capture, arg));
    return MDQ_OK;
}

enum mdq_err mdq_block_forward(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                               const struct mdq_rotary *r, float *x, int windows, int ctx,
                               struct mdq_workspace *ws, bool keep, mdq_capture *capture, void *arg)
{
    ws->windows = ws->ctx = 0;
    if (windows < 1 || ctx < 1 || ctx > r->ctx || 2 * r->half != c->head_dim)
        return mdq_fail(MDQ_E_INTERNAL, "block %d: %d windows of %d tokens, rotary table for %d of dimension %d",
                        block_index, windows, ctx, r->ctx, 2 * r->half);
    struct pass p = {.c = c, .b = b, .rotary = r, .ws = ws, .ctx = ctx, .keep = keep};
    p.rows = mdq_rows_of(c, (int64_t)windows * ctx);
    p.slots = p.rows.small && !keep && !capture;
    mdq_one_blas_thread();
    if (p.rows.tiles)
        MDQ_TRY(fill_panels(&p));
    int batch = windows;
    if (!keep) {
        batch = (p.rows.small ? BATCH_SMALL : BATCH_LARGE) / ctx;
        batch = batch < 1 ? 1 : batch;
    }
    for (int w = 0; w < windows; w += batch)
        MDQ_TRY(forward_batch(&p, block_index, x + (int64_t)w * ctx * c->hidden,
                              windows - w < batch ? windows - w : batch, capture, arg));
    if (keep) {
        ws->windows = windows;
        ws->ctx = ctx;
    }
    return MDQ_OK;
}

enum mdq_err mdq_block_alloc(const struct mdq_config *c, struct mdq_block *b)
{
    *b = (struct mdq_block){0};
    bool ok = true;
    for (int l = 0; l < MDQ_LINEARS && ok; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        bool bias = l <= MDQ_V_PROJ ? c->qkv_bias : l == MDQ_O_PROJ ? c->o_bias : c->mlp_bias;
        ok = (b->linear[l] = mdq_calloc((size_t)(out * in), sizeof(float), "gradients")) != NULL;
        if (ok && bias)
            ok = (b->bias[l] = mdq_calloc((size_t)out, sizeof(float), "gradients")) != NULL;
    }
    ok = ok && (b->attn_norm = mdq_calloc((size_t)c->hidden, sizeof(float), "gradients"));
    ok = ok && (b->mlp_norm = mdq_calloc((size_t)c->hidden, sizeof(float), "gradients"));
    if (c->qk_norm) {
        ok = ok && (b->q_norm = mdq_calloc((size_t)c->head_dim, sizeof(float), "gradients"));
        ok = ok && (b->k_norm = mdq_calloc((size_t)c->head_dim, sizeof(float), "gradients"));
    }
    if (ok)
        return MDQ_OK;
    mdq_block_free(b);
    return MDQ_E_INTERNAL;
}

enum mdq_err mdq_embed(const struct mdq_config *c, const struct mdq_outer *o, const int32_t *ids, int64_t tokens,
                       float *x)
{
    for (int64_t t = 0; t < tokens; t++)
        if (ids[t] < 0 || ids[t] >= c->vocab)
            return mdq_fail(MDQ_E_DATA, "token %lld: id %d, but the model's vocabulary has %d entries", (long long)t,
                            (int)ids[t], c->vocab);
    for (int64_t t = 0; t < tokens; t++)
        memcpy(x + t * c->hidden, o->embedding + (int64_t)ids[t] * c->hidden, (size_t)c->hidden * sizeof *x);
    return MDQ_OK;
}
