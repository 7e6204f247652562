/* AUC, advantage, true positives at few false ones, the bootstrap: against values worked out by hand and closed forms. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mdq_bootstrap.h"
#include "mdq_random.h"
#include "mdq_roc.h"

static void close_to(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.17g differs from %.17g by more than %g", a, b, tolerance);
}

static struct mdq_roc roc_of(const double *members, int64_t m, const double *nonmembers, int64_t n)
{
    struct mdq_roc r;
    assert_int_equal(mdq_roc_new(&r, members, m, nonmembers, n), MDQ_OK);
    return r;
}

static struct mdq_roc_values values_of(const double *members, int64_t m, const double *nonmembers, int64_t n)
{
    struct mdq_roc r = roc_of(members, m, nonmembers, n);
    struct mdq_roc_values v = mdq_roc_values(&r, NULL);
    mdq_roc_free(&r);
    return v;
}

/* {3,2,2} against {1,2}, higher = member: 5/6 (scikit-learn's trapezoid gives the same); here lower = member. */
static void ties_count_half(void **state)
{
    (void)state;
    const double members[] = {-3, -2, -2}, nonmembers[] = {-1, -2};
    struct mdq_roc_values v = values_of(members, 3, nonmembers, 2);
    close_to(v.auc, 5.0 / 6, 1e-15);
    close_to(v.advantage, 2.0 / 3, 1e-15);
    close_to(v.tpr_1, 1.0 / 3, 1e-15); /* at the threshold that no non-member passes */
    const double same[] = {1, 1, 1};
    v = values_of(same, 3, same, 3);
    close_to(v.auc, 0.5, 0);
    close_to(v.advantage, 0, 0);
    close_to(v.tpr_1, 0, 0); /* one threshold, which all non-members pass */
}

static void order_alone_matters(void **state)
{
    (void)state;
    const double low[] = {1, 2, 3}, high[] = {4, 5, 6, 7};
    struct mdq_roc_values v = values_of(low, 3, high, 4), w = values_of(high, 4, low, 3);
    close_to(v.auc, 1, 0);
    close_to(v.tpr_1, 1, 0);
    close_to(w.auc, 0, 0);
    close_to(w.advantage, 1, 0); /* an AUC of 0 tells as much as one of 1 */
    close_to(w.tpr_1, 0, 0);
}

/* Strictly below the bound, as mimir takes it: of 100 non-members none may pass for 1 %, of 101 one may. */
static void true_positives_below_the_bound(void **state)
{
    (void)state;
    double nonmembers[1001];
    for (int i = 0; i < 1001; i++)
        nonmembers[i] = i + 0.5;
    const double members[] = {0, 1, 1, 2, 3, 3, 3, 10, 20, 2000};
    close_to(values_of(members, 10, nonmembers, 100).tpr_1, 0.1, 1e-15);
    close_to(values_of(members, 10, nonmembers, 101).tpr_1, 0.3, 1e-15);
    close_to(values_of(members, 10, nonmembers, 201).tpr_1, 0.4, 1e-15);
    close_to(values_of(members, 10, nonmembers, 1000).tpr_01, 0.1, 1e-15);
    close_to(values_of(members, 10, nonmembers, 1001).tpr_01, 0.3, 1e-15);
    close_to(values_of(members, 10, nonmembers, 1001).tpr_1, 0.8, 1e-15); /* 10 non-members: 9.5 and below are 10 */
}

static void counts_are_repeated_units(void **state)
{
    (void)state;
    const double members[] = {1, 3, 2}, nonmembers[] = {2, 4};
    const int32_t count[] = {2, 0, 3, 1, 4};
    const double members_drawn[] = {1, 1, 2, 2, 2}, nonmembers_drawn[] = {2, 4, 4, 4, 4};
    struct mdq_roc r = roc_of(members, 3, nonmembers, 2);
    struct mdq_roc_values a = mdq_roc_values(&r, count), b = values_of(members_drawn, 5, nonmembers_drawn, 5);
    assert_memory_equal(&a, &b, sizeof a);
    const int32_t none[] = {0, 0, 0, 1, 1};
    assert_true(isnan(mdq_roc_values(&r, none).auc));
    mdq_roc_free(&r);
}

static double count_pairs(const double *a, int m, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            sum += a[i] < b[j] ? 1 : a[i] == b[j] ? 0.5 : 0;
    return sum / m / n;
}

static void agrees_with_counted_pairs(void **state)
{
    (void)state;
    struct mdq_random random;
    mdq_random_seed(&random, 3, "pairs", 0, 0);
    for (int round = 0; round < 200; round++) {
        double s[80];
        uint8_t label[80];
        int m = 1 + (int)mdq_random_below(&random, 40), n = 1 + (int)mdq_random_below(&random, 40);
        for (int i = 0; i < m + n; i++)
            s[i] = (double)mdq_random_below(&random, 12); /* many ties */
        struct mdq_roc r = roc_of(s, m, s + m, n);
        close_to(mdq_roc_values(&r, NULL).auc, count_pairs(s, m, s + m, n), 1e-14);
        double a[80], b[80];
        int ka = 0, kb = 0;
        for (int i = 0; i < m + n; i++) {
            label[i] = (uint8_t)(i == 0 || (i > 1 && mdq_random_below(&random, 2)));
            *(label[i] ? &a[ka++] : &b[kb++]) = s[i];
        }
        close_to(mdq_roc_auc_labelled(&r, label), count_pairs(a, ka, b, kb), 1e-14);
        mdq_roc_free(&r);
    }
}

static void bad_scores_are_refused(void **state)
{
    (void)state;
    struct mdq_roc r;
    const double bad[] = {1, NAN};
    assert_int_equal(mdq_roc_new(&r, bad, 2, bad, 1), MDQ_E_DATA);
    mdq_roc_free(&r);
    assert_int_equal(mdq_roc_new(&r, bad, 0, bad, 1), MDQ_E_DATA);
    mdq_roc_free(&r);
}

/* For one score without ties the AUC under permuted labels has variance (m + n + 1) / (12 m n): 2 |AUC - 1/2| has mean
 * 2 sd sqrt(2 / pi). Twenty copies of it change nothing, since all are permuted alike. */
static void chance_of_one_attack_and_of_its_copies(void **state)
{
    (void)state;
    enum { M = 60, N = 40, COPIES = 20, PERMUTATIONS = 4000 };
    double s[M + N], one, many;
    for (int i = 0; i < M + N; i++)
        s[i] = i * 37 % 101;
    struct mdq_roc r[COPIES];
    for (int i = 0; i < COPIES; i++)
        r[i] = roc_of(s, M, s + M, N);
    assert_int_equal(mdq_roc_chance(r, 1, PERMUTATIONS, 5, &one, NULL), MDQ_OK);
    assert_int_equal(mdq_roc_chance(r, COPIES, PERMUTATIONS, 5, &many, NULL), MDQ_OK);
    const double sd = sqrt((M + N + 1) / (12.0 * M * N)), mean = 2 * sd * sqrt(2 / M_PI);
    close_to(one, mean, 5 * 2 * sd * sqrt(1 - 2 / M_PI) / sqrt(PERMUTATIONS));
    close_to(many, one, 0);
    for (int i = 0; i < COPIES; i++)
        mdq_roc_free(&r[i]);
}

/* The best of several unrelated scores is larger than one of them. */
static void chance_grows_with_unrelated_attacks(void **state)
{
    (void)state;
    enum { M = 50, ATTACKS = 8 };
    struct mdq_random random;
    mdq_random_seed(&random, 1, "attacks", 0, 0);
    struct mdq_roc r[ATTACKS];
    for (int k = 0; k < ATTACKS; k++) {
        double s[2 * M];
        for (int i = 0; i < 2 * M; i++)
            s[i] = mdq_random_uniform(&random);
        r[k] = roc_of(s, M, s + M, M);
    }
    double one, all, draws[500];
    assert_int_equal(mdq_roc_chance(r, 1, 500, 0, &one, draws), MDQ_OK);
    double sum = 0;
    for (int i = 0; i < 500; i++)
        sum += draws[i];
    close_to(sum / 500, one, 1e-15);
    assert_int_equal(mdq_roc_chance(r, ATTACKS, 500, 0, &all, NULL), MDQ_OK);
    assert_true(all > 1.5 * one);
    for (int k = 0; k < ATTACKS; k++)
        mdq_roc_free(&r[k]);
}

static void quantiles_are_linear_between_values(void **state)
{
    (void)state;
    const double v[] = {1, 2, 4, 8};
    close_to(mdq_quantile(v, 4, 0), 1, 0);
    close_to(mdq_quantile(v, 4, 1), 8, 0);
    close_to(mdq_quantile(v, 4, 0.5), 3, 1e-15);
    close_to(mdq_quantile(v, 4, 0.9), 6.8, 1e-12); /* at 2.7: 4 + 0.7 * 4 */
    assert_true(isnan(mdq_quantile(v, 0, 0.5)));
    const double infinite[] = {1, INFINITY, INFINITY};
    assert_true(isinf(mdq_quantile(infinite, 3, 0.75)));
}

/* Wilson 1927, and what is known of it: 0 of 10 reaches to z^2 / (n + z^2). */
static void wilson_interval(void **state)
{
    (void)state;
    const double z2 = 1.959963984540054 * 1.959963984540054;
    struct mdq_interval i = mdq_wilson(0, 10);
    close_to(i.low, 0, 0);
    close_to(i.high, z2 / (10 + z2), 1e-15);
    i = mdq_wilson(1, 10);
    close_to(i.low, 10 / (10 + z2), 1e-15);
    close_to(i.high, 1, 0);
    i = mdq_wilson(0.5, 100);
    close_to(i.low, 0.4038315, 1e-6);
    close_to(i.high, 0.5961685, 1e-6);
    assert_true(isnan(mdq_wilson(0, 0).low));
}

/* The percentile interval of a mean: close to mean +- 1.96 sd / sqrt(n) where n is large. */
static void interval_of_a_mean(void **state)
{
    (void)state;
    enum { N = 2000 };
    double v[N], sum = 0, squares = 0;
    struct mdq_random random;
    mdq_random_seed(&random, 9, "normal", 0, 0);
    for (int i = 0; i < N; i++) {
        v[i] = mdq_random_normal(&random);
        sum += v[i];
        squares += v[i] * v[i];
    }
    const double mean = sum / N, se = sqrt((squares / N - mean * mean) / N);
    struct mdq_interval i;
    assert_int_equal(mdq_bootstrap_mean(v, N, 4000, 1, "test", &i), MDQ_OK);
    close_to(i.low, mean - 1.96 * se, 0.1 * se);
    close_to(i.high, mean + 1.96 * se, 0.1 * se);
    assert_int_equal(mdq_bootstrap_mean(v, 1, 100, 1, "test", &i), MDQ_OK);
    assert_true(isnan(i.low) && isnan(i.high));
}

static void keep_counts(void *arg, const int32_t *count, double *out)
{
    (void)arg;
    out[0] = count[0] + count[1] + count[2];
    out[1] = count[3] + count[4];
    out[2] = count[0];
}

static void strata_keep_their_sizes_and_threads_do_not_matter(void **state)
{
    (void)state;
    enum { RESAMPLES = 501 };
    const int64_t sizes[] = {3, 2};
    double a[3 * RESAMPLES], b[3 * RESAMPLES], other[3 * RESAMPLES], sum = 0;
    struct mdq_resampling how = {sizes, 2, RESAMPLES, 4, "strata"};
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    assert_int_equal(mdq_bootstrap(&how, keep_counts, NULL, 3, a), MDQ_OK);
    omp_set_num_threads(3);
    assert_int_equal(mdq_bootstrap(&how, keep_counts, NULL, 3, b), MDQ_OK);
    omp_set_num_threads(threads);
    assert_memory_equal(a, b, sizeof a);
    for (int r = 0; r < RESAMPLES; r++) {
        close_to(a[r], 3, 0);
        close_to(a[RESAMPLES + r], 2, 0);
        sum += a[2 * RESAMPLES + r];
    }
    close_to(sum / RESAMPLES, 1, 5 * sqrt(2.0 / 3 / RESAMPLES)); /* a binomial of 3 and 1/3: variance 2/3 */
    how.seed = 5;
    assert_int_equal(mdq_bootstrap(&how, keep_counts, NULL, 3, other), MDQ_OK);
    assert_memory_not_equal(a, other, sizeof a);
}

static void draws_that_are_no_numbers_give_no_interval(void **state)
{
    (void)state;
    double v[] = {3, NAN, 1};
    assert_true(isnan(mdq_percentile_interval(v, 3).low));
    double w[] = {3, 1, 2};
    close_to(mdq_percentile_interval(w, 3).low, 1.05, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_count_half),
        cmocka_unit_test(order_alone_matters),
        cmocka_unit_test(true_positives_below_the_bound),
        cmocka_unit_test(counts_are_repeated_units),
        cmocka_unit_test(agrees_with_counted_pairs),
        cmocka_unit_test(bad_scores_are_refused),
        cmocka_unit_test(chance_of_one_attack_and_of_its_copies),
        cmocka_unit_test(chance_grows_with_unrelated_attacks),
        cmocka_unit_test(quantiles_are_linear_between_values),
        cmocka_unit_test(wilson_interval),
        cmocka_unit_test(interval_of_a_mean),
        cmocka_unit_test(strata_keep_their_sizes_and_threads_do_not_matter),
        cmocka_unit_test(draws_that_are_no_numbers_give_no_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
