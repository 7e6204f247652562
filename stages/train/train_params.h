/*
 * The parameters of a model in training: weights, gradients and the optimiser's moments, as the transformer's own
 * structures and, over the same memory, as one flat list of named tensors in a fixed order.
 */
#ifndef MDQ_TRAIN_PARAMS_H
#define MDQ_TRAIN_PARAMS_H

#include <stdbool.h>

#include "mdq_transformer.h"

struct train_tensor {
    char name[96]; /* as in the model folder */
    int ndim;
    int64_t shape[2], n;
    bool decay;     /* matrices: yes; norms and biases: no */
    float *w, *g, *m, *v;
};

struct train_params {
    struct mdq_config config; /* borrowed pointers of the caller's configuration */
    struct mdq_block *blocks, *block_grads;
    struct mdq_outer outer, outer_grads;
    float *moments; /* all m, then all v */
    struct train_tensor *tensors;
    int count;
    int64_t total; /* parameters */
};

/* All zero. Released by train_params_free, also after an error. `c` must outlive it. */
enum mdq_err train_params_new(struct train_params *p, const struct mdq_config *c);
void train_params_free(struct train_params *p);

/*
 * A fresh model: matrices normal with standard deviation std, those that write into the residual stream (o_proj,
 * down_proj) with std / sqrt(2 layers) (GPT-2), norms 1, biases 0. Every element depends on the seed, its tensor
 * and its place alone.
 */
void train_params_init(struct train_params *p, uint64_t seed, double std);
/* The weights of an open model of the same configuration. */
enum mdq_err train_params_load(struct train_params *p, const struct mdq_model *m);

void train_params_zero_grads(struct train_params *p);
/* Square root of the sum of squares of all gradients. */
double train_params_grad_norm(const struct train_params *p);

/* Random numbers for whoever counts (splitmix64): the i-th of a stream. */
uint64_t train_random(uint64_t seed, uint64_t stream, uint64_t i);

#endif
