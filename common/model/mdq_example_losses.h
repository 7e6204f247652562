/*
 * What a model thinks of examples: the loss of each of their tokens, and, for statistics of the whole distribution, its
 * logits one token at a time. Examples go through the model in batches of about equal length, padded on the right; the
 * values depend on the examples and the order in which they are given, not on the number of threads.
 */
#ifndef MDQ_EXAMPLE_LOSSES_H
#define MDQ_EXAMPLE_LOSSES_H

#include "mdq_examples.h"
#include "mdq_run.h"

/* Token `position` (1 or more) of the example is `target`; logits [vocabulary] is what the model predicted in its place. Called from
 * several threads at once, in any order. */
typedef void mdq_example_each(void *arg, int64_t example, int64_t position, int32_t target, const float *logits);

/*
 * nll[e->first[i] + p] = -ln p(token p of example i | those before it) for the examples [first, first + n); 0 for their first token
 * and, with `spans`, for tokens outside of the span. nll [e->ids.n]; the values of other examples are left alone. `each` may be NULL;
 * with `spans` it sees the tokens of the span only.
 *
 * The number of tokens per window of the run is changed. Progress is advanced, not opened: mdq_example_work units in all.
 */
enum mdq_err mdq_example_losses(struct mdq_run *run, const struct mdq_examples *e, int64_t first, int64_t n, bool spans, double *nll,
                                mdq_example_each *each, void *arg);
/* Progress units of a call ("token-blocks"); 0 when out of memory. */
double mdq_example_work(const struct mdq_run *run, const struct mdq_examples *e, int64_t first, int64_t n);

/* A sum over the tokens of example i, from its losses: of the span, or of all. */
double mdq_example_sum(const struct mdq_examples *e, int64_t i, bool span, const double *nll);
/* A run for examples of this model, which changes its window to theirs. */
enum mdq_err mdq_example_run(struct mdq_run **out, const struct mdq_model *m);

#endif
