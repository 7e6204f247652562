#include "gptq_core.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_linalg.h"

/* Fixed blocks: rows that a thread takes, columns between two matrix products, large and small, and rows that stay in cache. */
enum { ROWS = 256, WIDE = 512, COLS = 128, SUB = 64 };

/* Per-row sums of one chunk of rows, so that the loops over rows have no reduction in them. */
struct lanes {
    double max_abs[ROWS], sq_error[ROWS], sq_weight[ROWS], residual[ROWS], bound[ROWS];
    int64_t clipped[ROWS];
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of H as the element type: itself, or a copy. */
static const float *panel_f32(const float *h, int64_t ldh, int64_t m, int64_t width, float *panel)
{
    (void)ldh, (void)m, (void)width, (void)panel;
    return h;
}

static float *panel_alloc_f32(int64_t n)
{
    (void)n;
    return mdq_alloc(1, sizeof(float), "panel of H");
}

static const double *panel_f64(const float *h, int64_t ldh, int64_t m, int64_t width, double *panel)
{
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < width; c++)
            panel[r * width + c] = h[r * ldh + c];
    return panel;
}

static double *panel_alloc_f64(int64_t n)
{
    return mdq_alloc_aligned((size_t)n * WIDE, sizeof(double), "panel of H");
}

#define REAL float
#define FN(name) name##_f32
#define BLAS(name) cblas_s##name
#define CHOLESKY mdq_cholesky
#include "gptq_real.h"
#undef REAL
#undef FN
#undef BLAS
#undef CHOLESKY

#define REAL double
#define FN(name) name##_f64
#define BLAS(name) cblas_d##name
#define CHOLESKY mdq_cholesky_f64
#include "gptq_real.h"
#undef REAL
#undef FN
#undef BLAS
#undef CHOLESKY

struct ranked {
    float diagonal;
    int64_t index;
};

/* Ascending by diagonal, equal ones by descending index: the last is rounded first. */
static int by_diagonal(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->diagonal != y->diagonal)
        return x->diagonal < y->diagonal ? -1 : 1;
    return x->index > y->index ? -1 : x->index < y->index;
}

enum mdq_err gptq_order_columns(int64_t n, const float *h, enum gptq_order order, int64_t *column)
{
    if (order == GPTQ_ORDER_NATURAL) {
        for (int64_t i = 0; i < n; i++)
            column[i] = n - 1 - i;
        return MDQ_OK;
    }
    struct ranked *ranks = mdq_alloc((size_t)n, sizeof *ranks, "activation order");
    if (!ranks)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < n; i++)
        ranks[i] = (struct ranked){h[i * n + i], i};
    qsort(ranks, (size_t)n, sizeof *ranks, by_diagonal);
    for (int64_t i = 0; i < n; i++)
        column[i] = ranks[i].index;
    free(ranks);
    return MDQ_OK;
}

static enum mdq_err check_hessian(int64_t n, const float *h)
{
    int64_t bad_row = INT64_MAX;
#pragma omp parallel for schedule(static) reduction(min : bad_row)
    for (int64_t r = 0; r < n; r++) {
        int bad = 0;
        for (int64_t c = 0; c < n; c++)
            bad |= !isfinite(h[r * n + c]);
        if (bad && r < bad_row)
            bad_row = r;
    }
    for (int64_t c = 0; bad_row < n && c < n; c++)
        if (!isfinite(h[bad_row * n + c]))
            return mdq_fail(MDQ_E_DATA, "Hessian: row %lld, column %lld: %g is not finite", (long long)bad_row,
                            (long long)c, (double)h[bad_row * n + c]);
    return MDQ_OK;
}

enum mdq_err gptq_factor_make(struct gptq_factor *f, int64_t n, const float *h, const struct gptq_options *options)
{
    *f = (struct gptq_factor){.n = n, .exact = options->exact};
    MDQ_TRY(check_hessian(n, h));
    for (int64_t i = 0; i < n; i++) {
        f->mean += h[i * n + i];
        f->dead += h[i * n + i] == 0;
    }
    f->mean /= (double)n;
    if (f->dead == n)
        return mdq_fail(MDQ_E_DATA, "Hessian: its diagonal is zero: no input reached this layer in calibration");
    f->column = mdq_alloc((size_t)n, sizeof *f->column, "order of columns");
    f->d = mdq_alloc((size_t)n, sizeof *f->d, "pivots");
    f->l = mdq_alloc_aligned((size_t)n * (size_t)n, f->exact ? sizeof(double) : sizeof(float), "factor of H");
    if (!f->column || !f->d || !f->l)
        return MDQ_E_INTERNAL;
    MDQ_TRY(gptq_order_columns(n, h, options->order, f->column));
    for (double damp = options->damp; f->tries < GPTQ_MAX_TRIES; damp = damp > 0 ? damp * 10 : 1e-4) {
        /* a hair of slack, so that 0.01 x 10 x 10 still counts as 1 */
        if (f->tries > 0 && damp > GPTQ_MAX_DAMP * (1 + 1e-9))
            break;
        f->damp = f->tried[f->tries++] = damp;
        double lambda = damp * f->mean;
        if ((f->exact ? make_factor_f64(f, h, lambda) : make_factor_f32(f, h, lambda)) < 0)
            return MDQ_OK;
    }
    f->failed = true;
    return MDQ_OK;
}

void gptq_factor_free(struct gptq_factor *f)
{
    free(f->column);
    free(f->d);
    free(f->l);
    *f = (struct gptq_factor){0};
}

enum mdq_err gptq_quantize(const float *w, const struct quant_grid *g, const struct gptq_factor *f, uint8_t *codes,
                           struct quant_outcome *out)
{
    if (f->failed || f->n != g->cols)
        return mdq_fail(MDQ_E_INTERNAL, "GPTQ: factor of %lld columns for weights of %lld", (long long)f->n,
                        (long long)g->cols);
    int64_t chunks = (g->rows + ROWS - 1) / ROWS;
    struct lanes *lanes = mdq_calloc((size_t)chunks, sizeof *lanes, "row sums");
    int64_t *position = mdq_alloc((size_t)f->n, sizeof *position, "positions");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!lanes || !position)
        goto done;
    for (int64_t p = 0; p < f->n; p++)
        position[f->column[p]] = p;
    err = f->exact ? quantize_f64(w, g, f, position, codes, lanes, chunks)
                   : quantize_f32(w, g, f, position, codes, lanes, chunks);
    *out = (struct quant_outcome){0};
    for (int64_t r = 0; r < g->rows; r++) {
        const struct lanes *k = lanes + r / ROWS;
        int64_t i = r % ROWS;
        out->clipped += k->clipped[i];
        out->max_abs = fmax(out->max_abs, k->max_abs[i]);
        out->sq_error += k->sq_error[i];
        out->sq_weight += k->sq_weight[i];
        out->residual += k->residual[i];
        out->bound += k->bound[i] / 4;
    }
done:
    free(lanes);
    free(position);
    return err;
}

enum mdq_err gptq_output_norm(const float *w, const struct quant_grid *g, const uint8_t *codes, const float *h,
                              bool exact, double *sum)
{
    int64_t chunks = (g->rows + ROWS - 1) / ROWS;
    double *sums = mdq_calloc((size_t)chunks, sizeof *sums, "sums of the output error");
    if (!sums)
        return MDQ_E_INTERNAL;
    enum mdq_err err = exact ? output_norm_f64(w, g, codes, h, sums, chunks) : output_norm_f32(w, g, codes, h, sums, chunks);
    *sum = 0;
    for (int64_t k = 0; k < chunks; k++)
        *sum += sums[k];
    free(sums);
    return err;
}

double gptq_output_error(const struct gptq_factor *f, const struct quant_outcome *out)
{
    return fmax(out->residual - f->damp * f->mean * out->sq_error, 0);
}
