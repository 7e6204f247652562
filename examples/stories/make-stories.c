/*
 * make-stories: stories from a grammar, by the seed. Story i depends on the seed and i alone, so that a longer text
 * begins with the shorter one. What a story says early (who owns what, where it was put, how many there were, what
 * an animal can do) decides later words, over up to a few hundred tokens.
 */
#include <argp.h>

#include "mdq_cli.h"
#include "mdq_output.h"
#include "stories-pairs.h"

static void (*const plots[])(struct story *) = {lost, trade, count, broken, journey, contest, promise, box, gifts,
                                                culprit};

static void begin(struct story *s, uint64_t seed, uint64_t index)
{
    memset(s, 0, sizeof *s);
    s->rng = mix(mix(seed + 0x9e3779b97f4a7c15u) + index);
    s->present = chance(s, 25);
    s->season = &seasons[pick(s, COUNT(seasons))];
    bind_phrases(s);
}

static void make_story(struct story *s, uint64_t seed, uint64_t index)
{
    begin(s, seed, index);
    plots[pick(s, COUNT(plots))](s);
    finish(s);
}

struct opts {
    struct mdq_cli cli;
    long long stories, bytes, skip, pairs;
};

static void put_escaped(char **to, const char *text)
{
    for (; *text; text++) {
        if (*text == '"')
            *(*to)++ = '\\';
        *(*to)++ = *text;
    }
}

/* Pair i of a seed, of kind i modulo the kinds, as a line of JSON. */
static size_t make_pair(struct story *good, struct story *bad, uint64_t seed, uint64_t index, char *line)
{
    int kind = (int)(index % (uint64_t)COUNT(pair_kinds));
    begin(good, seed, index);
    pair_kinds[kind].tell(good, bad);
    finish(good), finish(bad);
    good->text[good->n] = bad->text[bad->n] = 0;
    char *p = line;
    p += sprintf(p, "{\"sentence_good\": \"");
    put_escaped(&p, good->text);
    p += sprintf(p, "\", \"sentence_bad\": \"");
    put_escaped(&p, bad->text);
    p += sprintf(p, "\", \"kind\": \"%s\"}\n", pair_kinds[kind].name);
    return (size_t)(p - line);
}

static enum mdq_err write_pairs(const struct opts *o)
{
    struct story *pair = mdq_alloc(2, sizeof *pair, "pair");
    char *line = mdq_alloc(4, STORY_BYTES, "pair");
    struct mdq_output *out = NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!pair || !line)
        goto out;
    MDQ_GOTO(err, mdq_output_open(&out, o->cli.output, false), out);
    for (long long i = 0; i < o->pairs; i++) {
        size_t n = make_pair(pair, pair + 1, o->cli.seed, (uint64_t)(o->skip + i), line);
        MDQ_GOTO(err, mdq_output_write(out, line, n), out);
    }
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    free(line);
    free(pair);
    return err;
}

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    if (o->pairs)
        return write_pairs(o);
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

enum { KEY_SKIP = 0x2001, KEY_PAIRS };
static const struct argp_option options[] = {
    {"stories", 'n', "N", 0, "so many stories (default 10)", 0},
    {"bytes", 'b', "N", 0, "stories until there are at least so many bytes, instead", 0},
    {"skip", KEY_SKIP, "N", 0, "leave out the first N stories, or pairs", 0},
    {"pairs", KEY_PAIRS, "N", 0, "so many minimal pairs, a JSON object a line, instead", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case 'n': o->stories = mdq_arg_int(state, "--stories", arg, 1, INT64_MAX / 2); break;
    case 'b': o->bytes = mdq_arg_int(state, "--bytes", arg, 1, INT64_MAX / 2); break;
    case KEY_SKIP: o->skip = mdq_arg_int(state, "--skip", arg, 0, INT64_MAX / 2); break;
    case KEY_PAIRS: o->pairs = mdq_arg_int(state, "--pairs", arg, 1, INT64_MAX / 2); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct mdq_program program = {
    .name = "make-stories",
    .doc = "Write stories made by a grammar, separated by blank lines.\v"
           "The same seed gives the same stories. For example:\n\n  make-stories --seed 1 --bytes 1000000 -o train.txt\n\n"
           "A pair is a few sentences twice, the same but for what the last one says: what follows from the others or from "
           "how the world of the stories is, and what does not.",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.stories = 10};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
