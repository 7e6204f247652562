/* Some rows of a layer: rounded by themselves, their distortion, their part in the layer's sums. */
#ifndef GPTQ_ROWS_H
#define GPTQ_ROWS_H

#include "gptq_core.h"
#include "gptq_distortion.h"

/* Buffers of gptq_rows_quantize; zero-initialise, free at the end. */
struct gptq_rows {
    struct quant_grid grid;
    uint8_t *codes;
    int64_t rows;
};

/* targets [rows, cols] rounded on the grid of the rows list[0..rows) of the layer, by f or plainly when it is NULL, into those rows of
 * codes [all rows, cols]. */
enum mdq_err gptq_rows_quantize(struct gptq_rows *s, int64_t rows, const int64_t *list, const float *targets,
                                const struct quant_grid *grid, const struct gptq_factor *f, uint8_t *codes);
void gptq_rows_free(struct gptq_rows *s);

/* md of the points in these rows; the others stay. */
enum mdq_err gptq_rows_distortion(const struct mdq_points *g, const float *w, const struct quant_grid *grid, const uint8_t *codes,
                                  int64_t rows, const int64_t *list, float *md);

struct gptq_sums {
    double ehe;      /* tr(E H E^T), E = w - q */
    double residual; /* the same in the damped H, E from the shifted target where there is one */
    double sq_error; /* ||w - q||^2 */
    double bound;    /* 1/4 sum D s^2; 0 without a factor */
    double max_abs;
};

/* shifted [., cols] and shifted_at [all rows] (which row of it, -1: none) may be NULL. */
enum mdq_err gptq_rows_sums(const struct mdq_points *g, const float *w, const float *shifted, const int64_t *shifted_at,
                            const struct quant_grid *grid, const float *h, const struct gptq_factor *f, const uint8_t *codes,
                            int64_t rows, const int64_t *list, struct gptq_sums *out);

#endif
