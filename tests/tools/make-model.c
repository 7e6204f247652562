/*
 * Writes a Llama-family model folder with random weights: config.json, safetensors and a byte-level tokenizer. For
 * tests and benches: an 8B-shaped model streams to disk in little memory. The same arguments give the same bytes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "mdq_cli.h"
#include "mdq_model.h"
#include "mdq_output.h"
#include "mdq_safetensors.h"

static const char *const arch_names[] = {"llama", "mistral", "qwen2", "qwen3", NULL};
static const char *const class_names[] = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM",
                                          "Qwen3ForCausalLM"};
static const char *const dtype_names[] = {"f32", "f16", "bf16", NULL};
static const char *const torch_names[] = {"float32", "float16", "bfloat16"};

enum { TABLE = 1 << 16, CHUNK = 1 << 18 };

struct opts {
    struct mdq_cli cli;
    int arch, hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, ctx, dtype, shards;
    double scale;
    bool tied;
    enum mdq_dtype type;
    uint16_t *table16; /* normal quantiles in the file's dtype */
    float *table32;
    struct mdq_safetensors_writer *w;
    bool announcing;
};

enum { KEY_ARCH = 1, KEY_HIDDEN, KEY_INTERMEDIATE, KEY_LAYERS, KEY_HEADS, KEY_KV, KEY_HEAD_DIM, KEY_VOCAB, KEY_CTX,
       KEY_DTYPE, KEY_TIED, KEY_SHARDS, KEY_SCALE };

static const struct argp_option options[] = {
    {"arch", KEY_ARCH, "NAME", 0, "llama (default), mistral, qwen2 or qwen3", 1},
    {"hidden", KEY_HIDDEN, "N", 0, "hidden size (default 64)", 1},
    {"intermediate", KEY_INTERMEDIATE, "N", 0, "size of the MLP (default 172)", 1},
    {"layers", KEY_LAYERS, "N", 0, "blocks (default 2)", 1},
    {"heads", KEY_HEADS, "N", 0, "attention heads (default 4)", 1},
    {"kv-heads", KEY_KV, "N", 0, "heads of keys and values (default: as many)", 1},
    {"head-dim", KEY_HEAD_DIM, "N", 0, "size of a head (default: hidden / heads)", 1},
    {"vocab", KEY_VOCAB, "N", 0, "vocabulary, at least 258 (default 258)", 1},
    {"ctx", KEY_CTX, "N", 0, "max_position_embeddings (default 256)", 1},
    {"dtype", KEY_DTYPE, "NAME", 0, "f32 (default), f16 or bf16", 1},
    {"tied", KEY_TIED, 0, 0, "the head is the embedding", 1},
    {"shards", KEY_SHARDS, "N", 0, "about so many weight files (default 1)", 1},
    {"scale", KEY_SCALE, "X", 0, "standard deviation of the weights (default 0.02)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    const int big = 1 << 24;
    switch (key) {
    case KEY_ARCH: o->arch = mdq_arg_choice(state, "--arch", arg, arch_names); break;
    case KEY_HIDDEN: o->hidden = (int)mdq_arg_int(state, "--hidden", arg, 1, big); break;
    case KEY_INTERMEDIATE: o->intermediate = (int)mdq_arg_int(state, "--intermediate", arg, 1, big); break;
    case KEY_LAYERS: o->layers = (int)mdq_arg_int(state, "--layers", arg, 1, 4096); break;
    case KEY_HEADS: o->heads = (int)mdq_arg_int(state, "--heads", arg, 1, 1 << 16); break;
    case KEY_KV: o->kv_heads = (int)mdq_arg_int(state, "--kv-heads", arg, 1, 1 << 16); break;
    case KEY_HEAD_DIM: o->head_dim = (int)mdq_arg_int(state, "--head-dim", arg, 1, 1 << 16); break;
    case KEY_VOCAB: o->vocab = (int)mdq_arg_int(state, "--vocab", arg, 258, big); break;
    case KEY_CTX: o->ctx = (int)mdq_arg_int(state, "--ctx", arg, 1, 1 << 30); break;
    case KEY_DTYPE: o->dtype = mdq_arg_choice(state, "--dtype", arg, dtype_names); break;
    case KEY_TIED: o->tied = true; break;
    case KEY_SHARDS: o->shards = (int)mdq_arg_int(state, "--shards", arg, 1, 1000); break;
    case KEY_SCALE: o->scale = mdq_arg_double(state, "--scale", arg, 0, 1e30); break;
    case ARGP_KEY_ARG: argp_error(state, "'%s': takes no arguments", arg); break;
    case ARGP_KEY_END:
        if (!o->cli.output)
            argp_error(state, "-o DIR is needed");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Quantile of the standard normal by bisection: exact enough for a table, and no library needed. */
static double normal_quantile(double p)
{
    double low = -9, high = 9;
    while (high - low > 1e-12) {
        double mid = (low + high) / 2;
        if (0.5 * erfc(-mid / sqrt(2)) < p)
            low = mid;
        else
            high = mid;
    }
    return (low + high) / 2;
}

static enum mdq_err make_tables(struct opts *o)
{
    o->type = (enum mdq_dtype)mdq_dtype_parse(dtype_names[o->dtype]);
    o->table32 = mdq_alloc(TABLE, sizeof *o->table32, "table");
    o->table16 = mdq_alloc(TABLE, sizeof *o->table16, "table");
    if (!o->table32 || !o->table16)
        return MDQ_E_INTERNAL;
    for (int i = 0; i < TABLE; i++)
        o->table32[i] = (float)(o->scale * normal_quantile((i + 0.5) / TABLE));
    if (o->type != MDQ_F32)
        mdq_dtype_from_f32(o->type, o->table32, TABLE, o->table16);
    return MDQ_OK;
}

/* Finaliser of splitmix64 (Steele, Lea and Flood 2014): a counter becomes 64 random bits. */
static inline uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t tensor_seed(uint64_t seed, const char *name)
{
    uint64_t h = mix(seed + 0x9e3779b97f4a7c15u);
    for (; *name; name++)
        h = mix(h ^ (unsigned char)*name) + 0x9e3779b97f4a7c15u;
    return h;
}

/* Announces or writes one tensor of centre + scale x normal values. */
static enum mdq_err tensor(struct opts *o, const char *name, float centre, int64_t rows, int64_t cols)
{
    int64_t shape[2] = {rows, cols}, n = rows * (cols ? cols : 1);
    if (o->announcing)
        return mdq_safetensors_writer_announce(o->w, name, o->type, cols ? 2 : 1, shape);
    static uint64_t buffer[CHUNK / 4 * 2];
    uint64_t seed = tensor_seed(o->cli.seed, name);
    size_t size = mdq_dtype_bits(o->type) / 8;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t count = n - at < CHUNK ? n - at : CHUNK;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < (count + 3) / 4; i++) {
            uint64_t r = mix(seed + 0x9e3779b97f4a7c15u * (uint64_t)(at / 4 + i));
            for (int k = 0; k < 4; k++) {
                size_t index = (size_t)(r >> 16 * k) & (TABLE - 1), to = (size_t)(4 * i + k);
                if (o->type == MDQ_F32)
                    ((float *)buffer)[to] = centre + o->table32[index];
                else if (centre == 0)
                    ((uint16_t *)buffer)[to] = o->table16[index];
                else {
                    float v = centre + o->table32[index];
                    mdq_dtype_from_f32(o->type, &v, 1, (uint16_t *)buffer + to);
                }
            }
        }
        MDQ_TRY(mdq_safetensors_writer_data(o->w, name, buffer, (size_t)count * size));
    }
    return MDQ_OK;
}

static struct mdq_config as_config(const struct opts *o)
{
    return (struct mdq_config){.hidden = o->hidden, .intermediate = o->intermediate, .layers = o->layers,
                               .heads = o->heads, .kv_heads = o->kv_heads, .head_dim = o->head_dim, .vocab = o->vocab};
}

static enum mdq_err all_tensors(struct opts *o)
{
    struct mdq_config c = as_config(o);
    char name[128];
    MDQ_TRY(tensor(o, "model.embed_tokens.weight", 0, o->vocab, o->hidden));
    for (int b = 0; b < o->layers; b++) {
        int at = snprintf(name, sizeof name, "model.layers.%d.", b);
        size_t room = sizeof name - (size_t)at;
        snprintf(name + at, room, "input_layernorm.weight");
        MDQ_TRY(tensor(o, name, 1, o->hidden, 0));
        snprintf(name + at, room, "post_attention_layernorm.weight");
        MDQ_TRY(tensor(o, name, 1, o->hidden, 0));
        if (o->arch == MDQ_ARCH_QWEN3) {
            snprintf(name + at, room, "self_attn.q_norm.weight");
            MDQ_TRY(tensor(o, name, 1, o->head_dim, 0));
            snprintf(name + at, room, "self_attn.k_norm.weight");
            MDQ_TRY(tensor(o, name, 1, o->head_dim, 0));
        }
        for (int l = 0; l < MDQ_LINEARS; l++) {
            int64_t out, in;
            mdq_linear_shape(&c, (enum mdq_linear)l, &out, &in);
            snprintf(name + at, room, "%s.weight", mdq_linear_suffix((enum mdq_linear)l));
            MDQ_TRY(tensor(o, name, 0, out, in));
            if (o->arch == MDQ_ARCH_QWEN2 && l <= MDQ_V_PROJ) {
                snprintf(name + at, room, "%s.bias", mdq_linear_suffix((enum mdq_linear)l));
                MDQ_TRY(tensor(o, name, 0, out, 0));
            }
        }
    }
    MDQ_TRY(tensor(o, "model.norm.weight", 1, o->hidden, 0));
    return o->tied ? MDQ_OK : tensor(o, "lm_head.weight", 0, o->vocab, o->hidden);
}

static double model_bytes(const struct opts *o)
{
    struct mdq_config c = as_config(o);
    double n = (o->tied ? 1.0 : 2.0) * o->vocab * o->hidden;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t out, in;
        mdq_linear_shape(&c, (enum mdq_linear)l, &out, &in);
        n += (double)o->layers * (double)out * (double)in;
    }
    return n * mdq_dtype_bits(o->type) / 8;
}

static enum mdq_err write_json(const char *dir, const char *name, json_t *j)
{
    char *path = mdq_asprintf("%s/%s", dir, name), *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    struct mdq_output *out = NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!path || !text) {
        err = mdq_fail_nomem(name, 0);
        goto out;
    }
    MDQ_GOTO(err, mdq_output_open(&out, path, true), out);
    MDQ_GOTO(err, mdq_output_write(out, text, strlen(text)), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    json_decref(j);
    free(text);
    free(path);
    return err;
}

static json_t *config_json(const struct opts *o)
{
    json_t *j = json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:i, s:i, s:s}",
                          "architectures", class_names[o->arch], "model_type", arch_names[o->arch], "hidden_act", "silu",
                          "hidden_size", o->hidden, "intermediate_size", o->intermediate, "num_hidden_layers", o->layers,
                          "num_attention_heads", o->heads, "num_key_value_heads", o->kv_heads, "head_dim", o->head_dim,
                          "vocab_size", o->vocab, "max_position_embeddings", o->ctx, "rms_norm_eps", 1e-5, "rope_theta",
                          10000.0, "tie_word_embeddings", o->tied, "bos_token_id", 256, "eos_token_id", 257,
                          "torch_dtype", torch_names[o->dtype]);
    if (o->arch == MDQ_ARCH_MISTRAL)
        json_object_set_new(j, "sliding_window", json_null());
    return j;
}

/* GPT-2's spelling of bytes: printable ones stand for themselves, the others for code points from 256 on. */
static void spell_byte(int byte, char spelled[4])
{
    int code = 256;
    for (int b = 0; b <= byte; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && plain)
            code = byte;
        else if (b < byte && !plain)
            code++;
    }
    if (code < 128) {
        spelled[0] = (char)code;
        spelled[1] = 0;
    } else {
        spelled[0] = (char)(0xc0 | code >> 6);
        spelled[1] = (char)(0x80 | (code & 63));
        spelled[2] = 0;
    }
}

static json_t *tokenizer_json(void)
{
    json_t *vocab = json_object(), *added = json_array();
    for (int b = 0; b < 256; b++) {
        char spelled[4];
        spell_byte(b, spelled);
        json_object_set_new(vocab, spelled, json_integer(b));
    }
    static const char *const special[] = {"<s>", "</s>"};
    for (int i = 0; i < 2; i++) {
        json_object_set_new(vocab, special[i], json_integer(256 + i));
        json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", 256 + i, "content",
                                               special[i], "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                               "special", 1));
    }
    const char *level = "{s:s, s:b, s:b, s:b}";
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:n, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:[]}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer", "pre_tokenizer",
                     json_pack(level, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1),
                     "post_processor", "decoder",
                     json_pack(level, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1),
                     "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", 0, "byte_fallback", 0, "vocab", vocab, "merges");
}

static enum mdq_err fill(struct opts *o, const char *dir)
{
    MDQ_TRY(write_json(dir, "config.json", config_json(o)));
    MDQ_TRY(write_json(dir, "tokenizer.json", tokenizer_json()));
    MDQ_TRY(write_json(dir, "tokenizer_config.json",
                       json_pack("{s:s, s:s, s:s, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                                 "<s>", "eos_token", "</s>", "clean_up_tokenization_spaces", 0, "add_prefix_space", 0)));
    size_t max_shard = o->shards > 1 ? (size_t)(model_bytes(o) / o->shards) + 1 : 0;
    MDQ_TRY(mdq_safetensors_writer_new(&o->w, dir, max_shard));
    o->announcing = true;
    enum mdq_err err = all_tensors(o);
    o->announcing = false;
    if (err == MDQ_OK)
        err = all_tensors(o);
    if (err == MDQ_OK)
        return mdq_safetensors_writer_finish(&o->w);
    mdq_safetensors_writer_abort(&o->w);
    return err;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    if (!o->kv_heads)
        o->kv_heads = o->heads;
    if (!o->head_dim)
        o->head_dim = o->hidden / o->heads;
    struct mdq_output_dir *out = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, make_tables(o), out);
    MDQ_GOTO(err, mdq_output_dir_open(&out, o->cli.output, "config.json"), out);
    MDQ_GOTO(err, fill(o, mdq_output_dir_path(out)), out);
    err = mdq_output_dir_commit(&out);
out:
    mdq_output_dir_abort(&out);
    free(o->table32);
    free(o->table16);
    return err;
}

static const struct mdq_program program = {
    .name = "make-model",
    .args = "",
    .doc = "Write a model folder with random weights.\v"
           "make-model -o tiny --arch qwen3 --hidden 64 --layers 2 --dtype bf16",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.hidden = 64, .intermediate = 172, .layers = 2, .heads = 4, .vocab = 258, .ctx = 256, .shards = 1,
                     .scale = 0.02};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
