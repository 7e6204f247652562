/*
 * Gradients of the losses by the weights of the linear layers, block by block:
 *
 *   contrast         dL_S/dW - dL_R/dW, the mean over records of the mean negative log-likelihood per token (nats) on
 *                    members S less that on matched records R
 *   fisher           mean over windows of the functional text of (dL_w/dW)^2, L_w the window's mean per token
 *   gradient_dot     sum over the columns of each column block (MDQ_TILE) of g_F W, g_F = mean over windows of dL_w/dW
 *   output_gradient  mean over the functional text's tokens of (d(sum of the window's nll)/dy)^2, y the layer's output
 *
 * A forward pass saves the activations that enter every block; the backward pass goes from the last block to the first
 * and runs each forward once more, so that one block is in memory at a time: 4 times the products of a forward pass.
 * The caller loads the blocks:
 *
 *     gradients_new(&g, config, rotary, texts);
 *     embed texts->ids into gradients_input(&g);
 *     for i rising:  gradients_forward(&g, i, block i);
 *     gradients_head(&g, outer);
 *     for i falling: gradients_backward(&g, i, block i);
 *     gradients_finish(&g);                  // what only the passes needed is released
 *     gradients_of(&g, i, layer)             // in any order
 *
 * Memory beside the block: 12 bytes per weight of a block (float32 gradient, double total), and up to ~1 GiB for the
 * activations that the backward pass looks at. In mdq_scratch (temporary files from 1 GiB on): tokens x hidden x 4
 * bytes for each block and one, and 8 bytes for every weight of all blocks.
 *
 * The results depend neither on the number of threads nor on scheduling. Sums over windows and over parts are in double,
 * those over the tokens within in float32.
 */
#ifndef CALIB_GRADIENTS_H
#define CALIB_GRADIENTS_H

#include "gradient_texts.h"
#include "mdq_scratch.h"
#include "mdq_transformer.h"

struct gradients {
    const struct mdq_config *config;
    const struct mdq_rotary *rotary;
    const struct gradient_texts *texts;
    struct mdq_scratch activations;      /* [layers + 1, tokens, hidden] inputs of the blocks; the last becomes dL/dx */
    struct mdq_scratch results;          /* see gradients_of */
    int64_t result_floats[MDQ_LINEARS];  /* of each layer of a block */
    struct mdq_workspace *ws;
    float *x;                            /* [tokens of the largest part, hidden] */
    struct mdq_block weight;             /* gradients of one window or part */
    const struct mdq_block *block;       /* the one in work */
    double *total[MDQ_LINEARS];          /* [out, in] */
    double *dot[MDQ_LINEARS];            /* [out, column blocks] */
    double *output[MDQ_LINEARS];         /* [out] */
};

/* How many tokens a part should have for a model of this shape. */
int64_t gradients_part_tokens(const struct mdq_config *c);
/* All three must outlive g. Released with gradients_free, on failure too. */
enum mdq_err gradients_new(struct gradients *g, const struct mdq_config *c, const struct mdq_rotary *r,
                           const struct gradient_texts *t);
void gradients_free(struct gradients *g);

/* [texts->tokens, hidden] */
float *gradients_input(struct gradients *g);
/* Each of these two advances progress by one (forward) and three (backward) per token. */
enum mdq_err gradients_forward(struct gradients *g, int block, const struct mdq_block *b);
enum mdq_err gradients_backward(struct gradients *g, int block, const struct mdq_block *b);
enum mdq_err gradients_head(struct gradients *g, const struct mdq_outer *o);
void gradients_finish(struct gradients *g);

struct gradient_result {
    int64_t rows, cols, blocks; /* blocks: column blocks */
    const float *contrast, *fisher; /* [rows, cols] */
    const float *dot;               /* [rows, blocks] */
    const float *output;            /* [rows] */
};
struct gradient_result gradients_of(const struct gradients *g, int block, enum mdq_linear l);

#endif
