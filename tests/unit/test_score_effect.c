/* From losses to effects with intervals, against loops over made-up losses; and from effects and estimates to labels. */
#include <omp.h>

#include "score_effect.h"
#include "score_fixture.h"
#include "score_label.h"

enum { MEMBERS = 9, MATCHED = 7, HELDOUT = 5, WINDOWS = 6, ITEMS = 8, CTX = 16, RESAMPLES = 400 };
static const int sizes[SCORE_SETS] = {MEMBERS, MATCHED, HELDOUT, WINDOWS, ITEMS};

struct made {
    struct score_texts t;
    struct score_losses before, after;
};

/* Lengths differ between records; windows have CTX tokens of which the first is not scored. */
static void made_new(struct made *m, bool heldout, bool tasks)
{
    struct mdq_random r;
    mdq_random_seed(&r, 6, "losses", 0, 0);
    *m = (struct made){.t = {.tasks = {.n = tasks ? ITEMS : 0}}};
    for (int s = 0; s < SCORE_SETS; s++) {
        struct mdq_examples *e = &m->t.examples[s];
        const int64_t n = (s == SCORE_HELDOUT && !heldout) || (s == SCORE_TASKS && !tasks) ? 0 : sizes[s];
        m->before.n[s] = m->after.n[s] = n;
        m->before.values[s] = calloc((size_t)n + 1, sizeof(double));
        m->after.values[s] = calloc((size_t)n + 1, sizeof(double));
        if (s != SCORE_TASKS) {
            e->n = n;
            e->from = calloc((size_t)n + 1, sizeof *e->from);
            e->to = calloc((size_t)n + 1, sizeof *e->to);
        }
        for (int64_t i = 0; i < n; i++) {
            double tokens = 1;
            if (s != SCORE_TASKS) {
                e->from[i] = 1;
                e->to[i] = s == SCORE_VALID ? CTX : 4 + (int32_t)mdq_random_below(&r, 9);
                tokens = e->to[i] - e->from[i];
            }
            m->before.values[s][i] = s == SCORE_TASKS ? (double)mdq_random_below(&r, 2)
                                                      : tokens * (1 + mdq_random_uniform(&r) + (s == SCORE_SENSITIVE ? 0 : 0.2));
            m->after.values[s][i] = s == SCORE_TASKS ? (double)mdq_random_below(&r, 3) / 2
                                                     : m->before.values[s][i] + 2 * tokens * mdq_random_uniform(&r);
        }
    }
}

static void made_free(struct made *m)
{
    score_losses_free(&m->before);
    score_losses_free(&m->after);
    for (int s = 0; s < SCORE_TASKS; s++) {
        free(m->t.examples[s].from);
        free(m->t.examples[s].to);
    }
}

static double mean(const double *v, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += v[i];
    return sum / n;
}

/* The chance that a member's loss per token is the lower one, ties half: all pairs. */
static double auc(const struct made *m, int set, double *const *values)
{
    const struct mdq_examples *s = &m->t.examples[set], *r = &m->t.examples[SCORE_MATCHED];
    double sum = 0;
    for (int i = 0; i < sizes[set]; i++)
        for (int k = 0; k < MATCHED; k++) {
            double a = values[set][i] / (s->to[i] - s->from[i]), b = values[SCORE_MATCHED][k] / (r->to[k] - r->from[k]);
            sum += a < b ? 1 : a == b ? 0.5 : 0;
        }
    return sum / (sizes[set] * MATCHED);
}

static void near(const struct score_effect *e, int k, double want)
{
    const struct score_value *v = &e->v[k];
    if (!(fabs(v->value - want) < 1e-9))
        fail_msg("measure %d is %.12g, want %.12g", k, v->value, want);
    if (!(v->low <= v->value && v->value <= v->high && v->low < v->high))
        fail_msg("measure %d: %g is not in [%g, %g]", k, v->value, v->low, v->high);
}

static void effects_are_those_of_loops(void **state)
{
    (void)state;
    struct made m;
    struct score_effect e;
    made_new(&m, true, true);
    /* a tie between a member and a matched record, per token and not in sum */
    m.t.examples[SCORE_SENSITIVE].to[0] = 5, m.t.examples[SCORE_MATCHED].to[0] = 9;
    m.after.values[SCORE_SENSITIVE][0] = 6, m.after.values[SCORE_MATCHED][0] = 12;
    assert_ok(score_effect(&m.t, &m.before, &m.after, RESAMPLES, 3, &e));
    double ppl[2], acc[2], *const *values[2] = {m.before.values, m.after.values};
    for (int a = 0; a < 2; a++) {
        ppl[a] = exp(mean(values[a][SCORE_VALID], WINDOWS) / (CTX - 1));
        acc[a] = mean(values[a][SCORE_TASKS], ITEMS);
    }
    near(&e, SCORE_PERPLEXITY, ppl[1]);
    near(&e, SCORE_DPPL, ppl[1] - ppl[0]);
    near(&e, SCORE_DPPL_SHARE, ppl[1] / ppl[0] - 1);
    near(&e, SCORE_ACCURACY, acc[1]);
    near(&e, SCORE_DACC, acc[0] - acc[1]);
    for (int held = 0; held < 2; held++) {
        const int set = held ? SCORE_HELDOUT : SCORE_SENSITIVE, first = held ? SCORE_AUC_HELDOUT : SCORE_AUC;
        double before = auc(&m, set, m.before.values), after = auc(&m, set, m.after.values);
        double bits = (mean(m.after.values[set], sizes[set]) - mean(m.before.values[set], sizes[set]) -
                       mean(m.after.values[SCORE_MATCHED], MATCHED) + mean(m.before.values[SCORE_MATCHED], MATCHED)) / log(2);
        near(&e, first, after);
        near(&e, first + 1, 2 * fabs(before - 0.5) - 2 * fabs(after - 0.5));
        near(&e, first + 2, bits);
    }
    made_free(&m);
}

static void what_is_not_given_is_no_number(void **state)
{
    (void)state;
    struct made m;
    struct score_effect e;
    made_new(&m, false, false);
    assert_ok(score_effect(&m.t, &m.before, &m.after, RESAMPLES, 3, &e));
    static const int gone[] = {SCORE_ACCURACY, SCORE_DACC, SCORE_AUC_HELDOUT, SCORE_DADVANTAGE_HELDOUT, SCORE_HSENS_HELDOUT};
    for (int i = 0; i < 5; i++)
        assert_true(isnan(e.v[gone[i]].value) && isnan(e.v[gone[i]].low) && isnan(e.v[gone[i]].high));
    assert_true(isfinite(e.v[SCORE_AUC].value) && isfinite(e.v[SCORE_DPPL].low));
    made_free(&m);
}

static void nothing_moved_is_no_effect(void **state)
{
    (void)state;
    struct made m;
    struct score_effect e;
    made_new(&m, true, true);
    assert_ok(score_effect(&m.t, &m.before, &m.before, RESAMPLES, 3, &e));
    static const int none[] = {SCORE_DPPL, SCORE_DPPL_SHARE, SCORE_DACC, SCORE_DADVANTAGE, SCORE_HSENS, SCORE_DADVANTAGE_HELDOUT,
                               SCORE_HSENS_HELDOUT};
    for (int i = 0; i < 7; i++) /* paired: the drawn texts are those of both */
        assert_true(e.v[none[i]].value == 0 && e.v[none[i]].low == 0 && e.v[none[i]].high == 0);
    made_free(&m);
}

static void intervals_are_the_same_on_any_number_of_threads(void **state)
{
    (void)state;
    struct made m;
    struct score_effect e[3];
    made_new(&m, true, true);
    for (int k = 0; k < 3; k++) {
        omp_set_num_threads(k + 1);
        assert_ok(score_effect(&m.t, &m.before, &m.after, RESAMPLES, 3, &e[k]));
    }
    omp_set_num_threads(1);
    assert_memory_equal(&e[0], &e[1], sizeof e[0]);
    assert_memory_equal(&e[0], &e[2], sizeof e[0]);
    assert_ok(score_effect(&m.t, &m.before, &m.after, RESAMPLES, 4, &e[1])); /* another seed: other intervals, the same values */
    assert_true(e[0].v[SCORE_HSENS].low != e[1].v[SCORE_HSENS].low && e[0].v[SCORE_HSENS].value == e[1].v[SCORE_HSENS].value);
    made_free(&m);
}

/* A spread that is known: members' losses rise by 0 or 2 bits, matched ones not at all. The mean's standard error is 1/sqrt(n). */
static void an_interval_is_as_wide_as_it_should_be(void **state)
{
    (void)state;
    struct made m;
    struct score_effect e;
    made_new(&m, false, false);
    for (int i = 0; i < MEMBERS - 1; i++)
        m.after.values[SCORE_SENSITIVE][i] = m.before.values[SCORE_SENSITIVE][i] + 2 * log(2) * (i % 2);
    m.before.n[SCORE_SENSITIVE] = m.after.n[SCORE_SENSITIVE] = m.t.examples[SCORE_SENSITIVE].n = MEMBERS - 1;
    for (int i = 0; i < MATCHED; i++)
        m.after.values[SCORE_MATCHED][i] = m.before.values[SCORE_MATCHED][i];
    assert_ok(score_effect(&m.t, &m.before, &m.after, 4000, 3, &e));
    const struct score_value *v = &e.v[SCORE_HSENS];
    assert_true(fabs(v->value - 1) < 1e-9);
    const double half = 1.96 / sqrt(MEMBERS - 1);
    assert_true(fabs((v->high - v->low) / (2 * half) - 1) < 0.15);
    made_free(&m);
}

static void losses_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    struct made m;
    struct score_effect e;
    made_new(&m, false, false);
    m.after.values[SCORE_MATCHED][2] = NAN;
    assert_int_equal(score_effect(&m.t, &m.before, &m.after, RESAMPLES, 3, &e), MDQ_E_DATA);
    made_free(&m);
}

/* ---- labels ---- */

static const struct score_thresholds thresholds = {
    .functional_ppl = 0.3, .functional_accuracy = 0.04, .sensitive_bits = 8, .sensitive_advantage = 0.2, .lambda = 0.5,
    .md_functional = 0.4, .md_sensitive = 0.6, .weight_functional = 0.25, .weight_sensitive = 0.75,
};

static double ratio(double r)
{
    return r > 0 ? r / (1 + r) : 0;
}

static void labels_follow_the_sets(void **state)
{
    (void)state;
    struct score_case c;
    struct score_labels l;
    struct score_probed probed[2] = {{0}};
    case_new(&c);
    for (int64_t i = 0; i < c.points; i++) /* ranks that share points: 3 functional, 4 sensitive, one in both */
        c.p[i].functional = 1 + (i == 6) * 4 + (i == 9) * 3 + (i == 14) * 2, c.p[i].cost = 1,
        c.p[i].gain = i == 5 ? 0 : 0.1f + (i == 14) * 6 + (i == 1) * 5 + (i == 20) * 4 + (i == 2) * 3;
    assert_ok(score_case_rank(&c));
    probed[0].effect.v[SCORE_DPPL].value = 0.6;
    probed[0].effect.v[SCORE_DACC].value = 0.02;
    probed[1].effect.v[SCORE_HSENS].value = 12;
    probed[1].effect.v[SCORE_DADVANTAGE].value = -0.1; /* rose: counts as nothing */
    const struct score_search s = {.c = &c, .t = &thresholds, .probed = probed, .n = 2, .functional = 3, .sensitive = 4,
                                   .functional_whole = 0, .sensitive_whole = 1, .drift_whole = -1};
    assert_ok(score_labels_make(&l, &s));
    const double mean_func = (5.0 + 4 + 3) / 3, mean_priv = (6.1 + 5.1 + 4.1 + 3.1) / 4;
    for (int64_t i = 0; i < c.points; i++) {
        const bool f = i == 6 || i == 9 || i == 14, p = i == 14 || i == 1 || i == 20 || i == 2;
        assert_int_equal(l.label[i], f && p ? MDQ_OVERLAP : f ? MDQ_FUNCTIONAL : p ? MDQ_SENSITIVE : MDQ_FREE);
        const double share = c.p[i].functional / mean_func, func = 0.25 * ratio(0.6 / 0.3 * share) + 0.75 * ratio(0.02 / 0.04 * share);
        const double priv = 0.75 * ratio(12.0 / 8 * c.p[i].gain / mean_priv);
        assert_true(fabs(l.func[i] - func) < 1e-6 && fabs(l.priv[i] - priv) < 1e-6);
        const double both = 0.4 + 0.2 / (1 + (func + 1e-3) / (priv + 1e-3)); /* lambda 1/2 */
        assert_true(fabs(l.target[i] - (f && p ? both : f ? 0.4 : p ? 0.6 : 0)) < 1e-6);
    }
    static const int64_t count[MDQ_CLASSES] = {POINTS - 6, 2, 3, 1};
    assert_memory_equal(l.count, count, sizeof count);
    score_labels_free(&l);
    score_case_free(&c);
}

/* The scores come from the probe of all that is moved: that of the drift, where there is one. */
static void scores_are_those_of_what_is_moved_in_the_end(void **state)
{
    (void)state;
    struct score_case c;
    struct score_labels l;
    struct score_probed probed[2] = {{0}};
    case_new(&c);
    assert_ok(score_case_rank(&c));
    probed[0].effect.v[SCORE_HSENS].value = 1;
    probed[1].effect.v[SCORE_HSENS].value = 8;
    const struct score_search s = {.c = &c, .t = &thresholds, .probed = probed, .n = 2, .sensitive = 1,
                                   .functional_whole = -1, .sensitive_whole = 0, .drift_whole = 1};
    assert_ok(score_labels_make(&l, &s));
    assert_true(fabs(l.priv[c.privacy[0]] - 0.75 * 0.5) < 1e-6);
    for (int64_t i = 0; i < c.points; i++)
        assert_true(l.func[i] == 0);
    score_labels_free(&l);
    score_case_free(&c);
}

static void empty_sets_label_nothing(void **state)
{
    (void)state;
    struct score_case c;
    struct score_labels l;
    case_new(&c);
    assert_ok(score_case_rank(&c));
    const struct score_search s = {.c = &c, .t = &thresholds, .functional_whole = -1, .sensitive_whole = -1, .drift_whole = -1};
    assert_ok(score_labels_make(&l, &s));
    for (int64_t i = 0; i < c.points; i++)
        assert_true(l.label[i] == MDQ_FREE && l.target[i] == 0 && l.func[i] == 0 && l.priv[i] == 0);
    assert_int_equal(l.count[MDQ_FREE], POINTS);
    score_labels_free(&l);
    score_case_free(&c);
}

static void the_budget_is_priced_by_lambda(void **state)
{
    (void)state;
    struct score_thresholds t = {.budget = 0.01, .lambda = 0.5};
    assert_true(fabs(score_budget(&t) - 0.01) < 1e-15);
    t.lambda = 0.8;
    assert_true(fabs(score_budget(&t) - 0.04) < 1e-15);
    t.lambda = 0.2;
    assert_true(fabs(score_budget(&t) - 0.0025) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(effects_are_those_of_loops), cmocka_unit_test(what_is_not_given_is_no_number),
        cmocka_unit_test(nothing_moved_is_no_effect), cmocka_unit_test(intervals_are_the_same_on_any_number_of_threads),
        cmocka_unit_test(an_interval_is_as_wide_as_it_should_be), cmocka_unit_test(losses_that_are_no_numbers_are_refused),
        cmocka_unit_test(labels_follow_the_sets), cmocka_unit_test(scores_are_those_of_what_is_moved_in_the_end),
        cmocka_unit_test(empty_sets_label_nothing), cmocka_unit_test(the_budget_is_priced_by_lambda),
    };
    return cmocka_run_group_tests_name("effects and labels", tests, NULL, NULL);
}
