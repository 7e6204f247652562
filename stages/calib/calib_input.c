/* What goes into mdq-calib: a text in windows, records for gradients, or activations of the block before. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "calib.h"
#include "mdq_examples.h"
#include "mdq_layers.h"
#include "mdq_log.h"

enum { FEW_RECORDS = 8 };

static void hash_windows(const struct state *s, int64_t windows, char hash[33])
{
    XXH128_hash_t h = XXH3_128bits(s->windows.ids, (size_t)(windows * s->ctx) * sizeof *s->windows.ids);
    snprintf(hash, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

static void warn_short(const struct state *s, const char *option, int64_t asked, int64_t not_asked)
{
    if (s->windows.tokens < asked && asked != not_asked)
        mdq_log(MDQ_LOG_WARNING, "%s: has %" PRId64 " tokens, fewer than the %" PRId64 " asked for%s", s->o->text,
                s->windows.tokens, asked, option);
}

/* How many of the windows the first `tokens` tokens are. */
static int64_t windows_of(const struct state *s, int64_t tokens)
{
    return tokens / s->ctx < s->windows.count ? tokens / s->ctx : s->windows.count;
}

static enum mdq_err read_records(const struct state *s, const struct mdq_tokenizer *t, const char *path, const char *what,
                                 struct mdq_examples *e)
{
    MDQ_TRY(mdq_examples_read(e, t, path, s->ctx, s->model->config.vocab));
    if (s->o->whole)
        mdq_examples_unmark(e);
    if (e->n < FEW_RECORDS)
        mdq_log(MDQ_LOG_WARNING, "%s: only %" PRId64 " %s record%s: the contrast is then that of single texts, and what it "
                "finds will not carry over to others", path, e->n, what, e->n == 1 ? "" : "s");
    return MDQ_OK;
}

static enum mdq_err describe_gradients(struct state *s, const struct mdq_examples *sensitive, const struct mdq_examples *matched)
{
    char text[33], members[33], others[33];
    hash_windows(s, s->gradient_windows, text);
    mdq_examples_hash(sensitive, 0, sensitive->n, members);
    mdq_examples_hash(matched, 0, matched->n, others);
    s->about_gradients = mdq_asprintf("{\"ctx\":%d,\"matched\":{\"hash\":\"%s\",\"records\":%" PRId64 "},\"sensitive\":{\"hash\":\"%s\","
                                      "\"records\":%" PRId64 "},\"text\":\"%s\",\"tokens\":%" PRId64 ",\"windows\":%" PRId64 "}",
                                      s->ctx, others, matched->n, members, sensitive->n, text, s->gradient_windows * s->ctx,
                                      s->gradient_windows);
    return s->about_gradients ? MDQ_OK : MDQ_E_INTERNAL;
}

static enum mdq_err open_records(struct state *s, const struct mdq_tokenizer *t)
{
    const struct opts *o = s->o;
    struct mdq_examples sensitive = {0}, matched = {0};
    int64_t i, j, common;
    enum mdq_err err;
    MDQ_GOTO(err, read_records(s, t, o->sensitive, "sensitive", &sensitive), out);
    MDQ_GOTO(err, read_records(s, t, o->matched, "matched", &matched), out);
    common = mdq_examples_common(&sensitive, &matched, &i, &j);
    if (common != 0) {
        err = common < 0 ? MDQ_E_INTERNAL
                         : mdq_fail(MDQ_E_DATA, "%s: line %" PRId64 " and %s: line %" PRId64 " are the same text (%" PRId64
                                    " such pair%s): the contrast of a record with itself is nothing", o->sensitive,
                                    sensitive.line[i], o->matched, matched.line[j], common, common == 1 ? "" : "s");
        goto out;
    }
    if (matched.n < 2) {
        err = mdq_fail(MDQ_E_DATA, "%s: one matched record: half of them stays out of the gradients, so that mdq-score can test with it; "
                       "give two or more", o->matched);
        goto out;
    }
    /* a view of the first half: mdq-score tests with the other one, which has to be new to the gradients (design 1.3) */
    struct mdq_examples half = matched;
    half.n = (matched.n + 1) / 2;
    MDQ_GOTO(err, describe_gradients(s, &sensitive, &half), out);
    err = gradient_texts_new(&s->texts, s->windows.ids, s->gradient_windows, s->ctx, &sensitive, &half,
                             gradients_part_tokens(&s->model->config));
out:
    mdq_examples_free(&sensitive);
    mdq_examples_free(&matched);
    return err;
}

/* How many windows Hessians and gradients are made of. */
static enum mdq_err choose_windows(struct state *s, int64_t tokens, int64_t gradient_tokens)
{
    const struct opts *o = s->o;
    s->gradient_windows = windows_of(s, gradient_tokens);
    s->n_windows = o->no_hessian ? s->gradient_windows : windows_of(s, tokens);
    if (o->gradients && s->gradient_windows < 1)
        return mdq_fail(MDQ_E_USAGE, "--gradient-tokens %" PRId64 ": less than one window of %d tokens", gradient_tokens, s->ctx);
    if (s->n_windows < 1) /* the text is long enough for gradients */
        return mdq_fail(MDQ_E_USAGE, "--tokens %" PRId64 ": less than one window of %d tokens", tokens, s->ctx);
    if (!o->no_hessian)
        warn_short(s, "", tokens, DEFAULT_TOKENS);
    warn_short(s, " by --gradient-tokens", o->gradient_tokens, 0);
    return MDQ_OK;
}

enum mdq_err calib_open_text(struct state *s)
{
    const struct opts *o = s->o;
    const struct mdq_config *c = &s->model->config;
    const int64_t gradient_tokens = !o->gradients ? 0 : o->gradient_tokens ? o->gradient_tokens : DEFAULT_GRADIENT_TOKENS;
    const int64_t tokens = o->no_hessian ? 0 : o->tokens, most = gradient_tokens > tokens ? gradient_tokens : tokens;
    s->ctx = o->ctx ? o->ctx : c->max_position < DEFAULT_CTX ? c->max_position : DEFAULT_CTX;
    if (o->gradients && s->ctx < 2)
        return mdq_fail(MDQ_E_USAGE, "--ctx %d: nothing to predict in a window of one token", s->ctx);
    struct mdq_tokenizer *t = NULL;
    char hash[33];
    enum mdq_err err;
    MDQ_GOTO(err, mdq_tokenizer_open(&t, o->model), out);
    MDQ_GOTO(err, mdq_text_windows(&s->windows, t, o->text, s->ctx, most, c->vocab), out);
    MDQ_GOTO(err, choose_windows(s, tokens, gradient_tokens), out);
    hash_windows(s, s->n_windows, hash);
    s->calib = mdq_asprintf("{\"ctx\":%d,\"sequential\":false,\"text\":\"%s\",\"tokens\":%" PRId64 ",\"windows\":%" PRId64 "}",
                            s->ctx, hash, s->n_windows * s->ctx, s->n_windows);
    if (!s->calib)
        err = MDQ_E_INTERNAL;
    else if (o->gradients)
        err = open_records(s, t);
out:
    mdq_tokenizer_close(&t);
    return err;
}

enum mdq_err calib_open_acts(struct state *s)
{
    const struct opts *o = s->o;
    char *path = (char *)o->acts_in;
    MDQ_TRY(mdq_reader_open(&s->acts_in, &path, 1, NULL));
    const struct mdq_header *h = mdq_reader_header(s->acts_in);
    MDQ_TRY(mdq_layers_same_model(h, o->acts_in, s->model));
    if (!mdq_header_has_kind(h, "activations") || !(s->calib = mdq_header_get_json(h, "calib")))
        return mdq_fail(MDQ_E_DATA, "%s: holds no activations", o->acts_in);
    json_t *j = json_loads(s->calib, 0, NULL);
    s->ctx = (int)json_integer_value(json_object_get(j, "ctx"));
    s->n_windows = json_integer_value(json_object_get(j, "windows"));
    s->sequential = json_is_true(json_object_get(j, "sequential"));
    json_decref(j);
    if (s->ctx < 1 || s->ctx > 1 << 20 || s->n_windows < 1)
        return mdq_fail(MDQ_E_DATA, "%s: header: calib: no windows in it", o->acts_in);
    return MDQ_OK;
}
