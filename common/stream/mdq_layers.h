/*
 * What stages share between models and streams: the layer table of a model's blocks.
 * (common/stream is the one folder of common/ that knows formats/.)
 */
#ifndef MDQ_LAYERS_H
#define MDQ_LAYERS_H

#include "mdq.h"
#include "mdq_model.h"

/*
 * A header for a stream about the linear layers of blocks first..last of `m` (whose hash is known), cut into tiles
 * of at most `tile` rows and columns. No kinds and no provenance yet. Released by mdq_header_free.
 */
enum mdq_err mdq_layers_header(struct mdq_header **out, const struct mdq_model *m, int first, int last, int64_t tile);

/* MDQ_E_DATA naming both when the stream behind `h` (called `name` in the message) is about another model. */
enum mdq_err mdq_layers_same_model(const struct mdq_header *h, const char *name, const struct mdq_model *m);

#endif
