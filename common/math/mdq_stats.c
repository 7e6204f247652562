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
