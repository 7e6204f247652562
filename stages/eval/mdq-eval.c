/*
 * mdq-eval: measures model folders on texts, one JSON object per line on standard output.
 *
 *   mdq-eval ppl --model DIR --text FILE --ctx N
 *   mdq-eval kld --model DIR --reference DIR --text FILE --ctx N
 *
 * Reads model folders (original, GPTQ, compressed-tensors) and UTF-8 text; writes nothing else. Memory: the blocks in
 * float32 where they are below 1 GiB, otherwise one of them, and at most 1 GiB of activations.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval.h"
#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_log.h"
#include "mdq_output.h"
#include "mdq_text.h"

enum { KEY_MODEL = 0x2001, KEY_REFERENCE, KEY_TEXT, KEY_CTX, KEY_MAX_TOKENS };

struct opts {
    struct mdq_cli cli;
    const char *metric, *model, *reference, *text;
    int ctx;
    int64_t max_tokens;
};

static const struct argp_option options[] = {
    {"model", KEY_MODEL, "DIR", 0, "the model folder to measure", 1},
    {"reference", KEY_REFERENCE, "DIR", 0, "the model folder to compare with (kld)", 1},
    {"text", KEY_TEXT, "FILE", 0, "UTF-8 text; - is standard input", 1},
    {"ctx", KEY_CTX, "N", 0, "tokens per window (default: the smaller of 2048 and the model's context)", 1},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "use the first N tokens only", 1},
    {0},
};

static enum mdq_err print_line(struct mdq_output *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum mdq_err print_line(struct mdq_output *out, const char *format, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    return mdq_output_write(out, line, (size_t)n);
}

/* JSON has no NaN: a standard error that cannot be had (one window) is null. */
static const char *number(char buf[32], double v)
{
    if (isfinite(v))
        snprintf(buf, 32, "%.9g", v);
    else
        strcpy(buf, "null");
    return buf;
}

static enum mdq_err print_ppl(struct mdq_output *out, const struct eval_ppl *r, int ctx)
{
    char se[32];
    return print_line(out,
                      "{\"metric\":\"perplexity\",\"value\":%.9g,\"stderr\":%s,\"tokens\":%" PRId64
                      ",\"ctx\":%d,\"windows\":%" PRId64 ",\"nll\":%.9g}\n",
                      r->perplexity, number(se, r->se), r->tokens, ctx, r->nll.n, r->nll.mean);
}

static enum mdq_err run_ppl(const struct opts *o, const struct mdq_model *m, const struct mdq_windows *w,
                            struct mdq_output *out)
{
    (void)o;
    struct eval_ppl r;
    MDQ_TRY(eval_ppl(m, w->ids, w->count, (int)w->ctx, &r));
    return print_ppl(out, &r, (int)w->ctx);
}

static enum mdq_err run_kld(const struct opts *o, const struct mdq_model *m, const struct mdq_windows *w,
                            struct mdq_output *out)
{
    struct mdq_model *reference = NULL;
    struct eval_kld r;
    char se[2][32];
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&reference, o->reference), out);
    MDQ_GOTO(err, eval_kld(m, reference, w->ids, w->count, (int)w->ctx, &r), out);
    MDQ_GOTO(err, print_ppl(out, &r.ppl, (int)w->ctx), out);
    MDQ_GOTO(err,
             print_line(out,
                          "{\"metric\":\"kl_divergence\",\"value\":%.9g,\"stderr\":%s,\"median\":%.9g,\"p99\":%.9g,"
                          "\"max\":%.9g,\"tokens\":%" PRId64 ",\"ctx\":%d}\n",
                          r.kl.mean, number(se[0], r.kl.se), r.kl_median, r.kl_p99, r.kl_max, r.tokens, (int)w->ctx),
             out);
    MDQ_GOTO(err,
             print_line(out,
                        "{\"metric\":\"perplexity_ratio\",\"value\":%.9g,\"stderr\":%s,"
                        "\"reference_perplexity\":%.9g,\"tokens\":%" PRId64 ",\"ctx\":%d}\n",
                        exp(r.difference.mean), number(se[0], exp(r.difference.mean) * r.difference.se),
                        r.reference_perplexity, r.tokens, (int)w->ctx),
             out);
    err = print_line(out,
                       "{\"metric\":\"top1_agreement\",\"value\":%.9g,\"stderr\":%s,\"tokens\":%" PRId64
                       ",\"ctx\":%d}\n",
                       r.top1.mean, number(se[1], r.top1.se), r.tokens, (int)w->ctx);
out:
    mdq_model_close(&reference);
    return err;
}

static const struct metric {
    const char *name;
    enum mdq_err (*run)(const struct opts *, const struct mdq_model *, const struct mdq_windows *,
                        struct mdq_output *);
    bool reference;
} metrics[] = {
    {"ppl", run_ppl, false},
    {"kld", run_kld, true},
};
enum { METRICS = sizeof metrics / sizeof *metrics };

static const struct metric *find_metric(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (name && strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_MODEL: o->model = arg; return 0;
    case KEY_REFERENCE: o->reference = arg; return 0;
    case KEY_TEXT: o->text = arg; return 0;
    case KEY_CTX: o->ctx = (int)mdq_arg_int(state, "--ctx", arg, 2, 1 << 20); return 0;
    case KEY_MAX_TOKENS: o->max_tokens = mdq_arg_int(state, "--max-tokens", arg, 2, INT64_MAX); return 0;
    case ARGP_KEY_ARG:
        if (o->metric)
            argp_error(state, "one metric at a time: '%s' after '%s'", arg, o->metric);
        o->metric = arg;
        if (!find_metric(arg))
            argp_error(state, "'%s' is no metric: ppl or kld", arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->metric)
            argp_error(state, "which metric: ppl or kld?");
        if (!o->model || !o->text)
            argp_error(state, "%s needs --model and --text", o->metric);
        if (find_metric(o->metric)->reference && !o->reference)
            argp_error(state, "%s needs --reference", o->metric);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static enum mdq_err run(void *opts)
{
    const struct opts *o = opts;
    struct mdq_model *m = NULL;
    struct mdq_tokenizer *t = NULL;
    struct mdq_windows w = {0};
    struct mdq_output *out = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&m, o->model), out);
    int ctx = o->ctx ? o->ctx : m->config.max_position < 2048 ? m->config.max_position : 2048;
    if (ctx > m->config.max_position)
        mdq_log(MDQ_LOG_WARNING, "%s: windows of %d tokens are longer than the model's context of %d", o->model, ctx,
                m->config.max_position);
    MDQ_GOTO(err, mdq_tokenizer_open(&t, o->model), out);
    MDQ_GOTO(err, mdq_text_windows(&w, t, o->text, ctx, o->max_tokens, m->config.vocab), out);
    MDQ_GOTO(err, mdq_output_open(&out, o->cli.output, false), out);
    MDQ_GOTO(err, find_metric(o->metric)->run(o, m, &w, out), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    mdq_windows_free(&w);
    mdq_tokenizer_close(&t);
    mdq_model_close(&m);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-eval",
    .args = "ppl|kld",
    .doc = "Measure model folders on a text: perplexity, or KL divergence from a reference model."
           "\vThe text is tokenised once without special tokens and cut into windows of --ctx tokens (a last short "
           "one is dropped); the tokens 2..ctx of each are scored. Results are JSON objects, one per line.\n\n"
           "e.g.: mdq-eval ppl --model my-model --text wiki.txt --ctx 2048",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {0};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
