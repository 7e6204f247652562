/*
 * mdq-cat: several record streams of one model as one. Streams that hold different layers or blocks are joined, records
 * with the same identity become one with the keys of all; a key that two hold with different values is an error. The
 * header unites those of the inputs; nothing else is added, so a joined stream equals the one that was never cut. With
 * --block it keeps one block: its layers in the header's table and their records.
 *
 * Time and memory: one pass, one record of each input.
 */
#include <errno.h>

#include "mdq.h"     /* streams */
#include "mdq_cli.h" /* options, main */
#include "mdq_log.h" /* progress */

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs;
    int block; /* -1: all */
};

enum { KEY_BLOCK = 1 };

static const struct argp_option options[] = {
    {"block", KEY_BLOCK, "N", 0, "keep only the records of transformer block N", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    if (key == KEY_BLOCK) {
        o->block = (int)mdq_arg_int(state, "--block", arg, 0, INT32_MAX);
        return 0;
    }
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
}

/* All is read, also behind the block, so that a stream cut short does not pass. */
static enum mdq_err copy(struct mdq_reader *in, const struct mdq_header *head, bool all, struct mdq_writer *out)
{
    struct mdq_record *r;
    uint64_t done = 0;
    mdq_progress_start("joining", 0, "MB");
    for (;;) {
        MDQ_TRY(mdq_reader_next(in, &r));
        if (!r)
            break;
        if (all || mdq_header_find_layer(head, mdq_record_id(r).tensor) >= 0)
            MDQ_TRY(mdq_writer_put(out, r));
        mdq_progress_add((double)(mdq_reader_bytes(in) - done) / 1e6);
        done = mdq_reader_bytes(in);
    }
    mdq_progress_end();
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_reader *in = NULL;
    struct mdq_writer *out = NULL;
    struct mdq_header *head = NULL;
    const struct mdq_reader_options ropts = {.threads = o->cli.jobs, .join = true};
    const struct mdq_writer_options wopts = {.level = o->cli.level, .threads = o->cli.jobs, .thin = o->cli.thin};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_reader_open(&in, o->inputs.v, o->inputs.n, &ropts), out);
    MDQ_GOTO(err, mdq_header_derive(&head, mdq_reader_header(in), NULL, NULL), out);
    if (o->block >= 0)
        MDQ_GOTO(err, mdq_header_cut(head, o->block), out);
    MDQ_GOTO(err, mdq_writer_open(&out, o->cli.output, head, &wopts), out);
    MDQ_GOTO(err, copy(in, head, o->block < 0, out), out);
    err = mdq_writer_finish(&out);
out:
    mdq_writer_abort(&out);
    mdq_header_free(&head);
    mdq_reader_close(&in);
    mdq_strings_free(&o->inputs);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-cat",
    .args = "[STREAM...]",
    .doc = "Join record streams of one model, in canonical order, or take one block out.\v"
           "Streams of different layers are put together; records that several hold become one with the keys of all. "
           "With --block only the layers of that block and their records are written. "
           "e.g.:\n"
           "  mdq-cat work/block-*.mdq -o model.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.block = -1};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
