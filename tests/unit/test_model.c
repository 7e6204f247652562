/* Opening and loading dense model folders: names, shapes, values in every dtype, and folders that contradict themselves. */
#include "model_fixture.h"

#include <math.h>

#include "mdq_model.h"
#include "mdq_safetensors.h"

/* A model of two blocks: hidden 8, 4 heads of 4 (more than hidden / heads), 2 of keys, MLP 12, vocabulary 10. */
struct spec {
    const char *config;  /* members beside the sizes */
    enum mdq_dtype dtype;
    bool qkv_bias, o_bias, mlp_bias, qk_norm, head;
    /* defects */
    const char *without, *extra; /* a tensor left out; one more, of `extra_size` values */
    int64_t extra_size;
    const char *bad_tensor; /* this one has dtype and shape from here */
    enum mdq_dtype bad_dtype;
    int64_t bad_rows, bad_cols;
    const char *poisoned; /* value `poison_at` of this tensor is `poison` */
    int64_t poison_at;
    float poison;
};

static const struct spec llama = {.config = "\"architectures\":[\"LlamaForCausalLM\"]", .head = true};

/* Multiples of 1/16 below 8 in size: exact in every dtype. Differ between tensors and places. */
static float value(const char *name, int64_t i)
{
    unsigned h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    h = (h ^ (unsigned)i) * 2654435761u;
    return (float)((int)(h >> 24) - 128) / 16;
}

struct building {
    const struct spec *spec;
    struct mdq_safetensors_writer *w;
    bool announce;
};

static void put(struct building *b, const char *name, int64_t rows, int64_t cols)
{
    const struct spec *s = b->spec;
    enum mdq_dtype dtype = s->dtype;
    if (s->without && strcmp(s->without, name) == 0)
        return;
    if (s->bad_tensor && strcmp(s->bad_tensor, name) == 0) {
        dtype = s->bad_dtype;
        rows = s->bad_rows;
        cols = s->bad_cols;
    }
    int64_t shape[2] = {rows, cols}, n = rows * (cols ? cols : 1);
    if (b->announce) {
        OK(mdq_safetensors_writer_announce(b->w, name, dtype, cols ? 2 : 1, shape));
        return;
    }
    float v[256];
    char bytes[2048] = {0};
    assert_true(n <= 256);
    for (int64_t i = 0; i < n; i++)
        v[i] = value(name, i);
    if (s->poisoned && strcmp(s->poisoned, name) == 0)
        v[s->poison_at] = s->poison;
    if (dtype == MDQ_F32 || dtype == MDQ_F16 || dtype == MDQ_BF16)
        mdq_dtype_from_f32(dtype, v, n, bytes);
    OK(mdq_safetensors_writer_data(b->w, name, bytes, mdq_dtype_bytes(dtype, n)));
}

static void put_all(struct building *b)
{
    static const int64_t shapes[MDQ_LINEARS][2] = {{16, 8}, {8, 8}, {8, 8}, {8, 16}, {12, 8}, {12, 8}, {8, 12}};
    static const char *const names[MDQ_LINEARS] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                   "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                   "mlp.down_proj"};
    const struct spec *s = b->spec;
    char name[128];
    put(b, "model.embed_tokens.weight", 10, 8);
    put(b, "model.norm.weight", 8, 0);
    if (s->head)
        put(b, "lm_head.weight", 10, 8);
    for (int block = 0; block < 2; block++) {
        int at = snprintf(name, sizeof name, "model.layers.%d.", block);
        size_t room = sizeof name - (size_t)at;
        snprintf(name + at, room, "input_layernorm.weight");
        put(b, name, 8, 0);
        snprintf(name + at, room, "post_attention_layernorm.weight");
        put(b, name, 8, 0);
        for (int i = 0; i < 2 && s->qk_norm; i++) {
            snprintf(name + at, room, "self_attn.%c_norm.weight", "qk"[i]);
            put(b, name, 4, 0);
        }
        for (int l = 0; l < MDQ_LINEARS; l++) {
            snprintf(name + at, room, "%s.weight", names[l]);
            put(b, name, shapes[l][0], shapes[l][1]);
            snprintf(name + at, room, "%s.bias", names[l]);
            if (l < 3 ? s->qkv_bias : l == 3 ? s->o_bias : s->mlp_bias)
                put(b, name, shapes[l][0], 0);
        }
    }
    if (s->extra)
        put(b, s->extra, s->extra_size, 0);
}

static void build(const struct spec *s)
{
    char config[512];
    snprintf(config, sizeof config, "{\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
             "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":4,\"vocab_size\":10,%s}", s->config);
    put_file("config.json", config, strlen(config));
    struct building b = {.spec = s};
    OK(mdq_safetensors_writer_new(&b.w, folder, 0));
    b.announce = true;
    put_all(&b);
    b.announce = false;
    put_all(&b);
    OK(mdq_safetensors_writer_finish(&b.w));
}

static void check(const float *got, const char *name, int64_t n)
{
    assert_non_null(got);
    for (int64_t i = 0; i < n; i++)
        if (got[i] != value(name, i))
            fail_msg("%s: value %d: %g, want %g", name, (int)i, (double)got[i], (double)value(name, i));
}

static void check_loaded(const struct spec *s)
{
    struct mdq_model *m;
    struct mdq_block b = {0};
    struct mdq_outer o;
    OK(mdq_model_open(&m, folder));
    for (int block = 1; block >= 0; block--) { /* the same buffers again */
        OK(mdq_model_load_block(m, block, &b));
        char name[128];
        for (int l = 0; l < MDQ_LINEARS; l++) {
            int64_t out, in;
            mdq_linear_shape(&m->config, (enum mdq_linear)l, &out, &in);
            check(b.linear[l], mdq_linear_name(name, block, (enum mdq_linear)l), out * in);
            bool bias = l < 3 ? s->qkv_bias : l == 3 ? s->o_bias : s->mlp_bias;
            strcpy(strrchr(name, '.'), ".bias");
            if (bias)
                check(b.bias[l], name, out);
            else
                assert_null(b.bias[l]);
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", block);
        check(b.attn_norm, name, 8);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", block);
        check(b.mlp_norm, name, 8);
        snprintf(name, sizeof name, "model.layers.%d.self_attn.k_norm.weight", block);
        if (s->qk_norm)
            check(b.k_norm, name, 4);
        else
            assert_true(!b.q_norm && !b.k_norm);
    }
    OK(mdq_model_load_outer(m, &o));
    check(o.embedding, "model.embed_tokens.weight", 80);
    check(o.norm, "model.norm.weight", 8);
    assert_int_equal(o.tied, m->config.tied);
    if (o.tied)
        assert_ptr_equal(o.head, o.embedding);
    else
        check(o.head, "lm_head.weight", 80);
    mdq_outer_free(&o);
    mdq_block_free(&b);
    mdq_model_close(&m);
    assert_null(m);
}

static void every_family_and_dtype_loads(void **state)
{
    (void)state;
    static const struct spec specs[] = {
        {.config = "\"architectures\":[\"LlamaForCausalLM\"]", .head = true},
        {.config = "\"architectures\":[\"LlamaForCausalLM\"],\"tie_word_embeddings\":true", .dtype = MDQ_BF16},
        {.config = "\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":true,\"mlp_bias\":true", .dtype = MDQ_F16,
         .qkv_bias = true, .o_bias = true, .mlp_bias = true, .head = true},
        {.config = "\"architectures\":[\"MistralForCausalLM\"]", .dtype = MDQ_BF16, .head = true},
        {.config = "\"architectures\":[\"Qwen2ForCausalLM\"]", .dtype = MDQ_F16, .qkv_bias = true, .head = true},
        {.config = "\"architectures\":[\"Qwen3ForCausalLM\"]", .qk_norm = true, .head = true},
        /* a quantized folder may leave any module as it was */
        {.config = "\"architectures\":[\"LlamaForCausalLM\"],\"quantization_config\":{\"quant_method\":\"gptq\","
                   "\"bits\":4,\"group_size\":32,\"sym\":true}", .head = true},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        build(&specs[i]);
        check_loaded(&specs[i]);
    }
}

static void names_go_both_ways(void **state)
{
    (void)state;
    char name[96];
    int block;
    enum mdq_linear l;
    assert_string_equal(mdq_linear_name(name, 31, MDQ_DOWN_PROJ), "model.layers.31.mlp.down_proj.weight");
    for (int i = 0; i < MDQ_LINEARS; i++) {
        assert_int_equal(mdq_linear_parse(mdq_linear_name(name, 7 + i, (enum mdq_linear)i), &block, &l), 0);
        assert_true(block == 7 + i && (int)l == i);
    }
    static const char *const others[] = {"", "lm_head.weight", "model.layers.3.mlp.down_proj.bias",
                                         "model.layers.03.mlp.down_proj.weight", "model.layers.-3.mlp.down_proj.weight",
                                         "model.layers..mlp.down_proj.weight", "model.layers.3.mlp.down_proj.weight2",
                                         "model.layers.3.input_layernorm.weight",
                                         "model.layers.99999999999999999999.mlp.down_proj.weight"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(mdq_linear_parse(others[i], &block, &l), -1);
    assert_true(mdq_linear_input(MDQ_Q_PROJ) == MDQ_IN_QKV && mdq_linear_input(MDQ_V_PROJ) == MDQ_IN_QKV);
    assert_true(mdq_linear_input(MDQ_O_PROJ) == MDQ_IN_O && mdq_linear_input(MDQ_UP_PROJ) == MDQ_IN_GATE_UP);
    assert_true(mdq_linear_input(MDQ_DOWN_PROJ) == MDQ_IN_DOWN);
}

static void opening_fails(struct spec s, const char *texts)
{
    struct mdq_model *m;
    build(&s);
    FAILS(MDQ_E_DATA, texts, mdq_model_open(&m, folder));
    assert_null(m);
}

static void wrong_tensors_fail(void **state)
{
    (void)state;
    static const char *const needed[] = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
                                         "model.layers.1.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight"};
    struct spec s;
    char texts[128];
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        s = llama;
        s.without = needed[i];
        snprintf(texts, sizeof texts, "%s: missing", needed[i]);
        opening_fails(s, texts);
    }
    s = llama;
    s.bad_tensor = "model.layers.1.self_attn.o_proj.weight";
    s.bad_dtype = MDQ_I32;
    s.bad_rows = 8;
    s.bad_cols = 16;
    opening_fails(s, "model.safetensors|o_proj.weight: dtype i32");
    s.bad_dtype = MDQ_F32;
    s.bad_cols = 15;
    opening_fails(s, "model.safetensors|o_proj.weight: shape [8, 15]|[8, 16]");
    s.bad_cols = 0;
    opening_fails(s, "o_proj.weight: shape [8]|[8, 16]");
    s.bad_tensor = "model.norm.weight";
    s.bad_rows = 1;
    s.bad_cols = 8;
    opening_fails(s, "norm.weight: shape [1, 8]|[8]");
    s = llama;
    s.extra = "model.layers.2.mlp.up_proj.weight";
    s.extra_size = 4;
    opening_fails(s, "model.layers.2.mlp.up_proj.weight|num_hidden_layers|2");
    s.extra = "model.layers.1.mlp.up_proj.bias";
    opening_fails(s, "model.layers.1.mlp.up_proj.bias|says there is none");
    s.extra = "model.layers.1.mlp.up_proj.qweight";
    opening_fails(s, "model.layers.1.mlp.up_proj.qweight|quantization_config");
    s = llama;
    s.config = "\"architectures\":[\"LlamaForCausalLM\"],\"tie_word_embeddings\":true";
    opening_fails(s, "lm_head.weight|tie_word_embeddings");
    s = llama;
    s.config = "\"architectures\":[\"Qwen2ForCausalLM\"]";
    opening_fails(s, "q_proj.bias: missing");
    s.config = "\"architectures\":[\"Qwen3ForCausalLM\"]";
    opening_fails(s, "q_norm.weight: missing");
    s.config = "\"architectures\":[\"LlamaForCausalLM\"],\"quantization_config\":{\"quant_method\":\"fp8\"}";
    opening_fails(s, "config.json|fp8 is not supported");
}

static void a_bias_of_zeros_is_left_alone(void **state)
{
    (void)state;
    struct spec s = llama;
    s.extra = "model.layers.1.mlp.up_proj.bias";
    s.bad_tensor = s.extra;
    s.bad_dtype = MDQ_I16; /* put() fills what is no float with zeros */
    s.bad_rows = 12;
    build(&s);
    check_loaded(&llama);
}

static void loading_fails(struct spec s, const char *texts)
{
    struct mdq_model *m;
    struct mdq_block b = {0};
    struct mdq_outer o;
    build(&s);
    OK(mdq_model_open(&m, folder));
    enum mdq_err err = MDQ_OK;
    for (int i = 0; i < 2 && err == MDQ_OK; i++)
        err = mdq_model_load_block(m, i, &b);
    if (err == MDQ_OK)
        err = mdq_model_load_outer(m, &o);
    FAILS(MDQ_E_DATA, texts, err);
    mdq_block_free(&b);
    mdq_model_close(&m);
}

static void non_finite_weights_fail(void **state)
{
    (void)state;
    struct spec s = llama;
    static const enum mdq_dtype dtypes[] = {MDQ_F32, MDQ_F16, MDQ_BF16};
    for (int i = 0; i < 3; i++) {
        s.dtype = dtypes[i];
        s.poisoned = "model.layers.1.mlp.down_proj.weight"; /* [8, 12] */
        s.poison_at = 3 * 12 + 7;
        s.poison = NAN;
        loading_fails(s, "model.layers.1.mlp.down_proj.weight|row 3, column 7|not a number");
        s.poison = -INFINITY;
        loading_fails(s, "model.layers.1.mlp.down_proj.weight|row 3, column 7|minus infinite");
    }
    s.poison = INFINITY;
    s.poison_at = 5;
    s.poisoned = "model.layers.0.input_layernorm.weight";
    loading_fails(s, "input_layernorm.weight|row 0, column 5|infinite");
    s.poisoned = "lm_head.weight";
    loading_fails(s, "lm_head.weight|row 0, column 5");
}

static void missing_folders_fail(void **state)
{
    (void)state;
    struct mdq_model *m;
    FAILS(MDQ_E_IO, "/nowhere/config.json|No such file", mdq_model_open(&m, "/nowhere"));
    FAILS(MDQ_E_IO, "config.json|No such file", mdq_model_open(&m, folder));
    build(&llama);
    assert_int_equal(unlink(in_folder("model.safetensors")), 0);
    FAILS(MDQ_E_IO, "neither model.safetensors nor", mdq_model_open(&m, folder));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_family_and_dtype_loads),
        cmocka_unit_test(names_go_both_ways),
        TEST(wrong_tensors_fail),
        TEST(a_bias_of_zeros_is_left_alone),
        TEST(non_finite_weights_fail),
        TEST(missing_folders_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
