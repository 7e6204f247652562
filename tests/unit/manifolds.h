/*
 * Points on manifolds whose tangents are known, in R^D with noise: affine planes, unions of planes, the sphere S^2, the Swiss
 * roll. For tests and benchmarks; everything is static.
 */
#ifndef MANIFOLDS_H
#define MANIFOLDS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"
#include "vae_eigen.h"

enum manifold { AFFINE_PLANE, UNION_OF_PLANES, SPHERE, SWISS_ROLL };

struct manifold_spec {
    enum manifold kind;
    int64_t D, d;    /* d: dimension; 2 for sphere and roll */
    int planes;      /* of a union */
    double noise;    /* standard deviation per entry; coordinates on the manifold have about 1 */
    uint64_t seed;   /* of the manifold itself: frames and offsets */
};

struct manifold_points {
    int64_t n;
    float *x;        /* [n, D] */
    double *clean;   /* [n, D] without the noise */
    double *tangent; /* [n, D, d] */
    int *plane;      /* [n] */
};

static inline void manifold_frame(struct mdq_random *r, int64_t D, int64_t d, double *f) /* [D, d] orthonormal */
{
    for (int64_t j = 0; j < d; j++) {
        double size = 0;
        for (int64_t i = 0; i < D; i++)
            f[i * d + j] = mdq_random_normal(r);
        for (int pass = 0; pass < 2; pass++)
            for (int64_t p = 0; p < j; p++) {
                double dot = 0;
                for (int64_t i = 0; i < D; i++)
                    dot += f[i * d + p] * f[i * d + j];
                for (int64_t i = 0; i < D; i++)
                    f[i * d + j] -= dot * f[i * d + p];
            }
        for (int64_t i = 0; i < D; i++)
            size += f[i * d + j] * f[i * d + j];
        for (int64_t i = 0; i < D; i++)
            f[i * d + j] /= sqrt(size);
    }
}

/* sample: which points (another number, another split of the same manifold). */
static inline struct manifold_points manifold_sample(const struct manifold_spec *s, int64_t n, uint64_t sample)
{
    const int64_t D = s->D, d = s->d, wide = d > 3 ? d : 3;
    struct manifold_points p = {.n = n, .x = malloc((size_t)(n * D) * sizeof(float)), .clean = calloc((size_t)(n * D), sizeof(double)),
                                .tangent = calloc((size_t)(n * D * d), sizeof(double)), .plane = calloc((size_t)n, sizeof(int))};
    int planes = s->kind == UNION_OF_PLANES ? s->planes : 1;
    double *frames = malloc((size_t)(planes * D * wide) * sizeof(double)), *offsets = malloc((size_t)(planes * D) * sizeof(double));
    struct mdq_random r;
    for (int k = 0; k < planes; k++) {
        mdq_random_seed(&r, s->seed, "frame", (uint64_t)k, 0);
        manifold_frame(&r, D, wide, frames + k * D * wide);
        for (int64_t i = 0; i < D; i++)
            offsets[k * D + i] = mdq_random_normal(&r) * 4 / sqrt((double)D);
    }
    mdq_random_seed(&r, s->seed, "points", sample, 1);
    for (int64_t q = 0; q < n; q++) {
        int k = (int)mdq_random_below(&r, planes);
        const double *f = frames + k * D * wide;
        double at[64] = {0}, along[64][64] = {{0}}; /* coordinates, and tangents in them: along[j] */
        p.plane[q] = k;
        if (s->kind == SPHERE) {
            double u[3], size = 0;
            for (int j = 0; j < 3; j++) {
                u[j] = mdq_random_normal(&r);
                size += u[j] * u[j];
            }
            for (int j = 0; j < 3; j++)
                at[j] = u[j] / sqrt(size) * sqrt(3.0);
            int low = fabs(u[0]) < fabs(u[1]) ? (fabs(u[0]) < fabs(u[2]) ? 0 : 2) : (fabs(u[1]) < fabs(u[2]) ? 1 : 2);
            double e[3] = {0}, dot = at[low] / 3, len = 0;
            e[low] = 1;
            for (int j = 0; j < 3; j++) {
                along[0][j] = e[j] - dot * at[j];
                len += along[0][j] * along[0][j];
            }
            for (int j = 0; j < 3; j++)
                along[0][j] /= sqrt(len);
            for (int j = 0; j < 3; j++)
                along[1][j] = (at[(j + 1) % 3] * along[0][(j + 2) % 3] - at[(j + 2) % 3] * along[0][(j + 1) % 3]) / sqrt(3.0);
        } else if (s->kind == SWISS_ROLL) {
            double t = 1.5 * 3.14159265358979 * (1 + 2 * mdq_random_uniform(&r)), w = 21 * mdq_random_uniform(&r), c = 1 / 7.0;
            at[0] = c * t * cos(t), at[1] = c * w, at[2] = c * t * sin(t);
            double a = cos(t) - t * sin(t), b = sin(t) + t * cos(t), len = sqrt(a * a + b * b);
            along[0][0] = a / len, along[0][2] = b / len, along[1][1] = 1;
        } else {
            for (int64_t j = 0; j < d; j++) {
                at[j] = mdq_random_normal(&r);
                along[j][j] = 1;
            }
        }
        for (int64_t i = 0; i < D; i++) {
            double v = s->kind <= UNION_OF_PLANES ? offsets[k * D + i] : 0;
            for (int64_t j = 0; j < wide; j++)
                v += f[i * wide + j] * at[j];
            p.clean[q * D + i] = v;
            p.x[q * D + i] = (float)(v + s->noise * mdq_random_normal(&r));
            for (int64_t j = 0; j < d; j++)
                for (int64_t c = 0; c < wide; c++)
                    p.tangent[(q * D + i) * d + j] += f[i * wide + c] * along[j][c];
        }
    }
    free(frames);
    free(offsets);
    return p;
}

static inline void manifold_free(struct manifold_points *p)
{
    free(p->x);
    free(p->clean);
    free(p->tangent);
    free(p->plane);
}

/* The largest principal angle, in radians, between the span of t [D, d] and that of the first `rank` columns of u [D, ldu]: how far t
 * leans out of it (pi / 2 when rank < d). */
static inline double manifold_angle(int64_t D, int64_t d, const double *t, int64_t rank, const double *u, int64_t ldu)
{
    double m[64 * 64], mm[64 * 64] = {0}, values[64];
    if (rank < d)
        return 1.5707963267948966;
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b < rank; b++) {
            double dot = 0;
            for (int64_t i = 0; i < D; i++)
                dot += t[i * d + a] * u[i * ldu + b];
            m[a * rank + b] = dot;
        }
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b < d; b++)
            for (int64_t c = 0; c < rank; c++)
                mm[a * d + b] += m[a * rank + c] * m[b * rank + c];
    if (vae_eigen_top(d, mm, d, values, NULL, 0) != MDQ_OK)
        return NAN;
    return acos(sqrt(fmin(fmax(values[d - 1], 0), 1)));
}

#endif
