/*
 * Which points of a layer are marked. A point is a row of a tile: of a layer with R rows cut into C tiles across there are
 * R x C, numbered column block by column block. Each set is a random sample of exact size (the share of the points,
 * rounded), drawn for each layer by itself: it depends on seed and tensor, not on which other layers the stream holds.
 */
#ifndef LABEL_CHOOSE_H
#define LABEL_CHOOSE_H

#include "mdq.h"

enum label { LABEL_FREE = 0, LABEL_FUNCTIONAL = 1, LABEL_SENSITIVE = 2, LABEL_OVERLAP = 3, LABELS = 4 };

/* How many of `points` a share in [0, 1] is: rounded, halves up. */
int64_t label_share(double share, int64_t points);

/*
 * label [points of the layer] gets the bit `mark` (functional or sensitive) set in a random `share` of its elements; the
 * two marks draw independently, so that they overlap by chance.
 */
void label_choose(uint64_t seed, const struct mdq_layer_entry *layer, double share, enum label mark, uint8_t *label);

#endif
