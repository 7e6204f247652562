/* One step's loss and gradients, and the loss on held-out text, over the transformer of common/model. */
#ifndef MDQ_TRAIN_STEP_H
#define MDQ_TRAIN_STEP_H

#include "train_params.h"

/* Rotary tables, one workspace per block and activations for `batch` windows of `ctx` tokens. */
struct train_machine {
    int batch, ctx, layers;
    struct mdq_rotary rotary;
    struct mdq_workspace **ws;
    float *x, *dx;
    int32_t *inputs, *targets;
    double *nll;
};
enum mdq_err train_machine_new(struct train_machine *t, const struct mdq_config *c, int batch, int ctx);
void train_machine_free(struct train_machine *t);

/*
 * starts [batch]: the first tokens of windows in ids, each of ctx + 1 tokens, of which the last ctx are predicted.
 * The gradients of `p` are set to those of the mean loss, which goes to *loss (nats per token).
 */
enum mdq_err train_gradients(struct train_machine *t, struct train_params *p, const int32_t *ids,
                             const int64_t *starts, double *loss);

/*
 * Mean loss (nats per token) over the first `windows` windows of ctx tokens one after the other, tokens 2 to ctx
 * scored: the protocol of mdq-eval's perplexity. windows * ctx <= tokens.
 */
enum mdq_err train_held_out(struct train_machine *t, struct train_params *p, const int32_t *ids, int64_t windows,
                            double *loss);

#endif
