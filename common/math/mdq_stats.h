/* Small statistics: means with standard errors, intervals. */
#ifndef MDQ_STATS_H
#define MDQ_STATS_H

#include <stdint.h>

struct mdq_mean {
    double mean;
    double se; /* standard error of the mean; NaN with fewer than two units */
    int64_t n; /* units */
};

/* Mean of n values and its standard error, sqrt(sample variance / n). */
struct mdq_mean mdq_mean_of(const double *v, int64_t n);

/*
 * Mean over clusters of `size` consecutive values (n = clusters * size), with the standard error from the spread of
 * the cluster means: tokens of one window depend on each other, so they do not count as independent.
 */
struct mdq_mean mdq_mean_clustered(const double *v, int64_t clusters, int64_t size);

struct mdq_interval {
    double low, high; /* NaN: cannot be had */
};

/*
 * Wilson's 95 % interval of a share p of n independent units (Wilson 1927): unlike mean +- 2 standard errors it does not
 * shrink to a point where nothing, or everything, was counted. n < 1: NaN.
 */
struct mdq_interval mdq_wilson(double p, int64_t n);

/* The q-quantile, 0 <= q <= 1, of values that rise: linear between neighbours (NumPy's default). n < 1: NaN. */
double mdq_quantile(const double *sorted, int64_t n, double q);

#endif
