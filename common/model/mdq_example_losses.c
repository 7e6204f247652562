#include "mdq_example_losses.h"

#include <stdlib.h>
#include <string.h>

/*
 * Tokens of a batch. Few where the blocks stay in memory, so that a batch holds texts of one length and little padding; as many as
 * the run's memory takes where every batch reads all blocks again.
 */
enum { BATCH_TOKENS = 1 << 14, STREAMED_TOKENS = 1 << 18 };

static int64_t batch_tokens(const struct mdq_run *run)
{
    if (mdq_run_resident(run))
        return BATCH_TOKENS;
    const int64_t hidden = mdq_run_model(run)->config.hidden, fit = ((int64_t)1 << 30) / (hidden * (int64_t)sizeof(float));
    return fit < STREAMED_TOKENS ? fit : STREAMED_TOKENS;
}

enum mdq_err mdq_example_run(struct mdq_run **out, const struct mdq_model *m)
{
    return mdq_run_new(out, m, 2, 0);
}

double mdq_example_work(const struct mdq_run *run, const struct mdq_examples *e, int64_t first, int64_t n)
{
    struct mdq_batches b;
    double tokens = 0;
    if (mdq_batches_new(&b, e, first, n, batch_tokens(run)) != MDQ_OK)
        return 0;
    for (int64_t i = 0; i < b.n; i++)
        tokens += (double)(b.v[i].count * b.v[i].ctx);
    mdq_batches_free(&b);
    return tokens * mdq_run_model(run)->config.layers;
}

double mdq_example_sum(const struct mdq_examples *e, int64_t i, bool span, const double *nll)
{
    double sum = 0;
    const int64_t from = span ? e->from[i] : 1, to = span ? e->to[i] : mdq_examples_length(e, i);
    for (int64_t p = from; p < to; p++)
        sum += nll[e->first[i] + p];
    return sum;
}

/* The scored tokens of a batch, one after the other. */
struct scored {
    const struct mdq_examples *e;
    int64_t *example, *position;
    int32_t *targets;
    mdq_example_each *each;
    void *arg;
};

static void pass_on(void *arg, int64_t t, const float *logits)
{
    struct scored *s = arg;
    s->each(s->arg, s->example[t], s->position[t], s->targets[t], logits);
}

/* x keeps only the rows that predict something, so that neither padding nor what lies outside of a span meets the head. */
static int64_t gather(const struct mdq_batches *b, int64_t i, struct scored *s, const int32_t *targets, float *x, int64_t hidden)
{
    const struct mdq_batch *m = &b->v[i];
    int64_t n = 0;
    for (int64_t t = 0; t < m->count * m->ctx; t++) {
        if (targets[t] < 0)
            continue;
        s->example[n] = b->order[m->first + t / m->ctx];
        s->position[n] = t % m->ctx + 1;
        s->targets[n] = targets[t];
        if (n != t)
            memcpy(x + n * hidden, x + t * hidden, (size_t)hidden * sizeof *x);
        n++;
    }
    return n;
}

enum mdq_err mdq_example_losses(struct mdq_run *run, const struct mdq_examples *e, int64_t first, int64_t n, bool spans, double *nll,
                                mdq_example_each *each, void *arg)
{
    const struct mdq_config *c = &mdq_run_model(run)->config;
    struct mdq_batches b;
    struct scored s = {.e = e, .each = each, .arg = arg};
    int32_t *ids = NULL, *targets = NULL;
    float *x = NULL;
    double *losses = NULL;
    MDQ_TRY(mdq_batches_new(&b, e, first, n, batch_tokens(run)));
    const size_t most = (size_t)b.most_tokens;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!(ids = mdq_alloc(most, sizeof *ids, "token ids")) || !(targets = mdq_alloc(most, sizeof *targets, "targets")) ||
        !(x = mdq_alloc_aligned(most * (size_t)c->hidden, sizeof *x, "activations")) ||
        !(losses = mdq_alloc(most, sizeof *losses, "losses")) || !(s.example = mdq_alloc(most, sizeof *s.example, "positions")) ||
        !(s.position = mdq_alloc(most, sizeof *s.position, "positions")) || !(s.targets = mdq_alloc(most, sizeof *s.targets, "targets")))
        goto out;
    memset(nll + e->first[first], 0, (size_t)(e->first[first + n] - e->first[first]) * sizeof *nll);
    for (int64_t i = 0; i < b.n; i++) {
        mdq_batch_fill(&b, i, e, spans, ids, targets);
        MDQ_GOTO(err, mdq_run_set_ctx(run, (int)b.v[i].ctx), out);
        MDQ_GOTO(err, mdq_run_hidden(run, ids, (int)b.v[i].count, x), out);
        int64_t k = gather(&b, i, &s, targets, x, c->hidden);
        MDQ_GOTO(err, mdq_head_forward(c, mdq_run_outer(run), x, k, s.targets, losses, each ? pass_on : NULL, &s), out);
        for (int64_t t = 0; t < k; t++)
            nll[e->first[s.example[t]] + s.position[t]] = losses[t];
    }
    err = MDQ_OK;
out:
    mdq_batches_free(&b);
    free(ids);
    free(targets);
    free(x);
    free(losses);
    free(s.example);
    free(s.position);
    free(s.targets);
    return err;
}
