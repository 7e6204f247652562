/*
 * mdq-hash: what files, folders and models hold, as 32 hex digits. The pipelines key their caches with it while make
 * parses, so it starts fast, and with --memo it reads only what is new or changed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mdq_cli.h"
#include "mdq_content.h" /* hashes and their memo */
#include "mdq_output.h"

struct opts {
    struct mdq_cli cli;
    const char *memo;
    struct mdq_strings models, paths;
};

enum { KEY_MEMO = 1, KEY_MODEL };

static const struct argp_option options[] = {
    {"memo", KEY_MEMO, "FILE", 0, "keep hashes in FILE by path, size and modification time", 1},
    {"model", KEY_MODEL, "DIR", 0, "the identity of the model in DIR: config.json and the weights (repeatable)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_MEMO: o->memo = arg; break;
    case KEY_MODEL: return mdq_strings_add(&o->models, arg) == MDQ_OK ? 0 : ENOMEM;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->paths, arg) == MDQ_OK ? 0 : ENOMEM;
    case ARGP_KEY_END:
        if (o->models.n + o->paths.n == 0)
            argp_error(state, "nothing to hash: give files, folders or --model DIR");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static enum mdq_err put(struct mdq_output *out, const char *hex, const char *path)
{
    char *line = mdq_asprintf("%s  %s\n", hex, path);
    if (!line)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_output_write(out, line, strlen(line));
    free(line);
    return err;
}

static enum mdq_err hash_all(struct opts *o, struct mdq_memo *memo, struct mdq_output *out)
{
    char hex[MDQ_HASH_SIZE];
    for (int i = 0; i < o->models.n; i++) {
        MDQ_TRY(mdq_hash_model(memo, o->models.v[i], hex));
        MDQ_TRY(put(out, hex, o->models.v[i]));
    }
    for (int i = 0; i < o->paths.n; i++) {
        const char *path = o->paths.v[i];
        struct stat st;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            MDQ_TRY(mdq_hash_folder(memo, path, hex));
        else
            MDQ_TRY(mdq_hash_file(memo, path, hex));
        MDQ_TRY(put(out, hex, path));
    }
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_memo *memo = NULL;
    struct mdq_output *out = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_memo_open(&memo, o->memo), out);
    MDQ_GOTO(err, mdq_output_open(&out, o->cli.output, false), out);
    MDQ_GOTO(err, hash_all(o, memo, out), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    mdq_memo_close(&memo);
    mdq_strings_free(&o->models);
    mdq_strings_free(&o->paths);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-hash",
    .args = "[PATH...]",
    .doc = "Print a hash of what each file, folder or model holds.\v"
           "Prints one line `HASH  PATH' each, the models first. e.g.:\n"
           "  mdq-hash --memo work/memo --model llama/ calib.txt",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {0};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
