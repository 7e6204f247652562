/* Exposure and extraction of records: whether a model prefers what it has seen, and whether it says it. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "eval_extract.h"
#include "eval_fills.h"
#include "eval_metrics.h"
#include "mdq_bootstrap.h"
#include "mdq_log.h"

enum { CHUNK_TEXTS = 1 << 14, FULL = 0, PERTURBED = 1, PREFIXES = 2 };
#define NEAR 0.75

static const char *const prefix_names[PREFIXES] = {"full", "perturbed"};

/* What was found of one record. */
struct found {
    struct eval_exposure exposure;
    int64_t fills;       /* 0: nothing in its span can be filled in otherwise, so that it has no exposure */
    double loss;         /* total, nats */
    double *fill_losses; /* kept for --scores */
    double similarity[1 + EVAL_PERTURBATIONS]; /* 1 - Levenshtein / length of what was said: full prefix, then the others */
};

/* One model's look at both sets. */
struct canaries {
    const char *dir;
    struct eval_texts texts;
    struct found *found[2];
    int64_t unmarked, unfilled;
};

static void canaries_free(struct canaries *c)
{
    for (int set = 0; set < 2; set++) {
        for (int64_t i = 0; c->found[set] && i < c->texts.of[set].n; i++)
            free(c->found[set][i].fill_losses);
        free(c->found[set]);
    }
    eval_texts_free(&c->texts);
}

/* The bytes of a record that are filled in: its span, or the second half of its characters. */
static void span_bytes(const struct mdq_examples *e, int64_t i, int64_t *begin, int64_t *end)
{
    *begin = e->begin[i];
    *end = e->end[i];
    if (*begin >= 0)
        return;
    int64_t characters = 0, half = 0;
    for (size_t b = 0; b < e->bytes[i]; b++)
        characters += ((unsigned char)e->text[i][b] & 0xC0) != 0x80;
    *begin = 0;
    while (*begin < (int64_t)e->bytes[i] && half < characters / 2) {
        ++*begin;
        half += ((unsigned char)e->text[i][*begin] & 0xC0) != 0x80;
    }
    *end = (int64_t)e->bytes[i];
}

/* The record itself, then its fill-ins, as examples. */
static enum mdq_err add_fills(struct mdq_examples *to, const struct eval_model *m, const struct mdq_examples *e, int64_t i,
                              const struct eval_opts *o, int64_t *n)
{
    const size_t bytes = e->bytes[i];
    int64_t begin, end;
    char *fills;
    struct mdq_random random;
    span_bytes(e, i, &begin, &end);
    mdq_random_seed(&random, o->cli.seed, "fill-ins", XXH3_64bits(e->text[i], bytes), 0);
    MDQ_TRY(eval_fills(e->text[i], bytes, begin, end, o->fills, &random, &fills, n));
    enum mdq_err err = mdq_examples_add(to, m->t, e->text[i], bytes, m->ctx, m->m->config.vocab, -1, -1);
    for (int64_t k = 0; k < *n && !err; k++)
        err = mdq_examples_add(to, m->t, fills + k * (int64_t)bytes, bytes, m->ctx, m->m->config.vocab, -1, -1);
    free(fills);
    return err ? mdq_fail_in(err, "a fill-in of record %" PRId64, i + 1) : MDQ_OK;
}

/* Exposure of the records [first, first + n). */
static enum mdq_err expose(struct canaries *c, int set, int64_t first, int64_t n, const struct eval_model *m, const struct eval_opts *o)
{
    const struct mdq_examples *e = &c->texts.of[set];
    struct mdq_examples all = {0};
    double *nll = NULL, *losses = NULL;
    enum mdq_err err;
    for (int64_t i = first; i < first + n; i++)
        MDQ_GOTO(err, add_fills(&all, m, e, i, o, &c->found[set][i].fills), out);
    err = MDQ_E_INTERNAL;
    if (!(nll = mdq_alloc((size_t)all.ids.n, sizeof *nll, "losses")) || !(losses = mdq_alloc((size_t)all.n, sizeof *losses, "losses")))
        goto out;
    MDQ_GOTO(err, eval_losses(m, &all, false, nll, NULL, NULL), out);
    for (int64_t k = 0; k < all.n; k++)
        losses[k] = mdq_example_sum(&all, k, false, nll);
    int64_t at = 0;
    for (int64_t i = first; i < first + n; i++) {
        struct found *f = &c->found[set][i];
        f->loss = losses[at++];
        f->exposure = eval_exposure(f->loss, losses + at, f->fills);
        c->unfilled += f->fills == 0;
        if (o->scores) {
            if (!(f->fill_losses = mdq_alloc((size_t)f->fills, sizeof *f->fill_losses, "losses"))) {
                err = MDQ_E_INTERNAL;
                goto out;
            }
            memcpy(f->fill_losses, losses + at, (size_t)f->fills * sizeof *losses);
        }
        at += f->fills;
    }
out:
    mdq_examples_free(&all);
    free(nll);
    free(losses);
    return err;
}

static enum mdq_err extract(struct canaries *c, int set, const struct eval_model *m, const struct eval_opts *o)
{
    const struct mdq_examples *e = &c->texts.of[set];
    for (int k = 0; k <= EVAL_PERTURBATIONS; k++) {
        struct mdq_examples asked;
        int32_t *said = NULL;
        enum mdq_err err;
        MDQ_GOTO(err, eval_prefixes(&asked, m, e, k - 1, o->decode), next);
        if (!(said = mdq_alloc((size_t)asked.ids.n, sizeof *said, "tokens"))) {
            err = MDQ_E_INTERNAL;
            goto next;
        }
        MDQ_GOTO(err, eval_greedy(m, &asked, said), next);
        for (int64_t i = 0; i < e->n && !err; i++) {
            const int64_t at = asked.first[i] + asked.from[i], n = asked.to[i] - asked.from[i];
            int64_t distance = eval_levenshtein(said + at, n, asked.ids.v + at, n);
            if (distance < 0)
                err = MDQ_E_INTERNAL;
            c->found[set][i].similarity[k] = 1 - (double)distance / (double)n;
        }
next:
        free(said);
        mdq_examples_free(&asked);
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

static enum mdq_err look(struct canaries *c, const struct eval_opts *o)
{
    struct eval_model m;
    enum mdq_err err;
    MDQ_GOTO(err, eval_model_open(&m, c->dir, o), out);
    MDQ_GOTO(err, eval_texts_read(&c->texts, &m, o), out);
    double work = 0;
    for (int set = 0; set < 2; set++) {
        struct mdq_examples *e = &c->texts.of[set];
        if (!(c->found[set] = mdq_calloc((size_t)e->n, sizeof *c->found[set], "records"))) {
            err = MDQ_E_INTERNAL;
            goto out;
        }
        for (int64_t i = 0; i < e->n; i++) {
            if (e->begin[i] < 0) { /* the second half of its tokens is asked for */
                c->unmarked++;
                e->from[i] = (int32_t)(mdq_examples_length(e, i) / 2);
            }
            work += (double)(mdq_examples_length(e, i) * (o->fills + 1)) * m.m->config.layers;
        }
    }
    mdq_progress_start("exposure", work, "token-blocks");
    for (int set = 0; set < 2; set++) {
        const int64_t n = c->texts.of[set].n, per = o->fills + 1 < CHUNK_TEXTS ? CHUNK_TEXTS / (o->fills + 1) : 1;
        for (int64_t i = 0; i < n; i += per)
            MDQ_GOTO(err, expose(c, set, i, n - i < per ? n - i : per, &m, o), out);
    }
    mdq_progress_end();
    mdq_progress_start("extraction", 0, "token-blocks");
    for (int set = 0; set < 2; set++)
        if (c->texts.of[set].n > 0)
            MDQ_GOTO(err, extract(c, set, &m, o), out);
    mdq_progress_end();
out:
    eval_model_close(&m);
    return err;
}

/* Whether a record is extracted: 1 or 0. With perturbed prefixes, from any of them. */
static double extracted(const struct found *f, int prefix, bool near)
{
    const double enough = near ? NEAR : 1;
    bool any = false;
    for (int k = prefix == FULL ? 0 : 1; k <= (prefix == FULL ? 0 : EVAL_PERTURBATIONS); k++)
        any = any || f->similarity[k] >= enough;
    return any;
}

/* Which records a line is about, and where. */
struct selection {
    const struct canaries *c;
    int set;
    int64_t repeats; /* -1: all */
    const struct eval_opts *o;
    struct mdq_output *out;
};

static bool selected(const struct selection *s, int64_t i)
{
    return s->repeats < 0 || s->c->texts.of[s->set].repeats[i] == s->repeats;
}

static void begin_line(struct eval_line *l, const struct selection *s, const char *metric)
{
    eval_line_begin(l);
    eval_line_text(l, "metric", metric);
    if (s->set == EVAL_NONMEMBERS)
        eval_line_text(l, "set", eval_set_names[s->set]);
    if (s->repeats >= 0)
        eval_line_int(l, "repeats", s->repeats);
}

static enum mdq_err print_exposure(const struct selection *s, double *v)
{
    const struct found *f = s->c->found[s->set];
    double most = 0, chance = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < s->c->texts.of[s->set].n; i++)
        if (selected(s, i) && f[i].fills > 0) {
            v[n++] = f[i].exposure.bits;
            most += f[i].exposure.most;
            chance += f[i].exposure.chance;
        }
    struct mdq_mean mean = mdq_mean_of(v, n);
    struct mdq_interval ci;
    MDQ_TRY(mdq_bootstrap_mean(v, n, s->o->resamples, s->o->cli.seed, "records", &ci));
    struct eval_line l;
    begin_line(&l, s, "exposure");
    eval_line_number(&l, "value", mean.mean);
    eval_line_interval(&l, "ci95", ci);
    eval_line_int(&l, "n", n);
    eval_line_number(&l, "max", most / (double)n);
    eval_line_number(&l, "chance", chance / (double)n);
    return eval_line_end(&l, s->out);
}

static enum mdq_err print_extraction(const struct selection *s, int prefix, bool near, double *v)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->c->texts.of[s->set].n; i++)
        if (selected(s, i))
            v[n++] = extracted(&s->c->found[s->set][i], prefix, near);
    struct mdq_mean mean = mdq_mean_of(v, n);
    struct eval_line l;
    begin_line(&l, s, "extraction");
    eval_line_text(&l, "kind", near ? "near" : "exact");
    eval_line_text(&l, "prefix", prefix_names[prefix]);
    eval_line_number(&l, "value", mean.mean);
    eval_line_interval(&l, "ci95", mdq_wilson(mean.mean, n));
    eval_line_int(&l, "n", n);
    return eval_line_end(&l, s->out);
}

static enum mdq_err print_all(const struct selection *s, double *v)
{
    MDQ_TRY(print_exposure(s, v));
    for (int k = 0; k < 2 * PREFIXES; k++)
        MDQ_TRY(print_extraction(s, k / 2, k % 2, v));
    return MDQ_OK;
}

static enum mdq_err print_sets(const struct canaries *c, const struct eval_opts *o, struct mdq_output *out, double *v)
{
    for (int set = 0; set < 2; set++) {
        struct selection s = {c, set, -1, o, out};
        if (c->texts.of[set].n == 0)
            continue;
        MDQ_TRY(print_all(&s, v));
        int n;
        int64_t *repeats = eval_repeats(&c->texts.of[set], &n);
        enum mdq_err err = repeats ? MDQ_OK : MDQ_E_INTERNAL;
        for (int k = 0; k < n && !err; k++) {
            s.repeats = repeats[k];
            err = print_all(&s, v);
        }
        free(repeats);
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

/* How far the members of one model are from the same members of another, record by record. */
static enum mdq_err print_differences(const struct canaries *a, const struct canaries *b, const struct eval_opts *o, struct mdq_output *out,
                                      double *v)
{
    const struct found *x = a->found[EVAL_MEMBERS], *y = b->found[EVAL_MEMBERS];
    for (int k = -1; k < 2 * PREFIXES; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < a->texts.of[EVAL_MEMBERS].n; i++)
            if (k >= 0)
                v[n++] = extracted(&x[i], k / 2, k % 2) - extracted(&y[i], k / 2, k % 2);
            else if (x[i].fills > 0)
                v[n++] = x[i].exposure.bits - y[i].exposure.bits;
        struct mdq_interval ci;
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += v[i];
        MDQ_TRY(mdq_bootstrap_mean(v, n, o->resamples, o->cli.seed, "records", &ci));
        struct eval_line l;
        eval_line_begin(&l);
        eval_line_text(&l, "metric", k < 0 ? "exposure_difference" : "extraction_difference");
        if (k >= 0) {
            eval_line_text(&l, "kind", k % 2 ? "near" : "exact");
            eval_line_text(&l, "prefix", prefix_names[k / 2]);
        }
        eval_line_number(&l, "value", sum / (double)n);
        eval_line_interval(&l, "ci95", ci);
        eval_line_int(&l, "n", n);
        MDQ_TRY(eval_line_end(&l, out));
    }
    return MDQ_OK;
}

static enum mdq_err write_scores(const struct canaries *c, const char *path)
{
    struct mdq_output *out = NULL;
    enum mdq_err err;
    MDQ_TRY(mdq_output_open(&out, path, false));
    for (int set = 0; set < 2; set++)
        for (int64_t i = 0; i < c->texts.of[set].n; i++) {
            const struct found *f = &c->found[set][i];
            struct eval_line l;
            eval_line_begin(&l);
            eval_line_text(&l, "set", eval_set_names[set]);
            eval_line_int(&l, "record", i + 1);
            if (c->texts.of[set].repeats[i] >= 0)
                eval_line_int(&l, "repeats", c->texts.of[set].repeats[i]);
            eval_line_exact(&l, "loss", f->loss);
            eval_line_int(&l, "candidates", f->fills + 1);
            eval_line_exact(&l, "rank", f->exposure.rank);
            eval_line_exact(&l, "exposure", f->exposure.bits);
            eval_line_exact(&l, "similarity", f->similarity[0]);
            eval_line_exact_list(&l, "similarity_perturbed", f->similarity + 1, EVAL_PERTURBATIONS);
            eval_line_exact_list(&l, "fill_losses", f->fill_losses, f->fills);
            MDQ_GOTO(err, eval_line_end(&l, out), out);
        }
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    return err;
}

static void warn(const struct canaries *c)
{
    const int64_t n = c->texts.of[0].n + c->texts.of[1].n;
    if (c->texts.of[EVAL_MEMBERS].n < 2)
        mdq_log(MDQ_LOG_WARNING, "one record only: there is no interval for its exposure");
    if (c->unmarked > 0)
        mdq_log(MDQ_LOG_WARNING, "%" PRId64 " of %" PRId64 " records mark no \"span\": their second half is taken for it. Random letters "
                "in running text are unlikely under any model, so that exposure there says little of what was memorised: compare with "
                "--nonmembers", c->unmarked, n);
    if (c->unfilled > 0)
        mdq_log(MDQ_LOG_WARNING,
                "%" PRId64 " of %" PRId64 " records have neither digit nor letter in their span: exposure is that of the others",
                c->unfilled, n);
}

enum mdq_err eval_canary(const struct eval_opts *o, struct mdq_output *out)
{
    struct canaries a = {.dir = o->model}, b = {.dir = o->against};
    double *v = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, look(&a, o), out);
    warn(&a);
    if (o->scores)
        MDQ_GOTO(err, write_scores(&a, o->scores), out);
    if (o->against)
        MDQ_GOTO(err, look(&b, o), out);
    if (!(v = mdq_alloc((size_t)(a.texts.of[0].n + a.texts.of[1].n), sizeof *v, "records"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    MDQ_GOTO(err, print_sets(&a, o, out, v), out);
    if (o->against)
        err = print_differences(&a, &b, o, out, v);
out:
    free(v);
    canaries_free(&a);
    canaries_free(&b);
    return err;
}
