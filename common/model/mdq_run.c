#include "mdq_run.h"

#include <inttypes.h>
#include <math.h>
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
    size_t max_bytes;
};

enum mdq_err mdq_model_embed(const struct mdq_model *m, const int32_t *ids, int64_t tokens, float *x)
{
    const struct mdq_config *c = &m->config;
    const struct mdq_tensor *e = mdq_safetensors_find(m->tensors, "model.embed_tokens.weight");
    if (!e)
        return mdq_fail(MDQ_E_DATA, "%s: model.embed_tokens.weight: is missing", m->dir);
    const size_t row = mdq_dtype_bytes(e->dtype, c->hidden);
    for (int64_t t = 0; t < tokens; t++) {
        if (ids[t] < 0 || ids[t] >= c->vocab)
            return mdq_fail(MDQ_E_DATA,
                            "%s: token %d at position %" PRId64 " is outside the vocabulary of %d: the tokenizer does "
                            "not belong to the model",
                            m->dir, (int)ids[t], t, c->vocab);
        float *to = x + t * c->hidden, sum = 0;
        if (mdq_dtype_to_f32(e->dtype, (const char *)e->data + (size_t)ids[t] * row, c->hidden, to) != 0)
            return mdq_fail(MDQ_E_DATA, "%s: model.embed_tokens.weight: of type %s: want f32, f16 or bf16", m->dir,
                            mdq_dtype_name(e->dtype));
        for (int i = 0; i < c->hidden; i++)
            sum += to[i] - to[i]; /* NaN unless all are finite */
        if (isnan(sum))
            return mdq_fail(MDQ_E_DATA, "%s: model.embed_tokens.weight: row %d: holds values that are not finite",
                            m->dir, (int)ids[t]);
    }
    return MDQ_OK;
}

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
    r->max_bytes = max_bytes;
    r->all = block_bytes(c) * (size_t)c->layers <= max_bytes;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!(r->blocks = mdq_calloc(r->all ? (size_t)c->layers : 1, sizeof *r->blocks, "blocks")))
        goto fail;
    if (!(r->ws = mdq_workspace_new(c)))
        goto fail;
    MDQ_GOTO(err, mdq_run_set_ctx(r, ctx), fail);
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

const struct mdq_model *mdq_run_model(const struct mdq_run *r)
{
    return r->model;
}

bool mdq_run_resident(const struct mdq_run *r)
{
    return r->all;
}

enum mdq_err mdq_run_set_ctx(struct mdq_run *r, int ctx)
{
    const struct mdq_config *c = &r->model->config;
    if (ctx == r->ctx && ctx > 0)
        return MDQ_OK;
    /* anew, not a part of a longer one: some scalings depend on the length */
    mdq_rotary_free(&r->rotary);
    r->ctx = 0;
    MDQ_TRY(mdq_rotary_init(&r->rotary, c, ctx));
    size_t group = r->max_bytes / ((size_t)ctx * (size_t)c->hidden * sizeof(float));
    r->group = group < 1 ? 1 : group > 1 << 20 ? 1 << 20 : (int)group;
    r->ctx = ctx;
    return MDQ_OK;
}

enum mdq_err mdq_run_hidden(struct mdq_run *r, const int32_t *ids, int windows, float *x)
{
    const struct mdq_config *c = &r->model->config;
    int64_t tokens = (int64_t)windows * r->ctx;
    MDQ_TRY(mdq_model_embed(r->model, ids, tokens, x));
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
