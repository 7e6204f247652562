/*
 * The quantized layers of a model, one after the other in layer order, out of record streams.
 *
 * Streams with the same layer table are merged by identity (the reader does that); streams with different tables (one
 * per block, say) are read one after the other. Together they must hold every linear layer of the model, once.
 */
#ifndef PACK_INPUT_H
#define PACK_INPUT_H

#include "mdq_model.h"
#include "pack_format.h"

struct pack_input;

/* Opens the streams and checks, from their headers, that they belong to this model and hold all its linear layers.
 * n = 0: standard input. `paths` and `m` must outlive the input. */
enum mdq_err pack_input_open(struct pack_input **out, const struct mdq_model *m, char *const *paths, int n, int threads);
/* The name of the (first) input, for messages. */
const char *pack_input_name(const struct pack_input *in);
/* The next layer in layer order, as mdq_qlayer_next gives it; a layer that is not there is MDQ_E_DATA. *more is false
 * after the last one, when the end of all streams was seen. */
enum mdq_err pack_input_next(struct pack_input *in, struct mdq_qlayer *l, bool *more);
/* The group size that mdq-gptq was asked for, by the provenance chain: 0 when it does not say. */
int64_t pack_input_asked_group(const struct pack_input *in);
/* The provenance entries of all streams, without repetition: a JSON list, to be released with free(). */
enum mdq_err pack_input_provenance(const struct pack_input *in, char **json);
void pack_input_close(struct pack_input **in);

#endif
