/* Streams of many frames: the same whatever the threads, errors from threads, closing early. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream_fixture.h"

static const char *const two_kinds[] = {"tile", "x-any", NULL};
enum { RECORDS = 100 };

/* Records of growing size, some larger than a frame by custom. */
static size_t size_of(int i)
{
    return i == 60 ? 3000000 : i % 9 == 0 ? 0 : (size_t)(i * 200);
}

static void write_many(const char *path, int threads, int level)
{
    struct mdq_header *h = new_header(two_kinds);
    struct mdq_writer *w;
    uint16_t *data = malloc(3000000 * sizeof *data);
    OK(mdq_writer_open(&w, path, h, &(struct mdq_writer_options){.level = level, .threads = threads}));
    for (int i = 0; i < RECORDS; i++) {
        struct mdq_record *r = mdq_record_new(&(struct mdq_id){"block.7", "x-any", i, 0});
        fill_bf16(data, size_of(i), (uint64_t)i);
        struct mdq_array a = {.dtype = MDQ_BF16, .ndim = 1, .shape = {(int64_t)size_of(i)}, .data = data,
                              .bytes = size_of(i) * 2};
        OK(mdq_record_set_array(r, "x-a", &a));
        OK(mdq_record_set_int(r, "x-i", i));
        OK(mdq_writer_put(w, r));
        mdq_record_free(&r);
    }
    OK(mdq_writer_finish(&w));
    mdq_header_free(&h);
    free(data);
}

static enum mdq_err read_many(const char *path, int threads, int *n)
{
    struct mdq_reader *in;
    struct mdq_record *r;
    enum mdq_err err = mdq_reader_open(&in, (char *const[]){(char *)path}, 1, &(struct mdq_reader_options){.threads = threads});
    uint16_t *want = malloc(3000000 * sizeof *want);
    for (*n = 0; !err; ++*n) {
        if ((err = mdq_reader_next(in, &r)) || !r)
            break;
        struct mdq_array a;
        fill_bf16(want, size_of(*n), (uint64_t)*n);
        OK(mdq_record_get_array(r, "x-a", &a));
        assert_int_equal(a.bytes, size_of(*n) * 2);
        assert_memory_equal(a.data, want, a.bytes);
    }
    free(want);
    mdq_reader_close(&in);
    return err;
}

static void bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    size_t n, m;
    write_many(temp_path("1.mdq"), 1, MDQ_LEVEL_DEFAULT);
    uint8_t *one = read_all(temp_path("1.mdq"), &n);
    for (int threads = 2; threads <= 5; threads++) {
        write_many(temp_path("t.mdq"), threads, MDQ_LEVEL_DEFAULT);
        uint8_t *many = read_all(temp_path("t.mdq"), &m);
        assert_int_equal(n, m);
        assert_memory_equal(one, many, n);
        free(many);
        int records;
        OK(read_many(temp_path("t.mdq"), threads, &records));
        assert_int_equal(records, RECORDS);
    }
    free(one);
}

/* The level changes the size and nothing else: the end record's hash is of decoded bytes. */
static void the_level_is_free(void **state)
{
    (void)state;
    int n;
    for (int level = -5; level <= 6; level += 11) {
        write_many(temp_path("l.mdq"), 2, level);
        OK(read_many(temp_path("l.mdq"), 2, &n));
        assert_int_equal(n, RECORDS);
    }
}

static void a_damaged_frame_is_an_error_in_its_place(void **state)
{
    (void)state;
    size_t size;
    write_many(temp_path("1.mdq"), 1, MDQ_LEVEL_DEFAULT);
    uint8_t *p = read_all(temp_path("1.mdq"), &size);
    p[size - 2000000] ^= 1;
    FILE *f = fopen(temp_path("d.mdq"), "wb");
    assert_int_equal(fwrite(p, 1, size, f), size);
    fclose(f);
    free(p);
    int at[4];
    for (int threads = 1; threads <= 4; threads++) {
        assert_int_equal(read_many(temp_path("d.mdq"), threads, &at[threads - 1]), MDQ_E_DATA);
        assert_non_null(strstr(mdq_error_message(), "d.mdq: frame "));
        assert_int_equal(at[threads - 1], at[0]);
    }
    assert_true(at[0] > 0 && at[0] < RECORDS);
}

static void cut_short_anywhere_is_an_error(void **state)
{
    (void)state;
    size_t size;
    int n;
    write_many(temp_path("1.mdq"), 1, MDQ_LEVEL_DEFAULT);
    uint8_t *p = read_all(temp_path("1.mdq"), &size);
    for (size_t k = 0; k < 12; k++) {
        size_t keep = k < 6 ? size / 7 * (k + 1) : size - (k - 5) * 13;
        FILE *f = fopen(temp_path("c.mdq"), "wb");
        assert_int_equal(fwrite(p, 1, keep, f), keep);
        fclose(f);
        assert_int_equal(read_many(temp_path("c.mdq"), 1 + (int)k % 3, &n), MDQ_E_IO);
    }
    free(p);
}

/* A reader that is closed while its threads wait for a writer that says nothing does not hang. */
static void closing_early_does_not_wait(void **state)
{
    (void)state;
    size_t size;
    write_many(temp_path("1.mdq"), 1, MDQ_LEVEL_DEFAULT);
    uint8_t *p = read_all(temp_path("1.mdq"), &size);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    if (fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) < (1 << 20)) {
        free(p);
        skip();
    }
    assert_int_equal(write(fds[1], p, 1000000), 1000000); /* more than one frame; the pipe stays open */
    free(p);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
    struct mdq_reader *in;
    OK(mdq_reader_open(&in, (char *const[]){path}, 1, &(struct mdq_reader_options){.threads = 3}));
    struct mdq_record *r;
    alarm(20);
    OK(mdq_reader_next(in, &r)); /* the threads run, and wait for more input */
    assert_non_null(r);
    mdq_reader_close(&in);
    alarm(0);
    close(fds[0]);
    close(fds[1]);
}

static void a_bound_on_the_total_is_kept(void **state)
{
    (void)state;
    struct mdq_reader *in;
    struct mdq_record *r;
    write_many(temp_path("1.mdq"), 1, MDQ_LEVEL_DEFAULT);
    OK(mdq_reader_open(&in, (char *const[]){(char *)temp_path("1.mdq")}, 1,
                       &(struct mdq_reader_options){.threads = 2, .max_total = 1500000}));
    enum mdq_err err;
    do
        err = mdq_reader_next(in, &r);
    while (!err && r);
    assert_int_equal(err, MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "larger than the bound of 1500000 bytes"));
    mdq_reader_close(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(the_level_is_free),
        cmocka_unit_test(a_damaged_frame_is_an_error_in_its_place),
        cmocka_unit_test(cut_short_anywhere_is_an_error),
        cmocka_unit_test(closing_early_does_not_wait),
        cmocka_unit_test(a_bound_on_the_total_is_kept),
    };
    return cmocka_run_group_tests_name("stream threads", tests, NULL, remove_temp);
}
