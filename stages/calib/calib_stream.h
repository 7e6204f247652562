/*
 * What mdq-calib writes and reads beside text: headers, panels of Hessians, activations at block boundaries, a block's
 * quantized weights.
 */
#ifndef CALIB_STREAM_H
#define CALIB_STREAM_H

#include "calib_gradients.h"
#include "hessian.h"
#include "mdq.h"
#include "mdq_model.h"

/* Where a stream's numbers come from. */
struct calib_origin {
    const char *calib;                 /* JSON: what was run through the model */
    const char *gradients;             /* JSON: what the gradients are of; NULL: there are none */
    const struct mdq_header *before;   /* sequential calibration: the incoming activations' header, else NULL */
    const struct mdq_header *quantized; /* the quantized block that was run, or NULL */
    bool provenance;                   /* add an entry */
};

/*
 * The header of a stream about blocks first..last with records of `kind` (NULL: of gradients only). The provenance
 * names what was run, not how the work was cut into calls: a model calibrated block by block has that of one calibrated
 * in one go. Under sequential calibration the blocks before are part of the result, so the chain of the incoming
 * activations, which holds their quantizer, becomes the parent.
 */
enum mdq_err calib_header(struct mdq_header **out, const struct mdq_model *m, int first, int last, const char *kind,
                          const struct calib_origin *origin);

/* Completes the Hessian of one input of a block (hessian_flush) and writes its panels. */
enum mdq_err calib_put_hessian(struct mdq_writer *w, const struct mdq_model *m, int block, enum mdq_input in,
                               struct hessian *h);

/* The gradients of one layer in panels of output rows. */
enum mdq_err calib_put_gradients(struct mdq_writer *w, int block, enum mdq_linear l, const struct gradient_result *r);
/* Rows of such a panel: at most ~8 MiB of contrast and Fisher together. */
int64_t calib_gradient_rows(int64_t rows, int64_t cols);

/* One batch of activations x [windows, ctx, hidden] that enter `block`. */
enum mdq_err calib_put_activations(struct mdq_writer *w, int block, int64_t index, const float *x, int windows,
                                   int ctx, int hidden);

/* Replaces the linear weights of `b` by those in the stream `in` (called `name` in messages); all must be there. */
enum mdq_err calib_load_quantized(struct mdq_reader *in, const char *name, int block, struct mdq_block *b);

#endif
