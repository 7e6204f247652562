/*
 * A chart: one component of the mixture over the rows of a column block, as a small variational autoencoder. What
 * formats/charts.md specifies; every function here is one of its formulas.
 *
 *     decoder    f(z) = mean + B z + V tanh(A z + a)          B [D, d], V [D, h], A [h, d], a [h]
 *     encoder    m(x) = E (x - mean) + P tanh(Q (x - mean) + q)    E [d, D], P [d, h], Q [h, D], q [h]
 *
 * x is a row of a tile divided by the tile's scale (key `row_scale`). d = 0 is a point mass with isotropic noise, h = 0 a linear chart
 * (probabilistic PCA, Tipping and Bishop 1999). The Jacobian of f is J(z) = B + V diag(1 - tanh^2) A; its orthonormal
 * basis U spans the tangent at f(z). U is never formed for many points: with C = [B V] and Y(z) = [I; diag(1 - tanh^2) A]
 * there is J = C Y, so that U^T e = T C^T e with T = L^-1 Y^T, L L^T = Y^T (C^T C) Y.
 */
#ifndef MDQ_CHART_H
#define MDQ_CHART_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

enum { MDQ_CHART_MAX_DIM = 64, MDQ_CHART_MAX_HIDDEN = 256, MDQ_CHART_MAX_COLS = 65536 };

struct mdq_chart {
    int64_t dim_in;   /* D, columns of the column block */
    int64_t dim;      /* d, latent dimensions, 0 to MDQ_CHART_MAX_DIM and below D */
    int64_t hidden;   /* h, 0 to MDQ_CHART_MAX_HIDDEN; 0 when d = 0 */
    double weight;    /* mixing weight pi, in (0, 1] */
    double noise;     /* variance sigma^2 per entry off the chart, > 0 */
    float *mean;      /* [D] */
    float *basis;     /* B [D, d] */
    float *dec_in;    /* A [h, d] */
    float *dec_bias;  /* a [h] */
    float *dec_out;   /* V [D, h] */
    float *enc_lin;   /* E [d, D] */
    float *enc_in;    /* Q [h, D] */
    float *enc_bias;  /* q [h] */
    float *enc_out;   /* P [d, h] */
    float *post_sd;   /* [d] standard deviations of q(z|x) */
    bool flat;        /* dec_out is 0: a plane; made by mdq_chart_prepare */
    double *joint;    /* C [D, d+h] in double; made by mdq_chart_prepare */
    double *gram;     /* C^T C [d+h, d+h]; made by mdq_chart_prepare */
};

/* All arrays, zeroed, for these sizes. Released with mdq_chart_free, also after a failure. */
enum mdq_err mdq_chart_new(struct mdq_chart *c, int64_t dim_in, int64_t dim, int64_t hidden);
void mdq_chart_free(struct mdq_chart *c);
/* Recomputes joint and gram; call after basis or dec_out changed and before the functions below. */
void mdq_chart_prepare(struct mdq_chart *c);

/* z [n, d] = encoder means of x [n, ldx]. */
void mdq_chart_encode(const struct mdq_chart *c, int64_t n, const float *x, int64_t ldx, double *z);
/* f [D] = decoder(z [d]). */
void mdq_chart_decode(const struct mdq_chart *c, const double *z, double *f);
/*
 * The foot of each point: z [n, d], given as the start (encoder means), refined by at most `steps` damped Gauss-Newton steps on
 * ||x - f(z)||^2, which never rises. residual [n] = ||x - f(z)||; normal [n] = ||(I - U U^T)(x - f(z))||.
 */
enum mdq_err mdq_chart_foot(const struct mdq_chart *c, int64_t n, const float *x, int64_t ldx, int steps, double *z,
                            double *residual, double *normal);
/* off [n] = ||(I - U(z) U(z)^T) e|| for vectors e [n, lde] (differences, not points); z [n, d]. O(n D (d + h)). */
enum mdq_err mdq_chart_off_tangent(const struct mdq_chart *c, int64_t n, const double *z, const float *e, int64_t lde,
                                   double *off);
enum mdq_err mdq_chart_off_tangent_ref(const struct mdq_chart *c, int64_t n, const double *z, const float *e, int64_t lde,
                                       double *off);
/* The orthonormal basis itself, U [D, d], for one point; *rank < d when the Jacobian is rank-deficient (then the
 * first *rank columns are the basis, the others 0). */
void mdq_chart_tangent(const struct mdq_chart *c, const double *z, double *u, int64_t *rank);

/* ||n_j|| with its floor (design 1.2): sqrt(max(n^2, 0.01 (D - d) noise)). */
double mdq_chart_normal_floor(const struct mdq_chart *c, double normal, int *floored);

#endif
