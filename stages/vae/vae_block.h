/*
 * The charts of one column block: the mixture is chosen (vae_select.h), each component trained (vae_train.h), every row given
 * its chart, foot and normal. Deterministic: what it draws depends on seed, tensor and block alone.
 */
#ifndef VAE_BLOCK_H
#define VAE_BLOCK_H

#include "mdq_chart.h"
#include "vae_select.h"
#include "vae_train.h"

enum { VAE_MAX_SWEEPS = 4 };

struct vae_options {
    struct vae_select_options select; /* dims.name, .block and .seed are set by vae_block_fit */
    struct vae_train_options train;   /* likewise; epochs 0: linear charts */
    int sweeps;        /* optimisations after the first, at most VAE_MAX_SWEEPS - 1 */
    double target;     /* mean squared error per entry above which a component is optimised again */
    double holdout;    /* share of the rows that is held out, where there are 64 or more */
    int foot_steps;
    uint64_t seed;
};

struct vae_chart_report {
    int64_t rows, dim95, dim_parallel; /* rows: those of which it is the chart */
    double mse_linear, mse;            /* per entry, at the feet, of its training rows */
    double elbo[VAE_MAX_SWEEPS + 1];   /* on held-out rows, per row: at the linear start, then after each sweep */
    int sweeps;
    bool nonlinear, missed;            /* missed: mse still above the target */
};

struct vae_block {
    int64_t n, D, most;                /* most: the largest d of a chart */
    int k;
    struct mdq_chart chart[VAE_MAX_CHARTS];
    struct vae_chart_report report[VAE_MAX_CHARTS];
    struct vae_selection selection;
    uint8_t *chart_of;                 /* [n] */
    float *resp;                       /* [n, k] */
    double *foot;                      /* [n, most] */
    float *normal;                     /* [n] in units of the scaled rows */
    int64_t floored, held;
    double elbo[VAE_MAX_SWEEPS + 1];   /* mixture bound on held-out rows, per row, as above */
    int sweeps;
    int fewer;                         /* how often half as many, trained, were better */
};

/* x [n, D]: rows of the block, each divided by its tile's scale. Released with vae_block_free, also after a failure. */
enum mdq_err vae_block_fit(struct vae_block *b, int64_t n, int64_t D, const float *x, const struct vae_options *o,
                           const char *tensor, int64_t block);
void vae_block_free(struct vae_block *b);

/*
 * ln p(x) bound of each of n rows under a mixture of charts, [n]; resp [n, k]. Used for held-out rows and by tests.
 */
enum mdq_err vae_mixture_elbo(const struct mdq_chart *charts, int k, int64_t n, const float *x, double *resp, double *elbo);

#endif
