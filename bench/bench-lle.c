/*
 * Speed of mdq-lle's method: what each part of a tile costs, how cost grows with the layer, and what blocking saves.
 *
 *   bench-lle [-j N] [SIZE]     SIZE x SIZE Gaussian layer in tiles of 256 (default 4096)
 *
 * Times of parts are processor time of the threads that do them, in ms per tile, so that other work on the machine disturbs
 * them little; totals are wall-clock time, or with -j 1 processor time. Rates are beside dgemm's in the same run.
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lle_embedding.h"
#include "lle_neighbours.h"
#include "lle_tile.h"
#include "lle_weights.h"
#include "mdq_blas.h"
#include "mdq_random.h"
#include "mdq_tiling.h"

enum { T = MDQ_TILE, K = 15, M = 2 };
enum { GRAM, NEIGHBOURS, WEIGHTS, TANGENTS, EMBEDDING, PARTS };
static const char *const names[PARTS] = {"Gram matrix", "neighbours", "weights, residuals", "tangent dimensions, normals",
                                         "embedding"};

struct opts {
    struct mdq_cli cli;
    int64_t size;
};

static double clock_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(int threads)
{
    return clock_of(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC);
}

static float *gaussian(size_t n)
{
    struct mdq_random r;
    float *v = mdq_alloc_aligned(n, sizeof *v, "random numbers");
    mdq_random_seed(&r, 1, "bench", 0, 0);
    for (size_t i = 0; v && i < n; i++)
        v[i] = (float)mdq_random_normal(&r);
    return v;
}

/* Floating-point operations per second and thread of dgemm. */
static double dgemm_rate(int64_t n)
{
    size_t square = (size_t)(n * n);
    double *a = mdq_alloc_aligned(3 * square, sizeof *a, "matrices"), best = INFINITY;
    for (size_t i = 0; a && i < 3 * square; i++)
        a[i] = (double)(i % 17) - 8;
    for (int k = 0; a && k < 4; k++) {
        double t = clock_of(CLOCK_THREAD_CPUTIME_ID);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a, (int)n, a + square, (int)n, 0,
                    a + 2 * square, (int)n);
        best = fmin(best, clock_of(CLOCK_THREAD_CPUTIME_ID) - t);
    }
    free(a);
    return 2.0 * (double)n * (double)n * (double)n / best;
}

/* The parts of one set of n points of D, their times added to `spent` (of PARTS + 1: the last is for a repeated part). */
static enum mdq_err parts(const float *x, int64_t ldx, int64_t n, int64_t D, bool embed, double *spent)
{
    size_t rows = (size_t)n;
    double *centred = mdq_alloc_aligned(rows * (size_t)D, sizeof *centred, "points");
    double *g = mdq_alloc_aligned(rows * rows, sizeof *g, "Gram matrix"), *d2 = mdq_alloc(rows * K, sizeof *d2, "distances");
    double *w = mdq_alloc(rows * K, sizeof *w, "weights"), *v = mdq_alloc(rows * (2 + M), sizeof *v, "results");
    uint16_t *nb = mdq_alloc(rows * K, sizeof *nb, "neighbours");
    uint8_t *dim = mdq_alloc(rows, 1, "dimensions");
    if (!centred || !g || !d2 || !w || !v || !nb || !dim)
        return MDQ_E_INTERNAL;
    struct lle_local plain = {.weights = w, .residual = v}, full = {w, v, dim, v + n};
    double t[PARTS + 2];
    t[0] = clock_of(CLOCK_THREAD_CPUTIME_ID);
    lle_gram(n, D, x, ldx, centred, g);
    t[1] = clock_of(CLOCK_THREAD_CPUTIME_ID);
    MDQ_TRY(lle_neighbours(n, D, x, ldx, g, K, nb, d2));
    t[2] = clock_of(CLOCK_THREAD_CPUTIME_ID);
    MDQ_TRY(lle_local(n, D, x, ldx, g, K, nb, d2, 1e-3, 0.95, &plain));
    t[3] = clock_of(CLOCK_THREAD_CPUTIME_ID);
    MDQ_TRY(lle_local(n, D, x, ldx, g, K, nb, d2, 1e-3, 0.95, &full));
    t[4] = clock_of(CLOCK_THREAD_CPUTIME_ID);
    if (embed)
        MDQ_TRY(lle_embedding(n, K, nb, w, M, v + 2 * n));
    t[5] = clock_of(CLOCK_THREAD_CPUTIME_ID);
    for (int p = 0; p < PARTS; p++) /* tangents: what is more when they are made with the weights */
        spent[p] += t[p + 1] - t[p] - (p == TANGENTS ? t[3] - t[2] : 0);
    free(centred);
    free(g);
    free(d2);
    free(w);
    free(v);
    free(nb);
    free(dim);
    return MDQ_OK;
}

/* Every tile of a size x size layer, cut from x whose rows are `stride` long. */
static enum mdq_err each_part(const float *x, int64_t stride, int64_t size, double *spent)
{
    int64_t across = size / T;
    double sums[PARTS] = {0};
    int bad = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : sums[:PARTS]) reduction(| : bad)
    for (int64_t t = 0; t < across * across; t++)
        bad |= parts(x + t / across * T * stride + t % across * T, stride, T, T, true, sums) != MDQ_OK;
    memcpy(spent, sums, sizeof sums);
    return bad ? MDQ_E_INTERNAL : MDQ_OK;
}

/* As the program does: everything, or the usual without one or the other. Seconds. */
static enum mdq_err whole(const float *x, int64_t stride, int64_t size, const struct lle_options *o, int threads, double *seconds)
{
    int64_t across = size / T;
    int bad = 0;
    double start = now(threads);
#pragma omp parallel for schedule(dynamic, 1) reduction(| : bad)
    for (int64_t t = 0; t < across * across; t++) {
        float *tile = mdq_alloc_aligned(T * T, sizeof *tile, "tile");
        struct lle_tile found;
        struct mdq_random r;
        if (!tile) {
            bad = 1;
            continue;
        }
        for (int64_t i = 0; i < T; i++)
            memcpy(tile + i * T, x + (t / across * T + i) * stride + t % across * T, T * sizeof *tile);
        mdq_random_seed(&r, 0, "bench", (uint64_t)t, 0);
        bad |= lle_tile_run(T, T, tile, o, &r, &found) != MDQ_OK;
        lle_tile_free(&found);
        free(tile);
    }
    *seconds = now(threads) - start;
    return bad ? MDQ_E_INTERNAL : MDQ_OK;
}

static enum mdq_err show_parts(const float *x, int64_t size, double rate)
{
    double spent[PARTS], first[4] = {0}, flop = (double)T * T * T;
    double tiles = (double)(size / T) * (double)(size / T);
    MDQ_TRY(each_part(x, size, size, spent));
    printf("\n%lld tiles of %d x %d, k = %d, one thread each: ms per tile\n", (long long)tiles, T, T, K);
    for (int p = 0; p < PARTS; p++) {
        double ms = 1e3 * spent[p] / tiles;
        printf("  %-32s %8.3f", names[p], ms);
        if (p == GRAM) /* half of the products, by symmetry */
            printf("   %.1f Gflop/s, %.2f of dgemm's rate", flop / ms * 1e-6, flop / ms * 1e3 / rate);
        printf("\n");
        first[0] += p < EMBEDDING ? ms : 0;
        first[1] += ms;
    }
    printf("  %-32s %8.3f   as long as dgemm takes for %.1f Gram matrices\n", "without the embedding", first[0],
           first[0] * 1e-3 * rate / flop);
    printf("  %-32s %8.3f\n", "with the embedding", first[1]);
    return MDQ_OK;
}

static enum mdq_err show_programs(const float *x, int64_t size, int threads)
{
    static const struct {
        const char *what;
        struct lle_options o;
    } runs[] = {
        {"no embedding, no permuted copies", {K, 1e-3, 0.95, 0, 0, 0}},
        {"with embedding", {K, 1e-3, 0.95, M, 0, 0}},
        {"with 3 copies for the residual", {K, 1e-3, 0.95, M, 3, 0}},
        {"and 3 for parallel analysis", {K, 1e-3, 0.95, M, 3, 3}},
    };
    double tiles = (double)(size / T) * (double)(size / T);
    printf("\nas mdq-lle works on a tile, %d thread%s: s for the layer, ms per tile\n", threads, threads > 1 ? "s" : "");
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        double s;
        MDQ_TRY(whole(x, size, size, &runs[i].o, threads, &s));
        printf("  %-32s %8.3f %8.3f\n", runs[i].what, s, 1e3 * s / tiles);
        fflush(stdout);
    }
    return MDQ_OK;
}

static enum mdq_err show_growth(const float *x, int64_t size, int threads)
{
    const struct lle_options o = {K, 1e-3, 0.95, M, 0, 0};
    double base = 0;
    printf("\nlayers of growing size, with embedding: tiles, s, ms per tile, and this against the first (1: linear)\n");
    for (int64_t n = 1024; n <= size; n *= 2) {
        double s, tiles = (double)(n / T) * (double)(n / T), best = INFINITY;
        for (int rep = 0; rep < (n <= 2048 ? 3 : 1); rep++) {
            MDQ_TRY(whole(x, size, n, &o, threads, &s));
            best = fmin(best, s);
        }
        base = base > 0 ? base : best / tiles;
        printf("  %6lld^2 %6.0f %8.3f %8.3f  %6.3f\n", (long long)n, tiles, best, 1e3 * best / tiles, best / tiles / base);
        fflush(stdout);
    }
    return MDQ_OK;
}

/* All rows in full length as one set of points, against the tiles of the same layer. One thread. */
static enum mdq_err show_blocking(const float *x, int64_t stride, int64_t size, bool embed)
{
    double one[PARTS] = {0}, tiled[PARTS], sum[2] = {0};
    MDQ_TRY(each_part(x, stride, size, tiled));
    MDQ_TRY(parts(x, stride, size, size, embed, one));
    printf("\n%lld^2, processor seconds: in tiles, unblocked, ratio (d = %lld: d/256 = %lld, d^2/64 = %lld)\n", (long long)size,
           (long long)size, (long long)(size / T), (long long)(size * size / 64));
    for (int p = 0; p < PARTS; p++) {
        if (p == EMBEDDING && !embed)
            continue;
        printf("  %-32s %8.3f %8.3f  %7.2f\n", names[p], tiled[p], one[p], one[p] / tiled[p]);
        sum[0] += tiled[p];
        sum[1] += one[p];
    }
    printf("  %-32s %8.3f %8.3f  %7.2f\n", "all of these", sum[0], sum[1], sum[1] / sum[0]);
    fflush(stdout);
    return MDQ_OK;
}

static enum mdq_err run(void *opts)
{
    const struct opts *o = opts;
    int threads = o->cli.jobs;
    int64_t most = 2 * o->size;
    float *x = gaussian((size_t)most * (size_t)most);
    enum mdq_err err = x ? MDQ_OK : MDQ_E_INTERNAL;
    if (err != MDQ_OK)
        goto done;
    double rate = dgemm_rate(1024);
    printf("%s, dgemm %.1f Gflop/s per thread\n", openblas_get_corename(), rate * 1e-9);
    MDQ_GOTO(err, show_parts(x, o->size, rate), done);
    MDQ_GOTO(err, show_programs(x, o->size, threads), done);
    MDQ_GOTO(err, show_growth(x, most, threads), done);
    MDQ_GOTO(err, show_blocking(x, most, o->size / 4, true), done);
    MDQ_GOTO(err, show_blocking(x, most, o->size / 2, true), done);
    err = show_blocking(x, most, o->size, false);
done:
    free(x);
    return err;
}

static error_t parse(int key, char *arg, struct argp_state *s)
{
    struct opts *o = s->input;
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    o->size = mdq_arg_int(s, "SIZE", arg, 1024, 8192);
    if (o->size % 1024 != 0)
        argp_error(s, "SIZE: '%s' is no multiple of 1024", arg);
    return 0;
}

static const struct mdq_program program = {
    .name = "bench-lle",
    .args = "[SIZE]",
    .doc = "Speed of mdq-lle's method, per part, per layer, blocked and not.",
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.size = 4096};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
