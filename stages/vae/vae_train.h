/*
 * One component of the mixture as a variational autoencoder (Kingma and Welling 2014): started exactly at the linear solution, for
 * which the evidence lower bound is tight (Lucas et al. 2019), then trained. The decoder's output layer is linear in its
 * features, so that given the posterior its optimum is a least-squares problem, solved once an epoch; hidden layers, encoder and
 * posterior widths are trained by Adam (Kingma and Ba 2015) on minibatches between.
 */
#ifndef VAE_TRAIN_H
#define VAE_TRAIN_H

#include "mdq_chart.h"
#include "vae_ppca.h"

struct vae_train_options {
    int hidden;   /* units of each hidden layer, one of which is constant */
    int epochs;   /* in a sweep */
    uint64_t seed;
    const char *name;
    int64_t block; /* with name and seed: where random numbers come from */
};

/* Rows of one component: those with a responsibility worth counting. */
struct vae_part {
    int64_t n;
    float *x;      /* [n, D] less the component's mean */
    float *weight; /* [n] responsibilities */
};

enum mdq_err vae_part_new(struct vae_part *p, const struct vae_rows *rows, const double *resp, int64_t stride, const float *mean);
void vae_part_free(struct vae_part *p);

/* The linear solution as a chart of `hidden` units that have no effect yet; random, but for that. rows: of the component. */
enum mdq_err vae_chart_start(struct mdq_chart *c, const struct vae_ppca *p, int64_t D, int64_t stride, int hidden,
                             const struct vae_part *rows, uint64_t seed, const char *name, int64_t block);
enum mdq_err vae_chart_copy(struct mdq_chart *to, const struct mdq_chart *from);

/*
 * elbo [n] = the evidence lower bound of each row of x [n, ldx] (not centred), nats: what the linear part gives in closed form,
 * the rest by two antithetic pairs of samples that depend on the row's number alone.
 */
enum mdq_err vae_elbo(const struct mdq_chart *c, int64_t n, const float *x, int64_t ldx, double *elbo);

/*
 * One sweep. The chart that is returned is the best seen on `held` (mean ELBO weighted by responsibility), which may be
 * the one that was given; *gain = by how much it is better, nats per row. held->n = 0: the training rows decide.
 */
enum mdq_err vae_sweep(struct mdq_chart *c, const struct vae_part *train, const struct vae_part *held,
                       const struct vae_train_options *o, int sweep, double *gain);

/* Mean ELBO of a part, weighted; parts are centred already. */
enum mdq_err vae_part_elbo(const struct mdq_chart *c, const struct vae_part *p, double *mean);

#endif
