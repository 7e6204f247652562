#include "train_step.h"

#include <stdlib.h>
#include <string.h>

enum mdq_err train_machine_new(struct train_machine *t, const struct mdq_config *c, int batch, int ctx)
{
    *t = (struct train_machine){.batch = batch, .ctx = ctx, .layers = c->layers};
    MDQ_TRY(mdq_rotary_init(&t->rotary, c, ctx));
    size_t tokens = (size_t)batch * (size_t)ctx;
    t->x = mdq_alloc_aligned(tokens * (size_t)c->hidden, sizeof(float), "activations");
    t->dx = mdq_alloc_aligned(tokens * (size_t)c->hidden, sizeof(float), "gradients of activations");
    t->inputs = mdq_alloc(tokens, sizeof *t->inputs, "tokens");
    t->targets = mdq_alloc(tokens, sizeof *t->targets, "tokens");
    t->nll = mdq_alloc(tokens, sizeof *t->nll, "losses");
    t->ws = mdq_calloc((size_t)c->layers, sizeof *t->ws, "workspaces");
    if (!t->x || !t->dx || !t->inputs || !t->targets || !t->nll || !t->ws)
        return MDQ_E_INTERNAL;
    for (int i = 0; i < c->layers; i++)
        if (!(t->ws[i] = mdq_workspace_new(c)))
            return MDQ_E_INTERNAL;
    return MDQ_OK;
}

void train_machine_free(struct train_machine *t)
{
    for (int i = 0; t->ws && i < t->layers; i++)
        mdq_workspace_free(&t->ws[i]);
    free(t->ws);
    free(t->x);
    free(t->dx);
    free(t->inputs);
    free(t->targets);
    free(t->nll);
    mdq_rotary_free(&t->rotary);
    memset(t, 0, sizeof *t);
}

static enum mdq_err forward(struct train_machine *t, struct train_params *p, int windows, bool keep)
{
    const struct mdq_config *c = &p->config;
    MDQ_TRY(mdq_embed(c, &p->outer, t->inputs, (int64_t)windows * t->ctx, t->x));
    for (int i = 0; i < c->layers; i++)
        MDQ_TRY(mdq_block_forward(c, &p->blocks[i], i, &t->rotary, t->x, windows, t->ctx, t->ws[keep ? i : 0], keep,
                                  NULL, NULL));
    return MDQ_OK;
}

enum mdq_err train_gradients(struct train_machine *t, struct train_params *p, const int32_t *ids,
                             const int64_t *starts, double *loss)
{
    const struct mdq_config *c = &p->config;
    int64_t tokens = (int64_t)t->batch * t->ctx;
    for (int b = 0; b < t->batch; b++) {
        memcpy(t->inputs + (int64_t)b * t->ctx, ids + starts[b], (size_t)t->ctx * sizeof *ids);
        memcpy(t->targets + (int64_t)b * t->ctx, ids + starts[b] + 1, (size_t)t->ctx * sizeof *ids);
    }
    train_params_zero_grads(p);
    MDQ_TRY(forward(t, p, t->batch, true));
    MDQ_TRY(mdq_head_backward(c, &p->outer, t->x, tokens, t->targets, (float)(1.0 / (double)tokens), t->dx,
                              &p->outer_grads, loss));
    *loss /= (double)tokens;
    for (int i = c->layers - 1; i >= 0; i--)
        MDQ_TRY(mdq_block_backward(c, &p->blocks[i], i, &t->rotary, t->dx, t->batch, t->ctx, t->ws[i],
                                   &p->block_grads[i]));
    mdq_embed_backward(c, t->inputs, tokens, t->dx, &p->outer_grads);
    return MDQ_OK;
}

enum mdq_err train_held_out(struct train_machine *t, struct train_params *p, const int32_t *ids, int64_t windows,
                            double *loss)
{
    double sum = 0;
    for (int64_t from = 0; from < windows; from += t->batch) {
        int n = (int)(windows - from < t->batch ? windows - from : t->batch);
        int64_t tokens = (int64_t)n * t->ctx;
        memcpy(t->inputs, ids + from * t->ctx, (size_t)tokens * sizeof *ids);
        for (int64_t i = 0; i < tokens; i++)
            t->targets[i] = (i + 1) % t->ctx ? t->inputs[i + 1] : -1;
        MDQ_TRY(forward(t, p, n, false));
        MDQ_TRY(mdq_head_forward(&p->config, &p->outer, t->x, tokens, t->targets, t->nll, NULL, NULL));
        for (int64_t i = 0; i < tokens; i++)
            sum += t->nll[i];
    }
    *loss = sum / (double)(windows * (t->ctx - 1));
    return MDQ_OK;
}
