#include "gptq_distortion.h"

#include <stdlib.h>

/* e [D] = value - weight of columns [c0, c0 + D) of a row. */
static void row_error(const struct quant_grid *q, const float *w, const uint8_t *codes, int64_t row, int64_t c0, int64_t D, float *e)
{
    for (int64_t c = c0; c < c0 + D;) {
        const int64_t k = c / q->group, stop = (k + 1) * q->group < c0 + D ? (k + 1) * q->group : c0 + D;
        const float scale = (float)q->scales[row * q->groups + k], zero = q->zeros[row * q->groups + k];
        const float *from = w + row * q->cols;
        const uint8_t *code = codes + row * q->cols;
        for (; c < stop; c++)
            e[c - c0] = scale * ((float)code[c] - zero) - from[c];
    }
}

enum mdq_err gptq_distortion(const struct mdq_points *g, const float *w, const struct quant_grid *grid, const uint8_t *codes,
                             float *md)
{
    bool starved = false;
    const size_t rows_most = (size_t)g->tile_first[1], cols_most = (size_t)g->first[1]; /* the first part is the longest */
#pragma omp parallel reduction(|| : starved)
    {
        float *e = mdq_alloc_aligned(rows_most * cols_most, sizeof *e, "errors of a tile");
        double *off = mdq_alloc(rows_most, sizeof *off, "distances");
        bool ready = e && off;
        starved = !ready;
#pragma omp for schedule(dynamic, 1)
        for (int64_t t = 0; t < g->tile_rows * g->blocks; t++) {
            const int64_t i = t / g->blocks, j = t % g->blocks, row0 = g->tile_first[i], rows = g->tile_first[i + 1] - row0;
            const int64_t c0 = g->first[j], D = g->first[j + 1] - c0;
            for (int64_t r = 0; ready && r < rows; r++)
                row_error(grid, w, codes, row0 + r, c0, D, e + r * D);
            bool done = ready && mdq_points_off(g, w, i, j, e, off) == MDQ_OK;
            for (int64_t r = 0; done && r < rows; r++)
                md[(row0 + r) * g->blocks + j] = mdq_point_md(g, (row0 + r) * g->blocks + j, off[r]);
            starved = starved || !done;
        }
        free(e);
        free(off);
    }
    return starved ? mdq_fail(MDQ_E_INTERNAL, "out of memory: manifold distortion") : MDQ_OK;
}
