/*
 * Byte-pair encoding. A piece starts as its characters; as long as some neighbours are a pair of the merge list, the
 * pair of lowest rank, leftmost among equals, becomes one symbol. With a heap of (rank, position) that is
 * O(n log n) for n characters.
 *
 * Models without a pre-tokenizer (SentencePiece's) make one piece of a whole text. No merge can reach over a place
 * where the two characters beside it stand together in the spelling of no merge's result, so a piece is cut there
 * first, which changes no result; what remains are words, and a cache of words pays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mdq_tokenizer_impl.h"

enum {
    CACHE_WORD = 256,         /* bytes of the longest word kept */
    CACHE_ENTRIES = 1 << 17,
    CACHE_BYTES = 32 << 20,
    PAGE = 256,               /* characters per page of char_pages */
    PAGES = 0x110000 / PAGE,
};

struct mdq_bpe {
    struct mdq_vocab vocab;
    uint64_t *pairs;         /* hash of left << 32 | right, + 1 so that 0 is free */
    uint32_t *pair_ranks;
    uint32_t pair_mask;
    int32_t *results;        /* by rank */
    uint64_t *bigrams;       /* set of characters that stand side by side in some result, + 1 */
    uint32_t bigram_mask;
    int32_t *char_pages[PAGES]; /* ids of single characters; NULL: none in this page */
    int32_t bytes[256];      /* <0xHH> */
    int32_t unk;             /* -1: none */
    bool byte_fallback, fuse_unk, ignore_merges;
};

struct symbol {
    int32_t id; /* -1: merged into the one before */
    uint32_t previous, next;
};
#define NONE UINT32_MAX

struct cache_entry {
    uint64_t hash;
    uint32_t text, size; /* in cache_text */
    uint32_t first, n;   /* in cache_ids; n == 0 and size == 0: free */
};

struct mdq_bpe_scratch {
    struct symbol *symbols;
    size_t n, capacity;
    uint64_t *heap; /* rank << 32 | position */
    size_t heap_n, heap_capacity;
    struct cache_entry *cache;
    uint32_t cache_mask, cache_n;
    struct mdq_tok_buf cache_text;
    struct mdq_ids cache_ids;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

/* ---- reading ---- */

static int64_t pair_slot(const struct mdq_bpe *b, uint64_t key)
{
    uint32_t i = (uint32_t)mix(key) & b->pair_mask;
    while (b->pairs[i] && b->pairs[i] != key + 1)
        i = (i + 1) & b->pair_mask;
    return i;
}

static void add_bigrams(struct mdq_bpe *b, const char *s, size_t n)
{
    uint64_t previous = 0;
    for (size_t i = 0; i < n;) {
        bool first = i == 0;
        uint64_t c = mdq_utf8_next(s, &i);
        if (!first) {
            uint64_t key = (previous << 32 | c) + 1;
            uint32_t j = (uint32_t)mix(key) & b->bigram_mask;
            while (b->bigrams[j] && b->bigrams[j] != key)
                j = (j + 1) & b->bigram_mask;
            b->bigrams[j] = key;
        }
        previous = c;
    }
}

static bool has_bigram(const struct mdq_bpe *b, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) + 1;
    uint32_t j = (uint32_t)mix(key) & b->bigram_mask;
    while (b->bigrams[j] && b->bigrams[j] != key)
        j = (j + 1) & b->bigram_mask;
    return b->bigrams[j] == key;
}

/* The two parts of a merge: ["a", "b"], or "a b" with exactly one space. */
static bool merge_parts(const json_t *m, const char *part[2], size_t size[2])
{
    if (json_is_array(m) && json_array_size(m) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *s = json_array_get(m, i);
            if (!json_is_string(s))
                return false;
            part[i] = json_string_value(s);
            size[i] = json_string_length(s);
        }
        return true;
    }
    if (!json_is_string(m))
        return false;
    const char *s = json_string_value(m);
    size_t n = json_string_length(m);
    const char *space = memchr(s, ' ', n);
    if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
        return false;
    part[0] = s;
    size[0] = (size_t)(space - s);
    part[1] = space + 1;
    size[1] = n - size[0] - 1;
    return true;
}

static enum mdq_err parse_merge(struct mdq_bpe *b, const json_t *m, size_t line, uint32_t rank,
                                struct mdq_tok_buf *joined)
{
    const char *part[2];
    size_t size[2];
    if (!merge_parts(m, part, size))
        return mdq_fail(MDQ_E_DATA, "model: merges: %zu: no pair of tokens", line);
    int32_t id[2];
    for (int i = 0; i < 2; i++) {
        id[i] = mdq_vocab_id(&b->vocab, part[i], size[i]);
        if (id[i] < 0)
            return mdq_fail(MDQ_E_DATA, "model: merges: %zu: '%.*s' is not in the vocabulary", line,
                            (int)size[i], part[i]);
    }
    joined->n = 0;
    MDQ_TRY(mdq_tok_buf_add(joined, part[0], size[0]));
    MDQ_TRY(mdq_tok_buf_add(joined, part[1], size[1]));
    b->results[rank] = mdq_vocab_id(&b->vocab, joined->p, joined->n);
    if (b->results[rank] < 0)
        return mdq_fail(MDQ_E_DATA, "model: merges: %zu: its result '%.*s' is not in the vocabulary", line,
                        (int)joined->n, joined->p);
    uint64_t key = (uint64_t)id[0] << 32 | (uint32_t)id[1];
    int64_t slot = pair_slot(b, key);
    b->pairs[slot] = key + 1;
    b->pair_ranks[slot] = rank; /* the last of equal pairs counts */
    return MDQ_OK;
}

/* Bigrams of all results, in a table that holds them at most half full. */
static enum mdq_err parse_bigrams(struct mdq_bpe *b, size_t merges)
{
    size_t chars = 0;
    for (size_t r = 0; r < merges; r++)
        chars += b->vocab.tokens[b->results[r]].size;
    if (chars > UINT32_MAX / 4)
        return mdq_fail(MDQ_E_DATA, "model: merges: results of %zu bytes", chars);
    b->bigram_mask = 15;
    while (b->bigram_mask < 2 * chars)
        b->bigram_mask = b->bigram_mask * 2 + 1;
    b->bigrams = mdq_calloc((size_t)b->bigram_mask + 1, sizeof *b->bigrams, "merges");
    if (!b->bigrams)
        return MDQ_E_INTERNAL;
    for (size_t r = 0; r < merges; r++)
        add_bigrams(b, b->vocab.pool + b->vocab.tokens[b->results[r]].offset, b->vocab.tokens[b->results[r]].size);
    return MDQ_OK;
}

static enum mdq_err parse_merges(struct mdq_bpe *b, const json_t *list)
{
    if (!json_is_array(list))
        return mdq_fail(MDQ_E_DATA, "model: merges: %s", list ? "no list" : "missing");
    size_t n = json_array_size(list);
    if (n > INT32_MAX / 4)
        return mdq_fail(MDQ_E_DATA, "model: merges: %zu of them", n);
    b->pair_mask = 15;
    while (b->pair_mask < 2 * n)
        b->pair_mask = b->pair_mask * 2 + 1;
    b->pairs = mdq_calloc((size_t)b->pair_mask + 1, sizeof *b->pairs, "merges");
    b->pair_ranks = mdq_calloc((size_t)b->pair_mask + 1, sizeof *b->pair_ranks, "merges");
    b->results = mdq_calloc(n, sizeof *b->results, "merges");
    if (!b->pairs || !b->pair_ranks || !b->results)
        return MDQ_E_INTERNAL;
    struct mdq_tok_buf joined = {0};
    enum mdq_err err = MDQ_OK;
    uint32_t rank = 0;
    for (size_t i = 0; !err && i < n; i++) {
        const json_t *m = json_array_get(list, i);
        if (json_is_string(m) && !strncmp(json_string_value(m), "#version", 8))
            continue; /* the first line of a merges.txt */
        err = parse_merge(b, m, i, rank++, &joined);
    }
    mdq_tok_buf_free(&joined);
    return err ? err : parse_bigrams(b, rank);
}

static enum mdq_err parse_chars(struct mdq_bpe *b)
{
    for (int32_t id = 0; id < b->vocab.n; id++) {
        if (!b->vocab.tokens[id].present || b->vocab.tokens[id].size == 0 || b->vocab.tokens[id].size > 4)
            continue;
        size_t end = 0;
        uint32_t c = mdq_utf8_next(b->vocab.pool + b->vocab.tokens[id].offset, &end);
        if (end != b->vocab.tokens[id].size)
            continue;
        int32_t **page = &b->char_pages[c / PAGE];
        if (!*page) {
            *page = mdq_alloc(PAGE, sizeof **page, "vocabulary");
            if (!*page)
                return MDQ_E_INTERNAL;
            memset(*page, -1, PAGE * sizeof **page);
        }
        (*page)[c % PAGE] = id;
    }
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        b->bytes[i] = mdq_vocab_id(&b->vocab, name, 6);
    }
    return MDQ_OK;
}

static enum mdq_err parse(struct mdq_bpe *b, const json_t *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(model, affixes[i]);
        if (v && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0))
            return mdq_fail(MDQ_E_DATA, "model: %s: not supported", affixes[i]);
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return mdq_fail(MDQ_E_DATA, "model: dropout: not supported");
    MDQ_TRY(mdq_tok_json_bool(model, "byte_fallback", false, "model", &b->byte_fallback));
    MDQ_TRY(mdq_tok_json_bool(model, "fuse_unk", false, "model", &b->fuse_unk));
    MDQ_TRY(mdq_tok_json_bool(model, "ignore_merges", false, "model", &b->ignore_merges));
    MDQ_TRY(mdq_vocab_parse(&b->vocab, json_object_get(model, "vocab")));
    MDQ_TRY(parse_merges(b, json_object_get(model, "merges")));
    MDQ_TRY(parse_chars(b));
    b->unk = -1;
    const json_t *unk = json_object_get(model, "unk_token");
    if (unk && !json_is_null(unk)) {
        const char *s;
        size_t n;
        MDQ_TRY(mdq_tok_json_string(model, "unk_token", "model", &s, &n));
        b->unk = mdq_vocab_id(&b->vocab, s, n);
        if (b->unk < 0)
            return mdq_fail(MDQ_E_DATA, "model: unk_token: '%s' is not in the vocabulary", s);
    }
    return MDQ_OK;
}

enum mdq_err mdq_bpe_parse(struct mdq_bpe **out, const json_t *model)
{
    *out = NULL;
    if (!json_is_object(model))
        return mdq_fail(MDQ_E_DATA, "model: %s", model ? "no object" : "missing");
    const json_t *type = json_object_get(model, "type"); /* old files have none */
    if (type && !(json_is_string(type) && !strcmp(json_string_value(type), "BPE")))
        return mdq_fail(MDQ_E_DATA, "model: %s: not supported, only BPE is",
                        json_is_string(type) ? json_string_value(type) : "type");
    struct mdq_bpe *b = mdq_calloc(1, sizeof *b, "BPE");
    if (!b)
        return MDQ_E_INTERNAL;
    enum mdq_err err = parse(b, model);
    if (err)
        mdq_bpe_free(b);
    else
        *out = b;
    return err;
}

void mdq_bpe_free(struct mdq_bpe *b)
{
    if (!b)
        return;
    mdq_vocab_free(&b->vocab);
    free(b->pairs);
    free(b->pair_ranks);
    free(b->results);
    free(b->bigrams);
    for (int i = 0; i < PAGES; i++)
        free(b->char_pages[i]);
    free(b);
}

const struct mdq_vocab *mdq_bpe_vocab(const struct mdq_bpe *b)
{
    return &b->vocab;
}

/* ---- merging ---- */

static int64_t rank_of(const struct mdq_bpe *b, int32_t left, int32_t right)
{
    int64_t slot = pair_slot(b, (uint64_t)left << 32 | (uint32_t)right);
    return b->pairs[slot] ? (int64_t)b->pair_ranks[slot] : -1;
}

static int32_t char_id(const struct mdq_bpe *b, uint32_t c)
{
    const int32_t *page = b->char_pages[c / PAGE];
    return page ? page[c % PAGE] : -1;
}

static enum mdq_err add_symbol(struct mdq_bpe_scratch *w, int32_t id)
{
    MDQ_TRY(mdq_tok_grow(&w->symbols, &w->capacity, w->n + 1, sizeof *w->symbols, "symbols"));
    w->symbols[w->n] = (struct symbol){id, w->n ? (uint32_t)w->n - 1 : NONE, (uint32_t)w->n + 1};
    w->n++;
    return MDQ_OK;
}

/*
 * The symbols of a piece before any merge. An unknown character becomes its bytes' tokens if all are there, else the
 * unknown token, which waits for the next known character so that several can fuse (byte tokens do not end the wait).
 */
static enum mdq_err first_symbols(const struct mdq_bpe *b, struct mdq_bpe_scratch *w, const char *s, size_t n)
{
    bool pending = false;
    w->n = 0;
    for (size_t i = 0; i < n;) {
        size_t at = i;
        int32_t id = char_id(b, mdq_utf8_next(s, &i));
        if (id >= 0) {
            if (pending)
                MDQ_TRY(add_symbol(w, b->unk));
            pending = false;
            MDQ_TRY(add_symbol(w, id));
            continue;
        }
        bool all = b->byte_fallback;
        for (size_t j = at; all && j < i; j++)
            all = b->bytes[(uint8_t)s[j]] >= 0;
        if (all) {
            for (size_t j = at; j < i; j++)
                MDQ_TRY(add_symbol(w, b->bytes[(uint8_t)s[j]]));
            continue;
        }
        if (b->unk < 0)
            continue;
        if (pending && !b->fuse_unk)
            MDQ_TRY(add_symbol(w, b->unk));
        pending = true;
    }
    if (pending)
        MDQ_TRY(add_symbol(w, b->unk));
    if (w->n)
        w->symbols[w->n - 1].next = NONE;
    return MDQ_OK;
}

static void sift_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t x = h[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && h[child + 1] < h[child];
        if (h[child] >= x)
            break;
        h[i] = h[child];
    }
    h[i] = x;
}

static enum mdq_err push(const struct mdq_bpe *b, struct mdq_bpe_scratch *w, uint32_t left, uint32_t right)
{
    int64_t rank = rank_of(b, w->symbols[left].id, w->symbols[right].id);
    if (rank < 0)
        return MDQ_OK;
    MDQ_TRY(mdq_tok_grow(&w->heap, &w->heap_capacity, w->heap_n + 1, sizeof *w->heap, "merge queue"));
    uint64_t x = (uint64_t)rank << 32 | left;
    size_t i = w->heap_n++;
    for (; i > 0 && w->heap[(i - 1) / 2] > x; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
    return MDQ_OK;
}

static enum mdq_err merge(const struct mdq_bpe *b, struct mdq_bpe_scratch *w)
{
    struct symbol *s = w->symbols;
    w->heap_n = 0;
    MDQ_TRY(mdq_tok_grow(&w->heap, &w->heap_capacity, w->n, sizeof *w->heap, "merge queue"));
    for (size_t i = 0; i + 1 < w->n; i++) {
        int64_t rank = rank_of(b, s[i].id, s[i + 1].id);
        if (rank >= 0)
            w->heap[w->heap_n++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = w->heap_n / 2; i-- > 0;)
        sift_down(w->heap, w->heap_n, i);
    while (w->heap_n) {
        uint64_t top = w->heap[0];
        w->heap[0] = w->heap[--w->heap_n];
        if (w->heap_n)
            sift_down(w->heap, w->heap_n, 0);
        uint32_t left = (uint32_t)top;
        int32_t result = b->results[top >> 32];
        uint32_t right = s[left].next;
        if (s[left].id < 0 || right == NONE)
            continue;
        int64_t rank = rank_of(b, s[left].id, s[right].id);
        if (rank < 0 || b->results[rank] != result)
            continue; /* queued before one of the two was merged into something else */
        s[left].id = result;
        s[left].next = s[right].next;
        s[right].id = -1;
        if (s[left].next != NONE)
            s[s[left].next].previous = left;
        if (s[left].previous != NONE)
            MDQ_TRY(push(b, w, s[left].previous, left));
        if (s[left].next != NONE)
            MDQ_TRY(push(b, w, left, s[left].next));
    }
    return MDQ_OK;
}

static enum mdq_err encode_word(const struct mdq_bpe *b, struct mdq_bpe_scratch *w, const char *s, size_t n,
                                struct mdq_ids *ids)
{
    MDQ_TRY(first_symbols(b, w, s, n));
    if (w->n > 1)
        MDQ_TRY(merge(b, w));
    for (uint32_t i = w->n ? 0 : NONE; i != NONE; i = w->symbols[i].next)
        MDQ_TRY(mdq_ids_add(ids, w->symbols[i].id));
    return MDQ_OK;
}

/* ---- cache ---- */

static struct cache_entry *cache_slot(const struct mdq_bpe_scratch *w, uint64_t hash, const char *s, size_t n)
{
    uint32_t i = (uint32_t)hash & w->cache_mask;
    for (; w->cache[i].size; i = (i + 1) & w->cache_mask) {
        const struct cache_entry *e = &w->cache[i];
        if (e->hash == hash && e->size == n && !memcmp(w->cache_text.p + e->text, s, n))
            break;
    }
    return &w->cache[i];
}

static enum mdq_err cache_grow(struct mdq_bpe_scratch *w)
{
    uint32_t old_n = w->cache ? w->cache_mask + 1 : 0;
    uint32_t size = old_n ? old_n * 4 : 256;
    struct cache_entry *old = w->cache, *larger = mdq_calloc(size, sizeof *larger, "word cache");
    if (!larger)
        return MDQ_E_INTERNAL;
    w->cache = larger;
    w->cache_mask = size - 1;
    for (uint32_t i = 0; i < old_n; i++)
        if (old[i].size) {
            uint32_t j = (uint32_t)old[i].hash & w->cache_mask;
            while (larger[j].size)
                j = (j + 1) & w->cache_mask;
            larger[j] = old[i];
        }
    free(old);
    return MDQ_OK;
}

static enum mdq_err cached_word(const struct mdq_bpe *b, struct mdq_bpe_scratch *w, const char *s, size_t n,
                                struct mdq_ids *ids)
{
    if (n <= 4) {
        size_t end = 0;
        int32_t id = char_id(b, mdq_utf8_next(s, &end));
        if (end == n && id >= 0)
            return mdq_ids_add(ids, id);
    }
    if (n > CACHE_WORD)
        return encode_word(b, w, s, n, ids);
    if (!w->cache || w->cache_n * 2 > w->cache_mask)
        MDQ_TRY(cache_grow(w));
    uint64_t hash = XXH3_64bits(s, n);
    struct cache_entry *e = cache_slot(w, hash, s, n);
    if (e->size) {
        for (uint32_t i = 0; i < e->n; i++)
            MDQ_TRY(mdq_ids_add(ids, w->cache_ids.v[e->first + i]));
        return MDQ_OK;
    }
    int64_t from = ids->n;
    MDQ_TRY(encode_word(b, w, s, n, ids));
    if (w->cache_n >= CACHE_ENTRIES || w->cache_text.n + n > CACHE_BYTES)
        return MDQ_OK;
    e->hash = hash;
    e->text = (uint32_t)w->cache_text.n;
    e->first = (uint32_t)w->cache_ids.n;
    e->n = (uint32_t)(ids->n - from);
    MDQ_TRY(mdq_tok_buf_add(&w->cache_text, s, n));
    for (int64_t i = from; i < ids->n; i++)
        MDQ_TRY(mdq_ids_add(&w->cache_ids, ids->v[i]));
    e->size = (uint32_t)n;
    w->cache_n++;
    return MDQ_OK;
}

enum mdq_err mdq_bpe_encode(const struct mdq_bpe *b, struct mdq_bpe_scratch **scratch, const char *s, size_t n,
                            struct mdq_ids *ids)
{
    if (n == 0)
        return MDQ_OK;
    if (!*scratch && !(*scratch = mdq_calloc(1, sizeof **scratch, "BPE")))
        return MDQ_E_INTERNAL;
    if (b->ignore_merges) {
        int32_t whole = mdq_vocab_id(&b->vocab, s, n);
        if (whole >= 0)
            return mdq_ids_add(ids, whole);
    }
    size_t from = 0, i = 0;
    uint32_t left = mdq_utf8_next(s, &i);
    while (i < n) {
        size_t at = i;
        uint32_t right = mdq_utf8_next(s, &i);
        if (!has_bigram(b, left, right) && char_id(b, left) >= 0 && char_id(b, right) >= 0) {
            MDQ_TRY(cached_word(b, *scratch, s + from, at - from, ids));
            from = at;
        }
        left = right;
    }
    return cached_word(b, *scratch, s + from, n - from, ids);
}

void mdq_bpe_scratch_free(struct mdq_bpe_scratch *w)
{
    if (!w)
        return;
    free(w->symbols);
    free(w->heap);
    free(w->cache);
    mdq_tok_buf_free(&w->cache_text);
    mdq_ids_free(&w->cache_ids);
    free(w);
}
