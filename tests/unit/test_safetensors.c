/* Safetensors: files written by the Python library, every kind of bad file, and what the writer makes. */
#include "model_fixture.h"

#include "mdq_safetensors.h"

static void check_plain(struct mdq_safetensors *st)
{
    /* values as make.py put them in */
    const struct mdq_tensor *f32 = mdq_safetensors_find(st, "f32"), *t;
    assert_non_null(f32);
    assert_int_equal(f32->ndim, 2);
    assert_int_equal(f32->shape[0], 3);
    assert_int_equal(f32->shape[1], 5);
    float a[15], b[15];
    assert_int_equal(mdq_dtype_to_f32(f32->dtype, f32->data, 15, a), 0);
    assert_true(a[0] == 65504 && a[1] == 0x1p-24f && a[2] == 0 && 1 / a[2] < 0);
    static const char *const floats[] = {"f16", "bf16", "f64"};
    static const double tolerance[] = {1.0 / 2048, 1.0 / 256, 0}; /* half a unit in the last place, relative */
    for (int k = 0; k < 3; k++) {
        assert_non_null(t = mdq_safetensors_find(st, floats[k]));
        assert_string_equal(mdq_dtype_name(t->dtype), floats[k]);
        assert_int_equal(mdq_dtype_to_f32(t->dtype, t->data, 15, b), 0);
        for (int i = 0; i < 15; i++)
            assert_true(b[i] - a[i] <= tolerance[k] * (a[i] < 0 ? -a[i] : a[i]) &&
                        a[i] - b[i] <= tolerance[k] * (a[i] < 0 ? -a[i] : a[i]));
    }
    int32_t i32[6];
    assert_non_null(t = mdq_safetensors_find(st, "i32"));
    assert_int_equal(t->bytes, sizeof i32);
    memcpy(i32, t->data, sizeof i32);
    for (int i = 0; i < 6; i++)
        assert_int_equal(i32[i], i - 3);
    int64_t i64[2];
    assert_non_null(t = mdq_safetensors_find(st, "i64"));
    memcpy(i64, t->data, sizeof i64);
    assert_true(i64[0] == (int64_t)1 << 40 && i64[1] == -1);
    assert_non_null(t = mdq_safetensors_find(st, "scalar"));
    assert_int_equal(t->ndim, 0);
    assert_int_equal(t->bytes, 4);
    assert_non_null(t = mdq_safetensors_find(st, "empty"));
    assert_int_equal(t->shape[0], 0);
    assert_int_equal(t->shape[1], 4);
    assert_int_equal(t->bytes, 0);
    assert_null(mdq_safetensors_find(st, "nothing"));
    assert_null(mdq_safetensors_find(st, "__metadata__"));
    assert_int_equal(mdq_safetensors_count(st), 10);
}

static void python_file_reads(void **state)
{
    (void)state;
    struct mdq_safetensors *st;
    OK(mdq_safetensors_open(&st, fixture("plain")));
    check_plain(st);
    assert_int_equal(mdq_safetensors_files(st), 1);
    mdq_safetensors_close(&st);
    assert_null(st);
}

static void python_shards_read(void **state)
{
    (void)state;
    struct mdq_safetensors *st;
    OK(mdq_safetensors_open(&st, fixture("sharded")));
    check_plain(st);
    assert_int_equal(mdq_safetensors_files(st), 2);
    assert_string_equal(mdq_safetensors_file(st, 1), "model-00002-of-00002.safetensors");
    assert_string_equal(mdq_safetensors_find(st, "bool")->file, "model-00002-of-00002.safetensors");
    mdq_safetensors_close(&st);
    char **names;
    int n;
    OK(mdq_safetensors_list(&names, &n, fixture("sharded")));
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "model-00001-of-00002.safetensors");
    free(names);
}

static void bad(enum mdq_err err, const char *texts)
{
    struct mdq_safetensors *st;
    FAILS(err, texts, mdq_safetensors_open(&st, folder));
    assert_null(st);
}

static void missing_files_fail(void **state)
{
    (void)state;
    struct mdq_safetensors *st;
    FAILS(MDQ_E_IO, "/nowhere|No such file", mdq_safetensors_open(&st, "/nowhere"));
    bad(MDQ_E_IO, "neither model.safetensors nor");
    FAILS(MDQ_E_IO, "is no folder", mdq_safetensors_open(&st, "/dev/null"));
}

static void empty_and_short_files_fail(void **state)
{
    (void)state;
    put_file("model.safetensors", "", 0);
    bad(MDQ_E_DATA, "model.safetensors|empty");
    put_file("model.safetensors", "1234567", 7);
    bad(MDQ_E_DATA, "model.safetensors|only 7 bytes");
}

static void bad_header_length_fails(void **state)
{
    (void)state;
    put_file("model.safetensors", "\x10\0\0\0\0\0\0\0{}", 10);
    bad(MDQ_E_DATA, "header claims 16 bytes|10");
    put_file("model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    bad(MDQ_E_DATA, "header claims 18446744073709551615 bytes");
}

static void bad_headers_fail(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *texts;
    } cases[] = {
        {"", 0, "not valid JSON"},
        {"{\"a\":", 0, "not valid JSON|line 1"},
        {"[1]", 0, "not a JSON object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[0],"
         "\"data_offsets\":[8,8]}}", 8, "the same name twice|a"},
        {"{\"a\":3}", 0, "tensor a: the header entry lacks"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor a: the header entry lacks"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "tensor a: unknown dtype F8_E4M3"},
        {"{\"a\":{\"dtype\":\"U4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, "tensor a: unknown dtype U4"},
        {"{\"a\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor a: unknown dtype f32"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "tensor a: ends at byte 8|truncated"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9000000000000000000]}}", 8, "tensor a: ends at"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "tensor a: data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "tensor a: data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0.0,8.0]}}", 8, "tensor a: data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "tensor a: has 8 bytes|need 12"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "tensor a: dimension 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "tensor a: the shape is impossibly large"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, "tensor a: has 0 bytes"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "tensor a: 9 dimensions"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
         "\"data_offsets\":[2,6]}}", 6, "tensor b|overlap"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
         "\"data_offsets\":[6,10]}}", 10, "tensor b|hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "tensor a|hole"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 6, "2 bytes after the last tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_safetensors("model.safetensors", cases[i].header, cases[i].data);
        bad(MDQ_E_DATA, "model.safetensors: ");
        bad(MDQ_E_DATA, cases[i].texts);
    }
}

static void every_truncation_fails(void **state)
{
    (void)state;
    FILE *f = fopen(fixture("plain/model.safetensors"), "rb");
    assert_non_null(f);
    char data[4096];
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    assert_true(n > 500 && n < sizeof data);
    for (size_t i = 0; i < n; i++) {
        put_file("model.safetensors", data, i);
        bad(MDQ_E_DATA, "model.safetensors");
    }
    struct mdq_safetensors *st;
    put_file("model.safetensors", data, n);
    OK(mdq_safetensors_open(&st, folder));
    mdq_safetensors_close(&st);
}

static void bad_indexes_fail(void **state)
{
    (void)state;
    static const char one[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    static const struct {
        const char *index;
        enum mdq_err err;
        const char *texts;
    } cases[] = {
        {"{", MDQ_E_DATA, "index.json|not valid JSON"},
        {"{}", MDQ_E_DATA, "index.json|weight_map: missing"},
        {"{\"weight_map\":{}}", MDQ_E_DATA, "weight_map: names 0 files"},
        {"{\"weight_map\":{\"a\":1}}", MDQ_E_DATA, "tensor a: no plain file name"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", MDQ_E_DATA, "tensor a: no plain file name"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}", MDQ_E_IO, "index.json|y.safetensors"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"}}", MDQ_E_DATA,
         "tensor b: the index says x.safetensors, which does not hold it"},
        {"{\"weight_map\":{\"b\":\"x.safetensors\"}}", MDQ_E_DATA, "holds tensor a, which the index does not list"},
        {"{\"weight_map\":{\"a\":\"z.safetensors\",\"b\":\"x.safetensors\"}}", MDQ_E_DATA, "tensor a|but the index says"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"z.safetensors\"}}", MDQ_E_DATA, "the same name twice"},
    };
    put_safetensors("x.safetensors", one, 4);
    put_safetensors("z.safetensors", "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_file("model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        bad(cases[i].err, cases[i].texts);
    }
    static const char good[] = "{\"weight_map\":{\"a\":\"x.safetensors\"}}";
    struct mdq_safetensors *st;
    put_file("model.safetensors.index.json", good, sizeof good - 1);
    OK(mdq_safetensors_open(&st, folder));
    mdq_safetensors_close(&st);
}

/* 20 tensors of 0 to 19 floats, an i64 and a 3-bit sized odd one, in pieces; then read back. */
static void write_tensors(size_t max_shard)
{
    struct mdq_safetensors_writer *w;
    OK(mdq_safetensors_writer_new(&w, folder, max_shard));
    char name[16];
    for (int64_t i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "t%d", (int)i);
        OK(mdq_safetensors_writer_announce(w, name, MDQ_F32, 2, (int64_t[]){1, i}));
    }
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "t%d", i);
        for (int k = 0; k < i; k++) {
            float v = (float)(100 * i + k);
            OK(mdq_safetensors_writer_data(w, name, &v, 3));
            OK(mdq_safetensors_writer_data(w, name, (char *)&v + 3, 1));
        }
    }
    OK(mdq_safetensors_writer_finish(&w));
    assert_null(w);
}

static void check_tensors(int files)
{
    struct mdq_safetensors *st;
    OK(mdq_safetensors_open(&st, folder));
    assert_int_equal(mdq_safetensors_count(st), 20);
    if (files)
        assert_int_equal(mdq_safetensors_files(st), files);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        const struct mdq_tensor *t = mdq_safetensors_find(st, name);
        assert_non_null(t);
        assert_int_equal(t->shape[1], i);
        float v[20];
        mdq_dtype_to_f32(t->dtype, t->data, i, v);
        for (int k = 0; k < i; k++)
            assert_true(v[k] == (float)(100 * i + k));
        mdq_tensor_release(t);
    }
    mdq_safetensors_close(&st);
}

static void written_folders_read_back(void **state)
{
    (void)state;
    /* 760 bytes in all; tensors of 4 i bytes in shards of at most 200: 0..9 (180), 10..13 (184), 14..16 (180), 17, 18
     * (140), 19 (76; 18 + 19 would be 148, with 17 216) */
    write_tensors(200);
    check_tensors(5);
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("model.safetensors.index.json"));
    assert_int_equal(unlink(path), 0);
    write_tensors(0);
    check_tensors(1);
}

static void writer_misuse_fails(void **state)
{
    (void)state;
    struct mdq_safetensors_writer *w;
    OK(mdq_safetensors_writer_new(&w, folder, 0));
    OK(mdq_safetensors_writer_announce(w, "a", MDQ_U8, 1, (int64_t[]){4}));
    OK(mdq_safetensors_writer_announce(w, "b", MDQ_U8, 1, (int64_t[]){4}));
    FAILS(MDQ_E_INTERNAL, "c|cannot hold", mdq_safetensors_writer_announce(w, "c", MDQ_U4, 1, (int64_t[]){4}));
    FAILS(MDQ_E_INTERNAL, "c|impossible", mdq_safetensors_writer_announce(w, "c", MDQ_U8, 1, (int64_t[]){-4}));
    FAILS(MDQ_E_INTERNAL, "b|out of turn", mdq_safetensors_writer_data(w, "b", "1234", 4));
    FAILS(MDQ_E_INTERNAL, "a|more data", mdq_safetensors_writer_data(w, "a", "12345", 5));
    OK(mdq_safetensors_writer_data(w, "a", "1234", 4));
    OK(mdq_safetensors_writer_data(w, "b", "12", 2));
    FAILS(MDQ_E_INTERNAL, "b|2 of 4 bytes", mdq_safetensors_writer_finish(&w));
    assert_null(w);
    assert_int_not_equal(access(in_folder("model.safetensors"), F_OK), 0);

    OK(mdq_safetensors_writer_new(&w, folder, 0));
    OK(mdq_safetensors_writer_announce(w, "a", MDQ_U8, 1, (int64_t[]){4}));
    OK(mdq_safetensors_writer_announce(w, "a", MDQ_U8, 1, (int64_t[]){4}));
    FAILS(MDQ_E_INTERNAL, "a|announced twice", mdq_safetensors_writer_data(w, "a", "1234", 4));
    mdq_safetensors_writer_abort(&w);
    assert_null(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(python_file_reads),
        cmocka_unit_test(python_shards_read),
        TEST(missing_files_fail),
        TEST(empty_and_short_files_fail),
        TEST(bad_header_length_fails),
        TEST(bad_headers_fail),
        TEST(every_truncation_fails),
        TEST(bad_indexes_fail),
        TEST(written_folders_read_back),
        TEST(writer_misuse_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
