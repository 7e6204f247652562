/*
 * Membership inference: what an attacker who sees a model's probabilities makes of a record. All scores are lower where membership
 * is likelier, as in mimir (github.com/iamgroot42/mimir, mimir/attacks), whose definitions these are. l_t = ln p(token t | those
 * before it), t = 2 ... T: the first token has no score.
 */
#ifndef EVAL_ATTACKS_H
#define EVAL_ATTACKS_H

#include <stddef.h>
#include <stdint.h>

#include "mdq_error.h"

enum eval_attack { EVAL_LOSS, EVAL_ZLIB, EVAL_MIN_K, EVAL_MIN_K_PP, EVAL_REFERENCE, EVAL_ATTACKS };
extern const char *const eval_attack_names[EVAL_ATTACKS];

/* What of a text's `n` scored tokens min-k % looks at: floor(n share), but one at least (mimir has NaN there). */
int64_t eval_min_k_tokens(int64_t n, double share);
/* -mean of the smallest of v [n], so many; `scratch` [n]. */
double eval_min_k(const double *v, int64_t n, double share, double *scratch);
/*
 * Min-K%++: how far ln p of the token that came lies above what this distribution leads to expect, in its own standard deviations:
 * z = (ln p(target) - mu) / sigma, mu = sum p ln p, sigma^2 = sum p (ln p)^2 - mu^2. 0 where the distribution has no spread.
 */
double eval_token_z(const float *logits, int64_t vocab, int64_t target);
/* The bytes of what zlib makes of a text, level 6 (zlib's default), header and checksum included. */
enum mdq_err eval_zlib_bytes(const char *text, size_t bytes, size_t *compressed);

#endif
