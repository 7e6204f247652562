/* Decoders: from tokens back to text. */
#include <stdlib.h>
#include <string.h>

#include "mdq_tokenizer_impl.h"

enum kind { BYTE_LEVEL, METASPACE, REPLACE, BYTE_FALLBACK, FUSE, STRIP };

struct step {
    enum kind kind;
    struct mdq_pattern *pattern;
    char *content; /* REPLACE */
    size_t size;
    uint32_t mark; /* METASPACE, STRIP: a character */
    bool prefix;
    size_t start, stop;
};

struct mdq_decoder {
    struct step steps[MDQ_TOK_MAX_STEPS];
    int n;
};

static enum mdq_err parse_mark(struct step *s, const json_t *spec, const char *key, const char *where)
{
    const char *text;
    size_t n, end = 0;
    MDQ_TRY(mdq_tok_json_string(spec, key, where, &text, &n));
    if (n)
        s->mark = mdq_utf8_next(text, &end);
    return n && end == n ? MDQ_OK : mdq_fail(MDQ_E_DATA, "%s: %s: not one character", where, key);
}

static enum mdq_err parse_metaspace(struct step *s, const json_t *spec)
{
    static const char where[] = "decoder: Metaspace";
    MDQ_TRY(parse_mark(s, spec, "replacement", where));
    MDQ_TRY(mdq_tok_json_bool(spec, "add_prefix_space", true, where, &s->prefix));
    const json_t *scheme = json_object_get(spec, "prepend_scheme");
    if (json_is_string(scheme))
        s->prefix = strcmp(json_string_value(scheme), "never") != 0;
    return MDQ_OK;
}

static enum mdq_err leaf(void *arg, const json_t *spec)
{
    static const char *const names[] = {"ByteLevel", "Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"};
    struct mdq_decoder *d = arg;
    const char *type;
    MDQ_TRY(mdq_tok_json_type(spec, "decoder", &type));
    if (d->n == MDQ_TOK_MAX_STEPS)
        return mdq_fail(MDQ_E_DATA, "decoder: more than %d steps", MDQ_TOK_MAX_STEPS);
    struct step *s = &d->steps[d->n++];
    size_t i = 0;
    while (i < sizeof names / sizeof names[0] && strcmp(type, names[i]) != 0)
        i++;
    s->kind = (enum kind)i;
    switch (s->kind) {
    case BYTE_LEVEL: case BYTE_FALLBACK: case FUSE:
        return MDQ_OK;
    case METASPACE:
        return parse_metaspace(s, spec);
    case REPLACE: {
        const char *text;
        MDQ_TRY(mdq_pattern_parse(&s->pattern, json_object_get(spec, "pattern"), "decoder: Replace"));
        MDQ_TRY(mdq_tok_json_string(spec, "content", "decoder: Replace", &text, &s->size));
        s->content = mdq_alloc(s->size, 1, "decoder");
        if (!s->content)
            return MDQ_E_INTERNAL;
        memcpy(s->content, text, s->size);
        return MDQ_OK;
    }
    case STRIP: {
        int64_t start, stop;
        MDQ_TRY(parse_mark(s, spec, "content", "decoder: Strip"));
        MDQ_TRY(mdq_tok_json_int(spec, "start", 0, INT32_MAX, "decoder: Strip", &start));
        MDQ_TRY(mdq_tok_json_int(spec, "stop", 0, INT32_MAX, "decoder: Strip", &stop));
        s->start = (size_t)start;
        s->stop = (size_t)stop;
        return MDQ_OK;
    }
    }
    d->n--;
    return mdq_fail(MDQ_E_DATA, "decoder: %s: not supported", type);
}

enum mdq_err mdq_decoder_parse(struct mdq_decoder **out, const json_t *spec)
{
    *out = NULL;
    if (!spec || json_is_null(spec))
        return MDQ_OK;
    struct mdq_decoder *d = mdq_calloc(1, sizeof *d, "decoder");
    if (!d)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_tok_json_sequence(spec, "decoders", "decoder", 0, leaf, d);
    if (err)
        mdq_decoder_free(d);
    else
        *out = d;
    return err;
}

void mdq_decoder_free(struct mdq_decoder *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->n; i++) {
        mdq_pattern_free(d->steps[i].pattern);
        free(d->steps[i].content);
    }
    free(d);
}

/* ---- applying ---- */

struct work {
    struct mdq_tok_buf text, spare;
    struct mdq_pieces tokens, spare_tokens, found;
    struct mdq_matcher *matcher;
};

/* The bytes that the token's characters stand for; if one stands for none, the token as it is. */
static enum mdq_err byte_level(const char *s, size_t n, struct mdq_tok_buf *out)
{
    size_t from = out->n;
    for (size_t i = 0; i < n;) {
        int byte = mdq_char_byte(mdq_utf8_next(s, &i));
        if (byte < 0) {
            out->n = from;
            return mdq_tok_buf_add(out, s, n);
        }
        MDQ_TRY(mdq_tok_buf_add(out, &(char){(char)byte}, 1));
    }
    return MDQ_OK;
}

/* U+FFFD for every longest start of a character that is not completed, and for every other stray byte. */
static enum mdq_err lossy(const char *s, size_t n, struct mdq_tok_buf *out)
{
    for (size_t i = 0; i < n;) {
        size_t good = mdq_utf8_valid_prefix(s + i, n - i);
        MDQ_TRY(mdq_tok_buf_add(out, s + i, good));
        i += good;
        if (i == n)
            break;
        MDQ_TRY(mdq_tok_buf_add(out, "\xEF\xBF\xBD", 3));
        size_t bad = 1;
        char tail[4] = {s[i], 0, 0, 0};
        /* The first byte and k more belong together if some continuation would make them a character. */
        for (; bad < 4 && i + bad < n; bad++) {
            static const char fill[] = {(char)0x80, (char)0x90, (char)0xA0, (char)0xBF};
            bool possible = false;
            tail[bad] = s[i + bad];
            for (size_t f = 0; f < sizeof fill && !possible; f++) {
                for (size_t k = bad + 1; k < 4; k++)
                    tail[k] = fill[f];
                possible = mdq_utf8_valid_prefix(tail, 3) == 3 || mdq_utf8_valid_prefix(tail, 4) == 4;
            }
            if (!possible)
                break;
        }
        i += bad;
    }
    return MDQ_OK;
}

static int fallback_byte(const char *s, size_t n)
{
    int v = 0;
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        int c = (unsigned char)s[i] | 0x20;
        if (!((c >= '0' && c <= '9' && s[i] == c) || (c >= 'a' && c <= 'f')))
            return -1;
        v = v * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return v;
}

/* Runs of byte tokens become text, or a U+FFFD per byte where they are not UTF-8. */
static enum mdq_err byte_fallback(struct work *w)
{
    struct mdq_tok_buf run = {0};
    enum mdq_err err = MDQ_OK;
    for (size_t i = 0; !err && i <= w->tokens.n; i++) {
        const struct mdq_piece *p = i < w->tokens.n ? &w->tokens.v[i] : NULL;
        int byte = p ? fallback_byte(w->text.p + p->offset, p->size) : -1;
        if (byte >= 0) {
            err = mdq_tok_buf_add(&run, &(char){(char)byte}, 1);
            continue;
        }
        size_t from = w->spare.n;
        if (run.n && mdq_utf8_valid_prefix(run.p, run.n) == run.n)
            err = mdq_tok_buf_add(&w->spare, run.p, run.n);
        else
            for (size_t k = 0; !err && k < run.n; k++)
                err = mdq_tok_buf_add(&w->spare, "\xEF\xBF\xBD", 3);
        if (!err && run.n)
            err = mdq_pieces_add(&w->spare_tokens, from, w->spare.n - from, false);
        run.n = 0;
        from = w->spare.n;
        if (!err && p)
            err = mdq_tok_buf_add(&w->spare, w->text.p + p->offset, p->size);
        if (!err && p)
            err = mdq_pieces_add(&w->spare_tokens, from, p->size, false);
    }
    mdq_tok_buf_free(&run);
    return err;
}

static enum mdq_err strip(const struct step *t, const char *s, size_t n, struct mdq_tok_buf *out)
{
    size_t from = 0, to = n;
    for (size_t k = 0; k < t->start && from < to; k++) {
        size_t next = from;
        if (mdq_utf8_next(s, &next) != t->mark)
            break;
        from = next;
    }
    for (size_t k = 0; k < t->stop && to > from && mdq_utf8_before(s, to) == t->mark; k++)
        do
            to--;
        while (((unsigned char)s[to] & 0xC0) == 0x80);
    return mdq_tok_buf_add(out, s + from, to - from);
}

static enum mdq_err apply_token(const struct step *t, struct work *w, size_t i)
{
    const struct mdq_piece *p = &w->tokens.v[i];
    const char *s = w->text.p + p->offset;
    switch (t->kind) {
    case METASPACE:
        for (size_t k = 0; k < p->size;) {
            uint32_t c = mdq_utf8_next(s, &k);
            if (c != t->mark)
                MDQ_TRY(mdq_tok_buf_add_char(&w->spare, c));
            else if (i > 0 || !t->prefix)
                MDQ_TRY(mdq_tok_buf_add(&w->spare, " ", 1));
        }
        return MDQ_OK;
    case REPLACE:
        w->found.n = 0;
        MDQ_TRY(mdq_pattern_find(t->pattern, &w->matcher, s, p->size, 0, &w->found));
        for (size_t k = 0; k < w->found.n; k++) {
            const struct mdq_piece *f = &w->found.v[k];
            MDQ_TRY(f->is_match ? mdq_tok_buf_add(&w->spare, t->content, t->size)
                                : mdq_tok_buf_add(&w->spare, s + f->offset, f->size));
        }
        return MDQ_OK;
    case STRIP:
        return strip(t, s, p->size, &w->spare);
    case BYTE_LEVEL:
        return byte_level(s, p->size, &w->spare);
    default:
        return mdq_tok_buf_add(&w->spare, s, p->size);
    }
}

static enum mdq_err apply(const struct step *t, struct work *w)
{
    w->spare.n = w->spare_tokens.n = 0;
    if (t->kind == BYTE_FALLBACK)
        MDQ_TRY(byte_fallback(w));
    else {
        bool fuse = t->kind == FUSE || t->kind == BYTE_LEVEL;
        for (size_t i = 0; i < w->tokens.n; i++) {
            size_t from = w->spare.n;
            MDQ_TRY(apply_token(t, w, i));
            if (!fuse)
                MDQ_TRY(mdq_pieces_add(&w->spare_tokens, from, w->spare.n - from, false));
        }
        if (t->kind == BYTE_LEVEL) {
            w->text.n = 0;
            MDQ_TRY(lossy(w->spare.p, w->spare.n, &w->text));
            w->tokens.n = 0;
            return mdq_pieces_add(&w->tokens, 0, w->text.n, false);
        }
        if (fuse)
            MDQ_TRY(mdq_pieces_add(&w->spare_tokens, 0, w->spare.n, false));
    }
    struct mdq_tok_buf text = w->text;
    w->text = w->spare;
    w->spare = text;
    struct mdq_pieces tokens = w->tokens;
    w->tokens = w->spare_tokens;
    w->spare_tokens = tokens;
    return MDQ_OK;
}

enum mdq_err mdq_decoder_apply(const struct mdq_decoder *d, struct mdq_tok_buf *text, struct mdq_pieces *tokens)
{
    struct work w = {.text = *text, .tokens = *tokens};
    enum mdq_err err = MDQ_OK;
    for (int i = 0; !err && d && i < d->n; i++)
        err = apply(&d->steps[i], &w);
    w.spare.n = 0;
    for (size_t i = 0; !err && i < w.tokens.n; i++) {
        if (!d && i)
            err = mdq_tok_buf_add(&w.spare, " ", 1);
        if (!err)
            err = mdq_tok_buf_add(&w.spare, w.text.p + w.tokens.v[i].offset, w.tokens.v[i].size);
    }
    *text = w.spare;
    *tokens = w.tokens;
    mdq_tok_buf_free(&w.text);
    mdq_pieces_free(&w.spare_tokens);
    mdq_pieces_free(&w.found);
    mdq_matcher_free(w.matcher);
    return err;
}
