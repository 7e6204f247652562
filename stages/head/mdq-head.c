/*
 * mdq-head: the first records of a stream as a stream. It stops reading when it has them, so a program that writes into
 * it ends by SIGPIPE; what follows is not looked at.
 */
#include <errno.h>
#include <stdlib.h>

#include "mdq.h"
#include "mdq_cli.h"

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs;
    long long n;
};

static const struct argp_option options[] = {
    {"records", 'n', "N", 0, "how many records (default 10)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case 'n': o->n = mdq_arg_int(state, "-n", arg, 0, INT64_MAX); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static enum mdq_err copy(struct mdq_reader *in, struct mdq_writer *out, long long n)
{
    struct mdq_record *r;
    for (long long i = 0; i < n; i++) {
        MDQ_TRY(mdq_reader_next(in, &r));
        if (!r)
            break;
        MDQ_TRY(mdq_writer_put(out, r));
    }
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_reader *in = NULL;
    struct mdq_writer *out = NULL;
    struct mdq_header *h = NULL;
    const struct mdq_reader_options ropts = {.threads = o->cli.jobs};
    const struct mdq_writer_options wopts = {.level = o->cli.level, .threads = o->cli.jobs, .thin = o->cli.thin};
    char *args = mdq_asprintf("{\"records\":%lld}", o->n);
    enum mdq_err err = args ? MDQ_OK : MDQ_E_INTERNAL;
    if (err)
        goto out;
    MDQ_GOTO(err, mdq_reader_open(&in, o->inputs.v, o->inputs.n, &ropts), out);
    MDQ_GOTO(err, mdq_header_derive(&h, mdq_reader_header(in), o->cli.no_pg ? NULL : "mdq-head", args), out);
    MDQ_GOTO(err, mdq_writer_open(&out, o->cli.output, h, &wopts), out);
    MDQ_GOTO(err, copy(in, out, o->n), out);
    err = mdq_writer_finish(&out);
out:
    mdq_writer_abort(&out);
    mdq_header_free(&h);
    mdq_reader_close(&in);
    mdq_strings_free(&o->inputs);
    free(args);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-head",
    .args = "[STREAM...]",
    .doc = "Keep the first records of a stream.\v"
           "Several inputs are merged by identity first. e.g.:\n"
           "  mdq-head -n 1 tiles.mdq | mdq-view --stats",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.n = 10};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
