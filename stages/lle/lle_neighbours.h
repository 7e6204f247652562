/* Exact nearest neighbours among the rows of a tile. */
#ifndef LLE_NEIGHBOURS_H
#define LLE_NEIGHBOURS_H

#include <stdint.h>

#include "mdq_error.h"

/*
 * g [n, n] = the Gram matrix of the rows of x [n, D] (row stride ldx) about their mean, both triangles; centred: n * D
 * doubles of scratch. The trace of g is the tile's sum of squares about its mean row.
 */
void lle_gram(int64_t n, int64_t D, const float *x, int64_t ldx, double *centred, double *g);

/*
 * For every row of x its k nearest others (k <= n - 1) by rising Euclidean distance, equal distances by index:
 * neighbours [n, k] and, unless NULL, their squared distances dist2 [n, k]. g: from lle_gram; it finds the candidates,
 * all those that its rounding error leaves possible, and distances are then computed from the differences of the
 * rows themselves, so that equal rows are at distance 0 exactly. n^2 D operations in g, about n^2 + 2 n k D here.
 */
enum mdq_err lle_neighbours(int64_t n, int64_t D, const float *x, int64_t ldx, const double *g, int64_t k,
                            uint16_t *neighbours, double *dist2);
enum mdq_err lle_neighbours_ref(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, uint16_t *neighbours,
                                double *dist2);

/* The connected parts of the graph that joins every row to its neighbours, in either direction. 0: out of memory. */
int64_t lle_components(int64_t n, int64_t k, const uint16_t *neighbours);

/* How many rows are equal to one before them; dist2 as from lle_neighbours (k >= 1, else 0). */
int64_t lle_duplicates(int64_t n, int64_t k, const uint16_t *neighbours, const double *dist2);

#endif
