/* The transformer against its double-precision reference, and the reference's differences against the gradients. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mdq_linalg.h"
#include "random_model.h"

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        if ((expr) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #expr, mdq_error_message());                                                  \
    } while (0)

enum { VARIANTS = 6 };

/* Every part that can be present or absent, odd sizes, one and several windows. */
static struct mdq_config variant(int v)
{
    struct mdq_config c = random_config(24, 40, 4, 2, 8, 50, 2);
    switch (v) {
    case 1:
        c.qkv_bias = c.tied = true;
        break;
    case 2:
        c.qkv_bias = c.o_bias = c.mlp_bias = true;
        c.kv_heads = 1;
        break;
    case 3:
        c.qk_norm = true;
        c.head_dim = 10;
        c.heads = c.kv_heads = 3;
        break;
    case 4:
        c.sliding_window = 5;
        c.window_layers_from = 1;
        c.tied = true;
        break;
    case 5: /* the way of large models */
        c.hidden = 32;
        c.intermediate = 4070;
        c.vocab = 4100; /* and a head of its own way */
        c.qkv_bias = c.o_bias = c.mlp_bias = c.qk_norm = true;
        c.layers = 1;
        break;
    default:
        break;
    }
    return c;
}

static void random_ids(int32_t *ids, int n, int vocab)
{
    uint64_t seed = 99;
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)((random_unit(&seed) + 1) / 2 * (float)vocab);
}

static double *hidden_ref(const struct random_model *m, const int32_t *ids, int windows, int ctx)
{
    size_t n = (size_t)windows * (size_t)ctx, hidden = (size_t)m->c.hidden;
    double *x = malloc(n * hidden * sizeof *x);
    assert_non_null(x);
    for (size_t t = 0; t < n; t++)
        for (size_t j = 0; j < hidden; j++)
            x[t * hidden + j] = (double)m->outer.embedding[(size_t)ids[t] * hidden + j];
    for (int i = 0; i < m->c.layers; i++)
        assert_ok(mdq_block_forward_ref(&m->c, &m->blocks[i], i, &m->rotary, x, windows, ctx));
    return x;
}

static float *hidden_fast(const struct random_model *m, const int32_t *ids, int windows, int ctx, bool keep)
{
    int64_t n = (int64_t)windows * ctx;
    float *x = malloc((size_t)n * (size_t)m->c.hidden * sizeof *x);
    assert_non_null(x);
    assert_ok(mdq_embed(&m->c, &m->outer, ids, n, x));
    for (int i = 0; i < m->c.layers; i++)
        assert_ok(mdq_block_forward(&m->c, &m->blocks[i], i, &m->rotary, x, windows, ctx, m->ws[i], keep, NULL, NULL));
    return x;
}

struct logits {
    float *l;
    int vocab;
};

static void collect(void *arg, int64_t t, const float *logits)
{
    struct logits *to = arg;
    memcpy(to->l + t * to->vocab, logits, (size_t)to->vocab * sizeof *logits);
}

static void compare_forward(struct mdq_config c, int windows, int ctx, bool keep)
{
    struct random_model m;
    int n = windows * ctx;
    size_t all = (size_t)n * (size_t)c.vocab;
    random_model_new(&m, c, ctx + 3);
    int32_t *ids = malloc((size_t)n * sizeof *ids), *targets = malloc((size_t)n * sizeof *ids);
    double *nll = malloc((size_t)n * sizeof *nll), *nll_ref = malloc((size_t)n * sizeof *nll);
    double *l_ref = malloc(all * sizeof *l_ref);
    struct logits l = {malloc(all * sizeof(float)), c.vocab};
    assert_true(ids && targets && nll && nll_ref && l_ref && l.l);
    random_ids(ids, n, c.vocab);
    for (int t = 0; t < n; t++)
        targets[t] = t % 7 == 6 ? -1 : ids[(t + 1) % n];
    double *want = hidden_ref(&m, ids, windows, ctx);
    float *got = hidden_fast(&m, ids, windows, ctx, keep);
    for (int i = 0; i < n * c.hidden; i++)
        assert_true(fabs((double)got[i] - want[i]) < 2e-5 * (1 + fabs(want[i])));
    assert_ok(mdq_head_forward_ref(&c, &m.outer, want, n, targets, nll_ref, l_ref));
    assert_ok(mdq_head_forward(&c, &m.outer, got, n, targets, nll, collect, &l));
    for (size_t i = 0; i < all; i++)
        assert_true(fabs((double)l.l[i] - l_ref[i]) < 5e-5 * (1 + fabs(l_ref[i])));
    for (int t = 0; t < n; t++)
        assert_true(targets[t] < 0 ? nll[t] == 0 : fabs(nll[t] - nll_ref[t]) < 1e-4);
    free(ids), free(targets), free(nll), free(nll_ref), free(l_ref), free(l.l), free(want), free(got);
    random_model_free(&m);
}

static void forward_agrees_with_the_reference(void **state)
{
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        compare_forward(variant(v), 3, 21, true);
        compare_forward(variant(v), 2, 40, false);
    }
    compare_forward(variant(0), 5, 1, false);
    compare_forward(variant(3), 1, 150, true); /* several blocks of queries */
    struct mdq_config c = variant(4);
    c.sliding_window = 70;
    c.window_layers_from = 0;
    compare_forward(c, 1, 200, false);
    c.sliding_window = 1;
    compare_forward(c, 2, 70, true);
}

/* More windows than are taken at a time must give what they give one by one (to rounding). */
static void windows_are_taken_in_batches(void **state)
{
    (void)state;
    struct random_model m;
    enum { CTX = 300, WINDOWS = 30 };
    random_model_new(&m, variant(0), CTX);
    int32_t *ids = malloc(CTX * WINDOWS * sizeof *ids);
    assert_non_null(ids);
    random_ids(ids, CTX * WINDOWS, m.c.vocab);
    float *all = hidden_fast(&m, ids, WINDOWS, CTX, false);
    for (int w = 0; w < WINDOWS; w += 7) {
        float *one = hidden_fast(&m, ids + w * CTX, 1, CTX, false);
        for (int i = 0; i < CTX * m.c.hidden; i++)
            assert_true(fabsf(one[i] - all[w * CTX * m.c.hidden + i]) < 1e-4f);
        free(one);
    }
    free(all), free(ids);
    random_model_free(&m);
}

/* The whole model's loss in double. */
static double loss_ref(const struct random_model *m, const int32_t *ids, const int32_t *targets, int windows, int ctx)
{
    double *x = hidden_ref(m, ids, windows, ctx), nll[64], sum = 0;
    assert_true(windows * ctx <= 64);
    assert_ok(mdq_head_forward_ref(&m->c, &m->outer, x, windows * ctx, targets, nll, NULL));
    for (int t = 0; t < windows * ctx; t++)
        sum += nll[t];
    free(x);
    return sum;
}

static double backward(const struct random_model *m, const int32_t *ids, const int32_t *targets, int windows, int ctx,
                       float weight)
{
    int64_t n = (int64_t)windows * ctx;
    struct mdq_outer g = m->outer_grads;
    float *x = hidden_fast(m, ids, windows, ctx, true), *dx = malloc((size_t)n * (size_t)m->c.hidden * sizeof *dx);
    double loss;
    assert_non_null(dx);
    assert_ok(mdq_head_backward(&m->c, &m->outer, x, n, targets, weight, dx, &g, &loss));
    for (int i = m->c.layers - 1; i >= 0; i--)
        assert_ok(mdq_block_backward(&m->c, &m->blocks[i], i, &m->rotary, dx, windows, ctx, m->ws[i], &m->grads[i]));
    mdq_embed_backward(&m->c, ids, n, dx, &g);
    free(x), free(dx);
    return loss;
}

struct probe {
    const struct random_model *m;
    const int32_t *ids, *targets;
    int windows, ctx;
    float weight;
};

/* A few entries of w [n]: the gradient against a five-point difference quotient of the reference's loss. */
static void check_gradient(const struct probe *p, const char *name, float *w, const float *g, int64_t n)
{
    static const double coefficient[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};
    static const int step[] = {-2, -1, 1, 2};
    const float h = 0.00390625f; /* a power of two: w + h is exact, or nearly */
    if (!w)
        return;
    uint64_t seed = 5;
    float largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(g[i]));
    assert_true(largest > 0);
    for (int k = 0; k < (n > 20000 ? 1 : 4); k++) {
        int64_t i = (int64_t)((random_unit(&seed) + 1) / 2 * (float)n);
        for (int64_t tries = 0; tries < n && fabsf(g[i]) < 0.05f * largest; tries++)
            i = (i + 1) % n; /* where there is something to see */
        float old = w[i];
        double slope = 0;
        for (int s = 0; s < 4; s++) {
            w[i] = old + (float)step[s] * h;
            slope += coefficient[s] * loss_ref(p->m, p->ids, p->targets, p->windows, p->ctx);
        }
        w[i] = old;
        slope /= (double)h;
        if (fabs((double)(g[i] / p->weight) - slope) > 2e-4 * fabs(slope) + 1e-4)
            fail_msg("%s[%ld]: gradient %g, difference quotient %g", name, (long)i, (double)(g[i] / p->weight), slope);
    }
}

static void gradients_agree_with_differences(void **state)
{
    (void)state;
    enum { WINDOWS = 2, CTX = 9 };
    int32_t ids[WINDOWS * CTX], targets[WINDOWS * CTX];
    for (int v = 0; v < VARIANTS; v++) {
        struct random_model m;
        random_model_new(&m, variant(v), CTX);
        random_ids(ids, WINDOWS * CTX, m.c.vocab);
        for (int t = 0; t < WINDOWS * CTX; t++)
            targets[t] = t % CTX == CTX - 1 ? -1 : ids[t + 1];
        struct probe p = {&m, ids, targets, WINDOWS, CTX, 0.5f};
        double loss = backward(&m, ids, targets, WINDOWS, CTX, p.weight);
        assert_true(fabs(loss - loss_ref(&m, ids, targets, WINDOWS, CTX)) < 1e-4 * loss);
        int64_t outer = (int64_t)m.c.vocab * m.c.hidden;
        check_gradient(&p, "embedding", m.outer.embedding, m.outer_grads.embedding, outer);
        check_gradient(&p, "norm", m.outer.norm, m.outer_grads.norm, m.c.hidden);
        check_gradient(&p, "head", m.outer.head, m.outer_grads.head, outer);
        for (int i = 0; i < m.c.layers; i++) {
            struct mdq_block *b = &m.blocks[i], *g = &m.grads[i];
            for (int l = 0; l < MDQ_LINEARS; l++) {
                int64_t out, in;
                mdq_linear_shape(&m.c, (enum mdq_linear)l, &out, &in);
                check_gradient(&p, mdq_linear_suffix((enum mdq_linear)l), b->linear[l], g->linear[l], out * in);
                /* the bias of k adds the same to all scores of a query: no gradient, unless a norm follows */
                if (l != MDQ_K_PROJ || m.c.qk_norm)
                    check_gradient(&p, "bias", b->bias[l], g->bias[l], out);
            }
            check_gradient(&p, "attn_norm", b->attn_norm, g->attn_norm, m.c.hidden);
            check_gradient(&p, "mlp_norm", b->mlp_norm, g->mlp_norm, m.c.hidden);
            check_gradient(&p, "q_norm", b->q_norm, g->q_norm, m.c.head_dim);
            check_gradient(&p, "k_norm", b->k_norm, g->k_norm, m.c.head_dim);
        }
        random_model_free(&m);
    }
}

static void assert_close(const char *name, const float *got, const float *want, int64_t n)
{
    float scale = 0;
    for (int64_t i = 0; i < n; i++)
        scale = fmaxf(scale, fabsf(want[i]));
    assert_true(scale > 0);
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-4f * scale))
            fail_msg("%s[%ld]: %g, one window at a time %g", name, (long)i, (double)got[i], (double)want[i]);
}

/* Many rows go through other products than few (tiles, weights in panels): all windows at once against one by one. */
static void many_rows_agree_with_few(void **state)
{
    (void)state;
    enum { WINDOWS = 9, CTX = 150, N = WINDOWS * CTX };
    static int32_t ids[N];
    struct random_model all, single;
    struct mdq_config c = random_config(72, 650, 4, 2, 18, 100, 2);
    c.qkv_bias = c.o_bias = c.mlp_bias = true;
    random_model_new(&all, c, CTX);
    random_model_new(&single, c, CTX);
    random_ids(ids, N, c.vocab);
    double loss = backward(&all, ids, ids, WINDOWS, CTX, 1), sum = 0;
    for (int w = 0; w < WINDOWS; w++)
        sum += backward(&single, ids + w * CTX, ids + w * CTX, 1, CTX, 1);
    assert_true(fabs(loss - sum) < 1e-5 * sum);
    assert_close("embedding", all.outer_grads.embedding, single.outer_grads.embedding, (int64_t)c.vocab * c.hidden);
    assert_close("head", all.outer_grads.head, single.outer_grads.head, (int64_t)c.vocab * c.hidden);
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(&c, (enum mdq_linear)l, &out, &in);
        assert_close(mdq_linear_suffix((enum mdq_linear)l), all.grads[0].linear[l], single.grads[0].linear[l], out * in);
        if (l != MDQ_K_PROJ)
            assert_close("bias", all.grads[0].bias[l], single.grads[0].bias[l], out);
    }
    random_model_free(&all);
    random_model_free(&single);
}

/* Gradients add up, and members that are NULL are left out. */
static void gradients_accumulate(void **state)
{
    (void)state;
    enum { CTX = 12 };
    int32_t ids[CTX], targets[CTX];
    struct random_model m, twice;
    struct mdq_config c = variant(2);
    random_model_new(&m, c, CTX);
    random_model_new(&twice, c, CTX);
    random_ids(ids, CTX, c.vocab);
    for (int t = 0; t < CTX; t++)
        targets[t] = ids[(t + 1) % CTX];
    backward(&m, ids, targets, 1, CTX, 1);
    backward(&twice, ids, targets, 1, CTX, 1);
    free(twice.grads[1].attn_norm), free(twice.grads[1].bias[MDQ_UP_PROJ]), free(twice.grads[1].linear[MDQ_V_PROJ]);
    twice.grads[1].attn_norm = twice.grads[1].bias[MDQ_UP_PROJ] = twice.grads[1].linear[MDQ_V_PROJ] = NULL;
    backward(&twice, ids, targets, 1, CTX, 1);
    for (int j = 0; j < c.hidden; j++) {
        assert_float_equal(2 * m.grads[0].attn_norm[j], twice.grads[0].attn_norm[j], 1e-4);
        assert_float_equal(2 * m.grads[0].linear[MDQ_V_PROJ][j], twice.grads[0].linear[MDQ_V_PROJ][j], 1e-4);
        assert_float_equal(2 * m.grads[1].bias[MDQ_DOWN_PROJ][j], twice.grads[1].bias[MDQ_DOWN_PROJ][j], 1e-4);
        assert_float_equal(2 * m.outer_grads.embedding[ids[0] * c.hidden + j],
                           twice.outer_grads.embedding[ids[0] * c.hidden + j], 1e-4);
    }
    random_model_free(&m);
    random_model_free(&twice);
}

static uint64_t mix(uint64_t hash, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
    return hash;
}

static void bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { WINDOWS = 7, CTX = 150, N = WINDOWS * CTX };
    static int32_t ids[N];
    int before = omp_get_max_threads();
    for (int v = 0; v < VARIANTS; v += VARIANTS - 1) {
        uint64_t first = 0;
        for (int threads = 1; threads <= 5; threads += 2) {
            struct random_model m;
            omp_set_num_threads(threads);
            random_model_new(&m, variant(v), CTX);
            random_ids(ids, N, m.c.vocab);
            double loss = backward(&m, ids, ids, WINDOWS, CTX, 1), nll[N];
            float *x = hidden_fast(&m, ids, WINDOWS, CTX, false);
            assert_ok(mdq_head_forward(&m.c, &m.outer, x, N, ids, nll, NULL, NULL));
            uint64_t hash = mix(mix(14695981039346656037u, &loss, sizeof loss), nll, sizeof nll);
            hash = mix(hash, x, (size_t)N * (size_t)m.c.hidden * sizeof *x);
            hash = mix(hash, m.outer_grads.embedding, (size_t)m.c.vocab * (size_t)m.c.hidden * sizeof(float));
            hash = mix(hash, m.outer_grads.norm, (size_t)m.c.hidden * sizeof(float));
            for (int l = 0; l < MDQ_LINEARS; l++) {
                int64_t out, in;
                mdq_linear_shape(&m.c, (enum mdq_linear)l, &out, &in);
                hash = mix(hash, m.grads[0].linear[l], (size_t)(out * in) * sizeof(float));
            }
            hash = mix(hash, m.grads[0].attn_norm, (size_t)m.c.hidden * sizeof(float));
            first = threads == 1 ? hash : first;
            assert_true(hash == first);
            free(x);
            random_model_free(&m);
        }
    }
    omp_set_num_threads(before);
}

struct seen {
    int64_t tokens[MDQ_INPUTS];
    const struct random_model *m;
    float *sum_down; /* [tokens, hidden]: W_down of what was captured */
    bool fail;
};

static enum mdq_err capture(void *arg, enum mdq_input which, const float *x, int64_t tokens, int64_t columns)
{
    struct seen *s = arg;
    int64_t out, in;
    mdq_linear_shape(&s->m->c, which == MDQ_IN_QKV ? MDQ_Q_PROJ : which == MDQ_IN_O ? MDQ_O_PROJ :
                     which == MDQ_IN_DOWN ? MDQ_DOWN_PROJ : MDQ_UP_PROJ, &out, &in);
    assert_int_equal(columns, in);
    if (s->fail)
        return which == MDQ_IN_DOWN ? mdq_fail(MDQ_E_IO, "as asked") : MDQ_OK;
    if (which == MDQ_IN_DOWN || which == MDQ_IN_O)
        mdq_gemm(0, 1, tokens, out, in, 1, x, in, s->m->blocks[0].linear[which == MDQ_IN_O ? MDQ_O_PROJ : MDQ_DOWN_PROJ], in,
                 1, s->sum_down + s->tokens[which] * out, out);
    s->tokens[which] += tokens;
    return MDQ_OK;
}

/* Input + W_o (captured) + W_down (captured) is the block's output; and capturing changes nothing. */
static void capture_sees_the_inputs(void **state)
{
    (void)state;
    enum { WINDOWS = 40, CTX = 230 }; /* more than one batch */
    struct random_model m;
    struct mdq_config c = variant(3);
    c.layers = 1;
    random_model_new(&m, c, CTX);
    int64_t n = WINDOWS * CTX;
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    size_t bytes = (size_t)(n * c.hidden) * sizeof(float);
    float *x = malloc(bytes), *y = malloc(bytes);
    struct seen s = {.m = &m, .sum_down = y};
    assert_true(ids && x && y);
    random_ids(ids, (int)n, c.vocab);
    assert_ok(mdq_embed(&c, &m.outer, ids, n, x));
    memcpy(y, x, bytes);
    assert_ok(mdq_block_forward(&c, &m.blocks[0], 0, &m.rotary, x, WINDOWS, CTX, m.ws[0], false, capture, &s));
    for (int i = 0; i < MDQ_INPUTS; i++)
        assert_int_equal(s.tokens[i], n);
    for (int64_t i = 0; i < n * c.hidden; i++)
        assert_true(fabsf(x[i] - y[i]) < 1e-4f * (1 + fabsf(y[i])));
    float *plain = hidden_fast(&m, ids, WINDOWS, CTX, false);
    assert_memory_equal(plain, x, bytes);
    s.fail = true;
    assert_int_equal(mdq_block_forward(&c, &m.blocks[0], 0, &m.rotary, x, 1, CTX, m.ws[0], false, capture, &s), MDQ_E_IO);
    free(ids), free(x), free(y), free(plain);
    random_model_free(&m);
}

static void expect_not_finite(struct random_model *m, const float *x, int n, const char *step)
{
    float *copy = malloc((size_t)(n * m->c.hidden) * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, x, (size_t)(n * m->c.hidden) * sizeof *copy);
    assert_int_equal(mdq_block_forward(&m->c, &m->blocks[0], 3, &m->rotary, copy, 1, n, m->ws[0], false, NULL, NULL),
                     MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "block 3"));
    assert_non_null(strstr(mdq_error_message(), step));
    free(copy);
}

static void broken_activations_are_found(void **state)
{
    (void)state;
    enum { CTX = 70 };
    struct random_model m;
    random_model_new(&m, variant(0), CTX);
    float x[CTX * 24], *w;
    uint64_t seed = 3;
    random_fill(&seed, x, CTX * 24, 0, 1);
    x[500] = NAN;
    expect_not_finite(&m, x, CTX, "input");
    x[500] = INFINITY;
    expect_not_finite(&m, x, CTX, "input");
    x[500] = 1;
    const struct {
        enum mdq_linear l;
        const char *step;
    } broken[] = {{MDQ_Q_PROJ, "attention output"}, {MDQ_V_PROJ, "attention output"}, {MDQ_O_PROJ, "attention output"},
                  {MDQ_GATE_PROJ, "MLP output"}, {MDQ_DOWN_PROJ, "MLP output"}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        w = &m.blocks[0].linear[broken[i].l][30];
        float old = *w;
        *w = i % 2 ? INFINITY : NAN;
        expect_not_finite(&m, x, CTX, broken[i].step);
        *w = old;
    }
    double nll[CTX], loss;
    int32_t targets[CTX] = {0};
    static float dx[CTX * 24];
    struct mdq_outer g = {.tied = false};
    m.outer.head[5] = NAN;
    assert_int_equal(mdq_head_forward(&m.c, &m.outer, x, CTX, targets, nll, NULL, NULL), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "head"));
    assert_int_equal(mdq_head_backward(&m.c, &m.outer, x, CTX, targets, 1, dx, &g, &loss), MDQ_E_DATA);
    random_model_free(&m);
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    struct random_model m;
    struct mdq_outer g = {.tied = false};
    float x[4 * 24] = {0}, dx[4 * 24] = {0};
    double nll[4], loss;
    random_model_new(&m, variant(0), 4);
    assert_int_equal(mdq_embed(&m.c, &m.outer, (int32_t[]){0, 50}, 2, x), MDQ_E_DATA);
    assert_int_equal(mdq_embed(&m.c, &m.outer, (int32_t[]){-1}, 1, x), MDQ_E_DATA);
    assert_int_equal(mdq_head_forward(&m.c, &m.outer, x, 1, (int32_t[]){50}, nll, NULL, NULL), MDQ_E_DATA);
    assert_int_equal(mdq_head_backward(&m.c, &m.outer, x, 1, (int32_t[]){50}, 1, dx, &g, &loss), MDQ_E_DATA);
    assert_int_equal(mdq_block_forward(&m.c, m.blocks, 0, &m.rotary, x, 1, 5, m.ws[0], false, NULL, NULL), MDQ_E_INTERNAL);
    assert_ok(mdq_block_forward(&m.c, m.blocks, 0, &m.rotary, x, 1, 4, m.ws[0], false, NULL, NULL));
    assert_int_equal(mdq_block_backward(&m.c, m.blocks, 0, &m.rotary, dx, 1, 4, m.ws[0], m.grads), MDQ_E_INTERNAL);
    struct mdq_rotary r;
    m.c.rope.type = MDQ_ROPE_LONGROPE;
    assert_int_equal(mdq_rotary_init(&r, &m.c, 4), MDQ_E_DATA);
    m.c.head_dim = 7;
    assert_int_equal(mdq_rotary_init(&r, &m.c, 4), MDQ_E_DATA);
    random_model_free(&m);
}

static void gemm_agrees_with_the_reference(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {0, 4, 3}, {4, 4, 0}, {600, 530, 33}, {17, 1100, 200}};
    uint64_t seed = 1;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int t = 0; t < 8; t++) {
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], ta = t & 1, tb = t >> 1 & 1;
            int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 2, ldc = n + 1;
            float *a = malloc((size_t)((m + k + 8) * lda) * 4), *b = malloc((size_t)((n + k + 8) * ldb) * 4);
            float *c = malloc((size_t)((m + 1) * ldc) * 4), *want = malloc((size_t)((m + 1) * ldc) * 4);
            assert_true(a && b && c && want);
            random_fill(&seed, a, (size_t)((m + k + 8) * lda), 0, 1);
            random_fill(&seed, b, (size_t)((n + k + 8) * ldb), 0, 1);
            random_fill(&seed, c, (size_t)((m + 1) * ldc), 0, 1);
            memcpy(want, c, (size_t)((m + 1) * ldc) * 4);
            float beta = t & 4 ? 0.0f : -0.5f;
            if (t & 4)
                for (int64_t i = 0; i < m; i++)
                    c[i * ldc] = want[i * ldc] = NAN; /* not read */
            mdq_gemm((int)ta, (int)tb, m, n, k, 0.25f, a, lda, b, ldb, beta, c, ldc);
            mdq_gemm_ref((int)ta, (int)tb, m, n, k, 0.25f, a, lda, b, ldb, beta, want, ldc);
            for (int64_t i = 0; i < (m + 1) * ldc; i++)
                assert_true(fabsf(c[i] - want[i]) < 1e-4f);
            free(a), free(b), free(c), free(want);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_the_reference),
        cmocka_unit_test(windows_are_taken_in_batches),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(many_rows_agree_with_few),
        cmocka_unit_test(gradients_accumulate),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(capture_sees_the_inputs),
        cmocka_unit_test(broken_activations_are_found),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(gemm_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
