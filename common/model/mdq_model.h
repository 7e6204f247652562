/*
 * A model folder as the stages see it: configuration, the linear layers of every block by name, and their weights
 * as float32, whatever they are stored as (dense f32/f16/bf16, GPTQ v1 and v2, compressed-tensors pack-quantized).
 */
#ifndef MDQ_MODEL_H
#define MDQ_MODEL_H

#include "mdq_config.h"
#include "mdq_safetensors.h"

/* The linear layers of a block, in layer order. */
enum mdq_linear { MDQ_Q_PROJ, MDQ_K_PROJ, MDQ_V_PROJ, MDQ_O_PROJ, MDQ_GATE_PROJ, MDQ_UP_PROJ, MDQ_DOWN_PROJ,
                  MDQ_LINEARS };
/* Their distinct inputs: q, k, v share one; gate and up share one. */
enum mdq_input { MDQ_IN_QKV, MDQ_IN_O, MDQ_IN_GATE_UP, MDQ_IN_DOWN, MDQ_INPUTS };

struct mdq_model {
    char *dir;
    struct mdq_config config;
    struct mdq_safetensors *tensors;
    char hash[33]; /* model identity: hex, see mdq_model_hash; empty until asked for */
};

/* Opens config and tensors, and checks that every tensor the architecture needs is there with the right shape. */
enum mdq_err mdq_model_open(struct mdq_model **out, const char *dir);
void mdq_model_close(struct mdq_model **m);

/*
 * The model's identity: XXH3-128 over config.json and every weight file (base name, length, content hash), 32 hex
 * digits. `memo` (NULL: none) is a text file that keeps content hashes by path, size and modification time.
 */
enum mdq_err mdq_model_hash(struct mdq_model *m, const char *memo);

const char *mdq_linear_suffix(enum mdq_linear l);  /* "self_attn.q_proj" */
enum mdq_input mdq_linear_input(enum mdq_linear l);
/* "model.layers.3.self_attn.q_proj.weight" into buf (at least 96 bytes); returns buf. */
char *mdq_linear_name(char *buf, int block, enum mdq_linear l);
/* Rows (outputs) and columns (inputs) of W. */
void mdq_linear_shape(const struct mdq_config *c, enum mdq_linear l, int64_t *out, int64_t *in);
/* The reverse of mdq_linear_name: 0 when `tensor` names a linear layer of a block, -1 otherwise. */
int mdq_linear_parse(const char *tensor, int *block, enum mdq_linear *l);
/* The dense source tensor, or NULL when that layer is stored quantized. */
const struct mdq_tensor *mdq_model_linear(const struct mdq_model *m, int block, enum mdq_linear l);

/* The weights of one block as float32, row-major [out, in]; biases and q/k norms are NULL when the model has none. */
struct mdq_block {
    float *linear[MDQ_LINEARS];
    float *bias[MDQ_LINEARS];
    float *attn_norm, *mlp_norm; /* [hidden] */
    float *q_norm, *k_norm;      /* [head_dim] */
};
/*
 * Loads block i (dequantizing where needed; non-finite values are MDQ_E_DATA with tensor, row and column).
 * `b` must be zero at first and may be passed again for another block of the same model: buffers are reused.
 */
enum mdq_err mdq_model_load_block(const struct mdq_model *m, int i, struct mdq_block *b);
void mdq_block_free(struct mdq_block *b);

/* The rest: embedding [vocab, hidden], final norm [hidden], head [vocab, hidden] (tied: same pointer as embedding). */
struct mdq_outer {
    float *embedding, *norm, *head;
    bool tied;
};
enum mdq_err mdq_model_load_outer(const struct mdq_model *m, struct mdq_outer *o);
void mdq_outer_free(struct mdq_outer *o);

#endif
