/* Constraints that were missed, with what can be said about them. */
#include <math.h>

#include "gptq_constrain.h"

/* Exact over scales where nothing of the error is free: no tangent, whole groups inside of the point. */
static double certified_bound(const struct mdq_points *g, const float *w, const struct quant_grid *q, int64_t row, int64_t block)
{
    const int64_t at = row * g->blocks + block, first = g->first[block], last = g->first[block + 1];
    double sum = 0, scale, norm = g->norm[at];
    if (!(norm > 0) || (g->basis == MDQ_BASIS_CHART && g->charts[block * g->most_charts + g->chart[at]].dim > 0) ||
        g->basis == MDQ_BASIS_LLE || first % q->group || last % q->group)
        return -1;
    for (int64_t c = first; c < last; c += q->group) {
        double one = gptq_best_scale(q->group, w + row * g->cols + c, q->zeros[row * q->groups + c / q->group],
                                     quant_max_code(q), &scale);
        if (one < 0)
            return -1;
        sum += one;
    }
    return sqrt(sum) / norm;
}

enum mdq_err gptq_list_misses(const struct mdq_points *g, const float *w, const struct quant_grid *grid, const float *md,
                              struct gptq_constrained *out)
{
    for (int64_t at = 0; at < g->points; at++) {
        if (mdq_md_met(g->label[at], g->target[at], md[at]))
            continue;
        if (out->misses == out->capacity) {
            int64_t more = out->capacity ? 2 * out->capacity : 64;
            struct gptq_miss *v = mdq_realloc(out->miss, (size_t)more, sizeof *v, "misses");
            if (!v)
                return MDQ_E_INTERNAL;
            out->miss = v;
            out->capacity = more;
        }
        const int64_t row = at / g->blocks, block = at % g->blocks;
        bool functional = g->label[at] == MDQ_FUNCTIONAL;
        out->miss[out->misses++] = (struct gptq_miss){
            row, block, g->label[at], g->target[at], md[at], functional ? certified_bound(g, w, grid, row, block) : -1,
            !(g->norm[at] > 0) ? "the point and its normal are 0"
            : functional       ? "no codes and scales found that come near enough"
            : g->label[at] == MDQ_SENSITIVE ? "the grid of its groups does not reach so far" : "no codes found within the width"};
    }
    return MDQ_OK;
}
