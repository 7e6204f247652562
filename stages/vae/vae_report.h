/* What is told of a layer's charts: the map `vae` of its layer record, the map `fit` of each chart. */
#ifndef VAE_REPORT_H
#define VAE_REPORT_H

#include "vae_block.h"

/* JSON, keys sorted; NULL: out of memory. Released with free(). */
char *vae_report_layer(const struct vae_block *blocks, int64_t n);
char *vae_report_chart(const struct vae_block *b, int chart);

/* Sums over layers, for the summary at the end. */
struct vae_totals {
    int64_t blocks, charts, nonlinear, missed, rows, floored, dims;
};
void vae_totals_add(struct vae_totals *t, const struct vae_block *b);
char *vae_totals_text(const struct vae_totals *t);

#endif
