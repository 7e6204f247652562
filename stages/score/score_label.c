#include "score_label.h"

#include <math.h>
#include <stdlib.h>

double score_phi(double r)
{
    return !(r > 0) ? 0 : isinf(r) ? 1 : r / (1 + r);
}

double score_overlap_target(double lambda, double priv, double func, double low, double high)
{
    lambda = fmin(fmax(lambda, 0.01), 0.99);
    double x = log(lambda / (1 - lambda)) + log((priv + 1e-3) / (func + 1e-3));
    return low + (high - low) / (1 + exp(-x));
}

void score_labels_free(struct score_labels *l)
{
    free(l->label);
    free(l->target);
    free(l->func);
    free(l->priv);
    *l = (struct score_labels){0};
}

/* ratio: of what was measured of the set to its threshold; share: a point's estimate over the set's mean. */
static double score_of(double weight, double first, double second, double share)
{
    return weight * score_phi(first * share) + (1 - weight) * score_phi(second * share);
}

static double estimate(const struct score_case *c, int64_t i, bool functional)
{
    return functional ? c->p[i].functional : fmax(c->p[i].gain, 0);
}

static double mean_estimate(const struct score_case *c, const int64_t *order, int64_t n, bool functional)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += estimate(c, order[i], functional);
    return n > 0 ? sum / (double)n : 0;
}

enum mdq_err score_labels_make(struct score_labels *l, const struct score_search *s)
{
    const struct score_case *c = s->c;
    const struct score_thresholds *t = s->t;
    const size_t n = (size_t)c->points + 1;
    *l = (struct score_labels){.label = mdq_calloc(n, 1, "labels"), .target = mdq_calloc(n, sizeof(float), "targets"),
                               .func = mdq_calloc(n, sizeof(float), "scores"), .priv = mdq_calloc(n, sizeof(float), "scores")};
    if (!l->label || !l->target || !l->func || !l->priv)
        return MDQ_E_INTERNAL;
    const double mean_func = mean_estimate(c, c->functional, s->functional, true),
                 mean_priv = mean_estimate(c, c->privacy, s->sensitive, false);
    if (s->functional > 0 && mean_func > 0) {
        const struct score_value *v = s->probed[s->functional_whole].effect.v;
        for (int64_t i = 0; i < c->points; i++)
            l->func[i] = (float)score_of(t->weight_functional, v[SCORE_DPPL].value / t->functional_ppl,
                                         v[SCORE_DACC].value / t->functional_accuracy, estimate(c, i, true) / mean_func);
    }
    if (s->sensitive > 0 && mean_priv > 0) {
        const struct score_value *v = s->probed[score_moved(s)].effect.v;
        for (int64_t i = 0; i < c->points; i++)
            l->priv[i] = (float)score_of(t->weight_sensitive, v[SCORE_HSENS].value / t->sensitive_bits,
                                         v[SCORE_DADVANTAGE].value / t->sensitive_advantage, estimate(c, i, false) / mean_priv);
    }
    for (int64_t i = 0; i < s->functional; i++)
        l->label[c->functional[i]] |= MDQ_FUNCTIONAL;
    for (int64_t i = 0; i < s->sensitive; i++)
        l->label[c->privacy[i]] |= MDQ_SENSITIVE;
    for (int64_t i = 0; i < c->points; i++) {
        l->count[l->label[i]]++;
        if (l->label[i] == MDQ_FUNCTIONAL)
            l->target[i] = (float)t->md_functional;
        else if (l->label[i] == MDQ_SENSITIVE)
            l->target[i] = (float)t->md_sensitive;
        else if (l->label[i] == MDQ_OVERLAP)
            l->target[i] = (float)score_overlap_target(t->lambda, l->priv[i], l->func[i], t->md_functional, t->md_sensitive);
    }
    return MDQ_OK;
}
