/*
 * The Hessians of a statistics stream, one at a time, in layer order.
 */
#ifndef GPTQ_HESSIAN_H
#define GPTQ_HESSIAN_H

#include "mdq.h"

struct gptq_hessian {
    int64_t n;
    float *h;       /* [n, n], full and symmetric: sum x x^T */
    int64_t count;  /* how many x */
};

struct gptq_hessians;

/* Opens the stream at `path`; it must be about the model of `tiles`, with Hessian records. */
enum mdq_err gptq_hessians_open(struct gptq_hessians **out, const char *path, const struct mdq_header *tiles);
const struct mdq_header *gptq_hessians_header(const struct gptq_hessians *s);
/* Whether the Hessian at hand is that of the tensor's input too. */
bool gptq_hessians_covers(const struct gptq_hessians *s, const char *tensor);
/*
 * *h = the Hessian of the input of `layer`, valid until the next call that loads another; *fresh tells whether it is
 * another than the last one (layers that share an input get the same one). Layers must be asked for in the order of
 * the layer table. MDQ_E_DATA names the layer that has none, or whose panels contradict each other or the layer.
 */
enum mdq_err gptq_hessians_find(struct gptq_hessians *s, const struct mdq_layer_entry *layer,
                                const struct gptq_hessian **h, bool *fresh);
/* Reads on to the end record: a truncated stream is an error even where what was needed came before. */
enum mdq_err gptq_hessians_drain(struct gptq_hessians *s);
void gptq_hessians_close(struct gptq_hessians **s);

#endif
