#include "gptq_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum mdq_err gather_grid(struct quant_grid *to, const struct quant_grid *from, int64_t rows, const int64_t *list)
{
    double *scales = to->scales;
    uint8_t *zeros = to->zeros;
    *to = *from;
    to->rows = rows;
    to->scales = mdq_realloc(scales, (size_t)(rows * from->groups), sizeof *scales, "scales of some rows");
    to->zeros = mdq_realloc(zeros, (size_t)(rows * from->groups), 1, "zero points of some rows");
    if (!to->scales || !to->zeros) {
        if (!to->scales)
            to->scales = scales;
        if (!to->zeros)
            to->zeros = zeros;
        return MDQ_E_INTERNAL;
    }
    for (int64_t r = 0; r < rows; r++) {
        memcpy(to->scales + r * from->groups, from->scales + list[r] * from->groups, sizeof *scales * (size_t)from->groups);
        memcpy(to->zeros + r * from->groups, from->zeros + list[r] * from->groups, (size_t)from->groups);
    }
    return MDQ_OK;
}

enum mdq_err gptq_rows_quantize(struct gptq_rows *s, int64_t rows, const int64_t *list, const float *targets,
                                const struct quant_grid *grid, const struct gptq_factor *f, uint8_t *codes)
{
    struct quant_outcome outcome;
    MDQ_TRY(gather_grid(&s->grid, grid, rows, list));
    uint8_t *own = mdq_realloc(s->codes, (size_t)(rows * grid->cols), 1, "codes of some rows");
    if (!own)
        return MDQ_E_INTERNAL;
    s->codes = own;
    MDQ_TRY(f ? gptq_quantize(targets, &s->grid, f, own, &outcome) : quant_rtn(targets, &s->grid, own, &outcome));
    for (int64_t r = 0; r < rows; r++)
        memcpy(codes + list[r] * grid->cols, own + r * grid->cols, (size_t)grid->cols);
    return MDQ_OK;
}

void gptq_rows_free(struct gptq_rows *s)
{
    quant_grid_free(&s->grid);
    free(s->codes);
    *s = (struct gptq_rows){0};
}

static float value_of(const struct quant_grid *q, const uint8_t *codes, int64_t row, int64_t c)
{
    int64_t at = row * q->groups + c / q->group;
    return (float)(q->scales[at] * ((double)codes[row * q->cols + c] - q->zeros[at]));
}

enum mdq_err gptq_rows_distortion(const struct mdq_points *g, const float *w, const struct quant_grid *grid, const uint8_t *codes,
                                  int64_t rows, const int64_t *list, float *md)
{
    float *e = mdq_alloc_aligned((size_t)g->cols, sizeof *e, "error of a row");
    double off;
    enum mdq_err err = e ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t r = 0; r < rows && err == MDQ_OK; r++) {
        for (int64_t c = 0; c < g->cols; c++)
            e[c] = value_of(grid, codes, list[r], c) - w[list[r] * g->cols + c];
        for (int64_t j = 0; j < g->blocks && err == MDQ_OK; j++) {
            const int64_t at = list[r] * g->blocks + j;
            err = mdq_point_off(g, w, list[r], j, e + g->first[j], &off);
            md[at] = mdq_point_md(g, at, off);
        }
    }
    free(e);
    return err;
}

enum mdq_err gptq_rows_sums(const struct mdq_points *g, const float *w, const float *shifted, const int64_t *shifted_at,
                            const struct quant_grid *grid, const float *h, const struct gptq_factor *f, const uint8_t *codes,
                            int64_t rows, const int64_t *list, struct gptq_sums *out)
{
    const int64_t n = g->cols;
    struct quant_grid some = {0};
    float *targets = mdq_alloc_aligned((size_t)(rows * n), sizeof *targets, "some rows");
    uint8_t *own = mdq_alloc((size_t)(rows * n), 1, "codes of some rows");
    int64_t *position = mdq_alloc((size_t)n, sizeof *position, "positions");
    enum mdq_err err = targets && own && position ? MDQ_OK : MDQ_E_INTERNAL;
    *out = (struct gptq_sums){0};
    if (err != MDQ_OK || rows == 0)
        goto done;
    MDQ_GOTO(err, gather_grid(&some, grid, rows, list), done);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(own + r * n, codes + list[r] * n, (size_t)n);
        memcpy(targets + r * n, w + list[r] * n, sizeof *w * (size_t)n);
    }
    MDQ_GOTO(err, gptq_output_norm(targets, &some, own, h, true, &out->ehe), done);
    for (int64_t p = 0; f && p < n; p++)
        position[f->column[p]] = p;
    bool moved = false;
    double sq_target = 0;
    for (int64_t r = 0; r < rows; r++) {
        bool here = shifted && shifted_at[list[r]] >= 0;
        if (here)
            memcpy(targets + r * n, shifted + shifted_at[list[r]] * n, sizeof *w * (size_t)n);
        moved |= here;
        for (int64_t c = 0; c < n; c++) {
            int64_t at = r * some.groups + c / some.group;
            double q = some.scales[at] * ((double)own[r * n + c] - some.zeros[at]), e = w[list[r] * n + c] - q, t = targets[r * n + c] - q;
            out->sq_error += e * e;
            sq_target += t * t;
            out->max_abs = fmax(out->max_abs, fabs(e));
            out->bound += f ? 0.25 * f->d[position[c]] * some.scales[at] * some.scales[at] : 0;
        }
    }
    out->residual = out->ehe;
    if (moved)
        MDQ_GOTO(err, gptq_output_norm(targets, &some, own, h, true, &out->residual), done);
    out->residual += (f ? f->damp * f->mean : 0) * sq_target;
done:
    quant_grid_free(&some);
    free(targets);
    free(own);
    free(position);
    return err;
}
