/*
 * Geometry that contradicts itself: a layer's charts, feet, neighbours, labels, shifts and drifts with keys
 * missing, of other types, shapes and values, as a stream may hold them after any program. Whatever is in them, reading them
 * fails with an error, or targets and distortions that come of them are numbers. A file's bytes choose what is wrong; without
 * one random bytes do.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gptq_distortion.h"
#include "gptq_layer.h"

enum { ROWS = 12, COLS = 10, BLOCKS = 2, K = 3, SENSITIVE = 2, ROUNDS = 20000, SECONDS = 15 };

static const uint8_t *input;
static size_t left;

static unsigned next(void)
{
    return left > 0 ? (left--, *input++) : 0;
}

/* An array for `key` that is as it should be for most values of the next byte. */
static enum mdq_err put(struct mdq_record *rec, const char *key, enum mdq_dtype t, int ndim, int64_t a, int64_t b, double value)
{
    static unsigned char zeros[1 << 16];
    unsigned what = next();
    struct mdq_array v = {.dtype = t, .ndim = ndim, .shape = {a, b}, .data = zeros};
    if (what == 1)
        return MDQ_OK;
    if (what == 2)
        v.dtype = (enum mdq_dtype)(next() % (MDQ_U8 + 1));
    if (what == 3)
        v.shape[0] = next() % 16;
    if (what == 4)
        v.shape[1] = next() % 90;
    if (what == 5)
        v.ndim = 1 + (int)(next() % 3), v.shape[2] = 1;
    v.bytes = mdq_dtype_bytes(v.dtype, mdq_array_count(&v));
    if (v.bytes > sizeof zeros)
        return MDQ_OK;
    int64_t n = mdq_array_count(&v);
    double x = what == 6 ? 1e300 * (double)next() : what == 7 ? -1 : value;
    for (int64_t i = 0; i < n; i++) {
        if (v.dtype == MDQ_F32)
            ((float *)(void *)zeros)[i] = (float)(x * (1 + 0.1 * (double)(i % 7)));
        else if (v.dtype == MDQ_F64)
            ((double *)(void *)zeros)[i] = x * (1 + 0.1 * (double)(i % 7));
        else if (v.dtype == MDQ_U16)
            ((uint16_t *)(void *)zeros)[i] = (uint16_t)(what == 8 ? next() : (unsigned)i % 6);
        else
            memset(zeros + (size_t)i * mdq_dtype_bits(v.dtype) / 8, what == 8 ? (int)next() : 0, mdq_dtype_bits(v.dtype) / 8);
    }
    return mdq_record_set_array(rec, key, &v);
}

static void number(struct mdq_record *rec, const char *key, double value, bool whole)
{
    unsigned what = next();
    double v = what == 2 ? 0 : what == 3 ? -1 : what == 4 ? 1e308 : what == 5 ? next() : value;
    if (what != 1)
        (void)(whole ? mdq_record_set_int(rec, key, (int64_t)fmin(v, 1e15)) : mdq_record_set_f64(rec, key, v));
}

static struct mdq_record *new_record(const char *kind, int64_t row, int64_t col)
{
    return mdq_record_new(&(struct mdq_id){.tensor = "w", .kind = kind, .row = row, .col = col});
}

static struct mdq_record *chart(int64_t col)
{
    struct mdq_record *r = new_record("chart", next() == 1 ? next() : 0, next() == 1 ? next() : col);
    const int64_t D = COLS / BLOCKS, d = 2, h = 3;
    if (!r)
        exit(3);
    number(r, "dim", d, true);
    number(r, "hidden", h, true);
    number(r, "weight", 0.5, false);
    number(r, "noise", 0.01, false);
    put(r, "mean", MDQ_F32, 1, D, 0, 0.1);
    put(r, "basis", MDQ_F32, 2, D, d, 0.5);
    put(r, "dec_in", MDQ_F32, 2, h, d, 0.3);
    put(r, "dec_bias", MDQ_F32, 1, h, 0, 0.1);
    put(r, "dec_out", MDQ_F32, 2, D, h, 0.2);
    put(r, "enc_lin", MDQ_F32, 2, d, D, 0.1);
    put(r, "enc_in", MDQ_F32, 2, h, D, 0.1);
    put(r, "enc_bias", MDQ_F32, 1, h, 0, 0);
    put(r, "enc_out", MDQ_F32, 2, d, h, 0);
    put(r, "post_sd", MDQ_F32, 1, d, 0, 0.5);
    return r;
}

static struct mdq_record *tile(int64_t col)
{
    struct mdq_record *r = new_record("tile", 0, col);
    float w[ROWS * COLS / BLOCKS];
    if (!r)
        exit(3);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)sin((double)(i * i));
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = 2, .shape = {ROWS, COLS / BLOCKS}, .data = w, .bytes = sizeof w};
    if (mdq_record_set_array(r, "w", &a))
        exit(3);
    number(r, "row_scale", 1, false);
    put(r, "chart", MDQ_U8, 1, ROWS, 0, 0);
    put(r, "foot", MDQ_F64, 2, ROWS, 2, 0.3);
    put(r, "normal", MDQ_F32, 1, ROWS, 0, 0.5);
    put(r, "lle_neighbours", MDQ_U16, 2, ROWS, K, 0);
    put(r, "tangent_normal", MDQ_F32, 1, ROWS, 0, 0.5);
    uint8_t label[ROWS] = {0};
    int64_t moved = 0;
    for (int i = 0; next() > 9 && i < SENSITIVE; i++) /* two of them, for most bytes */
        label[(unsigned)(5 * i) % ROWS] = i % 2 ? MDQ_SENSITIVE : MDQ_OVERLAP, moved++;
    if (next() == 8)
        label[1] = (uint8_t)next();
    struct mdq_array of = {.dtype = MDQ_U8, .ndim = 1, .shape = {next() == 7 ? ROWS - 1 : ROWS}, .data = label};
    of.bytes = (size_t)of.shape[0];
    if (next() != 6 && mdq_record_set_array(r, "label", &of))
        exit(3);
    put(r, "md_target", MDQ_F32, 1, ROWS, 0, 0.4);
    put(r, "shift", MDQ_F32, 2, moved, COLS / BLOCKS, 0.3);
    put(r, "drift", MDQ_F32, 2, ROWS, COLS / BLOCKS, 0.01);
    return r;
}

/* Whether it could be read. */
static bool try_bytes(const uint8_t *p, size_t n)
{
    struct gptq_layer layer = {.tiles = {.entry = {.tensor = "w", .rows = ROWS, .cols = COLS, .tile_rows = 1, .tile_cols = BLOCKS}}};
    struct mdq_layer_tiles l;
    struct mdq_points g = {0};
    float md[ROWS * BLOCKS];
    uint8_t codes[ROWS * COLS];
    struct quant_grid grid = {0};
    input = p, left = n;
    l = layer.tiles;
    struct mdq_record *all[1 + 2 * BLOCKS] = {new_record("layer", 0, 0)};
    int count = 1;
    bool charts = next() != 1;
    for (int64_t j = 0; charts && j < BLOCKS; j++)
        all[count++] = chart(j);
    for (int64_t j = 0; j < BLOCKS; j++)
        all[count++] = tile(j);
    l.held = malloc(sizeof *l.held * (size_t)count);
    if (!l.held)
        exit(3);
    for (int i = 0; i < count; i++)
        l.held[l.n++] = all[i];
    l.capacity = count;
    layer.tiles = l;
    bool good = gptq_layer_assemble(&layer) == MDQ_OK && mdq_points_read(&g, &layer.tiles) == MDQ_OK;
    l = layer.tiles;
    for (int i = 0; good && i < ROWS * COLS; i++)
        if (isnan(layer.target[i]))
            abort();
    if (good) {
        struct quant_outcome out;
        if (quant_grid_fit(&grid, l.w, ROWS, COLS, &(struct quant_spec){3, 0, true, MDQ_F16}) || quant_rtn(l.w, &grid, codes, &out))
            exit(3);
        if (gptq_distortion(&g, l.w, &grid, codes, md) == MDQ_OK)
            for (int i = 0; i < ROWS * BLOCKS; i++)
                if (isnan(md[i]) && g.basis != MDQ_BASIS_CHART) /* numbers near the largest there are may overflow in a chart */
                    abort();
        double u[COLS * MDQ_CHART_MAX_DIM];
        int64_t rank;
        (void)mdq_point_tangent(&g, l.w, 0, 0, u, &rank);
    }
    quant_grid_free(&grid);
    mdq_points_free(&g);
    gptq_layer_free(&layer);
    return good;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[4096];
    if (argc > 1) {
        FILE *f = fopen(argv[1], "rb");
        size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
        if (f)
            fclose(f);
        try_bytes(bytes, n);
        return 0;
    }
    uint64_t state = 88172645463325252u;
    int good = 0, round = 0;
    clock_t start = clock();
    for (; round < ROUNDS && (double)(clock() - start) / CLOCKS_PER_SEC < SECONDS; round++) {
        memset(bytes, 255, sizeof bytes); /* nothing wrong, but for a few */
        for (int k = 0; k < 1 + round % 4; k++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[state % 110] = (uint8_t)(state >> 40) % 10;
            bytes[(state >> 10) % 110] = (uint8_t)(state >> 50);
        }
        good += try_bytes(bytes, sizeof bytes);
    }
    fprintf(stderr, "%d of %d layers read\n", good, round);
    return good > round / 20 && good < round ? 0 : 1; /* otherwise this tests one half only */
}
