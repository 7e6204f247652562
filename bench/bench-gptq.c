/*
 * Speed of the linear algebra and of GPTQ, as ratios to what this machine's BLAS does in the same run.
 *
 *   bench-gptq [-j N] [SIZE]     SIZE x SIZE layer, 4 bits, groups of 128 (default 4096)
 *
 * Then the program mdq-gptq (in $MDQ_BIN, else bin/) quantizes that layer from a real stream, for its peak memory.
 *
 * Times are the least of several runs. On a machine with other work, -j 1 counts processor time and is the one to
 * trust; with more threads it is wall-clock time.
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gptq_core.h"
#include "hessian.h"
#include "mdq.h"
#include "mdq_blas.h"
#include "mdq_linalg.h"
#include "mdq_tiling.h"

struct opts {
    struct mdq_cli cli;
    int64_t size;
};

static double now(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint32_t state = 12345;

static float uniform(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-24f - 0.5f;
}

static float *random_floats(size_t n)
{
    float *v = mdq_alloc_aligned(n, sizeof *v, "random numbers");
    for (size_t i = 0; v && i < n; i++)
        v[i] = uniform();
    return v;
}

/* Floating-point operations per second of an n^3 product by the library's own threads. */
static double gemm_rate(int64_t n, int threads, const float *a, const float *b, float *c)
{
    double best = INFINITY;
    openblas_set_num_threads(threads);
    for (int k = 0; k < 3; k++) {
        double t = now(threads);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a, (int)n, b, (int)n, 0, c,
                    (int)n);
        best = fmin(best, now(threads) - t);
    }
    openblas_set_num_threads(1);
    return 2.0 * (double)n * (double)n * (double)n / best;
}

static void row(const char *what, double seconds, double gflop, double rate, double ratio, const char *of)
{
    printf("%-34s %8.3f %9.1f %9.1f  %6.2f  %s\n", what, seconds, gflop, rate, ratio, of);
    fflush(stdout);
}

/* ours against ssyrk, n rows of k */
static void bench_syrk(int64_t n, int64_t k, int threads, const float *x, float *h)
{
    double best[2] = {INFINITY, INFINITY}, gflop = 1e-9 * (double)n * (double)k * (double)k;
    for (int rep = 0; rep < 3; rep++)
        for (int ours = 0; ours < 2; ours++) {
            openblas_set_num_threads(ours ? 1 : threads);
            double t = now(threads);
            if (ours)
                mdq_syrk_add(n, k, x, k, h, k);
            else
                cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)k, (int)n, 1, x, (int)k, 1, h, (int)k);
            best[ours] = fmin(best[ours], now(threads) - t);
        }
    openblas_set_num_threads(1);
    char name[64];
    snprintf(name, sizeof name, "ssyrk, %lld rows", (long long)n);
    row(name, best[0], gflop, gflop / best[0], 1, "of ssyrk's rate");
    snprintf(name, sizeof name, "Hessian accumulation, %lld rows", (long long)n);
    row(name, best[1], gflop, gflop / best[1], best[0] / best[1], "of ssyrk's rate (0.80 or more)");
}

static enum mdq_err bench_gptq(int64_t n, int threads, double rate, const float *w, const float *h)
{
    /* the usual count: three n^3/3 .. 2n^3/3 steps to the factor of the inverse, n^3 for the feedback */
    double flop = 7.0 / 3 * (double)n * (double)n * (double)n, best[3] = {INFINITY, INFINITY, INFINITY};
    uint8_t *codes = mdq_alloc_aligned((size_t)(n * n), 1, "codes");
    if (!codes)
        return MDQ_E_INTERNAL;
    double bound = 0;
    for (int rep = 0; rep < 2; rep++) {
        struct gptq_factor f;
        struct quant_grid g;
        struct quant_outcome out;
        struct quant_spec spec = {.bits = 4, .group = n % 128 ? 0 : 128, .symmetric = true, .scale = MDQ_F16};
        struct gptq_options o = {.order = GPTQ_ORDER_ACT, .damp = 0.01};
        double whw, t0 = now(threads);
        MDQ_TRY(quant_grid_fit(&g, w, n, n, &spec));
        MDQ_TRY(gptq_factor_make(&f, n, h, &o));
        double t1 = now(threads);
        MDQ_TRY(gptq_quantize(w, &g, &f, codes, &out));
        double t2 = now(threads);
        MDQ_TRY(gptq_output_norm(w, &g, NULL, h, false, &whw));
        double t3 = now(threads);
        best[0] = fmin(best[0], t1 - t0);
        best[1] = fmin(best[1], t2 - t1);
        best[2] = fmin(best[2], t3 - t2);
        bound = out.residual / out.bound;
        quant_grid_free(&g);
        gptq_factor_free(&f);
    }
    const char *of = "of 7/3 n^3 at sgemm's rate";
    double cube = 1e-9 * (double)n * (double)n * (double)n, all = best[0] + best[1] + best[2];
    row("scales, order, factor", best[0], cube / 3, cube / 3 / best[0], best[0] * rate / flop, of);
    row("rounding", best[1], cube, cube / best[1], best[1] * rate / flop, of);
    row("output norm for the report", best[2], cube, cube / best[2], best[2] * rate / flop, of);
    row("GPTQ, all of it", all, 1e-9 * flop, 1e-9 * flop / all, all * rate / flop, "of 7/3 n^3 at sgemm's rate (3 or less)");
    printf("error over Babai's bound %.4f\n", bound);
    free(codes);
    return MDQ_OK;
}

static const char layer[] = "model.layers.0.self_attn.q_proj.weight";

static enum mdq_err write_tiles(const char *path, const struct mdq_header *h, int64_t n, const float *w)
{
    struct mdq_writer *out;
    struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = layer, .kind = "layer"});
    uint16_t *tile = mdq_alloc(MDQ_TILE * MDQ_TILE, sizeof *tile, "tile");
    int64_t parts = mdq_tiling_parts(n, MDQ_TILE);
    if (!rec || !tile)
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_writer_open(&out, path, h, &(struct mdq_writer_options){.level = MDQ_LEVEL_DEFAULT}));
    MDQ_TRY(mdq_record_set_str(rec, "dtype", "bf16"));
    MDQ_TRY(mdq_writer_put(out, rec));
    mdq_record_free(&rec);
    for (int64_t j = 0; j < parts; j++)
        for (int64_t i = 0; i < parts; i++) {
            int64_t rows = mdq_tiling_length(n, parts, i), cols = mdq_tiling_length(n, parts, j);
            const float *from = w + mdq_tiling_first(n, parts, i) * n + mdq_tiling_first(n, parts, j);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < cols; c++)
                    tile[r * cols + c] = mdq_f32_to_bf16(from[r * n + c]);
            struct mdq_array a = {.dtype = MDQ_BF16, .ndim = 2, .shape = {rows, cols}, .data = tile,
                                  .bytes = (size_t)(rows * cols) * 2};
            if (!(rec = mdq_record_new(&(struct mdq_id){.tensor = layer, .kind = "tile", .row = i, .col = j})))
                return MDQ_E_INTERNAL;
            MDQ_TRY(mdq_record_set_array(rec, "w", &a));
            MDQ_TRY(mdq_writer_put(out, rec));
            mdq_record_free(&rec);
        }
    free(tile);
    return mdq_writer_finish(&out);
}

static enum mdq_err write_hessian(const char *path, const struct mdq_header *h, int64_t n, const float *hessian)
{
    int64_t most = hessian_panel_rows(n); /* as mdq-calib writes them */
    struct mdq_writer *out;
    float *panel = mdq_alloc((size_t)n * (size_t)most, sizeof *panel, "panel");
    char *sharing = mdq_asprintf("[\"%s\"]", layer);
    if (!panel || !sharing)
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_writer_open(&out, path, h, &(struct mdq_writer_options){.level = MDQ_LEVEL_DEFAULT}));
    for (int64_t first = 0; first < n; first += most) {
        int64_t rows = first + most < n ? most : n - first, width = first + rows;
        for (int64_t r = 0; r < rows; r++)
            memcpy(panel + r * width, hessian + (first + r) * n, (size_t)width * sizeof *panel);
        struct mdq_array a = {.dtype = MDQ_F32, .ndim = 2, .shape = {rows, width}, .data = panel,
                              .bytes = (size_t)(rows * width) * sizeof *panel};
        struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = layer, .kind = "hessian", .row = first / most});
        if (!rec)
            return MDQ_E_INTERNAL;
        MDQ_TRY(mdq_record_set_array(rec, "h", &a));
        MDQ_TRY(mdq_record_set_int(rec, "first", first));
        MDQ_TRY(mdq_record_set_int(rec, "dim", n));
        MDQ_TRY(mdq_record_set_int(rec, "count", 2 * n));
        MDQ_TRY(mdq_record_set_json(rec, "for", sharing));
        MDQ_TRY(mdq_writer_put(out, rec));
        mdq_record_free(&rec);
    }
    free(panel);
    free(sharing);
    return mdq_writer_finish(&out);
}

/* The program on real streams; peak resident memory against weights and H in float32. */
static enum mdq_err bench_program(int64_t n, int threads, const float *w, const float *hessian)
{
    char dir[] = "/tmp/bench-gptq-XXXXXX", tiles[64], stats[64], jobs[16];
    struct mdq_layer_entry e = {.tensor = layer, .rows = n, .cols = n, .tile_rows = mdq_tiling_parts(n, MDQ_TILE),
                                .tile_cols = mdq_tiling_parts(n, MDQ_TILE)};
    struct mdq_header *h[2] = {NULL, NULL};
    const char *bin = getenv("MDQ_BIN");
    char *program = mdq_asprintf("%s/mdq-gptq", bin ? bin : "bin");
    if (!program || !mkdtemp(dir))
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot create", dir);
    snprintf(tiles, sizeof tiles, "%s/tiles.mdq", dir);
    snprintf(stats, sizeof stats, "%s/stats.mdq", dir);
    snprintf(jobs, sizeof jobs, "-j%d", threads);
    for (int i = 0; i < 2; i++)
        MDQ_TRY(mdq_header_new(&h[i], "0123456789abcdef0123456789abcdef", &e, 1));
    MDQ_TRY(mdq_header_add_kind(h[0], "layer"));
    MDQ_TRY(mdq_header_add_kind(h[0], "tile"));
    MDQ_TRY(mdq_header_add_kind(h[1], "hessian"));
    enum mdq_err err = write_tiles(tiles, h[0], n, w);
    if (err == MDQ_OK)
        err = write_hessian(stats, h[1], n, hessian);
    double t = now(0);
    pid_t child = err == MDQ_OK ? fork() : -1;
    if (child == 0) {
        execl(program, "mdq-gptq", "-q", jobs, "--bits", "4", "--group", n % 128 ? "row" : "128", "--sym", "--stats", stats,
              tiles, "-o", "/dev/null", (char *)NULL);
        _exit(127);
    }
    int status = 1;
    struct rusage usage = {0};
    if (child > 0)
        wait4(child, &status, 0, &usage);
    t = now(0) - t;
    unlink(tiles);
    unlink(stats);
    rmdir(dir);
    if (err == MDQ_OK && status != 0)
        err = mdq_fail(MDQ_E_INTERNAL, "%s: failed (set MDQ_BIN to where the programs are)", program);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    double peak = (double)usage.ru_maxrss * 1024, own = 8.0 * (double)n * (double)n;
    if (err == MDQ_OK)
        printf("mdq-gptq on a bfloat16 stream: %.2f s (%.2f s of processor), peak memory %.0f MiB = %.2f x (weights + H in "
               "float32) (3 or less)\n", t, cpu, peak / 0x1p20, peak / own);
    mdq_header_free(&h[0]);
    mdq_header_free(&h[1]);
    free(program);
    return err;
}

static enum mdq_err run(void *opts)
{
    const struct opts *o = opts;
    int64_t n = o->size;
    int threads = o->cli.jobs;
    size_t square = (size_t)n * (size_t)n;
    float *x = random_floats(2 * square), *w = random_floats(square), *h = mdq_calloc(square, sizeof *h, "H");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!x || !w || !h)
        goto done;
    /* a strong common part and channels of different strength */
    for (int64_t r = 0; r < 2 * n; r++) {
        float common = uniform();
        for (int64_t c = 0; c < n; c++)
            x[r * n + c] = (x[r * n + c] + 0.3f * common) * (1 + (float)(c % 7));
    }
    printf("%s, %d thread%s, %lld x %lld\n", openblas_get_corename(), threads, threads > 1 ? "s" : "", (long long)n,
           (long long)n);
    printf("%-34s %8s %9s %9s  %6s\n", "", "seconds", "Gflop", "Gflop/s", "ratio");
    double rate = gemm_rate(n, threads, x, w, h), cube = 1e-9 * (double)n * (double)n * (double)n;
    row("sgemm", 2e9 * cube / rate, 2 * cube, rate * 1e-9, 1, "");
    bench_syrk(n / 2, n, threads, x, h);
    bench_syrk(2 * n, n, threads, x, h);
    for (size_t i = 0; i < square; i++)
        h[i] = 0;
    mdq_syrk_add(2 * n, n, x, n, h, n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            h[j * n + i] = h[i * n + j];
    err = bench_gptq(n, threads, rate, w, h);
    if (err == MDQ_OK)
        err = bench_program(n, threads, w, h);
done:
    free(x);
    free(w);
    free(h);
    return err;
}

static error_t parse(int key, char *arg, struct argp_state *s)
{
    struct opts *o = s->input;
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    o->size = mdq_arg_int(s, "SIZE", arg, 64, 16384);
    return 0;
}

static const struct mdq_program program = {
    .name = "bench-gptq",
    .args = "[SIZE]",
    .doc = "Speed of GPTQ and of Hessian accumulation against this machine's BLAS.",
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.size = 4096};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
