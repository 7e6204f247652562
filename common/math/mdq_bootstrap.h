/*
 * The bootstrap: what a statistic would have been on other samples of the same kind, by drawing the units (texts, items,
 * windows) with repetition from those at hand. Stratified: each group of units keeps its size. Paired: a statistic of two
 * models looks at both with the same drawn units, so that what is hard for both does not count as a difference.
 */
#ifndef MDQ_BOOTSTRAP_H
#define MDQ_BOOTSTRAP_H

#include <stdint.h>

#include "mdq_error.h"
#include "mdq_stats.h"

/*
 * count[u]: how often unit u was drawn, the groups one after the other. Writes its values to out. Called from several
 * threads at once.
 */
typedef void mdq_statistic(void *arg, const int32_t *count, double *out);

struct mdq_resampling {
    const int64_t *sizes; /* [groups] units of each */
    int groups;
    int resamples;
    uint64_t seed;
    const char *name; /* bootstraps of different names draw differently; the same name and sizes draw the same */
};

/*
 * draws [outputs, resamples]: values of `outputs` statistics for every resample (one after the other for each statistic).
 * Resample r is a function of seed, name and r alone, whatever the number of threads.
 */
enum mdq_err mdq_bootstrap(const struct mdq_resampling *how, mdq_statistic *f, void *arg, int outputs, double *draws);

/* From the 2.5th to the 97.5th percentile; sorts the draws. NaN where any of them is NaN. */
struct mdq_interval mdq_percentile_interval(double *draws, int64_t n);

/* The interval of the mean of n values; NaN with fewer than two. For a paired difference: of the differences. */
enum mdq_err mdq_bootstrap_mean(const double *v, int64_t n, int resamples, uint64_t seed, const char *name,
                                struct mdq_interval *out);

#endif
