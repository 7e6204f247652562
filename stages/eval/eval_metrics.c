#include "eval_metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"

const char *const eval_set_names[2] = {"members", "nonmembers"};

enum mdq_err eval_model_open(struct eval_model *m, const char *dir, const struct eval_opts *o)
{
    *m = (struct eval_model){0};
    if (!dir)
        return MDQ_OK;
    MDQ_TRY(mdq_model_open(&m->m, dir));
    MDQ_TRY(mdq_tokenizer_open(&m->t, dir));
    m->ctx = m->m->config.max_position;
    if (o->ctx > m->ctx)
        mdq_log(MDQ_LOG_WARNING, "%s: --ctx %d is more than the model's context of %d, which is used", dir, o->ctx, m->ctx);
    else if (o->ctx > 0)
        m->ctx = o->ctx;
    return mdq_example_run(&m->run, m->m);
}

void eval_model_close(struct eval_model *m)
{
    mdq_run_free(&m->run);
    mdq_tokenizer_close(&m->t);
    mdq_model_close(&m->m);
}

enum mdq_err eval_losses(const struct eval_model *m, const struct mdq_examples *e, bool spans, double *nll, mdq_example_each *each,
                         void *arg)
{
    enum mdq_err err = mdq_example_losses(m->run, e, 0, e->n, spans, nll, each, arg);
    return err ? mdq_fail_in(err, "%s", m->m->dir) : MDQ_OK;
}

enum mdq_err eval_texts_read(struct eval_texts *x, const struct eval_model *m, const struct eval_opts *o)
{
    const char *const paths[2] = {o->members, o->nonmembers};
    *x = (struct eval_texts){0};
    for (int s = 0; s < 2 && paths[s]; s++)
        MDQ_TRY(mdq_examples_read(&x->of[s], m->t, paths[s], m->ctx, m->m->config.vocab));
    if (o->nonmembers) {
        int64_t i = 0, j = 0, n = mdq_examples_common(&x->of[0], &x->of[1], &i, &j);
        if (n < 0)
            return MDQ_E_INTERNAL;
        if (n > 0)
            return mdq_fail(MDQ_E_DATA, "%s and %s: %" PRId64 " text%s in both (the first: record %" PRId64 " and record %" PRId64
                            "): no text can be a member and not, and what tells the two apart would be measured too small",
                            o->members, o->nonmembers, n, n == 1 ? " is" : "s are", i + 1, j + 1);
    }
    for (int s = 0; s < 2 && o->limit > 0; s++)
        mdq_examples_keep(&x->of[s], o->limit);
    return MDQ_OK;
}

void eval_texts_free(struct eval_texts *x)
{
    mdq_examples_free(&x->of[0]);
    mdq_examples_free(&x->of[1]);
}

static int by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t *eval_repeats(const struct mdq_examples *e, int *n)
{
    int64_t *v = mdq_alloc((size_t)e->n + 1, sizeof *v, "repeats");
    int64_t k = 0, different = 0;
    *n = 0;
    if (!v)
        return NULL;
    for (int64_t i = 0; i < e->n; i++)
        if (e->repeats[i] >= 0)
            v[k++] = e->repeats[i];
    qsort(v, (size_t)k, sizeof *v, by_number);
    for (int64_t i = 0; i < k; i++)
        if (i == 0 || v[i] != v[i - 1])
            v[different++] = v[i];
    *n = (int)different;
    return v;
}
