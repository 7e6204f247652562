/* The optimiser's arithmetic against closed forms and against a version in double; the order of windows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <string.h>

#include "train_optim.h"
#include "train_params.h"
#include "train_text.h"

static void close_to(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
        fail_msg("%.9g is not %.9g", a, b);
}

static void schedule_rises_then_falls_along_a_cosine(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        close_to(train_rate(i, 111, 10, 2e-3, 2e-4), 2e-3 * (i + 1) / 10, 1e-12);
    close_to(train_rate(10, 111, 10, 2e-3, 2e-4), 2e-3, 1e-12);
    close_to(train_rate(60, 111, 10, 2e-3, 2e-4), 1.1e-3, 1e-12); /* half way: the mean of both ends */
    close_to(train_rate(35, 111, 10, 2e-3, 2e-4), 2e-4 + 1.8e-3 * (0.5 + sqrt(0.125)), 1e-12); /* cos 45 degrees */
    close_to(train_rate(110, 111, 10, 2e-3, 2e-4), 2e-4, 1e-12);
    /* without warm-up, and with nothing but warm-up */
    close_to(train_rate(0, 5, 0, 1, 0), 1, 1e-12);
    close_to(train_rate(4, 5, 5, 1, 0), 1, 1e-12);
    close_to(train_rate(0, 1, 0, 1, 0.5), 0.5, 1e-12);
}

static void clipping_bounds_the_norm(void **state)
{
    (void)state;
    assert_true(train_clip_scale(0.5, 1) == 1);
    assert_true(train_clip_scale(1, 1) == 1);
    close_to(train_clip_scale(8, 2), 0.25, 1e-15);
    assert_true(train_clip_scale(1e9, 0) == 1);
}

static void square_sum_is_the_sum_of_squares(void **state)
{
    (void)state;
    enum { N = 40000 };
    float *g = malloc(N * sizeof *g);
    assert_non_null(g);
    for (int i = 0; i < N; i++)
        g[i] = (float)(i % 7);
    /* 0 1 4 9 16 25 36 make 91 in seven */
    static const int sizes[] = {0, 1, 7, 8, 9, 16384, 16385, 39998};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int n = sizes[k];
        double want = 91.0 * (n / 7);
        for (int r = 0; r < n % 7; r++)
            want += r * r;
        assert_true(train_square_sum(g, n) == want);
    }
    free(g);
}

/* One parameter, one step: m and v are g (1 - b), their corrections undo that, so the step is lr sign(g). */
static void first_step_has_the_size_of_the_rate(void **state)
{
    (void)state;
    const struct train_adamw a = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-12};
    float g[3] = {0.3f, -20, 1e-3f}, w[3] = {1, 2, 3}, m[3] = {0}, v[3] = {0};
    train_adamw_step(&a, 1, 0.01, 0.5, 1, 3, g, w, m, v);
    close_to(w[0], 1 * (1 - 0.005) - 0.01, 1e-6);
    close_to(w[1], 2 * (1 - 0.005) + 0.01, 1e-6);
    close_to(w[2], 3 * (1 - 0.005) - 0.01, 1e-6);
}

/* Three steps with g = 1, 2, 4 and betas of a half, by hand: m = 1/2, 5/4, 21/8; v = 1/2, 9/4, 73/8. */
static void three_steps_by_hand(void **state)
{
    (void)state;
    const struct train_adamw a = {.beta1 = 0.5, .beta2 = 0.5, .eps = 0};
    double w = 10, m = 0, v = 0;
    float wf = 10, mf = 0, vf = 0;
    double want = 10;
    static const double mean[] = {1, 5.0 / 3, 3}, square[] = {1, 3, 73.0 / 7}; /* divided by 1/2, 3/4, 7/8 */
    for (int t = 1; t <= 3; t++) {
        double g = 1 << (t - 1);
        float gf = (float)g;
        train_adamw_step_ref(&a, t, 0.1, 0.2, 1, 1, &g, &w, &m, &v);
        train_adamw_step(&a, t, 0.1, 0.2, 1, 1, &gf, &wf, &mf, &vf);
        want = want * 0.98 - 0.1 * mean[t - 1] / sqrt(square[t - 1]);
        close_to(w, want, 1e-14);
        close_to(wf, want, 1e-6);
    }
    close_to(m, 21.0 / 8, 1e-14);
    close_to(v, 73.0 / 8, 1e-14);
}

static void many_steps_follow_the_reference(void **state)
{
    (void)state;
    enum { N = 40001, STEPS = 20 };
    const struct train_adamw a = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
    float *f = calloc(4 * N, sizeof *f), *again = calloc(4 * N, sizeof *again);
    double *d = calloc(4 * N, sizeof *d);
    assert_true(f && again && d);
    for (int i = 0; i < N; i++)
        again[i] = f[i] = (float)(d[i] = (float)sin(i));
    for (int t = 1; t <= STEPS; t++) {
        for (int i = 0; i < N; i++)
            again[N + i] = f[N + i] = (float)(d[N + i] = (float)(cos(i * 0.7 + t) * (i % 5)));
        train_adamw_step_ref(&a, t, 1e-2, 0.1, 0.3, N, d + N, d, d + 2 * N, d + 3 * N);
        omp_set_num_threads(1);
        train_adamw_step(&a, t, 1e-2, 0.1, 0.3, N, f + N, f, f + 2 * N, f + 3 * N);
        omp_set_num_threads(3);
        train_adamw_step(&a, t, 1e-2, 0.1, 0.3, N, again + N, again, again + 2 * N, again + 3 * N);
    }
    for (int i = 0; i < N; i++)
        close_to(f[i], d[i], 2e-5);
    assert_memory_equal(f, again, 4 * N * sizeof *f);
    free(f);
    free(again);
    free(d);
}

static void every_epoch_visits_every_window_once(void **state)
{
    (void)state;
    struct train_order o, other;
    int64_t tokens = 1003, ctx = 10;
    assert_int_equal(train_order_new(&o, tokens, ctx, 7), MDQ_OK);
    assert_int_equal(train_order_new(&other, tokens, ctx, 8), MDQ_OK);
    assert_int_equal(o.windows, 99);
    int differ = 0, in_order = 0;
    int64_t first_shift = -1, shifts = 0;
    for (int64_t epoch = 0; epoch < 6; epoch++) {
        char seen[100] = {0};
        int64_t shift = -1, last = -1;
        for (int64_t i = 0; i < o.windows; i++) {
            int64_t at = train_order_at(&o, epoch * o.windows + i);
            assert_true(at >= 0 && at + ctx + 1 <= tokens);
            shift = shift < 0 ? at % ctx : shift;
            assert_int_equal(at % ctx, shift);
            assert_false(seen[at / ctx]++);
            in_order += at == last + ctx;
            last = at;
            differ += at != train_order_at(&other, epoch * o.windows + i);
        }
        shifts += first_shift >= 0 && shift != first_shift;
        first_shift = first_shift < 0 ? shift : first_shift;
    }
    assert_true(shifts > 0);
    assert_true(in_order < 60);
    assert_true(differ > 300);
    /* any window, out of order, is the same window */
    int64_t late = train_order_at(&o, 500), early = train_order_at(&o, 3);
    train_order_free(&o);
    assert_int_equal(train_order_new(&o, tokens, ctx, 7), MDQ_OK);
    assert_int_equal(train_order_at(&o, 3), early);
    assert_int_equal(train_order_at(&o, 500), late);
    train_order_free(&o);
    train_order_free(&other);
}

static void the_shortest_text_is_one_window(void **state)
{
    (void)state;
    struct train_order o;
    for (int64_t tokens = 9; tokens < 40; tokens++) {
        assert_int_equal(train_order_new(&o, tokens, 8, 1), MDQ_OK);
        for (int64_t i = 0; i < 100; i++) {
            int64_t at = train_order_at(&o, i);
            assert_true(at >= 0 && at + 9 <= tokens);
        }
        train_order_free(&o);
    }
}

/* 0 three times and 1 once of four tokens, vocabulary 3: p = 4/7, 2/7, 1/7. The first of each window is not scored. */
static void unigram_loss_by_hand(void **state)
{
    (void)state;
    int32_t text[] = {0, 1, 0, 0}, ids[] = {2, 0, 1, 1, 0, 2, 2, 2};
    double loss;
    assert_int_equal(train_unigram(&(struct mdq_ids){.v = text, .n = 4}, 3, ids, 2, 3, &loss), MDQ_OK);
    close_to(loss, log(7.0 / 4 * 7 / 2 * 7 / 4 * 7) / 4, 1e-14);
}

static const struct mdq_config tiny = {.arch = MDQ_ARCH_QWEN3, .hidden = 24, .intermediate = 40, .layers = 8, .heads = 2,
                                       .kv_heads = 1, .head_dim = 16, .vocab = 96, .max_position = 64, .rms_eps = 1e-6,
                                       .qk_norm = true, .qkv_bias = true, .rope = {.theta = 1e4}};

static void fresh_weights_have_the_stated_spread(void **state)
{
    (void)state;
    struct train_params p, q;
    assert_int_equal(train_params_new(&p, &tiny), MDQ_OK);
    assert_int_equal(train_params_new(&q, &tiny), MDQ_OK);
    train_params_init(&p, 5, 0.03);
    train_params_init(&q, 6, 0.03);
    int64_t total = 0;
    for (int i = 0; i < p.count; i++) {
        const struct train_tensor *t = &p.tensors[i];
        total += t->n;
        double sum = 0, square = 0;
        for (int64_t k = 0; k < t->n; k++)
            sum += t->w[k], square += (double)t->w[k] * t->w[k];
        assert_true(t->decay == (t->ndim == 2));
        if (t->ndim == 1) { /* norms 1, biases 0 */
            double want = strstr(t->name, ".bias") ? 0 : 1;
            assert_true(sum == want * (double)t->n && square == want * (double)t->n);
            continue;
        }
        double std = strstr(t->name, "o_proj") || strstr(t->name, "down_proj") ? 0.03 / 4 : 0.03;
        double n = (double)t->n;
        assert_true(fabs(sum / n) < 5 * std / sqrt(n)); /* five standard errors */
        assert_true(fabs(square / n / (std * std) - 1) < 5 * sqrt(2 / n));
        assert_true(memcmp(t->w, q.tensors[i].w, (size_t)t->n * sizeof(float)) != 0);
    }
    assert_int_equal(total, p.total);
    /* embedding and head, final norm, per block: q k v o, their biases, gate up down, four norms */
    assert_int_equal(total, 2 * 96 * 24 + 24 + 8 * (24 * (32 + 16 + 16 + 32) + 64 + 3 * 24 * 40 + 2 * 24 + 2 * 16));
    train_params_free(&p);
    train_params_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedule_rises_then_falls_along_a_cosine),
        cmocka_unit_test(clipping_bounds_the_norm),
        cmocka_unit_test(square_sum_is_the_sum_of_squares),
        cmocka_unit_test(first_step_has_the_size_of_the_rate),
        cmocka_unit_test(three_steps_by_hand),
        cmocka_unit_test(many_steps_follow_the_reference),
        cmocka_unit_test(every_epoch_visits_every_window_once),
        cmocka_unit_test(the_shortest_text_is_one_window),
        cmocka_unit_test(unigram_loss_by_hand),
        cmocka_unit_test(fresh_weights_have_the_stated_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
