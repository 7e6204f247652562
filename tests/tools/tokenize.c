/*
 * tokenize [-s] [-d] [-0] TOKENIZER: token ids of standard input, one text per NUL-terminated string with -0 (one line
 * of ids each), else the whole as one text. -s adds the special tokens. -d prints what the ids decode to instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mdq_tokenizer.h"

static enum mdq_err one(const struct mdq_tokenizer *t, const char *text, size_t n, bool special, bool decode, char end)
{
    struct mdq_ids ids = {0};
    enum mdq_err err = mdq_tokenizer_encode(t, text, n, special, &ids);
    if (!err && decode) {
        char *back;
        err = mdq_tokenizer_decode(t, ids.v, ids.n, &back, &n);
        if (!err) {
            fwrite(back, 1, n, stdout);
            if (!end)
                putchar(0);
        }
        free(back);
    } else if (!err) {
        for (int64_t i = 0; i < ids.n; i++)
            printf("%s%d", i ? " " : "", ids.v[i]);
        putchar('\n');
    }
    mdq_ids_free(&ids);
    return err;
}

int main(int argc, char **argv)
{
    bool special = false, decode = false, many = false;
    for (int c; (c = getopt(argc, argv, "sd0")) != -1;) {
        special |= c == 's';
        decode |= c == 'd';
        many |= c == '0';
    }
    if (optind + 1 != argc)
        return MDQ_E_USAGE;
    char *text = NULL;
    size_t n = 0, capacity = 0;
    for (size_t got = 1; got; n += got) {
        if (n + 65536 > capacity && !(text = realloc(text, capacity = 2 * capacity + 65536)))
            return MDQ_E_INTERNAL;
        got = fread(text + n, 1, 65536, stdin);
    }
    struct mdq_tokenizer *t;
    enum mdq_err err = mdq_tokenizer_open(&t, argv[optind]);
    if (!err && !many)
        err = one(t, text, n, special, decode, '\n');
    for (size_t i = 0; !err && many && i < n;) {
        size_t end = i + strnlen(text + i, n - i);
        err = one(t, text + i, end - i, special, decode, 0);
        i = end + 1;
    }
    if (err)
        fprintf(stderr, "tokenize: %s\n", mdq_error_message());
    mdq_tokenizer_close(&t);
    free(text);
    return (int)err;
}
