/*
 * Mixtures of probabilistic principal component analysers: closed-form EM (Tipping and Bishop 1999, "Mixtures of
 * probabilistic principal component analysers", equations 22 to 27). In double throughout.
 *
 * Component k: N(mean, U diag(lambda) U^T + sigma^2 (I - U U^T)), U [D, d] orthonormal, lambda_j >= sigma^2. A maximisation step
 * takes the weighted covariance S: lambda_j its leading eigenvalues, sigma^2 the mean of the others (equations 26, 27). Only
 * the first and the last step of a run decompose S; those between search the span of [U, S U] (Rayleigh-Ritz), where no
 * eigenvalue falls, so that the likelihood does not fall either (a generalised EM).
 */
#ifndef VAE_PPCA_H
#define VAE_PPCA_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

enum { VAE_MAX_CHARTS = 16 };

struct vae_rows {
    int64_t n, D;
    const float *x;   /* [n, D] rows, each divided by its tile's scale */
};

struct vae_ppca {
    int64_t d;
    double weight, noise;
    double *mean;   /* [D] */
    double *u;      /* [D, cap], the first d columns used; row stride cap */
    double *lambda; /* [cap] */
    int64_t dim95, dim_parallel; /* what the two rules gave; -1: not asked */
};

struct vae_mixture {
    int64_t D, cap; /* cap: the largest d there is room for */
    int k;
    struct vae_ppca c[VAE_MAX_CHARTS];
    double loglik;     /* of the rows that were fitted, nats, at the parameters as they are */
    int iterations, floor_hits, removed;
};

enum mdq_err vae_mixture_new(struct vae_mixture *m, int64_t D, int64_t cap);
void vae_mixture_free(struct vae_mixture *m);
enum mdq_err vae_mixture_copy(struct vae_mixture *to, const struct vae_mixture *from);

/* resp [n, k] = responsibilities; log_density [n], unless NULL, = ln p(x). Returns sum ln p(x) in *loglik. */
enum mdq_err vae_mixture_expect(const struct vae_mixture *m, const struct vae_rows *rows, double *resp, double *log_density,
                                double *loglik);
enum mdq_err vae_mixture_expect_ref(const struct vae_mixture *m, const struct vae_rows *rows, double *resp,
                                    double *log_density, double *loglik);

/* How dimensions are chosen: `fixed` >= 0: that many; else by parallel analysis with `permutations` copies, at most
 * what `variance` of the component's variance takes and at most `cap`. */
struct vae_dims {
    int64_t fixed, cap;
    double variance;
    int permutations;
    uint64_t seed;
    const char *name; /* of the tensor: part of what the permutations are drawn from */
    int64_t block;
};

/*
 * Dimension, mean, plane and noise of component k from rows weighted by resp[:, k] (row stride `stride`): the closed
 * form, with the dimension chosen by `dims`, or, when that is NULL, as it is as far as the rows allow. floor: the least sigma^2.
 */
enum mdq_err vae_component_fit(struct vae_mixture *m, int k, const struct vae_rows *rows, const double *resp, int64_t stride,
                               const struct vae_dims *dims, double floor);

/*
 * EM from resp [n, m->k] (initial responsibilities; the final ones on return): at most `iterations`, until the gain
 * is below 1e-5 nats per row. Components whose mass falls below 2 (d + 1) rows are removed (resp loses their columns).
 * trace, unless NULL, is called with the log-likelihood of each iteration and whether the step before it hit the noise
 * floor or removed a component.
 */
enum mdq_err vae_mixture_em(struct vae_mixture *m, const struct vae_rows *rows, double *resp, int iterations, double floor,
                            void (*trace)(void *context, double loglik, bool exempt), void *context);

/* Variance per entry of the rows about their mean: 1e-6 of it is the floor of every sigma^2. */
double vae_total_variance(const struct vae_rows *rows);

/* Hierarchical BIC (Zhao 2014, IEEE T-Cyb. 44:375, eq. 13), higher is better: loglik - 1/2 sum_k p_k ln(n pi_k) - 1/2 (K-1) ln n,
 * p_k = D d - d (d - 1) / 2 + D + 1. */
double vae_hierarchical_bic(const struct vae_mixture *m, int64_t n);

#endif
