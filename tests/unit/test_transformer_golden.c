/* Logits and gradients against Hugging Face transformers (fixtures/make_transformer_fixtures.py) and the reference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "mdq_transformer.h"

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        if ((expr) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #expr, mdq_error_message());                                                  \
    } while (0)

enum { CTX = 40, WINDOWS = 2, SHORT = 12 };

struct fixture {
    struct mdq_model *m;
    struct mdq_safetensors *golden;
    struct mdq_outer outer, outer_grads;
    struct mdq_block *blocks, *grads;
    struct mdq_workspace **ws;
};

static void fixture_open(struct fixture *f, const char *name)
{
    char dir[256];
    *f = (struct fixture){0};
    snprintf(dir, sizeof dir, "tests/unit/fixtures/transformer/%s", name);
    assert_ok(mdq_model_open(&f->m, dir));
    strcat(dir, "/golden");
    assert_ok(mdq_safetensors_open(&f->golden, dir));
    const struct mdq_config *c = &f->m->config;
    f->blocks = calloc((size_t)c->layers, sizeof *f->blocks);
    f->grads = calloc((size_t)c->layers, sizeof *f->grads);
    f->ws = calloc((size_t)c->layers, sizeof *f->ws);
    assert_true(f->blocks && f->grads && f->ws);
    assert_ok(mdq_model_load_outer(f->m, &f->outer));
    size_t n = (size_t)c->vocab * (size_t)c->hidden;
    f->outer_grads = (struct mdq_outer){calloc(n, 4), calloc((size_t)c->hidden, 4), NULL, c->tied};
    f->outer_grads.head = c->tied ? f->outer_grads.embedding : calloc(n, 4);
    assert_true(f->outer_grads.embedding && f->outer_grads.norm && f->outer_grads.head);
    for (int i = 0; i < c->layers; i++) {
        assert_ok(mdq_model_load_block(f->m, i, &f->blocks[i]));
        assert_ok(mdq_block_alloc(c, &f->grads[i]));
        assert_non_null(f->ws[i] = mdq_workspace_new(c));
    }
}

static void fixture_close(struct fixture *f)
{
    for (int i = 0; i < f->m->config.layers; i++) {
        mdq_block_free(&f->blocks[i]);
        mdq_block_free(&f->grads[i]);
        mdq_workspace_free(&f->ws[i]);
    }
    free(f->blocks), free(f->grads), free(f->ws);
    mdq_outer_free(&f->outer);
    mdq_outer_free(&f->outer_grads);
    mdq_safetensors_close(&f->golden);
    mdq_model_close(&f->m);
}

static void *golden(const struct fixture *f, const char *name, size_t bytes)
{
    const struct mdq_tensor *t = mdq_safetensors_find(f->golden, name);
    if (!t)
        fail_msg("no golden tensor %s", name);
    assert_int_equal(t->bytes, bytes);
    void *copy = malloc(bytes); /* the file's may be unaligned */
    assert_non_null(copy);
    memcpy(copy, t->data, bytes);
    return copy;
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

/* The final hidden states; with `keep` what backward needs stays in f->ws. */
static float *hidden(struct fixture *f, const struct mdq_rotary *r, const int32_t *ids, int windows, int ctx, bool keep)
{
    const struct mdq_config *c = &f->m->config;
    float *x = malloc((size_t)(windows * ctx * c->hidden) * sizeof *x);
    assert_non_null(x);
    assert_ok(mdq_embed(c, &f->outer, ids, windows * ctx, x));
    for (int i = 0; i < c->layers; i++)
        assert_ok(mdq_block_forward(c, &f->blocks[i], i, r, x, windows, ctx, f->ws[i], keep, NULL, NULL));
    return x;
}

static double largest_difference(struct fixture *f, const int32_t *ids, int windows, int ctx, const float *want)
{
    const struct mdq_config *c = &f->m->config;
    struct mdq_rotary r;
    size_t n = (size_t)(windows * ctx * c->vocab);
    struct logits l = {malloc(n * sizeof(float)), c->vocab};
    double largest = 0;
    assert_non_null(l.l);
    assert_ok(mdq_rotary_init(&r, c, ctx));
    float *x = hidden(f, &r, ids, windows, ctx, false);
    assert_ok(mdq_head_forward(c, &f->outer, x, windows * ctx, NULL, NULL, collect, &l));
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)l.l[i] - (double)want[i]));
    free(x), free(l.l);
    mdq_rotary_free(&r);
    return largest;
}

static const char *const variants[] = {"llama", "llama-bias-tied", "llama-llama3", "llama-linear", "llama-dynamic",
                                       "llama-yarn", "llama-yarn-mscale", "llama-longrope", "mistral",
                                       "mistral-head-dim", "qwen2", "qwen3"};
enum { VARIANTS = sizeof variants / sizeof *variants };

static void logits_agree_with_transformers(void **state)
{
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        struct fixture f;
        fixture_open(&f, variants[v]);
        struct mdq_config *c = &f.m->config;
        int32_t *ids = golden(&f, "ids", WINDOWS * CTX * sizeof *ids);
        float *want = golden(&f, "logits", (size_t)(WINDOWS * CTX * c->vocab) * sizeof *want);
        float *want_short = golden(&f, "short", (size_t)(SHORT * c->vocab) * sizeof *want);
        double wide = largest_difference(&f, ids, WINDOWS, CTX, want);
        double narrow = largest_difference(&f, ids, 1, SHORT, want_short);
        if (wide > 2e-5 || narrow > 2e-5)
            fail_msg("%s: logits differ by up to %g, of the short sequence by %g", variants[v], wide, narrow);
        /* the fixture would notice what makes it special */
        double without = 1;
        if (c->rope.type != MDQ_ROPE_DEFAULT) {
            c->rope.type = MDQ_ROPE_DEFAULT;
            without = largest_difference(&f, ids, WINDOWS, CTX, want);
        } else if (c->sliding_window) {
            c->sliding_window++;
            without = largest_difference(&f, ids, WINDOWS, CTX, want);
        }
        if (without < 1e-2)
            fail_msg("%s: the fixture does not tell its variant from the plain one (%g)", variants[v], without);
        free(ids), free(want), free(want_short);
        fixture_close(&f);
    }
}

static void compare(const struct fixture *f, const char *name, const float *got, int64_t n)
{
    char key[128];
    snprintf(key, sizeof key, "grad.%s", name);
    float *want = golden(f, key, (size_t)n * sizeof *want);
    double scale = 0, difference = 0;
    for (int64_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs((double)want[i]));
        difference = fmax(difference, fabs((double)want[i] - (double)got[i]));
    }
    if (!(difference < 2e-5 * scale + 1e-5))
        fail_msg("%s differs by %g of %g", key, difference, scale);
    free(want);
}

static void compare_block(const struct fixture *f, int i)
{
    const struct mdq_config *c = &f->m->config;
    const struct mdq_block *g = &f->grads[i];
    char name[128];
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, mdq_linear_suffix((enum mdq_linear)l));
        compare(f, name, g->linear[l], out * in);
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", i, mdq_linear_suffix((enum mdq_linear)l));
        if (g->bias[l])
            compare(f, name, g->bias[l], out);
    }
    const struct {
        const char *name;
        const float *g;
        int n;
    } norms[] = {{"input_layernorm", g->attn_norm, c->hidden},
                 {"post_attention_layernorm", g->mlp_norm, c->hidden},
                 {"self_attn.q_norm", g->q_norm, c->head_dim},
                 {"self_attn.k_norm", g->k_norm, c->head_dim}};
    for (size_t k = 0; k < sizeof norms / sizeof *norms; k++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, norms[k].name);
        if (norms[k].g)
            compare(f, name, norms[k].g, norms[k].n);
    }
}

static void gradients_agree_with_autograd(void **state)
{
    (void)state;
    static const char *const with_gradients[] = {"llama-bias-tied", "qwen3"};
    for (int v = 0; v < 2; v++) {
        struct fixture f;
        struct mdq_rotary r;
        fixture_open(&f, with_gradients[v]);
        const struct mdq_config *c = &f.m->config;
        int32_t *ids = golden(&f, "ids", WINDOWS * CTX * sizeof *ids), targets[WINDOWS * CTX];
        for (int t = 0; t < WINDOWS * CTX; t++)
            targets[t] = t % CTX == CTX - 1 ? -1 : ids[t + 1];
        assert_ok(mdq_rotary_init(&r, c, CTX));
        float *x = hidden(&f, &r, ids, WINDOWS, CTX, true);
        float *dx = malloc((size_t)(WINDOWS * CTX * c->hidden) * sizeof *dx);
        double loss;
        assert_non_null(dx);
        assert_ok(mdq_head_backward(c, &f.outer, x, WINDOWS * CTX, targets, 1, dx, &f.outer_grads, &loss));
        for (int i = c->layers - 1; i >= 0; i--)
            assert_ok(mdq_block_backward(c, &f.blocks[i], i, &r, dx, WINDOWS, CTX, f.ws[i], &f.grads[i]));
        mdq_embed_backward(c, ids, WINDOWS * CTX, dx, &f.outer_grads);
        compare(&f, "model.embed_tokens.weight", f.outer_grads.embedding, (int64_t)c->vocab * c->hidden);
        compare(&f, "model.norm.weight", f.outer_grads.norm, c->hidden);
        if (!c->tied)
            compare(&f, "lm_head.weight", f.outer_grads.head, (int64_t)c->vocab * c->hidden);
        for (int i = 0; i < c->layers; i++)
            compare_block(&f, i);
        free(ids), free(x), free(dx);
        mdq_rotary_free(&r);
        fixture_close(&f);
    }
}

/* The prompt of reference.json; the five largest logits after its last token, from an independent implementation. */
static void stories260k_agrees_with_its_reference(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426};
    static const struct {
        int id;
        double logit;
    } top[] = {{338, 17.45652198791504}, {385, 14.73806381225586}, {317, 13.88559627532959}, {342, 11.784996032714844},
               {405, 11.295037269592285}};
    enum { N = sizeof ids / sizeof *ids };
    const char *data = getenv("MDQ_DATA");
    char dir[1024];
    snprintf(dir, sizeof dir, "%s/models/stories260k", data ? data : "../shared/data");
    if (access(dir, R_OK) != 0)
        skip();
    struct fixture f = {0};
    struct mdq_rotary r;
    assert_ok(mdq_model_open(&f.m, dir));
    const struct mdq_config *c = &f.m->config;
    assert_ok(mdq_model_load_outer(f.m, &f.outer));
    f.blocks = calloc((size_t)c->layers, sizeof *f.blocks);
    f.ws = calloc((size_t)c->layers, sizeof *f.ws);
    struct logits l = {malloc((size_t)(N * c->vocab) * sizeof(float)), c->vocab};
    assert_true(f.blocks && f.ws && l.l);
    for (int i = 0; i < c->layers; i++) {
        assert_ok(mdq_model_load_block(f.m, i, &f.blocks[i]));
        assert_non_null(f.ws[i] = mdq_workspace_new(c));
    }
    assert_ok(mdq_rotary_init(&r, c, N));
    float *x = hidden(&f, &r, ids, 1, N, false), *last = l.l + (N - 1) * c->vocab;
    assert_ok(mdq_head_forward(c, &f.outer, x, N, NULL, NULL, collect, &l));
    for (int k = 0; k < 5; k++)
        assert_true(fabs((double)last[top[k].id] - top[k].logit) < 1e-4);
    int above = 0;
    for (int j = 0; j < c->vocab; j++)
        above += last[j] >= last[top[4].id];
    assert_int_equal(above, 5);
    for (int i = 0; i < c->layers; i++) {
        mdq_block_free(&f.blocks[i]);
        mdq_workspace_free(&f.ws[i]);
    }
    free(f.blocks), free(f.ws), free(l.l), free(x);
    mdq_outer_free(&f.outer);
    mdq_model_close(&f.m);
    mdq_rotary_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_agree_with_transformers),
        cmocka_unit_test(gradients_agree_with_autograd),
        cmocka_unit_test(stories260k_agrees_with_its_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
