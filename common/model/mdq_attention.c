/*
 * Causal attention with grouped queries, 64 queries of one head at a time against all keys they may see: scratch is
 * 64 x ctx floats per thread whatever the number of heads. Backward recomputes the probabilities from the saved
 * log-sum-exp instead of keeping them.
 *
 * K is transposed beforehand, and products are cut so that OpenBLAS takes its kernels for small matrices, which read
 * B where it stands (measured on AVX-512: 227 against 135 GFLOP/s with a transposed B that has to be packed).
 */
#include <math.h>
#include <string.h>

#include <cblas.h>

#include "mdq_transformer_impl.h"

enum {
    QUERIES = 64,
};

static inline int64_t stride_of(int ctx)
{
    return (ctx + 15) / 16 * 16 + 16; /* no power of two: its columns would share a few cache sets */
}

/* What one thread works on: one head of one window. All matrices [ctx, head_dim] unless said otherwise. */
struct head {
    int ctx, dim, window;
    int64_t ld_qkv, ld_o, ld_s; /* ld_s: of S and of the transposed matrices */
    float *q;
    const float *k, *v, *kt; /* kt [dim, ctx] */
    float *o, *lse;          /* lse [ctx] */
    float scale;
};

/* Keys [lo, hi) are seen by some query of block [i0, i0 + n). */
static inline void key_range(const struct head *h, int i0, int n, int *lo, int *hi)
{
    *hi = i0 + n;
    *lo = h->window > 0 && i0 + 1 > h->window ? (i0 + 1 - h->window) / 16 * 16 : 0;
}

/* Keys [first, last] of query i. */
static inline int first_key(const struct head *h, int i)
{
    return h->window > 0 && i + 1 > h->window ? i + 1 - h->window : 0;
}

static inline int key_chunk(int n, int dim)
{
    int c = MDQ_SMALL_PRODUCT / (n * dim) / 16 * 16;
    return c < 32 ? 32 : c;
}

/* c [m, n] = alpha op(a) b + beta c, op: transposed when ta. */
static inline void product(int ta, int m, int n, int k, float alpha, const float *a, int64_t lda, const float *b,
                           int64_t ldb, float beta, float *c, int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, CblasNoTrans, m, n, k, alpha, a, (int)lda, b, (int)ldb,
                beta, c, (int)ldc);
}

/* s [n, ctx] = x_block kt, over keys [lo, hi). */
static void scores(const struct head *h, const float *x, int64_t ldx, const float *t, int n, int lo, int hi, float *s)
{
    int chunk = key_chunk(n, h->dim);
    for (int j = lo; j < hi; j += chunk)
        product(0, n, hi - j < chunk ? hi - j : chunk, h->dim, 1, x, ldx, t + j, h->ld_s, 0, s + j, h->ld_s);
}

/* y [n, dim] = p [n, ctx] x, over keys [lo, hi). */
static void weighted(const struct head *h, const float *p, const float *x, int n, int lo, int hi, float *y,
                     int64_t ldy)
{
    int chunk = key_chunk(n, h->dim);
    for (int j = lo; j < hi; j += chunk)
        product(0, n, h->dim, hi - j < chunk ? hi - j : chunk, 1, p + j, h->ld_s, x + j * h->ld_qkv, h->ld_qkv,
                j > lo ? 1 : 0, y, ldy);
}

/* y [ctx, dim] (contiguous) += p^T x over keys [lo, hi). */
static void spread(const struct head *h, const float *p, const float *x, int64_t ldx, int n, int lo, int hi, float *y)
{
    int chunk = key_chunk(n, h->dim);
    for (int j = lo; j < hi; j += chunk)
        product(1, hi - j < chunk ? hi - j : chunk, h->dim, n, 1, p + j, h->ld_s, x, ldx, 1, y + (int64_t)j * h->dim,
                h->dim);
}

static void forward_block(const struct head *h, int i0, int n, float *s)
{
    int lo, hi;
    key_range(h, i0, n, &lo, &hi);
    float inverse[QUERIES];
    scores(h, h->q + i0 * h->ld_qkv, h->ld_qkv, h->kt, n, lo, hi, s);
    for (int r = 0; r < n; r++) {
        float *p = s + r * h->ld_s;
        int first = first_key(h, i0 + r), count = i0 + r + 1 - first;
        float shift = h->scale * mdq_max(count, p + first);
        float sum = mdq_exp_sum(count, h->scale, shift, p + first, p + first);
        memset(p + lo, 0, (size_t)(first - lo) * sizeof *p);
        memset(p + i0 + r + 1, 0, (size_t)(hi - i0 - r - 1) * sizeof *p);
        inverse[r] = 1.0f / sum;
        if (h->lse)
            h->lse[i0 + r] = shift + logf(sum);
    }
    float *o = h->o + i0 * h->ld_o;
    weighted(h, s, h->v, n, lo, hi, o, h->ld_o);
    for (int r = 0; r < n; r++)
#pragma omp simd
        for (int j = 0; j < h->dim; j++)
            o[r * h->ld_o + j] *= inverse[r];
}

static struct head head_of(const struct mdq_config *c, int window, const struct mdq_workspace *ws, int ctx, int w,
                           int q_head)
{
    int dim = c->head_dim, kv = q_head / (c->heads / c->kv_heads);
    int64_t t = (int64_t)w * ctx;
    float *row = ws->qkv.p + t * ws->qkv_dim;
    return (struct head){
        .ctx = ctx,
        .dim = dim,
        .window = window,
        .ld_qkv = ws->qkv_dim,
        .ld_o = ws->q_dim,
        .ld_s = stride_of(ctx),
        .q = row + (int64_t)q_head * dim,
        .k = row + ws->q_dim + (int64_t)kv * dim,
        .v = row + ws->q_dim + ws->kv_dim + (int64_t)kv * dim,
        .kt = ws->kt.p + ((int64_t)w * c->kv_heads + kv) * dim * stride_of(ctx),
        .o = ws->o.p + t * ws->q_dim + (int64_t)q_head * dim,
        .scale = (float)(1 / sqrt((double)dim)),
    };
}

enum mdq_err mdq_attention_forward(const struct mdq_config *c, int window, struct mdq_workspace *ws, int windows,
                                   int ctx, bool keep)
{
    int64_t ld = stride_of(ctx), blocks = (ctx + QUERIES - 1) / QUERIES;
    MDQ_TRY(mdq_buffer_reserve(&ws->kt, (size_t)windows * (size_t)ws->kv_dim * (size_t)ld));
    MDQ_TRY(mdq_scratch_reserve(ws, QUERIES * (size_t)ld));
    if (keep)
        MDQ_TRY(mdq_buffer_reserve(&ws->lse, (size_t)windows * (size_t)c->heads * (size_t)ctx));
    int64_t units = (int64_t)windows * c->kv_heads * blocks;
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t u = 0; u < units; u++) {
        int64_t b = u % blocks, kv = u / blocks % c->kv_heads, w = u / blocks / c->kv_heads;
        int i0 = (int)b * QUERIES, n = ctx - i0 < QUERIES ? ctx - i0 : QUERIES;
        mdq_transpose(n, c->head_dim, ws->qkv.p + (w * ctx + i0) * ws->qkv_dim + ws->q_dim + kv * c->head_dim, ws->qkv_dim,
                  ws->kt.p + (w * c->kv_heads + kv) * c->head_dim * ld + i0, ld);
    }
    units = (int64_t)windows * c->heads * blocks;
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t u = 0; u < units; u++) {
        int i0 = (int)(u % blocks) * QUERIES, q_head = (int)(u / blocks % c->heads), w = (int)(u / blocks / c->heads);
        struct head h = head_of(c, window, ws, ctx, w, q_head);
        if (keep)
            h.lse = ws->lse.p + ((int64_t)w * c->heads + q_head) * ctx;
        forward_block(&h, i0, ctx - i0 < QUERIES ? ctx - i0 : QUERIES, mdq_scratch(ws));
    }
    return MDQ_OK;
}

/* One thread's scratch in the backward pass. */
struct scratch {
    float *p, *ds;   /* [QUERIES, ld_s] */
    float *vt;       /* [dim, ld_s] */
    float *dk, *dv;  /* [ctx, dim], summed over the heads of the group */
};

/* Adds to dk and dv, and puts the gradient of the block's queries in their place. */
static void backward_block(const struct head *h, const float *d_o, int i0, int n, const struct scratch *t)
{
    int lo, hi;
    key_range(h, i0, n, &lo, &hi);
    float *q = h->q + i0 * h->ld_qkv;
    const float *g = d_o + i0 * h->ld_o, *o = h->o + i0 * h->ld_o;
    scores(h, q, h->ld_qkv, h->kt, n, lo, hi, t->p);
    scores(h, g, h->ld_o, t->vt, n, lo, hi, t->ds);
    for (int r = 0; r < n; r++) {
        float *p = t->p + r * h->ld_s, *ds = t->ds + r * h->ld_s, dot = 0;
        int first = first_key(h, i0 + r), end = i0 + r + 1;
#pragma omp simd reduction(+ : dot)
        for (int j = 0; j < h->dim; j++)
            dot += g[r * h->ld_o + j] * o[r * h->ld_o + j];
        mdq_exp_sum(end - first, h->scale, h->lse[i0 + r], p + first, p + first);
        memset(p + lo, 0, (size_t)(first - lo) * sizeof *p);
        memset(p + end, 0, (size_t)(hi - end) * sizeof *p);
#pragma omp simd
        for (int j = lo; j < hi; j++)
            ds[j] = p[j] * (ds[j] - dot) * h->scale;
    }
    spread(h, t->p, g, h->ld_o, n, lo, hi, t->dv);
    spread(h, t->ds, q, h->ld_qkv, n, lo, hi, t->dk);
    weighted(h, t->ds, h->k, n, lo, hi, q, h->ld_qkv);
}

enum mdq_err mdq_attention_backward(const struct mdq_config *c, int window, struct mdq_workspace *ws, int windows,
                                    int ctx)
{
    int dim = c->head_dim, group = c->heads / c->kv_heads;
    size_t ld = (size_t)stride_of(ctx), rows = 2 * QUERIES * ld, matrix = (size_t)ctx * (size_t)dim;
    MDQ_TRY(mdq_scratch_reserve(ws, rows + (size_t)dim * ld + 2 * matrix));
    int64_t units = (int64_t)windows * c->kv_heads;
    /* a unit is all heads of a group, so that dk and dv are summed by one thread, in order */
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t u = 0; u < units; u++) {
        int w = (int)(u / c->kv_heads), kv = (int)(u % c->kv_heads);
        float *s = mdq_scratch(ws);
        struct scratch t = {s, s + QUERIES * ld, s + rows, s + rows + (size_t)dim * ld,
                            s + rows + (size_t)dim * ld + matrix};
        struct head h = head_of(c, window, ws, ctx, w, kv * group);
        mdq_transpose(ctx, dim, h.v, h.ld_qkv, t.vt, h.ld_s);
        memset(t.dk, 0, 2 * matrix * sizeof *t.dk);
        for (int r = 0; r < group; r++) {
            h = head_of(c, window, ws, ctx, w, kv * group + r);
            h.lse = ws->lse.p + ((int64_t)w * c->heads + kv * group + r) * ctx;
            const float *d_o = ws->d_o.p + (h.o - ws->o.p);
            for (int i0 = 0; i0 < ctx; i0 += QUERIES)
                backward_block(&h, d_o, i0, ctx - i0 < QUERIES ? ctx - i0 : QUERIES, &t);
        }
        float *row = ws->qkv.p + (int64_t)w * ctx * ws->qkv_dim + ws->q_dim + (int64_t)kv * dim;
        for (int i = 0; i < ctx; i++, row += ws->qkv_dim) {
            memcpy(row, t.dk + (int64_t)i * dim, (size_t)dim * sizeof *row);
            memcpy(row + ws->kv_dim, t.dv + (int64_t)i * dim, (size_t)dim * sizeof *row);
        }
    }
    return MDQ_OK;
}
