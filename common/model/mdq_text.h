/*
 * Text for calibration and evaluation: a file of UTF-8 becomes windows of token ids.
 *
 * The protocol: the text is tokenised once, as a whole, without special tokens; its ids are cut into consecutive
 * windows of ctx; the last short one is dropped. Bytes are taken as they are (no newline or byte-order-mark changes).
 */
#ifndef MDQ_TEXT_H
#define MDQ_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "mdq_error.h"
#include "mdq_tokenizer.h"

/* Bytes of the longest text that mdq_text_windows reads. */
#define MDQ_TEXT_MAX_BYTES ((size_t)1 << 30)

/*
 * All of a file ("-": standard input) in *text, *size bytes and a NUL after them; released with free(). Longer than
 * max_bytes, empty, or not UTF-8 is MDQ_E_DATA (the offset of the first bad byte is named).
 */
enum mdq_err mdq_text_read(const char *path, size_t max_bytes, char **text, size_t *size);

struct mdq_windows {
    int32_t *ids;   /* [count, ctx] */
    int64_t ctx;
    int64_t count;
    int64_t tokens; /* of the text, before cutting; at most max_tokens */
};

/*
 * The windows of a text file. max_tokens > 0 takes only its first max_tokens tokens. A text shorter than one window is
 * MDQ_E_DATA with both counts. An id that a vocabulary of `vocab` entries does not have is MDQ_E_DATA (the tokenizer
 * does not match the model); vocab 0 does not check. *out is released with mdq_windows_free, on failure too.
 */
enum mdq_err mdq_text_windows(struct mdq_windows *out, const struct mdq_tokenizer *t, const char *path, int64_t ctx,
                              int64_t max_tokens, int32_t vocab);
void mdq_windows_free(struct mdq_windows *w);

#endif
