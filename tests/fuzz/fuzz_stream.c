/*
 * Any bytes as a stream: they are read or refused, and what is read can be looked at, printed, kept, written and read
 * again. `fuzz_stream FILE` takes FILE; without arguments valid streams are mutated, always the same way, both as files
 * and (so that checksums do not hide the records) inside their frames. Built with -DMDQ_LIBFUZZER -fsanitize=fuzzer it
 * is a libFuzzer target. Under AddressSanitizer no allocation over 64 MB passes.
 */
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../tools/stream_maker.h"
#include "mdq_cli.h"
#include "mdq_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "max_allocation_size_mb=64:allocator_may_return_null=0";
}

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s does not hold (%s)\n", __FILE__, __LINE__, #condition, mdq_error_message()); \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* ---- one input ---- */

static char *in_memory(const void *p, size_t n, int *fd)
{
    static char path[64];
    *fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(*fd >= 0 && write(*fd, p, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
    return path;
}

/* Every getter on every key. */
static void look(struct mdq_record *r)
{
    for (int i = 0; i < r->n; i++) {
        char key[MDQ_LIMIT_KEY + 1];
        int64_t v;
        double f;
        const char *s;
        char *json;
        struct mdq_array a;
        const struct mdq_entry *e = &r->entries[i];
        memcpy(key, e->raw + e->key_at, e->key_size);
        key[e->key_size] = 0;
        MUST(mdq_record_has(r, key));
        mdq_record_get_int(r, key, &v);
        mdq_record_get_f64(r, key, &f);
        if (mdq_record_get_str(r, key, &s) == MDQ_OK)
            MUST(strlen(s) <= e->size);
        if (mdq_record_get_json(r, key, &json) == MDQ_OK) {
            /* what JSON can hold comes back the same */
            struct mdq_record *copy = mdq_record_new(&(struct mdq_id){"x", "y", 0, 0});
            char *again;
            if (strcmp(key, "t") && strcmp(key, "id") && strcmp(key, "n") && e->key_size > 0 &&
                mdq_record_set_json(copy, key, json) == MDQ_OK) {
                MUST(mdq_record_get_json(copy, key, &again) == MDQ_OK);
                free(again);
            }
            mdq_record_free(&copy);
            free(json);
        }
        if (mdq_record_get_array(r, key, &a) == MDQ_OK) {
            uint64_t sum = 0;
            for (size_t k = 0; k < a.bytes; k++)
                sum += ((const uint8_t *)a.data)[k];
            MUST(sum < UINT64_MAX && a.bytes == mdq_dtype_bytes(a.dtype, mdq_array_count(&a)));
        }
    }
}

static int records_of(char *path, int threads, bool looking, struct mdq_record **keep)
{
    struct mdq_reader *in;
    struct mdq_record *r;
    struct mdq_writer *w = NULL;
    int n = 0;
    if (mdq_reader_open(&in, &path, 1, &(struct mdq_reader_options){.threads = threads, .max_total = 32 << 20}))
        return -1;
    free(mdq_header_json(mdq_reader_header(in)));
    MUST(mdq_writer_open(&w, "/dev/null", mdq_reader_header(in), &(struct mdq_writer_options){.threads = 1}) == MDQ_OK);
    enum mdq_err err;
    while (!(err = mdq_reader_next(in, &r)) && r) {
        if (looking)
            look(r);
        MUST(mdq_writer_put(w, r) == MDQ_OK);
        if (!*keep)
            *keep = mdq_record_take(r);
        n++;
    }
    if (err)
        mdq_writer_abort(&w);
    else
        MUST(mdq_writer_finish(&w) == MDQ_OK);
    mdq_reader_close(&in);
    return err ? -2 : n;
}

static void whole_stream(const void *p, size_t n)
{
    int fd;
    char *path = in_memory(p, n, &fd);
    struct mdq_record *kept = NULL;
    int records = records_of(path, 1, true, &kept);
    if (kept)
        look(kept);
    if (n % 8 == 0) /* threads find the same */
        MUST(records_of(path, 3, false, &kept) == records);
    mdq_record_free(&kept);
    close(fd);
}

/* The bytes as the content of a frame in an otherwise good stream; `header`: as the header's. */
static void in_frame(const uint8_t *p, size_t n, bool header)
{
    struct maker m;
    maker_begin(&m);
    m.level = -5;
    if (!header)
        maker_header(&m);
    maker_raw(&m, p, n);
    maker_frame(&m);
    m.records = 1;
    maker_end(&m);
    whole_stream(m.file.data, m.file.size);
    msgpack_sbuffer_destroy(&m.file);
    msgpack_sbuffer_destroy(&m.decoded);
    msgpack_sbuffer_destroy(&m.frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 4 && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0)
        whole_stream(data, size);
    else
        in_frame(data, size, size > 6 && memcmp(data + 1, "\xa5magic", 6) == 0);
    return 0;
}

#ifndef MDQ_LIBFUZZER

/* ---- seeds and mutations ---- */

enum { ROUNDS = 20000, MOST = 8192 };
#define SECONDS 4.0 /* of processor time */

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

struct seed {
    uint8_t data[MOST];
    size_t size;
};
static struct seed seeds[4];

static void keep(struct seed *s, const msgpack_sbuffer *b)
{
    MUST(b->size <= MOST);
    memcpy(s->data, b->data, b->size);
    s->size = b->size;
}

static void make_seeds(void)
{
    struct maker m;
    maker_begin(&m);
    maker_version(&m, 1, 0, 1);
    maker_model(&m);
    maker_tables(&m);
    maker_prov(&m);
    RAW(&m, "\xa5" "calib\x82\xa1" "a\xc0\xa1" "b\x91\xcb\x3f\xf8\0\0\0\0\0\0");
    keep(&seeds[0], &m.frame);
    maker_frame(&m);
    maker_record(&m, "layer", up_proj, 0, 0, 4);
    RAW(&m, "\xa5qbits\x04\xa7qmethod\xa4gptq\xa7qreport\x82\xa1" "e\xcb\x3f\xf0\0\0\0\0\0\0\xa1l\x93\xc2\xff\xd9\1x");
    maker_str(&m, "scales");
    maker_array_head(&m, "bf16", "planes", 2, (int64_t[]){3, 2}, 12);
    RAW(&m, "abcdef\x3c\x3c\x3c\xbc\xbc\xbc");
    keep(&seeds[1], &m.frame);
    maker_record(&m, "tile", up_proj, 0, 0, 3);
    maker_weights(&m, 4, 4);
    maker_str(&m, "codes");
    maker_array_head(&m, "u3", "raw", 2, (int64_t[]){4, 4}, 6);
    RAW(&m, "\1\2\3\4\5\6");
    RAW(&m, "\xa3x-y\x84\xa1" "a\xd4\1\2\xa1" "b\xc4\2\0\xff\xa1" "c\xca\x7f\xc0\0\0\xa1" "d\x91\x91\x91\x91\x80");
    keep(&seeds[2], &m.frame);
    maker_frame(&m);
    maker_record(&m, "tile", down_proj, 0, 1, 0);
    maker_frame(&m);
    maker_end(&m);
    keep(&seeds[3], &m.file);
    msgpack_sbuffer_destroy(&m.file);
    msgpack_sbuffer_destroy(&m.decoded);
    msgpack_sbuffer_destroy(&m.frame);
}

static void mutate(struct seed *s)
{
    static const struct { const char *p; size_t n; } awkward[] = {
        {"\xdd\xff\xff\xff\xff", 5}, {"\xdf\x7f\xff\xff\xff", 5}, {"\xc6\xff\xff\xff\xf0", 5}, {"\xdb\x80\0\0\0", 5},
        {"\xc9\x10\0\0\0\1", 6}, {"\xdc\xff\xff", 3}, {"\xc1", 1}, {"\xd9", 1}, {"\x91\x91\x91\x91\x91\x91\x91\x91", 8},
        {"\xcb\x7f\xf0\0\0\0\0\0\0", 9}, {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9}, {"\xd3\x80\0\0\0\0\0\0\0", 9},
        {"\xa5shape", 6}, {"\xa5" "dtype", 6}, {"\xa4" "data", 5}, {"\xa3" "f64", 4}, {"\xa6planes", 7}, {"\xa2u2", 3},
        {"\0\0\0", 3},
        {"\x28\xb5\x2f\xfd", 4}, {"\xa1t\xa3" "end", 6},
    };
    for (uint32_t k = 1 + below(3); k > 0 && s->size > 0; k--) {
        uint32_t at = below((uint32_t)s->size), n = 1 + below(8);
        if (n > s->size - at)
            n = (uint32_t)s->size - at;
        switch (below(7)) {
        case 0: s->data[at] ^= (uint8_t)(1u << below(8)); break;
        case 1: s->data[at] = (uint8_t)below(256); break;
        case 2:
            memmove(s->data + at, s->data + at + n, s->size - at - n);
            s->size -= n;
            break;
        case 3: s->size = below(4) ? s->size : at; break;
        case 4: memmove(s->data + below((uint32_t)s->size - n + 1), s->data + at, n); break;
        case 5:
            if (s->size + n > MOST)
                break;
            memmove(s->data + at + n, s->data + at, s->size - at); /* the bytes there twice */
            s->size += n;
            break;
        default: {
            uint32_t i = below(sizeof awkward / sizeof *awkward);
            if (awkward[i].n <= s->size - at)
                memcpy(s->data + at, awkward[i].p, awkward[i].n);
        }
        }
    }
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        static uint8_t data[16 << 20];
        FILE *f = fopen(argv[i], "rb");
        if (!f) {
            perror(argv[i]);
            return 3;
        }
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, n);
    }
    if (argc > 1)
        return 0;
    make_seeds();
    for (int k = 0; k < 4; k++)
        LLVMFuzzerTestOneInput(seeds[k].data, seeds[k].size);
    struct mdq_record *kept = NULL;
    int fd, round = 0;
    MUST(records_of(in_memory(seeds[3].data, seeds[3].size, &fd), 1, true, &kept) == 3); /* the seed is a good stream */
    mdq_record_free(&kept);
    close(fd);
    for (double from = cpu_seconds(); round < ROUNDS && cpu_seconds() - from < SECONDS; round++) {
        struct seed s = seeds[round % 4];
        mutate(&s);
        LLVMFuzzerTestOneInput(s.data, s.size);
    }
    fprintf(stderr, "fuzz_stream: %d mutations\n", round);
    return 0;
}

#endif
