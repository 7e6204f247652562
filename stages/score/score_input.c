#include "score_input.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"
#include "mdq_text.h"

enum { FEW_RECORDS = 100, FEW_WINDOWS = 16 };

/* Only the examples [first, first + n) are kept. */
static void keep(struct mdq_examples *e, int64_t first, int64_t n)
{
    const int64_t at = e->first[first], size = e->first[first + n] - at;
    for (int64_t i = 0; i < e->n; i++)
        if (i < first || i >= first + n)
            free(e->text[i]);
    memmove(e->ids.v, e->ids.v + at, (size_t)size * sizeof *e->ids.v);
    e->ids.n = size;
    for (int64_t i = 0; i <= n; i++)
        e->first[i] = e->first[first + i] - at;
    for (int64_t i = 0; i < n; i++) {
        e->from[i] = e->from[first + i];
        e->to[i] = e->to[first + i];
        e->text[i] = e->text[first + i];
        e->bytes[i] = e->bytes[first + i];
        e->begin[i] = e->begin[first + i];
        e->end[i] = e->end[first + i];
        e->repeats[i] = e->repeats[first + i];
        e->line[i] = e->line[first + i];
    }
    e->n = n;
}

/* What the gradients' header says of the records `name`; hash NULL where it says nothing. */
static const char *seen(const json_t *gradients, const char *name, int64_t *records)
{
    const json_t *o = json_object_get(gradients, name);
    *records = json_integer_value(json_object_get(o, "records"));
    return json_string_value(json_object_get(o, "hash"));
}

static enum mdq_err other_records(const char *path, const char *what)
{
    return mdq_fail(MDQ_E_DATA, "%s: the gradients were made with other %s records: give the file that mdq-calib --gradients got", path,
                    what);
}

static enum mdq_err read_records(struct score_texts *t, const struct mdq_tokenizer *k, const struct mdq_model *m,
                                 const struct score_files *f, int ctx, const json_t *gradients)
{
    struct mdq_examples *s = &t->examples[SCORE_SENSITIVE], *r = &t->examples[SCORE_MATCHED], *h = &t->examples[SCORE_HELDOUT];
    char hash[33];
    int64_t n;
    MDQ_TRY(mdq_examples_read(s, k, f->sensitive, ctx, m->config.vocab));
    MDQ_TRY(mdq_examples_read(r, k, f->matched, ctx, m->config.vocab));
    if (f->heldout)
        MDQ_TRY(mdq_examples_read(h, k, f->heldout, ctx, m->config.vocab));
    for (int set = SCORE_SENSITIVE; set <= SCORE_HELDOUT && f->whole; set++)
        mdq_examples_unmark(&t->examples[set]);
    const char *of = seen(gradients, "sensitive", &n);
    mdq_examples_hash(s, 0, s->n, hash);
    if (!of || n != s->n || strcmp(of, hash) != 0)
        return other_records(f->sensitive, "sensitive");
    of = seen(gradients, "matched", &n);
    if (!of || n < 1 || n > r->n)
        return other_records(f->matched, "matched");
    mdq_examples_hash(r, 0, n, hash);
    if (strcmp(of, hash) != 0)
        return other_records(f->matched, "matched");
    if (n == r->n)
        return mdq_fail(MDQ_E_DATA, "%s: all %lld records went into the gradients, none is left to test with: give two or more", f->matched,
                        (long long)n);
    const struct {
        const char *a, *b;
        const struct mdq_examples *x, *y;
    } pairs[] = {{f->sensitive, f->matched, s, r}, {f->heldout, f->matched, h, r}, {f->heldout, f->sensitive, h, s}};
    for (int i = 0; i < 3; i++) {
        int64_t x, y, common = pairs[i].x->n > 0 ? mdq_examples_common(pairs[i].x, pairs[i].y, &x, &y) : 0;
        if (common < 0)
            return MDQ_E_INTERNAL;
        if (common > 0)
            return mdq_fail(MDQ_E_DATA, "%s: line %lld and %s: line %lld are the same text (%lld such pair%s): a record cannot be in "
                            "two sets", pairs[i].a, (long long)pairs[i].x->line[x], pairs[i].b, (long long)pairs[i].y->line[y],
                            (long long)common, common == 1 ? "" : "s");
    }
    keep(r, n, r->n - n);
    for (int set = SCORE_SENSITIVE; set <= SCORE_HELDOUT; set++) {
        struct mdq_examples *e = &t->examples[set];
        if (f->records > 0 && e->n > f->records)
            keep(e, 0, f->records);
        if (e->n > 0 && e->n < FEW_RECORDS)
            mdq_log(MDQ_LOG_WARNING, "%lld %s records: a difference of the attack's advantage below about %.2f cannot be told from chance",
                    (long long)e->n, score_set_names[set], 1.6 / sqrt((double)e->n));
    }
    return MDQ_OK;
}

static enum mdq_err read_valid(struct score_texts *t, const struct mdq_tokenizer *k, const struct mdq_model *m, const struct score_files *f,
                               int ctx)
{
    struct mdq_windows w;
    enum mdq_err err = mdq_text_windows(&w, k, f->valid, ctx, f->valid_skip + f->valid_tokens, m->config.vocab);
    const int64_t skip = (f->valid_skip + ctx - 1) / ctx;
    if (err == MDQ_OK && w.count <= skip)
        err = mdq_fail(MDQ_E_DATA, "%s: %lld tokens, nothing is left for perplexity behind the first %lld: give another text with --valid",
                       f->valid, (long long)w.tokens, (long long)f->valid_skip);
    for (int64_t i = skip; i < w.count && err == MDQ_OK; i++)
        err = mdq_examples_add_ids(&t->examples[SCORE_VALID], w.ids + i * ctx, ctx, 1, ctx);
    if (err == MDQ_OK && w.count - skip < FEW_WINDOWS)
        mdq_log(MDQ_LOG_WARNING, "%s: only %lld windows of %d tokens: the interval of the perplexity is wide, and the budget hard to keep",
                f->valid, (long long)(w.count - skip), ctx);
    mdq_windows_free(&w);
    return err;
}

enum mdq_err score_read_texts(struct score_texts *t, const struct mdq_model *m, const struct score_files *f,
                              const struct mdq_header *gradients)
{
    const int ctx = f->ctx ? f->ctx : m->config.max_position < 2048 ? m->config.max_position : 2048;
    struct mdq_tokenizer *k = NULL;
    char *text = mdq_header_get_json(gradients, "gradients");
    json_t *g = text ? json_loads(text, 0, NULL) : NULL;
    enum mdq_err err = mdq_tokenizer_open(&k, m->dir);
    if (err == MDQ_OK)
        err = read_records(t, k, m, f, ctx, g);
    if (err == MDQ_OK)
        err = read_valid(t, k, m, f, ctx);
    for (int i = 0; i < f->n_tasks && err == MDQ_OK; i++)
        err = mdq_tasks_read(&t->tasks, k, f->tasks[i], NULL, f->task_limit, ctx, m->config.vocab);
    for (int s = 0; s < SCORE_SETS && err == MDQ_OK; s++) {
        const struct mdq_examples *e = score_texts_of(t, (enum score_set)s);
        if (e->n > 0)
            mdq_examples_hash(e, 0, e->n, t->hash[s]);
    }
    mdq_tokenizer_close(&k);
    json_decref(g);
    free(text);
    return err;
}
