/*
 * mdq-eval: measures model folders, one JSON object per line on standard output.
 *
 *   mdq-eval ppl    --model DIR --text FILE                          perplexity
 *   mdq-eval kld    --model DIR --text FILE --reference DIR          divergence from another model's predictions
 *   mdq-eval choice --model DIR --tasks FILE...                      accuracy at multiple choice and minimal pairs
 *   mdq-eval mia    --model DIR --members FILE --nonmembers FILE     how well members of the training data are told apart
 *   mdq-eval canary --model DIR --members FILE                       exposure and extraction of what they hold
 *
 * Reads model folders (original, GPTQ, compressed-tensors), UTF-8 text and JSON lines; writes nothing else but --scores. Memory:
 * the blocks in float32 where they are below 1 GiB, otherwise one of them, and at most 1 GiB of activations.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval.h"
#include "eval_metrics.h"
#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_log.h"
#include "mdq_output.h"
#include "mdq_text.h"

/* The options in order; which of them a metric takes is a set of bits. */
enum { MODEL, REFERENCE, AGAINST, TEXT, CTX, MAX_TOKENS, TASKS, LIMIT, DELIMITER, MEMBERS, NONMEMBERS, MIN_K, SCORES, FILLS, DECODE,
       RESAMPLES, OPTIONS };
enum { FIRST_KEY = 0x2001 };
#define BIT(option) (1u << (option))

static const struct argp_option options[] = {
    {"model", FIRST_KEY + MODEL, "DIR", 0, "the model folder to measure", 1},
    {"reference", FIRST_KEY + REFERENCE, "DIR", 0,
     "kld: the model folder to compare with; mia: a model that was not trained on the members", 1},
    {"against", FIRST_KEY + AGAINST, "DIR", 0,
     "choice, mia, canary: another model folder; further lines say how far --model differs from it, on the same resampled texts", 1},
    {"ctx", FIRST_KEY + CTX, "N", 0,
     "ppl, kld: tokens per window (default: the smaller of 2048 and the model's context); otherwise where longer records are cut "
     "(default: the context)", 1},
    {"text", FIRST_KEY + TEXT, "FILE", 0, "ppl, kld: UTF-8 text; - is standard input", 2},
    {"max-tokens", FIRST_KEY + MAX_TOKENS, "N", 0, "ppl, kld: use the first N tokens only", 2},
    {"tasks", FIRST_KEY + TASKS, "FILE", 0,
     "choice: items, a JSON object per line: query, choices, gold; or sentence_good, sentence_bad. May be given several times", 3},
    {"delimiter", FIRST_KEY + DELIMITER, "TEXT", 0, "choice: between query and choice (default: a space)", 3},
    {"members", FIRST_KEY + MEMBERS, "FILE", 0,
     "mia, canary: records that the model was trained on, as JSON lines with \"text\" and, if known, \"span\" and \"repeats\", or "
     "plain lines", 4},
    {"nonmembers", FIRST_KEY + NONMEMBERS, "FILE", 0, "mia, canary: records of the same kind that it was not trained on", 4},
    {"min-k", FIRST_KEY + MIN_K, "SHARE", 0, "mia: the share of tokens that min-k % looks at (default 0.2)", 4},
    {"fills", FIRST_KEY + FILLS, "N", 0, "canary: random fill-ins per record (default 255: exposure is at most 8 bits)", 4},
    {"decode", FIRST_KEY + DECODE, "N", 0, "canary: tokens of a span that are asked for, at most (default 64)", 4},
    {"scores", FIRST_KEY + SCORES, "FILE", 0, "mia, canary: write what was found of each record, as JSON lines", 4},
    {"limit", FIRST_KEY + LIMIT, "N", 0, "choice, mia, canary: the first N items or records of each file only", 5},
    {"resamples", FIRST_KEY + RESAMPLES, "N", 0, "choice, mia, canary: resamples of the bootstrap (default 2000)", 5},
    {0},
};

static enum mdq_err print_ppl(struct mdq_output *out, const struct eval_ppl *r, int ctx)
{
    struct eval_line l;
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "perplexity");
    eval_line_number(&l, "value", r->perplexity);
    eval_line_number(&l, "stderr", r->se);
    eval_line_int(&l, "tokens", r->tokens);
    eval_line_int(&l, "ctx", ctx);
    eval_line_int(&l, "windows", r->nll.n);
    eval_line_number(&l, "nll", r->nll.mean);
    return eval_line_end(&l, out);
}

static enum mdq_err run_ppl(const struct eval_opts *o, const struct mdq_model *m, const struct mdq_windows *w, struct mdq_output *out)
{
    (void)o;
    struct eval_ppl r;
    MDQ_TRY(eval_ppl(m, w->ids, w->count, (int)w->ctx, &r));
    return print_ppl(out, &r, (int)w->ctx);
}

static enum mdq_err print_kld(struct mdq_output *out, const struct eval_kld *r, int ctx)
{
    struct eval_line l;
    MDQ_TRY(print_ppl(out, &r->ppl, ctx));
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "kl_divergence");
    eval_line_number(&l, "value", r->kl.mean);
    eval_line_number(&l, "stderr", r->kl.se);
    eval_line_number(&l, "median", r->kl_median);
    eval_line_number(&l, "p99", r->kl_p99);
    eval_line_number(&l, "max", r->kl_max);
    eval_line_int(&l, "tokens", r->tokens);
    eval_line_int(&l, "ctx", ctx);
    MDQ_TRY(eval_line_end(&l, out));
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "perplexity_ratio");
    eval_line_number(&l, "value", exp(r->difference.mean));
    eval_line_number(&l, "stderr", exp(r->difference.mean) * r->difference.se);
    eval_line_number(&l, "reference_perplexity", r->reference_perplexity);
    eval_line_int(&l, "tokens", r->tokens);
    eval_line_int(&l, "ctx", ctx);
    MDQ_TRY(eval_line_end(&l, out));
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "top1_agreement");
    eval_line_number(&l, "value", r->top1.mean);
    eval_line_number(&l, "stderr", r->top1.se);
    eval_line_int(&l, "tokens", r->tokens);
    eval_line_int(&l, "ctx", ctx);
    return eval_line_end(&l, out);
}

static enum mdq_err run_kld(const struct eval_opts *o, const struct mdq_model *m, const struct mdq_windows *w, struct mdq_output *out)
{
    struct mdq_model *reference = NULL;
    struct eval_kld r;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&reference, o->reference), out);
    MDQ_GOTO(err, eval_kld(m, reference, w->ids, w->count, (int)w->ctx, &r), out);
    err = print_kld(out, &r, (int)w->ctx);
out:
    mdq_model_close(&reference);
    return err;
}

/* Metrics of running text: windows of it through the model. */
static enum mdq_err on_windows(const struct eval_opts *o, struct mdq_output *out,
                               enum mdq_err (*measure)(const struct eval_opts *, const struct mdq_model *, const struct mdq_windows *,
                                                       struct mdq_output *))
{
    struct mdq_model *m = NULL;
    struct mdq_tokenizer *t = NULL;
    struct mdq_windows w = {0};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&m, o->model), out);
    int ctx = o->ctx ? o->ctx : m->config.max_position < 2048 ? m->config.max_position : 2048;
    if (ctx > m->config.max_position)
        mdq_log(MDQ_LOG_WARNING, "%s: windows of %d tokens are longer than the model's context of %d", o->model, ctx,
                m->config.max_position);
    MDQ_GOTO(err, mdq_tokenizer_open(&t, o->model), out);
    MDQ_GOTO(err, mdq_text_windows(&w, t, o->text, ctx, o->max_tokens, m->config.vocab), out);
    err = measure(o, m, &w, out);
out:
    mdq_windows_free(&w);
    mdq_tokenizer_close(&t);
    mdq_model_close(&m);
    return err;
}

static enum mdq_err ppl(const struct eval_opts *o, struct mdq_output *out)
{
    return on_windows(o, out, run_ppl);
}

static enum mdq_err kld(const struct eval_opts *o, struct mdq_output *out)
{
    return on_windows(o, out, run_kld);
}

enum { OF_TEXT = BIT(MODEL) | BIT(TEXT) | BIT(CTX) | BIT(MAX_TOKENS),
       OF_ALL = BIT(MODEL) | BIT(AGAINST) | BIT(CTX) | BIT(LIMIT) | BIT(RESAMPLES),
       OF_RECORDS = OF_ALL | BIT(MEMBERS) | BIT(NONMEMBERS) | BIT(SCORES) };

static const struct metric {
    const char *name;
    enum mdq_err (*run)(const struct eval_opts *, struct mdq_output *);
    unsigned takes, needs;
} metrics[] = {
    {"ppl", ppl, OF_TEXT, BIT(MODEL) | BIT(TEXT)},
    {"kld", kld, OF_TEXT | BIT(REFERENCE), BIT(MODEL) | BIT(TEXT) | BIT(REFERENCE)},
    {"choice", eval_choice, OF_ALL | BIT(TASKS) | BIT(DELIMITER), BIT(MODEL) | BIT(TASKS)},
    {"mia", eval_mia, OF_RECORDS | BIT(REFERENCE) | BIT(MIN_K), BIT(MODEL) | BIT(MEMBERS) | BIT(NONMEMBERS)},
    {"canary", eval_canary, OF_RECORDS | BIT(FILLS) | BIT(DECODE), BIT(MODEL) | BIT(MEMBERS)},
};
enum { METRICS = sizeof metrics / sizeof *metrics };
static const char metric_names[] = "ppl, kld, choice, mia or canary";

static const struct metric *find_metric(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (name && strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

static const char *option_name(int option)
{
    for (const struct argp_option *p = options; p->name; p++)
        if (p->key == FIRST_KEY + option)
            return p->name;
    return "";
}

/* An option that the metric would not look at is a mistake, not a detail. */
static void check_options(const struct eval_opts *o, struct argp_state *state)
{
    const struct metric *m = find_metric(o->metric);
    if (!m)
        argp_error(state, "which metric: %s?", metric_names);
    for (int i = 0; i < OPTIONS; i++) {
        if (m->needs & ~o->given & BIT(i))
            argp_error(state, "%s needs --%s", m->name, option_name(i));
        if (o->given & ~m->takes & BIT(i))
            argp_error(state, "%s does not take --%s", m->name, option_name(i));
    }
    if (o->scores && strcmp(o->scores, "-") == 0)
        argp_error(state, "--scores wants a file: standard output has the results");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct eval_opts *o = state->input;
    if (key >= FIRST_KEY && key < FIRST_KEY + OPTIONS)
        o->given |= BIT(key - FIRST_KEY);
    switch (key) {
    case FIRST_KEY + MODEL: o->model = arg; return 0;
    case FIRST_KEY + REFERENCE: o->reference = arg; return 0;
    case FIRST_KEY + AGAINST: o->against = arg; return 0;
    case FIRST_KEY + TEXT: o->text = arg; return 0;
    case FIRST_KEY + CTX: o->ctx = (int)mdq_arg_int(state, "--ctx", arg, 2, 1 << 20); return 0;
    case FIRST_KEY + MAX_TOKENS: o->max_tokens = mdq_arg_int(state, "--max-tokens", arg, 2, INT64_MAX); return 0;
    case FIRST_KEY + TASKS: return mdq_strings_add(&o->tasks, arg) == MDQ_OK ? 0 : ENOMEM;
    case FIRST_KEY + LIMIT: o->limit = mdq_arg_int(state, "--limit", arg, 1, INT64_MAX); return 0;
    case FIRST_KEY + DELIMITER: o->delimiter = arg; return 0;
    case FIRST_KEY + MEMBERS: o->members = arg; return 0;
    case FIRST_KEY + NONMEMBERS: o->nonmembers = arg; return 0;
    case FIRST_KEY + MIN_K: o->min_k = mdq_arg_double(state, "--min-k", arg, 1e-6, 1); return 0;
    case FIRST_KEY + SCORES: o->scores = arg; return 0;
    case FIRST_KEY + FILLS: o->fills = (int)mdq_arg_int(state, "--fills", arg, 1, 1 << 16); return 0;
    case FIRST_KEY + DECODE: o->decode = (int)mdq_arg_int(state, "--decode", arg, 1, 1 << 16); return 0;
    case FIRST_KEY + RESAMPLES: o->resamples = (int)mdq_arg_int(state, "--resamples", arg, 100, 1 << 20); return 0;
    case ARGP_KEY_ARG:
        if (o->metric && strcmp(o->metric, "choice") == 0 && (o->given & BIT(TASKS))) /* --tasks a b c */
            return mdq_strings_add(&o->tasks, arg) == MDQ_OK ? 0 : ENOMEM;
        if (o->metric)
            argp_error(state, "one metric at a time: '%s' after '%s'", arg, o->metric);
        o->metric = arg;
        if (!find_metric(arg))
            argp_error(state, "'%s' is no metric: %s", arg, metric_names);
        return 0;
    case ARGP_KEY_END: check_options(o, state); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static enum mdq_err run(void *opts)
{
    const struct eval_opts *o = opts;
    struct mdq_output *out = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_output_open(&out, o->cli.output, false), out);
    MDQ_GOTO(err, find_metric(o->metric)->run(o, out), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-eval",
    .args = "ppl|kld|choice|mia|canary",
    .doc = "Measure model folders: perplexity, KL divergence from a reference model, accuracy at multiple choice and minimal pairs, "
           "membership inference, exposure and extraction of records."
           "\vResults are JSON objects, one per line. What each of them means: docs/evaluation.md.\n\n"
           "ppl, kld: the text is tokenised once without special tokens and cut into windows of --ctx tokens (a last short one is "
           "dropped); the tokens 2..ctx of each are scored. choice, mia, canary: every item or record by itself, BOS in front.\n\n"
           "e.g.: mdq-eval ppl --model my-model --text wiki.txt --ctx 2048",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct eval_opts o = {.min_k = 0.2, .fills = 255, .decode = 64, .resamples = 2000};
    int status = mdq_main(&program, argc, argv, &o.cli, &o, run);
    mdq_strings_free(&o.tasks);
    return status;
}
