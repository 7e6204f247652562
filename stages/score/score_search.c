#include "score_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"

enum { REFINEMENTS = 5, DRIFT_REFINEMENTS = 3 };
/* Root mean square distortions that are tried, from the first on by doubling. */
#define DRIFT_FIRST 0.01
#define DRIFT_MOST 3

double score_budget(const struct score_thresholds *t)
{
    return t->budget * t->lambda / (1 - t->lambda);
}

static int64_t cap_of(const struct score_case *c, double share, int64_t most)
{
    int64_t n = (int64_t)floor(share * (double)c->points);
    return n < most ? n : most;
}

int64_t score_most_probes(const struct score_case *c, const struct score_thresholds *t)
{
    int64_t blocks = 0, scan = 0;
    for (int64_t n = 1; n <= cap_of(c, t->functional_cap, c->points); n *= 2)
        blocks++;
    for (int64_t n = cap_of(c, t->sensitive_cap, c->with_gain); n > 0; n /= 2)
        scan++;
    return 1 + blocks + 1 + scan + REFINEMENTS + (t->drift_share > 0 ? 12 + 2 * DRIFT_REFINEMENTS : 0);
}

void score_search_free(struct score_search *s)
{
    for (int64_t i = 0; i < s->n; i++)
        score_losses_free(&s->probed[i].losses);
    free(s->probed);
    free(s->stays);
    *s = (struct score_search){0};
}

static enum mdq_err add(struct score_search *s, struct score_probed **out)
{
    if (s->n == s->capacity) {
        int64_t more = s->capacity ? 2 * s->capacity : 32;
        struct score_probed *v = mdq_realloc(s->probed, (size_t)more, sizeof *v, "probes");
        if (!v)
            return MDQ_E_INTERNAL;
        s->probed = v;
        s->capacity = more;
    }
    *out = &s->probed[s->n++];
    **out = (struct score_probed){0};
    return MDQ_OK;
}

/* Points moved, measured against the model as it is. *at = which probe it became. */
static enum mdq_err ask(struct score_search *s, enum score_kind kind, const char *control, int64_t first, int64_t n,
                        struct score_moves *m, int64_t *at)
{
    struct score_probed *p;
    MDQ_TRY(add(s, &p));
    *at = s->n - 1;
    p->kind = kind;
    p->control = control;
    p->first = first;
    p->points = n;
    p->norm = m ? m->norm : 0;
    MDQ_TRY(score_probe(s->prober, m ? m->v : NULL, m ? m->n : 0, &p->losses));
    mdq_progress_add(1);
    return score_effect(s->texts, &s->probed[0].losses, &p->losses, s->t->resamples, s->t->seed, &p->effect);
}

static const int64_t *order_of(const struct score_search *s, enum score_kind kind)
{
    return kind == SCORE_OF_FUNCTIONAL ? s->c->functional : s->c->privacy;
}

static enum mdq_err ask_points(struct score_search *s, enum score_kind kind, int64_t first, int64_t n, int64_t *at)
{
    struct score_moves m;
    const int64_t *points = order_of(s, kind) + first;
    enum mdq_err err = score_moves_new(&m, s->c, points, points, n, kind == SCORE_OF_FUNCTIONAL ? SCORE_ZERO : SCORE_SHIFT, NULL);
    mdq_progress_note("%s, %lld points", kind == SCORE_OF_FUNCTIONAL ? "functional" : "sensitive", (long long)n);
    if (err == MDQ_OK)
        err = ask(s, kind, NULL, first, n, &m, at);
    score_moves_free(&m);
    return err;
}

/* Beside the points first ... first + n - 1 of a rank: as many others, or the same ones elsewhere, as far. */
static enum mdq_err ask_controls(struct score_search *s, enum score_kind kind, int64_t first, int64_t n)
{
    const int64_t *points = order_of(s, kind) + first;
    int64_t *others = mdq_alloc((size_t)n + 1, sizeof *others, "random points"), found, at;
    enum mdq_err err = others ? MDQ_OK : MDQ_E_INTERNAL;
    for (int i = 0; i < s->t->controls && err == MDQ_OK; i++) {
        struct mdq_random random;
        struct score_moves m = {0};
        mdq_random_seed(&random, s->t->seed, kind == SCORE_OF_FUNCTIONAL ? "functional control" : "sensitive control", (uint64_t)first,
                        (uint64_t)(n * 64 + i));
        mdq_progress_note("control of %lld points", (long long)n);
        err = score_random_points(s->c, points, n, kind == SCORE_OF_SENSITIVE, &random, others, &found);
        if (err == MDQ_OK && found == n)
            err = score_moves_new(&m, s->c, others, points, n, kind == SCORE_OF_FUNCTIONAL ? SCORE_RANDOM_AS_ZERO : SCORE_SHIFT, &random);
        if (err == MDQ_OK && found == n)
            err = ask(s, kind, "random points", first, n, &m, &at);
        score_moves_free(&m);
        if (err == MDQ_OK && kind == SCORE_OF_SENSITIVE) {
            err = score_moves_new(&m, s->c, points, points, n, SCORE_RANDOM, &random);
            if (err == MDQ_OK)
                err = ask(s, kind, "random direction", first, n, &m, &at);
            score_moves_free(&m);
        }
    }
    free(others);
    return err;
}

/* ---- what the model cannot do without ---- */

static bool is_functional(const struct score_search *s, const struct score_effect *e)
{
    const bool tasks = s->texts->tasks.n > 0;
    return e->v[SCORE_DPPL].value >= s->t->functional_ppl && (!tasks || e->v[SCORE_DACC].value >= s->t->functional_accuracy);
}

static enum mdq_err find_functional(struct score_search *s)
{
    const int64_t cap = cap_of(s->c, s->t->functional_cap, s->c->points);
    int64_t at;
    for (int64_t n = 1; s->functional < cap; n *= 2) {
        int64_t size = cap - s->functional < n ? cap - s->functional : n;
        MDQ_TRY(ask_points(s, SCORE_OF_FUNCTIONAL, s->functional, size, &at));
        const bool yes = s->probed[at].passed = is_functional(s, &s->probed[at].effect);
        MDQ_TRY(ask_controls(s, SCORE_OF_FUNCTIONAL, s->functional, size));
        if (!yes)
            break;
        s->functional += size;
        s->functional_whole = at;
    }
    if (s->functional > 1) /* more than one block: all of them together */
        MDQ_TRY(ask_points(s, SCORE_OF_FUNCTIONAL, 0, s->functional, &s->functional_whole));
    return MDQ_OK;
}

/* ---- what can be moved to make it forget ---- */

/*
 * Within so much of the budget for certain (by the upper end of the interval: more text lets more of it be spent), and not so far that
 * members stand out by being less likely than others.
 */
static bool within(const struct score_search *s, const struct score_effect *e, double share)
{
    const struct score_value rise = e->v[SCORE_DPPL_SHARE];
    return fmax(rise.value, rise.high) <= share * score_budget(s->t) && !(e->v[SCORE_AUC].value < 0.5);
}

static enum mdq_err try_sensitive(struct score_search *s, int64_t n, bool *yes)
{
    int64_t at;
    MDQ_TRY(ask_points(s, SCORE_OF_SENSITIVE, 0, n, &at));
    *yes = s->probed[at].passed = within(s, &s->probed[at].effect, 1 - s->t->drift_share);
    if (*yes) {
        s->sensitive = n;
        s->sensitive_whole = at;
    }
    return MDQ_OK;
}

static enum mdq_err find_sensitive(struct score_search *s)
{
    const int64_t cap = cap_of(s->c, s->t->sensitive_cap, s->c->with_gain);
    int64_t bad = cap + 1;
    bool yes = false;
    for (int64_t n = cap; n > 0 && !yes; n /= 2) {
        MDQ_TRY(try_sensitive(s, n, &yes));
        if (!yes)
            bad = n;
    }
    s->capped = s->sensitive == cap && cap > 0;
    for (int i = 0; i < REFINEMENTS && s->sensitive > 0 && bad - s->sensitive > 1 && bad <= cap; i++) {
        const int64_t n = s->sensitive + (bad - s->sensitive) / 2;
        MDQ_TRY(try_sensitive(s, n, &yes));
        if (!yes)
            bad = n;
    }
    return MDQ_OK;
}

static struct score_drift drift_of(const struct score_search *s, double md, bool by_row)
{
    return (struct score_drift){.step = score_drift_step(s->c, by_row, md), .most = s->t->drift_cap, .by_row = by_row};
}

/* The sensitive points moved and all others drifting; signs: a control, each point's drift forwards or backwards at random. */
static enum mdq_err ask_drift(struct score_search *s, double md, bool by_row, struct mdq_random *signs, int64_t *at)
{
    struct score_moves m;
    const struct score_drift drift = drift_of(s, md, by_row);
    enum mdq_err err = score_moves_new(&m, s->c, s->c->privacy, s->c->privacy, s->sensitive, SCORE_SHIFT, NULL);
    if (err == MDQ_OK)
        err = score_moves_drift(&m, s->c, s->stays, &drift);
    for (int64_t i = s->sensitive; signs && err == MDQ_OK && i < m.n; i++)
        m.v[i].scale = mdq_random_below(signs, 2) ? m.v[i].scale : -m.v[i].scale;
    mdq_progress_note("drift of %.3f", md);
    if (err == MDQ_OK)
        err = ask(s, SCORE_OF_DRIFT, signs ? "random signs" : NULL, 0, s->sensitive, &m, at);
    if (err == MDQ_OK) {
        s->probed[*at].drift = md;
        s->probed[*at].by_row = by_row;
    }
    score_moves_free(&m);
    return err;
}

/* A search for the drift: the largest that fits, doubling from `first` on, then between what fits and what does not. */
struct drifting {
    bool by_row, by_budget;
    double good, bad;
    int64_t at; /* the probe of `good`; -1: none */
};

static enum mdq_err try_drift(struct score_search *s, struct drifting *d, double md, bool *yes)
{
    int64_t at;
    MDQ_TRY(ask_drift(s, md, d->by_row, NULL, &at));
    const struct score_effect *e = &s->probed[at].effect;
    *yes = s->probed[at].passed = within(s, e, 1);
    if (*yes) {
        d->good = md;
        d->at = at;
    } else {
        d->bad = md;
        d->by_budget = !(e->v[SCORE_AUC].value < 0.5);
    }
    return MDQ_OK;
}

static enum mdq_err search_drift(struct score_search *s, struct drifting *d, double first)
{
    bool yes = true;
    for (double md = first; yes && md <= DRIFT_MOST; md *= 2)
        MDQ_TRY(try_drift(s, d, md, &yes));
    for (double md = first / 2; d->at < 0 && md > DRIFT_FIRST / 20; md /= 2)
        MDQ_TRY(try_drift(s, d, md, &yes));
    for (int i = 0; i < DRIFT_REFINEMENTS && d->at >= 0 && isfinite(d->bad); i++)
        MDQ_TRY(try_drift(s, d, sqrt(d->good * d->bad), &yes));
    return MDQ_OK;
}

static void take_drift(struct score_search *s, const struct drifting *d)
{
    s->drift = d->good;
    s->drift_whole = d->at;
    s->by_budget = d->by_budget;
    s->how = drift_of(s, d->good, d->by_row);
}

/*
 * First by what carries over best to members that are not given. Where the budget ends that and not the attack, rows are weighed by
 * their output gradients too, which buys more for the same perplexity (docs/scoring.md).
 */
static enum mdq_err find_drift(struct score_search *s)
{
    struct drifting even = {.bad = INFINITY, .at = -1}, by_row = {.by_row = true, .bad = INFINITY, .at = -1};
    if (!(s->t->drift_share > 0) || score_drift_step(s->c, false, 1) <= 0)
        return MDQ_OK;
    if (!(s->stays = mdq_calloc((size_t)s->c->points + 1, 1, "points that stay")))
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < s->functional; i++)
        s->stays[s->c->functional[i]] = 1;
    for (int64_t i = 0; i < s->sensitive; i++)
        s->stays[s->c->privacy[i]] = 1;
    MDQ_TRY(search_drift(s, &even, DRIFT_FIRST));
    if (even.at < 0)
        return MDQ_OK;
    take_drift(s, &even);
    if (!even.by_budget || score_drift_step(s->c, true, 1) <= 0)
        return MDQ_OK;
    MDQ_TRY(search_drift(s, &by_row, even.good));
    if (by_row.at >= 0 && s->probed[by_row.at].effect.v[SCORE_AUC].value < s->probed[even.at].effect.v[SCORE_AUC].value)
        take_drift(s, &by_row);
    return MDQ_OK;
}

int64_t score_moved(const struct score_search *s)
{
    return s->drift_whole >= 0 ? s->drift_whole : s->sensitive_whole;
}

static enum mdq_err judge(struct score_search *s)
{
    const int64_t moved = score_moved(s);
    int64_t at;
    /* Moving points against the very members at hand makes them less likely even where they were never seen in training: only a model
     * that already prefers members to unseen text has something to forget. */
    s->prefers = s->probed[0].effect.v[SCORE_AUC].low > 0.5;
    if (moved < 0)
        return MDQ_OK;
    const struct score_value *v = s->probed[moved].effect.v;
    s->memorised = v[SCORE_HSENS].low > 0 && s->prefers;
    s->enough = v[SCORE_HSENS].value >= s->t->sensitive_bits && v[SCORE_DADVANTAGE].value >= s->t->sensitive_advantage;
    const double most = fmax(v[SCORE_DPPL_SHARE].value, v[SCORE_DPPL_SHARE].high);
    s->spent = most > 0 ? most / score_budget(s->t) : 0;
    if (s->sensitive > 0)
        MDQ_TRY(ask_controls(s, SCORE_OF_SENSITIVE, 0, s->sensitive));
    for (int i = 0; i < s->t->controls && s->drift > 0; i++) {
        struct mdq_random random;
        mdq_random_seed(&random, s->t->seed, "drift control", (uint64_t)i, 0);
        MDQ_TRY(ask_drift(s, s->drift, s->how.by_row, &random, &at));
    }
    if (!s->memorised) {
        s->sensitive = 0;
        s->drift = 0;
    }
    return MDQ_OK;
}

enum mdq_err score_search_run(struct score_search *s, const struct score_case *c, const struct score_texts *texts,
                              struct score_prober *prober, const struct score_thresholds *t)
{
    int64_t at;
    *s = (struct score_search){.c = c, .texts = texts, .prober = prober, .t = t, .functional_whole = -1, .sensitive_whole = -1,
                               .drift_whole = -1};
    mdq_progress_start("probes (at most)", (double)score_most_probes(c, t), "probes");
    MDQ_TRY(ask(s, SCORE_OF_MODEL, NULL, 0, 0, NULL, &at));
    MDQ_TRY(find_functional(s));
    MDQ_TRY(find_sensitive(s));
    MDQ_TRY(find_drift(s));
    MDQ_TRY(judge(s));
    mdq_progress_end();
    return MDQ_OK;
}
