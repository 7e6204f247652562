/* What mdq-tile does to a weight matrix: gather one tile, look for weights that are no numbers. */
#ifndef TILE_CUT_H
#define TILE_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "mdq_dtype.h"

/* Copies the tile of `rows` x `cols` entries at (row, col) out of a row-major matrix with `width` columns of
 * `element` bytes each (possibly unaligned) into dst, row-major without gaps. */
void tile_cut(const void *matrix, int64_t width, size_t element, int64_t row, int64_t col, int64_t rows,
              int64_t cols, void *dst);

/* Index of the first NaN or infinity among n elements of type f32, f16, bf16 or f64; -1 when all are finite, -2
 * for another type. */
int64_t tile_nonfinite(enum mdq_dtype dtype, const void *data, int64_t n);

#endif
