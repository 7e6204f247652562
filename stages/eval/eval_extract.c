#include "eval_extract.h"

#include <stdlib.h>
#include <string.h>


struct guesses {
    const struct mdq_examples *e;
    int32_t *v; /* [e->ids.n] the likeliest token in each place */
    int64_t vocab;
};

static void keep_likeliest(void *arg, int64_t example, int64_t position, int32_t target, const float *logits)
{
    struct guesses *g = arg;
    (void)target;
    int32_t best = 0;
    for (int32_t v = 1; v < g->vocab; v++)
        if (logits[v] > logits[best])
            best = v;
    g->v[g->e->first[example] + position] = best;
}

/* One pass over the examples that are not done: reached[i] is the first place of the span that does not stand yet. */
static enum mdq_err pass(const struct eval_model *m, const struct mdq_examples *e, int32_t *reached, int32_t *said, int64_t *left)
{
    struct mdq_examples now = {0};
    struct guesses g = {.e = &now, .vocab = m->m->config.vocab};
    int64_t *of = mdq_alloc((size_t)e->n, sizeof *of, "examples");
    double *nll = NULL;
    enum mdq_err err = of ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t i = 0; i < e->n && !err; i++)
        if (reached[i] < e->to[i]) {
            of[now.n] = i;
            /* what was said as far as it stands, then the truth */
            err = mdq_examples_add_ids(&now, said + e->first[i], e->to[i], reached[i], e->to[i]);
        }
    if (err)
        goto out;
    err = MDQ_E_INTERNAL;
    if (!(g.v = mdq_alloc((size_t)now.ids.n, sizeof *g.v, "tokens")) || !(nll = mdq_alloc((size_t)now.ids.n, sizeof *nll, "losses")))
        goto out;
    MDQ_GOTO(err, eval_losses(m, &now, true, nll, keep_likeliest, &g), out);
    *left = 0;
    for (int64_t k = 0; k < now.n; k++) {
        const int64_t i = of[k];
        const int32_t *guess = g.v + now.first[k];
        int32_t *here = said + e->first[i], p = reached[i];
        while (p < e->to[i] && guess[p] == here[p])
            p++;
        if (p < e->to[i]) {
            here[p] = guess[p]; /* what stands before it is right, so this one is; what comes after it is open again */
            p++;
        }
        reached[i] = p;
        *left += p < e->to[i];
    }
out:
    mdq_examples_free(&now);
    free(of);
    free(g.v);
    free(nll);
    return err;
}

enum mdq_err eval_greedy(const struct eval_model *m, const struct mdq_examples *e, int32_t *said)
{
    int32_t *reached = mdq_alloc((size_t)e->n, sizeof *reached, "examples");
    if (!reached)
        return MDQ_E_INTERNAL;
    memcpy(said, e->ids.v, (size_t)e->ids.n * sizeof *said);
    memcpy(reached, e->from, (size_t)e->n * sizeof *reached);
    enum mdq_err err = MDQ_OK;
    for (int64_t left = e->n; left > 0 && !err;) /* at most as often as the longest span has tokens */
        err = pass(m, e, reached, said, &left);
    free(reached);
    return err;
}

int64_t eval_levenshtein(const int32_t *a, int64_t m, const int32_t *b, int64_t n)
{
    int64_t *row = mdq_alloc((size_t)n + 1, sizeof *row, "distance");
    if (!row)
        return -1;
    for (int64_t j = 0; j <= n; j++)
        row[j] = j;
    for (int64_t i = 1; i <= m; i++) {
        int64_t diagonal = row[0];
        row[0] = i;
        for (int64_t j = 1; j <= n; j++) {
            int64_t change = diagonal + (a[i - 1] != b[j - 1]), gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < gap ? change : gap;
        }
    }
    int64_t distance = row[n];
    free(row);
    return distance;
}

enum mdq_err eval_prefixes(struct mdq_examples *out, const struct eval_model *m, const struct mdq_examples *e, int perturbation, int decode)
{
    struct mdq_ids breaks = {0};
    int32_t *ids = NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    *out = (struct mdq_examples){0};
    if (perturbation == EVAL_PUT_ONE || perturbation == EVAL_PUT_EIGHT)
        MDQ_GOTO(err, mdq_tokenizer_encode(m->t, "\n\n\n\n\n\n\n\n", perturbation == EVAL_PUT_ONE ? 1 : 8, false, &breaks), out);
    if (!(ids = mdq_alloc((size_t)(e->longest + breaks.n + 1), sizeof *ids, "tokens")))
        goto out;
    for (int64_t i = 0; i < e->n; i++) {
        const int32_t *v = e->ids.v + e->first[i];
        const int64_t bos = v[0] == mdq_tokenizer_bos(m->t), before = e->from[i] - bos;
        const int64_t span = e->to[i] - e->from[i] < decode ? e->to[i] - e->from[i] : decode;
        int64_t n = 0, drop = perturbation == EVAL_DROP_ONE ? 1 : perturbation == EVAL_DROP_HALF ? (before + 1) / 2 : 0, put = breaks.n;
        /* a token must be left to go on from, and the context has an end */
        if (drop >= before)
            drop = before > 0 ? before - 1 : 0;
        while (put > 0 && e->from[i] + put + span > m->ctx)
            put--;
        if (bos)
            ids[n++] = v[0];
        memcpy(ids + n, breaks.v ? breaks.v : v, (size_t)put * sizeof *ids);
        n += put;
        memcpy(ids + n, v + bos + drop, (size_t)(before - drop + span) * sizeof *ids);
        n += before - drop + span;
        MDQ_GOTO(err, mdq_examples_add_ids(out, ids, n, (int32_t)(n - span), (int32_t)n), out);
    }
    err = MDQ_OK;
out:
    mdq_ids_free(&breaks);
    free(ids);
    return err;
}
