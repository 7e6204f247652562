/*
 * How a weight matrix is cut into tiles: a dimension of n entries becomes ceil(n / size) near-equal parts, the first
 * n mod k of them one longer than the others, so that there are no sliver tiles (896 with size 256: 4 x 224).
 */
#ifndef MDQ_TILING_H
#define MDQ_TILING_H

#include <stdint.h>

enum { MDQ_TILE = 256 }; /* the default size */

/* The number of parts; n >= 0 and size >= 1. */
static inline int64_t mdq_tiling_parts(int64_t n, int64_t size)
{
    return n / size + (n % size != 0);
}
/* First entry of part i of k parts of n, 0 <= i <= k (i = k gives n). */
static inline int64_t mdq_tiling_first(int64_t n, int64_t k, int64_t i)
{
    int64_t longer = n % k;
    return i * (n / k) + (i < longer ? i : longer);
}
/* Length of part i of k parts of n, 0 <= i < k. */
static inline int64_t mdq_tiling_length(int64_t n, int64_t k, int64_t i)
{
    return n / k + (i < n % k);
}

#endif
