/* Multiple choice and minimal pairs: which choice a model finds likeliest, item by item. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval_metrics.h"
#include "mdq_bootstrap.h"
#include "mdq_log.h"
#include "mdq_tasks.h"

/* What one model answers: correct[i] of every item. */
struct answers {
    struct mdq_tasks tasks;
    double *correct;
};

static void answers_free(struct answers *a)
{
    mdq_tasks_free(&a->tasks);
    free(a->correct);
}

static enum mdq_err answer(struct answers *a, const char *dir, const struct eval_opts *o)
{
    struct eval_model m;
    double *nll = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, eval_model_open(&m, dir, o), out);
    for (int f = 0; f < o->tasks.n; f++)
        MDQ_GOTO(err, mdq_tasks_read(&a->tasks, m.t, o->tasks.v[f], o->delimiter, o->limit, m.ctx, m.m->config.vocab), out);
    const struct mdq_examples *e = &a->tasks.examples;
    err = MDQ_E_INTERNAL;
    if (!(nll = mdq_alloc((size_t)e->ids.n, sizeof *nll, "losses")) ||
        !(a->correct = mdq_alloc((size_t)a->tasks.n, sizeof *a->correct, "answers")))
        goto out;
    mdq_progress_start("choice", mdq_example_work(m.run, e, 0, e->n), "token-blocks");
    MDQ_GOTO(err, eval_losses(&m, e, true, nll, NULL, NULL), out);
    mdq_progress_end();
    mdq_tasks_judge(&a->tasks, nll, a->correct);
out:
    free(nll);
    eval_model_close(&m);
    return err;
}

static enum mdq_err print_accuracy(struct mdq_output *out, const char *file, const double *correct, int64_t n)
{
    struct mdq_mean mean = mdq_mean_of(correct, n);
    struct eval_line l;
    eval_line_begin(&l);
    eval_line_text(&l, "metric", file ? "task_accuracy" : "accuracy");
    if (file)
        eval_line_text(&l, "tasks", file);
    eval_line_number(&l, "value", mean.mean);
    eval_line_number(&l, "stderr", mean.se);
    eval_line_interval(&l, "ci95", n < 2 ? (struct mdq_interval){NAN, NAN} : mdq_wilson(mean.mean, n));
    eval_line_int(&l, "n", n);
    return eval_line_end(&l, out);
}

static enum mdq_err print_files(const struct eval_opts *o, const struct answers *a, struct mdq_output *out)
{
    for (int64_t i = 0, n = 1; i < a->tasks.n; i += n, n = 1) {
        const int32_t f = a->tasks.items[i].file;
        while (i + n < a->tasks.n && a->tasks.items[i + n].file == f)
            n++;
        MDQ_TRY(print_accuracy(out, o->tasks.v[f], a->correct + i, n));
    }
    return MDQ_OK;
}

static enum mdq_err print_difference(const struct eval_opts *o, const struct answers *a, const struct answers *b, struct mdq_output *out)
{
    const int64_t n = a->tasks.n;
    int64_t same = 0; /* a smaller context, or another tokenizer, may have left out others */
    while (same < n && same < b->tasks.n && a->tasks.items[same].file == b->tasks.items[same].file &&
           a->tasks.items[same].line == b->tasks.items[same].line)
        same++;
    if (same < n || same < b->tasks.n)
        return mdq_fail(MDQ_E_DATA, "%s: does not take the same items as %s, so that there are no pairs to compare: see the warnings",
                        o->against, o->model);
    double *difference = mdq_alloc((size_t)n, sizeof *difference, "differences");
    if (!difference)
        return MDQ_E_INTERNAL;
    double sum = 0; /* of whole numbers mostly: no rounding where a running mean has some */
    for (int64_t i = 0; i < n; i++)
        sum += difference[i] = a->correct[i] - b->correct[i];
    struct mdq_mean mean = mdq_mean_of(difference, n);
    struct mdq_interval ci;
    enum mdq_err err = mdq_bootstrap_mean(difference, n, o->resamples, o->cli.seed, "items", &ci);
    free(difference);
    MDQ_TRY(err);
    struct eval_line l;
    eval_line_begin(&l);
    eval_line_text(&l, "metric", "accuracy_difference");
    eval_line_number(&l, "value", sum / (double)n);
    eval_line_number(&l, "stderr", mean.se);
    eval_line_interval(&l, "ci95", ci);
    eval_line_int(&l, "n", n);
    return eval_line_end(&l, out);
}

enum mdq_err eval_choice(const struct eval_opts *o, struct mdq_output *out)
{
    struct answers a = {0}, b = {0};
    enum mdq_err err;
    MDQ_GOTO(err, answer(&a, o->model, o), out);
    if (a.tasks.n < 2)
        mdq_log(MDQ_LOG_WARNING, "one item only: there is no standard error and no interval");
    if (o->against)
        MDQ_GOTO(err, answer(&b, o->against, o), out);
    MDQ_GOTO(err, print_accuracy(out, NULL, a.correct, a.tasks.n), out);
    if (o->tasks.n > 1)
        MDQ_GOTO(err, print_files(o, &a, out), out);
    if (o->against)
        err = print_difference(o, &a, &b, out);
out:
    answers_free(&a);
    answers_free(&b);
    return err;
}
