/* A folder with a small model (fixtures/transformer/llama) and a tokenizer of letters, digits and a few merges, for tests of texts. */
#ifndef TEXT_MODEL_H
#define TEXT_MODEL_H

#include <jansson.h>

#include "model_fixture.h"

enum { VOCAB = 48, BOS = 1, THE = 42, SPACE = 38 }; /* of this tokenizer: a = 2 ... z = 27, 0 = 28 ... 9 = 37 */

/* tokenizer.json in the test's folder: byte-level BPE with t+h, th+e, space+a, A, B. */
__attribute__((unused)) static void put_tokenizer(void)
{
    json_t *vocab = json_object(), *merges = json_array();
    int id = 0;
    char one[2] = {0};
    json_object_set_new(vocab, "</s>", json_integer(id++));
    json_object_set_new(vocab, "<s>", json_integer(id++));
    for (const char *p = "abcdefghijklmnopqrstuvwxyz0123456789"; *p; p++) {
        one[0] = *p;
        json_object_set_new(vocab, one, json_integer(id++));
    }
    static const char *const more[] = {"\xc4\xa0", ".", "\xc4\x8a", "th", "the", "\xc4\xa0\x61", "A", "B"};
    for (int i = 0; i < 8; i++)
        json_object_set_new(vocab, more[i], json_integer(id++));
    json_array_append_new(merges, json_string("t h"));
    json_array_append_new(merges, json_string("th e"));
    json_array_append_new(merges, json_string("\xc4\xa0 a"));
    const char *level = "{s:s, s:b, s:b, s:b}";
    json_t *added = json_pack("[{s:i, s:s, s:b, s:b, s:b, s:b, s:b}]", "id", BOS, "content", "<s>", "single_word", 0, "lstrip", 0,
                              "rstrip", 0,
                              "normalized", 0, "special", 1);
    json_t *j = json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:n, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:o}}", "version", "1.0",
                          "truncation", "padding", "added_tokens", added, "normalizer", "pre_tokenizer",
                          json_pack(level, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1), "post_processor",
                          "decoder", json_pack(level, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1),
                          "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                          "byte_fallback", 0, "vocab", vocab, "merges", merges);
    assert_non_null(j);
    char *text = json_dumps(j, JSON_COMPACT);
    assert_non_null(text);
    put_file("tokenizer.json", text, strlen(text));
    free(text);
    json_decref(j);
    const char config[] = "{\"bos_token\":\"<s>\",\"add_bos_token\":true}";
    put_file("tokenizer_config.json", config, sizeof config - 1);
}

/* The same folder with a model that has this vocabulary and a context of 64. */
__attribute__((unused)) static int text_model_setup(void **state)
{
    if (folder_setup(state) != 0)
        return -1;
    put_tokenizer();
    const char *file = __FILE__, *slash = strrchr(file, '/');
    char command[1024];
    const int n = (int)(slash - file);
    snprintf(command, sizeof command, "cd '%.*s/fixtures/transformer/llama' && cp config.json model.safetensors '%s'", n, file, folder);
    return system(command);
}

#endif
