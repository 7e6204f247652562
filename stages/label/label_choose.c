#include "label_choose.h"

#include <math.h>

#include "mdq_random.h"

int64_t label_share(double share, int64_t points)
{
    int64_t n = (int64_t)floor(share * (double)points + 0.5);
    return n < points ? n : points;
}

/*
 * Selection sampling (Knuth, algorithm S): each point in turn is taken with probability wanted / left, which gives every
 * subset of that size the same chance, in order and without a table.
 */
void label_choose(uint64_t seed, const struct mdq_layer_entry *layer, double share, enum label mark, uint8_t *label)
{
    struct mdq_random r;
    int64_t left = layer->rows * layer->tile_cols;
    int64_t wanted = label_share(share, left);
    mdq_random_seed(&r, seed, layer->tensor, (uint64_t)mark, 0);
    for (int64_t i = 0; wanted > 0; i++, left--) {
        if (mdq_random_below(&r, left) >= wanted)
            continue;
        label[i] |= (uint8_t)mark;
        wanted--;
    }
}
