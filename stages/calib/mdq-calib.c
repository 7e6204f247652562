/*
 * mdq-calib: calibration statistics. Runs a text through the model, block by block, and writes the Hessian
 * H = sum x x^T of every distinct input of the linear layers (q, k, v share one; gate, up share one) as panels.
 *
 * Whole model in one call (one block's weights in memory, activations in memory or, when they are large, in a
 * temporary file), or one block per call with the activations at the block boundaries in files (--block, --acts-in,
 * --acts-out), which is how the pipelines resume. With --quantized the outgoing activations of a block are those of
 * its quantized weights: sequential calibration, as in GPTQ (Frantar et al. 2022, section 4).
 *
 * With --gradients a backward pass comes first, over the records of --sensitive and --matched and the first tokens of
 * the text: contrast gradient, functional Fisher diagonal and scales of every layer (calib_gradients.h), written beside
 * the Hessians.
 *
 * Memory: one block in float32, its Hessians (dim^2 x 8 bytes each), one batch of activations. Gradients: 12 bytes more
 * for every weight of a block, and up to about 1 GiB of activations. Disk, as unlinked files under TMPDIR once they exceed
 * 1 GiB (memory below that): the activations of the whole text (tokens x hidden x 4 bytes); with gradients, and until the
 * backward pass is done, those of its tokens (text and padded records) at every block boundary, tokens x hidden x 4 x
 * (blocks + 1) bytes; and the results, 8 bytes for every weight of all blocks.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "calib.h"
#include "mdq_blas.h"
#include "mdq_log.h"

enum { KEY_MODEL = 0x2001, KEY_TEXT, KEY_TOKENS, KEY_CTX, KEY_MEMO, KEY_BLOCK, KEY_ACTS_IN, KEY_ACTS_OUT,
       KEY_QUANTIZED, KEY_NO_STATS, KEY_GRADIENTS, KEY_NO_HESSIAN, KEY_SENSITIVE, KEY_MATCHED, KEY_GRADIENT_TOKENS,
       KEY_WHOLE };

static const struct argp_option options[] = {
    {"model", KEY_MODEL, "DIR", 0, "the model folder", 1},
    {"text", KEY_TEXT, "FILE", 0, "UTF-8 calibration text; - is standard input", 1},
    {"tokens", KEY_TOKENS, "N", 0, "use the first N tokens (default 262144)", 1},
    {"ctx", KEY_CTX, "N", 0, "tokens per window (default: the smaller of 2048 and the model's context)", 1},
    {"memo", KEY_MEMO, "FILE", 0, "keep content hashes of the model's files in FILE", 1},
    {"block", KEY_BLOCK, "I", 0, "this transformer block only", 2},
    {"acts-in", KEY_ACTS_IN, "FILE", 0, "the activations that enter the block (made by --acts-out; not for block 0)", 2},
    {"acts-out", KEY_ACTS_OUT, "FILE", 0, "write the activations that leave the block", 2},
    {"quantized", KEY_QUANTIZED, "FILE", 0,
     "the block as mdq-gptq wrote it: --acts-out is computed with these weights, and no statistics are made", 2},
    {"no-stats", KEY_NO_STATS, 0, 0, "make --acts-out only", 2},
    {"gradients", KEY_GRADIENTS, 0, 0, "gradients too, of the whole model", 3},
    {"sensitive", KEY_SENSITIVE, "FILE", 0,
     "records that should not leak: JSON lines {\"text\": ..., \"span\": [start, end]} or plain lines", 3},
    {"matched", KEY_MATCHED, "FILE", 0, "records of the same kind that the model has not seen", 3},
    {"gradient-tokens", KEY_GRADIENT_TOKENS, "N", 0,
     "functional gradients from the first N tokens of the text (default 65536)", 3},
    {"whole", KEY_WHOLE, 0, 0, "look at whole records even where a span is marked", 3},
    {"no-hessian", KEY_NO_HESSIAN, 0, 0, "gradients only", 3},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_MODEL: o->model = arg; return 0;
    case KEY_TEXT: o->text = arg; return 0;
    case KEY_TOKENS: o->tokens = mdq_arg_int(state, "--tokens", arg, 1, INT64_MAX); return 0;
    case KEY_CTX: o->ctx = (int)mdq_arg_int(state, "--ctx", arg, 1, 1 << 20); return 0;
    case KEY_MEMO: o->memo = arg; return 0;
    case KEY_BLOCK: o->block = (int)mdq_arg_int(state, "--block", arg, 0, 1 << 20); return 0;
    case KEY_ACTS_IN: o->acts_in = arg; return 0;
    case KEY_ACTS_OUT: o->acts_out = arg; return 0;
    case KEY_QUANTIZED: o->quantized = arg; o->no_stats = true; return 0;
    case KEY_NO_STATS: o->no_stats = true; return 0;
    case KEY_GRADIENTS: o->gradients = true; return 0;
    case KEY_WHOLE: o->whole = true; return 0;
    case KEY_NO_HESSIAN: o->no_hessian = true; return 0;
    case KEY_SENSITIVE: o->sensitive = arg; return 0;
    case KEY_MATCHED: o->matched = arg; return 0;
    case KEY_GRADIENT_TOKENS: o->gradient_tokens = mdq_arg_int(state, "--gradient-tokens", arg, 1, INT64_MAX); return 0;
    case ARGP_KEY_ARG: argp_error(state, "no positional arguments: '%s'", arg); return EINVAL;
    case ARGP_KEY_END:
        if (!o->model)
            argp_error(state, "--model is missing");
        if (!o->text && !o->acts_in)
            argp_error(state, "--text is missing");
        if (o->block < 0 && (o->acts_in || o->acts_out || o->no_stats))
            argp_error(state, "--acts-in, --acts-out, --quantized and --no-stats go with --block");
        if (o->block > 0 && !o->acts_in)
            argp_error(state, "--block %d needs --acts-in: the activations that leave block %d", o->block, o->block - 1);
        if (o->block == 0 && o->acts_in)
            argp_error(state, "--block 0 starts from --text, not from --acts-in");
        if (o->no_stats && !o->acts_out)
            argp_error(state, "nothing to do: --no-stats or --quantized without --acts-out");
        if (o->no_stats && o->cli.output)
            argp_error(state, "-o is for statistics, and none are made");
        if (!o->gradients && (o->sensitive || o->matched || o->gradient_tokens || o->no_hessian || o->whole))
            argp_error(state, "--sensitive, --matched, --gradient-tokens, --whole and --no-hessian go with --gradients");
        if (o->gradients && (o->block >= 0 || o->acts_in))
            argp_error(state, "--gradients takes the whole model in one call, not --block: its backward pass begins at the last block");
        if (o->gradients && (!o->sensitive || !o->matched))
            argp_error(state, "--gradients needs --sensitive and --matched: their contrast is what is measured");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static enum mdq_err run(void *opts)
{
    const struct opts *o = opts;
    struct state s = {.o = o};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&s.model, o->model), out);
    if (o->block >= s.model->config.layers - (o->acts_out != NULL)) {
        err = mdq_fail(MDQ_E_USAGE, "--block %d: %s has blocks 0 to %d%s", o->block, o->model,
                       s.model->config.layers - 1, o->acts_out ? ", and nothing follows the last" : "");
        goto out;
    }
    MDQ_GOTO(err, mdq_model_hash(s.model, o->memo), out);
    MDQ_GOTO(err, o->acts_in ? calib_open_acts(&s) : calib_open_text(&s), out);
    MDQ_GOTO(err, mdq_rotary_init(&s.rotary, &s.model->config, s.ctx), out);
    if (!(s.ws = mdq_workspace_new(&s.model->config))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    MDQ_GOTO(err, o->block >= 0 ? calib_run_block(&s) : calib_run_all(&s), out);
    if (s.acts_out)
        MDQ_GOTO(err, mdq_writer_finish(&s.acts_out), out);
    if (s.stats)
        err = mdq_writer_finish(&s.stats);
    if (err == MDQ_OK)
        mdq_log(MDQ_LOG_INFO, "%s: %" PRId64 " windows of %d tokens", o->model, s.n_windows, s.ctx);
out:
    mdq_writer_abort(&s.stats);
    mdq_writer_abort(&s.acts_out);
    mdq_reader_close(&s.acts_in);
    if (!s.all.p)
        free(s.x);
    mdq_scratch_unmap(&s.all);
    gradients_free(&s.gradients);
    gradient_texts_free(&s.texts);
    for (int i = 0; i < MDQ_INPUTS; i++)
        hessian_free(&s.h[i]);
    mdq_block_free(&s.block);
    mdq_workspace_free(&s.ws);
    mdq_rotary_free(&s.rotary);
    mdq_windows_free(&s.windows);
    free(s.calib);
    free(s.about_gradients);
    mdq_model_close(&s.model);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-calib",
    .doc = "Run a text through a model and write the Hessians of its linear layers."
           "\vOne Hessian, the sum of x x^T over the tokens, for every distinct input: q, k and v share one, gate and "
           "up share one. Windows start at the beginning of the text; a last short one is dropped. With --gradients "
           "also the gradients that mdq-score works on.\n\n"
           "e.g.: mdq-calib --model my-model --text wiki.txt --tokens 262144 -o stats.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.block = -1, .tokens = DEFAULT_TOKENS};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
