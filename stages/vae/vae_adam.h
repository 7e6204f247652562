/* Adam (Kingma and Ba 2015, algorithm 1) on the parameters of a chart that are trained by gradients. */
#ifndef VAE_ADAM_H
#define VAE_ADAM_H

#include "mdq_chart.h"

/* Gradients, in the shapes of the chart's arrays; log_sd: with respect to ln post_sd. All in one buffer. */
struct vae_gradient {
    float *dec_in, *dec_bias, *enc_lin, *enc_in, *enc_bias, *enc_out, *log_sd;
};

struct vae_adam {
    struct vae_gradient gradient;
    float *g, *first, *second; /* [count] each */
    int64_t count, steps;
};

enum mdq_err vae_adam_new(struct vae_adam *a, const struct mdq_chart *c);
void vae_adam_free(struct vae_adam *a);
/* One step along the gradient; rate in (0, 1] scales the step sizes, which are set per array. */
void vae_adam_step(struct vae_adam *a, struct mdq_chart *c, double rate);

#endif
