#include "gradient_texts.h"

#include <stdlib.h>
#include <string.h>

void gradient_texts_free(struct gradient_texts *t)
{
    free(t->part);
    free(t->ids);
    free(t->targets);
    free(t->weights);
    *t = (struct gradient_texts){0};
}

static void add_part(struct gradient_texts *t, bool functional, int64_t rows, int64_t ctx)
{
    t->part[t->n++] = (struct gradient_part){functional, (int)rows, (int)ctx, t->tokens};
    t->tokens += rows * ctx;
    t->most_tokens = rows * ctx > t->most_tokens ? rows * ctx : t->most_tokens;
}

/* The records' parts; all of them together weigh `share`. */
static void add_records(struct gradient_texts *t, const struct mdq_batches *b, const struct mdq_examples *e, double share)
{
    for (int64_t i = 0; i < b->n; i++) {
        const struct mdq_batch *m = &b->v[i];
        int32_t *ids = t->ids + t->tokens, *targets = t->targets + t->tokens;
        float *weights = t->weights + t->tokens;
        mdq_batch_fill(b, i, e, 1, ids, targets);
        for (int64_t k = 0; k < m->count; k++) {
            int64_t scored = 0;
            for (int64_t p = 0; p < m->ctx; p++)
                scored += targets[k * m->ctx + p] >= 0;
            for (int64_t p = 0; p < m->ctx; p++)
                weights[k * m->ctx + p] = (float)(share / (double)e->n / (double)scored);
        }
        add_part(t, false, m->count, m->ctx);
    }
}

static void add_windows(struct gradient_texts *t, const int32_t *ids, int64_t max_tokens)
{
    const int64_t ctx = t->ctx, most = max_tokens / ctx < 1 ? 1 : max_tokens / ctx;
    memcpy(t->ids + t->tokens, ids, (size_t)(t->windows * ctx) * sizeof *ids);
    for (int64_t i = 0; i < t->windows * ctx; i++) {
        t->targets[t->tokens + i] = (i + 1) % ctx ? ids[i + 1] : -1;
        t->weights[t->tokens + i] = 1;
    }
    for (int64_t w = 0; w < t->windows; w += most)
        add_part(t, true, t->windows - w < most ? t->windows - w : most, ctx);
}

static int64_t tokens_of(const struct mdq_batches *b)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++)
        n += b->v[i].count * b->v[i].ctx;
    return n;
}

enum mdq_err gradient_texts_new(struct gradient_texts *t, const int32_t *ids, int64_t windows, int ctx,
                                const struct mdq_examples *sensitive, const struct mdq_examples *matched, int64_t max_tokens)
{
    *t = (struct gradient_texts){.windows = windows, .ctx = ctx};
    struct mdq_batches s = {0}, r = {0};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_batches_new(&s, sensitive, 0, sensitive->n, max_tokens), out);
    MDQ_GOTO(err, mdq_batches_new(&r, matched, 0, matched->n, max_tokens), out);
    const size_t tokens = (size_t)(tokens_of(&s) + tokens_of(&r) + windows * ctx);
    t->part = mdq_alloc((size_t)(s.n + r.n + windows), sizeof *t->part, "parts of the texts");
    t->ids = mdq_alloc(tokens, sizeof *t->ids, "tokens");
    t->targets = mdq_alloc(tokens, sizeof *t->targets, "tokens");
    t->weights = mdq_alloc(tokens, sizeof *t->weights, "tokens");
    if (!t->part || !t->ids || !t->targets || !t->weights) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    add_records(t, &s, sensitive, 1);
    add_records(t, &r, matched, -1);
    add_windows(t, ids, max_tokens);
out:
    mdq_batches_free(&s);
    mdq_batches_free(&r);
    return err;
}
