#include "mdq_tasks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_example_losses.h"
#include "mdq_json.h"
#include "mdq_log.h"
#include "mdq_text.h"

struct source {
    const struct mdq_tokenizer *tokenizer;
    const char *delimiter;
    int64_t ctx, line;
    int32_t vocab;
};

/* What is found of an item beside MDQ_OK and errors. */
enum fit { FITS, TOO_LONG };

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum mdq_err add_item(struct mdq_tasks *t, const struct source *s, int64_t first, int64_t gold)
{
    if (t->n == t->capacity) {
        int64_t capacity = t->capacity ? 2 * t->capacity : 64;
        struct mdq_task_item *p = mdq_realloc(t->items, (size_t)capacity, sizeof *p, "tasks");
        if (!p)
            return MDQ_E_INTERNAL;
        t->items = p;
        t->capacity = capacity;
    }
    t->items[t->n++] = (struct mdq_task_item){.first = first, .choices = (int32_t)(t->examples.n - first), .gold = (int32_t)gold,
                                               .file = t->files, .line = s->line};
    return MDQ_OK;
}

/* The last example's span begins where its tokens differ from those of the query alone; too long, it loses query behind BOS. */
static enum mdq_err set_span(struct mdq_tasks *t, const struct source *s, const struct mdq_ids *query, enum fit *fit)
{
    struct mdq_examples *e = &t->examples;
    const int64_t i = e->n - 1, n = mdq_examples_length(e, i);
    int32_t *ids = e->ids.v + e->first[i];
    int64_t from = 0;
    while (from < n && from < query->n && ids[from] == query->v[from])
        from++;
    from = from < 1 ? 1 : from; /* nothing predicts the first token */
    if (from >= n)
        return mdq_fail(MDQ_E_DATA, "the choice adds no token to the query");
    const int64_t bos = ids[0] == mdq_tokenizer_bos(s->tokenizer), drop = s->ctx > 0 && n > s->ctx ? n - s->ctx : 0;
    if (drop > 0) {
        /* one token before the choice must be left, to predict its first */
        if (n - from > s->ctx - 1) {
            *fit = TOO_LONG;
            return MDQ_OK;
        }
        memmove(ids + bos, ids + bos + drop, (size_t)(n - bos - drop) * sizeof *ids);
        from -= drop;
        e->first[e->n] -= drop;
        e->ids.n -= drop;
        t->cut++;
    }
    e->from[i] = (int32_t)from;
    e->to[i] = (int32_t)(n - drop);
    return MDQ_OK;
}

static enum mdq_err add_choices(struct mdq_tasks *t, const struct source *s, const json_t *j, enum fit *fit)
{
    const json_t *query = json_object_get(j, "query"), *choices = json_object_get(j, "choices"), *gold = json_object_get(j, "gold");
    const size_t n = json_array_size(choices);
    if (!json_is_string(query) || !json_is_array(choices) || !json_is_integer(gold))
        return mdq_fail(MDQ_E_DATA, "want a text \"query\", a list \"choices\" and a number \"gold\"");
    if (n < 2 || n > MDQ_CHOICES_MAX)
        return mdq_fail(MDQ_E_DATA, "%zu choices, want 2 to %d", n, MDQ_CHOICES_MAX);
    if (json_integer_value(gold) < 0 || json_integer_value(gold) >= (json_int_t)n)
        return mdq_fail(MDQ_E_DATA, "gold %lld is none of the %zu choices, which count from 0", (long long)json_integer_value(gold), n);
    const char *q = json_string_value(query);
    const size_t all = json_string_length(query);
    size_t bare = all; /* without the white space at its end, which belongs to the choice */
    while (bare > 0 && is_space(q[bare - 1]))
        bare--;
    const char *between = bare < all || all == 0 ? "" : s->delimiter;
    const int64_t first = t->examples.n;
    struct mdq_ids ids = {0};
    enum mdq_err err = mdq_tokenizer_encode(s->tokenizer, q, bare, true, &ids);
    for (size_t i = 0; i < n && !err; i++) {
        const json_t *choice = json_array_get(choices, i);
        if (!json_is_string(choice) || json_string_length(choice) == 0) {
            err = mdq_fail(MDQ_E_DATA, "choice %zu is no text, or empty", i);
            break;
        }
        char *text = mdq_asprintf("%s%s%s", q, between, json_string_value(choice));
        if (!text)
            err = MDQ_E_INTERNAL;
        else if (!(err = mdq_examples_add(&t->examples, s->tokenizer, text, strlen(text), 0, s->vocab, -1, -1)))
            err = set_span(t, s, &ids, fit);
        if (err && text)
            mdq_fail_in(err, "choice %zu", i);
        free(text);
    }
    mdq_ids_free(&ids);
    return err ? err : add_item(t, s, first, json_integer_value(gold));
}

static enum mdq_err add_pair(struct mdq_tasks *t, const struct source *s, const json_t *j, enum fit *fit)
{
    static const char *const names[] = {"sentence_good", "sentence_bad"};
    const int64_t first = t->examples.n;
    for (int i = 0; i < 2; i++) {
        const json_t *text = json_object_get(j, names[i]);
        if (!json_is_string(text))
            return mdq_fail(MDQ_E_DATA, "no \"%s\" that is a text", names[i]);
        enum mdq_err err = mdq_examples_add(&t->examples, s->tokenizer, json_string_value(text), json_string_length(text), 0, s->vocab, -1,
                                            -1);
        if (err)
            return mdq_fail_in(err, "%s", names[i]);
        if (s->ctx > 0 && mdq_examples_length(&t->examples, t->examples.n - 1) > s->ctx)
            *fit = TOO_LONG;
    }
    return add_item(t, s, first, 0);
}

static enum mdq_err add_line(struct mdq_tasks *t, const struct source *s, const char *line, size_t size, const char *where)
{
    json_t *j;
    MDQ_TRY(mdq_json_parse(&j, line, size, where));
    const int64_t examples = t->examples.n, cut = t->cut;
    enum fit fit = FITS;
    enum mdq_err err;
    if (json_object_get(j, "sentence_good") || json_object_get(j, "sentence_bad"))
        err = add_pair(t, s, j, &fit);
    else if (json_object_get(j, "query") || json_object_get(j, "choices"))
        err = add_choices(t, s, j, &fit);
    else
        err = mdq_fail(MDQ_E_DATA, "neither \"query\", \"choices\", \"gold\" nor \"sentence_good\", \"sentence_bad\"");
    json_decref(j);
    if (!err && fit == TOO_LONG) {
        mdq_examples_keep(&t->examples, examples);
        t->n--;
        t->cut = cut;
        t->left_out++;
    }
    return err ? mdq_fail_in(err, "%s", where) : MDQ_OK;
}

enum mdq_err mdq_tasks_read(struct mdq_tasks *t, const struct mdq_tokenizer *tokenizer, const char *path, const char *delimiter,
                            int64_t limit, int64_t ctx, int32_t vocab)
{
    struct source s = {.tokenizer = tokenizer, .delimiter = delimiter ? delimiter : " ", .ctx = ctx, .vocab = vocab};
    const char *name = strcmp(path, "-") ? path : "standard input";
    const int64_t before = t->n, cut = t->cut, left_out = t->left_out;
    char *all;
    size_t size;
    MDQ_TRY(mdq_text_read(path, MDQ_TEXT_MAX_BYTES, &all, &size));
    enum mdq_err err = MDQ_OK;
    int64_t items = 0;
    for (char *line = all, *end = all + size; line < end && !err && (limit <= 0 || items < limit);) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((next ? next : end) - line), blank = 0;
        s.line++;
        while (blank < length && is_space(line[blank]))
            blank++;
        char where[512];
        snprintf(where, sizeof where, "%.400s: line %" PRId64, name, s.line);
        if (length > MDQ_EXAMPLE_MAX_BYTES)
            err = mdq_fail(MDQ_E_DATA, "%s: longer than %d bytes", where, MDQ_EXAMPLE_MAX_BYTES);
        else if (blank < length && t->examples.n > MDQ_EXAMPLES_MAX)
            err = mdq_fail(MDQ_E_DATA, "%s: more than %d choices", where, MDQ_EXAMPLES_MAX);
        else if (blank < length) {
            items++;
            err = add_line(t, &s, line, length, where);
        }
        line = next ? next + 1 : end;
    }
    free(all);
    t->files++;
    const int64_t out = t->left_out - left_out;
    if (!err && t->n == before)
        err = out > 0 ? mdq_fail(MDQ_E_DATA, "%s: no task fits into the context of %" PRId64 " tokens", name, ctx)
                      : mdq_fail(MDQ_E_DATA, "%s: holds no task", name);
    if (!err && out > 0)
        mdq_log(MDQ_LOG_WARNING, "%s: %" PRId64 " of %" PRId64 " items have a choice or sentence that is longer than the context of %"
                PRId64 " tokens and are left out: accuracy is that of the others", name, out, items, ctx);
    if (!err && t->cut > cut)
        mdq_log(MDQ_LOG_WARNING, "%s: %" PRId64 " choices are with their query longer than the context of %" PRId64
                " tokens: they are judged without the query's beginning", name, t->cut - cut, ctx);
    return err;
}

void mdq_tasks_free(struct mdq_tasks *t)
{
    mdq_examples_free(&t->examples);
    free(t->items);
    *t = (struct mdq_tasks){0};
}

/* The same tokens in another row of a batch may differ in their last bits. */
static double tolerance(double loss)
{
    return 1e-6 * fmax(1, fabs(loss));
}

void mdq_tasks_judge(const struct mdq_tasks *t, const double *nll, double *correct)
{
    for (int64_t i = 0; i < t->n; i++) {
        const struct mdq_task_item *item = &t->items[i];
        const double right = mdq_example_sum(&t->examples, item->first + item->gold, true, nll);
        int as_good = 0, better = 0;
        for (int32_t k = 0; k < item->choices; k++) {
            double loss = mdq_example_sum(&t->examples, item->first + k, true, nll);
            const bool same = fabs(loss - right) <= tolerance(right);
            better += loss < right && !same;
            as_good += same;
        }
        correct[i] = better > 0 || as_good == 0 ? 0 : 1.0 / as_good;
    }
}

double mdq_tasks_accuracy(const struct mdq_tasks *t, const double *nll)
{
    double *correct = mdq_alloc((size_t)t->n, sizeof *correct, "answers"), sum = 0;
    if (!correct)
        return NAN;
    mdq_tasks_judge(t, nll, correct);
    for (int64_t i = 0; i < t->n; i++)
        sum += correct[i];
    free(correct);
    return t->n > 0 ? sum / (double)t->n : NAN;
}
