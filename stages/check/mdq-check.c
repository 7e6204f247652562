/*
 * mdq-check: whether streams are whole and right, and if not what is wrong and where. Every frame, record, array and
 * count is looked at; after a damaged frame it goes on with the next. One thread, one frame in memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_stream.h" /* the check */
#include "mdq_cli.h"
#include "mdq_output.h"

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs;
    bool quick;
    long long most;
    FILE *out; /* standard output, or memory that goes into -o FILE when all is checked */
};

enum { KEY_QUICK = 1, KEY_MOST };

static const struct argp_option options[] = {
    {"quick", KEY_QUICK, 0, 0, "look at the header and the end record only (files, not pipes)", 1},
    {"max-lines", KEY_MOST, "N", 0, "print at most N defects of each stream (default 20)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_QUICK: o->quick = true; break;
    case KEY_MOST: o->most = mdq_arg_int(state, "--max-lines", arg, 0, INT64_MAX); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

struct printing {
    FILE *out;
    const char *name;
    long long lines, most;
};

static void report(void *arg, enum check_reason reason, const char *where, const char *why)
{
    struct printing *p = arg;
    if (p->lines++ < p->most)
        fprintf(p->out, "%s: %s: %s [%s]\n", p->name, where, why, check_reason_name(reason));
}

/* *verdict stays as it is when all is right; MDQ_E_IO: cut short and otherwise right; MDQ_E_DATA. */
static enum mdq_err check_one(const struct opts *o, const char *path, enum mdq_err *verdict)
{
    struct printing p = {.out = o->out, .name = strcmp(path, "-") == 0 ? "standard input" : path, .most = o->most};
    struct check_result r;
    MDQ_TRY(check_stream(path, o->quick, report, &p, &r));
    if (p.lines > p.most)
        fprintf(o->out, "%s: and %lld more\n", p.name, p.lines - p.most);
    if (r.reasons == 0) {
        if (o->cli.verbosity >= 0)
            fprintf(o->out, "%s: ok: %lld records, %llu bytes in %llu\n", p.name, r.records, (unsigned long long)r.decoded,
                   (unsigned long long)r.packed);
        return MDQ_OK;
    }
    fprintf(o->out, "%s: bad (0x%x):", p.name, r.reasons);
    for (unsigned bit = 1; bit <= r.reasons; bit <<= 1)
        if (r.reasons & bit)
            fprintf(o->out, " %s", check_reason_name((enum check_reason)bit));
    fprintf(o->out, "\n");
    *verdict = r.reasons == CHECK_TRUNCATED ? MDQ_E_IO : MDQ_E_DATA;
    return MDQ_OK;
}

static enum mdq_err check_all(struct opts *o, enum mdq_err *verdict, int *bad_streams)
{
    enum mdq_err err = MDQ_OK, worst = MDQ_OK;
    int bad = 0;
    if (o->inputs.n == 0)
        err = mdq_strings_add(&o->inputs, "-");
    for (int i = 0; i < o->inputs.n && !err; i++) {
        enum mdq_err one = MDQ_OK;
        err = check_one(o, o->inputs.v[i], &one);
        bad += one != MDQ_OK;
        worst = worst == MDQ_E_DATA || one == MDQ_OK ? worst : one;
    }
    *verdict = worst;
    *bad_streams = bad;
    return err;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_output *file = NULL;
    char *text = NULL;
    size_t size = 0;
    enum mdq_err worst = MDQ_OK, err = MDQ_OK;
    int bad = 0;
    o->out = stdout;
    if (o->cli.output) {
        MDQ_GOTO(err, mdq_output_open(&file, o->cli.output, false), out);
        if (!(o->out = open_memstream(&text, &size))) {
            err = mdq_fail_nomem("report", 0);
            goto out;
        }
    }
    err = check_all(o, &worst, &bad);
    if (o->out != stdout && fclose(o->out) != 0 && err == MDQ_OK)
        err = mdq_fail_nomem("report", size);
    if (err == MDQ_OK && file)
        err = mdq_output_write(file, text, size);
    if (err == MDQ_OK && file)
        err = mdq_output_commit(&file);
    if (err == MDQ_OK && worst)
        err = mdq_fail(worst, "%d of %d streams %s", bad, o->inputs.n,
                       worst == MDQ_E_IO ? "cut short" : "not as they should be");
out:
    mdq_output_abort(&file);
    free(text);
    mdq_strings_free(&o->inputs);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-check",
    .args = "[STREAM...]",
    .doc = "Check streams: whole, in order, and every value as the format wants it.\v"
           "Each stream is checked by itself. Exit status: 0 all are right, 1 at least one is wrong, 3 none is wrong but "
           "at least one is cut short. e.g.:\n"
           "  mdq-check --quick work/*/*.mdq",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.most = 20};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
