/*
 * Record streams: ratio, and speed of writing and reading per core, for each kind of array and several zstd levels.
 *
 *     bench-stream [STREAM...]     also re-encodes the records of these files (weights of a real model)
 *
 * Speeds are millions of bytes of array data per second of processor time of one thread, everything included: planes,
 * compression, checksums, hash, the check for NaN. memcpy is measured in the same run; "x memcpy" is the ratio to it.
 * The default level was chosen by this table.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mdq.h"
#include "mdq_cli.h"

enum { TILE = 256, TOTAL = 48 << 20, REPEAT = 3 };

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "bench-stream: %s: %s\n", what, mdq_error_message());
    exit(1);
}

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static float normal(void)
{
    return (float)(sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()));
}

/* ---- records ---- */

struct set {
    struct mdq_record **records;
    int n;
    double bytes; /* of arrays */
    const char *key;
};

static void add(struct set *s, struct mdq_record *r, const char *key, const struct mdq_array *a)
{
    s->records = realloc(s->records, (size_t)(s->n + 1) * sizeof *s->records);
    if (!s->records || mdq_record_set_array(r, key, a))
        die(key);
    s->records[s->n++] = r;
    s->bytes += (double)a->bytes;
    s->key = key;
}

/* Rows of one tensor's tiles: each row has a scale of its own, as output channels do. */
static struct set weights(enum mdq_dtype t)
{
    static float w[TILE * TILE];
    static uint8_t out[sizeof w];
    struct set s = {0};
    size_t bytes = mdq_dtype_bytes(t, TILE * TILE);
    for (int i = 0; s.bytes + (double)bytes <= TOTAL; i++) {
        for (int r = 0; r < TILE; r++) {
            float scale = 0.02f * expf(0.5f * normal());
            for (int c = 0; c < TILE; c++)
                w[r * TILE + c] = scale * normal();
        }
        mdq_dtype_from_f32(t, w, TILE * TILE, out);
        struct mdq_array a = {.dtype = t, .ndim = 2, .shape = {TILE, TILE}, .data = out, .bytes = bytes};
        add(&s, mdq_record_new(&(struct mdq_id){"model.layers.0.mlp.up_proj.weight", "tile", i, 0}), "w", &a);
    }
    return s;
}

/* X^T X of correlated inputs, in panels of rows. */
static struct set hessian(void)
{
    enum { DIM = 1024, SAMPLES = 256, ROWS = 512 };
    float *x = malloc(sizeof(float) * DIM * SAMPLES), *h = malloc(sizeof(float) * DIM * ROWS);
    struct set s = {0};
    for (int i = 0; x && h && s.bytes + 4.0 * DIM * ROWS <= TOTAL / 2; i++) {
        for (int k = 0; k < SAMPLES; k++)
            for (int c = 0; c < DIM; c++)
                x[k * DIM + c] = normal() + (c ? 0.5f * x[k * DIM + c - 1] : 0);
        memset(h, 0, sizeof(float) * DIM * ROWS);
        for (int k = 0; k < SAMPLES; k++)
            for (int r = 0; r < ROWS; r++)
                for (int c = 0; c < DIM; c++)
                    h[r * DIM + c] += x[k * DIM + r] * x[k * DIM + c];
        struct mdq_array a = {.dtype = MDQ_F32, .ndim = 2, .shape = {ROWS, DIM}, .data = h};
        a.bytes = sizeof(float) * DIM * ROWS;
        add(&s, mdq_record_new(&(struct mdq_id){"model.layers.0.mlp.up_proj.weight", "hessian", i, 0}), "h", &a);
    }
    free(x);
    free(h);
    return s;
}

/* 4-bit codes of normal weights, scaled to the largest of groups of 128. */
static struct set codes(void)
{
    static uint8_t code[TILE * TILE], packed[TILE * TILE / 2];
    struct set s = {0};
    for (int i = 0; s.bytes + sizeof packed <= TOTAL / 2; i++) {
        for (int g = 0; g < TILE * TILE; g += 128) {
            float w[128], most = 0;
            for (int k = 0; k < 128; k++) {
                w[k] = normal();
                most = fmaxf(most, fabsf(w[k]));
            }
            for (int k = 0; k < 128; k++)
                code[g + k] = (uint8_t)fminf(15, fmaxf(0, rintf(w[k] / (most / 7.5f)) + 8));
        }
        mdq_bits_pack(code, TILE * TILE, 4, packed);
        struct mdq_array a = {.dtype = MDQ_U4, .ndim = 2, .shape = {TILE, TILE}, .data = packed, .bytes = sizeof packed};
        add(&s, mdq_record_new(&(struct mdq_id){"model.layers.0.mlp.up_proj.weight", "tile", i, 0}), "codes", &a);
    }
    return s;
}

static void set_free(struct set *s)
{
    for (int i = 0; i < s->n; i++)
        mdq_record_free(&s->records[i]);
    free(s->records);
    *s = (struct set){0};
}

/* ---- measuring ---- */

static struct mdq_header *header_for_all(void)
{
    static const struct mdq_layer_entry layer = {"model.layers.0.mlp.up_proj.weight", 1 << 20, 256, 4096, 1, 0};
    struct mdq_header *h;
    if (mdq_header_new(&h, "00000000000000000000000000000000", &layer, 1) || mdq_header_add_kind(h, "tile") ||
        mdq_header_add_kind(h, "hessian"))
        die("header");
    return h;
}

static double write_set(const struct set *s, const struct mdq_header *h, const char *path, int level)
{
    struct mdq_writer *w;
    double t = cpu_seconds();
    if (mdq_writer_open(&w, path, h, &(struct mdq_writer_options){.level = level, .threads = 1}))
        die(path);
    for (int i = 0; i < s->n; i++)
        if (mdq_writer_put(w, s->records[i]))
            die("put");
    if (mdq_writer_finish(&w))
        die("finish");
    return cpu_seconds() - t;
}

static double read_set(const char *path, const char *key)
{
    struct mdq_reader *in;
    struct mdq_record *r;
    struct mdq_array a;
    double t = cpu_seconds();
    if (mdq_reader_open(&in, (char *const[]){(char *)path}, 1, &(struct mdq_reader_options){.threads = 1}))
        die(path);
    for (;;) {
        if (mdq_reader_next(in, &r))
            die("next");
        if (!r)
            break;
        if (key && mdq_record_has(r, key) && mdq_record_get_array(r, key, &a))
            die(key);
    }
    mdq_reader_close(&in);
    return cpu_seconds() - t;
}

static double memcpy_rate(void)
{
    uint8_t *a = malloc(TOTAL), *b = malloc(TOTAL);
    double best = 0;
    if (!a || !b)
        die("memory");
    memset(a, 1, TOTAL);
    memset(b, 2, TOTAL);
    for (int i = 0; i < 5; i++) {
        double t = cpu_seconds();
        memcpy(i % 2 ? a : b, i % 2 ? b : a, TOTAL);
        __asm__ volatile("" ::"r"(a), "r"(b) : "memory");
        t = TOTAL / (cpu_seconds() - t);
        best = t > best ? t : best;
    }
    free(a);
    free(b);
    return best;
}

static void measure(const char *name, const struct set *s, const struct mdq_header *h, double copy)
{
    static const int levels[] = {MDQ_LEVEL_DEFAULT, -5, -1, 1, 3, 9};
    char path[] = "/tmp/bench-stream-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        die(path);
    close(fd);
    for (size_t k = 0; k < sizeof levels / sizeof *levels; k++) {
        double w = 1e9, r = 1e9;
        struct stat st;
        write_set(s, h, path, levels[k]);
        stat(path, &st);
        for (int i = 0; i < REPEAT; i++) {
            w = fmin(w, write_set(s, h, "/dev/null", levels[k]));
            r = fmin(r, read_set(path, s->key));
        }
        char level[16];
        snprintf(level, sizeof level, "%d", levels[k]);
        printf("%-14s %7s %6.3f %8.0f %6.2f %9.0f %6.2f\n", name, levels[k] == MDQ_LEVEL_DEFAULT ? "default" : level,
               s->bytes / (double)st.st_size, s->bytes / w / 1e6, s->bytes / w / copy, s->bytes / r / 1e6,
               s->bytes / r / copy);
        fflush(stdout);
    }
    unlink(path);
}

/* The records of a stream, held in memory. */
static struct set load(const char *path, struct mdq_header **h)
{
    struct mdq_reader *in;
    struct mdq_record *r;
    struct set s = {.key = "w"};
    if (mdq_reader_open(&in, (char *const[]){(char *)path}, 1, NULL) || mdq_header_derive(h, mdq_reader_header(in), NULL, NULL))
        die(path);
    while (s.bytes < TOTAL) {
        if (mdq_reader_next(in, &r))
            die(path);
        if (!r)
            break;
        struct mdq_array a = {0};
        if (mdq_record_has(r, "w") && mdq_record_get_array(r, "w", &a))
            die(path);
        s.records = realloc(s.records, (size_t)(s.n + 1) * sizeof *s.records);
        if (!s.records || !(s.records[s.n++] = mdq_record_take(r)))
            die(path);
        s.bytes += (double)a.bytes;
    }
    mdq_reader_close(&in);
    return s;
}

int main(int argc, char **argv)
{
    double copy = memcpy_rate();
    printf("memcpy: %.0f MB/s\n", copy / 1e6);
    printf("%-14s %7s %6s %8s %6s %9s %6s\n", "arrays", "level", "ratio", "write", "x copy", "read MB/s", "x copy");
    struct mdq_header *h = header_for_all();
    struct set s = weights(MDQ_BF16);
    measure("weights bf16", &s, h, copy);
    set_free(&s);
    s = weights(MDQ_F32);
    measure("weights f32", &s, h, copy);
    set_free(&s);
    s = hessian();
    measure("hessian f32", &s, h, copy);
    set_free(&s);
    s = codes();
    measure("codes u4", &s, h, copy);
    set_free(&s);
    mdq_header_free(&h);
    for (int i = 1; i < argc; i++) {
        const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
        s = load(argv[i], &h);
        measure(name, &s, h, copy);
        set_free(&s);
        mdq_header_free(&h);
    }
    return 0;
}
