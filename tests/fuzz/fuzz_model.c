/*
 * Any model folder: it opens or is refused, and one that opens loads its blocks without reading or writing where it
 * must not. `fuzz_model FILE` takes a file of config.json, a NUL, and model.safetensors; without arguments valid small
 * models (dense, GPTQ, compressed-tensors) are mutated, always the same way, for at most some seconds: JSON values
 * exchanged for others or for awkward ones, bytes changed, the end cut off.
 */
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mdq_log.h"
#include "mdq_model.h"

enum { ROUNDS = 4000, MAX_DATA = 1 << 16 };
#define SECONDS 2.0 /* of processor time */

static const char *const configs[] = {
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":32,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"head_dim\":16,\"vocab_size\":4,\"attention_bias\":true,"
    "\"use_sliding_window\":true,\"layer_types\":[\"sliding_attention\"],\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2},"
    "\"eos_token_id\":[1,2]}",
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":32,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"vocab_size\":4,\"tie_word_embeddings\":true,\"quantization_config\":{\"quant_method\":"
    "\"gptq\",\"bits\":4,\"group_size\":16,\"sym\":false,\"desc_act\":true}}",
    "{\"architectures\":[\"MistralForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":32,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"vocab_size\":4,\"quantization_config\":{\"quant_method\":"
    "\"compressed-tensors\",\"format\":\"pack-quantized\",\"ignore\":[\"lm_head\"],\"config_groups\":{\"a\":{\"weights\":"
    "{\"num_bits\":3,\"group_size\":16,\"symmetric\":false,\"strategy\":\"group\"}}}}}",
};

static const char *const awkward[] = {
    "null", "true", "false", "-1", "0", "1", "2", "3", "4", "8", "16", "31", "33", "64", "4294967296", "9223372036854775807",
    "1e300", "0.5", "\"\"", "\"F16\"", "\"I32\"", "\"BF16\"", "\"I64\"", "[]", "{}", "[32]", "[32,32]", "[0,0]", "[0,4096]",
    "[32,0]", "[1,32,32]", "\"gptq_v2\"", "\"gptq\"", "\"channel\"", "\"compressed-tensors\"", "{\"type\":\"llama3\"}",
};

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) * n >> 32);
}

static char dir[64];

static void put_file(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        exit(1);
}

static int try_folder(void)
{
    struct mdq_model *m;
    if (mdq_model_open(&m, dir) != MDQ_OK)
        return 0;
    struct mdq_block b = {0};
    struct mdq_outer o;
    for (int i = 0; i < m->config.layers; i++)
        if (mdq_model_load_block(m, i, &b) != MDQ_OK)
            break;
    mdq_block_free(&b);
    if (mdq_model_load_outer(m, &o) == MDQ_OK)
        mdq_outer_free(&o);
    mdq_model_close(&m);
    return 1;
}

static void add(json_t *header, size_t *at, const char *name, const char *dtype, int size, int rows, int cols)
{
    size_t bytes = (size_t)size * (size_t)rows * (size_t)(cols ? cols : 1);
    json_t *shape = cols ? json_pack("[i,i]", rows, cols) : json_pack("[i]", rows);
    json_object_set_new(header, name, json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype, "shape", shape, "data_offsets",
                                                (json_int_t)*at, (json_int_t)(*at + bytes)));
    *at += bytes;
}

/* The header of the model that configs[kind] describes. */
static json_t *make_header(int kind, size_t *data)
{
    json_t *h = json_object();
    *data = 0;
    add(h, data, "model.embed_tokens.weight", "F32", 4, 4, 32);
    add(h, data, "model.norm.weight", "BF16", 2, 32, 0);
    if (kind != 1)
        add(h, data, "lm_head.weight", "F16", 2, 4, 32);
    add(h, data, "model.layers.0.input_layernorm.weight", "F32", 4, 32, 0);
    add(h, data, "model.layers.0.post_attention_layernorm.weight", "F32", 4, 32, 0);
    for (int l = 0; l < MDQ_LINEARS; l++) {
        char name[128];
        int n = snprintf(name, sizeof name, "model.layers.0.%s", mdq_linear_suffix((enum mdq_linear)l));
        char *end = name + n;
        if (kind == 0) {
            strcpy(end, ".weight");
            add(h, data, name, l % 2 ? "F16" : "BF16", 2, 32, 32);
            strcpy(end, ".bias");
            if (l < 4)
                add(h, data, name, "F32", 4, 32, 0);
        } else {
            strcpy(end, kind == 1 ? ".qweight" : ".weight_packed");
            add(h, data, name, "I32", 4, kind == 1 ? 4 : 32, kind == 1 ? 32 : 3);
            strcpy(end, kind == 1 ? ".qzeros" : ".weight_zero_point");
            add(h, data, name, "I32", 4, kind == 1 ? 2 : 3, kind == 1 ? 4 : 2);
            strcpy(end, kind == 1 ? ".scales" : ".weight_scale");
            add(h, data, name, "F16", 2, kind == 1 ? 2 : 32, kind == 1 ? 32 : 2);
            strcpy(end, kind == 1 ? ".g_idx" : ".weight_g_idx");
            add(h, data, name, "I32", 4, 32, 0);
        }
    }
    if (kind == 0) {
        add(h, data, "model.layers.0.self_attn.q_norm.weight", "F32", 4, 16, 0);
        add(h, data, "model.layers.0.self_attn.k_norm.weight", "F32", 4, 16, 0);
    }
    return h;
}

/* Exchanges one value somewhere in j. */
static void mutate(json_t *j)
{
    for (;;) {
        size_t n = json_is_object(j) ? json_object_size(j) : json_array_size(j);
        if (n == 0)
            return;
        size_t at = below((uint32_t)n);
        void *iter = NULL;
        json_t *child;
        if (json_is_object(j)) {
            iter = json_object_iter(j);
            for (size_t i = 0; i < at; i++)
                iter = json_object_iter_next(j, iter);
            child = json_object_iter_value(iter);
        } else {
            child = json_array_get(j, at);
        }
        if ((json_is_object(child) || json_is_array(child)) && below(8) != 0) {
            j = child;
            continue;
        }
        if (iter && below(8) == 0) {
            json_object_del(j, json_object_iter_key(iter));
            return;
        }
        json_t *value = json_loads(awkward[below(sizeof awkward / sizeof *awkward)], JSON_DECODE_ANY, NULL);
        if (iter)
            json_object_iter_set_new(j, iter, value);
        else
            json_array_set_new(j, at, value);
        return;
    }
}

/* Writes a folder with `depth` values exchanged and, unless !spoil, some bytes changed. */
static void write_mutant(int kind, int depth, bool spoil)
{
    static unsigned char file[2 * MAX_DATA];
    size_t data;
    json_t *header = make_header(kind, &data), *config = json_loads(configs[kind], 0, NULL);
    for (int i = 0; i < depth; i++)
        mutate(below(2) ? header : config);
    char *h = json_dumps(header, JSON_COMPACT), *c = json_dumps(config, JSON_COMPACT);
    size_t length = strlen(h), size = 8 + length + data;
    if (size > sizeof file)
        exit(1);
    memset(file, 0, size);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(length >> 8 * i);
    memcpy(file + 8, h, length);
    if (spoil && below(2))
        for (int i = 0; i < 20; i++)
            file[8 + length + below((uint32_t)data)] = (unsigned char)below(256);
    if (spoil && below(8) == 0)
        file[below((uint32_t)(8 + length))] = (unsigned char)below(256);
    if (spoil && below(16) == 0)
        size = below((uint32_t)size);
    put_file("config.json", c, strlen(c));
    put_file("model.safetensors", file, size);
    free(h);
    free(c);
    json_decref(header);
    json_decref(config);
}

static void split_file(const char *path)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    size_t config = strnlen(text, n);
    put_file("config.json", text, config);
    put_file("model.safetensors", text + config + 1, n > config ? n - config - 1 : 0);
}

int main(int argc, char **argv)
{
    /* in memory where that is possible: thousands of small files */
    snprintf(dir, sizeof dir, "/dev/shm/mdq-fuzz-XXXXXX");
    if (!mkdtemp(dir)) {
        snprintf(dir, sizeof dir, "/tmp/mdq-fuzz-XXXXXX");
        if (!mkdtemp(dir))
            return 1;
    }
    mdq_log_set(-1, false);
    omp_set_num_threads(1); /* threads that wait would use up the time */
    int bad = 0, opened = 0, rounds = 0;
    if (argc > 1) {
        split_file(argv[1]);
        try_folder();
    } else {
        for (int kind = 0; kind < 3; kind++) {
            write_mutant(kind, 0, false);
            if (!try_folder()) {
                fprintf(stderr, "valid model %d was refused: %s\n", kind, mdq_error_message());
                bad = 1;
            }
        }
        for (; rounds < ROUNDS && (double)clock() / CLOCKS_PER_SEC < SECONDS; rounds++) {
            write_mutant((int)below(3), (int)below(3), true);
            opened += try_folder();
        }
        fprintf(stderr, "%d of %d mutants opened\n", opened, rounds);
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) != 0 || bad;
}
