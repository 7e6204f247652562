/* Scores of membership inference, fill-ins and exposure, greedy extraction: against published definitions worked out by hand. */
#include "text_model.h"

#include <math.h>

#include "eval_attacks.h"
#include "eval_extract.h"
#include "eval_fills.h"

static void close_to(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.17g differs from %.17g by more than %g", a, b, tolerance);
}

/* l = (-.1, -2, -.5, -3, -.4): the smallest 20 % is -3 alone, 40 % -3 and -2. */
static void min_k_looks_at_the_smallest(void **state)
{
    (void)state;
    const double l[] = {-.1, -2, -.5, -3, -.4};
    double scratch[5];
    close_to(eval_min_k(l, 5, 0.2, scratch), 3.0, 1e-15);
    close_to(eval_min_k(l, 5, 0.4, scratch), 2.5, 1e-15);
    close_to(eval_min_k(l, 5, 0.59, scratch), 2.5, 1e-15);
    close_to(eval_min_k(l, 5, 1, scratch), 1.2, 1e-15); /* the loss */
    close_to(eval_min_k(l, 1, 0.2, scratch), 0.1, 1e-15); /* one at least, where mimir has NaN */
    close_to(l[3], -3, 0);
    assert_int_equal(eval_min_k_tokens(4, 0.2), 1);
    assert_int_equal(eval_min_k_tokens(9, 0.2), 1);
    assert_int_equal(eval_min_k_tokens(10, 0.2), 2);
    assert_int_equal(eval_min_k_tokens(74, 0.2), 14);
}

/* p = (.7, .2, .1): mu = -.801819, sigma = .703126 */
static void z_of_three_tokens(void **state)
{
    (void)state;
    const double want[] = {.633092, -1.148612, -2.134419};
    for (int shift = -50; shift <= 50; shift += 50) {
        const float logits[] = {(float)(log(.7) + shift), (float)(log(.2) + shift), (float)(log(.1) + shift)};
        for (int t = 0; t < 3; t++)
            close_to(eval_token_z(logits, 3, t), want[t], 2e-5);
    }
    const float flat[] = {1, 1, 1, 1}, sure[] = {0, 2000, 0};
    close_to(eval_token_z(flat, 4, 2), 0, 0); /* every token is as expected: no spread */
    close_to(eval_token_z(sure, 3, 1), 0, 0);
}

/* Lengths of Python's zlib.compress(text). */
static void zlib_lengths(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
    } cases[] = {{"", 8}, {"a", 9}, {"hello hello hello hello", 16}, {"Gr\xc3\xb6\xc3\x9f" "e 12345678", 24}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0;
        OK(eval_zlib_bytes(cases[i].text, strlen(cases[i].text), &n));
        assert_int_equal(n, cases[i].bytes);
    }
}

static char *fills_of(const char *text, int64_t begin, int64_t end, int64_t want, uint64_t seed, int64_t *n)
{
    struct mdq_random random;
    char *out;
    mdq_random_seed(&random, seed, "test", 0, 0);
    OK(eval_fills(text, strlen(text), begin, end, want, &random, &out, n));
    return out;
}

static int class_of(char c)
{
    return c >= '0' && c <= '9' ? 1 : c >= 'a' && c <= 'z' ? 2 : c >= 'A' && c <= 'Z' ? 3 : 0;
}

static void fills_keep_classes_and_what_surrounds(void **state)
{
    (void)state;
    const char text[] = "id a7-Q\xc3\xa9z9 end";
    const int64_t bytes = (int64_t)strlen(text), begin = 3, end = 11;
    int64_t n, m;
    int moved[32] = {0};
    char *all = fills_of(text, begin, end, 500, 1, &n), *again = fills_of(text, begin, end, 500, 1, &m);
    assert_int_equal(n, 500);
    assert_memory_equal(all, again, (size_t)(n * bytes));
    for (int64_t k = 0; k < n; k++) {
        const char *v = all + k * bytes;
        assert_memory_not_equal(v, text, (size_t)bytes);
        for (int64_t j = 0; j < k; j++)
            assert_memory_not_equal(v, all + j * bytes, (size_t)bytes);
        for (int64_t i = 0; i < bytes; i++) {
            assert_int_equal(class_of(v[i]), class_of(text[i]));
            if (i < begin || i >= end || class_of(text[i]) == 0)
                assert_int_equal(v[i], text[i]);
            moved[i] += v[i] != text[i];
        }
    }
    for (int64_t i = begin; i < end; i++) /* 9 in 10 or 25 in 26 differ */
        assert_true(class_of(text[i]) == 0 || moved[i] > 400);
    free(again);
    again = fills_of(text, begin, end, 500, 2, &m); /* another seed, others */
    assert_memory_not_equal(all, again, (size_t)(n * bytes));
    free(all);
    free(again);
}

static void small_spaces_are_taken_whole(void **state)
{
    (void)state;
    int64_t n;
    char *all = fills_of("a5", 1, 2, 255, 0, &n);
    assert_int_equal(n, 9);
    int seen[10] = {0};
    for (int k = 0; k < 9; k++) {
        assert_int_equal(all[2 * k], 'a');
        seen[all[2 * k + 1] - '0']++;
    }
    for (int d = 0; d < 10; d++)
        assert_int_equal(seen[d], d != 5);
    free(all);
    all = fills_of("a99", 1, 3, 99, 0, &n); /* all but itself: exactly 99 */
    assert_int_equal(n, 99);
    free(all);
    all = fills_of("a99", 1, 3, 98, 0, &n);
    assert_int_equal(n, 98);
    free(all);
    all = fills_of("a-.", 1, 3, 255, 0, &n);
    assert_int_equal(n, 0);
    free(all);
    assert_int_equal(eval_fills_space("12345678", 0, 8, INT64_MAX), 100000000);
    assert_int_equal(eval_fills_space("abcdefghijklmnopqrst", 0, 20, INT64_MAX), INT64_MAX); /* 26^20 does not fit */
}

static void exposure_in_bits(void **state)
{
    (void)state;
    double others[255];
    for (int i = 0; i < 255; i++)
        others[i] = 10 + i;
    struct eval_exposure x = eval_exposure(1, others, 255);
    close_to(x.rank, 1, 0);
    close_to(x.bits, 8, 1e-15);
    close_to(x.most, 8, 1e-15);
    double sum = 0; /* every rank once */
    for (int r = 1; r <= 256; r++)
        sum += 8 - log2(r);
    close_to(x.chance, sum / 256, 1e-12);
    x = eval_exposure(1000, others, 255);
    close_to(x.rank, 256, 0);
    close_to(x.bits, 0, 1e-15);
    x = eval_exposure(12, others, 255); /* 10 and 11 are lower, 12 as good */
    close_to(x.rank, 3.5, 0);
    close_to(x.bits, 8 - log2(3.5), 1e-15);
    x = eval_exposure(1, others, 0);
    close_to(x.bits, 0, 0);
    close_to(x.chance, 0, 1e-15);
}

static void levenshtein(void **state)
{
    (void)state;
    const int32_t kitten[] = {10, 8, 19, 19, 4, 13}, sitting[] = {18, 8, 19, 19, 8, 13, 6};
    assert_int_equal(eval_levenshtein(kitten, 6, sitting, 7), 3);
    assert_int_equal(eval_levenshtein(kitten, 6, kitten, 6), 0);
    assert_int_equal(eval_levenshtein(kitten, 6, sitting, 0), 6);
    assert_int_equal(eval_levenshtein(kitten, 0, sitting, 7), 7);
    const int32_t shifted[] = {8, 19, 19, 4, 13, 10};
    assert_int_equal(eval_levenshtein(kitten, 6, shifted, 6), 2);
}

struct likeliest {
    const struct mdq_examples *e;
    int32_t last;
};

static void take_last(void *arg, int64_t example, int64_t position, int32_t target, const float *logits)
{
    struct likeliest *x = arg;
    (void)target;
    if (position + 1 != mdq_examples_length(x->e, example))
        return;
    x->last = 0;
    for (int32_t v = 1; v < VOCAB; v++)
        if (logits[v] > logits[x->last])
            x->last = v;
}

/* Token by token, each time from the start. */
static void greedy_is_what_decoding_token_by_token_gives(void **state)
{
    (void)state;
    struct eval_opts o = {0};
    struct eval_model m;
    OK(eval_model_open(&m, folder, &o));
    assert_int_equal(m.ctx, 64);
    struct mdq_examples e = {0};
    int32_t ids[64], said[600];
    for (int k = 0; k < 8; k++) {
        const int n = 12 + 5 * k;
        ids[0] = BOS;
        for (int i = 1; i < n; i++)
            ids[i] = (k * 17 + i * 7 + 3) % VOCAB;
        OK(mdq_examples_add_ids(&e, ids, n, n / 2, n - (k % 3)));
    }
    /* and one that the model says by itself: the greedy continuation of another is its truth */
    OK(eval_greedy(&m, &e, said));
    memcpy(ids, said + e.first[3], (size_t)e.to[3] * sizeof *ids);
    OK(mdq_examples_add_ids(&e, ids, e.to[3], e.from[3], e.to[3]));
    OK(eval_greedy(&m, &e, said));
    int same = 0, spans = 0;
    for (int64_t i = 0; i < e.n; i++) {
        memcpy(ids, e.ids.v + e.first[i], (size_t)e.from[i] * sizeof *ids);
        for (int32_t p = e.from[i]; p < e.to[i]; p++) {
            struct mdq_examples one = {0};
            struct likeliest x = {&one, -1};
            double nll[64];
            ids[p] = 0; /* asked for */
            OK(mdq_examples_add_ids(&one, ids, p + 1, p, p + 1));
            OK(mdq_example_losses(m.run, &one, 0, 1, true, nll, take_last, &x));
            ids[p] = x.last;
            assert_int_equal(said[e.first[i] + p], x.last);
            same += e.ids.v[e.first[i] + p] == x.last;
            spans++;
            mdq_examples_free(&one);
        }
        for (int32_t p = 0; p < e.from[i]; p++)
            assert_int_equal(said[e.first[i] + p], e.ids.v[e.first[i] + p]);
    }
    assert_memory_equal(said + e.first[8] + e.from[8], e.ids.v + e.first[8] + e.from[8], (size_t)(e.to[8] - e.from[8]) * sizeof *ids);
    assert_true(same >= e.to[8] - e.from[8] && same < spans);
    mdq_examples_free(&e);
    eval_model_close(&m);
}

static void prefixes_are_shifted(void **state)
{
    (void)state;
    struct eval_opts o = {0};
    struct eval_model m;
    OK(eval_model_open(&m, folder, &o));
    struct mdq_examples e = {0}, out;
    const int32_t ids[] = {BOS, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    OK(mdq_examples_add_ids(&e, ids, 10, 6, 9));
    OK(mdq_examples_add_ids(&e, ids, 4, 1, 4));      /* no prefix but BOS */
    OK(mdq_examples_add_ids(&e, ids + 1, 4, 1, 4));  /* no BOS, one token of prefix */
    static const int32_t want[][16] = {
        {BOS, 2, 3, 4, 5, 6, 7, 8, 9},           {BOS, 3, 4, 5, 6, 7, 8, 9}, {BOS, 5, 6, 7, 8, 9}, {BOS, 40, 2, 3, 4, 5, 6, 7, 8, 9},
        {BOS, 40, 40, 40, 40, 40, 40, 40, 40, 2, 3}};
    static const int before[] = {6, 5, 3, 7, 14};
    for (int k = 0; k <= EVAL_PERTURBATIONS; k++) {
        OK(eval_prefixes(&out, &m, &e, k - 1, 64));
        assert_int_equal(out.n, 3);
        assert_int_equal(out.from[0], before[k]);
        assert_int_equal(out.to[0], before[k] + 3);
        assert_int_equal(mdq_examples_length(&out, 0), before[k] + 3);
        assert_memory_equal(out.ids.v, want[k], (size_t)(before[k] + 3 < 10 ? before[k] + 3 : 10) * sizeof(int32_t));
        assert_memory_equal(out.ids.v + before[k], ids + 6, 3 * sizeof *ids);
        const int put = k == 1 + EVAL_PUT_ONE ? 1 : k == 1 + EVAL_PUT_EIGHT ? 8 : 0;
        assert_int_equal(out.from[1], 1 + put);
        assert_int_equal(out.from[2], 1 + put);
        mdq_examples_free(&out);
    }
    OK(eval_prefixes(&out, &m, &e, -1, 2)); /* at most two tokens of a span */
    assert_int_equal(out.to[0] - out.from[0], 2);
    mdq_examples_free(&out);
    m.ctx = 12; /* the context has an end: three line breaks fit */
    OK(eval_prefixes(&out, &m, &e, EVAL_PUT_EIGHT, 64));
    assert_int_equal(out.from[0], 9);
    assert_int_equal(mdq_examples_length(&out, 0), 12);
    mdq_examples_free(&out);
    mdq_examples_free(&e);
    eval_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(min_k_looks_at_the_smallest),
        cmocka_unit_test(z_of_three_tokens),
        cmocka_unit_test(zlib_lengths),
        cmocka_unit_test(fills_keep_classes_and_what_surrounds),
        cmocka_unit_test(small_spaces_are_taken_whole),
        cmocka_unit_test(exposure_in_bits),
        cmocka_unit_test(levenshtein),
        cmocka_unit_test(greedy_is_what_decoding_token_by_token_gives),
        cmocka_unit_test(prefixes_are_shifted),
    };
    return cmocka_run_group_tests(tests, text_model_setup, folder_teardown);
}
