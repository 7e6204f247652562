#include "score_effect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_bootstrap.h"
#include "mdq_roc.h"

struct pair {
    const struct score_texts *t;
    const double *before[SCORE_SETS], *after[SCORE_SETS];
    int64_t n[SCORE_SETS];
    int64_t tokens_valid; /* per window */
    struct mdq_roc roc[2][2]; /* given or not, before or after */
};

/* Mean of the drawn units. */
static double mean_of(const double *v, int64_t n, const int32_t *count)
{
    double sum = 0, units = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += count[i] * v[i];
        units += count[i];
    }
    return sum / units;
}

static double perplexity(const struct pair *p, const double *v, const int32_t *count)
{
    return p->n[SCORE_VALID] > 0 ? exp(mean_of(v, p->n[SCORE_VALID], count) / (double)p->tokens_valid) : NAN;
}

/* Units: members given, matched, members not given, matched again (for them), windows, items. */
static void measure(void *arg, const int32_t *count, double *out)
{
    const struct pair *p = arg;
    const int32_t *at[SCORE_SETS];
    const int64_t *n = p->n;
    at[SCORE_SENSITIVE] = count;
    at[SCORE_MATCHED] = count + n[SCORE_SENSITIVE];
    at[SCORE_HELDOUT] = at[SCORE_MATCHED] + n[SCORE_MATCHED];
    at[SCORE_VALID] = at[SCORE_HELDOUT] + n[SCORE_HELDOUT] + (n[SCORE_HELDOUT] ? n[SCORE_MATCHED] : 0);
    at[SCORE_TASKS] = at[SCORE_VALID] + n[SCORE_VALID];
    const double ppl0 = perplexity(p, p->before[SCORE_VALID], at[SCORE_VALID]);
    const double ppl1 = perplexity(p, p->after[SCORE_VALID], at[SCORE_VALID]);
    out[SCORE_PERPLEXITY] = ppl1;
    out[SCORE_DPPL] = ppl1 - ppl0;
    out[SCORE_DPPL_SHARE] = ppl1 / ppl0 - 1;
    const double acc0 = n[SCORE_TASKS] ? mean_of(p->before[SCORE_TASKS], n[SCORE_TASKS], at[SCORE_TASKS]) : NAN;
    const double acc1 = n[SCORE_TASKS] ? mean_of(p->after[SCORE_TASKS], n[SCORE_TASKS], at[SCORE_TASKS]) : NAN;
    out[SCORE_ACCURACY] = acc1;
    out[SCORE_DACC] = acc0 - acc1;
    for (int held = 0; held < 2; held++) {
        const enum score_set s = held ? SCORE_HELDOUT : SCORE_SENSITIVE;
        double *o = out + (held ? SCORE_AUC_HELDOUT : SCORE_AUC);
        o[0] = o[1] = o[2] = NAN;
        if (n[s] == 0 || n[SCORE_MATCHED] == 0)
            continue;
        struct mdq_roc_values b = mdq_roc_values(&p->roc[held][0], at[s]), a = mdq_roc_values(&p->roc[held][1], at[s]);
        const int32_t *matched = at[s] + n[s];
        const double rise = mean_of(p->after[s], n[s], at[s]) - mean_of(p->before[s], n[s], at[s]);
        const double rise_r = mean_of(p->after[SCORE_MATCHED], n[SCORE_MATCHED], matched) -
                              mean_of(p->before[SCORE_MATCHED], n[SCORE_MATCHED], matched);
        o[0] = a.auc;
        o[1] = b.advantage - a.advantage;
        o[2] = (rise - rise_r) / log(2);
    }
}

/* Losses per token of a set. */
static enum mdq_err per_token(const struct mdq_examples *e, const double *sums, double **out)
{
    if (!(*out = mdq_alloc((size_t)e->n + 1, sizeof **out, "losses")))
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < e->n; i++)
        (*out)[i] = sums[i] / (double)score_scored(e, i);
    return MDQ_OK;
}

static enum mdq_err make_roc(struct pair *p, int held, int after)
{
    const enum score_set s = held ? SCORE_HELDOUT : SCORE_SENSITIVE;
    const double *const *from = after ? p->after : p->before;
    double *members = NULL, *others = NULL;
    enum mdq_err err = per_token(&p->t->examples[s], from[s], &members);
    if (err == MDQ_OK)
        err = per_token(&p->t->examples[SCORE_MATCHED], from[SCORE_MATCHED], &others);
    if (err == MDQ_OK)
        err = mdq_roc_new(&p->roc[held][after], members, p->n[s], others, p->n[SCORE_MATCHED]);
    free(members);
    free(others);
    return err;
}

enum mdq_err score_effect(const struct score_texts *t, const struct score_losses *before, const struct score_losses *after, int resamples,
                          uint64_t seed, struct score_effect *out)
{
    struct pair p = {.t = t};
    enum mdq_err err = MDQ_OK;
    int64_t units = 0;
    double values[SCORE_MEASURES];
    for (int s = 0; s < SCORE_SETS; s++) {
        p.before[s] = before->values[s];
        p.after[s] = after->values[s];
        p.n[s] = before->n[s];
    }
    p.tokens_valid = p.n[SCORE_VALID] > 0 ? score_scored(&t->examples[SCORE_VALID], 0) : 1;
    const bool heldout = p.n[SCORE_HELDOUT] > 0;
    const int64_t sizes[] = {p.n[SCORE_SENSITIVE], p.n[SCORE_MATCHED], p.n[SCORE_HELDOUT], heldout ? p.n[SCORE_MATCHED] : 0,
                             p.n[SCORE_VALID], p.n[SCORE_TASKS]};
    for (int held = 0; held < 1 + heldout && err == MDQ_OK; held++)
        for (int a = 0; a < 2 && err == MDQ_OK && p.n[SCORE_MATCHED] > 0 && p.n[SCORE_SENSITIVE] > 0; a++)
            err = make_roc(&p, held, a);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        units += sizes[i];
    int32_t *once = mdq_alloc((size_t)units + 1, sizeof *once, "units");
    double *draws = mdq_alloc((size_t)resamples * SCORE_MEASURES + 1, sizeof *draws, "bootstrap");
    if (err == MDQ_OK && (!once || !draws))
        err = MDQ_E_INTERNAL;
    if (err == MDQ_OK) {
        for (int64_t i = 0; i < units; i++)
            once[i] = 1;
        measure(&p, once, values);
        err = mdq_bootstrap(&(struct mdq_resampling){.sizes = sizes, .groups = 6, .resamples = resamples, .seed = seed, .name = "score"},
                            measure, &p, SCORE_MEASURES, draws);
    }
    for (int k = 0; k < SCORE_MEASURES && err == MDQ_OK; k++) {
        struct mdq_interval i = mdq_percentile_interval(draws + (size_t)k * (size_t)resamples, resamples);
        out->v[k] = (struct score_value){values[k], i.low, i.high};
    }
    for (int k = 0; k < 4; k++)
        mdq_roc_free(&p.roc[k / 2][k % 2]);
    free(once);
    free(draws);
    return err;
}
