/* Between tile records and what lle_tile.h works on. */
#ifndef LLE_RECORD_H
#define LLE_RECORD_H

#include "lle_tile.h"
#include "mdq.h"

/*
 * The weights of a tile record as float32, row-major [*rows, *cols]; *w is released with free(). MDQ_E_DATA, naming the tile,
 * when it has none, has more than 2 dimensions or none, is not finite, or went through mdq-lle already.
 */
enum mdq_err lle_record_weights(struct mdq_record *rec, float **w, int64_t *rows, int64_t *cols);

/* Adds the lle_* and tangent_* keys and the map `lle`. The embedding's key only where o asks for one. */
enum mdq_err lle_record_store(struct mdq_record *rec, const struct lle_tile *t, const struct lle_options *o);

#endif
