/*
 * make-stories: stories from a grammar, by the seed. Story i depends on the seed and i alone, so that a longer text
 * begins with the shorter one. What a story says early (who owns what, where it was put, how many there were, what
 * an animal can do) decides later words, over up to a few hundred tokens.
 */
#include <argp.h>

#include "mdq_cli.h"
#include "mdq_output.h"
#include "stories-plots.h"

static void (*const plots[])(struct story *) = {lost, trade, count, broken, journey, contest, promise, box, gifts,
                                                culprit};

static void make_story(struct story *s, uint64_t seed, uint64_t index)
{
    memset(s, 0, sizeof *s);
    s->rng = mix(mix(seed + 0x9e3779b97f4a7c15u) + index);
    s->present = chance(s, 25);
    s->season = &seasons[pick(s, COUNT(seasons))];
    bind_phrases(s);
    plots[pick(s, COUNT(plots))](s);
    finish(s);
}

struct opts {
    struct mdq_cli cli;
    long long stories, bytes, skip;
};

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    enum { PIECE = 1 << 20 };
    struct story *s = mdq_alloc(1, sizeof *s, "story");
    char *piece = mdq_alloc(1, PIECE + STORY_BYTES + 2, "text");
    struct mdq_output *out = NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    size_t n = 0;
    if (!s || !piece)
        goto out;
    MDQ_GOTO(err, mdq_output_open(&out, o->cli.output, false), out);
    long long written = 0;
    for (long long i = 0; o->bytes ? written < o->bytes : i < o->stories; i++) {
        make_story(s, o->cli.seed, (uint64_t)(o->skip + i));
        if (i > 0)
            piece[n++] = '\n';
        memcpy(piece + n, s->text, s->n);
        n += s->n;
        piece[n++] = '\n';
        written += (long long)s->n + 1 + (i > 0);
        if (n >= PIECE) {
            MDQ_GOTO(err, mdq_output_write(out, piece, n), out);
            n = 0;
        }
    }
    MDQ_GOTO(err, mdq_output_write(out, piece, n), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    free(piece);
    free(s);
    return err;
}

enum { KEY_SKIP = 0x2001 };
static const struct argp_option options[] = {
    {"stories", 'n', "N", 0, "so many stories (default 10)", 0},
    {"bytes", 'b', "N", 0, "stories until there are at least so many bytes, instead", 0},
    {"skip", KEY_SKIP, "N", 0, "leave out the first N stories", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case 'n': o->stories = mdq_arg_int(state, "--stories", arg, 1, INT64_MAX / 2); break;
    case 'b': o->bytes = mdq_arg_int(state, "--bytes", arg, 1, INT64_MAX / 2); break;
    case KEY_SKIP: o->skip = mdq_arg_int(state, "--skip", arg, 0, INT64_MAX / 2); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct mdq_program program = {
    .name = "make-stories",
    .doc = "Write stories made by a grammar, separated by blank lines.\v"
           "The same seed gives the same stories. For example:\n\n  make-stories --seed 1 --bytes 1000000 -o train.txt",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.stories = 10};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
