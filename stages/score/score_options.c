#include "score_options.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_jansson.h"

enum { KEY_MODEL = 0x2001, KEY_STATS, KEY_SENSITIVE, KEY_MATCHED, KEY_HELDOUT, KEY_VALID, KEY_VALID_SKIP, KEY_VALID_TOKENS, KEY_TASKS,
       KEY_TASK_LIMIT, KEY_RECORDS, KEY_WHOLE, KEY_CTX, KEY_MEMO, KEY_PROBES, KEY_REPORT, KEY_LAMBDA, KEY_BUDGET, KEY_FUNCTIONAL_PPL,
       KEY_FUNCTIONAL_ACCURACY, KEY_FUNCTIONAL_CAP, KEY_SENSITIVE_CAP, KEY_BITS, KEY_ADVANTAGE, KEY_MD_FUNCTIONAL, KEY_MD_SENSITIVE,
       KEY_WEIGHTS, KEY_OUTLIER, KEY_FISHER, KEY_PRIVACY, KEY_SUPER, KEY_DRIFT, KEY_DRIFT_CAP, KEY_WRITE, KEY_CONTROLS, KEY_RESAMPLES,
       KEY_MEMORY };

const struct argp_option score_option_table[] = {
    {"model", KEY_MODEL, "DIR", 0, "the model folder", 1},
    {"stats", KEY_STATS, "FILE", 0, "what mdq-calib wrote: Hessians and gradients, in one stream or in two (give it twice)", 1},
    {"sensitive", KEY_SENSITIVE, "FILE", 0, "members: records that should not leak, as given to mdq-calib --gradients", 1},
    {"matched", KEY_MATCHED, "FILE", 0, "unseen records of the same kind, as given to mdq-calib; tests use its second half", 1},
    {"heldout", KEY_HELDOUT, "FILE", 0, "members that gradients did not see: measured beside", 1},
    {"valid", KEY_VALID, "FILE", 0, "general text for perplexity, other than that of the calibration", 1},
    {"valid-skip", KEY_VALID_SKIP, "N", 0, "pass over the first N tokens of it", 1},
    {"valid-tokens", KEY_VALID_TOKENS, "N", 0, "take N tokens of it (default 32768)", 1},
    {"tasks", KEY_TASKS, "FILE", 0, "key tasks: multiple choice or minimal pairs (may be repeated)", 1},
    {"task-limit", KEY_TASK_LIMIT, "N", 0, "the first N items of each task file (default 500, 0: all)", 1},
    {"records", KEY_RECORDS, "N", 0, "probe with the first N records of each kind (default 0: all)", 1},
    {"whole", KEY_WHOLE, 0, 0, "look at whole records even where a span is marked (as mdq-calib did)", 1},
    {"ctx", KEY_CTX, "N", 0, "tokens per window (default: the smaller of 2048 and the model's context)", 1},
    {"memo", KEY_MEMO, "FILE", 0, "keep content hashes of the model's files in FILE", 1},
    {"probes", KEY_PROBES, "DIR", 0, "keep what probes measured in DIR, and take it from there", 2},
    {"report", KEY_REPORT, "FILE", 0, "write what was found, with its evidence, as text", 2},
    {"memory", KEY_MEMORY, "MIB", 0, "for activations that probes start from, and for the blocks (default 1024)", 2},
    {"lambda", KEY_LAMBDA, "L", 0, "privacy preference, above 0 and below 1 (default 0.5)", 3},
    {"budget", KEY_BUDGET, "PERCENT", 0, "rise of perplexity that forgetting may cost at lambda 0.5; x lambda / (1 - lambda) "
                                         "(default 1)", 3},
    {"drift-share", KEY_DRIFT, "PERCENT", 0, "how much of the budget is left to the drift of all other points (default 50, "
                                             "0: they stay)", 3},
    {"drift-cap", KEY_DRIFT_CAP, "MD", 0, "distortion beyond which no point drifts (default 1)", 3},
    {"functional-ppl", KEY_FUNCTIONAL_PPL, "X", 0, "a functional block raises perplexity by X or more (default 0.3)", 3},
    {"functional-accuracy", KEY_FUNCTIONAL_ACCURACY, "POINTS", 0, "and lowers the accuracy of the tasks by so many points (default 4)", 3},
    {"functional-cap", KEY_FUNCTIONAL_CAP, "PERCENT", 0, "most points in the functional set (default 5)", 3},
    {"sensitive-cap", KEY_SENSITIVE_CAP, "PERCENT", 0, "most points in the sensitive set (default 1)", 3},
    {"sensitive-bits", KEY_BITS, "BITS", 0, "H_sens from which a set counts as sensitive (default 8)", 3},
    {"sensitive-advantage", KEY_ADVANTAGE, "X", 0, "and the fall of the loss attack's advantage (default 0.2)", 3},
    {"md-functional", KEY_MD_FUNCTIONAL, "MD", 0, "distortion that functional points stay below (default 0.4)", 3},
    {"md-sensitive", KEY_MD_SENSITIVE, "MD", 0, "distortion that sensitive points reach (default 0.6)", 3},
    {"weights", KEY_WEIGHTS, "F,S", 0, "weight of perplexity in S_func and of H_sens in S_priv (default 0.5,0.5)", 3},
    {"outlier", KEY_OUTLIER, "N", 0, "an entry beyond N robust deviations of its row makes a candidate (default 6)", 4},
    {"fisher-share", KEY_FISHER, "PERCENT", 0, "so do the points of the largest functional Fisher entries (default 0.05)", 4},
    {"privacy-share", KEY_PRIVACY, "PERCENT", 0, "and the top of the privacy rank (default 1)", 4},
    {"super", KEY_SUPER, "N", 0, "and entries of down_proj whose input and output channel reach N times the median (default 100)", 4},
    {"controls", KEY_CONTROLS, "N", 0, "repeat each control N times (default 1, 0: none)", 4},
    {"write", KEY_WRITE, "WHAT", 0, "for experiments: found (default), random-points, random-direction or random-signs in its place", 4},
    {"resamples", KEY_RESAMPLES, "N", 0, "of the bootstrap (default 1000)", 4},
    {0},
};

void score_options_default(struct opts *o)
{
    *o = (struct opts){
        .files = {.valid_tokens = 32768, .task_limit = 500},
        .t = {.functional_ppl = 0.3, .functional_accuracy = 0.04, .functional_cap = 0.05, .sensitive_cap = 0.01, .sensitive_bits = 8,
              .sensitive_advantage = 0.2, .budget = 0.01, .drift_share = 0.5, .drift_cap = 1, .lambda = 0.5, .md_functional = 0.4,
              .md_sensitive = 0.6, .weight_functional = 0.5, .weight_sensitive = 0.5, .controls = 1, .resamples = 1000},
        .deviations = 6, .fisher_share = 0.0005, .privacy_share = 0.01, .spike = 100,
    };
}

void score_options_free(struct opts *o)
{
    mdq_strings_free(&o->inputs);
    mdq_strings_free(&o->stats);
    mdq_strings_free(&o->tasks);
}

static void parse_weights(struct opts *o, struct argp_state *state, const char *arg)
{
    char *first = mdq_strdup(arg), *comma = first ? strchr(first, ',') : NULL;
    if (!comma)
        argp_error(state, "--weights: '%s': want two numbers, F,S", arg);
    else {
        *comma = 0;
        o->t.weight_functional = mdq_arg_double(state, "--weights", first, 0, 1);
        o->t.weight_sensitive = mdq_arg_double(state, "--weights", comma + 1, 0, 1);
    }
    free(first);
}

static void check(struct opts *o, struct argp_state *state)
{
    const struct score_files *f = &o->files;
    if (!o->model || o->stats.n == 0 || !f->sensitive || !f->matched || !f->valid)
        argp_error(state, "%s is missing", !o->model ? "--model" : o->stats.n == 0 ? "--stats" : !f->sensitive ? "--sensitive"
                                           : !f->matched ? "--matched" : "--valid");
    if (o->inputs.n == 0)
        argp_error(state, "no STREAM: the tiles of the model, and what mdq-lle and mdq-vae wrote of them");
    if (o->t.md_functional > o->t.md_sensitive)
        argp_error(state, "--md-functional is above --md-sensitive");
    for (int i = 0; i < o->inputs.n && !o->cli.thin; i++)
        if (strcmp(o->inputs.v[i], "-") == 0)
            argp_error(state, "standard input cannot be read twice: give --thin (new keys only), or files");
    o->files.tasks = o->tasks.v;
    o->files.n_tasks = o->tasks.n;
}

error_t score_parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    struct score_files *f = &o->files;
    struct score_thresholds *t = &o->t;
    switch (key) {
    case KEY_MODEL: o->model = arg; break;
    case KEY_STATS: return mdq_strings_add(&o->stats, arg) == MDQ_OK ? 0 : ENOMEM;
    case KEY_TASKS: return mdq_strings_add(&o->tasks, arg) == MDQ_OK ? 0 : ENOMEM;
    case KEY_SENSITIVE: f->sensitive = arg; break;
    case KEY_MATCHED: f->matched = arg; break;
    case KEY_HELDOUT: f->heldout = arg; break;
    case KEY_VALID: f->valid = arg; break;
    case KEY_VALID_SKIP: f->valid_skip = mdq_arg_int(state, "--valid-skip", arg, 0, 1LL << 40); break;
    case KEY_VALID_TOKENS: f->valid_tokens = mdq_arg_int(state, "--valid-tokens", arg, 2, 1LL << 40); break;
    case KEY_TASK_LIMIT: f->task_limit = mdq_arg_int(state, "--task-limit", arg, 0, 1LL << 40); break;
    case KEY_RECORDS: f->records = mdq_arg_int(state, "--records", arg, 0, 1LL << 40); break;
    case KEY_WHOLE: f->whole = true; break;
    case KEY_CTX: f->ctx = (int)mdq_arg_int(state, "--ctx", arg, 2, 1 << 20); break;
    case KEY_MEMO: o->memo = arg; break;
    case KEY_PROBES: o->probes = arg; break;
    case KEY_REPORT: o->report = arg; break;
    case KEY_MEMORY: o->memory = (size_t)mdq_arg_int(state, "--memory", arg, 1, 1 << 24) << 20; break;
    case KEY_LAMBDA: t->lambda = mdq_arg_double(state, "--lambda", arg, 1e-6, 1 - 1e-6); break;
    case KEY_BUDGET: t->budget = mdq_arg_double(state, "--budget", arg, 0, 1e6) / 100; break;
    case KEY_DRIFT: t->drift_share = mdq_arg_double(state, "--drift-share", arg, 0, 100) / 100; break;
    case KEY_DRIFT_CAP: t->drift_cap = mdq_arg_double(state, "--drift-cap", arg, 0, 1e6); break;
    case KEY_FUNCTIONAL_PPL: t->functional_ppl = mdq_arg_double(state, "--functional-ppl", arg, 1e-9, 1e9); break;
    case KEY_FUNCTIONAL_ACCURACY: t->functional_accuracy = mdq_arg_double(state, "--functional-accuracy", arg, 1e-9, 100) / 100; break;
    case KEY_FUNCTIONAL_CAP: t->functional_cap = mdq_arg_double(state, "--functional-cap", arg, 0, 100) / 100; break;
    case KEY_SENSITIVE_CAP: t->sensitive_cap = mdq_arg_double(state, "--sensitive-cap", arg, 0, 100) / 100; break;
    case KEY_BITS: t->sensitive_bits = mdq_arg_double(state, "--sensitive-bits", arg, 1e-9, 1e9); break;
    case KEY_ADVANTAGE: t->sensitive_advantage = mdq_arg_double(state, "--sensitive-advantage", arg, 1e-9, 1); break;
    case KEY_MD_FUNCTIONAL: t->md_functional = mdq_arg_double(state, "--md-functional", arg, 0, 1e6); break;
    case KEY_MD_SENSITIVE: t->md_sensitive = mdq_arg_double(state, "--md-sensitive", arg, 1e-6, 1e6); break;
    case KEY_WEIGHTS: parse_weights(o, state, arg); break;
    case KEY_OUTLIER: o->deviations = mdq_arg_double(state, "--outlier", arg, 0, 1e9); break;
    case KEY_FISHER: o->fisher_share = mdq_arg_double(state, "--fisher-share", arg, 0, 100) / 100; break;
    case KEY_PRIVACY: o->privacy_share = mdq_arg_double(state, "--privacy-share", arg, 0, 100) / 100; break;
    case KEY_SUPER: o->spike = mdq_arg_double(state, "--super", arg, 1, 1e30); break;
    case KEY_CONTROLS: t->controls = (int)mdq_arg_int(state, "--controls", arg, 0, 60); break;
    case KEY_WRITE: o->write = (enum score_control)mdq_arg_choice(state, "--write", arg, score_control_names); break;
    case KEY_RESAMPLES: t->resamples = (int)mdq_arg_int(state, "--resamples", arg, 100, 1000000); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    case ARGP_KEY_END:
        check(o, state);
        t->seed = o->cli.seed;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

char *score_provenance(const struct opts *o, const struct score_texts *x)
{
    const struct score_thresholds *t = &o->t;
    json_t *j = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:[f,f],s:f,s:f,s:f,s:f,s:i,s:i,s:s,s:I}",
                          "lambda", t->lambda, "budget", t->budget, "drift_share", t->drift_share, "drift_cap", t->drift_cap,
                          "functional_ppl", t->functional_ppl, "functional_accuracy", t->functional_accuracy,
                          "functional_cap", t->functional_cap, "sensitive_cap", t->sensitive_cap, "sensitive_bits", t->sensitive_bits,
                          "sensitive_advantage", t->sensitive_advantage, "md_functional", t->md_functional, "md_sensitive",
                          t->md_sensitive, "weights", t->weight_functional, t->weight_sensitive, "outlier", o->deviations,
                          "fisher_share", o->fisher_share, "privacy_share", o->privacy_share, "super", o->spike, "controls", t->controls,
                          "resamples", t->resamples, "write", score_control_names[o->write], "seed", (json_int_t)t->seed);
    json_t *texts = json_object();
    for (int s = 0; s < SCORE_SETS && j && texts; s++)
        if (x->hash[s][0])
            json_object_set_new(texts, score_set_names[s], json_string(x->hash[s]));
    if (!j || !texts || json_object_set(j, "texts", texts) != 0) {
        json_decref(j);
        j = NULL;
        mdq_fail_nomem("arguments", 0);
    }
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(texts);
    json_decref(j);
    return text;
}
