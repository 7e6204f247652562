/*
 * GPTQ as Babai's nearest-plane algorithm (Chen et al., arXiv 2507.18553, theorem 4).
 *
 * Let the columns of W be rounded in the order c(n-1), c(n-2), ..., c(0), and M = the damped H with rows and columns
 * in the order c(0), ..., c(n-1). With M = L D L^T, L unit lower triangular, the error of a row is
 *
 *     e^T H e = sum_p D_pp ( e_p + sum_{p' > p} L_{p'p} e_{p'} )^2
 *
 * so that position p, when those above it are rounded, is best rounded from w_p + sum_{p' > p} L_{p'p} e_{p'}, where
 * e = w - q is the *whole* error of a weight. These are GPTQ's codes, from one Cholesky factor: neither H^-1 nor its
 * factor is needed, which saves n^3 operations and the loss of precision of inverting. What rounding leaves in each
 * term, the residual, is at most s/2 unless the code was clipped: hence the bound 1/4 sum D_pp s_p^2 (theorem 5).
 *
 * Cost: n^3/3 for the factor, rows x n^2 for the rounding, nearly all of it in matrix products. Memory: the factor
 * (n^2), and per thread 256 x (n + 128) elements and as many bytes of codes.
 */
#ifndef GPTQ_CORE_H
#define GPTQ_CORE_H

#include "quant_grid.h"

enum gptq_order { GPTQ_ORDER_ACT, GPTQ_ORDER_NATURAL };
enum { GPTQ_MAX_TRIES = 16 };

struct gptq_options {
    enum gptq_order order; /* act: descending diagonal of H, ties by index; natural: columns as they come */
    double damp;           /* lambda = damp x mean diagonal of H */
    bool exact;            /* all arithmetic in double (H and W are float32 as given); else float32, rounded in double */
};

/* Above this share of the mean diagonal damping is given up. */
#define GPTQ_MAX_DAMP 1.0

struct gptq_factor {
    int64_t n;
    bool exact;
    int64_t *column;  /* [n] position -> column; position n-1 is rounded first */
    void *l;          /* [n, n] float or double: L below the diagonal, 1 on it */
    double *d;        /* [n] D by position; 0 for a dead input of an undamped H */
    double mean;      /* mean diagonal of H */
    double damp;      /* what was used; lambda = damp x mean */
    double tried[GPTQ_MAX_TRIES]; /* every damping tried, the one used last */
    int tries;
    int64_t dead;     /* inputs that were never other than 0 (diagonal of H is 0) */
    bool failed;      /* not positive definite at any damping tried */
};

/*
 * Factors h [n, n] (float32, full and symmetric, not divided by its count). When it is not positive definite with
 * options->damp, damping is raised tenfold (from 1e-4 when it was 0) while it stays below or at GPTQ_MAX_DAMP; every
 * try is recorded. If none works, MDQ_OK with f->failed, and the factor cannot be used. MDQ_E_DATA: an entry of H is
 * not finite, or the whole diagonal is 0. A dead input has no influence on others nor they on it: it is rounded plainly.
 * Released with gptq_factor_free, also after a failure.
 */
enum mdq_err gptq_factor_make(struct gptq_factor *f, int64_t n, const float *h, const struct gptq_options *options);
void gptq_factor_free(struct gptq_factor *f);

/* The order of rounding: column[n-1] first. Stable: among equal diagonals the smaller index is rounded first. */
enum mdq_err gptq_order_columns(int64_t n, const float *h, enum gptq_order order, int64_t *column);

/* Codes [rows, cols] of w [rows, cols] by GPTQ. The result does not depend on the number of threads. */
enum mdq_err gptq_quantize(const float *w, const struct quant_grid *g, const struct gptq_factor *f, uint8_t *codes,
                           struct quant_outcome *out);

/*
 * GPTQ as it is usually written, plain and in double: H^-1, its upper Cholesky factor U, and after each column
 * (w - q) / U_jj times row j of U taken from the columns that remain. hd [n, n]: H with its damping added.
 * `column` as in gptq_factor. O(n^3 + rows n^2), memory 2 n^2.
 */
enum mdq_err gptq_quantize_ref(const float *w, const struct quant_grid *g, const double *hd, const int64_t *column,
                               uint8_t *codes);

/*
 * *sum = tr(E H E^T) over the rows of E = W - dequantized codes, or tr(W H W^T) when codes is NULL; h [n, n] full and
 * symmetric, as given (undamped). rows x n^2 operations; exact: in double.
 */
enum mdq_err gptq_output_norm(const float *w, const struct quant_grid *g, const uint8_t *codes, const float *h,
                              bool exact, double *sum);
/* tr(E H E^T) of what gptq_quantize did, for nothing: the residual less what damping added to it. */
double gptq_output_error(const struct gptq_factor *f, const struct quant_outcome *out);

#endif
