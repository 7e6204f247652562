/*
 * config.json of a Hugging Face model folder, for the Llama family: LlamaForCausalLM, MistralForCausalLM,
 * Qwen2ForCausalLM, Qwen3ForCausalLM. Another architecture is refused by name.
 */
#ifndef MDQ_CONFIG_H
#define MDQ_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

enum mdq_arch { MDQ_ARCH_LLAMA, MDQ_ARCH_MISTRAL, MDQ_ARCH_QWEN2, MDQ_ARCH_QWEN3 };

/* RoPE scaling, by Hugging Face's names: "default", "linear", "dynamic", "llama3", "yarn", "longrope". */
enum mdq_rope_type { MDQ_ROPE_DEFAULT, MDQ_ROPE_LINEAR, MDQ_ROPE_DYNAMIC, MDQ_ROPE_LLAMA3, MDQ_ROPE_YARN,
                     MDQ_ROPE_LONGROPE };

struct mdq_rope {
    enum mdq_rope_type type;
    double theta, factor;
    double low_freq_factor, high_freq_factor;       /* llama3 */
    double beta_fast, beta_slow, attention_factor;  /* yarn, longrope; attention_factor 0: derived */
    double mscale, mscale_all_dim;                  /* yarn, 0 when absent */
    bool truncate;                                  /* yarn, default true */
    int original_max_position;                      /* 0 when absent */
    double *short_factor, *long_factor;             /* longrope: head_dim / 2 each */
};

/* How the weights of linear layers are stored. */
enum mdq_storage { MDQ_STORED_DENSE, MDQ_STORED_GPTQ, MDQ_STORED_COMPRESSED_TENSORS };

/* One way in which modules are quantized: group -1 is a whole row. */
struct mdq_scheme {
    int bits, group;
    bool sym;
};
enum { MDQ_SCHEMES = 16 };

struct mdq_config {
    enum mdq_arch arch;
    char architecture[64]; /* as in the file */
    int hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, max_position;
    double rms_eps;
    bool qkv_bias, o_bias, mlp_bias, qk_norm, tied;
    int sliding_window; /* 0: none */
    int window_layers_from; /* layers from this index on use the window (Qwen: max_window_layers; Mistral: 0) */
    struct mdq_rope rope;
    int bos, eos; /* -1 when absent */

    enum mdq_storage storage; /* from quantization_config */
    int bits, group;          /* quantized storage; group -1: whole row */
    bool sym, desc_act, zero_minus_one; /* zero_minus_one: GPTQ v1's stored zero is zero - 1 */
    struct mdq_scheme schemes[MDQ_SCHEMES]; /* all that occur (compressed-tensors: config_groups); the first is above */
    int n_schemes;
    bool sym_stated; /* GPTQ: sym is in the file; otherwise readers take it for true */
    char **ignore;            /* compressed-tensors: modules left unquantized */
    int n_ignore;
};

/* Reads dir/config.json, checks every number's range and their agreement. Released by mdq_config_free. */
enum mdq_err mdq_config_read(struct mdq_config *out, const char *dir);
void mdq_config_free(struct mdq_config *c);

#endif
