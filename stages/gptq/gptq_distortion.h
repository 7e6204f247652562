/* Manifold distortion of a layer's codes. */
#ifndef GPTQ_DISTORTION_H
#define GPTQ_DISTORTION_H

#include "mdq_points.h"
#include "quant_grid.h"

/* md [points] of w rounded to `codes` on `grid`. */
enum mdq_err gptq_distortion(const struct mdq_points *g, const float *w, const struct quant_grid *grid, const uint8_t *codes,
                             float *md);

#endif
