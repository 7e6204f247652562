/*
 * What every program starts with: the options that all share, verbosity, threads, exit codes.
 *
 * A program file describes itself in one `static const struct mdq_program`, gives the argp parser of its own
 * options, and ends in
 *
 *     int main(int argc, char **argv) { struct opts o = {...}; return mdq_main(&program, argc, argv, &o, run); }
 *
 * where run() does the work and returns an error. --help, --usage, --version and the man page all come from the
 * option table.
 */
#ifndef MDQ_CLI_H
#define MDQ_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

/* The options of all programs, as parsed. Zero-initialise; mdq_main fills it. */
struct mdq_cli {
    const char *output; /* -o FILE; NULL: standard output */
    int jobs;           /* -j N; threads, at least 1 after parsing */
    int verbosity;      /* -q: -1, default 0, -v: 1, -vv: 2 */
    uint64_t seed;      /* --seed N, default 0 */
    bool progress;      /* --progress: show progress even when standard error is no terminal */
    bool no_pg;         /* --no-pg: add no provenance entry (streams only) */
    bool thin;          /* --thin: write identity and own keys only (streams only) */
    int level;          /* --level N: zstd level of the output, MDQ_LEVEL_DEFAULT when not given (streams only) */
};

enum { MDQ_LEVEL_DEFAULT = -1000 };

/* What a program grants beside -j -q -v --seed --progress --help --version. */
enum mdq_cli_grant {
    MDQ_CLI_OUTPUT = 1, /* -o FILE */
    MDQ_CLI_STREAM = 2, /* --no-pg --thin --level, for programs that write record streams */
};

struct mdq_program {
    const char *name;                  /* "mdq-tile" */
    const char *args;                  /* usage after the options: "MODEL", "[FILE...]" */
    const char *doc;                   /* one line of purpose, then \v and the longer text with an example (argp) */
    unsigned grants;                   /* enum mdq_cli_grant, or-ed */
    const struct argp_option *options; /* own options, terminated by {0} */
    argp_parser_t parse;               /* their parser; state->input is `opts` as passed to mdq_main */
    enum mdq_err (*start)(const struct mdq_cli *cli, char **argv); /* NULL, or mdq_blas_start */
};

/*
 * Parses, starts (threads, BLAS), runs, prints the error if there is one, closes standard output with a check.
 * Returns the exit code. Misuse ends the process with status 2, --help and --version with 0.
 */
int mdq_main(const struct mdq_program *program, int argc, char **argv, struct mdq_cli *cli, void *opts,
             enum mdq_err (*run)(void *opts));

/* The program's name for messages ("mdq" before mdq_main). */
const char *mdq_program_name(void);

/*
 * Strict numbers for option parsers: the whole argument, in range, or argp_error (which exits with status 2).
 * `option` is the name shown, e.g. "--bits".
 */
long long mdq_arg_int(struct argp_state *state, const char *option, const char *arg, long long min, long long max);
double mdq_arg_double(struct argp_state *state, const char *option, const char *arg, double min, double max);
/* One of the names in the NULL-terminated list; returns its index. */
int mdq_arg_choice(struct argp_state *state, const char *option, const char *arg, const char *const *names);

/* The positional arguments, for parsers that take any number: appends arg, MDQ_E_INTERNAL when out of memory. */
struct mdq_strings {
    char **v;
    int n;
};
enum mdq_err mdq_strings_add(struct mdq_strings *s, const char *arg);
void mdq_strings_free(struct mdq_strings *s);

#endif
