/*
 * Added tokens: spellings that are found in the text before anything else, some as written, some once normalized.
 * At every place the longest counts; matches do not overlap.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tokenizer_impl.h"

enum { NO_NODE = -1, MAX_TOKENS = 1 << 20, MAX_TRIE = 1 << 24 };

struct token {
    char *content;
    size_t size;
    char *shown; /* what it decodes to: the content, normalized where it is matched so */
    size_t shown_size;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
};

/* A trie over bytes. Children hang in a list; the root, where every search starts, has a table. */
struct node {
    int32_t child, sibling, token; /* token: index, or NO_NODE */
    uint8_t byte;
};
struct trie {
    struct node *v;
    size_t n, capacity;
    int32_t root[256];
};

struct mdq_added {
    struct token *tokens;
    size_t n;
    int32_t limit;
    int32_t *by_id;        /* index of the token, or NO_NODE; `limit` of them */
    struct trie tries[2];  /* as written, normalized */
    struct trie spellings; /* all contents as they are, for mdq_added_id */
};

static int32_t child(const struct trie *t, int32_t node, uint8_t byte)
{
    int32_t c = node == NO_NODE ? t->root[byte] : t->v[node].child;
    if (node == NO_NODE)
        return c;
    while (c != NO_NODE && t->v[c].byte != byte)
        c = t->v[c].sibling;
    return c;
}

/* A spelling that is there already keeps its token. */
static enum mdq_err insert(struct trie *t, const char *s, size_t n, int32_t token)
{
    int32_t at = NO_NODE;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)s[i];
        int32_t next = child(t, at, byte);
        if (next == NO_NODE) {
            if (t->n >= MAX_TRIE)
                return mdq_fail(MDQ_E_DATA, "added_tokens: too long together");
            MDQ_TRY(mdq_tok_grow(&t->v, &t->capacity, t->n + 1, sizeof *t->v, "added tokens"));
            next = (int32_t)t->n++;
            t->v[next] = (struct node){NO_NODE, NO_NODE, NO_NODE, byte};
            if (at == NO_NODE)
                t->root[byte] = next;
            else {
                t->v[next].sibling = t->v[at].child;
                t->v[at].child = next;
            }
        }
        at = next;
    }
    if (at != NO_NODE && t->v[at].token == NO_NODE)
        t->v[at].token = token;
    return MDQ_OK;
}

/* The longest token that s[at..n) starts with; its size in *size. */
static int32_t longest(const struct trie *t, const char *s, size_t n, size_t at, size_t *size)
{
    int32_t node = NO_NODE, token = NO_NODE;
    for (size_t i = at; i < n; i++) {
        node = child(t, node, (uint8_t)s[i]);
        if (node == NO_NODE)
            break;
        if (t->v[node].token != NO_NODE) {
            token = t->v[node].token;
            *size = i + 1 - at;
        }
    }
    return token;
}

static enum mdq_err parse_token(struct mdq_added *a, size_t i, const json_t *spec, const struct mdq_vocab *vocab)
{
    char where[48];
    snprintf(where, sizeof where, "added_tokens: %zu", i);
    if (!json_is_object(spec))
        return mdq_fail(MDQ_E_DATA, "%s: no object", where);
    struct token *t = &a->tokens[i];
    const char *content;
    int64_t id;
    MDQ_TRY(mdq_tok_json_string(spec, "content", where, &content, &t->size));
    MDQ_TRY(mdq_tok_json_int(spec, "id", 0, 4 * (int64_t)(vocab->n + (int32_t)a->n) + 65536, where, &id));
    MDQ_TRY(mdq_tok_json_bool(spec, "single_word", false, where, &t->single_word));
    MDQ_TRY(mdq_tok_json_bool(spec, "lstrip", false, where, &t->lstrip));
    MDQ_TRY(mdq_tok_json_bool(spec, "rstrip", false, where, &t->rstrip));
    MDQ_TRY(mdq_tok_json_bool(spec, "normalized", true, where, &t->normalized));
    if (t->size == 0)
        return mdq_fail(MDQ_E_DATA, "%s: content: empty", where);
    t->id = (int32_t)id;
    t->content = mdq_alloc(t->size, 1, "added tokens");
    if (!t->content)
        return MDQ_E_INTERNAL;
    memcpy(t->content, content, t->size);
    int32_t known = mdq_vocab_id(vocab, content, t->size);
    if (known >= 0 && known != t->id)
        return mdq_fail(MDQ_E_DATA, "%s: '%s' has id %d, but %d in the vocabulary", where, content, t->id, known);
    if (known < 0 && t->id < vocab->n && vocab->tokens[t->id].present)
        return mdq_fail(MDQ_E_DATA, "%s: '%s' has id %d, which is '%.*s' in the vocabulary", where, content, t->id,
                        (int)vocab->tokens[t->id].size, vocab->pool + vocab->tokens[t->id].offset);
    if (t->id >= a->limit)
        a->limit = t->id + 1;
    return MDQ_OK;
}

static enum mdq_err index_token(struct mdq_added *a, size_t i, const struct mdq_normalizer *z, struct mdq_scratch *w)
{
    struct token *t = &a->tokens[i];
    int32_t before = a->by_id[t->id];
    const struct token *u = before == NO_NODE ? t : &a->tokens[before];
    if (u->size != t->size || memcmp(u->content, t->content, t->size))
        return mdq_fail(MDQ_E_DATA, "added_tokens: %zu: '%.*s' has the id of '%.*s', %d", i, (int)t->size, t->content,
                        (int)u->size, u->content, t->id);
    int32_t same = mdq_added_id(a, t->content, t->size);
    if (same >= 0 && same != t->id)
        return mdq_fail(MDQ_E_DATA, "added_tokens: %zu: '%.*s' is there twice, as %d and %d", i, (int)t->size,
                        t->content, same, t->id);
    a->by_id[t->id] = (int32_t)i;
    MDQ_TRY(insert(&a->spellings, t->content, t->size, (int32_t)i));
    MDQ_TRY(mdq_normalizer_apply(t->normalized ? z : NULL, t->content, t->size, w));
    t->shown = mdq_alloc(w->normal.n, 1, "added tokens");
    if (!t->shown)
        return MDQ_E_INTERNAL;
    t->shown_size = w->normal.n;
    memcpy(t->shown, w->normal.p, w->normal.n);
    return insert(&a->tries[t->normalized], t->shown, t->shown_size, (int32_t)i);
}

static enum mdq_err parse(struct mdq_added *a, const json_t *spec, const struct mdq_vocab *vocab,
                          const struct mdq_normalizer *z)
{
    memset(a->tries[0].root, -1, sizeof a->tries[0].root);
    memset(a->tries[1].root, -1, sizeof a->tries[1].root);
    memset(a->spellings.root, -1, sizeof a->spellings.root);
    if (!spec || json_is_null(spec))
        return MDQ_OK;
    if (!json_is_array(spec) || json_array_size(spec) > MAX_TOKENS)
        return mdq_fail(MDQ_E_DATA, "added_tokens: %s", json_is_array(spec) ? "too many" : "no list");
    a->n = json_array_size(spec);
    a->tokens = mdq_calloc(a->n, sizeof *a->tokens, "added tokens");
    if (!a->tokens)
        return MDQ_E_INTERNAL;
    for (size_t i = 0; i < a->n; i++)
        MDQ_TRY(parse_token(a, i, json_array_get(spec, i), vocab));
    a->by_id = mdq_alloc((size_t)a->limit, sizeof *a->by_id, "added tokens");
    if (!a->by_id)
        return MDQ_E_INTERNAL;
    memset(a->by_id, -1, (size_t)a->limit * sizeof *a->by_id);
    struct mdq_scratch w = {0};
    enum mdq_err err = MDQ_OK;
    for (size_t i = 0; !err && i < a->n; i++)
        err = index_token(a, i, z, &w);
    mdq_scratch_free(&w);
    return err;
}

enum mdq_err mdq_added_parse(struct mdq_added **out, const json_t *spec, const struct mdq_vocab *vocab,
                             const struct mdq_normalizer *z)
{
    *out = NULL;
    struct mdq_added *a = mdq_calloc(1, sizeof *a, "added tokens");
    if (!a)
        return MDQ_E_INTERNAL;
    enum mdq_err err = parse(a, spec, vocab, z);
    if (err)
        mdq_added_free(a);
    else
        *out = a;
    return err;
}

void mdq_added_free(struct mdq_added *a)
{
    if (!a)
        return;
    for (size_t i = 0; a->tokens && i < a->n; i++) {
        free(a->tokens[i].content);
        free(a->tokens[i].shown);
    }
    free(a->tokens);
    free(a->by_id);
    free(a->tries[0].v);
    free(a->tries[1].v);
    free(a->spellings.v);
    free(a);
}

int32_t mdq_added_id(const struct mdq_added *a, const char *s, size_t n)
{
    size_t size = 0;
    int32_t token = longest(&a->spellings, s, n, 0, &size);
    return token != NO_NODE && size == n ? a->tokens[token].id : -1;
}

const char *mdq_added_token(const struct mdq_added *a, int32_t id, size_t *n)
{
    if (id < 0 || id >= a->limit || a->by_id[id] == NO_NODE)
        return NULL;
    *n = a->tokens[a->by_id[id]].shown_size;
    return a->tokens[a->by_id[id]].shown;
}

int32_t mdq_added_limit(const struct mdq_added *a)
{
    return a->limit;
}

/* ---- matching ---- */

static enum mdq_err add(struct mdq_segments *out, size_t start, size_t stop, int32_t id)
{
    if (start == stop)
        return MDQ_OK;
    MDQ_TRY(mdq_tok_grow(&out->v, &out->capacity, out->n + 1, sizeof *out->v, "added tokens"));
    out->v[out->n++] = (struct mdq_segment){start, stop, id};
    return MDQ_OK;
}

/* Is the match s[start, stop) a word of its own? */
static bool stands_alone(const char *s, size_t n, size_t start, size_t stop)
{
    if (start > 0 && mdq_char_is_word(mdq_utf8_before(s, start)))
        return false;
    size_t next = stop;
    return stop == n || !mdq_char_is_word(mdq_utf8_next(s, &next));
}

enum mdq_err mdq_added_split(const struct mdq_added *a, bool normalized, const char *s, size_t n,
                             struct mdq_segments *out)
{
    const struct trie *t = &a->tries[normalized];
    out->n = 0;
    if (t->n == 0)
        return add(out, 0, n, -1);
    size_t done = 0; /* where the last token ended */
    for (size_t i = 0; i < n;) {
        size_t size = 0;
        int32_t token = t->root[(uint8_t)s[i]] == NO_NODE ? NO_NODE : longest(t, s, n, i, &size);
        if (token == NO_NODE) {
            i++;
            continue;
        }
        const struct token *k = &a->tokens[token];
        size_t start = i, stop = i + size;
        i = stop;
        if (k->single_word && !stands_alone(s, n, start, stop))
            continue;
        while (k->lstrip && start > done && mdq_char_is_space(mdq_utf8_before(s, start)))
            do
                start--;
            while (((unsigned char)s[start] & 0xC0) == 0x80);
        while (k->rstrip && stop < n) {
            size_t next = stop;
            if (!mdq_char_is_space(mdq_utf8_next(s, &next)))
                break;
            stop = next;
        }
        if (start > done)
            MDQ_TRY(add(out, done, start, -1));
        MDQ_TRY(add(out, start, stop, k->id));
        done = stop;
    }
    return n > done ? add(out, done, n, -1) : MDQ_OK;
}
