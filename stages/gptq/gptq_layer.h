/*
 * One layer of a tile stream: all its records, held until the layer is quantized, and its weights put together.
 */
#ifndef GPTQ_LAYER_H
#define GPTQ_LAYER_H

#include "mdq.h"
#include "quant_grid.h"

struct gptq_layer {
    struct mdq_layer_entry entry; /* of the stream's header, which must outlive this */
    struct mdq_record **held;     /* in the order they came; released by gptq_layer_free or _clear */
    int n, capacity;
    float *w;                     /* [rows, cols]; buffer reused */
    uint8_t *codes;               /* [rows, cols]; buffer reused */
    size_t size;                  /* entries both buffers can hold */
};

/* Takes over a record of the layer. */
enum mdq_err gptq_layer_hold(struct gptq_layer *l, struct mdq_record *rec);
/*
 * Weights from the tiles into l->w, and the buffer of codes. MDQ_E_DATA naming layer and tile: no layer record, a
 * tile that is missing, comes twice or has another place or shape than the header's table says, a weight that is not
 * finite, a layer that is quantized already.
 */
enum mdq_err gptq_layer_assemble(struct gptq_layer *l);
/* Adds the q* keys, scales, zeros and qreport (JSON) to the layer record, and codes to each tile. */
enum mdq_err gptq_layer_store(struct gptq_layer *l, const struct quant_grid *g, const char *method, const char *order,
                              const char *report);
/* Releases the records; the buffers stay. */
void gptq_layer_clear(struct gptq_layer *l);
void gptq_layer_free(struct gptq_layer *l);

#endif
