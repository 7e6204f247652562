/* KL divergence of a model's next-token distributions from a reference's, position by position. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "mdq_log.h"

struct eval_position eval_compare(const float *a, const float *b, int64_t n, int64_t target)
{
    int64_t best_a = 0, best_b = 0;
    for (int64_t i = 1; i < n; i++) {
        if (a[i] > a[best_a])
            best_a = i;
        if (b[i] > b[best_b])
            best_b = i;
    }
    const double top_a = a[best_a], top_b = b[best_b];
    double za = 0, zb = 0, cross = 0;
    for (int64_t i = 0; i < n; i++) {
        double ea = exp(a[i] - top_a);
        za += ea;
        zb += exp(b[i] - top_b);
        cross += ea * ((a[i] - top_a) - (b[i] - top_b));
    }
    double kl = cross / za - log(za) + log(zb);
    return (struct eval_position){.kl = kl > 0 ? kl : 0, /* rounding may leave a value a little below zero */
                                  .nll_p = log(za) - (a[target] - top_a),
                                  .nll_q = log(zb) - (b[target] - top_b),
                                  .same = best_a == best_b};
}

struct chunk {
    float *reference;          /* logits [tokens, vocab] */
    struct eval_position *at;  /* [tokens] */
    const int32_t *next;       /* the token after each */
    int64_t vocab;
};

static void keep(void *arg, int64_t t, const float *logits)
{
    struct chunk *c = arg;
    memcpy(c->reference + t * c->vocab, logits, (size_t)c->vocab * sizeof *logits);
}

static void compare(void *arg, int64_t t, const float *logits)
{
    struct chunk *c = arg;
    c->at[t] = eval_compare(c->reference + t * c->vocab, logits, c->vocab, c->next[t]);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { CHUNK_BYTES = 128 << 20 };

enum mdq_err eval_kld(const struct mdq_model *m, const struct mdq_model *reference, const int32_t *ids,
                      int64_t windows, int ctx, struct eval_kld *out)
{
    const struct mdq_config *c = &m->config, *cr = &reference->config;
    if (c->vocab != cr->vocab)
        return mdq_fail(MDQ_E_DATA, "%s: vocabulary of %d differs from %d of %s: not the same kind of model", m->dir,
                        c->vocab, cr->vocab, reference->dir);
    struct mdq_run *run = NULL, *run_r = NULL;
    float *x = NULL, *xr = NULL;
    double *kl = NULL, *same = NULL, *difference = NULL, *nll = NULL, sum_p = 0;
    int32_t *next = NULL;
    struct chunk chunk = {.vocab = c->vocab};
    int64_t per = CHUNK_BYTES / ((int64_t)c->vocab * (int64_t)sizeof(float));
    per = per < 1 ? 1 : per;
    int64_t scored = windows * (ctx - 1), done = 0;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_run_new(&run, m, ctx, 0), out);
    MDQ_GOTO(err, mdq_run_new(&run_r, reference, ctx, 0), out);
    int group = mdq_run_group(run) < mdq_run_group(run_r) ? mdq_run_group(run) : mdq_run_group(run_r);
    group = group < windows ? group : (int)windows;
    size_t tokens = (size_t)group * (size_t)ctx;
    err = MDQ_E_INTERNAL;
    if (!(x = mdq_alloc_aligned(tokens * (size_t)c->hidden, sizeof *x, "activations")) ||
        !(xr = mdq_alloc_aligned(tokens * (size_t)cr->hidden, sizeof *xr, "activations")) ||
        !(chunk.reference = mdq_alloc_aligned((size_t)(per * c->vocab), sizeof(float), "logits")) ||
        !(chunk.at = mdq_alloc((size_t)per, sizeof *chunk.at, "positions")) ||
        !(next = mdq_alloc((size_t)per, sizeof *next, "targets")) ||
        !(nll = mdq_alloc((size_t)scored, sizeof *nll, "losses")) ||
        !(difference = mdq_alloc((size_t)scored, sizeof *difference, "differences")) ||
        !(kl = mdq_alloc((size_t)scored, sizeof *kl, "divergences")) ||
        !(same = mdq_alloc((size_t)scored, sizeof *same, "agreements")))
        goto out;
    mdq_progress_start("divergence", (double)windows * ctx * (c->layers + cr->layers), "token-blocks");
    for (int64_t w = 0; w < windows; w += group) {
        int n = windows - w < group ? (int)(windows - w) : group;
        MDQ_GOTO(err, mdq_run_hidden(run_r, ids + w * ctx, n, xr), out);
        MDQ_GOTO(err, mdq_run_hidden(run, ids + w * ctx, n, x), out);
        for (int64_t t = 0; t < (int64_t)n * ctx; t += per) {
            int64_t k = (int64_t)n * ctx - t < per ? (int64_t)n * ctx - t : per;
            for (int64_t i = 0; i < k; i++) /* what a window's last position is compared on does not count below */
                next[i] = (t + i + 1) % ctx ? ids[w * ctx + t + i + 1] : 0;
            chunk.next = next;
            MDQ_GOTO(err, mdq_head_forward(cr, mdq_run_outer(run_r), xr + t * cr->hidden, k, NULL, NULL, keep, &chunk),
                     out);
            MDQ_GOTO(err, mdq_head_forward(c, mdq_run_outer(run), x + t * c->hidden, k, NULL, NULL, compare, &chunk),
                     out);
            for (int64_t i = 0; i < k; i++)
                if ((t + i + 1) % ctx) { /* the last position of a window predicts nothing that is scored */
                    kl[done] = chunk.at[i].kl;
                    same[done] = chunk.at[i].same;
                    sum_p += chunk.at[i].nll_p;
                    nll[done] = chunk.at[i].nll_q;
                    difference[done++] = chunk.at[i].nll_q - chunk.at[i].nll_p;
                }
        }
    }
    mdq_progress_end();
    out->tokens = scored;
    out->kl = mdq_mean_clustered(kl, windows, ctx - 1);
    out->difference = mdq_mean_clustered(difference, windows, ctx - 1);
    out->ppl = eval_ppl_of(nll, windows, ctx);
    out->reference_perplexity = exp(sum_p / (double)scored);
    out->top1 = mdq_mean_clustered(same, windows, ctx - 1);
    qsort(kl, (size_t)scored, sizeof *kl, by_value);
    out->kl_median = kl[scored / 2];
    out->kl_p99 = kl[(int64_t)(0.99 * (double)(scored - 1))];
    out->kl_max = kl[scored - 1];
    err = isfinite(out->kl.mean) ? MDQ_OK : mdq_fail(MDQ_E_DATA, "%s: the divergence is not finite", m->dir);
out:
    mdq_run_free(&run);
    mdq_run_free(&run_r);
    free(x);
    free(xr);
    free(chunk.reference);
    free(chunk.at);
    free(next);
    free(difference);
    free(nll);
    free(kl);
    free(same);
    return err;
}
