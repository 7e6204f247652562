/* Extraction: what a model says when it is given the tokens before a span and its likeliest token is taken every time. */
#ifndef EVAL_EXTRACT_H
#define EVAL_EXTRACT_H

#include "eval_metrics.h"

/*
 * Greedy decoding of the span of every example from the tokens before it: said [e->ids.n] receives, at the places of the spans, the
 * tokens that were said (the first among equals). Exactly what decoding token by token gives, in fewer passes: a pass looks at the
 * whole span at once, with the true tokens in the places not reached yet, and stands as far as these were right.
 */
enum mdq_err eval_greedy(const struct eval_model *m, const struct mdq_examples *e, int32_t *said);

/* Levenshtein distance of two lists of tokens; -1: out of memory. */
int64_t eval_levenshtein(const int32_t *a, int64_t m, const int32_t *b, int64_t n);

/*
 * The prefixes of a span that are not the one it was trained with, but hold nothing else (Merullo et al. 2025, Huang et al. 2024: what
 * a model gives away may hang on absolute positions). A record counts as extracted when one of them suffices.
 */
enum { EVAL_DROP_ONE, EVAL_DROP_HALF, EVAL_PUT_ONE, EVAL_PUT_EIGHT, EVAL_PERTURBATIONS };

/*
 * The examples [0, n) of e with spans of at most `decode` tokens and perturbed prefixes: their first token or half of the prefix left
 * out, one or eight line breaks put before; BOS stays in front, and at least one token of the prefix. `perturbation` < 0: as they are.
 */
enum mdq_err eval_prefixes(struct mdq_examples *out, const struct eval_model *m, const struct mdq_examples *e, int perturbation,
                           int decode);

#endif
