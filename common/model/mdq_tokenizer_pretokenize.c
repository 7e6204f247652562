/* Pre-tokenizers: how a normalized text is cut into the pieces within which BPE merges. */
#include <stdlib.h>
#include <string.h>

#include "mdq_tokenizer_impl.h"

enum kind { BYTE_LEVEL, SPLIT, METASPACE, DIGITS, WHITESPACE, WHITESPACE_SPLIT, PUNCTUATION };
/* What becomes of the matches of a splitting pattern. */
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
static const char *const behaviors[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
enum scheme { ALWAYS, FIRST, NEVER };

struct step {
    enum kind kind;
    enum behavior behavior;
    bool invert;
    struct mdq_pattern *pattern; /* SPLIT, and BYTE_LEVEL unless its use_regex is off */
    bool add_prefix_space;
    char mark[4]; /* METASPACE: what stands for a space */
    size_t mark_size;
    enum scheme scheme;
    bool split;
    bool individual;
};

struct mdq_pretokenizer {
    struct step steps[MDQ_TOK_MAX_STEPS];
    int n;
};

/* GPT-2's: contractions, words, numbers and other runs with the space before them, white space. */
static const char gpt2_regex[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static enum mdq_err parse_behavior(struct step *s, const json_t *spec, const char *where, int fallback)
{
    const json_t *v = json_object_get(spec, "behavior");
    if (!v && fallback >= 0) {
        s->behavior = (enum behavior)fallback;
        return MDQ_OK;
    }
    const char *name;
    size_t n;
    MDQ_TRY(mdq_tok_json_string(spec, "behavior", where, &name, &n));
    for (size_t i = 0; i < sizeof behaviors / sizeof behaviors[0]; i++)
        if (!strcmp(name, behaviors[i])) {
            s->behavior = (enum behavior)i;
            return MDQ_OK;
        }
    return mdq_fail(MDQ_E_DATA, "%s: behavior: %s: not supported", where, name);
}

static enum mdq_err parse_metaspace(struct step *s, const json_t *spec)
{
    static const char where[] = "pre_tokenizer: Metaspace";
    const char *text;
    size_t n, end = 0;
    MDQ_TRY(mdq_tok_json_string(spec, "replacement", where, &text, &n));
    if (n)
        mdq_utf8_next(text, &end);
    if (n == 0 || end != n)
        return mdq_fail(MDQ_E_DATA, "%s: replacement: not one character", where);
    memcpy(s->mark, text, n);
    s->mark_size = n;
    const json_t *scheme = json_object_get(spec, "prepend_scheme");
    bool prefix;
    MDQ_TRY(mdq_tok_json_bool(spec, "add_prefix_space", true, where, &prefix));
    if (!scheme || json_is_null(scheme))
        s->scheme = prefix ? ALWAYS : NEVER;
    else {
        MDQ_TRY(mdq_tok_json_string(spec, "prepend_scheme", where, &text, &n));
        if (!strcmp(text, "always"))
            s->scheme = ALWAYS;
        else if (!strcmp(text, "first"))
            s->scheme = FIRST;
        else if (!strcmp(text, "never"))
            s->scheme = NEVER;
        else
            return mdq_fail(MDQ_E_DATA, "%s: prepend_scheme: %s: not supported", where, text);
        if (!prefix && s->scheme != NEVER)
            return mdq_fail(MDQ_E_DATA, "%s: prepend_scheme %s contradicts add_prefix_space false", where, text);
    }
    return mdq_tok_json_bool(spec, "split", true, where, &s->split);
}

static enum mdq_err parse_byte_level(struct step *s, const json_t *spec)
{
    static const char where[] = "pre_tokenizer: ByteLevel";
    bool regex;
    s->behavior = ISOLATED;
    MDQ_TRY(mdq_tok_json_bool(spec, "add_prefix_space", true, where, &s->add_prefix_space));
    MDQ_TRY(mdq_tok_json_bool(spec, "use_regex", true, where, &regex));
    return regex ? mdq_pattern_regex(&s->pattern, gpt2_regex, sizeof gpt2_regex - 1, where) : MDQ_OK;
}

static enum mdq_err leaf(void *arg, const json_t *spec)
{
    struct mdq_pretokenizer *z = arg;
    const char *type;
    MDQ_TRY(mdq_tok_json_type(spec, "pre_tokenizer", &type));
    if (z->n == MDQ_TOK_MAX_STEPS)
        return mdq_fail(MDQ_E_DATA, "pre_tokenizer: more than %d steps", MDQ_TOK_MAX_STEPS);
    struct step *s = &z->steps[z->n++];
    if (!strcmp(type, "ByteLevel")) {
        s->kind = BYTE_LEVEL;
        return parse_byte_level(s, spec);
    }
    if (!strcmp(type, "Split")) {
        s->kind = SPLIT;
        MDQ_TRY(mdq_tok_json_bool(spec, "invert", false, "pre_tokenizer: Split", &s->invert));
        MDQ_TRY(parse_behavior(s, spec, "pre_tokenizer: Split", -1));
        return mdq_pattern_parse(&s->pattern, json_object_get(spec, "pattern"), "pre_tokenizer: Split");
    }
    if (!strcmp(type, "Metaspace")) {
        s->kind = METASPACE;
        return parse_metaspace(s, spec);
    }
    if (!strcmp(type, "Digits")) {
        s->kind = DIGITS;
        return mdq_tok_json_bool(spec, "individual_digits", false, "pre_tokenizer: Digits", &s->individual);
    }
    if (!strcmp(type, "Punctuation")) {
        s->kind = PUNCTUATION;
        return parse_behavior(s, spec, "pre_tokenizer: Punctuation", ISOLATED);
    }
    if (!strcmp(type, "Whitespace") || !strcmp(type, "WhitespaceSplit")) {
        s->kind = type[strlen("Whitespace")] ? WHITESPACE_SPLIT : WHITESPACE;
        return MDQ_OK;
    }
    return mdq_fail(MDQ_E_DATA, "pre_tokenizer: %s: not supported", type);
}

enum mdq_err mdq_pretokenizer_parse(struct mdq_pretokenizer **out, const json_t *spec)
{
    *out = NULL;
    if (!spec || json_is_null(spec))
        return MDQ_OK;
    struct mdq_pretokenizer *z = mdq_calloc(1, sizeof *z, "pre-tokenizer");
    if (!z)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_tok_json_sequence(spec, "pretokenizers", "pre_tokenizer", 0, leaf, z);
    if (err)
        mdq_pretokenizer_free(z);
    else
        *out = z;
    return err;
}

void mdq_pretokenizer_free(struct mdq_pretokenizer *z)
{
    if (!z)
        return;
    for (int i = 0; i < z->n; i++)
        mdq_pattern_free(z->steps[i].pattern);
    free(z);
}

/* ---- cutting ---- */

/* Appends to *out what a behavior makes of the matches and gaps in *found, which cover one piece. Empty pieces go. */
static enum mdq_err cut(struct mdq_pieces *found, enum behavior behavior, bool invert, bool start,
                        struct mdq_pieces *out)
{
    struct mdq_piece *f = found->v;
    size_t n = found->n, kept = 0;
    bool previous = false;
    if (invert)
        for (size_t i = 0; i < n; i++)
            f[i].is_match = !f[i].is_match;
    /* Merging happens in place: f[0..kept) are the results; merging with the next is done from the end. */
    if (behavior == MERGED_WITH_NEXT) {
        kept = n;
        for (size_t i = n; i-- > 0;) {
            bool match = f[i].is_match;
            if (match && !previous && kept < n) {
                f[kept].size += f[kept].offset - f[i].offset;
                f[kept].offset = f[i].offset;
            } else
                f[--kept] = f[i];
            previous = match;
        }
        f += kept;
        n -= kept;
    } else if (behavior == MERGED_WITH_PREVIOUS || behavior == CONTIGUOUS) {
        for (size_t i = 0; i < n; i++) {
            bool match = f[i].is_match;
            bool merge = behavior == CONTIGUOUS ? match == previous : match && !previous;
            if (merge && kept > 0)
                f[kept - 1].size = f[i].offset + f[i].size - f[kept - 1].offset;
            else
                f[kept++] = f[i];
            previous = match;
        }
        n = kept;
    }
    uint32_t first = found->n ? found->v[0].offset : 0;
    for (size_t i = 0; i < n; i++)
        if (f[i].size && !(behavior == REMOVED && f[i].is_match))
            MDQ_TRY(mdq_pieces_add(out, f[i].offset, f[i].size, start && f[i].offset == first));
    return MDQ_OK;
}

/* Matches are the single characters that `is` takes. */
static enum mdq_err find_chars(bool (*is)(uint32_t), const char *s, size_t n, size_t base, struct mdq_pieces *out)
{
    size_t last = 0;
    for (size_t i = 0; i < n;) {
        size_t at = i;
        if (!is(mdq_utf8_next(s, &i)))
            continue;
        if (at > last)
            MDQ_TRY(mdq_pieces_add(out, base + last, at - last, false));
        MDQ_TRY(mdq_pieces_add(out, base + at, i - at, false));
        out->v[out->n - 1].is_match = true;
        last = i;
    }
    return n > last ? mdq_pieces_add(out, base + last, n - last, false) : MDQ_OK;
}

/* Words and runs of what is neither word nor space; the white space between them is dropped. */
static enum mdq_err cut_whitespace(const char *s, size_t n, size_t base, bool start, struct mdq_pieces *out)
{
    int last = 0; /* 0 space, 1 word, 2 other */
    size_t from = 0;
    for (size_t i = 0; i <= n;) {
        size_t at = i;
        uint32_t c = i < n ? mdq_utf8_next(s, &i) : ' ';
        int now = mdq_char_is_word(c) ? 1 : mdq_char_is_space(c) ? 0 : 2;
        if (now != last) {
            if (last)
                MDQ_TRY(mdq_pieces_add(out, base + from, at - from, start && from == 0));
            from = at;
            last = now;
        }
        if (at == n)
            break;
    }
    return MDQ_OK;
}

static enum mdq_err split_piece(const struct step *t, struct mdq_scratch *w, const struct mdq_piece *p,
                                struct mdq_pieces *out)
{
    const char *s = w->text.p + p->offset;
    struct mdq_pieces *found = &w->found;
    enum behavior behavior = t->behavior;
    found->n = 0;
    switch (t->kind) {
    case SPLIT: case BYTE_LEVEL:
        MDQ_TRY(mdq_pattern_find(t->pattern, &w->matcher, s, p->size, p->offset, found));
        break;
    case WHITESPACE:
        return cut_whitespace(s, p->size, p->offset, p->start, out);
    case WHITESPACE_SPLIT:
        behavior = REMOVED;
        MDQ_TRY(find_chars(mdq_char_is_space, s, p->size, p->offset, found));
        break;
    case PUNCTUATION:
        MDQ_TRY(find_chars(mdq_char_is_punct, s, p->size, p->offset, found));
        break;
    case DIGITS:
        behavior = t->individual ? ISOLATED : CONTIGUOUS;
        MDQ_TRY(find_chars(mdq_char_is_numeric, s, p->size, p->offset, found));
        break;
    case METASPACE:
        behavior = MERGED_WITH_NEXT;
        for (size_t i = 0, last = 0; i <= p->size;) {
            bool hit = i + t->mark_size <= p->size && !memcmp(s + i, t->mark, t->mark_size);
            if ((hit || i == p->size) && i > last)
                MDQ_TRY(mdq_pieces_add(found, p->offset + last, i - last, false));
            if (i == p->size)
                break;
            if (hit) {
                MDQ_TRY(mdq_pieces_add(found, p->offset + i, t->mark_size, false));
                found->v[found->n - 1].is_match = true;
                last = i + t->mark_size;
            }
            i += hit ? t->mark_size : 1;
        }
        break;
    }
    return cut(found, behavior, t->invert, p->start, out);
}

/* ---- steps that change the text ---- */

/* The text of one piece as METASPACE (space -> mark, a mark in front) or as BYTE_LEVEL's prefix wants it. */
static enum mdq_err prefix_piece(const struct step *t, const struct mdq_scratch *w, const struct mdq_piece *p,
                                 struct mdq_tok_buf *out)
{
    const char *s = w->text.p + p->offset;
    if (t->kind == BYTE_LEVEL) {
        if (p->size == 0 || s[0] != ' ')
            MDQ_TRY(mdq_tok_buf_add(out, " ", 1));
        return mdq_tok_buf_add(out, s, p->size);
    }
    bool marked = p->size && (s[0] == ' ' || (p->size >= t->mark_size && !memcmp(s, t->mark, t->mark_size)));
    if (!marked && (t->scheme == ALWAYS || (t->scheme == FIRST && p->start)))
        MDQ_TRY(mdq_tok_buf_add(out, t->mark, t->mark_size));
    for (size_t i = 0, last = 0; i <= p->size; i++)
        if (i == p->size || s[i] == ' ') {
            MDQ_TRY(mdq_tok_buf_add(out, s + last, i - last));
            if (i < p->size)
                MDQ_TRY(mdq_tok_buf_add(out, t->mark, t->mark_size));
            last = i + 1;
        }
    return MDQ_OK;
}

static enum mdq_err spell_bytes(const char *s, size_t n, struct mdq_tok_buf *out)
{
    MDQ_TRY(mdq_tok_grow(&out->p, &out->capacity, out->n + 2 * n + 4, 1, "text"));
    for (size_t i = 0; i < n; i++)
        out->n += mdq_utf8_put(out->p + out->n, mdq_byte_char((uint8_t)s[i]));
    return MDQ_OK;
}

/* Rewrites every piece into a new text. */
static enum mdq_err rewrite(const struct step *t, bool bytes, struct mdq_scratch *w)
{
    w->text_spare.n = 0;
    w->pieces_spare.n = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        const struct mdq_piece *p = &w->pieces.v[i];
        size_t from = w->text_spare.n;
        MDQ_TRY(bytes ? spell_bytes(w->text.p + p->offset, p->size, &w->text_spare)
                      : prefix_piece(t, w, p, &w->text_spare));
        MDQ_TRY(mdq_pieces_add(&w->pieces_spare, from, w->text_spare.n - from, p->start));
    }
    struct mdq_tok_buf text = w->text;
    w->text = w->text_spare;
    w->text_spare = text;
    struct mdq_pieces pieces = w->pieces;
    w->pieces = w->pieces_spare;
    w->pieces_spare = pieces;
    return MDQ_OK;
}

static enum mdq_err split(const struct step *t, struct mdq_scratch *w)
{
    w->pieces_spare.n = 0;
    for (size_t i = 0; i < w->pieces.n; i++)
        MDQ_TRY(split_piece(t, w, &w->pieces.v[i], &w->pieces_spare));
    struct mdq_pieces pieces = w->pieces;
    w->pieces = w->pieces_spare;
    w->pieces_spare = pieces;
    return MDQ_OK;
}

enum mdq_err mdq_pretokenizer_apply(const struct mdq_pretokenizer *z, const char *s, size_t n, bool start,
                                    struct mdq_scratch *w)
{
    w->text.n = w->pieces.n = 0;
    MDQ_TRY(mdq_tok_buf_add(&w->text, s, n));
    MDQ_TRY(mdq_pieces_add(&w->pieces, 0, n, start));
    for (int i = 0; z && i < z->n; i++) {
        const struct step *t = &z->steps[i];
        switch (t->kind) {
        case BYTE_LEVEL:
            if (t->add_prefix_space)
                MDQ_TRY(rewrite(t, false, w));
            if (t->pattern)
                MDQ_TRY(split(t, w));
            MDQ_TRY(rewrite(t, true, w));
            break;
        case METASPACE:
            MDQ_TRY(rewrite(t, false, w));
            if (t->split)
                MDQ_TRY(split(t, w));
            break;
        default:
            MDQ_TRY(split(t, w));
        }
    }
    return MDQ_OK;
}
