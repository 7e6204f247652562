/* Streams written and read back: values, arrays, order, merging, ownership. */
#include "stream_fixture.h"

static const char *const tiles_only[] = {"tile", NULL};
enum { N = 64 * 48 };

/* All tiles of both layers with key `key` (NULL: none) holding arrays that depend on their identity. */
static void write_tiles(const char *path, const char *key, const char *prog, int threads)
{
    struct mdq_header *h = new_header(tiles_only);
    OK(mdq_header_add_provenance(h, NULL, prog, "{\"b\":1,\"a\":[true,null,0.5]}"));
    struct mdq_writer *w;
    struct mdq_writer_options o = {.level = MDQ_LEVEL_DEFAULT, .threads = threads};
    OK(mdq_writer_open(&w, path, h, &o));
    for (int i = 0; i < 8; i++) {
        struct mdq_record *r = new_tile(i / 4, i % 2, i / 2 % 2);
        uint16_t data[N];
        fill_bf16(data, N, (uint64_t)i);
        struct mdq_array a = {.dtype = MDQ_BF16, .ndim = 2, .shape = {64, 48}, .data = data, .bytes = sizeof data};
        if (key)
            OK(mdq_record_set_array(r, key, &a));
        OK(mdq_writer_put(w, r));
        mdq_record_free(&r);
    }
    assert_int_equal(mdq_writer_records(w), 8);
    OK(mdq_writer_finish(&w));
    mdq_header_free(&h);
}

static void round_trip(void **state)
{
    (void)state;
    const char *path = temp_path("a.mdq");
    write_tiles(path, "w", "mdq-tile", 1);
    struct mdq_reader *in;
    OK(mdq_reader_open(&in, (char *const[]){(char *)path}, 1, NULL));
    const struct mdq_header *h = mdq_reader_header(in);
    assert_string_equal(mdq_header_model(h), model_id);
    assert_int_equal(mdq_header_layers(h), 2);
    assert_int_equal(mdq_header_find_layer(h, two_layers[1].tensor), 1);
    assert_int_equal(mdq_header_find_layer(h, "nothing"), -1);
    assert_int_equal(mdq_header_layer(h, 1)->cols, 300);
    struct mdq_record *r;
    for (int i = 0; i < 8; i++) {
        OK(mdq_reader_next(in, &r));
        assert_non_null(r);
        struct mdq_id id = mdq_record_id(r);
        assert_string_equal(id.tensor, two_layers[i / 4].tensor);
        assert_int_equal(id.row, i % 2);
        assert_int_equal(id.col, i / 2 % 2);
        uint16_t want[N];
        fill_bf16(want, N, (uint64_t)i);
        for (int k = 0; k < 2; k++) { /* the second time it was joined already */
            struct mdq_array a;
            OK(mdq_record_get_array(r, "w", &a));
            assert_int_equal(a.dtype, MDQ_BF16);
            assert_int_equal(a.shape[0], 64);
            assert_memory_equal(a.data, want, sizeof want);
        }
        float *f = malloc(N * sizeof *f);
        OK(mdq_record_copy_f32(r, "w", N, f));
        assert_true(f[5] == mdq_bf16_to_f32(want[5]));
        FAILS(MDQ_E_DATA, "3072 elements instead of 7", mdq_record_copy_f32(r, "w", 7, f));
        free(f);
    }
    OK(mdq_reader_next(in, &r));
    assert_null(r);
    OK(mdq_reader_next(in, &r)); /* and stays at the end */
    assert_null(r);
    mdq_reader_close(&in);
}

static void scalars(void **state)
{
    (void)state;
    struct mdq_record *r = new_tile(0, 0, 0);
    int64_t i = 7;
    double f = 7;
    const char *s = "seven";
    OK(mdq_record_set_int(r, "x-i", INT64_MIN));
    OK(mdq_record_set_int(r, "x-j", 200));
    OK(mdq_record_set_f64(r, "x-f", 0.1));
    OK(mdq_record_set_str(r, "x-s", "h\xc3\xa9llo"));
    OK(mdq_record_set_bool(r, "x-b", true));
    OK(mdq_record_set_json(r, "x-json", "{\"z\":[1,-2,3.5],\"a\":{\"k\":null}}"));
    OK(mdq_record_get_int(r, "x-i", &i));
    assert_true(i == INT64_MIN);
    OK(mdq_record_get_f64(r, "x-j", &f));
    assert_true(f == 200);
    OK(mdq_record_get_f64(r, "x-f", &f));
    assert_true(f == 0.1);
    OK(mdq_record_get_str(r, "x-s", &s));
    assert_string_equal(s, "h\xc3\xa9llo");
    char *json;
    OK(mdq_record_get_json(r, "x-json", &json));
    assert_string_equal(json, "{\"a\":{\"k\":null},\"z\":[1,-2,3.5]}");
    free(json);
    i = 9;
    OK(mdq_record_get_int_opt(r, "x-none", &i));
    assert_int_equal(i, 9);
    FAILS(MDQ_E_DATA, "missing", mdq_record_get_int(r, "x-none", &i));
    FAILS(MDQ_E_DATA, "not an integer", mdq_record_get_int(r, "x-s", &i));
    FAILS(MDQ_E_DATA, "not a string", mdq_record_get_str(r, "x-i", &s));
    struct mdq_array a;
    FAILS(MDQ_E_DATA, "not an array", mdq_record_get_array(r, "x-json", &a));
    /* stages add, they do not rewrite */
    OK(mdq_record_set_int(r, "x-j", 200));
    FAILS(MDQ_E_DATA, "another value", mdq_record_set_int(r, "x-j", 201));
    FAILS(MDQ_E_DATA, "not a key", mdq_record_set_int(r, "id", 201));
    FAILS(MDQ_E_DATA, "UTF-8", mdq_record_set_str(r, "x-t", "\xff"));
    mdq_record_free(&r);
}

static void nan_is_refused_where_the_registry_says(void **state)
{
    (void)state;
    struct mdq_record *r = new_tile(0, 0, 0);
    float w[3] = {1, 2, __builtin_nanf("")};
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = 1, .shape = {3}, .data = w, .bytes = sizeof w};
    FAILS(MDQ_E_DATA, "element 2 is not finite", mdq_record_set_array(r, "w", &a));
    OK(mdq_record_set_array(r, "x-w", &a));
    a.bytes = 8;
    FAILS(MDQ_E_INTERNAL, "contradict", mdq_record_set_array(r, "x-v", &a));
    mdq_record_free(&r);
}

static void merging_unites_keys(void **state)
{
    (void)state;
    const char *a = temp_path("a.mdq"), *b = temp_path("b.mdq"), *c = temp_path("c.mdq");
    write_tiles(a, "w", "mdq-tile", 1);
    write_tiles(b, "x-b", "mdq-other", 1);
    struct mdq_reader *in;
    OK(mdq_reader_open(&in, (char *const[]){(char *)a, (char *)b}, 2, NULL));
    struct mdq_header *h;
    OK(mdq_header_derive(&h, mdq_reader_header(in), "mdq-x", NULL));
    char *json = mdq_header_json(h);
    assert_non_null(strstr(json, "\"prev\":[\"mdq-tile\",\"mdq-other\"]"));
    free(json);
    struct mdq_writer *w;
    OK(mdq_writer_open(&w, c, h, NULL));
    struct mdq_record *r;
    int n = 0;
    for (;; n++) {
        OK(mdq_reader_next(in, &r));
        if (!r)
            break;
        assert_true(mdq_record_has(r, "w") && mdq_record_has(r, "x-b"));
        struct mdq_array x, y;
        OK(mdq_record_get_array(r, "w", &x));
        OK(mdq_record_get_array(r, "x-b", &y));
        assert_memory_equal(x.data, y.data, x.bytes);
        OK(mdq_writer_put(w, r));
    }
    assert_int_equal(n, 8);
    OK(mdq_writer_finish(&w));
    mdq_reader_close(&in);
    mdq_header_free(&h);
    /* c has w of a already: the same value is no conflict */
    OK(mdq_reader_open(&in, (char *const[]){(char *)c, (char *)a}, 2, NULL));
    while (mdq_reader_next(in, &r) == MDQ_OK && r)
        n--;
    assert_int_equal(n, 0);
    mdq_reader_close(&in);
}

static void a_taken_record_outlives_its_reader(void **state)
{
    (void)state;
    const char *path = temp_path("a.mdq");
    write_tiles(path, "w", "mdq-tile", 1);
    struct mdq_record *kept[8], *r;
    struct mdq_reader *in;
    OK(mdq_reader_open(&in, (char *const[]){(char *)path}, 1, NULL));
    for (int i = 0; i < 8; i++) {
        OK(mdq_reader_next(in, &r));
        kept[i] = mdq_record_take(r);
    }
    mdq_reader_close(&in);
    for (int i = 0; i < 8; i++) {
        uint16_t want[N];
        struct mdq_array a;
        fill_bf16(want, N, (uint64_t)i);
        OK(mdq_record_get_array(kept[i], "w", &a));
        assert_memory_equal(a.data, want, sizeof want);
        mdq_record_free(&kept[i]);
    }
}

/* thin drops what was read, and merging it with its source gives the whole again. */
static void thin_and_merge_is_whole(void **state)
{
    (void)state;
    const char *a = temp_path("a.mdq"), *path[2] = {temp_path("whole.mdq"), temp_path("thin.mdq")};
    write_tiles(a, "w", "mdq-tile", 1);
    struct mdq_reader *in;
    struct mdq_record *r;
    struct mdq_writer *w;
    for (int thin = 0; thin < 2; thin++) {
        struct mdq_header *h;
        OK(mdq_reader_open(&in, (char *const[]){(char *)a}, 1, NULL));
        OK(mdq_header_derive(&h, mdq_reader_header(in), "mdq-x", NULL));
        OK(mdq_writer_open(&w, path[thin], h, &(struct mdq_writer_options){.level = 1, .thin = thin}));
        while (mdq_reader_next(in, &r) == MDQ_OK && r) {
            OK(mdq_record_set_int(r, "x-row", mdq_record_id(r).row));
            OK(mdq_writer_put(w, r));
        }
        OK(mdq_writer_finish(&w));
        mdq_reader_close(&in);
        mdq_header_free(&h);
    }
    OK(mdq_reader_open(&in, (char *const[]){(char *)a, (char *)path[1]}, 2, NULL));
    const char *merged = temp_path("merged.mdq");
    OK(mdq_writer_open(&w, merged, mdq_reader_header(in), &(struct mdq_writer_options){.level = 1}));
    while (mdq_reader_next(in, &r) == MDQ_OK && r)
        OK(mdq_writer_put(w, r));
    OK(mdq_writer_finish(&w));
    mdq_reader_close(&in);
    size_t n, m;
    uint8_t *x = read_all(path[0], &n), *y = read_all(merged, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
    y = read_all(path[1], &m);
    assert_true(m < n / 10);
    free(y);
}

static void order_is_kept(void **state)
{
    (void)state;
    const char *path = temp_path("o.mdq");
    struct mdq_header *h = new_header(tiles_only);
    struct mdq_writer *w;
    OK(mdq_writer_open(&w, path, h, NULL));
    struct mdq_record *r = new_tile(1, 0, 0), *q = new_tile(0, 1, 1);
    OK(mdq_writer_put(w, r));
    FAILS(MDQ_E_INTERNAL, "out of canonical order", mdq_writer_put(w, q));
    FAILS(MDQ_E_INTERNAL, "out of canonical order", mdq_writer_put(w, r));
    mdq_record_free(&r);
    r = mdq_record_new(&(struct mdq_id){two_layers[1].tensor, "layer", 0, 0});
    FAILS(MDQ_E_INTERNAL, "does not announce", mdq_writer_put(w, r));
    mdq_writer_abort(&w);
    assert_null(fopen(path, "r"));
    mdq_record_free(&r);
    mdq_record_free(&q);
    mdq_header_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(scalars),
        cmocka_unit_test(nan_is_refused_where_the_registry_says),
        cmocka_unit_test(merging_unites_keys),
        cmocka_unit_test(a_taken_record_outlives_its_reader),
        cmocka_unit_test(thin_and_merge_is_whole),
        cmocka_unit_test(order_is_kept),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, remove_temp);
}
