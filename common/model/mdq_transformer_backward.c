/*
 * The backward pass of one block, in place of what the forward pass kept: gu becomes the gradient of gate and up,
 * x_mid that of the middle of the block, qkv that of q, k, v. Gradients of weights are sums over all tokens and come
 * last, as one list of tiles, so that threads are busy however small the matrices are.
 */
#include <omp.h>
#include <string.h>

#include <cblas.h>

#include "mdq_linalg.h"
#include "mdq_transformer_impl.h"

/* Where in a row of `partial` the sums over tokens are: norms and biases. -1: not wanted. */
struct sums {
    int attn_norm, mlp_norm, q_norm, k_norm, bias[MDQ_LINEARS], stride;
};

struct pass {
    const struct mdq_config *c;
    const struct mdq_block *b;
    const struct mdq_rotary *rotary;
    struct mdq_workspace *ws;
    struct mdq_rows rows;
    const float *panels[MDQ_LINEARS];
    struct sums at;
    int ctx;
    float *dx;
};

static int place(struct sums *s, const float *wanted, int64_t n)
{
    int at = s->stride;
    if (!wanted)
        return -1;
    s->stride += (int)n;
    return at;
}

static struct sums sums_of(const struct mdq_config *c, const struct mdq_block *g)
{
    struct sums s = {.stride = 0};
    s.attn_norm = place(&s, g->attn_norm, c->hidden);
    s.mlp_norm = place(&s, g->mlp_norm, c->hidden);
    s.q_norm = place(&s, c->qk_norm ? g->q_norm : NULL, c->head_dim);
    s.k_norm = place(&s, c->qk_norm ? g->k_norm : NULL, c->head_dim);
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        s.bias[l] = place(&s, g->bias[l], out);
    }
    return s;
}

/* The sums' row for token t, at column `at`; NULL when not wanted. */
static float *sum_row(const struct pass *p, int64_t t, int at)
{
    return at < 0 ? NULL : p->ws->partial.p + t / MDQ_SUM_ROWS * p->at.stride + at;
}

static void add_sums(const struct pass *p, int64_t rows, int at, int64_t n, float *grad)
{
    if (at >= 0)
        mdq_column_sums(rows, (int)n, p->ws->partial.p + at, p->at.stride, grad);
}

/* The norm's gradient for rows [t0, t0 + n): dx = add + back(dy), dw into the sums. dy: of these rows only. */
static void norm_backward(const struct pass *p, int64_t t0, int64_t n, const float *x, const float *w, const float *rstd,
                          const float *dy, const float *add, float *dx, int at)
{
    int hidden = p->c->hidden;
#pragma omp parallel for schedule(static) if (!p->rows.small)
    for (int64_t r = t0; r < t0 + n; r += MDQ_SUM_ROWS) {
        int64_t m = t0 + n - r < MDQ_SUM_ROWS ? t0 + n - r : MDQ_SUM_ROWS;
        mdq_rmsnorm_backward(m, hidden, x + r * hidden, hidden, w, rstd + r, dy + (r - t0) * hidden, hidden, add + r * hidden,
                             dx + r * hidden, hidden, sum_row(p, r, at));
    }
}

static void bias_backward(const struct pass *p, int64_t t0, int64_t n, enum mdq_linear l, const float *dy, int64_t ld)
{
    if (p->at.bias[l] < 0)
        return;
    int64_t out, in;
    mdq_linear_shape(p->c, l, &out, &in);
#pragma omp parallel for schedule(static) if (!p->rows.small)
    for (int64_t r = t0; r < t0 + n; r += MDQ_SUM_ROWS)
        mdq_column_sums(t0 + n - r < MDQ_SUM_ROWS ? t0 + n - r : MDQ_SUM_ROWS, (int)out, dy + r * ld, ld,
                        sum_row(p, r, p->at.bias[l]));
}

/* dx [n, in] = dy [n, out] W, or += when `add`. */
static void linear_backward(const struct pass *p, enum mdq_linear l, int64_t n, const float *dy, int64_t ldy, bool add,
                            float *dx)
{
    int64_t out, in;
    mdq_linear_shape(p->c, l, &out, &in);
    mdq_rows_linear_back(&p->rows, dy, ldy, p->b->linear[l], p->panels[l], n, out, in, add, dx);
}

/* The row of scratch for rows from t on: a small model's threads use the same, in their caches, again and again. */
static int64_t scratch_row(const struct pass *p, int64_t t)
{
    return p->rows.small ? p->rows.block * omp_get_thread_num() : t;
}

/* From the block's output to attention's, rows [t, t + n). */
static void mlp_backward(const struct pass *p, int64_t t, int64_t n)
{
    struct mdq_workspace *ws = p->ws;
    int hidden = p->c->hidden, inner = p->c->intermediate;
    int64_t at = scratch_row(p, t);
    float *gu = ws->gu.p + t * 2 * inner, *d_act = ws->d_act.p + at * inner, *d_h = ws->d_h.p + at * hidden;
    linear_backward(p, MDQ_DOWN_PROJ, n, p->dx + t * hidden, hidden, false, d_act);
    mdq_swiglu_backward(n, inner, d_act, gu);
    linear_backward(p, MDQ_GATE_PROJ, n, gu, 2 * inner, false, d_h);
    linear_backward(p, MDQ_UP_PROJ, n, gu + inner, 2 * inner, true, d_h);
    norm_backward(p, t, n, ws->x_mid.p, p->b->mlp_norm, ws->rstd2.p, d_h, p->dx, ws->x_mid.p, p->at.mlp_norm);
    linear_backward(p, MDQ_O_PROJ, n, ws->x_mid.p + t * hidden, hidden, false, ws->d_o.p + t * ws->q_dim);
    bias_backward(p, t, n, MDQ_DOWN_PROJ, p->dx, hidden);
    bias_backward(p, t, n, MDQ_GATE_PROJ, ws->gu.p, 2 * inner);
    bias_backward(p, t, n, MDQ_UP_PROJ, ws->gu.p + inner, 2 * inner);
    bias_backward(p, t, n, MDQ_O_PROJ, ws->x_mid.p, hidden);
}

static void head_norm_backward(const struct pass *p, int heads, const float *raw, const float *w, float *d, float *dw)
{
    int dim = p->c->head_dim;
    for (int h = 0; h < heads; h++, raw += dim, d += dim) {
        float rstd = mdq_rstd(dim, raw, p->c->rms_eps);
        mdq_rmsnorm_backward(1, dim, raw, dim, w, &rstd, d, dim, NULL, d, dim, dw);
    }
}

/* Through rotation and head norms of tokens [t0, t0 + n) of one row of sums, in place of qkv. */
static void rotation_backward(const struct pass *p, int64_t t0, int64_t n)
{
    struct mdq_workspace *ws = p->ws;
    const struct mdq_config *c = p->c;
    int half = c->head_dim / 2;
    for (int64_t t = t0; t < t0 + n; t++) {
        float *q = ws->qkv.p + t * ws->qkv_dim, *k = q + ws->q_dim;
        int64_t at = t % p->ctx * half;
        mdq_rotate(q, c->heads, half, p->rotary->cos + at, p->rotary->sin + at, true);
        mdq_rotate(k, c->kv_heads, half, p->rotary->cos + at, p->rotary->sin + at, true);
        if (c->qk_norm) {
            const float *raw = ws->raw.p + t * (ws->q_dim + ws->kv_dim);
            head_norm_backward(p, c->heads, raw, p->b->q_norm, q, sum_row(p, t, p->at.q_norm));
            head_norm_backward(p, c->kv_heads, raw + ws->q_dim, p->b->k_norm, k, sum_row(p, t, p->at.k_norm));
        }
    }
}

/* q, k, v and the first norm, rows [t, t + n). */
static void project_backward(const struct pass *p, int64_t t, int64_t n)
{
    struct mdq_workspace *ws = p->ws;
    float *d_h = ws->d_h.p + scratch_row(p, t) * p->c->hidden;
    int64_t column = 0;
    for (int l = MDQ_Q_PROJ; l <= MDQ_V_PROJ; l++) {
        linear_backward(p, (enum mdq_linear)l, n, ws->qkv.p + t * ws->qkv_dim + column, ws->qkv_dim, l != MDQ_Q_PROJ,
                        d_h);
        bias_backward(p, t, n, (enum mdq_linear)l, ws->qkv.p + column, ws->qkv_dim);
        column += l == MDQ_Q_PROJ ? ws->q_dim : ws->kv_dim;
    }
    norm_backward(p, t, n, ws->x_in.p, p->b->attn_norm, ws->rstd1.p, d_h, ws->x_mid.p, p->dx, p->at.attn_norm);
}

/* dW [out, in] += dy^T x over all tokens. */
struct product {
    const float *dy, *x;
    float *dw;
    int64_t ldy, ldx, out, in;
    int64_t high, wide, columns; /* tiles, and how many there are side by side */
};

enum { TILE = 320, WIDE = 384 }; /* at most that, on a side; a third of it would cost a fifth of sgemm's rate */

static int64_t tile_side(int64_t n)
{
    int64_t parts = (n + TILE - 1) / TILE;
    return ((n + parts - 1) / parts + 15) / 16 * 16;
}

static struct product operands(const float *dy, const float *x, float *dw, int64_t ldy, int64_t ldx)
{
    return (struct product){.dy = dy, .x = x, .dw = dw, .ldy = ldy, .ldx = ldx};
}

/* Of the tokens [t0, t0 + tokens). */
static void weight_gradients(const struct pass *p, int64_t t0, int64_t tokens, const struct mdq_block *g)
{
    struct mdq_workspace *ws = p->ws;
    int hidden = p->c->hidden, inner = p->c->intermediate;
    struct product all[MDQ_LINEARS] = {
        [MDQ_Q_PROJ] = operands(ws->qkv.p, ws->h1.p, g->linear[MDQ_Q_PROJ], ws->qkv_dim, hidden),
        [MDQ_K_PROJ] = operands(ws->qkv.p + ws->q_dim, ws->h1.p, g->linear[MDQ_K_PROJ], ws->qkv_dim, hidden),
        [MDQ_V_PROJ] = operands(ws->qkv.p + ws->q_dim + ws->kv_dim, ws->h1.p, g->linear[MDQ_V_PROJ], ws->qkv_dim, hidden),
        [MDQ_O_PROJ] = operands(ws->x_mid.p, ws->o.p, g->linear[MDQ_O_PROJ], hidden, ws->q_dim),
        [MDQ_GATE_PROJ] = operands(ws->gu.p, ws->h2.p, g->linear[MDQ_GATE_PROJ], 2 * inner, hidden),
        [MDQ_UP_PROJ] = operands(ws->gu.p + inner, ws->h2.p, g->linear[MDQ_UP_PROJ], 2 * inner, hidden),
        [MDQ_DOWN_PROJ] = operands(p->dx, ws->act.p, g->linear[MDQ_DOWN_PROJ], hidden, inner),
    };
    int64_t first[MDQ_LINEARS + 1] = {0};
    for (int l = 0; l < MDQ_LINEARS; l++) {
        struct product *w = &all[l];
        mdq_linear_shape(p->c, (enum mdq_linear)l, &w->out, &w->in);
        w->dy += t0 * w->ldy;
        w->x += t0 * w->ldx;
        w->high = tile_side(w->out);
        w->wide = tile_side(w->in);
        w->columns = (w->in + w->wide - 1) / w->wide;
        first[l + 1] = first[l] + (w->dw && p->rows.small ? (w->out + w->high - 1) / w->high * w->columns : 0);
        if (w->dw && !p->rows.small)
            mdq_gemm(1, 0, w->out, w->in, tokens, 1, w->dy, w->ldy, w->x, w->ldx, 1, w->dw, w->in);
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t t = 0; t < first[MDQ_LINEARS]; t++) {
        int l = 0;
        while (t >= first[l + 1])
            l++;
        const struct product *w = &all[l];
        int64_t i = (t - first[l]) / w->columns * w->high, j = (t - first[l]) % w->columns * w->wide;
        int64_t m = w->out - i < w->high ? w->out - i : w->high, n = w->in - j < w->wide ? w->in - j : w->wide;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)tokens, 1, w->dy + i, (int)w->ldy,
                    w->x + j, (int)w->ldx, 1, w->dw + i * w->in + j, (int)w->in);
    }
}

/* The gradients of weights window by window, each shown to the caller with those of the outputs. */
static enum mdq_err window_gradients(const struct pass *p, int windows, const struct mdq_block *g, mdq_window_gradients *each,
                                     void *arg)
{
    const struct mdq_workspace *ws = p->ws;
    const int hidden = p->c->hidden, inner = p->c->intermediate;
    for (int w = 0; w < windows; w++) {
        const int64_t t = (int64_t)w * p->ctx;
        const float *qkv = ws->qkv.p + t * ws->qkv_dim, *gu = ws->gu.p + t * 2 * inner;
        const struct mdq_output_gradient dy[MDQ_LINEARS] = {
            [MDQ_Q_PROJ] = {qkv, ws->qkv_dim},
            [MDQ_K_PROJ] = {qkv + ws->q_dim, ws->qkv_dim},
            [MDQ_V_PROJ] = {qkv + ws->q_dim + ws->kv_dim, ws->qkv_dim},
            [MDQ_O_PROJ] = {ws->x_mid.p + t * hidden, hidden},
            [MDQ_GATE_PROJ] = {gu, 2 * inner},
            [MDQ_UP_PROJ] = {gu + inner, 2 * inner},
            [MDQ_DOWN_PROJ] = {p->dx + t * hidden, hidden},
        };
        weight_gradients(p, t, p->ctx, g);
        MDQ_TRY(each(arg, w, dy));
    }
    return MDQ_OK;
}

/* Only wide matrices need panels: the columns of a tile are then too far apart. */
static enum mdq_err fill_panels(struct pass *p)
{
    size_t at[MDQ_LINEARS + 1] = {0};
    int64_t out, in;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        mdq_linear_shape(p->c, (enum mdq_linear)l, &out, &in);
        at[l + 1] = at[l] + (in > WIDE ? mdq_panels_floats(out, in, false) : 0);
    }
    MDQ_TRY(mdq_buffer_reserve(&p->ws->back_panels, at[MDQ_LINEARS]));
    for (int l = 0; l < MDQ_LINEARS; l++) {
        if (at[l + 1] == at[l])
            continue;
        mdq_linear_shape(p->c, (enum mdq_linear)l, &out, &in);
        mdq_panels_fill(out, in, p->b->linear[l], false, p->ws->back_panels.p + at[l]);
        p->panels[l] = p->ws->back_panels.p + at[l];
    }
    return MDQ_OK;
}

static enum mdq_err reserve(const struct pass *p, size_t tokens, size_t sums)
{
    struct mdq_workspace *ws = p->ws;
    MDQ_TRY(mdq_buffer_reserve(&ws->d_o, tokens * (size_t)ws->q_dim));
    size_t rows = p->rows.small ? (size_t)p->rows.block * (size_t)omp_get_max_threads() : tokens;
    MDQ_TRY(mdq_buffer_reserve(&ws->d_h, rows * (size_t)p->c->hidden));
    MDQ_TRY(mdq_buffer_reserve(&ws->d_act, rows * (size_t)p->c->intermediate));
    MDQ_TRY(mdq_buffer_reserve(&ws->partial, sums * (size_t)p->at.stride));
    if (p->at.stride)
        memset(ws->partial.p, 0, sums * (size_t)p->at.stride * sizeof *ws->partial.p);
    return MDQ_OK;
}

enum mdq_err mdq_block_backward(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                                const struct mdq_rotary *r, float *dx, int windows, int ctx,
                                struct mdq_workspace *ws, struct mdq_block *grads)
{
    return mdq_block_backward_windows(c, b, block_index, r, dx, windows, ctx, ws, grads, NULL, NULL);
}

enum mdq_err mdq_block_backward_windows(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                                        const struct mdq_rotary *r, float *dx, int windows, int ctx,
                                        struct mdq_workspace *ws, struct mdq_block *grads, mdq_window_gradients *each,
                                        void *arg)
{
    if (windows < 1 || ws->windows != windows || ws->ctx != ctx)
        return mdq_fail(MDQ_E_INTERNAL, "block %d: backward over %d windows of %d tokens, but forward kept %d of %d",
                        block_index, windows, ctx, ws->windows, ws->ctx);
    int64_t tokens = (int64_t)windows * ctx, sums = (tokens + MDQ_SUM_ROWS - 1) / MDQ_SUM_ROWS;
    struct pass p = {.c = c, .b = b, .rotary = r, .ws = ws, .at = sums_of(c, grads), .ctx = ctx, .dx = dx};
    p.rows = mdq_rows_of(c, tokens);
    int64_t block = p.rows.block;
    ws->windows = ws->ctx = 0; /* what was kept is used up */
    mdq_one_blas_thread();
    if (p.rows.tiles)
        MDQ_TRY(fill_panels(&p));
    MDQ_TRY(reserve(&p, (size_t)tokens, (size_t)sums));
#pragma omp parallel for schedule(dynamic, 1) if (p.rows.small)
    for (int64_t t = 0; t < tokens; t += block)
        mlp_backward(&p, t, tokens - t < block ? tokens - t : block);
    MDQ_TRY(mdq_attention_backward(c, mdq_block_window(c, block_index), ws, windows, ctx));
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t t = 0; t < tokens; t += MDQ_SUM_ROWS)
        rotation_backward(&p, t, tokens - t < MDQ_SUM_ROWS ? tokens - t : MDQ_SUM_ROWS);
    if (each)
        MDQ_TRY(window_gradients(&p, windows, grads, each, arg));
    else
        weight_gradients(&p, 0, tokens, grads);
#pragma omp parallel for schedule(dynamic, 1) if (p.rows.small)
    for (int64_t t = 0; t < tokens; t += block)
        project_backward(&p, t, tokens - t < block ? tokens - t : block);
    add_sums(&p, sums, p.at.attn_norm, c->hidden, grads->attn_norm);
    add_sums(&p, sums, p.at.mlp_norm, c->hidden, grads->mlp_norm);
    add_sums(&p, sums, p.at.q_norm, c->head_dim, grads->q_norm);
    add_sums(&p, sums, p.at.k_norm, c->head_dim, grads->k_norm);
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        add_sums(&p, sums, p.at.bias[l], out, grads->bias[l]);
    }
    return MDQ_OK;
}
