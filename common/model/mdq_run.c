#include "mdq_run.h"

#include <stdlib.h>

#include "mdq_log.h"

struct mdq_run {
    const struct mdq_model *model;
    struct mdq_outer outer;
    struct mdq_rotary rotary;
    struct mdq_workspace *ws;
    struct mdq_block *blocks; /* one, reused, or one per layer */
    bool all, loaded;
    int ctx, group;
};

static size_t block_bytes(const struct mdq_config *c)
{
    size_t n = 0;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t rows, cols;
        mdq_linear_shape(c, (enum mdq_linear)l, &rows, &cols);
        n += (size_t)(rows * cols) * sizeof(float);
    }
    return n;
}

enum mdq_err mdq_run_new(struct mdq_run **out, const struct mdq_model *m, int ctx, size_t max_bytes)
{
    const struct mdq_config *c = &m->config;
    struct mdq_run *r = *out = mdq_calloc(1, sizeof *r, "model run");
    if (!r)
        return MDQ_E_INTERNAL;
    if (max_bytes == 0)
        max_bytes = (size_t)1 << 30;
    r->model = m;
    r->ctx = ctx;
    size_t group = max_bytes / ((size_t)ctx * (size_t)c->hidden * sizeof(float));
    r->group = group < 1 ? 1 : group > 1 << 20 ? 1 << 20 : (int)group;
    r->all = block_bytes(c) * (size_t)c->layers <= max_bytes;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!(r->blocks = mdq_calloc(r->all ? (size_t)c->layers : 1, sizeof *r->blocks, "blocks")))
        goto fail;
    if (!(r->ws = mdq_workspace_new(c)))
        goto fail;
    MDQ_GOTO(err, mdq_rotary_init(&r->rotary, c, ctx), fail);
    MDQ_GOTO(err, mdq_model_load_outer(m, &r->outer), fail);
    return MDQ_OK;
fail:
    mdq_run_free(out);
    return err;
}

void mdq_run_free(struct mdq_run **run)
{
    struct mdq_run *r = run ? *run : NULL;
    if (!r)
        return;
    for (int i = 0; r->blocks && i < (r->all ? r->model->config.layers : 1); i++)
        mdq_block_free(&r->blocks[i]);
    free(r->blocks);
    mdq_workspace_free(&r->ws);
    mdq_rotary_free(&r->rotary);
    mdq_outer_free(&r->outer);
    free(r);
    *run = NULL;
}

int mdq_run_group(const struct mdq_run *r)
{
    return r->group;
}

const struct mdq_outer *mdq_run_outer(const struct mdq_run *r)
{
    return &r->outer;
}

enum mdq_err mdq_run_hidden(struct mdq_run *r, const int32_t *ids, int windows, float *x)
{
    const struct mdq_config *c = &r->model->config;
    int64_t tokens = (int64_t)windows * r->ctx;
    MDQ_TRY(mdq_embed(c, &r->outer, ids, tokens, x));
    for (int i = 0; i < c->layers; i++) {
        struct mdq_block *b = &r->blocks[r->all ? i : 0];
        if (!r->all || !r->loaded)
            MDQ_TRY(mdq_model_load_block(r->model, i, b));
        MDQ_TRY(mdq_block_forward(c, b, i, &r->rotary, x, windows, r->ctx, r->ws, false, NULL, NULL));
        mdq_progress_add((double)tokens);
    }
    r->loaded = r->all;
    return MDQ_OK;
}
