#include "mdq_stats.h"

#include <math.h>

/* Welford's update: one pass, no cancellation. */
struct running {
    double mean, m2;
    int64_t n;
};

static void add(struct running *r, double x)
{
    double d = x - r->mean;
    r->mean += d / (double)++r->n;
    r->m2 += d * (x - r->mean);
}

static struct mdq_mean result(const struct running *r)
{
    double se = r->n < 2 ? NAN : sqrt(r->m2 / (double)(r->n - 1) / (double)r->n);
    return (struct mdq_mean){.mean = r->n ? r->mean : NAN, .se = se, .n = r->n};
}

struct mdq_mean mdq_mean_of(const double *v, int64_t n)
{
    struct running r = {0};
    for (int64_t i = 0; i < n; i++)
        add(&r, v[i]);
    return result(&r);
}

struct mdq_mean mdq_mean_clustered(const double *v, int64_t clusters, int64_t size)
{
    struct running r = {0};
    for (int64_t c = 0; c < clusters; c++) {
        double sum = 0;
        for (int64_t i = 0; i < size; i++)
            sum += v[c * size + i];
        add(&r, sum / (double)size);
    }
    return result(&r);
}

struct mdq_interval mdq_wilson(double p, int64_t n)
{
    if (n < 1)
        return (struct mdq_interval){NAN, NAN};
    const double z = 1.959963984540054, m = (double)n, scale = 1 + z * z / m;
    double centre = (p + z * z / (2 * m)) / scale, half = z * sqrt(p * (1 - p) / m + z * z / (4 * m * m)) / scale;
    /* rounding must not push the interval off an end that it holds */
    return (struct mdq_interval){p <= 0 ? 0 : fmax(centre - half, 0), p >= 1 ? 1 : fmin(centre + half, 1)};
}

double mdq_quantile(const double *sorted, int64_t n, double q)
{
    if (n < 1)
        return NAN;
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    if (i >= n - 1)
        return sorted[n - 1];
    double share = at - (double)i, a = sorted[i], b = sorted[i + 1];
    return a == b ? a : a + share * (b - a); /* equal: also where both are infinite */
}
