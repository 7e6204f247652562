/*
 * What the files of the transformer share and nobody else needs: the workspace and the kernels over rows.
 *
 * Two ways to be parallel, chosen by the shape of the model alone. A small model is cut into blocks of rows, one
 * thread each, so that a block's activations stay in its core's cache; the matrix products inside are single
 * calls. A large one is taken in long panels of rows, one after the other, and each product is cut into tiles.
 */
#ifndef MDQ_TRANSFORMER_IMPL_H
#define MDQ_TRANSFORMER_IMPL_H

#include "mdq_transformer.h"

/* A buffer that only ever grows. */
struct mdq_buffer {
    float *p;
    size_t n;
};

struct mdq_workspace {
    int q_dim, kv_dim, qkv_dim;
    /* What backward needs, [tokens, ...]: the block's input, its norm, q k v (q, k rotated), q and k before their
     * norms, attention output, middle of the block, its norm, gate and up side by side, silu(gate) * up. */
    struct mdq_buffer x_in, h1, qkv, raw, o, x_mid, h2, gu, act;
    struct mdq_buffer rstd1, rstd2, lse; /* [tokens], [tokens], [windows, heads, ctx] */
    struct mdq_buffer kt;                /* K transposed: [windows, kv_heads, head_dim, mdq_kt_stride(ctx)] */
    /* Backward: gradients of o, of a norm's output, of act; sums over blocks of rows of what is summed over tokens. */
    struct mdq_buffer d_o, d_h, d_act, partial;
    struct mdq_buffer panels, back_panels; /* weights arranged for tiles, forward and backward */
    struct mdq_buffer thread;            /* scratch, thread_stride floats per thread */
    size_t thread_stride;
    int windows, ctx; /* of the last forward with keep; 0 after any other */
};

enum mdq_err mdq_buffer_reserve(struct mdq_buffer *b, size_t n);
/* Scratch of n floats for every thread that a parallel loop may have, and each thread's part of it. */
enum mdq_err mdq_scratch_reserve(struct mdq_workspace *ws, size_t n);
float *mdq_scratch(const struct mdq_workspace *ws);

/* How the rows of a call are cut, and their products made (mdq_transformer_products.c). */
struct mdq_rows {
    bool small;    /* blocks in parallel, each product by one thread */
    bool tiles;    /* products in tiles for OpenBLAS's kernels for small matrices, from weights in panels */
    int64_t block; /* rows per block, a multiple of MDQ_SUM_ROWS */
};
enum {
    MDQ_SUM_ROWS = 64,           /* sums over tokens: first over so many, in order, then over these, in order */
    MDQ_SMALL_PRODUCT = 1000000, /* m n k up to which OpenBLAS's kernels for small matrices serve */
};
struct mdq_rows mdq_rows_of(const struct mdq_config *c, int64_t rows);
/* One BLAS thread, for programs (tests) that were not started through mdq_blas_start. */
void mdq_one_blas_thread(void);

/*
 * W [out, in] in panels of MDQ_PANEL columns, each [rows, MDQ_PANEL] contiguous: of W^T for the forward product, of
 * W for the backward one. mdq_panels_floats: room for either.
 */
enum { MDQ_PANEL = 64 };
size_t mdq_panels_floats(int64_t out, int64_t in, bool transposed);
void mdq_panels_fill(int64_t out, int64_t in, const float *w, bool transposed, float *panels);

/* y [rows, out] (stride ldy) = x [rows, in] W^T + bias, or += when `add`. panels and bias may be NULL. */
void mdq_rows_linear(const struct mdq_rows *r, const float *x, int64_t ldx, const float *w, const float *panels,
                     const float *bias, int64_t rows, int64_t in, int64_t out, bool add, float *y, int64_t ldy);
/* dx [rows, in] (contiguous) = dy [rows, out] W, or += when `add`. panels may be NULL. */
void mdq_rows_linear_back(const struct mdq_rows *r, const float *dy, int64_t ldy, const float *w, const float *panels,
                          int64_t rows, int64_t out, int64_t in, bool add, float *dx);

/* dst [n, rows] (stride ldd) = src [rows, n] (stride lds) transposed. */
void mdq_transpose(int64_t rows, int64_t n, const float *src, int64_t lds, float *dst, int64_t ldd);

/* y = x rstd w, rstd [rows] = (mean x^2 + eps)^-1/2 (may be NULL). False when a row of x is not finite. */
bool mdq_rmsnorm(int64_t rows, int n, const float *x, int64_t ldx, const float *w, double eps, float *y, int64_t ldy,
                 float *rstd);
/*
 * The gradient through y = x rstd w: dx = (add ? add : 0) + rstd (dy w - xhat mean(dy w xhat)), dw [n] += dy xhat
 * (dw may be NULL). dx may be add or dy. Single-threaded: dw is summed over the rows in order.
 */
void mdq_rmsnorm_backward(int64_t rows, int n, const float *x, int64_t ldx, const float *w, const float *rstd,
                          const float *dy, int64_t lddy, const float *add, float *dx, int64_t lddx, float *dw);

float mdq_rstd(int n, const float *x, double eps);

/* act = silu(gate) * up; gu [rows, 2 n]: gate, then up. */
void mdq_swiglu(int64_t rows, int n, const float *gu, float *act);
/* From dact and gu to d(gate), d(up), in place of gu. */
void mdq_swiglu_backward(int64_t rows, int n, const float *dact, float *gu);

/* One token's heads in place, x [heads, 2 half]. inverse: the transpose (for gradients). */
void mdq_rotate(float *x, int heads, int half, const float *cosine, const float *sine, bool inverse);

/* sum [n] += the columns' sums of x [rows, n]. Single-threaded, in order. */
void mdq_column_sums(int64_t rows, int n, const float *x, int64_t ldx, float *sum);
/* p = exp(scale s - shift) over n values; returns the sum. */
float mdq_exp_sum(int n, float scale, float shift, const float *s, float *p);
float mdq_max(int n, const float *x);
bool mdq_all_finite(int64_t n, const float *x);

/* Causal attention over windows * ctx tokens, qkv -> o, and back (mdq_attention.c). */
enum mdq_err mdq_attention_forward(const struct mdq_config *c, int window, struct mdq_workspace *ws, int windows,
                                   int ctx, bool keep);
enum mdq_err mdq_attention_backward(const struct mdq_config *c, int window, struct mdq_workspace *ws, int windows,
                                    int ctx);
/* The sliding window that holds for a block, 0: none. */
static inline int mdq_block_window(const struct mdq_config *c, int block_index)
{
    return c->sliding_window > 0 && block_index >= c->window_layers_from ? c->sliding_window : 0;
}

#endif
