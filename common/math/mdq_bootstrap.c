#include "mdq_bootstrap.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"

static void draw(const struct mdq_resampling *how, int r, int64_t units, int32_t *count)
{
    struct mdq_random random;
    mdq_random_seed(&random, how->seed, how->name, (uint64_t)r, 0);
    memset(count, 0, (size_t)units * sizeof *count);
    int64_t first = 0;
    for (int g = 0; g < how->groups; g++) {
        for (int64_t i = 0; i < how->sizes[g]; i++)
            count[first + mdq_random_below(&random, how->sizes[g])]++;
        first += how->sizes[g];
    }
}

enum mdq_err mdq_bootstrap(const struct mdq_resampling *how, mdq_statistic *f, void *arg, int outputs, double *draws)
{
    int64_t units = 0;
    for (int g = 0; g < how->groups; g++)
        units += how->sizes[g];
    enum mdq_err err = MDQ_OK;
#pragma omp parallel
    {
        int32_t *count = mdq_alloc((size_t)units, sizeof *count, "bootstrap");
        double *out = mdq_alloc((size_t)outputs, sizeof *out, "bootstrap");
        const bool there = count && out;
        if (!there) {
#pragma omp critical(bootstrap_failed)
            err = MDQ_E_INTERNAL;
        }
#pragma omp for schedule(static)
        for (int r = 0; r < how->resamples; r++) {
            if (!there)
                continue;
            draw(how, r, units, count);
            f(arg, count, out);
            for (int k = 0; k < outputs; k++)
                draws[(int64_t)k * how->resamples + r] = out[k];
        }
        free(count);
        free(out);
    }
    return err ? mdq_fail(err, "bootstrap: out of memory") : MDQ_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct mdq_interval mdq_percentile_interval(double *draws, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isnan(draws[i]))
            return (struct mdq_interval){NAN, NAN};
    qsort(draws, (size_t)n, sizeof *draws, by_value);
    return (struct mdq_interval){mdq_quantile(draws, n, 0.025), mdq_quantile(draws, n, 0.975)};
}

struct values {
    const double *v;
    int64_t n;
};

static void mean(void *arg, const int32_t *count, double *out)
{
    const struct values *x = arg;
    double sum = 0;
    for (int64_t i = 0; i < x->n; i++)
        sum += count[i] * x->v[i];
    *out = sum / (double)x->n;
}

enum mdq_err mdq_bootstrap_mean(const double *v, int64_t n, int resamples, uint64_t seed, const char *name,
                                struct mdq_interval *out)
{
    *out = (struct mdq_interval){NAN, NAN};
    if (n < 2)
        return MDQ_OK;
    double *draws = mdq_alloc((size_t)resamples, sizeof *draws, "bootstrap");
    if (!draws)
        return MDQ_E_INTERNAL;
    struct values x = {v, n};
    struct mdq_resampling how = {.sizes = &n, .groups = 1, .resamples = resamples, .seed = seed, .name = name};
    enum mdq_err err = mdq_bootstrap(&how, mean, &x, 1, draws);
    if (!err)
        *out = mdq_percentile_interval(draws, resamples);
    free(draws);
    return err;
}
