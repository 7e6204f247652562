#include "train_params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train_optim.h"

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t train_random(uint64_t seed, uint64_t stream, uint64_t i)
{
    const uint64_t gamma = 0x9e3779b97f4a7c15u;
    return mix(mix(mix(seed + gamma) + stream * gamma) + (i + 1) * gamma);
}

/* Box and Muller: element i of a stream of normal deviates. */
static double normal(uint64_t seed, uint64_t stream, uint64_t i)
{
    double u = ((double)(train_random(seed, stream, i & ~1ull) >> 11) + 0.5) * 0x1p-53;
    double a = (double)(train_random(seed, stream, i | 1) >> 11) * 0x1p-53 * 6.283185307179586477;
    return sqrt(-2 * log(u)) * (i & 1 ? sin(a) : cos(a));
}

enum { PER_BLOCK = 2 * MDQ_LINEARS + 4 };

static void add(struct train_params *p, const char *name, int64_t rows, int64_t columns, float *w, float *g)
{
    if (!w)
        return;
    struct train_tensor *t = &p->tensors[p->count++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->ndim = columns ? 2 : 1;
    t->shape[0] = rows, t->shape[1] = columns;
    t->n = rows * (columns ? columns : 1);
    t->decay = columns > 0;
    t->w = w, t->g = g;
    p->total += t->n;
}

static void add_block(struct train_params *p, int i)
{
    struct mdq_block *b = &p->blocks[i], *g = &p->block_grads[i];
    const struct mdq_config *c = &p->config;
    char name[96];
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        add(p, mdq_linear_name(name, i, (enum mdq_linear)l), out, in, b->linear[l], g->linear[l]);
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", i, mdq_linear_suffix((enum mdq_linear)l));
        add(p, name, out, 0, b->bias[l], g->bias[l]);
    }
    const struct { const char *suffix; int n; float *w, *g; } norms[] = {
        {"input_layernorm", c->hidden, b->attn_norm, g->attn_norm},
        {"post_attention_layernorm", c->hidden, b->mlp_norm, g->mlp_norm},
        {"self_attn.q_norm", c->head_dim, b->q_norm, g->q_norm},
        {"self_attn.k_norm", c->head_dim, b->k_norm, g->k_norm}};
    for (int k = 0; k < 4; k++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, norms[k].suffix);
        add(p, name, norms[k].n, 0, norms[k].w, norms[k].g);
    }
}

static enum mdq_err outer_new(struct mdq_outer *o, const struct mdq_config *c)
{
    size_t rows = (size_t)c->vocab, columns = (size_t)c->hidden;
    o->tied = c->tied;
    o->embedding = mdq_calloc(rows * columns, sizeof(float), "embedding");
    o->norm = mdq_calloc(columns, sizeof(float), "final norm");
    o->head = c->tied ? o->embedding : mdq_calloc(rows * columns, sizeof(float), "head");
    return o->embedding && o->norm && o->head ? MDQ_OK : MDQ_E_INTERNAL;
}

enum mdq_err train_params_new(struct train_params *p, const struct mdq_config *c)
{
    memset(p, 0, sizeof *p);
    p->config = *c;
    size_t layers = (size_t)c->layers;
    p->blocks = mdq_calloc(layers, sizeof *p->blocks, "blocks");
    p->block_grads = mdq_calloc(layers, sizeof *p->block_grads, "gradients");
    p->tensors = mdq_calloc(layers * PER_BLOCK + 3, sizeof *p->tensors, "tensors");
    if (!p->blocks || !p->block_grads || !p->tensors)
        return MDQ_E_INTERNAL;
    MDQ_TRY(outer_new(&p->outer, c));
    MDQ_TRY(outer_new(&p->outer_grads, c));
    add(p, "model.embed_tokens.weight", c->vocab, c->hidden, p->outer.embedding, p->outer_grads.embedding);
    for (int i = 0; i < c->layers; i++) {
        MDQ_TRY(mdq_block_alloc(c, &p->blocks[i]));
        MDQ_TRY(mdq_block_alloc(c, &p->block_grads[i]));
        add_block(p, i);
    }
    add(p, "model.norm.weight", c->hidden, 0, p->outer.norm, p->outer_grads.norm);
    if (!c->tied)
        add(p, "lm_head.weight", c->vocab, c->hidden, p->outer.head, p->outer_grads.head);
    if (!(p->moments = mdq_calloc((size_t)p->total, 2 * sizeof(float), "moments")))
        return MDQ_E_INTERNAL;
    int64_t at = 0;
    for (int i = 0; i < p->count; at += p->tensors[i++].n) {
        p->tensors[i].m = p->moments + at;
        p->tensors[i].v = p->moments + p->total + at;
    }
    return MDQ_OK;
}

void train_params_free(struct train_params *p)
{
    for (int i = 0; i < p->config.layers; i++) {
        if (p->blocks)
            mdq_block_free(&p->blocks[i]);
        if (p->block_grads)
            mdq_block_free(&p->block_grads[i]);
    }
    free(p->blocks);
    free(p->block_grads);
    mdq_outer_free(&p->outer);
    mdq_outer_free(&p->outer_grads);
    free(p->moments);
    free(p->tensors);
    memset(p, 0, sizeof *p);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

void train_params_init(struct train_params *p, uint64_t seed, double std)
{
    for (int i = 0; i < p->count; i++) {
        struct train_tensor *t = &p->tensors[i];
        bool residual = ends_with(t->name, ".o_proj.weight") || ends_with(t->name, ".down_proj.weight");
        double spread = residual ? std / sqrt(2.0 * p->config.layers) : std;
        bool bias = ends_with(t->name, ".bias");
        for (int64_t k = 0; k < t->n; k++)
            t->w[k] = t->ndim == 2 ? (float)(spread * normal(seed, (uint64_t)i + 1, (uint64_t)k)) : bias ? 0 : 1;
    }
}

enum mdq_err train_params_load(struct train_params *p, const struct mdq_model *m)
{
    /* the loaders give pointers of their own, which the list does not know: copied */
    struct mdq_block b = {0};
    struct mdq_outer o = {0};
    enum mdq_err err = mdq_model_load_outer(m, &o);
    if (err != MDQ_OK)
        return err;
    size_t rows = (size_t)p->config.vocab, columns = (size_t)p->config.hidden;
    memcpy(p->outer.embedding, o.embedding, rows * columns * sizeof(float));
    memcpy(p->outer.norm, o.norm, columns * sizeof(float));
    if (!p->config.tied)
        memcpy(p->outer.head, o.head, rows * columns * sizeof(float));
    for (int i = 0; i < p->config.layers && err == MDQ_OK; i++) {
        if ((err = mdq_model_load_block(m, i, &b)) != MDQ_OK)
            break;
        struct mdq_block *to = &p->blocks[i];
        const struct { float *to, *from; int64_t n; } rest[] = {
            {to->attn_norm, b.attn_norm, p->config.hidden}, {to->mlp_norm, b.mlp_norm, p->config.hidden},
            {to->q_norm, b.q_norm, p->config.head_dim}, {to->k_norm, b.k_norm, p->config.head_dim}};
        for (int k = 0; k < 4; k++)
            if (rest[k].to && rest[k].from)
                memcpy(rest[k].to, rest[k].from, (size_t)rest[k].n * sizeof(float));
        for (int l = 0; l < MDQ_LINEARS; l++) {
            int64_t out, in;
            mdq_linear_shape(&p->config, (enum mdq_linear)l, &out, &in);
            memcpy(to->linear[l], b.linear[l], (size_t)(out * in) * sizeof(float));
            if (to->bias[l] && b.bias[l])
                memcpy(to->bias[l], b.bias[l], (size_t)out * sizeof(float));
        }
    }
    mdq_block_free(&b);
    mdq_outer_free(&o);
    return err;
}

void train_params_zero_grads(struct train_params *p)
{
    for (int i = 0; i < p->count; i++)
        memset(p->tensors[i].g, 0, (size_t)p->tensors[i].n * sizeof(float));
}

double train_params_grad_norm(const struct train_params *p)
{
    double sum = 0;
    for (int i = 0; i < p->count; i++)
        sum += train_square_sum(p->tensors[i].g, p->tensors[i].n);
    return sqrt(sum);
}
