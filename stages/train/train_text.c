#include "train_text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "train_params.h" /* train_random */

static enum mdq_err read_file(const char *path, char **text, size_t *size)
{
    *text = NULL;
    *size = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot open", path);
    size_t room = 1 << 20, n;
    enum mdq_err err = MDQ_OK;
    struct stat st;
    if (fstat(fileno(f), &st) == 0 && st.st_size > 0)
        room = (size_t)st.st_size + 1;
    for (;;) {
        char *more = mdq_realloc(*text, room, 1, "text");
        if (!more) {
            err = MDQ_E_INTERNAL;
            break;
        }
        *text = more;
        while (*size < room && (n = fread(*text + *size, 1, room - *size, f)) > 0)
            *size += n;
        if (*size < room)
            break;
        room += room / 2;
    }
    if (err == MDQ_OK && ferror(f))
        err = mdq_fail_errno(MDQ_E_IO, "%s: reading failed", path);
    fclose(f);
    return err;
}

enum mdq_err train_text_read(struct mdq_ids *out, const struct mdq_tokenizer *t, const char *path, int vocab,
                             int64_t least)
{
    char *text;
    size_t size;
    enum mdq_err err = read_file(path, &text, &size);
    if (err == MDQ_OK && (err = mdq_tokenizer_encode(t, text, size, false, out)) != MDQ_OK)
        err = mdq_fail_in(err, "%s", path);
    free(text);
    if (err != MDQ_OK)
        return err;
    if (out->n < least)
        return mdq_fail(MDQ_E_DATA, "%s: has %lld tokens: a window needs %lld; give more text or a smaller --ctx", path,
                        (long long)out->n, (long long)least);
    for (int64_t i = 0; i < out->n; i++)
        if (out->v[i] < 0 || out->v[i] >= vocab)
            return mdq_fail(MDQ_E_DATA, "%s: token %lld has id %d but the model's vocabulary is %d: the tokenizer does "
                            "not match the model", path, (long long)i, out->v[i], vocab);
    return MDQ_OK;
}

enum mdq_err train_unigram(const struct mdq_ids *text, int vocab, const int32_t *ids, int64_t windows, int64_t ctx,
                           double *loss)
{
    int64_t *count = mdq_calloc((size_t)vocab, sizeof *count, "token counts");
    if (!count)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < text->n; i++)
        count[text->v[i]]++;
    double sum = 0;
    for (int64_t i = 0; i < windows * ctx; i++)
        if (i % ctx)
            sum -= log((double)(count[ids[i]] + 1) / (double)(text->n + vocab));
    *loss = sum / (double)(windows * (ctx - 1));
    free(count);
    return MDQ_OK;
}

enum mdq_err train_order_new(struct train_order *o, int64_t tokens, int64_t ctx, uint64_t seed)
{
    *o = (struct train_order){.seed = seed, .tokens = tokens, .ctx = ctx, .epoch = -1};
    /* the shift takes up to ctx - 1 tokens; a text of hardly more than one window has one, unshifted */
    o->windows = (tokens - 1 - (ctx - 1)) / ctx;
    if (o->windows < 1)
        o->windows = 1;
    if (o->windows > UINT32_MAX)
        return mdq_fail(MDQ_E_DATA, "text: %lld windows are more than this program orders", (long long)o->windows);
    o->place = mdq_alloc((size_t)o->windows, sizeof *o->place, "order of windows");
    return o->place ? MDQ_OK : MDQ_E_INTERNAL;
}

void train_order_free(struct train_order *o)
{
    free(o->place);
    o->place = NULL;
}

/* Streams of random numbers: parameters take those from 1 up, epochs those from this bit up. */
static const uint64_t EPOCHS = (uint64_t)1 << 40;

int64_t train_order_at(struct train_order *o, int64_t i)
{
    int64_t epoch = i / o->windows;
    uint64_t stream = EPOCHS + (uint64_t)epoch;
    if (epoch != o->epoch) {
        for (int64_t k = 0; k < o->windows; k++)
            o->place[k] = (uint32_t)k;
        for (int64_t k = o->windows - 1; k > 0; k--) {
            int64_t l = (int64_t)(((unsigned __int128)train_random(o->seed, stream, (uint64_t)k) * (uint64_t)(k + 1)) >> 64);
            uint32_t t = o->place[k];
            o->place[k] = o->place[l];
            o->place[l] = t;
        }
        o->epoch = epoch;
    }
    int64_t room = o->tokens - 1 - o->windows * o->ctx; /* what a shift may take */
    if (room > o->ctx - 1)
        room = o->ctx - 1;
    int64_t shift = room > 0 ? (int64_t)(train_random(o->seed, stream, 0) % (uint64_t)(room + 1)) : 0;
    return shift + (int64_t)o->place[i % o->windows] * o->ctx;
}
