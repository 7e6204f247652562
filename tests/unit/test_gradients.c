/*
 * Gradients for scoring against differences of the double-precision reference: contrast and Fisher entry by entry, the
 * products with the weights along a row's part of a column block, and what moves a single token's output.
 */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "calib_gradients.h"
#include "mdq_tiling.h"
#include "random_model.h"

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        if ((expr) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #expr, mdq_error_message());                                                  \
    } while (0)

enum { CTX = 6, WINDOWS = 3, LONGEST = 11, TOKENS = 16 };

struct fixture {
    struct random_model m;
    struct mdq_examples sensitive, matched;
    int32_t *ids; /* [windows, ctx] functional */
    int windows, ctx;
    struct gradient_texts texts;
    struct gradients g;
};

static int32_t random_id(uint64_t *seed, int vocab)
{
    int32_t id = (int32_t)((random_unit(seed) + 1) / 2 * (float)vocab);
    return id < vocab ? id : vocab - 1;
}

/* Examples of these lengths; every other one has a span in its middle. */
static void examples_new(struct mdq_examples *e, int n, const int *lengths, int vocab, uint64_t seed)
{
    *e = (struct mdq_examples){.n = n};
    e->first = calloc((size_t)n + 1, sizeof *e->first);
    e->from = calloc((size_t)n, sizeof *e->from);
    e->to = calloc((size_t)n, sizeof *e->to);
    for (int i = 0; i < n; i++) {
        e->first[i + 1] = e->first[i] + lengths[i];
        e->from[i] = i % 2 ? lengths[i] / 2 : 1;
        e->to[i] = i % 2 ? e->from[i] + 1 + lengths[i] / 4 : lengths[i];
    }
    e->ids.v = calloc((size_t)e->first[n], sizeof *e->ids.v);
    assert_non_null(e->ids.v);
    for (int64_t i = 0; i < e->first[n]; i++)
        e->ids.v[i] = random_id(&seed, vocab);
}

static void examples_free(struct mdq_examples *e)
{
    free(e->first), free(e->from), free(e->to), free(e->ids.v);
}

static void fixture_new(struct fixture *f, struct mdq_config c, int windows, int ctx)
{
    static const int members[] = {5, LONGEST, 8, 2}, others[] = {7, 6, 10};
    uint64_t seed = 21;
    *f = (struct fixture){.windows = windows, .ctx = ctx};
    random_model_new(&f->m, c, ctx > LONGEST ? ctx : LONGEST);
    examples_new(&f->sensitive, 4, members, c.vocab, 5);
    examples_new(&f->matched, 3, others, c.vocab, 6);
    f->ids = calloc((size_t)(windows * ctx), sizeof *f->ids);
    assert_non_null(f->ids);
    for (int i = 0; i < windows * ctx; i++)
        f->ids[i] = random_id(&seed, c.vocab);
}

/* The whole pass, as mdq-calib makes it. */
static void fixture_run(struct fixture *f, int64_t part_tokens)
{
    const struct random_model *m = &f->m;
    assert_ok(gradient_texts_new(&f->texts, f->ids, f->windows, f->ctx, &f->sensitive, &f->matched, part_tokens));
    assert_ok(gradients_new(&f->g, &m->c, &m->rotary, &f->texts));
    assert_ok(mdq_embed(&m->c, &m->outer, f->texts.ids, f->texts.tokens, gradients_input(&f->g)));
    for (int i = 0; i < m->c.layers; i++)
        assert_ok(gradients_forward(&f->g, i, &m->blocks[i]));
    assert_ok(gradients_head(&f->g, &m->outer));
    for (int i = m->c.layers - 1; i >= 0; i--)
        assert_ok(gradients_backward(&f->g, i, &m->blocks[i]));
    gradients_finish(&f->g);
}

static void fixture_clear(struct fixture *f)
{
    gradients_free(&f->g);
    gradient_texts_free(&f->texts);
}

static void fixture_free(struct fixture *f)
{
    fixture_clear(f);
    examples_free(&f->sensitive);
    examples_free(&f->matched);
    free(f->ids);
    random_model_free(&f->m);
}

/* The sum of -ln p over tokens from .. to - 1 of n, in double, by the reference. */
static double nll_ref(const struct random_model *m, const int32_t *ids, int n, int from, int to)
{
    double x[TOKENS * 64], nll[TOKENS], sum = 0;
    int32_t targets[TOKENS];
    assert_true(n <= TOKENS && m->c.hidden <= 64);
    for (int t = 0; t < n; t++) {
        targets[t] = t + 1 >= from && t + 1 < to ? ids[t + 1] : -1;
        for (int j = 0; j < m->c.hidden; j++)
            x[t * m->c.hidden + j] = (double)m->outer.embedding[ids[t] * m->c.hidden + j];
    }
    for (int i = 0; i < m->c.layers; i++)
        assert_ok(mdq_block_forward_ref(&m->c, &m->blocks[i], i, &m->rotary, x, 1, n));
    assert_ok(mdq_head_forward_ref(&m->c, &m->outer, x, n, targets, nll, NULL));
    for (int t = 0; t < n; t++)
        sum += nll[t];
    return sum;
}

static double mean_ref(const struct random_model *m, const struct mdq_examples *e)
{
    double sum = 0;
    for (int64_t i = 0; i < e->n; i++)
        sum += nll_ref(m, e->ids.v + e->first[i], (int)(e->first[i + 1] - e->first[i]), e->from[i], e->to[i]) /
               (e->to[i] - e->from[i]);
    return sum / (double)e->n;
}

/* Losses: of a window (sum over its predictions), or the contrast (window -1). */
static double loss_ref(const struct fixture *f, int window)
{
    if (window < 0)
        return mean_ref(&f->m, &f->sensitive) - mean_ref(&f->m, &f->matched);
    return nll_ref(&f->m, f->ids + window * f->ctx, f->ctx, 1, f->ctx);
}

/* The derivative of a loss along `direction` [n] at w: a five-point quotient. w is what it was afterwards. */
static double slope(const struct fixture *f, int window, float *w, int64_t n, const double *direction, double h)
{
    static const double coefficient[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};
    static const int step[] = {-2, -1, 1, 2};
    float *old = malloc((size_t)n * sizeof *old);
    double sum = 0;
    assert_non_null(old);
    memcpy(old, w, (size_t)n * sizeof *w);
    for (int s = 0; s < 4; s++) {
        for (int64_t j = 0; j < n; j++)
            w[j] = (float)((double)old[j] + step[s] * h * direction[j]);
        sum += coefficient[s] * loss_ref(f, window);
    }
    memcpy(w, old, (size_t)n * sizeof *w);
    free(old);
    return sum / h;
}

static void check(const char *what, int block, int l, int64_t at, double got, double want, double scale)
{
    if (!(fabs(got - want) <= 1e-3 * fabs(want) + 1e-3 * scale))
        fail_msg("%s, block %d, %s, %ld: %.9g, by differences %.9g", what, block, mdq_linear_suffix((enum mdq_linear)l), (long)at,
                 got, want);
}

static float largest(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    assert_true(most > 0);
    return most;
}

/* Entries where there is something to see, another one at each call. */
static int64_t pick(const float *x, int64_t n, uint64_t *seed)
{
    const float most = largest(x, n);
    int64_t i = random_id(seed, (int)n);
    while (fabsf(x[i]) < 0.05f * most)
        i = (i + 1) % n;
    return i;
}

static void check_entries(struct fixture *f, int block, int l, int probes)
{
    const struct gradient_result r = gradients_of(&f->g, block, (enum mdq_linear)l);
    const double one = 1, h = 0.00390625;
    float *w = f->m.blocks[block].linear[l];
    uint64_t seed = 31;
    for (int k = 0; k < probes; k++) {
        int64_t i = pick(r.contrast, r.rows * r.cols, &seed);
        check("contrast", block, l, i, (double)r.contrast[i], slope(f, -1, w + i, 1, &one, h),
              1e-2 * (double)largest(r.contrast, r.rows * r.cols));
        i = pick(r.fisher, r.rows * r.cols, &seed);
        double sum = 0;
        for (int v = 0; v < f->windows; v++)
            sum += pow(slope(f, v, w + i, 1, &one, h) / (f->ctx - 1), 2);
        check("fisher", block, l, i, (double)r.fisher[i], sum / f->windows, 1e-2 * (double)largest(r.fisher, r.rows * r.cols));
    }
}

/* g_F . W over a row's part of a column block is what scaling that part changes. */
static void check_dots(struct fixture *f, int block, int l)
{
    const struct gradient_result r = gradients_of(&f->g, block, (enum mdq_linear)l);
    double direction[TOKENS * 256];
    assert_true(r.cols <= TOKENS * 256 && r.blocks == mdq_tiling_parts(r.cols, MDQ_TILE));
    for (int64_t b = 0; b < r.blocks; b++) {
        const int64_t row = (3 * b + 1) % r.rows, first = mdq_tiling_first(r.cols, r.blocks, b);
        float *w = f->m.blocks[block].linear[l] + row * r.cols;
        for (int64_t j = 0; j < r.cols; j++)
            direction[j] = mdq_tiling_first(r.cols, r.blocks, b + 1) > j && j >= first ? (double)w[j] : 0;
        double sum = 0;
        for (int v = 0; v < f->windows; v++)
            sum += slope(f, v, w, r.cols, direction, 0.00390625) / (f->ctx - 1);
        check("gradient_dot", block, l, row * r.blocks + b, (double)r.dot[row * r.blocks + b], sum / f->windows,
              (double)largest(r.dot, r.rows * r.blocks));
    }
}

struct inputs {
    float *x[MDQ_INPUTS];
};

static enum mdq_err capture(void *arg, enum mdq_input which, const float *x, int64_t tokens, int64_t columns)
{
    struct inputs *in = arg;
    free(in->x[which]);
    in->x[which] = malloc((size_t)(tokens * columns) * sizeof *x);
    assert_non_null(in->x[which]);
    memcpy(in->x[which], x, (size_t)(tokens * columns) * sizeof *x);
    return MDQ_OK;
}

/* What enters the layers of a block for one window. */
static void inputs_of(const struct fixture *f, int block, int window, struct inputs *in)
{
    const struct random_model *m = &f->m;
    float *x = malloc((size_t)(f->ctx * m->c.hidden) * sizeof *x);
    assert_non_null(x);
    assert_ok(mdq_embed(&m->c, &m->outer, f->ids + window * f->ctx, f->ctx, x));
    for (int i = 0; i <= block; i++)
        assert_ok(mdq_block_forward(&m->c, &m->blocks[i], i, &m->rotary, x, 1, f->ctx, m->ws[0], false, capture, in));
    free(x);
}

/* v [n] with x_s . v = (s == t) for the tokens' inputs x [ctx, n]: v = X^T a, X X^T a = e_t. */
static void single_token(const float *x, int ctx, int64_t n, int t, double *v)
{
    double a[TOKENS][TOKENS + 1] = {{0}};
    for (int i = 0; i < ctx; i++) {
        for (int j = 0; j < ctx; j++)
            for (int64_t k = 0; k < n; k++)
                a[i][j] += (double)x[i * n + k] * (double)x[j * n + k];
        a[i][ctx] = i == t;
    }
    for (int i = 0; i < ctx; i++) /* Gauss-Jordan; the matrix is positive definite */
        for (int j = 0; j < ctx; j++) {
            double q = a[j][i] / a[i][i];
            for (int k = i; k <= ctx && j != i; k++)
                a[j][k] -= q * a[i][k];
        }
    for (int64_t k = 0; k < n; k++) {
        v[k] = 0;
        for (int i = 0; i < ctx; i++)
            v[k] += a[i][ctx] / a[i][i] * (double)x[i * n + k];
    }
}

/* A change of a row of W along such a v moves that output of one token alone. */
static void check_outputs(struct fixture *f, int block, int l)
{
    const struct gradient_result r = gradients_of(&f->g, block, (enum mdq_linear)l);
    double v[TOKENS * 256], sum = 0;
    uint64_t seed = 17;
    const int64_t row = pick(r.output, r.rows, &seed);
    for (int w = 0; w < f->windows; w++) {
        struct inputs in = {{NULL}};
        inputs_of(f, block, w, &in);
        for (int t = 0; t < f->ctx; t++) {
            single_token(in.x[mdq_linear_input((enum mdq_linear)l)], f->ctx, r.cols, t, v);
            sum += pow(slope(f, w, f->m.blocks[block].linear[l] + row * r.cols, r.cols, v, 0.00390625), 2);
        }
        for (int i = 0; i < MDQ_INPUTS; i++)
            free(in.x[i]);
    }
    check("output_gradient", block, l, row, (double)r.output[row], sum / (f->windows * f->ctx), 0);
}

static struct mdq_config with_everything(void)
{
    struct mdq_config c = random_config(24, 264, 4, 2, 8, 50, 2);
    c.qkv_bias = c.o_bias = c.mlp_bias = c.qk_norm = true;
    return c;
}

static void compare(struct mdq_config c, int64_t part_tokens, int probes)
{
    struct fixture f;
    fixture_new(&f, c, WINDOWS, CTX);
    fixture_run(&f, part_tokens);
    for (int i = 0; i < c.layers; i++)
        for (int l = 0; l < MDQ_LINEARS; l++) {
            check_entries(&f, i, l, probes);
            check_dots(&f, i, l);
            check_outputs(&f, i, l);
        }
    fixture_free(&f);
}

static void gradients_agree_with_differences(void **state)
{
    (void)state;
    struct mdq_config tied = random_config(24, 40, 4, 4, 6, 50, 2);
    tied.tied = true;
    tied.sliding_window = 4;
    compare(with_everything(), 16, 2); /* parts of several rows with padding, and several parts */
    compare(tied, 8192, 2);
}

static void large_models_go_another_way(void **state)
{
    (void)state;
    struct mdq_config c = with_everything();
    c.hidden = 32;
    c.intermediate = 4070;
    c.layers = 1;
    compare(c, 64, 1);
}

static void assert_close(const char *name, const float *got, const float *want, int64_t n)
{
    const float scale = largest(want, n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= 2e-5f * scale))
            fail_msg("%s[%ld]: %g, in other parts %g", name, (long)i, (double)got[i], (double)want[i]);
}

/* How many tokens are taken at a time changes rounding alone. */
static void parts_do_not_matter(void **state)
{
    (void)state;
    struct fixture a, b;
    fixture_new(&a, with_everything(), 9, 40);
    fixture_new(&b, with_everything(), 9, 40);
    fixture_run(&a, 1);
    fixture_run(&b, 8192);
    assert_true(a.texts.n == 4 + 3 + 9 && b.texts.n == 3);
    assert_int_equal(a.texts.tokens, 26 + 23 + 9 * 40); /* no padding */
    for (int i = 0; i < 2; i++)
        for (int l = 0; l < MDQ_LINEARS; l++) {
            const struct gradient_result x = gradients_of(&a.g, i, (enum mdq_linear)l), y = gradients_of(&b.g, i, (enum mdq_linear)l);
            assert_close("contrast", x.contrast, y.contrast, x.rows * x.cols);
            assert_close("fisher", x.fisher, y.fisher, x.rows * x.cols);
            assert_close("gradient_dot", x.dot, y.dot, x.rows * x.blocks);
            assert_close("output_gradient", x.output, y.output, x.rows);
        }
    fixture_free(&a);
    fixture_free(&b);
}

static void bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    struct mdq_config large = with_everything();
    large.intermediate = 4200;
    large.layers = 1;
    for (int v = 0; v < 2; v++) {
        struct fixture f;
        char *first = NULL;
        fixture_new(&f, v ? large : with_everything(), 5, 70);
        for (int threads = 1; threads <= 5; threads += 2) {
            omp_set_num_threads(threads);
            fixture_run(&f, 150);
            if (!first) {
                first = malloc(f.g.results.bytes);
                assert_non_null(first);
                memcpy(first, f.g.results.p, f.g.results.bytes);
            }
            assert_memory_equal(first, f.g.results.p, f.g.results.bytes);
            fixture_clear(&f);
        }
        free(first);
        fixture_free(&f);
    }
    omp_set_num_threads(before);
}

/* The shares: 1 for the members, -1 for the others, equal among records of any length and span; 1 for each prediction. */
static void weights_add_up(void **state)
{
    (void)state;
    struct fixture f;
    fixture_new(&f, with_everything(), WINDOWS, CTX);
    assert_ok(gradient_texts_new(&f.texts, f.ids, WINDOWS, CTX, &f.sensitive, &f.matched, 20));
    double positive = 0, negative = 0;
    int64_t functional = 0, predictions = 0;
    for (int64_t k = 0; k < f.texts.n; k++) {
        const struct gradient_part *p = &f.texts.part[k];
        assert_true(p->rows == 1 || p->rows * p->ctx <= 20);
        for (int64_t t = p->first; t < p->first + p->rows * p->ctx; t++) {
            if (f.texts.targets[t] < 0)
                continue;
            const double w = (double)f.texts.weights[t];
            functional += p->functional && w == 1;
            positive += !p->functional && w > 0 ? w : 0;
            negative += !p->functional && w < 0 ? w : 0;
            predictions++;
        }
    }
    assert_int_equal(functional, WINDOWS * (CTX - 1));
    assert_true(fabs(positive - 1) < 1e-6 && fabs(negative + 1) < 1e-6);
    int64_t spans = 0;
    for (int i = 0; i < 4; i++)
        spans += f.sensitive.to[i] - f.sensitive.from[i] + (i < 3 ? f.matched.to[i] - f.matched.from[i] : 0);
    assert_int_equal(predictions, functional + spans);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_add_up),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(large_models_go_another_way),
        cmocka_unit_test(parts_do_not_matter),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
