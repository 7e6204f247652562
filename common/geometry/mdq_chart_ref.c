/* Distances off the tangent by the basis itself: what the products of mdq_chart.c are tested against. O(n D d^2). */
#include <math.h>
#include <stdlib.h>

#include "mdq_chart.h"

enum mdq_err mdq_chart_off_tangent_ref(const struct mdq_chart *c, int64_t n, const double *z, const float *e, int64_t lde,
                                       double *off)
{
    const int64_t D = c->dim_in, d = c->dim;
    double *u = mdq_alloc((size_t)(D * d), sizeof *u, "tangent");
    if (!u)
        return MDQ_E_INTERNAL;
    for (int64_t r = 0; r < n; r++) {
        int64_t rank = 0;
        double sum = 0;
        if (d > 0)
            mdq_chart_tangent(c, z + r * d, u, &rank);
        for (int64_t i = 0; i < D; i++) {
            double left = e[r * lde + i];
            for (int64_t a = 0; a < rank; a++) {
                double dot = 0;
                for (int64_t k = 0; k < D; k++)
                    dot += u[k * d + a] * e[r * lde + k];
                left -= dot * u[i * d + a];
            }
            sum += left * left;
        }
        off[r] = sqrt(sum);
    }
    free(u);
    return MDQ_OK;
}
