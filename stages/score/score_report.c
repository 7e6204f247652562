#include "score_report.h"

#include <math.h>
#include <string.h>

/* "1.23 [0.98, 1.50]" scaled; into one of a few buffers. */
static const char *with_interval(const struct score_value *v, double scale, int digits)
{
    static char buf[8][80];
    static int next;
    char *b = buf[next++ % 8];
    if (!isfinite(v->value))
        return "-";
    if (!isfinite(v->low) || !isfinite(v->high))
        snprintf(b, sizeof buf[0], "%.*f", digits, scale * v->value);
    else
        snprintf(b, sizeof buf[0], "%.*f [%.*f, %.*f]", digits, scale * v->value, digits, scale * v->low, digits, scale * v->high);
    return b;
}

static void print_texts(FILE *f, const struct score_texts *t)
{
    fprintf(f, "texts        %lld members given, %lld matched records that the gradients did not see",
            (long long)t->examples[SCORE_SENSITIVE].n, (long long)t->examples[SCORE_MATCHED].n);
    if (t->examples[SCORE_HELDOUT].n > 0)
        fprintf(f, ", %lld members not given", (long long)t->examples[SCORE_HELDOUT].n);
    fprintf(f, ",\n             %lld windows of general text of %lld tokens, %lld task items\n", (long long)t->examples[SCORE_VALID].n,
            t->examples[SCORE_VALID].n > 0 ? (long long)mdq_examples_length(&t->examples[SCORE_VALID], 0) : 0, (long long)t->tasks.n);
}

static void print_candidates(FILE *f, const struct score_report *r)
{
    const struct score_case *c = r->s->c;
    int64_t n[4] = {0};
    for (int64_t i = 0; i < c->points; i++)
        for (int k = 0; k < 4; k++)
            n[k] += (c->p[i].reasons >> k) & 1;
    fprintf(f, "candidates   %lld of %lld points: %lld by magnitude, %lld by functional Fisher, %lld by privacy rank, %lld super weights\n",
            (long long)r->candidates, (long long)c->points, (long long)n[0], (long long)n[1], (long long)n[2], (long long)n[3]);
    for (int64_t i = 0; i < r->n_spikes; i++)
        fprintf(f, "             super weight: block %d, down_proj [%lld, %lld] (input %.0f, output %.0f times the median channel)\n",
                r->spikes[i].block, (long long)r->spikes[i].row, (long long)r->spikes[i].column, r->spikes[i].input, r->spikes[i].output);
}

static void print_model(FILE *f, const struct score_search *s)
{
    const struct score_value *v = s->probed[0].effect.v;
    fprintf(f, "as it is     perplexity %s", with_interval(&v[SCORE_PERPLEXITY], 1, 3));
    if (s->texts->tasks.n > 0)
        fprintf(f, ", accuracy %s %%", with_interval(&v[SCORE_ACCURACY], 100, 1));
    fprintf(f, ",\n             loss attack AUC %s", with_interval(&v[SCORE_AUC], 1, 3));
    if (s->texts->examples[SCORE_HELDOUT].n > 0)
        fprintf(f, ", on members not given %s", with_interval(&v[SCORE_AUC_HELDOUT], 1, 3));
    fprintf(f, "\n\n");
}

static void print_functional(FILE *f, const struct score_search *s)
{
    const bool tasks = s->texts->tasks.n > 0;
    fprintf(f, "functional: blocks of the functional rank set to zero; one counts from a rise of perplexity of %g", s->t->functional_ppl);
    fprintf(f, tasks ? "\nand a fall of accuracy of %g points on\n" : " on\n(no tasks were given: accuracy was not asked)\n",
            100 * s->t->functional_accuracy);
    fprintf(f, "  %-22s  %-30s  %-28s\n", "points of the rank", "rise of perplexity", tasks ? "fall of accuracy, points" : "");
    for (int64_t i = 0; i < s->n; i++) {
        const struct score_probed *p = &s->probed[i];
        char range[48];
        if (p->kind != SCORE_OF_FUNCTIONAL)
            continue;
        snprintf(range, sizeof range, "%lld to %lld", (long long)p->first + 1, (long long)(p->first + p->points));
        fprintf(f, "  %-22s  %-30s  %-28s%s\n", p->control ? "  random, as far" : range, with_interval(&p->effect.v[SCORE_DPPL], 1, 3),
                tasks ? with_interval(&p->effect.v[SCORE_DACC], 100, 2) : "", p->passed ? "  functional" : "");
    }
    if (s->functional > 0)
        fprintf(f, "  The functional set: the first %lld points of the rank.\n\n", (long long)s->functional);
    else
        fprintf(f, "  No block reached %s: there is no functional set.\n\n", tasks ? "both thresholds" : "the threshold");
}

static void print_verdict(FILE *f, const struct score_search *s)
{
    const struct score_thresholds *t = s->t;
    if (!s->prefers) {
        fprintf(f, "  No evidence of memorisation: the model does not prefer the members to the matched records\n"
                   "  (AUC %s). The sensitive set is empty.\n\n", with_interval(&s->probed[0].effect.v[SCORE_AUC], 1, 3));
        return;
    }
    if (score_moved(s) < 0) {
        fprintf(f, "  Not even one point fits into the budget: there is no sensitive set.\n\n");
        return;
    }
    const struct score_probed *p = &s->probed[score_moved(s)];
    if (!s->memorised) {
        fprintf(f, "  No evidence of memorisation: moving points makes the members no less likely than the matched records\n"
                   "  (H_sens %s bits). The sensitive set is empty.\n\n", with_interval(&p->effect.v[SCORE_HSENS], 1, 2));
        return;
    }
    fprintf(f, "  The sensitive set: the first %lld points of the rank%s", (long long)s->sensitive, s->capped ? ", as many as may be" : "");
    if (s->drift > 0)
        fprintf(f, "; the others drift by a distortion of %.4f (root mean square)%s", s->drift,
                s->how.by_row ? ", rows of large\n  output gradients less (marked r)" : "");
    if (s->spent > 0)
        fprintf(f, ".\n  Together %.0f %% of the budget (upper end of the interval).\n", 100 * s->spent);
    else
        fprintf(f, ".\n  Together nothing of the budget.\n");
    if (s->enough)
        fprintf(f, "  What is moved reaches the thresholds (%g bits, %g of advantage).\n\n", t->sensitive_bits, t->sensitive_advantage);
    else
        fprintf(f, "  Below threshold: H_sens %.2f of %g bits, fall of the advantage %.3f of %g.\n\n", p->effect.v[SCORE_HSENS].value,
                t->sensitive_bits, p->effect.v[SCORE_DADVANTAGE].value, t->sensitive_advantage);
}

static void print_sensitive(FILE *f, const struct score_search *s)
{
    const bool heldout = s->texts->examples[SCORE_HELDOUT].n > 0;
    fprintf(f, "sensitive: points of the privacy rank moved by their protective shift; budget %.3g %% of perplexity (lambda %g),\n"
               "at most %g %% of the points, AUC not below 0.5; %g %% of the budget is left to a drift of all others\n",
            100 * score_budget(s->t), s->t->lambda, 100 * s->t->sensitive_cap, 100 * s->t->drift_share);
    fprintf(f, "  %-18s  %-22s  %-22s  %-20s  %-20s%s\n", "points", "perplexity, %", "H_sens, bits", "AUC", "fall of advantage",
            heldout ? "  not given: H_sens, AUC, fall" : "");
    for (int64_t i = 0; i < s->n; i++) {
        const struct score_probed *p = &s->probed[i];
        char points[32];
        if (p->kind != SCORE_OF_SENSITIVE && p->kind != SCORE_OF_DRIFT)
            continue;
        if (p->kind == SCORE_OF_DRIFT)
            snprintf(points, sizeof points, "%lld, drift %.4f%s", (long long)p->points, p->drift, p->by_row ? " r" : "");
        else
            snprintf(points, sizeof points, "%lld", (long long)p->points);
        fprintf(f, "  %-18s  %-22s  %-22s  %-20s  %-20s", p->control ? p->control : points,
                with_interval(&p->effect.v[SCORE_DPPL_SHARE], 100, 2), with_interval(&p->effect.v[SCORE_HSENS], 1, 2),
                with_interval(&p->effect.v[SCORE_AUC], 1, 3), with_interval(&p->effect.v[SCORE_DADVANTAGE], 1, 3));
        if (heldout)
            fprintf(f, "  %.2f, %.3f, %.3f", p->effect.v[SCORE_HSENS_HELDOUT].value, p->effect.v[SCORE_AUC_HELDOUT].value,
                    p->effect.v[SCORE_DADVANTAGE_HELDOUT].value);
        fprintf(f, "%s\n", i == s->sensitive_whole || i == s->drift_whole ? "  <-" : "");
    }
    print_verdict(f, s);
}

/* Overlap of two sets as Jaccard index, and what independent sets of these sizes would have. */
static void print_overlap(FILE *f, const struct score_report *r, int label, const char *name)
{
    const struct score_case *c = r->s->c;
    double a = 0, b = 0, both = 0, all = (double)c->points;
    for (int64_t i = 0; i < c->points; i++) {
        const bool out = c->p[i].reasons & SCORE_MAGNITUDE, in = r->l->label[i] & label;
        a += out;
        b += in;
        both += out && in;
    }
    const double chance = all > 0 ? a * b / all : 0;
    if (a > 0 && b > 0)
        fprintf(f, "  with the %s set: Jaccard %.3f (by chance %.3f)\n", name, both / (a + b - both), chance / (a + b - chance));
    else
        fprintf(f, "  with the %s set: %s\n", name, a > 0 ? "it is empty" : "there are no magnitude outliers");
}

void score_report_print(FILE *f, const struct score_report *r)
{
    const struct score_search *s = r->s;
    fprintf(f, "model        %s, %lld points in %d layers\n", r->model, (long long)s->c->points, s->c->layers);
    print_texts(f, s->texts);
    print_candidates(f, r);
    print_model(f, s);
    print_functional(f, s);
    print_sensitive(f, s);
    fprintf(f, "labels: %lld functional, %lld sensitive, %lld both, %lld free\n", (long long)r->l->count[MDQ_FUNCTIONAL],
            (long long)r->l->count[MDQ_SENSITIVE], (long long)r->l->count[MDQ_OVERLAP], (long long)r->l->count[MDQ_FREE]);
    fprintf(f, "overlap of the magnitude outliers\n");
    print_overlap(f, r, MDQ_FUNCTIONAL, "functional");
    print_overlap(f, r, MDQ_SENSITIVE, "sensitive");
    fprintf(f, "\nBrackets hold 95 %% intervals (%d paired resamples of the texts).\n", s->t->resamples);
}

void score_report_line(const struct score_report *r, char *buf, size_t size)
{
    const struct score_search *s = r->s;
    int n = snprintf(buf, size, "%lld points: %lld functional, %lld sensitive, %lld both", (long long)s->c->points,
                     (long long)r->l->count[MDQ_FUNCTIONAL], (long long)r->l->count[MDQ_SENSITIVE], (long long)r->l->count[MDQ_OVERLAP]);
    if (n < 0 || (size_t)n >= size)
        return;
    if (s->memorised) {
        const struct score_value *v = s->probed[score_moved(s)].effect.v;
        snprintf(buf + n, size - (size_t)n, "; H_sens %.1f bits, AUC %.3f to %.3f, perplexity %+.2f %%%s", v[SCORE_HSENS].value,
                 s->probed[0].effect.v[SCORE_AUC].value, v[SCORE_AUC].value, 100 * v[SCORE_DPPL_SHARE].value,
                 s->enough ? "" : " (below threshold)");
    } else
        snprintf(buf + n, size - (size_t)n, "; %s",
                 s->prefers && score_moved(s) < 0 ? "nothing fits into the budget" : "no evidence of memorisation");
}
