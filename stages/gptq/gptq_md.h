/* Manifold distortion of a layer: measured, constrained, stored in its tiles, told in its report. */
#ifndef GPTQ_MD_H
#define GPTQ_MD_H

#include <jansson.h>

#include "gptq_constrain.h"
#include "gptq_layer.h"

struct gptq_md {
    struct mdq_points geometry;
    float *md;                     /* [points] */
    struct gptq_constrained done;  /* what the constraints took; zero without */
    int64_t met, missed;           /* constraints */
};

/*
 * Distortion of a quantized layer, and with `o` its constraints met as far as they can be: codes, grid and the sums of
 * `outcome` and *ehe change. h, f as in gptq_constrain; h may be NULL when o is. MDQ_E_DATA: geometry in the records
 * that contradicts itself. Released with gptq_md_free, also after a failure.
 */
enum mdq_err gptq_md_layer(struct gptq_md *m, struct gptq_layer *l, struct quant_grid *grid, const float *h,
                           const struct gptq_factor *f, const struct gptq_constraints *o, struct quant_outcome *outcome, double *ehe);
/* Adds md, and where there are labels md_status, to each tile. */
enum mdq_err gptq_md_store(const struct gptq_md *m, struct gptq_layer *l);
/* The map `md` of the report, all misses in it. NULL: out of memory. */
json_t *gptq_md_json(const struct gptq_md *m);
void gptq_md_free(struct gptq_md *m);

#endif
