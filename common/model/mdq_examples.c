#include "mdq_examples.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mdq_json.h"
#include "mdq_log.h"
#include "mdq_text.h"

int64_t mdq_examples_length(const struct mdq_examples *e, int64_t i)
{
    return e->first[i + 1] - e->first[i];
}

static enum mdq_err grow(struct mdq_examples *e)
{
    if (e->n + 1 < e->capacity)
        return MDQ_OK;
    int64_t capacity = e->capacity ? 2 * e->capacity : 64;
    struct {
        void **p;
        size_t size;
    } all[] = {{(void **)&e->first, sizeof *e->first}, {(void **)&e->from, sizeof *e->from}, {(void **)&e->to, sizeof *e->to},
               {(void **)&e->text, sizeof *e->text},   {(void **)&e->bytes, sizeof *e->bytes},
               {(void **)&e->begin, sizeof *e->begin}, {(void **)&e->end, sizeof *e->end},
               {(void **)&e->repeats, sizeof *e->repeats}, {(void **)&e->line, sizeof *e->line}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        void *p = mdq_realloc(*all[i].p, (size_t)capacity, all[i].size, "examples");
        if (!p)
            return MDQ_E_INTERNAL;
        *all[i].p = p;
    }
    e->capacity = capacity;
    if (e->n == 0)
        e->first[0] = 0;
    return MDQ_OK;
}

/* The byte at which Unicode character number `character` of the text begins; `bytes` for the one after the last, -1 beyond. */
static int64_t byte_of(const char *text, size_t bytes, int64_t character)
{
    for (size_t i = 0; i < bytes; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80 && character-- == 0)
            return (int64_t)i;
    return character == 0 ? (int64_t)bytes : -1;
}

/* How many bytes of text the tokens ids[skip .. n) are. */
static enum mdq_err decoded(const struct mdq_tokenizer *t, const int32_t *ids, int64_t n, size_t *size)
{
    char *text;
    MDQ_TRY(mdq_tokenizer_decode(t, ids, n, &text, size));
    free(text);
    return MDQ_OK;
}

/* The tokens that hold bytes [b0, b1) of the text: decoding ever more of them says where each ends. */
static enum mdq_err find_span(const struct mdq_tokenizer *t, const int32_t *ids, int64_t n, size_t bytes, int64_t b0, int64_t b1,
                              int32_t *from, int32_t *to)
{
    int64_t skip = n > 0 && ids[0] == mdq_tokenizer_bos(t);
    size_t all, end = 0;
    MDQ_TRY(decoded(t, ids + skip, n - skip, &all));
    if (all != bytes)
        return mdq_fail(MDQ_E_DATA, "the tokenizer changes the text (%zu bytes become %zu), so that its span is lost", bytes, all);
    *from = *to = -1;
    for (int64_t i = skip; i < n; i++) {
        size_t begin = end;
        MDQ_TRY(decoded(t, ids + skip, i + 1 - skip, &end));
        if ((int64_t)end > b0 && (int64_t)begin < b1) {
            if (*from < 0)
                *from = (int32_t)i;
            *to = (int32_t)i + 1;
        }
    }
    if (*from == 0) /* nothing predicts the first token */
        *from = 1;
    return *from >= 0 && *from < *to ? MDQ_OK : mdq_fail(MDQ_E_DATA, "no token that could be predicted in the span");
}

/* The example whose n ids stand after those of the others becomes one of them. */
static enum mdq_err finish(struct mdq_examples *e, const char *text, size_t bytes, int64_t n, int32_t from, int32_t to)
{
    if (!(e->text[e->n] = mdq_alloc(bytes + 1, 1, "text")))
        return MDQ_E_INTERNAL;
    memcpy(e->text[e->n], text, bytes);
    e->text[e->n][bytes] = 0;
    e->bytes[e->n] = bytes;
    e->from[e->n] = from;
    e->to[e->n] = to;
    e->begin[e->n] = e->end[e->n] = e->repeats[e->n] = -1;
    e->line[e->n] = 0;
    e->longest = n > e->longest ? n : e->longest;
    const int64_t end = e->first[e->n] + n;
    e->ids.n = e->first[++e->n] = end;
    return MDQ_OK;
}

enum mdq_err mdq_examples_add(struct mdq_examples *e, const struct mdq_tokenizer *t, const char *text, size_t bytes, int64_t ctx,
                              int32_t vocab, int64_t start, int64_t end)
{
    MDQ_TRY(grow(e));
    const int64_t at = e->first[e->n];
    e->ids.n = at; /* what a failed one left */
    MDQ_TRY(mdq_tokenizer_encode(t, text, bytes, true, &e->ids));
    int64_t n = e->ids.n - at;
    const int32_t *ids = e->ids.v + at;
    for (int64_t i = 0; vocab > 0 && i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return mdq_fail(MDQ_E_DATA, "token %" PRId64 ": id %d, but the model's vocabulary has %d: not its tokenizer", i, ids[i], vocab);
    if (n < 2)
        return mdq_fail(MDQ_E_DATA, "%" PRId64 " token%s: nothing to predict", n, n == 1 ? "" : "s");
    int32_t from = 1, to = (int32_t)n;
    int64_t b0 = -1, b1 = -1;
    if (start >= 0) {
        b0 = byte_of(text, bytes, start);
        b1 = byte_of(text, bytes, end);
        if (end <= start || b0 < 0 || b1 < 0)
            return mdq_fail(MDQ_E_DATA,
                            "span [%" PRId64 ", %" PRId64 "]: empty or outside of the text (it counts characters, the end excluded)",
                            start, end);
        MDQ_TRY(find_span(t, ids, n, bytes, b0, b1, &from, &to));
    }
    if (ctx > 0 && n > ctx) {
        if (from >= ctx)
            return mdq_fail(MDQ_E_DATA, "%" PRId64 " tokens, cut at %" PRId64 ": its span is not in what is left", n, ctx);
        e->cut++;
        n = ctx;
    }
    MDQ_TRY(finish(e, text, bytes, n, from, to < n ? to : (int32_t)n));
    e->begin[e->n - 1] = b0;
    e->end[e->n - 1] = b1;
    e->marked += start >= 0;
    return MDQ_OK;
}

enum mdq_err mdq_examples_add_ids(struct mdq_examples *e, const int32_t *ids, int64_t n, int32_t from, int32_t to)
{
    if (n < 2 || from < 1 || from >= to || to > n)
        return mdq_fail(MDQ_E_INTERNAL, "example of %" PRId64 " tokens: span [%d, %d)", n, from, to);
    MDQ_TRY(grow(e));
    const int64_t at = e->first[e->n];
    if (e->ids.capacity < at + n) {
        int64_t capacity = at + n + e->ids.capacity;
        int32_t *v = mdq_realloc(e->ids.v, (size_t)capacity, sizeof *v, "token ids");
        if (!v)
            return MDQ_E_INTERNAL;
        e->ids.v = v;
        e->ids.capacity = capacity;
    }
    memcpy(e->ids.v + at, ids, (size_t)n * sizeof *ids);
    return finish(e, "", 0, n, from, to);
}

/* A line of JSON. */
static enum mdq_err add_json(struct mdq_examples *e, const struct mdq_tokenizer *t, const char *line, size_t size, const char *where,
                             int64_t ctx, int32_t vocab)
{
    json_t *j;
    MDQ_TRY(mdq_json_parse(&j, line, size, where));
    const json_t *text = json_object_get(j, "text"), *span = json_object_get(j, "span"), *repeats = json_object_get(j, "repeats");
    int64_t start = -1, end = -1;
    enum mdq_err err = MDQ_OK;
    if (!json_is_string(text))
        err = mdq_fail(MDQ_E_DATA, "%s: no \"text\" that is a string", where);
    else if (span && !json_is_null(span)) {
        const json_t *a = json_array_get(span, 0), *b = json_array_get(span, 1);
        if (json_array_size(span) != 2 || !json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 0)
            err = mdq_fail(MDQ_E_DATA, "%s: \"span\" is not two numbers [start, end]", where);
        else {
            start = json_integer_value(a);
            end = json_integer_value(b);
        }
    }
    const bool counted = repeats && !json_is_null(repeats);
    if (!err && counted && (!json_is_integer(repeats) || json_integer_value(repeats) < 0))
        err = mdq_fail(MDQ_E_DATA, "%s: \"repeats\" is not a number of times", where);
    if (!err && (err = mdq_examples_add(e, t, json_string_value(text), json_string_length(text), ctx, vocab, start, end)))
        err = mdq_fail_in(err, "%s", where);
    if (!err && counted)
        e->repeats[e->n - 1] = json_integer_value(repeats);
    json_decref(j);
    return err;
}

enum mdq_err mdq_examples_read(struct mdq_examples *e, const struct mdq_tokenizer *t, const char *path, int64_t ctx, int32_t vocab)
{
    *e = (struct mdq_examples){0};
    const char *name = strcmp(path, "-") ? path : "standard input";
    char *all;
    size_t size;
    MDQ_TRY(mdq_text_read(path, MDQ_TEXT_MAX_BYTES, &all, &size));
    enum mdq_err err = MDQ_OK;
    int64_t number = 0;
    for (char *line = all, *end = all + size; line < end && !err;) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((next ? next : end) - line);
        number++;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        size_t blank = 0;
        while (blank < length && (line[blank] == ' ' || line[blank] == '\t'))
            blank++;
        char where[512];
        snprintf(where, sizeof where, "%.400s: line %" PRId64, name, number);
        if (length > MDQ_EXAMPLE_MAX_BYTES)
            err = mdq_fail(MDQ_E_DATA, "%s: longer than %d bytes", where, MDQ_EXAMPLE_MAX_BYTES);
        else if (blank < length && e->n >= MDQ_EXAMPLES_MAX)
            err = mdq_fail(MDQ_E_DATA, "%s: more than %d records", where, MDQ_EXAMPLES_MAX);
        else if (blank < length && line[blank] == '{')
            err = add_json(e, t, line, length, where, ctx, vocab);
        else if (blank < length && (err = mdq_examples_add(e, t, line, length, ctx, vocab, -1, -1)))
            err = mdq_fail_in(err, "%s", where);
        if (!err && blank < length)
            e->line[e->n - 1] = number;
        line = next ? next + 1 : end;
    }
    free(all);
    if (!err && e->n == 0)
        err = mdq_fail(MDQ_E_DATA, "%s: holds no record", name);
    if (!err && e->cut > 0)
        mdq_log(MDQ_LOG_WARNING, "%s: %" PRId64 " of %" PRId64 " records are longer than the context of %" PRId64
                " tokens and were cut there: what follows is not looked at", name, e->cut, e->n, ctx);
    return err;
}

void mdq_examples_unmark(struct mdq_examples *e)
{
    for (int64_t i = 0; i < e->n; i++) {
        e->from[i] = 1;
        e->to[i] = (int32_t)mdq_examples_length(e, i);
        e->begin[i] = e->end[i] = -1;
    }
    e->marked = 0;
}

void mdq_examples_keep(struct mdq_examples *e, int64_t n)
{
    while (e->n > n)
        free(e->text[--e->n]);
    e->ids.n = e->n > 0 ? e->first[e->n] : 0;
}

void mdq_examples_free(struct mdq_examples *e)
{
    for (int64_t i = 0; i < e->n; i++)
        free(e->text[i]);
    mdq_ids_free(&e->ids);
    free(e->first);
    free(e->from);
    free(e->to);
    free(e->text);
    free(e->bytes);
    free(e->begin);
    free(e->end);
    free(e->repeats);
    free(e->line);
    *e = (struct mdq_examples){0};
}

void mdq_examples_hash(const struct mdq_examples *e, int64_t first, int64_t n, char hash[33])
{
    XXH128_hash_t h = {0}; /* a chain: each example is hashed with what came before */
    for (int64_t i = first; i < first + n; i++) {
        const int64_t length = mdq_examples_length(e, i);
        const uint64_t head[5] = {h.low64, h.high64, (uint64_t)length, (uint64_t)e->from[i], (uint64_t)e->to[i]};
        XXH64_hash_t seed = XXH3_64bits(head, sizeof head);
        h = XXH3_128bits_withSeed(e->ids.v + e->first[i], (size_t)length * sizeof *e->ids.v, seed);
    }
    snprintf(hash, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

struct place {
    const char *text;
    size_t bytes;
    int64_t at;
};

static int by_text(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    size_t n = p->bytes < q->bytes ? p->bytes : q->bytes;
    int c = memcmp(p->text, q->text, n);
    return c ? c : p->bytes < q->bytes ? -1 : p->bytes > q->bytes ? 1 : p->at < q->at ? -1 : p->at > q->at;
}

static struct place *places(const struct mdq_examples *e)
{
    struct place *p = mdq_alloc((size_t)e->n + 1, sizeof *p, "texts in order");
    for (int64_t i = 0; p && i < e->n; i++)
        p[i] = (struct place){e->text[i], e->bytes[i], i};
    if (p)
        qsort(p, (size_t)e->n, sizeof *p, by_text);
    return p;
}

int64_t mdq_examples_common(const struct mdq_examples *a, const struct mdq_examples *b, int64_t *i, int64_t *j)
{
    struct place *p = places(a), *q = places(b);
    int64_t common = p && q ? 0 : -1;
    for (int64_t x = 0, y = 0; common >= 0 && x < a->n && y < b->n;) {
        struct place u = p[x], v = q[y];
        u.at = v.at = 0;
        int c = by_text(&u, &v);
        if (c == 0) {
            if (common++ == 0 && i && j) {
                *i = p[x].at;
                *j = q[y].at;
            }
            y++;
        } else if (c < 0)
            x++;
        else
            y++;
    }
    free(p);
    free(q);
    return common;
}

struct length {
    int64_t n, at;
};

static int by_length(const void *a, const void *b)
{
    const struct length *p = a, *q = b;
    return p->n != q->n ? (p->n < q->n ? -1 : 1) : p->at < q->at ? -1 : p->at > q->at;
}

enum mdq_err mdq_batches_new(struct mdq_batches *b, const struct mdq_examples *e, int64_t first, int64_t n, int64_t max_tokens)
{
    *b = (struct mdq_batches){0};
    struct length *l = mdq_alloc((size_t)n + 1, sizeof *l, "batches");
    b->order = mdq_alloc((size_t)n + 1, sizeof *b->order, "batches");
    b->v = mdq_alloc((size_t)n + 1, sizeof *b->v, "batches");
    if (!l || !b->order || !b->v) {
        free(l);
        mdq_batches_free(b);
        return MDQ_E_INTERNAL;
    }
    for (int64_t i = 0; i < n; i++)
        l[i] = (struct length){mdq_examples_length(e, first + i), first + i};
    qsort(l, (size_t)n, sizeof *l, by_length);
    for (int64_t i = 0, start = 0; i < n; i++) {
        b->order[i] = l[i].at;
        /* the next one would be the longest of the batch */
        if (i + 1 < n && (i + 2 - start) * l[i + 1].n <= max_tokens)
            continue;
        struct mdq_batch one = {start, i + 1 - start, l[i].n};
        b->most_tokens = one.count * one.ctx > b->most_tokens ? one.count * one.ctx : b->most_tokens;
        b->most_ctx = one.ctx;
        b->v[b->n++] = one;
        start = i + 1;
    }
    free(l);
    return MDQ_OK;
}

void mdq_batches_free(struct mdq_batches *b)
{
    free(b->order);
    free(b->v);
    *b = (struct mdq_batches){0};
}

void mdq_batch_fill(const struct mdq_batches *b, int64_t i, const struct mdq_examples *e, int spans, int32_t *ids, int32_t *targets)
{
    const struct mdq_batch *m = &b->v[i];
    for (int64_t k = 0; k < m->count; k++) {
        const int64_t x = b->order[m->first + k], n = mdq_examples_length(e, x);
        const int32_t *v = e->ids.v + e->first[x];
        for (int64_t p = 0; p < m->ctx; p++) {
            bool scored = p + 1 < n && (!spans || (p + 1 >= e->from[x] && p + 1 < e->to[x]));
            ids[k * m->ctx + p] = p < n ? v[p] : v[n - 1];
            targets[k * m->ctx + p] = scored ? v[p + 1] : -1;
        }
    }
}
