/* Content hashes and their memo. */
#include "model_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "mdq_content.h"
#include "mdq_model.h"

/* Gives the file a time in the past, so that it counts as settled; `tick` tells two times apart. */
static void age(const char *name, int tick)
{
    const struct timespec t[2] = {{1000000000, tick}, {1000000000, tick}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder(name), t, 0), 0);
}

static void hash(const char *memo_name, const char *name, char hex[MDQ_HASH_SIZE])
{
    char memo_path[256];
    struct mdq_memo *memo;
    snprintf(memo_path, sizeof memo_path, "%s/%s", folder, memo_name ? memo_name : "");
    OK(mdq_memo_open(&memo, memo_name ? memo_path : NULL));
    OK(mdq_hash_file(memo, in_folder(name), hex));
    mdq_memo_close(&memo);
}

static void known_values_are_met(void **state)
{
    (void)state;
    char hex[MDQ_HASH_SIZE];
    put_file("empty", "", 0);
    hash(NULL, "empty", hex);
    /* the published XXH3-128 of no input, seed 0 */
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
}

static void memo_answers_without_reading(void **state)
{
    (void)state;
    char a[MDQ_HASH_SIZE], b[MDQ_HASH_SIZE], plain[MDQ_HASH_SIZE];
    put_file("x", "one", 3);
    age("x", 1);
    hash("memo", "x", a);
    put_file("x", "two", 3); /* same size and time: the memo cannot know */
    age("x", 1);
    hash("memo", "x", b);
    assert_string_equal(a, b);
    hash(NULL, "x", plain);
    assert_string_not_equal(a, plain);
    age("x", 2); /* one nanosecond */
    hash("memo", "x", b);
    assert_string_equal(b, plain);
    put_file("x", "three", 5);
    age("x", 2);
    hash("memo", "x", b);
    assert_string_not_equal(b, plain);
}

static void fresh_files_are_not_remembered(void **state)
{
    (void)state;
    char a[MDQ_HASH_SIZE], b[MDQ_HASH_SIZE];
    put_file("x", "one", 3);
    const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    utimensat(AT_FDCWD, in_folder("x"), now, 0);
    hash("memo", "x", a);
    hash(NULL, "x", b);
    assert_string_equal(a, b);
    assert_true(access(in_folder("memo"), F_OK) != 0);
}

static void memos_of_two_processes_merge(void **state)
{
    (void)state;
    char hex[MDQ_HASH_SIZE], path[256], text[1024];
    struct mdq_memo *one, *two;
    put_file("x", "one", 3);
    put_file("y", "two", 3);
    age("x", 1);
    age("y", 1);
    snprintf(path, sizeof path, "%s", in_folder("memo"));
    OK(mdq_memo_open(&one, path));
    OK(mdq_memo_open(&two, path));
    OK(mdq_hash_file(one, in_folder("x"), hex));
    OK(mdq_hash_file(two, in_folder("y"), hex));
    mdq_memo_close(&one);
    mdq_memo_close(&two);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    assert_non_null(strstr(text, "/x\n"));
    assert_non_null(strstr(text, "/y\n"));
}

static void a_damaged_memo_costs_nothing(void **state)
{
    (void)state;
    char a[MDQ_HASH_SIZE], b[MDQ_HASH_SIZE];
    static const char rubbish[] = "\n\0\xff zz\n0123 4 5.6 /x\nnot a memo at all\n";
    put_file("x", "one", 3);
    age("x", 1);
    put_file("memo", rubbish, sizeof rubbish - 1);
    hash("memo", "x", a);
    hash(NULL, "x", b);
    assert_string_equal(a, b);
}

static void missing_files_fail(void **state)
{
    (void)state;
    char hex[MDQ_HASH_SIZE];
    struct mdq_memo *memo;
    OK(mdq_memo_open(&memo, NULL));
    FAILS(MDQ_E_IO, "nothing: cannot read|No such file", mdq_hash_file(memo, in_folder("nothing"), hex));
    FAILS(MDQ_E_IO, "not a regular file", mdq_hash_file(memo, "/dev/null", hex));
    FAILS(MDQ_E_IO, "nothing|No such file", mdq_hash_folder(memo, in_folder("nothing"), hex));
    FAILS(MDQ_E_IO, "neither model.safetensors", mdq_hash_model(memo, folder, hex));
    mdq_memo_close(&memo);
}

static void folders_and_models_have_their_own(void **state)
{
    (void)state;
    char whole[MDQ_HASH_SIZE], model[MDQ_HASH_SIZE], again[MDQ_HASH_SIZE];
    struct mdq_memo *memo;
    OK(mdq_memo_open(&memo, NULL));
    put_file("config.json", "{}", 2);
    put_file("model.safetensors", "1", 1);
    put_file("tokenizer.json", "2", 1);
    OK(mdq_hash_folder(memo, folder, whole));
    OK(mdq_hash_model(memo, folder, model));
    put_file(".hidden", "3", 1); /* neither counts */
    OK(mdq_hash_folder(memo, folder, again));
    assert_string_equal(whole, again);
    put_file("tokenizer.json", "3", 1); /* the folder's changes, the model's does not */
    OK(mdq_hash_folder(memo, folder, again));
    assert_string_not_equal(whole, again);
    OK(mdq_hash_model(memo, folder, again));
    assert_string_equal(model, again);
    struct mdq_model m = {.dir = folder};
    OK(mdq_model_hash(&m, NULL));
    assert_string_equal(model, m.hash);
    put_file("config.json", "{ }", 3);
    OK(mdq_hash_model(memo, folder, again));
    assert_string_not_equal(model, again);
    put_file("config.json", "{}", 2);
    put_file("model.safetensors", "2", 1);
    OK(mdq_hash_model(memo, folder, again));
    assert_string_not_equal(model, again);
    mdq_memo_close(&memo);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(known_values_are_met),
        TEST(memo_answers_without_reading),
        TEST(fresh_files_are_not_remembered),
        TEST(memos_of_two_processes_merge),
        TEST(a_damaged_memo_costs_nothing),
        TEST(missing_files_fail),
        TEST(folders_and_models_have_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
