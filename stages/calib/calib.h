/* What the files of mdq-calib share: options, and what they work on. */
#ifndef CALIB_H
#define CALIB_H

#include "calib_gradients.h"
#include "hessian.h"
#include "mdq.h"
#include "mdq_cli.h"
#include "mdq_scratch.h"
#include "mdq_text.h"
#include "mdq_transformer.h"

enum { DEFAULT_TOKENS = 262144, DEFAULT_GRADIENT_TOKENS = 65536, BATCH_TOKENS = 8192, DEFAULT_CTX = 2048 };

struct opts {
    struct mdq_cli cli;
    const char *model, *text, *memo, *acts_in, *acts_out, *quantized, *sensitive, *matched;
    int64_t tokens, gradient_tokens; /* gradient_tokens 0: not given */
    int ctx, block; /* block -1: all */
    bool no_stats, gradients, no_hessian, whole;
};

struct state {
    const struct opts *o;
    struct mdq_model *model;
    struct mdq_windows windows; /* ids, unless the activations come from a file */
    int ctx;
    int64_t n_windows;          /* for Hessians (and activations) */
    int64_t gradient_windows;
    char *calib;                /* JSON: what was run through the model */
    char *about_gradients;      /* JSON: what the gradients are of, or NULL */
    bool sequential;
    struct mdq_rotary rotary;
    struct mdq_workspace *ws;
    struct mdq_block block;
    struct hessian h[MDQ_INPUTS];
    struct gradient_texts texts;
    struct gradients gradients;
    struct mdq_writer *stats, *acts_out;
    struct mdq_reader *acts_in;
    struct mdq_scratch all; /* all activations of the whole-model run */
    float *x;               /* these, or one batch */
};

/* calib_input.c: text and, with --gradients, records; or the header of a file of activations. */
enum mdq_err calib_open_text(struct state *s);
enum mdq_err calib_open_acts(struct state *s);

/* calib_run.c: opens the outputs and fills them; the caller finishes the writers. */
enum mdq_err calib_run_all(struct state *s);
enum mdq_err calib_run_block(struct state *s);

#endif
