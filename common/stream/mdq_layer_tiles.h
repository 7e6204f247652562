/* All records of one layer, held until the layer is done, and its weights put together from the tiles. */
#ifndef MDQ_LAYER_TILES_H
#define MDQ_LAYER_TILES_H

#include "mdq.h"

/* Where a tile lies in W. */
struct mdq_tile_place {
    int64_t row, col, rows, cols;
};

struct mdq_layer_tiles {
    struct mdq_layer_entry entry; /* of the stream's header, which must outlive this */
    struct mdq_record **held;     /* in the order they came */
    int n, capacity;
    float *w;                     /* [rows, cols]; buffer reused */
    size_t size;                  /* entries the buffer can hold */
};

/* Takes over a record of the layer. */
enum mdq_err mdq_layer_tiles_hold(struct mdq_layer_tiles *l, struct mdq_record *rec);
/*
 * Weights from the tiles into l->w. MDQ_E_DATA naming layer and tile: no layer record, a tile that is missing, comes
 * twice or has another place or shape than the header's table says, a weight that is not finite.
 */
enum mdq_err mdq_layer_tiles_assemble(struct mdq_layer_tiles *l);
/* Where a tile lies by the header's table; false when its identity is outside of it. */
bool mdq_tile_place(const struct mdq_layer_entry *e, struct mdq_id id, struct mdq_tile_place *p);
/* Releases the records; the buffer stays. */
void mdq_layer_tiles_clear(struct mdq_layer_tiles *l);
void mdq_layer_tiles_free(struct mdq_layer_tiles *l);

#endif
