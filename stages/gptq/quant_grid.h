/*
 * The grid that a layer is rounded to, and plain rounding onto it.
 *
 * A row of W is cut into groups of `group` columns. Each group has a step (scale) s and a zero point z, so that code c
 * in [0, 2^bits - 1] stands for s (c - z).
 *
 *   symmetric    z = 2^(bits-1), s = max|w| / (2^(bits-1) - 1/2): -max and +max both fall on a tie half a step beyond
 *                a code; +max is then clipped by half a step, -max too or not, as round to even decides
 *   asymmetric   min <= 0 <= max forced, s = (max - min) / (2^bits - 1), z = rint(-min / s) clamped to a code
 *   all zero     as if the group reached from -1 to 1: a zero weight keeps its value exactly
 *
 * Scales come from the original weights of the whole group (static groups) and are rounded to the type that stores
 * them before any code is computed; zero points come from the rounded scale.
 */
#ifndef QUANT_GRID_H
#define QUANT_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_dtype.h"
#include "mdq_error.h"

struct quant_spec {
    int bits;              /* 2, 3, 4, 8 */
    int64_t group;         /* columns per group, divides the columns; 0: the whole row */
    bool symmetric;
    enum mdq_dtype scale;  /* type that the scales are rounded to: f16, bf16, f32 or f64 */
};

struct quant_grid {
    int64_t rows, cols, group, groups;
    int bits;
    bool symmetric;
    enum mdq_dtype scale_type;
    double *scales; /* [rows, groups], values of scale_type */
    uint8_t *zeros; /* [rows, groups], 2^(bits-1) everywhere when symmetric */
    int64_t bumped; /* scales that would have become zero in scale_type and took its smallest value instead */
};

/*
 * Scales and zero points of w [rows, cols]. MDQ_E_DATA: group does not divide cols, a weight is not finite, a scale
 * overflows its type (the message says row, column or group; the caller adds the tensor). Released with
 * quant_grid_free, also after a failure.
 */
enum mdq_err quant_grid_fit(struct quant_grid *g, const float *w, int64_t rows, int64_t cols,
                            const struct quant_spec *spec);
void quant_grid_free(struct quant_grid *g);

/* v rounded to type t (f16, bf16, f32, f64), to nearest even; infinity when it overflows. */
double quant_round_to(enum mdq_dtype t, double v);

static inline int quant_max_code(const struct quant_grid *g)
{
    return (1 << g->bits) - 1;
}

/* What rounding did to a layer, summed over its entries in a fixed order. */
struct quant_outcome {
    int64_t clipped;   /* codes that rounding put outside [0, 2^bits - 1] */
    double max_abs;    /* largest |w - q| */
    double sq_error;   /* sum (w - q)^2 */
    double sq_weight;  /* sum w^2 */
    double residual;   /* GPTQ: sum over entries of D_jj (rounding residual)^2, the error in the damped H */
    double bound;      /* GPTQ: 1/4 sum D_jj s^2 */
};

/* Round to nearest: code = rint(w / s) + z, clamped; in double. codes [rows, cols]. */
enum mdq_err quant_rtn(const float *w, const struct quant_grid *g, uint8_t *codes, struct quant_outcome *out);
void quant_rtn_ref(const float *w, const struct quant_grid *g, uint8_t *codes);

/* values [rows, cols] = s (c - z), in double rounded to float32. */
void quant_dequantize(const struct quant_grid *g, const uint8_t *codes, float *values);

#endif
