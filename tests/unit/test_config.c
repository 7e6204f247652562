/* config.json: what each family's keys and defaults mean, and every contradiction refused. */
#include "model_fixture.h"

#include <jansson.h>

#include "mdq_config.h"

/* The shortest configuration of each family, as text. */
static const char *const shortest[] = {
    [MDQ_ARCH_LLAMA] = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":64,"
                       "\"intermediate_size\":128,\"num_hidden_layers\":4,\"num_attention_heads\":64,\"vocab_size\":100}",
    [MDQ_ARCH_MISTRAL] = "{\"architectures\":[\"MistralForCausalLM\"],\"hidden_size\":256,\"intermediate_size\":128,"
                         "\"num_hidden_layers\":4,\"num_attention_heads\":64,\"vocab_size\":100}",
    [MDQ_ARCH_QWEN2] = "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_size\":256,\"intermediate_size\":128,"
                       "\"num_hidden_layers\":4,\"num_attention_heads\":64,\"vocab_size\":100}",
    [MDQ_ARCH_QWEN3] = "{\"architectures\":[\"Qwen3ForCausalLM\"],\"hidden_size\":256,\"intermediate_size\":128,"
                       "\"num_hidden_layers\":4,\"num_attention_heads\":64,\"vocab_size\":100}",
};

/* Writes the shortest configuration with the members of `more` (a JSON object's inside) put over it; heads 4. */
static enum mdq_err read_with(enum mdq_arch arch, const char *more, struct mdq_config *c)
{
    json_t *j = json_loads(shortest[arch], 0, NULL);
    assert_non_null(j);
    if (more) {
        char text[4096];
        snprintf(text, sizeof text, "{%s}", more);
        json_t *over = json_loads(text, 0, NULL);
        if (!over)
            fail_msg("not JSON: %s", text);
        json_object_update(j, over);
        json_decref(over);
    }
    char *text = json_dumps(j, 0);
    put_file("config.json", text, strlen(text));
    free(text);
    json_decref(j);
    return mdq_config_read(c, folder);
}

static struct mdq_config good(enum mdq_arch arch, const char *more)
{
    struct mdq_config c;
    OK(read_with(arch, more, &c));
    return c;
}

static void bad(enum mdq_arch arch, const char *more, const char *texts)
{
    struct mdq_config c;
    FAILS(MDQ_E_DATA, "config.json: ", read_with(arch, more, &c));
    FAILS(MDQ_E_DATA, texts, read_with(arch, more, &c));
}

/* The defaults of Hugging Face's configuration classes, read off transformers 5.23. */
static void defaults_are_the_classes_own(void **state)
{
    (void)state;
    static const struct {
        int kv, head_dim, position, window;
        bool bias, norm;
    } want[] = {{64, 0, 2048, 0, false, false}, {8, 4, 131072, 4096, false, false}, {32, 4, 32768, 0, true, false},
                {32, 128, 32768, 0, false, true}};
    for (int a = 1; a < 4; a++) {
        struct mdq_config c = good((enum mdq_arch)a, NULL);
        assert_int_equal(c.arch, a);
        assert_int_equal(c.kv_heads, want[a].kv);
        assert_int_equal(c.head_dim, want[a].head_dim);
        assert_int_equal(c.max_position, want[a].position);
        assert_int_equal(c.sliding_window, want[a].window);
        assert_int_equal(c.qkv_bias, want[a].bias);
        assert_int_equal(c.qk_norm, want[a].norm);
        assert_false(c.o_bias || c.mlp_bias || c.tied);
        assert_true(c.rms_eps == 1e-6 && c.rope.theta == 10000 && c.rope.type == MDQ_ROPE_DEFAULT);
        assert_int_equal(c.bos, -1);
        assert_int_equal(c.storage, MDQ_STORED_DENSE);
        mdq_config_free(&c);
    }
    struct mdq_config c = good(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8");
    assert_int_equal(c.kv_heads, 8);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.max_position, 2048);
    mdq_config_free(&c);
}

static void options_are_read(void **state)
{
    (void)state;
    struct mdq_config c = good(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"num_key_value_heads\":2,\"head_dim\":16,"
                               "\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":true,"
                               "\"rms_norm_eps\":1e-5,\"rope_theta\":500000,\"bos_token_id\":7,\"eos_token_id\":[9,8],"
                               "\"max_position_embeddings\":8192,\"rope_scaling\":null,\"pretraining_tp\":1");
    assert_true(c.qkv_bias && c.o_bias && c.mlp_bias && c.tied);
    assert_true(c.kv_heads == 2 && c.head_dim == 16 && c.rms_eps == 1e-5 && c.rope.theta == 500000);
    assert_true(c.bos == 7 && c.eos == 9 && c.max_position == 8192);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_QWEN3, "\"attention_bias\":true,\"num_key_value_heads\":null");
    assert_true(c.qkv_bias && c.o_bias && !c.mlp_bias && c.kv_heads == 64);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_QWEN2, "\"attention_bias\":false"); /* the class has its biases whatever this says */
    assert_true(c.qkv_bias && !c.o_bias);
    mdq_config_free(&c);
}

static void windows(enum mdq_arch arch, const char *more, int window, int from)
{
    struct mdq_config c = good(arch, more);
    assert_int_equal(c.sliding_window, window);
    if (window)
        assert_int_equal(c.window_layers_from, from);
    mdq_config_free(&c);
}

static void sliding_windows_are_read(void **state)
{
    (void)state;
    windows(MDQ_ARCH_MISTRAL, "\"sliding_window\":null", 0, 0);
    windows(MDQ_ARCH_MISTRAL, "\"sliding_window\":32", 32, 0);
    windows(MDQ_ARCH_QWEN2, "\"sliding_window\":32,\"use_sliding_window\":false", 0, 0);
    windows(MDQ_ARCH_QWEN2, "\"sliding_window\":32,\"use_sliding_window\":true,\"max_window_layers\":2", 32, 2);
    windows(MDQ_ARCH_QWEN3, "\"use_sliding_window\":true,\"max_window_layers\":0", 4096, 0);
    windows(MDQ_ARCH_QWEN3, "\"sliding_window\":32,\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
            "\"sliding_attention\",\"sliding_attention\",\"sliding_attention\"]", 32, 1);
    windows(MDQ_ARCH_QWEN3, "\"sliding_window\":32,\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
            "\"full_attention\",\"full_attention\",\"full_attention\"]", 0, 0);
    bad(MDQ_ARCH_QWEN3, "\"layer_types\":[\"full_attention\"]", "layer_types|4");
    bad(MDQ_ARCH_QWEN3, "\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]",
        "layer_types: layer 3|no sliding_window");
    bad(MDQ_ARCH_QWEN3, "\"sliding_window\":32,\"use_sliding_window\":true,\"layer_types\":[\"sliding_attention\","
        "\"full_attention\",\"full_attention\",\"full_attention\"]", "layer_types: layer 1");
    bad(MDQ_ARCH_QWEN3, "\"layer_types\":[\"linear_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]",
        "layer 0: linear_attention");
}

static void rope_is_read_in_every_spelling(void **state)
{
    (void)state;
    static const char *const llama3[] = {
        "\"num_attention_heads\":8,\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":512}",
        "\"num_attention_heads\":8,\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,"
        "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":512}",
        "\"num_attention_heads\":8,\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"llama3\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":512}",
    };
    for (int i = 0; i < 3; i++) {
        struct mdq_config c = good(MDQ_ARCH_LLAMA, llama3[i]);
        assert_int_equal(c.rope.type, MDQ_ROPE_LLAMA3);
        assert_true(c.rope.theta == 5e5 && c.rope.factor == 8 && c.rope.low_freq_factor == 1);
        assert_true(c.rope.high_freq_factor == 4 && c.rope.original_max_position == 512);
        mdq_config_free(&c);
    }
    struct mdq_config c = good(MDQ_ARCH_QWEN2, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}");
    assert_true(c.rope.type == MDQ_ROPE_LINEAR && c.rope.factor == 2.5);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_QWEN2, "\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}");
    assert_true(c.rope.type == MDQ_ROPE_DYNAMIC && c.rope.factor == 2);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_QWEN2, "\"max_position_embeddings\":4096,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,"
             "\"original_max_position_embeddings\":1024,\"mscale\":1.5,\"truncate\":false}");
    assert_true(c.rope.type == MDQ_ROPE_YARN && c.rope.factor == 4 && c.rope.original_max_position == 1024);
    assert_true(c.rope.beta_fast == 32 && c.rope.beta_slow == 1 && c.rope.attention_factor == 0);
    assert_true(c.rope.mscale == 1.5 && c.rope.mscale_all_dim == 0 && !c.rope.truncate);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_MISTRAL, "\"max_position_embeddings\":4096,\"rope_scaling\":{\"rope_type\":\"longrope\","
             "\"short_factor\":[1,1.5],\"long_factor\":[2,3],\"original_max_position_embeddings\":1024}");
    assert_true(c.rope.type == MDQ_ROPE_LONGROPE && c.rope.short_factor[1] == 1.5 && c.rope.long_factor[0] == 2);
    assert_true(c.rope.factor == 4);
    mdq_config_free(&c);
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_scaling\":{\"type\":\"mrope\"}", "rope_scaling.rope_type: mrope");
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_scaling\":{\"type\":\"linear\"}", "rope_scaling.factor: missing");
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}", "factor: -2");
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2}", "low_freq_factor");
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,"
        "\"low_freq_factor\":4,\"high_freq_factor\":4}", "high_freq_factor: 4");
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_scaling\":3", "rope_scaling: not an object");
    bad(MDQ_ARCH_LLAMA, "\"num_attention_heads\":8,\"rope_parameters\":{\"full_attention\":{}}", "per layer type");
    bad(MDQ_ARCH_MISTRAL, "\"rope_scaling\":{\"rope_type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[2,3]}",
        "short_factor|2");
    bad(MDQ_ARCH_MISTRAL, "\"rope_scaling\":{\"rope_type\":\"longrope\",\"short_factor\":[1,0],\"long_factor\":[2,3]}",
        "short_factor: entry 1");
}

static void contradictions_fail(void **state)
{
    (void)state;
    static const struct {
        const char *more, *texts;
    } cases[] = {
        {"\"architectures\":[\"GPT2LMHeadModel\"]", "GPT2LMHeadModel is not supported"},
        {"\"architectures\":[\"MistralForCausalLM\"]", "model_type: llama contradicts|MistralForCausalLM"},
        {"\"architectures\":null,\"model_type\":\"mamba\"", "mamba is not supported"},
        {"\"architectures\":null,\"model_type\":null", "architectures: missing"},
        {"\"hidden_size\":null", "hidden_size: missing"},
        {"\"hidden_size\":\"64\"", "hidden_size: not an integer"},
        {"\"hidden_size\":64.0", "hidden_size: not an integer"},
        {"\"hidden_size\":-64", "hidden_size: -64: must be"},
        {"\"hidden_size\":1000000000000", "hidden_size: 1000000000000: must be"},
        {"\"hidden_size\":100", "hidden_size: 100 is not a multiple of num_attention_heads, 64"},
        {"\"num_hidden_layers\":0", "num_hidden_layers: 0"},
        {"\"num_hidden_layers\":99999", "num_hidden_layers: 99999"},
        {"\"num_attention_heads\":0", "num_attention_heads: 0"},
        {"\"num_key_value_heads\":3", "num_attention_heads: 64 is not a multiple of num_key_value_heads, 3"},
        {"\"num_key_value_heads\":128", "num_attention_heads: 64 is not a multiple"},
        {"\"num_key_value_heads\":-1", "num_key_value_heads: -1"},
        {"\"head_dim\":7", "head_dim: 7 is odd"},
        {"\"head_dim\":0", "head_dim: 0"},
        {"\"head_dim\":65536,\"num_attention_heads\":65536", "impossibly large"},
        {"\"head_dim\":2,\"vocab_size\":0", "vocab_size: 0"},
        {"\"head_dim\":2,\"intermediate_size\":null", "intermediate_size: missing"},
        {"\"head_dim\":2,\"max_position_embeddings\":0", "max_position_embeddings: 0"},
        {"\"head_dim\":2,\"rms_norm_eps\":-1", "rms_norm_eps: -1"},
        {"\"head_dim\":2,\"rms_norm_eps\":\"x\"", "rms_norm_eps: not a number"},
        {"\"head_dim\":2,\"hidden_act\":\"gelu\"", "hidden_act: gelu is not supported"},
        {"\"head_dim\":2,\"pretraining_tp\":2", "pretraining_tp: 2"},
        {"\"head_dim\":2,\"partial_rotary_factor\":0.5", "partial_rotary_factor: 0.5"},
        {"\"head_dim\":2,\"rope_parameters\":{\"partial_rotary_factor\":0.5}", "rope_parameters.partial_rotary_factor"},
        {"\"head_dim\":2,\"tie_word_embeddings\":1", "tie_word_embeddings: neither true nor false"},
        {"\"head_dim\":2,\"rope_theta\":0", "rope_theta: 0"},
        {"\"head_dim\":2,\"eos_token_id\":[1,\"a\"]", "eos_token_id"},
        {"\"head_dim\":2,\"bos_token_id\":-2", "bos_token_id: -2"},
        {"\"head_dim\":2,\"quantization_config\":4", "quantization_config: not an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bad(MDQ_ARCH_LLAMA, cases[i].more, cases[i].texts);
}

static void bad_files_fail(void **state)
{
    (void)state;
    struct mdq_config c;
    FAILS(MDQ_E_IO, "config.json|No such file", mdq_config_read(&c, folder));
    put_file("config.json", "", 0);
    FAILS(MDQ_E_DATA, "config.json|empty", mdq_config_read(&c, folder));
    put_file("config.json", "{\"a\":1", 6);
    FAILS(MDQ_E_DATA, "config.json|not valid JSON", mdq_config_read(&c, folder));
    put_file("config.json", "{\"a\":1,\"a\":1}", 13);
    FAILS(MDQ_E_DATA, "config.json|the same name twice", mdq_config_read(&c, folder));
    put_file("config.json", "[]", 2);
    FAILS(MDQ_E_DATA, "config.json|not a JSON object", mdq_config_read(&c, folder));
}

#define H "\"head_dim\":2,"
#define GPTQ H "\"quantization_config\":{\"quant_method\":\"gptq\","
#define CT(members, weights)                                                                                 \
    H "\"quantization_config\":{\"quant_method\":\"compressed-tensors\"," members                             \
      "\"config_groups\":{\"g\":{\"weights\":{" weights "}}}}"

static void quantization_is_read(void **state)
{
    (void)state;
    struct mdq_config c = good(MDQ_ARCH_LLAMA, GPTQ "\"bits\":4,\"group_size\":128,\"dynamic\":{\"-:x\":{}}}");
    assert_true(c.storage == MDQ_STORED_GPTQ && c.bits == 4 && c.group == 128 && c.sym && !c.desc_act);
    assert_true(c.zero_minus_one && !c.sym_stated);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_LLAMA, GPTQ "\"bits\":3,\"group_size\":-1,\"sym\":false,\"desc_act\":true,\"format\":\"gptq_v2\"}");
    assert_true(c.bits == 3 && c.group == -1 && !c.sym && c.desc_act && !c.zero_minus_one && c.sym_stated);
    mdq_config_free(&c);
    c = good(MDQ_ARCH_LLAMA, CT("\"format\":\"pack-quantized\",\"ignore\":[\"lm_head\",\"re:.*x\"],"
             "\"sparsity_config\":{\"format\":\"dense\"},", "\"num_bits\":8,\"strategy\":\"channel\",\"symmetric\":false"));
    assert_true(c.storage == MDQ_STORED_COMPRESSED_TENSORS && c.bits == 8 && c.group == -1 && !c.sym);
    assert_int_equal(c.n_ignore, 2);
    assert_string_equal(c.ignore[1], "re:.*x");
    mdq_config_free(&c);
    /* a file beside config.json, as older tools wrote it */
    static const char old[] = "{\"bits\":2,\"group_size\":64,\"sym\":true}";
    put_file("quantize_config.json", old, sizeof old - 1);
    c = good(MDQ_ARCH_LLAMA, "\"head_dim\":2");
    assert_true(c.storage == MDQ_STORED_GPTQ && c.bits == 2 && c.group == 64 && c.sym_stated);
    mdq_config_free(&c);
}

static void unsupported_quantization_fails(void **state)
{
    (void)state;
    static const struct {
        const char *more, *texts;
    } cases[] = {
        {H "\"quantization_config\":{}", "quant_method: missing"},
        {H "\"quantization_config\":{\"quant_method\":\"awq\"}", "quant_method: awq is not supported"},
        {GPTQ "\"group_size\":128}", "bits: missing"},
        {GPTQ "\"bits\":4}", "group_size: missing"},
        {GPTQ "\"bits\":5,\"group_size\":128}", "bits: 5"},
        {GPTQ "\"bits\":4,\"group_size\":0}", "group_size: 0"},
        {GPTQ "\"bits\":4,\"group_size\":-2}", "group_size: -2"},
        {GPTQ "\"bits\":4,\"group_size\":32,\"checkpoint_format\":\"marlin\"}", "checkpoint_format: marlin"},
        {GPTQ "\"bits\":4,\"group_size\":32,\"is_marlin_format\":true}", "marlin"},
        {GPTQ "\"bits\":4,\"group_size\":32,\"format\":\"gptq\",\"checkpoint_format\":\"gptq_v2\"}", "contradicts"},
        {GPTQ "\"bits\":4,\"group_size\":32,\"pack_dtype\":\"int8\"}", "pack_dtype: int8"},
        {GPTQ "\"bits\":4,\"group_size\":32,\"dynamic\":{\"x\":{\"bits\":8}}}", "dynamic: 'x'"},
        {CT("\"format\":\"int-quantized\",", "\"num_bits\":8"), "format: int-quantized"},
        {CT("", "\"num_bits\":4,\"group_size\":32"), "format: absent"},
        {CT("\"format\":\"pack-quantized\",\"kv_cache_scheme\":{\"a\":1},", "\"num_bits\":4"), "kv_cache_scheme"},
        {CT("\"format\":\"pack-quantized\",\"transform_config\":{\"a\":1},", "\"num_bits\":4"), "transform_config"},
        {CT("\"format\":\"pack-quantized\",\"sparsity_config\":{\"format\":\"x\"},", "\"num_bits\":4"), "sparsity_config"},
        {CT("\"format\":\"pack-quantized\",\"ignore\":[1],", "\"num_bits\":4"), "ignore: entry 0"},
        {CT("\"format\":\"pack-quantized\",", "\"num_bits\":6"), "config_groups.g.weights.num_bits: 6"},
        {CT("\"format\":\"pack-quantized\",", "\"num_bits\":4,\"type\":\"float\""), "type: float"},
        {CT("\"format\":\"pack-quantized\",", "\"num_bits\":4,\"dynamic\":true"), "dynamic"},
        {CT("\"format\":\"pack-quantized\",", "\"num_bits\":4,\"strategy\":\"group\""), "group_size: missing"},
        {CT("\"format\":\"pack-quantized\",", "\"num_bits\":4,\"strategy\":\"channel\",\"group_size\":32"), "contradicts"},
        {CT("\"format\":\"pack-quantized\",", "\"num_bits\":4,\"strategy\":\"tensor\""), "strategy: tensor"},
        {H "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}", "config_groups"},
        {H "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
           "\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4},\"input_activations\":{\"num_bits\":8}}}}",
         "g.input_activations"},
        {H "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
           "\"config_groups\":{\"g\":{}}}", "g.weights: missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bad(MDQ_ARCH_LLAMA, cases[i].more, cases[i].texts);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_the_classes_own),
        TEST(options_are_read),
        TEST(sliding_windows_are_read),
        TEST(rope_is_read_in_every_spelling),
        TEST(contradictions_fail),
        TEST(bad_files_fail),
        TEST(quantization_is_read),
        TEST(unsupported_quantization_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
