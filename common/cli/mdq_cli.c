#include "mdq_cli.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mdq_jansson.h"
#include "mdq_log.h"
#include "mdq_output.h"

static const char *program_name = "mdq";

const char *mdq_program_name(void)
{
    return program_name;
}

enum { KEY_SEED = 0x1001, KEY_PROGRESS, KEY_NO_PG, KEY_THIN, KEY_LEVEL };

static const struct argp_option output_options[] = {
    {"output", 'o', "FILE", 0, "write to FILE, which appears only when it is complete (default: standard output)", 90},
    {0},
};
static const struct argp_option stream_options[] = {
    {"thin", KEY_THIN, 0, 0, "write only each record's identity and the keys made here", 91},
    {"level", KEY_LEVEL, "N", 0, "zstd level of the output, -7 to 19; changes its size, never its content", 91},
    {"no-pg", KEY_NO_PG, 0, 0, "add no provenance entry", 91},
    {0},
};
static const struct argp_option shared_options[] = {
    {"jobs", 'j', "N", 0, "threads (default: all processors); the result does not depend on it", 95},
    {"seed", KEY_SEED, "N", 0, "seed of everything random (default 0)", 95},
    {"quiet", 'q', 0, 0, "print nothing but errors", 96},
    {"verbose", 'v', 0, 0, "say more; twice: say much", 96},
    {"progress", KEY_PROGRESS, 0, 0, "show progress even where standard error is no terminal", 96},
    {0, 'h', 0, OPTION_HIDDEN, 0, 0},
    {0},
};

struct parse_state {
    struct mdq_cli *cli;
    void *opts;
};

static error_t parse_shared(int key, char *arg, struct argp_state *state)
{
    struct mdq_cli *cli = state->input;
    switch (key) {
    case 'o': cli->output = arg; break;
    case 'j': cli->jobs = (int)mdq_arg_int(state, "-j", arg, 1, 4096); break;
    case 'q': cli->verbosity = -1; break;
    case 'v': cli->verbosity = cli->verbosity < 0 ? 1 : cli->verbosity + 1; break;
    case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); break;
    case KEY_SEED: cli->seed = (uint64_t)mdq_arg_int(state, "--seed", arg, 0, INT64_MAX); break;
    case KEY_PROGRESS: cli->progress = true; break;
    case KEY_NO_PG: cli->no_pg = true; break;
    case KEY_THIN: cli->thin = true; break;
    case KEY_LEVEL: cli->level = (int)mdq_arg_int(state, "--level", arg, -7, 19); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct mdq_program *current;

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    struct parse_state *s = state->input;
    if (key == ARGP_KEY_INIT) {
        for (int i = 0; state->root_argp->children && state->root_argp->children[i].argp; i++)
            state->child_inputs[i] = s->cli;
        state->input = s->opts;
        error_t e = current->parse ? current->parse(key, arg, state) : 0;
        state->input = s;
        return e == ARGP_ERR_UNKNOWN ? 0 : e;
    }
    if (!current->parse)
        return ARGP_ERR_UNKNOWN;
    state->input = s->opts;
    error_t e = current->parse(key, arg, state);
    state->input = s;
    return e;
}

static void print_version(FILE *f, struct argp_state *state)
{
    (void)state;
    fprintf(f, "%s (mdq) %s\nLicence: Apache-2.0\n", program_name, MDQ_VERSION);
}

static int close_stdout(int code)
{
    bool bad = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 || bad) {
        if (code == 0) {
            fprintf(stderr, "%s: standard output: writing failed: %s\n", program_name,
                    errno ? strerror(errno) : "an earlier write failed");
            return MDQ_E_IO;
        }
    }
    return code;
}

int mdq_main(const struct mdq_program *program, int argc, char **argv, struct mdq_cli *cli, void *opts,
             enum mdq_err (*run)(void *opts))
{
    current = program;
    program_name = program->name;
    mdq_jansson_watch();
    argp_err_exit_status = MDQ_E_USAGE;
    argp_program_version_hook = print_version;
    cli->level = MDQ_LEVEL_DEFAULT;

    const struct argp output = {.options = output_options, .parser = parse_shared};
    const struct argp stream = {.options = stream_options, .parser = parse_shared};
    const struct argp shared = {.options = shared_options, .parser = parse_shared};
    struct argp_child children[4] = {{0}};
    int n = 0;
    if (program->grants & MDQ_CLI_OUTPUT)
        children[n++] = (struct argp_child){.argp = &output};
    if (program->grants & MDQ_CLI_STREAM)
        children[n++] = (struct argp_child){.argp = &stream};
    children[n++] = (struct argp_child){.argp = &shared};
    const struct argp root = {.options = program->options,
                              .parser = parse_own,
                              .args_doc = program->args,
                              .doc = program->doc,
                              .children = children};
    struct parse_state state = {.cli = cli, .opts = opts};
    error_t bad = argp_parse(&root, argc, argv, 0, NULL, &state);
    if (bad) {
        fprintf(stderr, "%s: options: %s\n", program_name, strerror(bad));
        return MDQ_E_INTERNAL;
    }
    if (cli->jobs == 0)
        cli->jobs = omp_get_num_procs();
    omp_set_num_threads(cli->jobs);
    mdq_log_set(cli->verbosity, cli->progress);
    mdq_output_catch_signals();

    enum mdq_err err = program->start ? program->start(cli, argv) : MDQ_OK;
    if (err == MDQ_OK)
        err = run(opts);
    if (err == MDQ_OK)
        err = mdq_jansson_check();
    if (err != MDQ_OK) {
        fflush(stdout);
        fprintf(stderr, "%s: %s\n", program_name, mdq_error_message());
    }
    return close_stdout((int)err);
}

long long mdq_arg_int(struct argp_state *state, const char *option, const char *arg, long long min, long long max)
{
    char *end;
    errno = 0;
    long long v = strtoll(arg, &end, 10);
    if (end == arg || *end || errno || v < min || v > max)
        argp_error(state, "%s: '%s' is not a whole number from %lld to %lld", option, arg, min, max);
    return v;
}

double mdq_arg_double(struct argp_state *state, const char *option, const char *arg, double min, double max)
{
    char *end;
    errno = 0;
    double v = strtod(arg, &end);
    if (end == arg || *end || errno || !isfinite(v) || v < min || v > max)
        argp_error(state, "%s: '%s' is not a number from %g to %g", option, arg, min, max);
    return v;
}

int mdq_arg_choice(struct argp_state *state, const char *option, const char *arg, const char *const *names)
{
    char list[256] = "";
    for (int i = 0; names[i]; i++) {
        if (strcmp(arg, names[i]) == 0)
            return i;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    argp_error(state, "%s: '%s' is none of %s", option, arg, list);
    return -1;
}

enum mdq_err mdq_strings_add(struct mdq_strings *s, const char *arg)
{
    char **v = mdq_realloc(s->v, (size_t)s->n + 1, sizeof *v, "arguments");
    if (!v)
        return MDQ_E_INTERNAL;
    s->v = v;
    if (!(v[s->n] = mdq_strdup(arg)))
        return MDQ_E_INTERNAL;
    s->n++;
    return MDQ_OK;
}

void mdq_strings_free(struct mdq_strings *s)
{
    for (int i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct mdq_strings){0};
}
