/*
 * All that mdq-lle finds out about one tile: a pure function of the tile, the options, and the name under which random
 * numbers are drawn.
 */
#ifndef LLE_TILE_H
#define LLE_TILE_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"
#include "mdq_random.h"

/* A tile shows a manifold when its residual is below this part of every permuted copy's (and there is one). */
#define LLE_EVIDENCE 0.9

struct lle_options {
    int64_t k;         /* neighbours wanted; a tile of n rows has min(k, n - 1) */
    double reg;        /* of the local Gram matrix, as a part of its trace */
    double variance;   /* that the tangent directions reach */
    int64_t embedding; /* dimensions; 0: none */
    int64_t permutations; /* permuted copies for the residual; 0: no null */
    int64_t parallel;  /* permuted copies for the dimension by parallel analysis; 0: off */
};

/* Arrays belong to the struct; those of a tile without neighbours (one row) have no entries, scalars are then 0. */
struct lle_tile {
    int64_t n, k, m;      /* rows; neighbours and embedding dimensions there are: at most n - 1 */
    uint16_t *neighbours; /* [n, k] */
    double *weights;      /* [n, k] */
    double *squared;      /* [n]: ||x_i - sum w x_a||^2 */
    double *embedding;    /* [n, m] */
    uint8_t *dim;         /* [n] */
    double *normal;       /* [n] */
    double residual;      /* sum of `squared` over the sum of squares about the tile's mean row; 0 where that is 0 */
    double null_residual; /* mean of the same over the permuted copies */
    double null_least;    /* the smallest of them */
    double dim95;         /* mean of dim */
    int64_t dim_parallel; /* eigenvalues of the covariance above all of the permuted copies' */
    int64_t components, duplicates;
    double normal_ratio;  /* median of normal / ||w|| over the rows that are not 0 */
    bool manifold;
};

/*
 * x [n, D], row-major, finite; n at most 65536. `random` draws the permuted copies: one after another, column by column. Fills
 * *out, which lle_tile_free releases (also after an error).
 */
enum mdq_err lle_tile_run(int64_t n, int64_t D, const float *x, const struct lle_options *o, struct mdq_random *random,
                          struct lle_tile *out);
void lle_tile_free(struct lle_tile *t);

/* out [n, D] = x with the entries of each column in random order of their own (Fisher and Yates). */
void lle_permute(int64_t n, int64_t D, const float *x, struct mdq_random *random, float *out);

#endif
