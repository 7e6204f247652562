/* Means and standard errors, KL divergence of two rows of logits: against closed forms. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eval.h"
#include "mdq_stats.h"

static void close_to(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.17g differs from %.17g by more than %g", a, b, tolerance);
}

static void mean_of_known_numbers(void **state)
{
    (void)state;
    const double v[] = {2, 4, 4, 4, 5, 5, 7, 9}; /* sum 40, squares about the mean 32 */
    struct mdq_mean m = mdq_mean_of(v, 8);
    close_to(m.mean, 5, 1e-15);
    close_to(m.se, sqrt(32.0 / 7 / 8), 1e-15);
    assert_int_equal(m.n, 8);
}

static void one_value_has_no_standard_error(void **state)
{
    (void)state;
    const double v[] = {3};
    assert_true(isnan(mdq_mean_of(v, 1).se));
    assert_true(isnan(mdq_mean_of(v, 0).mean));
}

static void clusters_count_as_one(void **state)
{
    (void)state;
    /* equal values inside each cluster: the error is that of the three means, not of nine values */
    const double v[] = {1, 1, 1, 2, 2, 2, 6, 6, 6}, means[] = {1, 2, 6};
    struct mdq_mean a = mdq_mean_clustered(v, 3, 3), b = mdq_mean_of(means, 3);
    close_to(a.mean, 3, 1e-15);
    close_to(a.se, b.se, 1e-15);
    assert_int_equal(a.n, 3);
}

static void large_offset_keeps_its_digits(void **state)
{
    (void)state;
    double v[1000];
    for (int i = 0; i < 1000; i++)
        v[i] = 1e9 + (i % 2 ? 1 : -1);
    struct mdq_mean m = mdq_mean_of(v, 1000);
    close_to(m.mean, 1e9, 1e-6);
    close_to(m.se, sqrt(1000.0 / 999 / 1000), 1e-9);
}

static void divergence_of_two_coins(void **state)
{
    (void)state;
    /* p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 - ln 3 / 2 */
    const float p[] = {5, 5}, q[] = {(float)log(0.25), (float)log(0.75)};
    struct eval_position at = eval_compare(p, q, 2, 1);
    close_to(at.kl, log(2) - log(3) / 2, 1e-7);
    close_to(at.nll_p, log(2), 1e-12);
    close_to(at.nll_q, -log(0.75), 1e-7);
    assert_int_equal(at.same, 0); /* a tie counts as its first entry: p puts 0 first, q puts 1 first */
    at = eval_compare(p, p, 2, 0);
    close_to(at.kl, 0, 1e-15);
    assert_int_equal(at.same, 1);
}

static void divergence_survives_large_logits(void **state)
{
    (void)state;
    const float p[] = {1000, 0, -1000}, q[] = {0, 1000, -1000};
    struct eval_position at = eval_compare(p, q, 3, 0);
    close_to(at.kl, 1000, 1e-9);
    close_to(at.nll_p, 0, 1e-12);
    close_to(at.nll_q, 1000, 1e-9);
    assert_int_equal(at.same, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_of_known_numbers),    cmocka_unit_test(one_value_has_no_standard_error),
        cmocka_unit_test(clusters_count_as_one),    cmocka_unit_test(large_offset_keeps_its_digits),
        cmocka_unit_test(divergence_of_two_coins),  cmocka_unit_test(divergence_survives_large_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
