/*
 * The transformer of the Llama family, block by block, forward and backward, in float32. A block's activations
 * belong to whole windows: x is [tokens, hidden], tokens = windows * ctx, window after window; attention is causal
 * within a window, positions start at 0 in each.
 *
 * Threads: OpenMP over fixed units (windows, heads, blocks of rows), so results do not depend on their number.
 * The plain forward pass in double precision (mdq_block_forward_ref, mdq_head_forward_ref) is the reference; the
 * backward pass is tested against its differences.
 */
#ifndef MDQ_TRANSFORMER_H
#define MDQ_TRANSFORMER_H

#include "mdq_model.h"

/* cos and sin of the rotary embedding, [ctx, head_dim / 2] each, with the scaling's attention factor applied. */
struct mdq_rotary {
    int ctx, half;
    float *cos, *sin;
};
enum mdq_err mdq_rotary_init(struct mdq_rotary *r, const struct mdq_config *c, int ctx);
void mdq_rotary_free(struct mdq_rotary *r);

/* Called during forward with the input of a group of linear layers: [tokens, columns], row-major, valid during the
 * call only. For calibration. An error ends the forward pass with that error. */
typedef enum mdq_err mdq_capture(void *arg, enum mdq_input which, const float *x, int64_t tokens, int64_t columns);

/* Scratch for forward (and, after a forward with `keep`, what backward needs). Opaque, reused across calls. */
struct mdq_workspace;
struct mdq_workspace *mdq_workspace_new(const struct mdq_config *c); /* NULL: out of memory */
void mdq_workspace_free(struct mdq_workspace **w);

/*
 * x [windows * ctx, hidden] is replaced by the block's output. `block_index` decides on the sliding window.
 * keep: retain activations in `ws` for mdq_block_backward. Windows are processed a bounded batch at a time when
 * !keep, so that scratch memory does not grow with `windows`.
 */
enum mdq_err mdq_block_forward(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                               const struct mdq_rotary *r, float *x, int windows, int ctx,
                               struct mdq_workspace *ws, bool keep, mdq_capture *capture, void *arg);

/*
 * After mdq_block_forward with keep on the same ws: dx [tokens, hidden] holds dL/d(output) and is replaced by
 * dL/d(input). Gradients of the weights are added to `grads` (same shapes as the block; NULL members are skipped).
 */
enum mdq_err mdq_block_backward(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                                const struct mdq_rotary *r, float *dx, int windows, int ctx,
                                struct mdq_workspace *ws, struct mdq_block *grads);
/*
 * The same one window at a time: after the weight gradients of a window have been added to `grads`, `each` is called
 * with the number of the window and with dL/d(output) of every linear layer, ctx rows, `stride` floats apart, valid
 * during the call only. It may change the weight gradients (set them to zero). An error ends the backward pass.
 * Norms and biases are added over all windows, afterwards.
 */
struct mdq_output_gradient {
    const float *dy;
    int64_t stride;
};
typedef enum mdq_err mdq_window_gradients(void *arg, int window, const struct mdq_output_gradient dy[MDQ_LINEARS]);
enum mdq_err mdq_block_backward_windows(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                                        const struct mdq_rotary *r, float *dx, int windows, int ctx,
                                        struct mdq_workspace *ws, struct mdq_block *grads, mdq_window_gradients *each,
                                        void *arg);
/* Zeroed gradients with the shapes of a block of this configuration. Released by mdq_block_free. */
enum mdq_err mdq_block_alloc(const struct mdq_config *c, struct mdq_block *b);

/* x[t] = embedding[ids[t]]. Ids outside the vocabulary are MDQ_E_DATA. */
enum mdq_err mdq_embed(const struct mdq_config *c, const struct mdq_outer *o, const int32_t *ids, int64_t tokens,
                       float *x);

/*
 * Final norm and head over one or more windows, a bounded block of tokens at a time:
 *   nll[t] (may be NULL): -ln p(targets[t]) per token, 0 where targets[t] < 0
 *   each(arg, t, logits) (may be NULL): all logits of token t, called in any order from several threads
 */
typedef void mdq_logits_each(void *arg, int64_t t, const float *logits);
enum mdq_err mdq_head_forward(const struct mdq_config *c, const struct mdq_outer *o, const float *x, int64_t tokens,
                              const int32_t *targets, double *nll, mdq_logits_each *each, void *arg);

/*
 * Gradient of sum_t weight * nll[t] through head and final norm: dx [tokens, hidden] is written, gradients are added
 * to g (NULL members skipped; tied: the head's goes into g->embedding). *loss receives sum_t nll[t] (weight not applied).
 */
enum mdq_err mdq_head_backward(const struct mdq_config *c, const struct mdq_outer *o, const float *x,
                               int64_t tokens, const int32_t *targets, float weight, float *dx,
                               struct mdq_outer *g, double *loss);
/* The same with a weight for every token. */
enum mdq_err mdq_head_backward_weighted(const struct mdq_config *c, const struct mdq_outer *o, const float *x,
                                        int64_t tokens, const int32_t *targets, const float *weights, float *dx,
                                        struct mdq_outer *g, double *loss);
/* Adds dx into the rows of g->embedding. */
void mdq_embed_backward(const struct mdq_config *c, const int32_t *ids, int64_t tokens, const float *dx,
                        struct mdq_outer *g);

/* One block as written in the papers, loop by loop, in double: x [windows * ctx, hidden] is replaced. */
enum mdq_err mdq_block_forward_ref(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                                   const struct mdq_rotary *r, double *x, int windows, int ctx);
/* logits [tokens, vocab] and nll [tokens] (either may be NULL), as mdq_head_forward. */
enum mdq_err mdq_head_forward_ref(const struct mdq_config *c, const struct mdq_outer *o, const double *x,
                                  int64_t tokens, const int32_t *targets, double *nll, double *logits);

#endif
