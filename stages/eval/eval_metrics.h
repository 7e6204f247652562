/* What the metrics of mdq-eval share: options, models opened for examples, the lines they print. */
#ifndef EVAL_METRICS_H
#define EVAL_METRICS_H

#include "eval_line.h"
#include "mdq_cli.h"
#include "mdq_example_losses.h"
#include "mdq_tokenizer.h"

struct eval_opts {
    struct mdq_cli cli;
    const char *metric, *model, *reference, *against, *text, *members, *nonmembers, *scores, *delimiter;
    struct mdq_strings tasks;
    int ctx, resamples, fills, decode;
    int64_t max_tokens, limit;
    double min_k;
    unsigned given; /* which options, a bit for each */
};

/* Each measures, and prints its lines to out. */
enum mdq_err eval_choice(const struct eval_opts *o, struct mdq_output *out);
enum mdq_err eval_mia(const struct eval_opts *o, struct mdq_output *out);
enum mdq_err eval_canary(const struct eval_opts *o, struct mdq_output *out);

/* A model folder ready for short texts. */
struct eval_model {
    struct mdq_model *m;
    struct mdq_tokenizer *t;
    struct mdq_run *run;
    int ctx; /* where longer texts are cut: the model's context, or a smaller --ctx */
};
/* dir NULL: leaves it empty. Released with eval_model_close, on failure too. */
enum mdq_err eval_model_open(struct eval_model *m, const char *dir, const struct eval_opts *o);
void eval_model_close(struct eval_model *m);
/* mdq_example_losses of all of them; a failure names the folder. */
enum mdq_err eval_losses(const struct eval_model *m, const struct mdq_examples *e, bool spans, double *nll, mdq_example_each *each,
                         void *arg);

/* Members and non-members, both as this model's tokens. */
struct eval_texts {
    struct mdq_examples of[2];
};
enum { EVAL_MEMBERS, EVAL_NONMEMBERS };
extern const char *const eval_set_names[2];
/*
 * Reads o->members and, where given, o->nonmembers, each at most o->limit records (0: all). A text that stands in both is MDQ_E_DATA.
 * Released with eval_texts_free, on failure too.
 */
enum mdq_err eval_texts_read(struct eval_texts *x, const struct eval_model *m, const struct eval_opts *o);
void eval_texts_free(struct eval_texts *x);

/* The different numbers of repeats among the records, rising; *n of them. NULL: out of memory. Released with free(). */
int64_t *eval_repeats(const struct mdq_examples *e, int *n);

#endif
