/*
 * tokenizer.json (Hugging Face tokenizers): BPE, byte-level (GPT-2, GPT-NeoX, Llama 3, Qwen) with its pre-tokenizer
 * regular expressions, and SentencePiece-style with byte fallback (Llama 1-2, Mistral); added tokens, normalizers.
 * What a file asks for and we do not do is refused by name (MDQ_E_DATA).
 */
#ifndef MDQ_TOKENIZER_H
#define MDQ_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

struct mdq_tokenizer;

/* Reads dir/tokenizer.json (dir may also name the file itself) and dir/tokenizer_config.json where there is one. */
enum mdq_err mdq_tokenizer_open(struct mdq_tokenizer **out, const char *dir);
void mdq_tokenizer_close(struct mdq_tokenizer **t);

struct mdq_ids {
    int32_t *v;
    int64_t n, capacity;
};
void mdq_ids_free(struct mdq_ids *ids);

/*
 * Appends the token ids of `size` bytes of UTF-8 text to *ids. With special: the post-processor's tokens (BOS) are
 * added, as tokenizers' encode(text, add_special_tokens=True) does. Invalid UTF-8 is MDQ_E_DATA with its offset.
 * Thread-safe: several texts may be encoded at once with the same tokenizer. Linear time in practice: long texts
 * without spaces must not go quadratic (merges by heap).
 */
enum mdq_err mdq_tokenizer_encode(const struct mdq_tokenizer *t, const char *text, size_t size, bool special,
                                  struct mdq_ids *ids);
/* A new string, released with free(); the tokenizer's decoder is applied, as decode(ids, skip_special_tokens=False). */
enum mdq_err mdq_tokenizer_decode(const struct mdq_tokenizer *t, const int32_t *ids, int64_t n, char **text,
                                  size_t *size);
/* One more than the largest id, added tokens included. */
int32_t mdq_tokenizer_vocab(const struct mdq_tokenizer *t);
/* The id of a token's exact spelling, or -1. */
int32_t mdq_tokenizer_id(const struct mdq_tokenizer *t, const char *token);
int32_t mdq_tokenizer_bos(const struct mdq_tokenizer *t); /* -1: none */

#endif
