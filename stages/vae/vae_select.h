/*
 * How many components, and of which dimensions: K in 1, 2, 4, 8, 16, each started from the one before with every component split,
 * kept while the hierarchical BIC and the likelihood of held-out rows both rise; then components whose union
 * scores better are merged.
 */
#ifndef VAE_SELECT_H
#define VAE_SELECT_H

#include "vae_ppca.h"

struct vae_select_options {
    int charts;          /* > 0: exactly that many are started, no choice is made; 0: choose */
    int max_charts;
    int restarts, iterations;
    struct vae_dims dims;
};

struct vae_tried {
    int k;
    double loglik, bic, heldout; /* per row; heldout NaN where nothing was held out */
};

struct vae_selection {
    struct vae_tried tried[8];
    int n;
    int merged;
};

/* Fits `train`; `held` (n may be 0) is only looked at. resp [train->n, VAE_MAX_CHARTS] is scratch and holds the final
 * responsibilities as [n, m->k]. m is from vae_mixture_new. */
enum mdq_err vae_select(struct vae_mixture *m, const struct vae_rows *train, const struct vae_rows *held,
                        const struct vae_select_options *o, double *resp, struct vae_selection *s);

#endif
