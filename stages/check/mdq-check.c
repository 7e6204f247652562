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

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs;
    bool quick;
    long long most;
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
    const char *name;
    long long lines, most;
};

static void report(void *arg, enum check_reason reason, const char *where, const char *why)
{
    struct printing *p = arg;
    if (p->lines++ < p->most)
        printf("%s: %s: %s [%s]\n", p->name, where, why, check_reason_name(reason));
}

/* *verdict stays as it is when all is right; MDQ_E_IO: cut short and otherwise right; MDQ_E_DATA. */
static enum mdq_err check_one(const struct opts *o, const char *path, enum mdq_err *verdict)
{
    struct printing p = {.name = strcmp(path, "-") == 0 ? "standard input" : path, .most = o->most};
    struct check_result r;
    MDQ_TRY(check_stream(path, o->quick, report, &p, &r));
    if (p.lines > p.most)
        printf("%s: and %lld more\n", p.name, p.lines - p.most);
    if (r.reasons == 0) {
        if (o->cli.verbosity >= 0)
            printf("%s: ok: %lld records, %llu bytes in %llu\n", p.name, r.records, (unsigned long long)r.decoded,
                   (unsigned long long)r.packed);
        return MDQ_OK;
    }
    printf("%s: bad (0x%x):", p.name, r.reasons);
    for (unsigned bit = 1; bit <= r.reasons; bit <<= 1)
        if (r.reasons & bit)
            printf(" %s", check_reason_name((enum check_reason)bit));
    printf("\n");
    *verdict = r.reasons == CHECK_TRUNCATED ? MDQ_E_IO : MDQ_E_DATA;
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
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
    if (!err && worst)
        err = mdq_fail(worst, "%d of %d streams %s", bad, o->inputs.n,
                       worst == MDQ_E_IO ? "cut short" : "not as they should be");
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
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.most = 20};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
