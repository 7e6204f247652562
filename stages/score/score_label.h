/* From the two sets to what each point gets: scores in [0, 1], label and distortion target (design 1.3). Pure functions. */
#ifndef SCORE_LABEL_H
#define SCORE_LABEL_H

#include "score_search.h"

struct score_labels {
    uint8_t *label;              /* [points] MDQ_FREE ... MDQ_OVERLAP */
    float *target, *func, *priv; /* [points] md_target; S_func, S_priv */
    int64_t count[MDQ_CLASSES];
};

/* phi(r) = r / (1 + r), r below 0 or not a number as 0. */
double score_phi(double r);
/*
 * t = logistic(logit(lambda) + ln((S_priv + 1e-3) / (S_func + 1e-3))), MD* = low + (high - low) t; lambda is kept within [0.01, 0.99].
 */
double score_overlap_target(double lambda, double priv, double func, double low, double high);

/*
 * r of a point = its set's measured ratio to the threshold x (its estimate / the set's mean estimate):
 *   S_func = w phi(r of dPPL / its threshold) + (1 - w) phi(r of dAcc / its threshold)   estimate: the functional rank
 *   S_priv = w phi(r of H_sens / its threshold) + (1 - w) phi(r of dAdvantage / its threshold)   estimate: the gain
 * All 0 where the set is empty. Released with score_labels_free, on failure too.
 */
enum mdq_err score_labels_make(struct score_labels *l, const struct score_search *s);
void score_labels_free(struct score_labels *l);

#endif
