/*
 * What mdq-pack knows of a model before it writes (the plan), and of an export format (a table of functions; one file
 * each: pack_gptq.c, pack_compressed.c, pack_dense.c).
 */
#ifndef PACK_FORMAT_H
#define PACK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mdq_qlayer.h" /* one quantized layer, as assembled from a stream */

/* One linear layer of the model. */
struct pack_entry {
    char *name; /* "model.layers.0.self_attn.q_proj.weight", owned */
    int64_t rows, cols;
    char *kept;   /* why it stays in full precision; NULL: it is quantized. Owned. */
    size_t bytes; /* what it takes in the result */
    /* of the layer, once it has arrived, for the report */
    int bits;
    int64_t group;
    bool sym;
    char method[16], order[16];
    enum mdq_dtype scale_type;
    char *report; /* JSON, owned; NULL: none */
};

struct pack_plan {
    const struct pack_format *format;
    const char *source;  /* name of the input for messages */
    unsigned bits;
    int64_t group;       /* -1: whole rows */
    bool sym, act;       /* act: quantized in activation order, with static groups */
    enum mdq_dtype scale_type, dense_type;
    bool keep;           /* --unpackable keep */
    struct pack_entry *entries; /* in layer order */
    int n, n_kept;
};

/* Columns per group that this entry should have under the plan: the plan's, or the whole row where it does not divide. */
int64_t pack_plan_group(const struct pack_plan *p, const struct pack_entry *e);
/* Whether the entry has whole-row groups while the plan has smaller ones. */
bool pack_plan_ragged(const struct pack_plan *p, const struct pack_entry *e);

/* A tensor that stands for a quantized layer: the layer's name with ".weight" replaced by the suffix. */
struct pack_tensor {
    const char *suffix; /* ".qweight" */
    enum mdq_dtype dtype;
    int ndim;
    int64_t shape[2];
    bool ahead; /* known from the plan: written before all layers */
};
enum { PACK_TENSORS = 4 };

struct pack_format {
    const char *name;
    bool uniform; /* all quantized layers share bits, symmetry, scale type; groups as pack_plan_group */
    /* Refuses a plan that the format cannot hold at all. NULL: holds any. */
    enum mdq_err (*check)(const struct pack_plan *p);
    /* Why the format cannot hold this one layer, as a new string in *why; NULL there when it can. May itself be NULL. */
    enum mdq_err (*refuse)(const struct pack_plan *p, const struct pack_entry *e, char **why);
    /*
     * The tensors of a layer; returns how many. What is not ahead must begin and end on a multiple of 4 bytes unless all
     * of it is 16 bits wide: safetensors allows no gaps, and readers want elements aligned.
     */
    int (*tensors)(const struct pack_plan *p, const struct pack_entry *e, struct pack_tensor out[PACK_TENSORS]);
    /* Fills the bytes of tensor `which`; `l` is NULL for those ahead. */
    enum mdq_err (*fill)(const struct pack_plan *p, const struct pack_entry *e, const struct mdq_qlayer *l, int which,
                         void *dst);
    /* The text of quantization_config, JSON, in *json (NULL for none). */
    enum mdq_err (*config)(const struct pack_plan *p, char **json);
    bool quantize_config_json; /* also written as a file of its own */
};

extern const struct pack_format pack_format_gptq, pack_format_gptq_v2, pack_format_compressed, pack_format_dense;

/* "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight": the number of characters. */
int pack_module_length(const char *tensor);

#endif
