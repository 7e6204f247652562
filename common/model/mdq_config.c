/* config.json of the Llama family. Where a key is absent, the default is that of the architecture's own class. */
#include "mdq_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mdq_config_quant.h"
#include "mdq_json.h"

enum { CONFIG_MAX = 16 << 20 };
enum { DIM_MAX = 1 << 24, LAYERS_MAX = 4096, VOCAB_MAX = 1 << 26, POSITION_MAX = 1 << 30 };

static const struct family {
    const char *architecture, *model_type;
    int kv_heads, head_dim, max_position, window; /* defaults; 0: heads, hidden / heads */
} families[] = {
    [MDQ_ARCH_LLAMA] = {"LlamaForCausalLM", "llama", 0, 0, 2048, 0},
    [MDQ_ARCH_MISTRAL] = {"MistralForCausalLM", "mistral", 8, 0, 131072, 4096},
    [MDQ_ARCH_QWEN2] = {"Qwen2ForCausalLM", "qwen2", 32, 0, 32768, 4096},
    [MDQ_ARCH_QWEN3] = {"Qwen3ForCausalLM", "qwen3", 32, 128, 32768, 4096},
};
enum { FAMILIES = sizeof families / sizeof *families };

static enum mdq_err read_arch(struct mdq_config *c, const struct mdq_json_at *at)
{
    const json_t *list = json_object_get(at->object, "architectures");
    const char *name = json_string_value(json_array_get(list, 0)), *type = NULL;
    MDQ_TRY(mdq_json_string(at, "model_type", &type));
    if (!name && !type)
        return mdq_fail(MDQ_E_DATA, "%s: architectures: missing: this is no config.json of a model", at->file);
    int by_name = -1, by_type = -1;
    for (int i = 0; i < FAMILIES; i++) {
        if (name && strcmp(families[i].architecture, name) == 0)
            by_name = i;
        if (type && strcmp(families[i].model_type, type) == 0)
            by_type = i;
    }
    if (name ? by_name < 0 : by_type < 0)
        return mdq_fail(MDQ_E_DATA,
                        "%s: architecture %s is not supported (LlamaForCausalLM, MistralForCausalLM, "
                        "Qwen2ForCausalLM and Qwen3ForCausalLM are)",
                        at->file, name ? name : type);
    if (name && type && by_name != by_type)
        return mdq_fail(MDQ_E_DATA, "%s: model_type: %s contradicts the architecture %s", at->file, type, name);
    c->arch = (enum mdq_arch)(name ? by_name : by_type);
    snprintf(c->architecture, sizeof c->architecture, "%s", families[c->arch].architecture);
    return MDQ_OK;
}

static enum mdq_err read_sizes(struct mdq_config *c, const struct mdq_json_at *at)
{
    static const char *const needed[] = {"hidden_size", "intermediate_size", "num_hidden_layers",
                                         "num_attention_heads", "vocab_size"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        MDQ_TRY(mdq_json_need(at, needed[i]));
    const struct family *f = &families[c->arch];
    MDQ_TRY(mdq_json_int(at, "hidden_size", 1, DIM_MAX, &c->hidden));
    MDQ_TRY(mdq_json_int(at, "intermediate_size", 1, DIM_MAX, &c->intermediate));
    MDQ_TRY(mdq_json_int(at, "num_hidden_layers", 1, LAYERS_MAX, &c->layers));
    MDQ_TRY(mdq_json_int(at, "num_attention_heads", 1, 1 << 16, &c->heads));
    MDQ_TRY(mdq_json_int(at, "vocab_size", 1, VOCAB_MAX, &c->vocab));

    /* an explicit null means "one per head" in every class; only an absent key takes the class's default */
    const json_t *kv = json_object_get(at->object, "num_key_value_heads");
    c->kv_heads = kv || f->kv_heads == 0 ? c->heads : f->kv_heads;
    MDQ_TRY(mdq_json_int(at, "num_key_value_heads", 1, 1 << 16, &c->kv_heads));
    if (c->heads % c->kv_heads != 0)
        return mdq_fail(MDQ_E_DATA, "%s: num_attention_heads: %d is not a multiple of num_key_value_heads, %d",
                        at->file, c->heads, c->kv_heads);

    c->head_dim = f->head_dim;
    MDQ_TRY(mdq_json_int(at, "head_dim", 1, 1 << 16, &c->head_dim));
    if (c->head_dim == 0) {
        if (c->hidden % c->heads != 0)
            return mdq_fail(MDQ_E_DATA, "%s: hidden_size: %d is not a multiple of num_attention_heads, %d", at->file,
                            c->hidden, c->heads);
        c->head_dim = c->hidden / c->heads;
    }
    if (c->head_dim % 2 != 0)
        return mdq_fail(MDQ_E_DATA, "%s: head_dim: %d is odd: rotary embedding needs pairs", at->file, c->head_dim);
    if ((int64_t)c->heads * c->head_dim > DIM_MAX)
        return mdq_fail(MDQ_E_DATA, "%s: num_attention_heads x head_dim: %d x %d is impossibly large", at->file,
                        c->heads, c->head_dim);

    c->max_position = f->max_position;
    MDQ_TRY(mdq_json_int(at, "max_position_embeddings", 1, POSITION_MAX, &c->max_position));
    c->rms_eps = 1e-6;
    return mdq_json_number(at, "rms_norm_eps", 0, 1, &c->rms_eps);
}

static enum mdq_err read_options(struct mdq_config *c, const struct mdq_json_at *at)
{
    const char *act = "silu";
    bool attention_bias = false;
    int tp = 1;
    double partial = 1;
    MDQ_TRY(mdq_json_string(at, "hidden_act", &act));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return mdq_fail(MDQ_E_DATA, "%s: hidden_act: %s is not supported (silu is)", at->file, act);
    MDQ_TRY(mdq_json_int(at, "pretraining_tp", INT32_MIN, INT32_MAX, &tp));
    if (tp != 1)
        return mdq_fail(MDQ_E_DATA, "%s: pretraining_tp: %d is not supported (1 is)", at->file, tp);
    MDQ_TRY(mdq_json_number(at, "partial_rotary_factor", 0, 1e6, &partial));
    if (partial != 1)
        return mdq_fail(MDQ_E_DATA, "%s: partial_rotary_factor: %g is not supported (1 is)", at->file, partial);
    MDQ_TRY(mdq_json_bool(at, "tie_word_embeddings", &c->tied));
    MDQ_TRY(mdq_json_bool(at, "attention_bias", &attention_bias));
    switch (c->arch) {
    case MDQ_ARCH_LLAMA:
        c->qkv_bias = c->o_bias = attention_bias;
        MDQ_TRY(mdq_json_bool(at, "mlp_bias", &c->mlp_bias));
        break;
    case MDQ_ARCH_MISTRAL:
        break;
    case MDQ_ARCH_QWEN2:
        c->qkv_bias = true;
        break;
    case MDQ_ARCH_QWEN3:
        c->qkv_bias = c->o_bias = attention_bias;
        c->qk_norm = true;
        break;
    }
    return MDQ_OK;
}

/* layer_types must be some full_attention layers followed by sliding_attention ones: what the transformer does. */
static enum mdq_err read_layer_types(struct mdq_config *c, const struct mdq_json_at *at)
{
    const json_t *types = json_object_get(at->object, "layer_types");
    if (!types || json_is_null(types))
        return MDQ_OK;
    if (!json_is_array(types) || json_array_size(types) != (size_t)c->layers)
        return mdq_fail(MDQ_E_DATA, "%s: layer_types: not a list of num_hidden_layers, %d, names", at->file, c->layers);
    int from = c->layers;
    for (int i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        bool sliding = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding && (!type || strcmp(type, "full_attention") != 0))
            return mdq_fail(MDQ_E_DATA, "%s: layer_types: layer %d: %s is not supported", at->file, i,
                            type ? type : "no name");
        if (sliding && from == c->layers)
            from = i;
        if (!sliding && from < i)
            return mdq_fail(MDQ_E_DATA, "%s: layer_types: layer %d: full after sliding attention is not supported",
                            at->file, i);
    }
    if (from < c->layers && c->sliding_window == 0)
        return mdq_fail(MDQ_E_DATA, "%s: layer_types: layer %d: sliding attention, but there is no sliding_window",
                        at->file, from);
    c->window_layers_from = from;
    if (from == c->layers)
        c->sliding_window = 0;
    return MDQ_OK;
}

static enum mdq_err read_window(struct mdq_config *c, const struct mdq_json_at *at)
{
    if (c->arch == MDQ_ARCH_LLAMA)
        return MDQ_OK;
    int window = json_object_get(at->object, "sliding_window") ? 0 : families[c->arch].window;
    bool use = c->arch == MDQ_ARCH_MISTRAL;
    int from = c->arch == MDQ_ARCH_MISTRAL ? 0 : 28;
    MDQ_TRY(mdq_json_int(at, "sliding_window", 1, POSITION_MAX, &window));
    if (c->arch != MDQ_ARCH_MISTRAL) {
        MDQ_TRY(mdq_json_bool(at, "use_sliding_window", &use));
        MDQ_TRY(mdq_json_int(at, "max_window_layers", 0, LAYERS_MAX, &from));
    }
    c->sliding_window = use ? window : 0;
    c->window_layers_from = from;
    return read_layer_types(c, at);
}

static enum mdq_err read_factors(double **out, const struct mdq_json_at *at, const char *key, int n)
{
    const json_t *list = json_object_get(at->object, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)n)
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: not a list of head_dim / 2, %d, numbers", at->file, at->prefix, key, n);
    if (!(*out = mdq_alloc((size_t)n, sizeof **out, key)))
        return MDQ_E_INTERNAL;
    for (int i = 0; i < n; i++) {
        double v = json_number_value(json_array_get(list, (size_t)i));
        if (!isfinite(v) || v <= 0)
            return mdq_fail(MDQ_E_DATA, "%s: %s%s: entry %d is not a positive number", at->file, at->prefix, key, i);
        (*out)[i] = v;
    }
    return MDQ_OK;
}

static enum mdq_err read_rope_type(struct mdq_rope *r, const struct mdq_json_at *at)
{
    static const char *const names[] = {[MDQ_ROPE_DEFAULT] = "default", [MDQ_ROPE_LINEAR] = "linear",
                                        [MDQ_ROPE_DYNAMIC] = "dynamic", [MDQ_ROPE_LLAMA3] = "llama3",
                                        [MDQ_ROPE_YARN] = "yarn",       [MDQ_ROPE_LONGROPE] = "longrope"};
    const char *type = "default", *old = NULL;
    MDQ_TRY(mdq_json_string(at, "type", &old));
    if (old)
        type = old;
    MDQ_TRY(mdq_json_string(at, "rope_type", &type));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], type) == 0) {
            r->type = (enum mdq_rope_type)i;
            return MDQ_OK;
        }
    return mdq_fail(MDQ_E_DATA, "%s: %srope_type: %s is not supported", at->file, at->prefix, type);
}

static enum mdq_err read_rope_members(struct mdq_config *c, const struct mdq_json_at *at)
{
    struct mdq_rope *r = &c->rope;
    double partial = 1;
    const double tiny = 1e-9, huge = 1e15;
    MDQ_TRY(read_rope_type(r, at));
    MDQ_TRY(mdq_json_number(at, "rope_theta", tiny, huge, &r->theta));
    MDQ_TRY(mdq_json_number(at, "partial_rotary_factor", 0, 1e6, &partial));
    if (partial != 1)
        return mdq_fail(MDQ_E_DATA, "%s: %spartial_rotary_factor: %g is not supported (1 is)", at->file, at->prefix,
                        partial);
    if (r->type == MDQ_ROPE_DEFAULT)
        return MDQ_OK;
    MDQ_TRY(mdq_json_int(at, "original_max_position_embeddings", 1, POSITION_MAX, &r->original_max_position));
    bool derived = r->type == MDQ_ROPE_LONGROPE || r->type == MDQ_ROPE_YARN;
    if (derived && r->original_max_position > 0)
        r->factor = (double)c->max_position / r->original_max_position;
    else if (r->type != MDQ_ROPE_LONGROPE)
        MDQ_TRY(mdq_json_need(at, "factor"));
    MDQ_TRY(mdq_json_number(at, "factor", tiny, 1e6, &r->factor));
    MDQ_TRY(mdq_json_number(at, "attention_factor", 0, 1e6, &r->attention_factor));
    /* Hugging Face takes max_position_embeddings where the original length is not given */
    if (r->original_max_position == 0 && r->type != MDQ_ROPE_LINEAR && r->type != MDQ_ROPE_DYNAMIC)
        r->original_max_position = c->max_position;
    switch (r->type) {
    case MDQ_ROPE_LLAMA3:
        MDQ_TRY(mdq_json_need(at, "low_freq_factor"));
        MDQ_TRY(mdq_json_need(at, "high_freq_factor"));
        MDQ_TRY(mdq_json_number(at, "low_freq_factor", tiny, 1e6, &r->low_freq_factor));
        MDQ_TRY(mdq_json_number(at, "high_freq_factor", tiny, 1e6, &r->high_freq_factor));
        if (r->high_freq_factor <= r->low_freq_factor)
            return mdq_fail(MDQ_E_DATA, "%s: %shigh_freq_factor: %g is not above low_freq_factor, %g", at->file,
                            at->prefix, r->high_freq_factor, r->low_freq_factor);
        return MDQ_OK;
    case MDQ_ROPE_YARN:
        r->beta_fast = 32;
        r->beta_slow = 1;
        MDQ_TRY(mdq_json_number(at, "beta_fast", tiny, 1e6, &r->beta_fast));
        MDQ_TRY(mdq_json_number(at, "beta_slow", tiny, 1e6, &r->beta_slow));
        MDQ_TRY(mdq_json_number(at, "mscale", 0, 1e6, &r->mscale));
        MDQ_TRY(mdq_json_number(at, "mscale_all_dim", 0, 1e6, &r->mscale_all_dim));
        MDQ_TRY(mdq_json_bool(at, "truncate", &r->truncate));
        return MDQ_OK;
    case MDQ_ROPE_LONGROPE:
        MDQ_TRY(read_factors(&r->short_factor, at, "short_factor", c->head_dim / 2));
        return read_factors(&r->long_factor, at, "long_factor", c->head_dim / 2);
    default:
        return MDQ_OK;
    }
}

/* "rope_scaling" with "type" or "rope_type" beside a top-level rope_theta, or "rope_parameters" with all of it. */
static enum mdq_err read_rope(struct mdq_config *c, const struct mdq_json_at *at)
{
    c->rope.theta = 10000;
    c->rope.truncate = true;
    MDQ_TRY(mdq_json_number(at, "rope_theta", 1e-9, 1e15, &c->rope.theta));
    static const char *const places[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_t *object = json_object_get(at->object, places[i]);
        if (!object || json_is_null(object) || (json_is_object(object) && json_object_size(object) == 0))
            continue;
        if (!json_is_object(object))
            return mdq_fail(MDQ_E_DATA, "%s: %s: not an object", at->file, places[i]);
        if (json_object_get(object, "full_attention") || json_object_get(object, "sliding_attention"))
            return mdq_fail(MDQ_E_DATA, "%s: %s: settings per layer type are not supported", at->file, places[i]);
        char prefix[32];
        snprintf(prefix, sizeof prefix, "%s.", places[i]);
        const struct mdq_json_at inner = {.file = at->file, .prefix = prefix, .object = object};
        return read_rope_members(c, &inner);
    }
    return MDQ_OK;
}

static enum mdq_err read_token(const struct mdq_json_at *at, const char *key, int *out)
{
    *out = -1;
    const json_t *v = json_object_get(at->object, key);
    if (!json_is_array(v))
        return mdq_json_int(at, key, -1, INT32_MAX, out);
    json_int_t first = json_array_size(v) ? json_integer_value(json_array_get(v, 0)) : -1;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_integer(json_array_get(v, i)) || first < 0 || first > INT32_MAX)
            return mdq_fail(MDQ_E_DATA, "%s: %s: not a list of token ids", at->file, key);
    *out = (int)first;
    return MDQ_OK;
}

/* quantization_config of config.json, or the quantize_config.json that older GPTQ folders have instead. */
static enum mdq_err read_quant(struct mdq_config *c, const struct mdq_json_at *at, const char *dir)
{
    c->group = -1;
    const json_t *object = json_object_get(at->object, "quantization_config");
    if (json_is_object(object))
        return mdq_config_read_quant(c, object, at->file);
    if (object && !json_is_null(object))
        return mdq_fail(MDQ_E_DATA, "%s: quantization_config: not an object", at->file);
    char *path = mdq_asprintf("%s/quantize_config.json", dir);
    if (!path)
        return MDQ_E_INTERNAL;
    json_t *old = NULL;
    enum mdq_err err = MDQ_OK;
    if (access(path, F_OK) == 0 && (err = mdq_json_read(&old, path, CONFIG_MAX)) == MDQ_OK) {
        if (!json_object_get(old, "quant_method"))
            json_object_set_new(old, "quant_method", json_string("gptq"));
        err = mdq_config_read_quant(c, old, path);
    }
    json_decref(old);
    free(path);
    return err;
}

enum mdq_err mdq_config_read(struct mdq_config *out, const char *dir)
{
    struct mdq_config *c = out;
    memset(c, 0, sizeof *c);
    char *path = mdq_asprintf("%s/config.json", dir);
    if (!path)
        return MDQ_E_INTERNAL;
    json_t *root = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_json_read(&root, path, CONFIG_MAX), out);
    const struct mdq_json_at at = {.file = path, .prefix = "", .object = root};
    MDQ_GOTO(err, read_arch(c, &at), out);
    MDQ_GOTO(err, read_sizes(c, &at), out);
    MDQ_GOTO(err, read_options(c, &at), out);
    MDQ_GOTO(err, read_window(c, &at), out);
    MDQ_GOTO(err, read_rope(c, &at), out);
    MDQ_GOTO(err, read_token(&at, "bos_token_id", &c->bos), out);
    MDQ_GOTO(err, read_token(&at, "eos_token_id", &c->eos), out);
    err = read_quant(c, &at, dir);
out:
    json_decref(root);
    free(path);
    if (err != MDQ_OK)
        mdq_config_free(c);
    return err;
}

void mdq_config_free(struct mdq_config *c)
{
    free(c->rope.short_factor);
    free(c->rope.long_factor);
    for (int i = 0; i < c->n_ignore; i++)
        free(c->ignore[i]);
    free(c->ignore);
    memset(c, 0, sizeof *c);
}
