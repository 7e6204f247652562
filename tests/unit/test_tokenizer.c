/*
 * The tokenizer against the ids and texts that Hugging Face `tokenizers` gives (fixtures/tokenizer/golden.json, made by
 * fixtures/make_tokenizer_fixtures.py), byte-level round trips of random text, and what broken files are told.
 */
#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "mdq_text.h"
#include "mdq_tokenizer.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/mdq-tokenizer-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "text"};
    char path[128];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static json_t *fixture(const char *name)
{
    const char *file = __FILE__, *slash = strrchr(file, '/');
    char path[1024];
    snprintf(path, sizeof path, "%.*s/fixtures/tokenizer/%s.json", (int)(slash - file), file, name);
    json_error_t why;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!j)
        fail_msg("%s: %s", path, why.text);
    return j;
}

static void save(const char *name, const void *data, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path); /* rewriting in place is slow on some file systems */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static enum mdq_err open_json(struct mdq_tokenizer **t, const json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_non_null(text);
    save("tokenizer.json", text, strlen(text));
    free(text);
    return mdq_tokenizer_open(t, folder);
}

/* The base file with the case's top-level keys in place of its own; of `model`, key by key. */
static struct mdq_tokenizer *open_case(const json_t *c)
{
    json_t *base = fixture(json_string_value(json_object_get(c, "base"))), *value;
    const char *key;
    json_object_foreach(json_object_get(c, "patch"), key, value) {
        if (!strcmp(key, "model"))
            json_object_update(json_object_get(base, key), value);
        else
            json_object_set(base, key, value);
    }
    struct mdq_tokenizer *t;
    if (open_json(&t, base))
        fail_msg("%s: %s", json_string_value(json_object_get(c, "name")), mdq_error_message());
    json_decref(base);
    return t;
}

/* A text of golden.json: a string, or [string, times]. */
static char *text_of(const json_t *j, size_t *n)
{
    const json_t *piece = json_is_array(j) ? json_array_get(j, 0) : j;
    size_t times = json_is_array(j) ? (size_t)json_integer_value(json_array_get(j, 1)) : 1;
    size_t size = json_string_length(piece);
    char *text = malloc(size * times + 1);
    assert_non_null(text);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * size, json_string_value(piece), size);
    *n = size * times;
    return text;
}

static uint64_t fnv(const struct mdq_ids *ids)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < ids->n; i++)
        for (int b = 0; b < 32; b += 8)
            h = (h ^ ((uint32_t)ids->v[i] >> b & 0xFF)) * 0x100000001B3u;
    return h;
}

static int same_ids(const json_t *want, const struct mdq_ids *ids)
{
    if (json_is_object(want))
        return json_integer_value(json_object_get(want, "n")) == ids->n &&
               strtoull(json_string_value(json_object_get(want, "fnv")), NULL, 16) == fnv(ids);
    if ((int64_t)json_array_size(want) != ids->n)
        return 0;
    for (int64_t i = 0; i < ids->n; i++)
        if (json_integer_value(json_array_get(want, (size_t)i)) != ids->v[i])
            return 0;
    return 1;
}

static void show(const char *what, const char *name, const char *text, size_t n, const json_t *want,
                 const struct mdq_ids *ids)
{
    char *golden = json_dumps(want, JSON_COMPACT | JSON_ENCODE_ANY);
    print_error("%s: %s of '%.*s'\n  want %.400s\n  got  ", name, what, n < 80 ? (int)n : 80, text, golden);
    for (int64_t i = 0; i < ids->n && i < 60; i++)
        print_error("%d,", ids->v[i]);
    print_error(" (%" PRId64 ")\n", ids->n);
    free(golden);
}

/* One text of one case: ids, ids with special tokens, and the text decoded again. Returns the number of mismatches. */
static int check_text(const struct mdq_tokenizer *t, const json_t *c, size_t k, const json_t *entry)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    size_t n, back_n;
    char *text = text_of(entry, &n), *back;
    int bad = 0;
    for (int special = 1; special >= 0; special--) {
        struct mdq_ids ids = {0};
        const json_t *want = json_array_get(json_object_get(c, special ? "special" : "ids"), k);
        if (want && !json_is_null(want)) {
            assert_int_equal(mdq_tokenizer_encode(t, text, n, special, &ids), MDQ_OK);
            if (!same_ids(want, &ids)) {
                show(special ? "ids with special tokens" : "ids", name, text, n, want, &ids);
                bad++;
            }
        }
        want = json_array_get(json_object_get(c, "decoded"), k);
        if (!special && want && !json_is_null(want)) {
            assert_int_equal(mdq_tokenizer_decode(t, ids.v, ids.n, &back, &back_n), MDQ_OK);
            const char *expected = json_is_true(want) ? text : json_string_value(want);
            size_t expected_n = json_is_true(want) ? n : json_string_length(want);
            if (back_n != expected_n || memcmp(back, expected, back_n)) {
                print_error("%s: decoded '%.*s'\n  want '%s'\n  got  '%s'\n", name, (int)n, text, expected, back);
                bad++;
            }
            free(back);
        }
        mdq_ids_free(&ids);
    }
    free(text);
    return bad;
}

static void as_tokenizers_does(void **state)
{
    (void)state;
    json_t *golden = fixture("golden"), *c;
    const json_t *texts = json_object_get(golden, "texts");
    size_t i, checked = 0;
    int bad = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, c) {
        struct mdq_tokenizer *t = open_case(c);
        const json_t *only = json_object_get(c, "only");
        for (size_t k = 0; k < json_array_size(only); k++, checked++)
            bad += check_text(t, c, k, json_array_get(texts, (size_t)json_integer_value(json_array_get(only, k))));
        mdq_tokenizer_close(&t);
    }
    json_decref(golden);
    assert_int_equal(bad, 0);
    assert_true(checked > 2000);
}

/* ---- random text ---- */

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * n >> 32);
}

static size_t put_char(char *out, uint32_t c)
{
    static const uint32_t limits[] = {0x80, 0x800, 0x10000}, marks[] = {0, 0xC0, 0xE0, 0xF0};
    size_t n = 1;
    while (n < 4 && c >= limits[n - 1])
        n++;
    for (size_t i = 1; i < n; i++)
        out[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 63));
    out[0] = (char)(marks[n - 1] | c >> 6 * (n - 1));
    return n;
}

static size_t random_text(char *out, size_t chars)
{
    static const uint32_t ranges[][2] = {{0, 0x80}, {0x20, 0x7F}, {0x61, 0x7B}, {0x80, 0x300}, {0x300, 0x600},
                                         {0x4E00, 0x9FFF}, {0xE000, 0xFFFF}, {0x1F300, 0x1FA00}, {0x10000, 0x110000}};
    size_t n = 0;
    while (chars) {
        const uint32_t *r = ranges[random_below(9)];
        for (uint32_t run = 1 + random_below(6); run && chars; run--, chars--)
            n += put_char(out + n, random_below(8) ? r[0] + random_below(r[1] - r[0]) : ' ');
    }
    return n;
}

static void byte_level_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama3"};
    for (int k = 0; k < 2; k++) {
        json_t *j = fixture(names[k]);
        struct mdq_tokenizer *t;
        assert_int_equal(open_json(&t, j), MDQ_OK);
        json_decref(j);
        for (int i = 0; i < 400; i++) {
            char text[4 * 300 + 1], *back;
            size_t n = random_text(text, random_below(300)), back_n;
            struct mdq_ids ids = {0};
            assert_int_equal(mdq_tokenizer_encode(t, text, n, false, &ids), MDQ_OK);
            assert_int_equal(mdq_tokenizer_decode(t, ids.v, ids.n, &back, &back_n), MDQ_OK);
            assert_int_equal(back_n, n);
            assert_memory_equal(back, text, n);
            free(back);
            mdq_ids_free(&ids);
        }
        mdq_tokenizer_close(&t);
    }
}

/* A word of a million letters that cannot be cut: well under a second, where quadratic merging would take hours. */
static void long_word_takes_linear_time(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    json_t *j = fixture("llama2");
    struct mdq_tokenizer *t;
    assert_int_equal(open_json(&t, j), MDQ_OK);
    json_decref(j);
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < SIZE; i++)
            text[i] = kind ? "waverthn"[random_below(8)] : ' ';
        struct mdq_ids ids = {0};
        clock_t start = clock();
        assert_int_equal(mdq_tokenizer_encode(t, text, SIZE, false, &ids), MDQ_OK);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20);
        assert_in_range(ids.n, SIZE / 8, SIZE);
        mdq_ids_free(&ids);
    }
    free(text);
    mdq_tokenizer_close(&t);
}

/* ---- tokenizer_config.json ---- */

static void config_decides_about_bos(void **state)
{
    (void)state;
    static const struct {
        const char *base, *config;
        int32_t first, last, bos; /* -1: the text's own token */
    } cases[] = {
        {"llama2", "{}", 1, -1, 1},
        {"llama2", "{\"add_bos_token\": true, \"bos_token\": \"<s>\"}", 1, -1, 1},
        {"llama2", "{\"add_bos_token\": false, \"bos_token\": {\"content\": \"<s>\"}}", -1, -1, 1},
        {"llama2", "{\"add_eos_token\": true, \"eos_token\": \"</s>\", \"bos_token\": null}", 1, 2, 1},
        {"neox", "{\"add_bos_token\": true, \"bos_token\": \"<|endoftext|>\"}", 0, -1, 0},
        {"neox", "{\"bos_token\": \"<|endoftext|>\"}", -1, -1, 0},
        {"neox", "{\"add_bos_token\": true, \"bos_token\": null}", -1, -1, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *j = fixture(cases[i].base);
        struct mdq_tokenizer *t;
        save("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        assert_int_equal(open_json(&t, j), MDQ_OK);
        struct mdq_ids plain = {0}, ids = {0};
        assert_int_equal(mdq_tokenizer_encode(t, "wave", 4, false, &plain), MDQ_OK);
        assert_int_equal(mdq_tokenizer_encode(t, "wave", 4, true, &ids), MDQ_OK);
        assert_int_equal(ids.n, plain.n + (cases[i].first >= 0) + (cases[i].last >= 0));
        assert_int_equal(ids.v[0], cases[i].first >= 0 ? cases[i].first : plain.v[0]);
        assert_int_equal(ids.v[ids.n - 1], cases[i].last >= 0 ? cases[i].last : plain.v[plain.n - 1]);
        assert_int_equal(mdq_tokenizer_bos(t), cases[i].bos);
        mdq_ids_free(&plain);
        mdq_ids_free(&ids);
        mdq_tokenizer_close(&t);
        json_decref(j);
    }
    const char *unknown = "{\"add_bos_token\": true, \"bos_token\": \"<none>\"}";
    save("tokenizer_config.json", unknown, strlen(unknown));
    struct mdq_tokenizer *t;
    assert_int_equal(mdq_tokenizer_open(&t, folder), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "bos_token: '<none>' is not in the vocabulary"));
    save("tokenizer_config.json", "{}", 2);
}

/* ---- what is refused ---- */

static void refused_by_name(void **state)
{
    (void)state;
    /* base, where to put what (a path of keys), and a part of the message */
    static const struct {
        const char *base, *key, *value, *message;
    } cases[] = {
        {"gpt2", "normalizer", "{\"type\": \"Precompiled\"}", "normalizer: Precompiled: not supported"},
        {"gpt2", "normalizer", "{\"type\": \"BertNormalizer\"}", "normalizer: BertNormalizer: not supported"},
        {"gpt2", "normalizer", "[]", "normalizer: neither null nor an object"},
        {"gpt2", "normalizer", "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a(\"}, \"content\": \"\"}",
         "a group without end"},
        {"gpt2", "normalizer", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}",
         "pattern: empty"},
        {"gpt2", "normalizer", "{\"type\": \"Sequence\"}", "normalizer: Sequence: normalizers: no list"},
        {"gpt2", "pre_tokenizer", "{\"type\": \"UnicodeScripts\"}", "pre_tokenizer: UnicodeScripts: not supported"},
        {"gpt2", "pre_tokenizer", "{\"type\": \"ByteLevel\", \"use_regex\": 1}",
         "use_regex: neither true nor false"},
        {"gpt2", "pre_tokenizer",
         "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a&&b]\"}, \"behavior\": \"Isolated\"}",
         "&& inside a class: not supported"},
        {"gpt2", "pre_tokenizer",
         "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[[:alpha:]]\"}, \"behavior\": \"Isolated\"}",
         "[ inside a class"},
        {"gpt2", "pre_tokenizer",
         "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a)\\\\1\"}, \"behavior\": \"Isolated\"}",
         "\\1: not supported"},
        {"gpt2", "pre_tokenizer",
         "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Sometimes\"}",
         "behavior: Sometimes: not supported"},
        {"gpt2", "pre_tokenizer",
         "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\p{Nonesuch}\"}, \"behavior\": \"Isolated\"}",
         "regular expression '\\p{Nonesuch}'"},
        {"gpt2", "pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"ab\"}",
         "replacement: not one character"},
        {"gpt2", "post_processor", "{\"type\": \"BertProcessing\"}",
         "post_processor: BertProcessing: not supported"},
        {"gpt2", "post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}",
         "does not hold sequence A once"},
        {"gpt2", "post_processor",
         "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}],"
         " \"special_tokens\": {\"x\": {\"ids\": [99999]}}}",
         "an id that is no token's"},
        {"gpt2", "decoder", "{\"type\": \"CTC\"}", "decoder: CTC: not supported"},
        {"gpt2", "added_tokens", "{}", "added_tokens: no list"},
        {"gpt2", "added_tokens", "[{\"id\": 5, \"content\": \"new\"}]", "which is '%' in the vocabulary"},
        {"gpt2", "added_tokens", "[{\"id\": 9000, \"content\": \"a\"}]", "'a' has id 9000"},
        {"gpt2", "added_tokens", "[{\"id\": 9000, \"content\": \"aa\"}, {\"id\": 9000, \"content\": \"bb\"}]",
         "'bb' has the id of 'aa', 9000"},
        {"gpt2", "added_tokens", "[{\"id\": -1, \"content\": \"aa\"}]", "id: -1 is not within"},
        {"gpt2", "added_tokens", "[{\"id\": 2000000000, \"content\": \"aa\"}]", "id: 2000000000 is not within"},
        {"gpt2", "added_tokens", "[{\"id\": 600, \"content\": \"\"}]", "content: empty"},
        {"gpt2", "model", "{\"type\": \"Unigram\"}", "model: Unigram: not supported, only BPE is"},
        {"gpt2", "model", "null", "model: no object"},
        {"gpt2", "model.dropout", "0.1", "model: dropout: not supported"},
        {"gpt2", "model.end_of_word_suffix", "\"</w>\"", "model: end_of_word_suffix: not supported"},
        {"gpt2", "model.continuing_subword_prefix", "\"##\"", "model: continuing_subword_prefix: not supported"},
        {"gpt2", "model.unk_token", "\"<none>\"", "unk_token: '<none>' is not in the vocabulary"},
        {"gpt2", "model.vocab", "{\"a\": 0, \"b\": 0}", "'a' and 'b' have the same id 0"},
        {"gpt2", "model.vocab", "{\"a\": -1}", "'a': its id is no integer"},
        {"gpt2", "model.vocab", "{\"a\": 1.5}", "'a': its id is no integer"},
        {"gpt2", "model.vocab", "{\"a\": 2000000000}", "'a': its id is no integer from 0 to"},
        {"gpt2", "model.vocab", "[]", "model: vocab: no object"},
        {"gpt2", "model.merges", "[\"a zz\"]", "merges: 0: 'zz' is not in the vocabulary"},
        {"gpt2", "model.merges", "[[\"a\", \"Q\"]]", "its result 'aQ' is not in the vocabulary"},
        {"gpt2", "model.merges", "[\"a b c\"]", "merges: 0: no pair of tokens"},
        {"gpt2", "model.merges", "[[\"a\"]]", "merges: 0: no pair of tokens"},
        {"gpt2", "model.merges", "null", "model: merges: no list"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *j = fixture(cases[i].base), *value = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        if (!strncmp(cases[i].key, "model.", 6))
            json_object_set_new(json_object_get(j, "model"), cases[i].key + 6, value);
        else
            json_object_set_new(j, cases[i].key, value);
        struct mdq_tokenizer *t;
        int err = open_json(&t, j);
        if (err != MDQ_E_DATA || !strstr(mdq_error_message(), cases[i].message) || !strstr(mdq_error_message(), folder))
            fail_msg("%s: %s: status %d, '%s'", cases[i].key, cases[i].value, err, err ? mdq_error_message() : "");
        assert_null(t);
        json_decref(j);
    }
}

static void broken_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "the file is empty"},
        {"{\"model\": ", "no valid JSON"},
        {"[]", "no JSON object"},
        {"{}", "model: missing"},
        {"{\"model\": {\"vocab\": {\"a\": 0, \"a\": 1}}}", "duplicate object key"},
    };
    struct mdq_tokenizer *t;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        save("tokenizer.json", cases[i].text, strlen(cases[i].text));
        assert_int_equal(mdq_tokenizer_open(&t, folder), MDQ_E_DATA);
        if (!strstr(mdq_error_message(), cases[i].message))
            fail_msg("'%s'", mdq_error_message());
    }
    assert_int_equal(mdq_tokenizer_open(&t, "/nonexistent"), MDQ_E_IO);
    assert_non_null(strstr(mdq_error_message(), "/nonexistent/tokenizer.json"));
}

static void bad_text_and_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {"ab\xFF", "ab\xC0\x80", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80",
                                      "ab\xE2\x82", "ab\x80"};
    json_t *j = fixture("gpt2");
    struct mdq_tokenizer *t;
    assert_int_equal(open_json(&t, j), MDQ_OK);
    struct mdq_ids ids = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(mdq_tokenizer_encode(t, bad[i], strlen(bad[i]), true, &ids), MDQ_E_DATA);
        assert_non_null(strstr(mdq_error_message(), "byte 2"));
        assert_int_equal(ids.n, 0);
    }
    char *text;
    size_t n;
    const int32_t out_of_range[] = {mdq_tokenizer_vocab(t), -1};
    for (int i = 0; i < 2; i++)
        assert_int_equal(mdq_tokenizer_decode(t, &out_of_range[i], 1, &text, &n), MDQ_E_DATA);
    assert_int_equal(mdq_tokenizer_id(t, "<|endoftext|>"), 0);
    assert_int_equal(mdq_tokenizer_id(t, "no such token"), -1);
    assert_int_equal(mdq_tokenizer_vocab(t), 520);
    mdq_tokenizer_close(&t);
    json_decref(j);
}

/* Bytes that are no text by themselves decode to one U+FFFD for each broken start, as Rust's from_utf8_lossy does. */
static void lossy_decoding(void **state)
{
    (void)state;
    json_t *j = fixture("gpt2");
    struct mdq_tokenizer *t;
    assert_int_equal(open_json(&t, j), MDQ_OK);
    json_decref(j);
    /* tokens of the bytes F0 9F 98 | 41 | E2 82 | FF | C3 */
    static const char *const tokens[] = {"ð", "Ł", "ĺ", "A", "â", "Ĥ", "ÿ", "Ã"};
    int32_t ids[8];
    for (int i = 0; i < 8; i++) {
        ids[i] = mdq_tokenizer_id(t, tokens[i]);
        assert_true(ids[i] >= 0);
    }
    char *text;
    size_t n;
    assert_int_equal(mdq_tokenizer_decode(t, ids, 8, &text, &n), MDQ_OK);
    assert_string_equal(text, "\xEF\xBF\xBD" "A\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    free(text);
    mdq_tokenizer_close(&t);
}

/* ---- windows of text ---- */

static void windows(void **state)
{
    (void)state;
    json_t *j = fixture("llama2");
    struct mdq_tokenizer *t;
    assert_int_equal(open_json(&t, j), MDQ_OK);
    json_decref(j);
    const char *text = "The ferry leaves at seven, and whoever isn't aboard by then won't see the island.";
    char path[128];
    snprintf(path, sizeof path, "%s/text", folder);
    save("text", text, strlen(text));
    struct mdq_ids ids = {0};
    assert_int_equal(mdq_tokenizer_encode(t, text, strlen(text), false, &ids), MDQ_OK);
    struct mdq_windows w;
    assert_int_equal(mdq_text_windows(&w, t, path, 7, 0, 1000), MDQ_OK);
    assert_int_equal(w.tokens, ids.n);
    assert_int_equal(w.count, ids.n / 7);
    assert_memory_equal(w.ids, ids.v, (size_t)(w.count * 7) * sizeof *ids.v);
    mdq_windows_free(&w);
    assert_int_equal(mdq_text_windows(&w, t, path, 7, 15, 0), MDQ_OK);
    assert_int_equal(w.tokens, 15);
    assert_int_equal(w.count, 2);
    mdq_windows_free(&w);
    char message[64];
    snprintf(message, sizeof message, "text shorter than a window: %" PRId64 " tokens, the window has 512", ids.n);
    assert_int_equal(mdq_text_windows(&w, t, path, 512, 0, 0), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), message));
    assert_non_null(strstr(mdq_error_message(), path));
    assert_int_equal(mdq_text_windows(&w, t, path, 4, 3, 0), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "3 tokens, the window has 4: allow more tokens"));
    assert_int_equal(mdq_text_windows(&w, t, path, 4, 0, 260), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "the model's vocabulary has 260"));
    mdq_ids_free(&ids);
    mdq_tokenizer_close(&t);
}

static void text_files(void **state)
{
    (void)state;
    char path[128], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/text", folder);
    save("text", "a\0b\r\n", 5);
    assert_int_equal(mdq_text_read(path, 5, &text, &n), MDQ_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(text, "a\0b\r\n", 6);
    free(text);
    assert_int_equal(mdq_text_read(path, 4, &text, &n), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "longer than 4 bytes"));
    save("text", "ab\xE9 ", 4);
    assert_int_equal(mdq_text_read(path, 100, &text, &n), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "byte 2 (0xE9)"));
    save("text", "", 0);
    assert_int_equal(mdq_text_read(path, 100, &text, &n), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "empty"));
    assert_int_equal(mdq_text_read("/nonexistent", 100, &text, &n), MDQ_E_IO);
    assert_int_equal(mdq_text_read("/tmp", 100, &text, &n), MDQ_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_tokenizers_does),
        cmocka_unit_test(byte_level_round_trip),
        cmocka_unit_test(long_word_takes_linear_time),
        cmocka_unit_test(config_decides_about_bos),
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(bad_text_and_ids),
        cmocka_unit_test(lossy_decoding),
        cmocka_unit_test(windows),
        cmocka_unit_test(text_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
