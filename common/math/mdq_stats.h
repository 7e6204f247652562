/* Small statistics: means with standard errors. */
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

#endif
