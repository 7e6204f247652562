/* Final norm, head, loss and their gradients, a bounded block of tokens at a time. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_linalg.h"
#include "mdq_transformer_impl.h"

enum {
    SMALL_VOCAB = 4096,          /* up to which a block of logits stays in a core's cache */
    LOGITS_FLOATS = 1 << 24,     /* logits in memory at a time, otherwise */
    SMALL_FLOATS = 1 << 21,      /* the same for a small model backward: malloc then keeps the memory between calls */
    EXP_CHUNK = 4096,            /* terms summed in float32, before a sum in double */
};

struct pass {
    const struct mdq_config *c;
    const struct mdq_outer *o;
    const float *x;
    const int32_t *targets;
    double *nll;
    mdq_logits_each *each;
    void *arg;
    struct mdq_rows rows;
    float *panels; /* of the head, or NULL */
    /* backward: of each token, or one of all (NULL) */
    const float *weights;
    float weight;
};

static struct mdq_rows head_rows(const struct mdq_config *c, int64_t tokens)
{
    struct mdq_rows r = mdq_rows_of(c, tokens);
    if (c->vocab > SMALL_VOCAB)
        r.small = r.tiles = false;
    if (!r.small) {
        r.block = LOGITS_FLOATS / c->vocab / MDQ_SUM_ROWS * MDQ_SUM_ROWS;
        r.block = r.block < MDQ_SUM_ROWS ? MDQ_SUM_ROWS : r.block > 2048 ? 2048 : r.block;
    }
    return r;
}

/* The head in panels, where that serves. Released by the caller. */
static enum mdq_err fill_panels(struct pass *p)
{
    int64_t vocab = p->c->vocab, hidden = p->c->hidden;
    if (!p->rows.tiles)
        return MDQ_OK;
    p->panels = mdq_alloc_aligned(mdq_panels_floats(vocab, hidden, true), sizeof *p->panels, "head");
    if (!p->panels)
        return MDQ_E_INTERNAL;
    mdq_panels_fill(vocab, hidden, p->o->head, true, p->panels);
    return MDQ_OK;
}

/* p = exp(l - max l) in place; returns -ln softmax(l)[target] and the sum of p. */
static double softmax(int n, float *l, int32_t target, double *sum)
{
    float shift = mdq_max(n, l), at = target >= 0 ? l[target] : 0;
    *sum = 0;
    for (int j = 0; j < n; j += EXP_CHUNK)
        *sum += (double)mdq_exp_sum(n - j < EXP_CHUNK ? n - j : EXP_CHUNK, 1, shift, l + j, l + j);
    return target >= 0 ? log(*sum) + (double)shift - (double)at : 0;
}

/* Logits of tokens [t, t + n). False: the input is not finite. */
static bool logits(const struct pass *p, int64_t t, int64_t n, float *h, float *l, float *rstd)
{
    int hidden = p->c->hidden, vocab = p->c->vocab;
    bool finite = mdq_rmsnorm(n, hidden, p->x + t * hidden, hidden, p->o->norm, p->c->rms_eps, h, hidden, rstd);
    mdq_rows_linear(&p->rows, h, hidden, p->o->head, p->panels, NULL, n, hidden, vocab, false, l, vocab);
    return finite;
}

static bool forward_rows(const struct pass *p, int64_t t, int64_t n, float *h, float *l)
{
    int vocab = p->c->vocab;
    bool finite = logits(p, t, n, h, l, NULL);
#pragma omp parallel for schedule(static) if (!p->rows.small) reduction(&& : finite)
    for (int64_t i = 0; i < n; i++) {
        if (p->each)
            p->each(p->arg, t + i, l + i * vocab);
        if (!p->nll)
            continue;
        double sum;
        p->nll[t + i] = softmax(vocab, l + i * vocab, p->targets[t + i], &sum);
        finite = finite && isfinite(p->nll[t + i]);
    }
    return finite;
}

static enum mdq_err check_targets(const struct mdq_config *c, const int32_t *targets, int64_t tokens)
{
    for (int64_t t = 0; t < tokens; t++)
        if (targets[t] >= c->vocab)
            return mdq_fail(MDQ_E_DATA, "token %lld: target id %d, but the model's vocabulary has %d entries", (long long)t,
                            (int)targets[t], c->vocab);
    return MDQ_OK;
}

static enum mdq_err not_finite(void)
{
    return mdq_fail(MDQ_E_DATA, "head: logits are not finite (weights out of range, or an input that was already broken)");
}

enum mdq_err mdq_head_forward(const struct mdq_config *c, const struct mdq_outer *o, const float *x, int64_t tokens,
                              const int32_t *targets, double *nll, mdq_logits_each *each, void *arg)
{
    struct pass p = {.c = c, .o = o, .x = x, .targets = targets, .nll = nll, .each = each, .arg = arg,
                     .rows = head_rows(c, tokens)};
    mdq_one_blas_thread();
    if (nll)
        MDQ_TRY(check_targets(c, targets, tokens));
    int64_t block = p.rows.block < tokens ? p.rows.block : tokens;
    size_t threads = p.rows.small ? (size_t)omp_get_max_threads() : 1, each_h = (size_t)(block * c->hidden + 15) / 16 * 16,
           stride = each_h + (size_t)(block * c->vocab + 15) / 16 * 16;
    float *scratch = mdq_alloc_aligned(threads * stride, sizeof *scratch, "logits");
    if (!scratch || fill_panels(&p) != MDQ_OK) {
        free(scratch);
        return MDQ_E_INTERNAL;
    }
    bool finite = true;
#pragma omp parallel for schedule(dynamic, 1) if (p.rows.small) reduction(&& : finite)
    for (int64_t t = 0; t < tokens; t += block) {
        float *h = scratch + (p.rows.small ? stride * (size_t)omp_get_thread_num() : 0);
        finite = forward_rows(&p, t, tokens - t < block ? tokens - t : block, h, h + each_h) && finite;
    }
    free(scratch);
    free(p.panels);
    return finite ? MDQ_OK : not_finite();
}

/* What the backward pass holds of a stretch of tokens: [tokens, hidden], [tokens, vocab], [tokens], [sums, hidden]. */
struct stretch {
    float *h, *l, *rstd, *partial;
    double *nll;
};

static void stretch_free(struct stretch *s)
{
    free(s->h);
    free(s->l);
    free(s->rstd);
    free(s->partial);
    free(s->nll);
}

/* Tokens [t, t + n); s points at their rows. h is still the norm's output afterwards, l the gradient of the logits. */
static bool backward_rows(const struct pass *p, int64_t t, int64_t n, const struct stretch *s, float *dx, bool want_norm)
{
    int hidden = p->c->hidden, vocab = p->c->vocab;
    bool finite = logits(p, t, n, s->h, s->l, s->rstd);
#pragma omp parallel for schedule(static) if (!p->rows.small) reduction(&& : finite)
    for (int64_t i = 0; i < n; i++) {
        float *l = s->l + i * vocab, weight = p->weights ? p->weights[t + i] : p->weight;
        double sum;
        s->nll[i] = softmax(vocab, l, p->targets[t + i], &sum);
        finite = finite && isfinite(s->nll[i]);
        float scale = p->targets[t + i] >= 0 ? (float)(weight / sum) : 0;
#pragma omp simd
        for (int j = 0; j < vocab; j++)
            l[j] *= scale;
        if (p->targets[t + i] >= 0)
            l[p->targets[t + i]] -= weight;
    }
    mdq_rows_linear_back(&p->rows, s->l, vocab, p->o->head, NULL, n, vocab, hidden, false, dx);
#pragma omp parallel for schedule(static) if (!p->rows.small)
    for (int64_t i = 0; i < n; i += MDQ_SUM_ROWS)
        mdq_rmsnorm_backward(n - i < MDQ_SUM_ROWS ? n - i : MDQ_SUM_ROWS, hidden, p->x + (t + i) * hidden, hidden, p->o->norm,
                             s->rstd + i, dx + i * hidden, hidden, NULL, dx + i * hidden, hidden,
                             want_norm ? s->partial + i / MDQ_SUM_ROWS * hidden : NULL);
    return finite;
}

static enum mdq_err head_backward(struct pass p, int64_t tokens, float *dx, struct mdq_outer *g, double *loss)
{
    const struct mdq_config *c = p.c;
    p.rows = head_rows(c, tokens);
    *loss = 0;
    mdq_one_blas_thread();
    MDQ_TRY(check_targets(c, p.targets, tokens));
    int hidden = c->hidden, vocab = c->vocab;
    int64_t block = p.rows.block, length = block;
    if (p.rows.small) /* as much as fits, so that the product over tokens is long */
        length = SMALL_FLOATS / vocab / block * block;
    length = length < block ? block : length;
    size_t n = (size_t)(length < tokens ? length : tokens), sums = (n + MDQ_SUM_ROWS - 1) / MDQ_SUM_ROWS;
    struct stretch s = {.h = mdq_alloc_aligned(n * (size_t)hidden, sizeof *s.h, "head gradients"),
                        .l = mdq_alloc_aligned(n * (size_t)vocab, sizeof *s.l, "logits"),
                        .rstd = mdq_alloc(n, sizeof *s.rstd, "head gradients"),
                        .partial = mdq_alloc(sums * (size_t)hidden, sizeof *s.partial, "head gradients"),
                        .nll = mdq_alloc(n, sizeof *s.nll, "head gradients")};
    float *d_head = c->tied ? g->embedding : g->head;
    bool finite = s.h && s.l && s.rstd && s.partial && s.nll;
    if (!finite || fill_panels(&p) != MDQ_OK) {
        stretch_free(&s);
        return MDQ_E_INTERNAL;
    }
    for (int64_t t0 = 0; t0 < tokens && finite; t0 += length) {
        int64_t m = tokens - t0 < length ? tokens - t0 : length;
        memset(s.partial, 0, sums * (size_t)hidden * sizeof *s.partial);
#pragma omp parallel for schedule(dynamic, 1) if (p.rows.small) reduction(&& : finite)
        for (int64_t r = 0; r < m; r += block) {
            struct stretch at = {s.h + r * hidden, s.l + r * vocab, s.rstd + r, s.partial + r / MDQ_SUM_ROWS * hidden,
                                 s.nll + r};
            finite = backward_rows(&p, t0 + r, m - r < block ? m - r : block, &at, dx + (t0 + r) * hidden,
                                   g->norm != NULL) && finite;
        }
        for (int64_t t = 0; t < m; t++)
            *loss += s.nll[t];
        if (g->norm)
            mdq_column_sums((m + MDQ_SUM_ROWS - 1) / MDQ_SUM_ROWS, hidden, s.partial, hidden, g->norm);
        if (d_head)
            mdq_gemm(1, 0, vocab, hidden, m, 1, s.l, vocab, s.h, hidden, 1, d_head, hidden);
    }
    stretch_free(&s);
    free(p.panels);
    return finite ? MDQ_OK : not_finite();
}

enum mdq_err mdq_head_backward(const struct mdq_config *c, const struct mdq_outer *o, const float *x,
                               int64_t tokens, const int32_t *targets, float weight, float *dx,
                               struct mdq_outer *g, double *loss)
{
    return head_backward((struct pass){.c = c, .o = o, .x = x, .targets = targets, .weight = weight}, tokens, dx, g, loss);
}

enum mdq_err mdq_head_backward_weighted(const struct mdq_config *c, const struct mdq_outer *o, const float *x,
                                        int64_t tokens, const int32_t *targets, const float *weights, float *dx,
                                        struct mdq_outer *g, double *loss)
{
    return head_backward((struct pass){.c = c, .o = o, .x = x, .targets = targets, .weights = weights}, tokens, dx, g, loss);
}

void mdq_embed_backward(const struct mdq_config *c, const int32_t *ids, int64_t tokens, const float *dx,
                        struct mdq_outer *g)
{
    enum { COLUMNS = 64 }; /* a thread owns these of all rows, and adds the tokens in order */
    if (!g->embedding)
        return;
#pragma omp parallel for schedule(static)
    for (int j0 = 0; j0 < c->hidden; j0 += COLUMNS) {
        int n = c->hidden - j0 < COLUMNS ? c->hidden - j0 : COLUMNS;
        for (int64_t t = 0; t < tokens; t++) {
            float *to = g->embedding + (int64_t)ids[t] * c->hidden + j0;
            const float *from = dx + t * c->hidden + j0;
#pragma omp simd
            for (int j = 0; j < n; j++)
                to[j] += from[j];
        }
    }
}
