/*
 * Normalizers: what happens to a text before it is cut. The characters' properties are of utf8proc's Unicode version;
 * other implementations differ in characters that their version does not have (marks in StripAccents, above all).
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "mdq_tokenizer_impl.h"

enum kind { FORM, LOWERCASE, STRIP, STRIP_ACCENTS, PREPEND, REPLACE };

struct step {
    enum kind kind;
    utf8proc_option_t form;
    bool left, right;
    struct mdq_pattern *pattern;
    char *content;
    size_t size;
};

struct mdq_normalizer {
    struct step steps[MDQ_TOK_MAX_STEPS];
    int n;
};

static enum mdq_err content(struct step *s, const json_t *spec, const char *key, const char *where)
{
    const char *text;
    MDQ_TRY(mdq_tok_json_string(spec, key, where, &text, &s->size));
    s->content = mdq_alloc(s->size, 1, where);
    if (!s->content)
        return MDQ_E_INTERNAL;
    memcpy(s->content, text, s->size);
    return MDQ_OK;
}

static enum mdq_err leaf(void *arg, const json_t *spec)
{
    static const struct {
        const char *name;
        enum kind kind;
        int form;
    } known[] = {
        {"NFC", FORM, UTF8PROC_COMPOSE},
        {"NFD", FORM, UTF8PROC_DECOMPOSE},
        {"NFKC", FORM, UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", FORM, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
        {"Lowercase", LOWERCASE, 0},
        {"Strip", STRIP, 0},
        {"StripAccents", STRIP_ACCENTS, 0},
        {"Prepend", PREPEND, 0},
        {"Replace", REPLACE, 0},
    };
    struct mdq_normalizer *z = arg;
    const char *type;
    MDQ_TRY(mdq_tok_json_type(spec, "normalizer", &type));
    if (z->n == MDQ_TOK_MAX_STEPS)
        return mdq_fail(MDQ_E_DATA, "normalizer: more than %d steps", MDQ_TOK_MAX_STEPS);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(type, known[i].name) != 0)
            continue;
        struct step *s = &z->steps[z->n++];
        s->kind = known[i].kind;
        s->form = (utf8proc_option_t)(known[i].form | UTF8PROC_STABLE);
        if (s->kind == STRIP) {
            MDQ_TRY(mdq_tok_json_bool(spec, "strip_left", true, "normalizer: Strip", &s->left));
            return mdq_tok_json_bool(spec, "strip_right", true, "normalizer: Strip", &s->right);
        }
        if (s->kind == PREPEND)
            return content(s, spec, "prepend", "normalizer: Prepend");
        if (s->kind == REPLACE) {
            MDQ_TRY(mdq_pattern_parse(&s->pattern, json_object_get(spec, "pattern"), "normalizer: Replace"));
            return content(s, spec, "content", "normalizer: Replace");
        }
        return MDQ_OK;
    }
    return mdq_fail(MDQ_E_DATA, "normalizer: %s: not supported", type);
}

enum mdq_err mdq_normalizer_parse(struct mdq_normalizer **out, const json_t *spec)
{
    *out = NULL;
    if (!spec || json_is_null(spec))
        return MDQ_OK;
    struct mdq_normalizer *z = mdq_calloc(1, sizeof *z, "normalizer");
    if (!z)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_tok_json_sequence(spec, "normalizers", "normalizer", 0, leaf, z);
    if (err)
        mdq_normalizer_free(z);
    else
        *out = z;
    return err;
}

void mdq_normalizer_free(struct mdq_normalizer *z)
{
    if (!z)
        return;
    for (int i = 0; i < z->n; i++) {
        mdq_pattern_free(z->steps[i].pattern);
        free(z->steps[i].content);
    }
    free(z);
}

static enum mdq_err form_run(utf8proc_option_t form, const char *s, size_t n, struct mdq_tok_buf *out)
{
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &result, form);
    if (size < 0)
        return mdq_fail(size == UTF8PROC_ERROR_NOMEM ? MDQ_E_INTERNAL : MDQ_E_DATA, "text: normalizing: %s",
                        utf8proc_errmsg(size));
    enum mdq_err err = mdq_tok_buf_add(out, result, (size_t)size);
    free(result);
    return err;
}

/*
 * ASCII is its own normal form and composes only with what follows it, so that only runs of other characters, each
 * with the ASCII character before it, need work.
 */
static enum mdq_err apply_form(utf8proc_option_t form, const char *s, size_t n, struct mdq_tok_buf *out)
{
    size_t i = 0;
    while (i < n) {
        size_t run = i;
        while (run < n && (unsigned char)s[run] < 0x80)
            run++;
        size_t end = run;
        while (end < n && (unsigned char)s[end] >= 0x80)
            end++;
        if (end > run && run > i)
            run--;
        MDQ_TRY(mdq_tok_buf_add(out, s + i, run - i));
        if (end > run)
            MDQ_TRY(form_run(form, s + run, end - run, out));
        i = end;
    }
    return MDQ_OK;
}

static enum mdq_err apply_chars(enum kind kind, const char *s, size_t n, struct mdq_tok_buf *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = mdq_utf8_next(s, &i);
        if (kind == STRIP_ACCENTS) {
            utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
            if (k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME)
                continue;
        } else if (c == 0x130) { /* the one character whose lower case is two */
            MDQ_TRY(mdq_tok_buf_add(out, "i\xCC\x87", 3));
            continue;
        } else
            c = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        MDQ_TRY(mdq_tok_buf_add_char(out, c));
    }
    return MDQ_OK;
}

static enum mdq_err apply_strip(const struct step *t, const char *s, size_t n, struct mdq_tok_buf *out)
{
    size_t from = 0, to = n;
    while (t->left && from < to) {
        size_t next = from;
        if (!mdq_char_is_space(mdq_utf8_next(s, &next)))
            break;
        from = next;
    }
    while (t->right && to > from && mdq_char_is_space(mdq_utf8_before(s, to))) {
        do
            to--;
        while (((unsigned char)s[to] & 0xC0) == 0x80);
    }
    return mdq_tok_buf_add(out, s + from, to - from);
}

static enum mdq_err apply_replace(const struct step *t, const char *s, size_t n, struct mdq_scratch *w,
                                  struct mdq_tok_buf *out)
{
    w->found.n = 0;
    MDQ_TRY(mdq_pattern_find(t->pattern, &w->matcher, s, n, 0, &w->found));
    for (size_t i = 0; i < w->found.n; i++) {
        const struct mdq_piece *f = &w->found.v[i];
        if (f->is_match)
            MDQ_TRY(mdq_tok_buf_add(out, t->content, t->size));
        else
            MDQ_TRY(mdq_tok_buf_add(out, s + f->offset, f->size));
    }
    return MDQ_OK;
}

static enum mdq_err apply(const struct step *t, const char *s, size_t n, struct mdq_scratch *w, struct mdq_tok_buf *out)
{
    switch (t->kind) {
    case FORM:
        return apply_form(t->form, s, n, out);
    case LOWERCASE: case STRIP_ACCENTS:
        return apply_chars(t->kind, s, n, out);
    case STRIP:
        return apply_strip(t, s, n, out);
    case PREPEND:
        if (n)
            MDQ_TRY(mdq_tok_buf_add(out, t->content, t->size));
        return mdq_tok_buf_add(out, s, n);
    case REPLACE:
        return apply_replace(t, s, n, w, out);
    }
    return mdq_fail(MDQ_E_INTERNAL, "normalizer: step %d", (int)t->kind);
}

enum mdq_err mdq_normalizer_apply(const struct mdq_normalizer *z, const char *s, size_t n, struct mdq_scratch *w)
{
    w->normal.n = 0;
    if (!z || z->n == 0)
        return mdq_tok_buf_add(&w->normal, s, n);
    for (int i = 0; i < z->n; i++) {
        w->normal_spare.n = 0;
        MDQ_TRY(apply(&z->steps[i], s, n, w, &w->normal_spare));
        struct mdq_tok_buf swap = w->normal;
        w->normal = w->normal_spare;
        w->normal_spare = swap;
        s = w->normal.p;
        n = w->normal.n;
        if (n > MDQ_TOK_MAX_TEXT * 2)
            return mdq_fail(MDQ_E_DATA, "text: too long once normalized");
    }
    return MDQ_OK;
}
