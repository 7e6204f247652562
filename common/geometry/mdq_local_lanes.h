/*
 * Many small neighbourhoods at once: points side by side, one in each lane of a vector, so that problems of 15 x 15 run at
 * the speed of long ones. Lanes never mix: how many there are changes no result.
 *
 * A neighbourhood is its local Gram matrix about the point x_i: C_ab = (x_a - x_i) . (x_b - x_i), a, b = 0 .. k - 1 its
 * neighbours. It is held as the packed lower triangle, entry (a, b), b <= a, at mdq_packed(a, b).
 */
#ifndef MDQ_LOCAL_LANES_H
#define MDQ_LOCAL_LANES_H

#include <stdint.h>

#ifdef __AVX512F__
#define MDQ_LANE_BYTES 64
#else
#define MDQ_LANE_BYTES 32 /* wider vectors than the CPU's are slow with gcc */
#endif
enum { MDQ_LANES = MDQ_LANE_BYTES / 8 };
typedef double mdq_lanes __attribute__((vector_size(MDQ_LANE_BYTES)));
typedef int64_t mdq_lane_mask __attribute__((vector_size(MDQ_LANE_BYTES)));

static inline int64_t mdq_packed(int64_t a, int64_t b)
{
    return a * (a + 1) / 2 + b;
}

/* a where the mask is set, else b */
#define MDQ_SELECT(mask, a, b) ((mdq_lanes)(((mask) & (mdq_lane_mask)(a)) | (~(mask) & (mdq_lane_mask)(b))))

static inline void mdq_lanes_sqrt(mdq_lanes *v)
{
    for (int l = 0; l < MDQ_LANES; l++)
        (*v)[l] = __builtin_sqrt((*v)[l]);
}

/*
 * Lane `lane` of c (packed, k (k + 1) / 2 vectors) = the local Gram matrix of point i of x [n, D] (row stride ldx) with these
 * neighbours, from the differences themselves. work: k * D doubles and k * k more.
 */
void mdq_local_gram(int64_t D, const float *x, int64_t ldx, int64_t i, int64_t k, const uint16_t *neighbours, double *work,
                    int lane, mdq_lanes *c);

/*
 * The local PCA of MDQ_LANES neighbourhoods from their Gram matrices (units: weights squared), which are overwritten.
 * Per lane: dim = eigenvalues of the covariance about the neighbours' mean, largest first, that reach `variance` of
 * their sum (at most cap when cap > 0), normal = distance of the point from the plane through that mean.
 * Householder's tridiagonal form, then implicit QL, as in EISPACK's tred2 and tql2 without the vectors: all that is
 * needed of these is their products with one vector. work: 4 k vectors.
 */
void mdq_local_spectrum(int64_t k, mdq_lanes *c, double variance, int64_t cap, mdq_lanes *work, uint8_t *dim, double *normal);

#endif
