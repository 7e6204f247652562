/*
 * mdq-label: marks points (rows of tiles) as functional or sensitive by the tensor's name and by chance: a tool for
 * experiments, which stands where mdq-score measures. Adds label and md_target to every tile.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "label_choose.h"
#include "mdq.h"
#include "mdq_cli.h"
#include "mdq_jansson.h"
#include "mdq_log.h"
#include "mdq_tiling.h"

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs;
    const char *regex[LABELS];    /* of functional and sensitive; NULL: none */
    pcre2_code *pattern[LABELS];
    double share[LABELS], md[LABELS], lambda;
};

enum { KEY_FUNCTIONAL = 1, KEY_SENSITIVE, KEY_SHARE, KEY_MD_FUNCTIONAL, KEY_MD_SENSITIVE, KEY_LAMBDA };

static const struct argp_option options[] = {
    {"functional", KEY_FUNCTIONAL, "REGEX", 0, "mark functional points in tensors whose name matches (PCRE2, anywhere in the name)", 1},
    {"sensitive", KEY_SENSITIVE, "REGEX", 0, "mark sensitive points likewise", 1},
    {"share", KEY_SHARE, "F[,S]", 0, "percent of a layer's points that become functional and sensitive (default 5,1)", 1},
    {"md-functional", KEY_MD_FUNCTIONAL, "MD", 0, "distortion that functional points stay below (default 0.4)", 2},
    {"md-sensitive", KEY_MD_SENSITIVE, "MD", 0, "distortion that sensitive points reach (default 0.6)", 2},
    {"lambda", KEY_LAMBDA, "L", 0, "where between the two a point in both sets aims, 0 to 1 (default 0.5)", 2},
    {0},
};

static pcre2_code *compile(struct argp_state *state, const char *option, const char *regex)
{
    int why;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &why, &at, NULL);
    if (!code) {
        char text[200];
        pcre2_get_error_message(why, (PCRE2_UCHAR *)text, sizeof text);
        argp_error(state, "%s: '%s', at byte %zu: %s", option, regex, (size_t)at, text);
    }
    return code;
}

/* "5" or "5,1", percent. */
static void parse_share(struct opts *o, struct argp_state *state, const char *arg)
{
    char *first = mdq_strdup(arg), *comma = first ? strchr(first, ',') : NULL;
    if (comma)
        *comma = 0;
    o->share[LABEL_FUNCTIONAL] = mdq_arg_double(state, "--share", first ? first : "", 0, 100) / 100;
    if (comma)
        o->share[LABEL_SENSITIVE] = mdq_arg_double(state, "--share", comma + 1, 0, 100) / 100;
    free(first);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_FUNCTIONAL: o->regex[LABEL_FUNCTIONAL] = arg; break;
    case KEY_SENSITIVE: o->regex[LABEL_SENSITIVE] = arg; break;
    case KEY_SHARE: parse_share(o, state, arg); break;
    case KEY_MD_FUNCTIONAL: o->md[LABEL_FUNCTIONAL] = mdq_arg_double(state, "--md-functional", arg, 0, 1e6); break;
    case KEY_MD_SENSITIVE: o->md[LABEL_SENSITIVE] = mdq_arg_double(state, "--md-sensitive", arg, 0, 1e6); break;
    case KEY_LAMBDA: o->lambda = mdq_arg_double(state, "--lambda", arg, 0, 1); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    case ARGP_KEY_END:
        if (!o->regex[LABEL_FUNCTIONAL] && !o->regex[LABEL_SENSITIVE])
            argp_error(state, "--functional or --sensitive is needed");
        if (o->md[LABEL_FUNCTIONAL] > o->md[LABEL_SENSITIVE])
            argp_error(state, "--md-functional is above --md-sensitive");
        if (o->regex[LABEL_FUNCTIONAL])
            o->pattern[LABEL_FUNCTIONAL] = compile(state, "--functional", o->regex[LABEL_FUNCTIONAL]);
        if (o->regex[LABEL_SENSITIVE])
            o->pattern[LABEL_SENSITIVE] = compile(state, "--sensitive", o->regex[LABEL_SENSITIVE]);
        /* Design 1.3 with both scores equal: logistic(logit(lambda)) is lambda itself. */
        o->md[LABEL_OVERLAP] = o->md[LABEL_FUNCTIONAL] + o->lambda * (o->md[LABEL_SENSITIVE] - o->md[LABEL_FUNCTIONAL]);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

struct state {
    const struct opts *o;
    struct mdq_reader *in;
    struct mdq_writer *out;
    struct mdq_header *head;
    int layer;         /* whose labels are held; -1: none */
    uint8_t *label;    /* [tile_cols][rows] */
    float *target;     /* of a tile */
    long long points[LABELS];
    int matched[LABELS];
};

static enum mdq_err matches(const pcre2_code *pattern, const char *tensor, bool *yes)
{
    *yes = false;
    if (!pattern)
        return MDQ_OK;
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(pattern, NULL);
    if (!m)
        return mdq_fail_nomem("match", 0);
    int n = pcre2_match(pattern, (PCRE2_SPTR)tensor, strlen(tensor), 0, 0, m, NULL);
    pcre2_match_data_free(m);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return mdq_fail(MDQ_E_DATA, "%s: the regular expression cannot be matched (PCRE2 error %d)", tensor, n);
    *yes = n >= 0;
    return MDQ_OK;
}

static enum mdq_err label_layer(struct state *s, int i)
{
    const struct mdq_layer_entry *e = mdq_header_layer(mdq_reader_header(s->in), i);
    free(s->label);
    free(s->target);
    s->layer = -1;
    s->label = NULL;
    s->target = mdq_alloc((size_t)e->rows, sizeof *s->target, "targets");
    if (!s->target)
        return MDQ_E_INTERNAL;
    if (e->tile_cols > 0 && e->rows > INT64_MAX / e->tile_cols)
        return mdq_fail(MDQ_E_DATA, "%s: too many rows of tiles", e->tensor);
    if (!(s->label = mdq_calloc((size_t)(e->rows * e->tile_cols), 1, "labels")))
        return MDQ_E_INTERNAL;
    for (enum label k = LABEL_FUNCTIONAL; k <= LABEL_SENSITIVE; k++) {
        bool yes;
        MDQ_TRY(matches(s->o->pattern[k], e->tensor, &yes));
        if (!yes)
            continue;
        s->matched[k]++;
        label_choose(s->o->cli.seed, e, s->o->share[k], k, s->label);
    }
    s->layer = i;
    return MDQ_OK;
}

static enum mdq_err label_tile(struct state *s, struct mdq_record *rec)
{
    struct mdq_id id = mdq_record_id(rec);
    const struct mdq_header *h = mdq_reader_header(s->in);
    int at = mdq_header_find_layer(h, id.tensor);
    if (at < 0)
        return mdq_fail(MDQ_E_DATA, "tile of %s: not in the header's table of layers", id.tensor);
    const struct mdq_layer_entry *e = mdq_header_layer(h, at);
    if (id.row >= e->tile_rows || id.col >= e->tile_cols)
        return mdq_fail(MDQ_E_DATA, "%s: tile [%lld,%lld]: outside of the layer's %lld x %lld tiles", id.tensor,
                        (long long)id.row, (long long)id.col, (long long)e->tile_rows, (long long)e->tile_cols);
    for (int k = 0; k < 2; k++)
        if (mdq_record_has(rec, k ? "md_target" : "label"))
            return mdq_fail(MDQ_E_DATA, "%s: tile [%lld,%lld]: is labelled already (key %s)", id.tensor, (long long)id.row,
                            (long long)id.col, k ? "md_target" : "label");
    if (at != s->layer)
        MDQ_TRY(label_layer(s, at));
    int64_t rows = mdq_tiling_length(e->rows, e->tile_rows, id.row);
    const uint8_t *label = s->label + id.col * e->rows + mdq_tiling_first(e->rows, e->tile_rows, id.row);
    for (int64_t i = 0; i < rows; i++) {
        s->target[i] = (float)s->o->md[label[i]];
        s->points[label[i]]++;
    }
    struct mdq_array a = {.dtype = MDQ_U8, .ndim = 1, .shape = {rows}, .data = label, .bytes = (size_t)rows};
    MDQ_TRY(mdq_record_set_array(rec, "label", &a));
    a = (struct mdq_array){.dtype = MDQ_F32, .ndim = 1, .shape = {rows}, .data = s->target,
                           .bytes = (size_t)rows * sizeof(float)};
    return mdq_record_set_array(rec, "md_target", &a);
}

static enum mdq_err copy(struct state *s)
{
    for (;;) {
        struct mdq_record *rec;
        MDQ_TRY(mdq_reader_next(s->in, &rec));
        if (!rec)
            return MDQ_OK;
        if (strcmp(mdq_record_id(rec).kind, "tile") == 0)
            MDQ_TRY(label_tile(s, rec));
        MDQ_TRY(mdq_writer_put(s->out, rec));
    }
}

/* The arguments that change what is written. */
static enum mdq_err derive_header(struct state *s)
{
    const struct opts *o = s->o;
    json_t *args = json_pack("{s:f, s:f, s:f, s:I, s:[f, f]}", "lambda", o->lambda, "md_functional", o->md[LABEL_FUNCTIONAL],
                             "md_sensitive", o->md[LABEL_SENSITIVE], "seed", (json_int_t)o->cli.seed, "share",
                             o->share[LABEL_FUNCTIONAL], o->share[LABEL_SENSITIVE]);
    if (o->regex[LABEL_FUNCTIONAL])
        json_object_set_new(args, "functional", json_string(o->regex[LABEL_FUNCTIONAL]));
    if (o->regex[LABEL_SENSITIVE])
        json_object_set_new(args, "sensitive", json_string(o->regex[LABEL_SENSITIVE]));
    char *text = args ? json_dumps(args, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    enum mdq_err err = text ? mdq_jansson_check() : mdq_fail_nomem("arguments", 0);
    if (!err)
        err = mdq_header_derive(&s->head, mdq_reader_header(s->in), o->cli.no_pg ? NULL : "mdq-label", text);
    free(text);
    json_decref(args);
    return err;
}

static void summarize(const struct state *s)
{
    static const char *const names[] = {[LABEL_FUNCTIONAL] = "functional", [LABEL_SENSITIVE] = "sensitive"};
    long long all = 0;
    for (int k = 0; k < LABELS; k++)
        all += s->points[k];
    for (enum label k = LABEL_FUNCTIONAL; k <= LABEL_SENSITIVE; k++)
        if (s->o->regex[k] && s->matched[k] == 0)
            mdq_log(MDQ_LOG_WARNING, "--%s %s: matches no tensor of the stream", names[k], s->o->regex[k]);
    mdq_log(MDQ_LOG_NOTE, "%lld points: %lld functional, %lld sensitive, %lld both, %lld free", all,
            s->points[LABEL_FUNCTIONAL], s->points[LABEL_SENSITIVE], s->points[LABEL_OVERLAP], s->points[LABEL_FREE]);
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct state s = {.o = o, .layer = -1};
    const struct mdq_reader_options ropts = {.threads = o->cli.jobs};
    const struct mdq_writer_options wopts = {.level = o->cli.level, .threads = o->cli.jobs, .thin = o->cli.thin};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_reader_open(&s.in, o->inputs.v, o->inputs.n, &ropts), out);
    if (!mdq_header_has_kind(mdq_reader_header(s.in), "tile")) {
        err = mdq_fail(MDQ_E_DATA, "%s: no tiles in the stream", o->inputs.n > 0 ? o->inputs.v[0] : "standard input");
        goto out;
    }
    MDQ_GOTO(err, derive_header(&s), out);
    MDQ_GOTO(err, mdq_writer_open(&s.out, o->cli.output, s.head, &wopts), out);
    MDQ_GOTO(err, copy(&s), out);
    MDQ_GOTO(err, mdq_writer_finish(&s.out), out);
    summarize(&s);
out:
    mdq_writer_abort(&s.out);
    mdq_header_free(&s.head);
    mdq_reader_close(&s.in);
    mdq_strings_free(&o->inputs);
    for (int k = 0; k < LABELS; k++)
        pcre2_code_free(o->pattern[k]);
    free(s.label);
    free(s.target);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-label",
    .args = "[STREAM...]",
    .doc = "Mark points as functional or sensitive, at random in tensors chosen by name.\v"
           "Adds label and md_target to every tile (rows of tiles are the points); for experiments. e.g.:\n"
           "  mdq-label --functional 'mlp' --sensitive 'down_proj' --share 5,1 tiles.mdq -o labelled.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.share = {[LABEL_FUNCTIONAL] = 0.05, [LABEL_SENSITIVE] = 0.01},
                     .md = {[LABEL_FUNCTIONAL] = 0.4, [LABEL_SENSITIVE] = 0.6},
                     .lambda = 0.5};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
