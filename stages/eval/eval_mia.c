/* Membership inference on records: attacks, their ROC, what chance would give, and how two models differ. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval_attacks.h"
#include "eval_metrics.h"
#include "mdq_bootstrap.h"
#include "mdq_log.h"
#include "mdq_roc.h"

/* A set of records under a model, token by token. */
struct tokens {
    const struct mdq_examples *e;
    double *nll, *z; /* [e->ids.n], first tokens have none */
    int64_t vocab;
};

/* What one model says. Units: the members first, then the others. */
struct side {
    const char *dir;
    int64_t members, units;
    struct eval_texts texts;
    struct tokens tokens[2];
    double *score[EVAL_ATTACKS]; /* [units]; NULL: not made */
    double *reference;           /* [units], the reference's mean losses, or NULL */
    int n;                       /* attacks made, the first so many */
    struct mdq_roc roc[EVAL_ATTACKS];
    struct mdq_roc_values values[EVAL_ATTACKS];
    int best;
    double *draws; /* [VALUES * n + 1, resamples], NULL where there is no interval */
};

enum { AUC, ADVANTAGE, TPR_1, TPR_01, VALUES };

static void side_free(struct side *s)
{
    for (int set = 0; set < 2; set++) {
        free(s->tokens[set].nll);
        free(s->tokens[set].z);
    }
    for (int k = 0; k < EVAL_ATTACKS; k++) {
        free(s->score[k]);
        mdq_roc_free(&s->roc[k]);
    }
    free(s->draws);
    eval_texts_free(&s->texts);
}

static void keep_z(void *arg, int64_t example, int64_t position, int32_t target, const float *logits)
{
    struct tokens *x = arg;
    x->z[x->e->first[example] + position] = eval_token_z(logits, x->vocab, target);
}

/* Losses, and z where asked for, of both sets. */
static enum mdq_err look(const struct eval_model *m, const struct eval_texts *texts, bool z, struct tokens tokens[2])
{
    double work = 0;
    for (int set = 0; set < 2; set++)
        work += mdq_example_work(m->run, &texts->of[set], 0, texts->of[set].n);
    mdq_progress_start("records", work, "token-blocks");
    for (int set = 0; set < 2; set++) {
        struct tokens *x = &tokens[set];
        x->e = &texts->of[set];
        x->vocab = m->m->config.vocab;
        if (!(x->nll = mdq_calloc((size_t)x->e->ids.n, sizeof *x->nll, "losses")) ||
            (z && !(x->z = mdq_calloc((size_t)x->e->ids.n, sizeof *x->z, "losses"))))
            return MDQ_E_INTERNAL;
        MDQ_TRY(eval_losses(m, x->e, false, x->nll, z ? keep_z : NULL, x));
    }
    mdq_progress_end();
    return MDQ_OK;
}

static double mean_loss(const struct tokens *x, int64_t i)
{
    return mdq_example_sum(x->e, i, false, x->nll) / (double)(mdq_examples_length(x->e, i) - 1);
}

/* The mean losses of the reference model, which cuts the same texts into its own tokens. */
static enum mdq_err reference_losses(const struct eval_opts *o, double **out)
{
    struct eval_model m;
    struct eval_texts texts = {0};
    struct tokens tokens[2] = {0};
    enum mdq_err err;
    MDQ_GOTO(err, eval_model_open(&m, o->reference, o), out);
    MDQ_GOTO(err, eval_texts_read(&texts, &m, o), out);
    MDQ_GOTO(err, look(&m, &texts, false, tokens), out);
    const int64_t members = texts.of[0].n, units = members + texts.of[1].n;
    if (!(*out = mdq_alloc((size_t)units, sizeof **out, "losses"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    for (int64_t u = 0; u < units; u++)
        (*out)[u] = u < members ? mean_loss(&tokens[0], u) : mean_loss(&tokens[1], u - members);
out:
    free(tokens[0].nll);
    free(tokens[1].nll);
    eval_texts_free(&texts);
    eval_model_close(&m);
    return err;
}

static enum mdq_err make_scores(struct side *s, const struct eval_opts *o)
{
    int64_t longest = 1;
    for (int set = 0; set < 2; set++)
        longest = s->texts.of[set].longest > longest ? s->texts.of[set].longest : longest;
    double *v = mdq_alloc((size_t)longest, sizeof *v, "losses"), *scratch = mdq_alloc((size_t)longest, sizeof *v, "losses");
    enum mdq_err err = v && scratch ? MDQ_OK : MDQ_E_INTERNAL;
    for (int k = 0; k < s->n && !err; k++)
        if (!(s->score[k] = mdq_alloc((size_t)s->units, sizeof *s->score[k], "scores")))
            err = MDQ_E_INTERNAL;
    for (int64_t u = 0; u < s->units && !err; u++) {
        const struct tokens *x = &s->tokens[u < s->members ? 0 : 1];
        const int64_t i = u < s->members ? u : u - s->members, n = mdq_examples_length(x->e, i) - 1, at = x->e->first[i] + 1;
        const double loss = mean_loss(x, i);
        size_t bytes;
        for (int64_t t = 0; t < n; t++)
            v[t] = -x->nll[at + t];
        err = eval_zlib_bytes(x->e->text[i], x->e->bytes[i], &bytes);
        s->score[EVAL_LOSS][u] = loss;
        s->score[EVAL_ZLIB][u] = loss / (double)bytes;
        s->score[EVAL_MIN_K][u] = eval_min_k(v, n, o->min_k, scratch);
        s->score[EVAL_MIN_K_PP][u] = eval_min_k(x->z + at, n, o->min_k, scratch);
        if (s->reference)
            s->score[EVAL_REFERENCE][u] = loss - s->reference[u];
    }
    free(v);
    free(scratch);
    return err;
}

static void resampled(void *arg, const int32_t *count, double *out)
{
    const struct side *s = arg;
    double best = 0;
    for (int k = 0; k < s->n; k++) {
        const struct mdq_roc_values v = mdq_roc_values(&s->roc[k], count);
        const double all[VALUES] = {v.auc, v.advantage, v.tpr_1, v.tpr_01};
        memcpy(out + k * VALUES, all, sizeof all);
        best = v.advantage > best ? v.advantage : best;
    }
    out[VALUES * s->n] = best;
}

/* Both models of a comparison draw the same texts: the name, the seed and the counts are the same. */
static enum mdq_err resample(struct side *s, const struct eval_opts *o)
{
    const int64_t sizes[2] = {s->members, s->units - s->members};
    if (sizes[0] < 2 || sizes[1] < 2)
        return MDQ_OK;
    const struct mdq_resampling how = {sizes, 2, o->resamples, o->cli.seed, "texts"};
    if (!(s->draws = mdq_alloc((size_t)(VALUES * s->n + 1) * (size_t)o->resamples, sizeof *s->draws, "bootstrap")))
        return MDQ_E_INTERNAL;
    return mdq_bootstrap(&how, resampled, s, VALUES * s->n + 1, s->draws);
}

static enum mdq_err attack(struct side *s, const struct eval_opts *o)
{
    struct eval_model m;
    enum mdq_err err;
    MDQ_GOTO(err, eval_model_open(&m, s->dir, o), out);
    MDQ_GOTO(err, eval_texts_read(&s->texts, &m, o), out);
    s->members = s->texts.of[0].n;
    s->units = s->members + s->texts.of[1].n;
    s->n = s->reference ? EVAL_ATTACKS : EVAL_REFERENCE;
    MDQ_GOTO(err, look(&m, &s->texts, true, s->tokens), out);
    MDQ_GOTO(err, make_scores(s, o), out);
    for (int k = 0; k < s->n; k++) {
        MDQ_GOTO(err, mdq_roc_new(&s->roc[k], s->score[k], s->members, s->score[k] + s->members, s->units - s->members), out);
        s->values[k] = mdq_roc_values(&s->roc[k], NULL);
        if (s->values[k].advantage > s->values[s->best].advantage)
            s->best = k;
    }
    err = resample(s, o);
out:
    eval_model_close(&m);
    return err;
}

/* The interval of output `at`; the draws themselves stay in their order, for differences. */
static enum mdq_err interval(const double *draws, int at, int resamples, struct mdq_interval *out)
{
    *out = (struct mdq_interval){NAN, NAN};
    if (!draws)
        return MDQ_OK;
    double *copy = mdq_alloc((size_t)resamples, sizeof *copy, "bootstrap");
    if (!copy)
        return MDQ_E_INTERNAL;
    memcpy(copy, draws + (int64_t)at * resamples, (size_t)resamples * sizeof *copy);
    *out = mdq_percentile_interval(copy, resamples);
    free(copy);
    return MDQ_OK;
}

static enum mdq_err print_attack(const struct side *s, int k, const struct eval_opts *o, struct mdq_output *out)
{
    const bool best = k == s->n;
    const int of = best ? s->best : k;
    const struct mdq_roc_values *v = &s->values[of];
    struct mdq_interval ci[VALUES];
    for (int i = 0; i < VALUES; i++)
        MDQ_TRY(interval(s->draws, best && i == ADVANTAGE ? VALUES * s->n : VALUES * of + i, o->resamples, &ci[i]));
    struct eval_line l;
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "mia");
    eval_line_text(&l, "attack", best ? "best" : eval_attack_names[k]);
    if (best)
        eval_line_text(&l, "of", eval_attack_names[of]);
    eval_line_number(&l, "auc", v->auc);
    eval_line_interval(&l, "auc_ci95", ci[AUC]);
    eval_line_number(&l, "advantage", v->advantage);
    eval_line_interval(&l, "advantage_ci95", ci[ADVANTAGE]);
    eval_line_number(&l, "tpr_at_1_fpr", v->tpr_1);
    eval_line_interval(&l, "tpr_at_1_fpr_ci95", ci[TPR_1]);
    eval_line_number(&l, "tpr_at_0.1_fpr", v->tpr_01);
    eval_line_interval(&l, "tpr_at_0.1_fpr_ci95", ci[TPR_01]);
    if (best) {
        double chance, *draws = mdq_alloc((size_t)o->resamples, sizeof *draws, "permutations");
        enum mdq_err err = draws ? mdq_roc_chance(s->roc, s->n, o->resamples, o->cli.seed, &chance, draws) : MDQ_E_INTERNAL;
        if (!err) {
            int as_good = 0;
            for (int p = 0; p < o->resamples; p++)
                as_good += draws[p] >= v->advantage - 1e-12;
            eval_line_number(&l, "chance", chance);
            eval_line_number(&l, "p", (1.0 + as_good) / (1.0 + o->resamples));
        }
        free(draws);
        if (err) {
            eval_line_drop(&l);
            return err;
        }
    }
    eval_line_int(&l, "members", s->members);
    eval_line_int(&l, "nonmembers", s->units - s->members);
    return eval_line_end(&l, out);
}

/* The loss attack on the members that were trained on `repeats` times, against all others. */
static enum mdq_err print_repeats(const struct side *s, int64_t repeats, const struct eval_opts *o, struct mdq_output *out)
{
    const struct mdq_examples *e = &s->texts.of[EVAL_MEMBERS];
    struct side part = {.units = s->units - s->members, .n = 1};
    double *score = part.score[EVAL_LOSS] = mdq_alloc((size_t)s->units, sizeof *score, "scores");
    if (!score)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < e->n; i++)
        if (e->repeats[i] == repeats)
            score[part.members++] = s->score[EVAL_LOSS][i];
    memcpy(score + part.members, s->score[EVAL_LOSS] + s->members, (size_t)part.units * sizeof *score);
    part.units += part.members;
    struct mdq_interval ci[2];
    struct mdq_roc_values v;
    struct eval_line l;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_roc_new(&part.roc[0], score, part.members, score + part.members, part.units - part.members), out);
    v = mdq_roc_values(&part.roc[0], NULL);
    MDQ_GOTO(err, resample(&part, o), out);
    MDQ_GOTO(err, interval(part.draws, AUC, o->resamples, &ci[0]), out);
    MDQ_GOTO(err, interval(part.draws, ADVANTAGE, o->resamples, &ci[1]), out);
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "mia");
    eval_line_text(&l, "attack", eval_attack_names[EVAL_LOSS]);
    eval_line_int(&l, "repeats", repeats);
    eval_line_number(&l, "auc", v.auc);
    eval_line_interval(&l, "auc_ci95", ci[0]);
    eval_line_number(&l, "advantage", v.advantage);
    eval_line_interval(&l, "advantage_ci95", ci[1]);
    eval_line_number(&l, "tpr_at_1_fpr", v.tpr_1);
    eval_line_number(&l, "tpr_at_0.1_fpr", v.tpr_01);
    eval_line_int(&l, "members", part.members);
    eval_line_int(&l, "nonmembers", part.units - part.members);
    err = eval_line_end(&l, out);
out:
    side_free(&part);
    return err;
}

static enum mdq_err print_difference(const struct side *a, const struct side *b, int k, const struct eval_opts *o, struct mdq_output *out)
{
    const bool best = k == a->n;
    const double x = a->values[best ? a->best : k].advantage, y = b->values[best ? b->best : k].advantage;
    const int at = best ? VALUES * a->n : VALUES * k + ADVANTAGE, n = o->resamples;
    struct mdq_interval ci = {NAN, NAN}, relative_ci = {NAN, NAN};
    if (a->draws && b->draws) {
        double *d = mdq_alloc(2 * (size_t)n, sizeof *d, "bootstrap");
        if (!d)
            return MDQ_E_INTERNAL;
        for (int r = 0; r < n; r++) {
            const double p = a->draws[(int64_t)at * n + r], q = b->draws[(int64_t)at * n + r];
            d[r] = p - q;
            d[n + r] = (p - q) / q;
        }
        ci = mdq_percentile_interval(d, n);
        relative_ci = mdq_percentile_interval(d + n, n);
        free(d);
    }
    struct eval_line l;
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "mia_difference");
    eval_line_text(&l, "attack", best ? "best" : eval_attack_names[k]);
    eval_line_number(&l, "advantage", x - y);
    eval_line_interval(&l, "ci95", ci);
    eval_line_number(&l, "relative", (x - y) / y);
    eval_line_interval(&l, "relative_ci95", relative_ci);
    eval_line_int(&l, "members", a->members);
    eval_line_int(&l, "nonmembers", a->units - a->members);
    return eval_line_end(&l, out);
}

/* Everything that the lines are made of, so that others can compute them too. */
static enum mdq_err write_scores(const struct side *s, const char *path)
{
    struct mdq_output *out = NULL;
    enum mdq_err err;
    MDQ_TRY(mdq_output_open(&out, path, false));
    for (int64_t u = 0; u < s->units; u++) {
        const int set = u < s->members ? EVAL_MEMBERS : EVAL_NONMEMBERS;
        const struct tokens *x = &s->tokens[set];
        const int64_t i = set == EVAL_MEMBERS ? u : u - s->members, n = mdq_examples_length(x->e, i) - 1, at = x->e->first[i] + 1;
        size_t bytes;
        MDQ_GOTO(err, eval_zlib_bytes(x->e->text[i], x->e->bytes[i], &bytes), out);
        struct eval_line l;
        eval_line_begin(&l);
        eval_line_text(&l, "set", eval_set_names[set]);
        eval_line_int(&l, "record", i + 1);
        if (x->e->repeats[i] >= 0)
            eval_line_int(&l, "repeats", x->e->repeats[i]);
        eval_line_int(&l, "tokens", n);
        eval_line_int(&l, "zlib_bytes", (int64_t)bytes);
        for (int k = 0; k < s->n; k++)
            eval_line_exact(&l, eval_attack_names[k], s->score[k][u]);
        if (s->reference)
            eval_line_exact(&l, "reference_loss", s->reference[u]);
        eval_line_exact_list(&l, "losses", x->nll + at, n);
        eval_line_exact_list(&l, "z", x->z + at, n);
        MDQ_GOTO(err, eval_line_end(&l, out), out);
    }
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    return err;
}

static void warn_of_few(int64_t m, int64_t n)
{
    if (m < 2 || n < 2)
        mdq_log(MDQ_LOG_WARNING, "%" PRId64 " members, %" PRId64 " non-members: too few for an interval", m, n);
    else if (m < 100 || n < 100) /* the standard error of an AUC of 1/2 (Mann and Whitney) */
        mdq_log(MDQ_LOG_WARNING, "%" PRId64 " members, %" PRId64 " non-members: an AUC is known to about +-%.2f only; 100 of each are "
                "needed to see a difference of 0.1", m, n, 2 * sqrt((double)(m + n + 1) / (12.0 * (double)m * (double)n)));
    if (n <= 1000)
        mdq_log(MDQ_LOG_NOTE, "%" PRId64 " non-members: true positives at %s %% false ones are those at no false positive at all", n,
                n <= 100 ? "1 % and 0.1" : "0.1");
}

enum mdq_err eval_mia(const struct eval_opts *o, struct mdq_output *out)
{
    struct side a = {.dir = o->model}, b = {.dir = o->against};
    double *reference = NULL;
    int64_t *repeats = NULL;
    int n;
    enum mdq_err err;
    if (o->reference)
        MDQ_GOTO(err, reference_losses(o, &reference), out);
    a.reference = b.reference = reference;
    MDQ_GOTO(err, attack(&a, o), out);
    warn_of_few(a.members, a.units - a.members);
    if (o->scores)
        MDQ_GOTO(err, write_scores(&a, o->scores), out);
    if (o->against)
        MDQ_GOTO(err, attack(&b, o), out);
    for (int k = 0; k <= a.n; k++)
        MDQ_GOTO(err, print_attack(&a, k, o, out), out);
    if (!(repeats = eval_repeats(&a.texts.of[EVAL_MEMBERS], &n))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    for (int k = 0; k < n; k++)
        MDQ_GOTO(err, print_repeats(&a, repeats[k], o, out), out);
    for (int k = 0; o->against && k <= a.n; k++)
        MDQ_GOTO(err, print_difference(&a, &b, k, o, out), out);
out:
    free(repeats);
    free(reference);
    side_free(&a);
    side_free(&b);
    return err;
}
