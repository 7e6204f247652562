/* Perplexity: exp of the mean negative log-likelihood per scored token. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "mdq_log.h"

struct eval_ppl eval_ppl_of(const double *nll, int64_t windows, int ctx)
{
    struct mdq_mean mean = mdq_mean_clustered(nll, windows, ctx - 1);
    return (struct eval_ppl){.perplexity = exp(mean.mean),
                             .se = exp(mean.mean) * mean.se,
                             .nll = mean,
                             .tokens = windows * (ctx - 1)};
}

enum mdq_err eval_ppl(const struct mdq_model *m, const int32_t *ids, int64_t windows, int ctx, struct eval_ppl *out)
{
    const struct mdq_config *c = &m->config;
    struct mdq_run *run = NULL;
    float *x = NULL;
    double *nll = NULL, *scored = NULL;
    int32_t *targets = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_run_new(&run, m, ctx, 0), out);
    int group = mdq_run_group(run) < windows ? mdq_run_group(run) : (int)windows;
    size_t tokens = (size_t)group * (size_t)ctx;
    err = MDQ_E_INTERNAL;
    if (!(x = mdq_alloc_aligned(tokens * (size_t)c->hidden, sizeof *x, "activations")) ||
        !(nll = mdq_alloc(tokens, sizeof *nll, "losses")) ||
        !(targets = mdq_alloc(tokens, sizeof *targets, "targets")) ||
        !(scored = mdq_alloc((size_t)windows * (size_t)(ctx - 1), sizeof *scored, "losses")))
        goto out;
    mdq_progress_start("perplexity", (double)windows * ctx * c->layers, "token-blocks");
    for (int64_t w = 0; w < windows; w += group) {
        int n = windows - w < group ? (int)(windows - w) : group;
        const int32_t *at = ids + w * ctx;
        MDQ_GOTO(err, mdq_run_hidden(run, at, n, x), out);
        for (int64_t t = 0; t < (int64_t)n * ctx; t++)
            targets[t] = (t + 1) % ctx ? at[t + 1] : -1;
        MDQ_GOTO(err, mdq_head_forward(c, mdq_run_outer(run), x, (int64_t)n * ctx, targets, nll, NULL, NULL), out);
        for (int64_t i = 0; i < n; i++)
            memcpy(scored + (w + i) * (ctx - 1), nll + i * ctx, (size_t)(ctx - 1) * sizeof *nll);
    }
    mdq_progress_end();
    *out = eval_ppl_of(scored, windows, ctx);
    err = isfinite(out->nll.mean) ? MDQ_OK : mdq_fail(MDQ_E_DATA, "%s: the loss is not finite", m->dir);
out:
    mdq_run_free(&run);
    free(x);
    free(nll);
    free(targets);
    free(scored);
    return err;
}
