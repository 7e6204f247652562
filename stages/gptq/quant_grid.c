#include "quant_grid.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Rows that one thread takes at a time; results are kept per row and summed in order. */
enum { ROW_BLOCK = 64 };

double quant_round_to(enum mdq_dtype t, double v)
{
    switch (t) {
    case MDQ_F64: return v;
    case MDQ_F32: return (double)(float)v;
    default: break;
    }
    /* twice rounded (through float32) differs from once rounded at most on ties of the narrow type: go by hand */
    double smallest = t == MDQ_F16 ? 0x1p-24 : 0x1p-133, largest = t == MDQ_F16 ? 65504 : 0x1.fep127;
    int digits = t == MDQ_F16 ? 11 : 8, exponent;
    frexp(v, &exponent);
    double unit = fmax(ldexp(1, exponent - digits), smallest);
    double r = rint(v / unit) * unit;
    return fabs(r) > largest ? copysign(INFINITY, r) : r;
}

static double smallest_positive(enum mdq_dtype t)
{
    switch (t) {
    case MDQ_F16: return 0x1p-24;
    case MDQ_BF16: return 0x1p-133;
    case MDQ_F32: return 0x1p-149;
    default: return DBL_MIN;
    }
}

/* -1: done, otherwise the column of a weight that is not finite. */
static int64_t extremes(const float *w, int64_t n, double *low, double *high)
{
    float lo = 0, hi = 0;
    int bad = 0;
    for (int64_t i = 0; i < n; i++) {
        lo = w[i] < lo ? w[i] : lo;
        hi = w[i] > hi ? w[i] : hi;
        bad |= !(fabsf(w[i]) <= FLT_MAX);
    }
    *low = lo;
    *high = hi;
    for (int64_t i = 0; bad && i < n; i++)
        if (!isfinite(w[i]))
            return i;
    return -1;
}

/* One group; 0: fine, 1: the scale was bumped, -1: it overflows. */
static int fit_group(const struct quant_grid *g, double low, double high, double *scale, uint8_t *zero)
{
    int half = 1 << (g->bits - 1), max_code = quant_max_code(g), bumped = 0;
    if (low == 0 && high == 0) {
        low = -1;
        high = 1;
    }
    double s = g->symmetric ? fmax(-low, high) / (half - 0.5) : (high - low) / max_code;
    s = quant_round_to(g->scale_type, s);
    if (isinf(s))
        return -1;
    if (!(s > 0)) {
        s = smallest_positive(g->scale_type);
        bumped = 1;
    }
    *scale = s;
    *zero = (uint8_t)(g->symmetric ? half : fmin(fmax(rint(-low / s), 0), max_code));
    return bumped;
}

enum mdq_err quant_grid_fit(struct quant_grid *g, const float *w, int64_t rows, int64_t cols,
                            const struct quant_spec *spec)
{
    int64_t group = spec->group > 0 ? spec->group : cols;
    *g = (struct quant_grid){.rows = rows, .cols = cols, .group = group, .bits = spec->bits,
                             .symmetric = spec->symmetric, .scale_type = spec->scale};
    if (rows < 1 || cols < 1 || cols % group != 0)
        return mdq_fail(MDQ_E_DATA, "groups of %lld columns do not divide rows of %lld", (long long)group,
                        (long long)cols);
    g->groups = cols / group;
    g->scales = mdq_alloc((size_t)rows * (size_t)g->groups, sizeof *g->scales, "scales");
    g->zeros = mdq_alloc((size_t)rows * (size_t)g->groups, 1, "zero points");
    if (!g->scales || !g->zeros)
        return MDQ_E_INTERNAL;

    /* the first bad row wins, whichever thread met it */
    int64_t bad_row = INT64_MAX, bumped = 0;
#pragma omp parallel for schedule(static) reduction(min : bad_row) reduction(+ : bumped)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < g->groups; k++) {
            double low, high;
            int status = extremes(w + r * cols + k * group, group, &low, &high) >= 0
                             ? -1
                             : fit_group(g, low, high, g->scales + r * g->groups + k, g->zeros + r * g->groups + k);
            if (status < 0 && r < bad_row)
                bad_row = r;
            bumped += status > 0;
        }
    g->bumped = bumped;
    if (bad_row == INT64_MAX)
        return MDQ_OK;
    for (int64_t k = 0; k < g->groups; k++) {
        double low, high;
        int64_t at = extremes(w + bad_row * cols + k * group, group, &low, &high);
        if (at >= 0)
            return mdq_fail(MDQ_E_DATA, "row %lld, column %lld: weight %g is not finite", (long long)bad_row,
                            (long long)(k * group + at), (double)w[bad_row * cols + k * group + at]);
        if (fit_group(g, low, high, g->scales, g->zeros) < 0)
            return mdq_fail(MDQ_E_DATA,
                            "row %lld, group %lld: weights from %g to %g need a scale that %s cannot hold: "
                            "take --scale bf16 or f32",
                            (long long)bad_row, (long long)k, low, high, mdq_dtype_name(g->scale_type));
    }
    return mdq_fail(MDQ_E_INTERNAL, "row %lld: no scale", (long long)bad_row);
}

void quant_grid_free(struct quant_grid *g)
{
    free(g->scales);
    free(g->zeros);
    *g = (struct quant_grid){0};
}

struct row_sums {
    double max_abs, sq_error, sq_weight;
    int64_t clipped;
};

static void rtn_row(const float *w, const struct quant_grid *g, int64_t r, uint8_t *codes, struct row_sums *sums)
{
    double top = quant_max_code(g), max_abs = 0, sq_error = 0, sq_weight = 0;
    int64_t clipped = 0;
    for (int64_t k = 0; k < g->groups; k++) {
        double s = g->scales[r * g->groups + k], z = g->zeros[r * g->groups + k];
        for (int64_t i = k * g->group; i < (k + 1) * g->group; i++) {
            double v = w[i], t = rint(v / s) + z;
            double c = t < 0 ? 0 : t > top ? top : t;
            double e = v - (c - z) * s, a = fabs(e);
            clipped += c != t;
            max_abs = a > max_abs ? a : max_abs;
            sq_error += e * e;
            sq_weight += v * v;
            codes[i] = (uint8_t)c;
        }
    }
    *sums = (struct row_sums){max_abs, sq_error, sq_weight, clipped};
}

enum mdq_err quant_rtn(const float *w, const struct quant_grid *g, uint8_t *codes, struct quant_outcome *out)
{
    struct row_sums *sums = mdq_alloc((size_t)g->rows, sizeof *sums, "row sums");
    if (!sums)
        return MDQ_E_INTERNAL;
#pragma omp parallel for schedule(dynamic, ROW_BLOCK)
    for (int64_t r = 0; r < g->rows; r++)
        rtn_row(w + r * g->cols, g, r, codes + r * g->cols, sums + r);
    *out = (struct quant_outcome){0};
    for (int64_t r = 0; r < g->rows; r++) {
        out->clipped += sums[r].clipped;
        out->max_abs = fmax(out->max_abs, sums[r].max_abs);
        out->sq_error += sums[r].sq_error;
        out->sq_weight += sums[r].sq_weight;
    }
    free(sums);
    return MDQ_OK;
}

void quant_rtn_ref(const float *w, const struct quant_grid *g, uint8_t *codes)
{
    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t c = 0; c < g->cols; c++) {
            int64_t at = r * g->groups + c / g->group;
            double q = rint(w[r * g->cols + c] / g->scales[at]) + g->zeros[at];
            codes[r * g->cols + c] = (uint8_t)fmin(fmax(q, 0), quant_max_code(g));
        }
}

void quant_dequantize(const struct quant_grid *g, const uint8_t *codes, float *values)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t c = 0; c < g->cols; c++) {
            int64_t at = r * g->groups + c / g->group;
            values[r * g->cols + c] = (float)(g->scales[at] * (codes[r * g->cols + c] - g->zeros[at]));
        }
}
