/* Small models with random weights, for the tests of the transformer. */
#ifndef RANDOM_MODEL_H
#define RANDOM_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "mdq_transformer.h"

static inline float random_unit(uint64_t *state) /* in [-1, 1) */
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int32_t)(*state >> 32)) / 2147483648.0f;
}

static inline void random_fill(uint64_t *state, float *x, size_t n, float mean, float spread)
{
    for (size_t i = 0; i < n; i++)
        x[i] = mean + spread * random_unit(state);
}

struct random_model {
    struct mdq_config c;
    struct mdq_rotary rotary;
    struct mdq_block *blocks, *grads;
    struct mdq_outer outer, outer_grads;
    struct mdq_workspace **ws; /* one per layer */
};

static inline struct mdq_config random_config(int hidden, int inner, int heads, int kv_heads, int dim, int vocab, int layers)
{
    return (struct mdq_config){.hidden = hidden, .intermediate = inner, .heads = heads, .kv_heads = kv_heads, .head_dim = dim,
                               .vocab = vocab, .layers = layers, .max_position = 4096, .rms_eps = 1e-5,
                               .rope = {.type = MDQ_ROPE_DEFAULT, .theta = 10000, .factor = 1, .truncate = true}};
}

static inline void random_block(const struct mdq_config *c, struct mdq_block *b, uint64_t *seed)
{
    if (mdq_block_alloc(c, b) != MDQ_OK)
        abort();
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        random_fill(seed, b->linear[l], (size_t)(out * in), 0, l <= MDQ_K_PROJ ? 0.5f : 0.2f);
        if (b->bias[l])
            random_fill(seed, b->bias[l], (size_t)out, 0, 0.3f);
    }
    random_fill(seed, b->attn_norm, (size_t)c->hidden, 1, 0.5f);
    random_fill(seed, b->mlp_norm, (size_t)c->hidden, 1, 0.5f);
    if (c->qk_norm) {
        random_fill(seed, b->q_norm, (size_t)c->head_dim, 1, 0.5f);
        random_fill(seed, b->k_norm, (size_t)c->head_dim, 1, 0.5f);
    }
}

static inline void outer_alloc(const struct mdq_config *c, struct mdq_outer *o)
{
    o->tied = c->tied;
    o->embedding = calloc((size_t)c->vocab * (size_t)c->hidden, sizeof(float));
    o->norm = calloc((size_t)c->hidden, sizeof(float));
    o->head = c->tied ? o->embedding : calloc((size_t)c->vocab * (size_t)c->hidden, sizeof(float));
    if (!o->embedding || !o->norm || !o->head)
        abort();
}

static inline void random_model_new(struct random_model *m, struct mdq_config c, int ctx)
{
    uint64_t seed = 7;
    *m = (struct random_model){.c = c};
    m->blocks = calloc((size_t)c.layers, sizeof *m->blocks);
    m->grads = calloc((size_t)c.layers, sizeof *m->grads);
    m->ws = calloc((size_t)c.layers, sizeof(void *));
    if (!m->blocks || !m->grads || !m->ws || mdq_rotary_init(&m->rotary, &c, ctx) != MDQ_OK)
        abort();
    for (int i = 0; i < c.layers; i++) {
        random_block(&c, &m->blocks[i], &seed);
        if (mdq_block_alloc(&c, &m->grads[i]) != MDQ_OK || !(m->ws[i] = mdq_workspace_new(&c)))
            abort();
    }
    outer_alloc(&c, &m->outer);
    outer_alloc(&c, &m->outer_grads);
    size_t n = (size_t)c.vocab * (size_t)c.hidden;
    random_fill(&seed, m->outer.embedding, n, 0, 1);
    random_fill(&seed, m->outer.norm, (size_t)c.hidden, 1, 0.5f);
    if (!c.tied)
        random_fill(&seed, m->outer.head, n, 0, 0.5f);
}

static inline void random_model_free(struct random_model *m)
{
    for (int i = 0; i < m->c.layers; i++) {
        mdq_block_free(&m->blocks[i]);
        mdq_block_free(&m->grads[i]);
        mdq_workspace_free(&m->ws[i]);
    }
    free(m->blocks);
    free(m->grads);
    free(m->ws);
    mdq_outer_free(&m->outer);
    mdq_outer_free(&m->outer_grads);
    mdq_rotary_free(&m->rotary);
}

#endif
