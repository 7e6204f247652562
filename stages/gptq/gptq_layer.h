/*
 * One layer of a tile stream: all its records, held until the layer is quantized, and its weights put together.
 */
#ifndef GPTQ_LAYER_H
#define GPTQ_LAYER_H

#include "mdq_layer_tiles.h"
#include "quant_grid.h"

struct gptq_layer {
    struct mdq_layer_tiles tiles; /* records, table entry, weights */
    uint8_t *codes;               /* [rows, cols]; buffer reused */
    float *target;                /* [rows, cols] what is rounded; buffer reused */
    bool moved;                   /* whether it differs from the weights */
    size_t size;                  /* entries they can hold */
};

/*
 * Weights from the tiles, what they are rounded to (moved by the drift and the shifts that mdq-score wrote), and the buffer of codes.
 * MDQ_E_DATA as mdq_layer_tiles_assemble, when the layer is quantized
 * already, and when keys contradict each other.
 */
enum mdq_err gptq_layer_assemble(struct gptq_layer *l);
/* Adds the q* keys, scales, zeros and qreport (JSON) to the layer record, and codes to each tile. */
enum mdq_err gptq_layer_store(struct gptq_layer *l, const struct quant_grid *g, const char *method, const char *order,
                              const char *report);
/* Releases the records; the buffers stay. */
void gptq_layer_clear(struct gptq_layer *l);
void gptq_layer_free(struct gptq_layer *l);

#endif
