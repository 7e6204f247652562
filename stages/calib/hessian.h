/*
 * Accumulation of H = sum x x^T over calibration tokens: float32 products (syrk) over fixed chunks of tokens, totals
 * in double precision. Memory: dim^2 x 4 bytes for the chunk and dim^2 / 2 x 8 bytes for the total.
 */
#ifndef HESSIAN_H
#define HESSIAN_H

#include <stdint.h>

#include "mdq_error.h"

struct hessian {
    int64_t dim;
    int64_t count;   /* x summed so far */
    int64_t pending; /* of these, in `part` only */
    float *part;     /* [dim, dim], lower triangle */
    double *total;   /* lower triangle, row i at i (i + 1) / 2 */
};

enum mdq_err hessian_init(struct hessian *h, int64_t dim);
void hessian_free(struct hessian *h);
/* Back to zero, buffers kept. */
void hessian_reset(struct hessian *h);
/* Adds x [tokens, dim] (row-major, contiguous). The result depends on how the tokens were cut into calls (float32
 * sums), never on the number of threads. */
void hessian_add(struct hessian *h, const float *x, int64_t tokens);
/* Moves what is pending into the total. MDQ_E_DATA, naming the input column, when the diagonal is not finite. */
enum mdq_err hessian_flush(struct hessian *h);

/* Panels of rows for the stream: at most ~8 MiB each. */
int64_t hessian_panel_rows(int64_t dim);
/* Rows [first, first + rows) x columns [0, first + rows) of the total as float32; the diagonal block is symmetric. */
void hessian_panel(const struct hessian *h, int64_t first, int64_t rows, float *out);

#endif
