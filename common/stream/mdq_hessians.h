/*
 * The Hessians of a statistics stream, one at a time, in layer order.
 */
#ifndef MDQ_HESSIANS_H
#define MDQ_HESSIANS_H

#include "mdq.h"

struct mdq_hessian {
    int64_t n;
    float *h;       /* [n, n], full and symmetric: sum x x^T */
    int64_t count;  /* how many x */
};

struct mdq_hessians;

/* Opens the stream at `path`; it must be about the model of `tiles`, with Hessian records. */
enum mdq_err mdq_hessians_open(struct mdq_hessians **out, const char *path, const struct mdq_header *tiles);
/* The same from a reader that is open and becomes theirs (on failure too); `path` is for messages. */
enum mdq_err mdq_hessians_take(struct mdq_hessians **out, struct mdq_reader **in, const char *path, const struct mdq_header *tiles);
const struct mdq_header *mdq_hessians_header(const struct mdq_hessians *s);
/* Whether the Hessian at hand is that of the tensor's input too. */
bool mdq_hessians_covers(const struct mdq_hessians *s, const char *tensor);
/*
 * *h = the Hessian of the input of `layer`, valid until the next call that loads another; *fresh tells whether it is
 * another than the last one (layers that share an input get the same one). Layers must be asked for in the order of
 * the layer table. MDQ_E_DATA names the layer that has none, or whose panels contradict each other or the layer.
 */
enum mdq_err mdq_hessians_find(struct mdq_hessians *s, const struct mdq_layer_entry *layer,
                                const struct mdq_hessian **h, bool *fresh);
/* Reads on to the end record: a truncated stream is an error even where what was needed came before. */
enum mdq_err mdq_hessians_drain(struct mdq_hessians *s);
void mdq_hessians_close(struct mdq_hessians **s);

#endif
