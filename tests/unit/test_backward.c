/* What the backward pass can show beside gradients of the whole: single windows, outputs, a weight for every token. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "random_model.h"

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        if ((expr) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #expr, mdq_error_message());                                                  \
    } while (0)

static struct mdq_config model(void)
{
    struct mdq_config c = random_config(24, 40, 4, 1, 8, 50, 2);
    c.qkv_bias = c.o_bias = c.mlp_bias = true;
    return c;
}

static void fill_ids(int32_t *ids, int n, int vocab)
{
    for (int i = 0; i < n; i++)
        ids[i] = i * 37 % vocab;
}

/* All blocks, each keeping what its backward pass needs. */
static void forward(const struct random_model *m, const int32_t *ids, int windows, int ctx)
{
    float *x = malloc((size_t)(windows * ctx * m->c.hidden) * sizeof *x);
    assert_non_null(x);
    assert_ok(mdq_embed(&m->c, &m->outer, ids, (int64_t)windows * ctx, x));
    for (int i = 0; i < m->c.layers; i++)
        assert_ok(mdq_block_forward(&m->c, &m->blocks[i], i, &m->rotary, x, windows, ctx, m->ws[i], true, NULL, NULL));
    free(x);
}

static void assert_close(const char *name, const float *got, const float *want, int64_t n)
{
    float scale = 0;
    for (int64_t i = 0; i < n; i++)
        scale = fmaxf(scale, fabsf(want[i]));
    assert_true(scale > 0);
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-5f * scale))
            fail_msg("%s[%ld]: %g, all windows at once %g", name, (long)i, (double)got[i], (double)want[i]);
}

struct by_window {
    const struct random_model *m;
    int calls, fail_at;
    double bias[MDQ_LINEARS]; /* dL/d(first output), summed over the tokens */
};

static enum mdq_err window_seen(void *arg, int window, const struct mdq_output_gradient dy[MDQ_LINEARS])
{
    struct by_window *s = arg;
    assert_int_equal(window, s->calls++);
    for (int l = 0; l < MDQ_LINEARS; l++)
        for (int t = 0; t < s->m->rotary.ctx; t++)
            s->bias[l] += (double)dy[l].dy[t * dy[l].stride];
    return window == s->fail_at ? mdq_fail(MDQ_E_IO, "as asked") : MDQ_OK;
}

/* Window by window nothing changes but rounding; the outputs' gradients sum up to those of the biases. */
static void windows_are_shown_one_by_one(void **state)
{
    (void)state;
    enum { WINDOWS = 5, CTX = 70, N = WINDOWS * CTX, HIDDEN = 24 };
    int32_t ids[N];
    static float dx[N * HIDDEN], dx_windows[N * HIDDEN];
    struct random_model all, windows;
    uint64_t seed = 8;
    random_model_new(&all, model(), CTX);
    random_model_new(&windows, model(), CTX);
    fill_ids(ids, N, all.c.vocab);
    random_fill(&seed, dx, N * HIDDEN, 0, 1);
    memcpy(dx_windows, dx, sizeof dx);
    struct by_window s = {.m = &windows, .fail_at = -1};
    forward(&all, ids, WINDOWS, CTX);
    forward(&windows, ids, WINDOWS, CTX);
    assert_ok(mdq_block_backward(&all.c, &all.blocks[1], 1, &all.rotary, dx, WINDOWS, CTX, all.ws[1], &all.grads[1]));
    assert_ok(mdq_block_backward_windows(&windows.c, &windows.blocks[1], 1, &windows.rotary, dx_windows, WINDOWS, CTX,
                                         windows.ws[1], &windows.grads[1], window_seen, &s));
    assert_int_equal(s.calls, WINDOWS);
    assert_memory_equal(dx, dx_windows, sizeof dx);
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(&all.c, (enum mdq_linear)l, &out, &in);
        assert_close(mdq_linear_suffix((enum mdq_linear)l), windows.grads[1].linear[l], all.grads[1].linear[l], out * in);
        assert_memory_equal(windows.grads[1].bias[l], all.grads[1].bias[l], (size_t)out * sizeof(float));
        assert_true(fabs((double)all.grads[1].bias[l][0] - s.bias[l]) < 1e-4 * (1 + fabs(s.bias[l])));
    }
    forward(&windows, ids, WINDOWS, CTX);
    s = (struct by_window){.m = &windows, .fail_at = 2};
    assert_int_equal(mdq_block_backward_windows(&windows.c, &windows.blocks[1], 1, &windows.rotary, dx_windows, WINDOWS, CTX,
                                                windows.ws[1], &windows.grads[1], window_seen, &s), MDQ_E_IO);
    assert_int_equal(s.calls, 3);
    random_model_free(&all);
    random_model_free(&windows);
}

/* A weight per token: gradients of two parts of the targets add up with their weights. */
static void weights_of_tokens(void **state)
{
    (void)state;
    enum { N = 150, HIDDEN = 24 };
    struct random_model m;
    int32_t targets[N], first[N], second[N];
    float x[N * HIDDEN], weights[N], dx[N * HIDDEN], dx1[N * HIDDEN], dx2[N * HIDDEN];
    uint64_t seed = 12;
    double loss, loss1, loss2;
    struct mdq_outer none = {.tied = false};
    random_model_new(&m, random_config(HIDDEN, 40, 4, 2, 8, 50, 2), 4);
    fill_ids(targets, N, m.c.vocab);
    random_fill(&seed, x, N * HIDDEN, 0, 1);
    for (int t = 0; t < N; t++) {
        first[t] = t % 3 ? targets[t] : -1;
        second[t] = t % 3 ? -1 : targets[t];
        weights[t] = t % 3 ? 0.5f : -3;
    }
    assert_ok(mdq_head_backward_weighted(&m.c, &m.outer, x, N, targets, weights, dx, &none, &loss));
    assert_ok(mdq_head_backward(&m.c, &m.outer, x, N, first, 0.5f, dx1, &none, &loss1));
    assert_ok(mdq_head_backward(&m.c, &m.outer, x, N, second, -3, dx2, &none, &loss2));
    assert_true(fabs(loss - loss1 - loss2) < 1e-9 * loss);
    for (int i = 0; i < N * HIDDEN; i++)
        assert_true(dx[i] == dx1[i] + dx2[i]);
    random_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_shown_one_by_one),
        cmocka_unit_test(weights_of_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
