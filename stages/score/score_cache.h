/* Probes that were answered, kept as files: FOLDER/<hash>.json. Losing the folder costs time, nothing else. */
#ifndef SCORE_CACHE_H
#define SCORE_CACHE_H

#include "score_probe.h"

/* Makes the folder where it is missing. */
enum mdq_err score_cache_open(const char *folder);
/* What an answer depends on: the moved model, the texts, and how they are run. */
void score_cache_key(const char model[33], const struct score_texts *t, char key[33]);
/* Fills `l` (n set, room there) with bit-equal values. A file that is damaged or of other counts is passed over with a warning. */
enum mdq_err score_cache_get(const char *folder, const char key[33], struct score_losses *l, bool *found);
enum mdq_err score_cache_put(const char *folder, const char key[33], const struct score_losses *l);

#endif
