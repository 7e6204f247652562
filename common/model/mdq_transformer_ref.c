/* The forward pass in double precision, written for plainness: one token, one head, one sum at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_transformer.h"

static void rmsnorm(int n, const double *x, const float *w, double eps, double *y)
{
    double sum = 0;
    for (int j = 0; j < n; j++)
        sum += x[j] * x[j];
    double scale = 1 / sqrt(sum / n + eps);
    for (int j = 0; j < n; j++)
        y[j] = x[j] * scale * (double)w[j];
}

static void linear(int64_t out, int64_t in, const float *w, const float *bias, const double *x, double *y)
{
    for (int64_t i = 0; i < out; i++) {
        double sum = bias ? (double)bias[i] : 0;
        for (int64_t j = 0; j < in; j++)
            sum += (double)w[i * in + j] * x[j];
        y[i] = sum;
    }
}

static void rotate(int half, const float *cosine, const float *sine, double *x)
{
    for (int j = 0; j < half; j++) {
        double a = x[j], b = x[half + j];
        x[j] = a * (double)cosine[j] - b * (double)sine[j];
        x[half + j] = b * (double)cosine[j] + a * (double)sine[j];
    }
}

/* Query i of one head against keys [first, i]; k and v are the head's first rows, ld apart. p: scratch [ctx]. */
static void attend(int dim, int first, int i, const double *q, const double *k, const double *v, int64_t ld, double *p,
                   double *o)
{
    double max = -INFINITY, sum = 0;
    for (int j = first; j <= i; j++) {
        p[j] = 0;
        for (int d = 0; d < dim; d++)
            p[j] += q[d] * k[j * ld + d];
        p[j] /= sqrt(dim);
        max = fmax(max, p[j]);
    }
    for (int j = first; j <= i; j++)
        sum += p[j] = exp(p[j] - max);
    for (int d = 0; d < dim; d++) {
        o[d] = 0;
        for (int j = first; j <= i; j++)
            o[d] += p[j] / sum * v[j * ld + d];
    }
}

/* One window. qkv [ctx, q_dim + 2 kv_dim], the rest one token's. */
struct scratch {
    double *h, *qkv, *o, *y, *gate, *up, *p;
};

static void forward_window(const struct mdq_config *c, const struct mdq_block *b, int window, const struct mdq_rotary *r,
                           double *x, int ctx, const struct scratch *s)
{
    int dim = c->head_dim, half = dim / 2, hidden = c->hidden, inner = c->intermediate;
    int64_t q_dim = (int64_t)c->heads * dim, kv_dim = (int64_t)c->kv_heads * dim, ld = q_dim + 2 * kv_dim;
    for (int t = 0; t < ctx; t++) {
        double *q = s->qkv + t * ld, *k = q + q_dim;
        rmsnorm(hidden, x + (int64_t)t * hidden, b->attn_norm, c->rms_eps, s->h);
        linear(q_dim, hidden, b->linear[MDQ_Q_PROJ], b->bias[MDQ_Q_PROJ], s->h, q);
        linear(kv_dim, hidden, b->linear[MDQ_K_PROJ], b->bias[MDQ_K_PROJ], s->h, k);
        linear(kv_dim, hidden, b->linear[MDQ_V_PROJ], b->bias[MDQ_V_PROJ], s->h, k + kv_dim);
        for (int h = 0; h < c->heads + c->kv_heads; h++) {
            if (c->qk_norm)
                rmsnorm(dim, q + h * dim, h < c->heads ? b->q_norm : b->k_norm, c->rms_eps, q + h * dim);
            rotate(half, r->cos + t * half, r->sin + t * half, q + h * dim);
        }
    }
    for (int t = 0; t < ctx; t++) {
        double *xt = x + (int64_t)t * hidden;
        const double *q = s->qkv + t * ld;
        for (int h = 0; h < c->heads; h++) {
            const double *k = s->qkv + q_dim + h / (c->heads / c->kv_heads) * dim;
            attend(dim, window > 0 && t >= window ? t - window + 1 : 0, t, q + h * dim, k, k + kv_dim, ld, s->p,
                   s->o + h * dim);
        }
        linear(hidden, q_dim, b->linear[MDQ_O_PROJ], b->bias[MDQ_O_PROJ], s->o, s->y);
        for (int j = 0; j < hidden; j++)
            xt[j] += s->y[j];
        rmsnorm(hidden, xt, b->mlp_norm, c->rms_eps, s->h);
        linear(inner, hidden, b->linear[MDQ_GATE_PROJ], b->bias[MDQ_GATE_PROJ], s->h, s->gate);
        linear(inner, hidden, b->linear[MDQ_UP_PROJ], b->bias[MDQ_UP_PROJ], s->h, s->up);
        for (int j = 0; j < inner; j++)
            s->up[j] *= s->gate[j] / (1 + exp(-s->gate[j]));
        linear(hidden, inner, b->linear[MDQ_DOWN_PROJ], b->bias[MDQ_DOWN_PROJ], s->up, s->y);
        for (int j = 0; j < hidden; j++)
            xt[j] += s->y[j];
    }
}

enum mdq_err mdq_block_forward_ref(const struct mdq_config *c, const struct mdq_block *b, int block_index,
                                   const struct mdq_rotary *r, double *x, int windows, int ctx)
{
    size_t hidden = (size_t)c->hidden, inner = (size_t)c->intermediate, q_dim = (size_t)(c->heads * c->head_dim);
    size_t ld = q_dim + 2 * (size_t)(c->kv_heads * c->head_dim);
    double *all = mdq_alloc(2 * hidden + (size_t)ctx * ld + q_dim + 2 * inner + (size_t)ctx, sizeof *all, "block");
    if (!all)
        return MDQ_E_INTERNAL;
    struct scratch s = {.h = all, .y = all + hidden, .qkv = all + 2 * hidden};
    s.o = s.qkv + (size_t)ctx * ld;
    s.gate = s.o + q_dim;
    s.up = s.gate + inner;
    s.p = s.up + inner;
    int window = c->sliding_window > 0 && block_index >= c->window_layers_from ? c->sliding_window : 0;
    for (int w = 0; w < windows; w++)
        forward_window(c, b, window, r, x + (size_t)w * (size_t)ctx * hidden, ctx, &s);
    free(all);
    return MDQ_OK;
}

enum mdq_err mdq_head_forward_ref(const struct mdq_config *c, const struct mdq_outer *o, const double *x,
                                  int64_t tokens, const int32_t *targets, double *nll, double *logits)
{
    size_t hidden = (size_t)c->hidden, vocab = (size_t)c->vocab;
    double *h = mdq_alloc(hidden + vocab, sizeof *h, "logits"), *row = h + hidden;
    if (!h)
        return MDQ_E_INTERNAL;
    for (int64_t t = 0; t < tokens; t++) {
        double max = -INFINITY, sum = 0;
        rmsnorm(c->hidden, x + (size_t)t * hidden, o->norm, c->rms_eps, h);
        linear(c->vocab, c->hidden, o->head, NULL, h, row);
        if (logits)
            memcpy(logits + (size_t)t * vocab, row, vocab * sizeof *row);
        if (!nll)
            continue;
        for (size_t j = 0; j < vocab; j++)
            max = fmax(max, row[j]);
        for (size_t j = 0; j < vocab; j++)
            sum += exp(row[j] - max);
        nll[t] = targets[t] < 0 ? 0 : log(sum) + max - row[targets[t]];
    }
    free(h);
    return MDQ_OK;
}
