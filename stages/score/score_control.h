/* Controls that are written in the place of what was found: for experiments that quantize both and compare. */
#ifndef SCORE_CONTROL_H
#define SCORE_CONTROL_H

#include "score_search.h"

enum score_control { SCORE_FOUND, SCORE_RANDOM_POINTS, SCORE_RANDOM_DIRECTION, SCORE_RANDOM_SIGNS };
extern const char *const score_control_names[]; /* NULL at the end */

/*
 * random points: as many others become the sensitive set, along their own protective direction. random direction: every point moves as
 * far as it would have, elsewhere. random signs: every point moves along its direction, forwards or backwards.
 */
enum mdq_err score_control(struct score_case *c, struct score_search *s, enum score_control which, uint64_t seed);

#endif
