/*
 * Patterns of pre-tokenizers and normalizers: literal strings, and regular expressions. The latter are written for
 * Oniguruma with Ruby's syntax; they are rewritten for PCRE2 where the two read the same text differently, and
 * refused where that cannot be done. Two differences remain: PCRE2's tables may be of an older Unicode version, and
 * case-insensitive "ss", "ff", "fi", "fl" and "st" do not match the single characters they are the folds of.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tokenizer_impl.h"

struct mdq_pattern {
    char *literal; /* NULL: a regular expression */
    size_t size;
    pcre2_code *code;
};

struct mdq_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

enum { MAX_GROUPS = 128 };

/* White_Space. PCRE2's own \s has U+180E too, which left the property in Unicode 6.3. */
#define SPACE "\\p{Z}\\t-\\r\\x{85}"
/* \w: PCRE2's lacks marks and connectors. */
#define WORD \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}" \
    "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
/* Outside classes Oniguruma takes superscript digits and fractions for \w, but only those of Latin-1. */
#define BARE_WORD WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

struct rewriter {
    const char *s;
    size_t n, i;
    struct mdq_tok_buf out;
    size_t atom;               /* where the last atom starts in out, for quantifiers */
    size_t groups[MAX_GROUPS]; /* the same for open groups */
    int depth;
    bool can_repeat;
    const char *where;
};

static enum mdq_err refuse(const struct rewriter *r, const char *what)
{
    return mdq_fail(MDQ_E_DATA, "%s: regular expression, byte %zu: %s: not supported", r->where, r->i, what);
}

static enum mdq_err put(struct rewriter *r, const char *text)
{
    return mdq_tok_buf_add(&r->out, text, strlen(text));
}

static int peek(const struct rewriter *r, size_t ahead)
{
    return r->i + ahead < r->n ? (unsigned char)r->s[r->i + ahead] : -1;
}

static bool is_one_of(int c, const char *set)
{
    return c > 0 && strchr(set, c);
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * \p{Name}, at `p`. One- and two-letter names are categories in both. Script names mean Script in Oniguruma and
 * Script_Extensions in PCRE2, which has sc: for the former. Other names would need a table: refused.
 */
static enum mdq_err property(struct rewriter *r)
{
    char name[32];
    size_t n = 0, i = r->i + 2;
    bool negated = r->s[r->i + 1] == 'P';
    if (peek(r, 2) != '{')
        return refuse(r, "\\p without braces");
    i++;
    if (i < r->n && r->s[i] == '^') {
        negated = !negated;
        i++;
    }
    while (i < r->n && r->s[i] != '}' && n < sizeof name - 1) {
        if (!is_one_of((unsigned char)r->s[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"))
            return refuse(r, "a property name that is no word");
        name[n++] = r->s[i++];
    }
    if (i >= r->n || r->s[i] != '}' || n == 0)
        return refuse(r, "a property name without end");
    name[n] = 0;
    static const char *const categories[] = {"Letter", "Mark", "Number", "Punctuation", "Symbol", "Z", "Separator"};
    const char *script = "sc:";
    for (size_t k = 0; k < sizeof categories / sizeof categories[0]; k++)
        if (!strcasecmp(name, categories[k])) {
            name[0] = k < 5 ? categories[k][0] : 'Z';
            name[1] = 0;
        }
    if (strlen(name) <= 2) { /* a category; PCRE2 wants it as Xx */
        script = "";
        name[0] = (char)(name[0] & ~0x20);
        name[1] = (char)(name[1] ? name[1] | 0x20 : 0);
    }
    MDQ_TRY(put(r, negated ? "\\P{" : "\\p{"));
    MDQ_TRY(put(r, script));
    MDQ_TRY(put(r, name));
    MDQ_TRY(put(r, "}"));
    r->i = i + 1;
    return MDQ_OK;
}

/* \xHH (ASCII only: above, Oniguruma means a byte), \x{H...}, \uHHHH. */
static enum mdq_err code_point(struct rewriter *r)
{
    uint32_t c = 0;
    size_t i = r->i + 2, digits = 0;
    bool braces = peek(r, 1) == 'x' && peek(r, 2) == '{';
    size_t max = braces ? 8 : r->s[r->i + 1] == 'x' ? 2 : 4;
    i += braces;
    for (; i < r->n && digits < max && hex_value((unsigned char)r->s[i]) >= 0; i++, digits++)
        c = c << 4 | (uint32_t)hex_value((unsigned char)r->s[i]);
    if (digits == 0 || (max == 4 && digits < 4) || (braces && (i >= r->n || r->s[i++] != '}')) || c > 0x10FFFF ||
        (c >= 0xD800 && c < 0xE000) || (max == 2 && c >= 0x80))
        return refuse(r, "this form of a character code");
    char text[16];
    snprintf(text, sizeof text, "\\x{%X}", (unsigned)c);
    r->i = i;
    return put(r, text);
}

static enum mdq_err escape(struct rewriter *r, bool in_class)
{
    int c = peek(r, 1);
    const char *text = NULL;
    switch (c) {
    case -1: return refuse(r, "a backslash at the end");
    case 'p': case 'P': return property(r);
    case 'x': case 'u': return code_point(r);
    case 's': text = in_class ? SPACE : "[" SPACE "]"; break;
    case 'S': text = in_class ? "\\S\\x{180E}" : "[^" SPACE "]"; break;
    case 'w': text = in_class ? WORD : "[" BARE_WORD "]"; break;
    case 'W': text = in_class ? NULL : "[^" BARE_WORD "]"; break;
    case 'd': text = "\\p{Nd}"; break;
    case 'D': text = "\\P{Nd}"; break;
    case 'h': text = in_class ? "0-9a-fA-F" : "[0-9a-fA-F]"; break;
    case 'n': text = "\\n"; break;
    case 'r': text = "\\r"; break;
    case 't': text = "\\t"; break;
    case 'f': text = "\\f"; break;
    case 'v': text = "\\x0B"; break;
    case 'a': text = "\\x07"; break;
    case 'e': text = "\\x1B"; break;
    case 'A': text = in_class ? NULL : "\\A"; break;
    case 'z': text = in_class ? NULL : "\\z"; break;
    case 'b':
        text = in_class ? NULL : "(?:(?<=[" BARE_WORD "])(?![" BARE_WORD "])|"
                                "(?<![" BARE_WORD "])(?=[" BARE_WORD "]))";
        break;
    case 'B':
        text = in_class ? NULL : "(?:(?<=[" BARE_WORD "])(?=[" BARE_WORD "])|"
                                "(?<![" BARE_WORD "])(?![" BARE_WORD "]))";
        break;
    default:
        if (c < 0x80 && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) { /* itself */
            char literal[3] = {'\\', (char)c, 0};
            r->i += 2;
            return mdq_tok_buf_add(&r->out, literal, 2);
        }
        if (c >= 0x80) {
            r->i++;
            size_t start = r->i;
            mdq_utf8_next(r->s, &r->i);
            return mdq_tok_buf_add(&r->out, r->s + start, r->i - start);
        }
    }
    if (!text) {
        char what[24];
        snprintf(what, sizeof what, "\\%c%s", c, in_class ? " in a class" : "");
        return refuse(r, what);
    }
    r->i += 2;
    return put(r, text);
}

/* [...], at its bracket. */
static enum mdq_err class(struct rewriter *r)
{
    MDQ_TRY(put(r, "["));
    r->i++;
    if (peek(r, 0) == '^') {
        MDQ_TRY(put(r, "^"));
        r->i++;
    }
    if (peek(r, 0) == ']')
        return refuse(r, "an empty class");
    for (;;) {
        int c = peek(r, 0);
        if (c < 0)
            return refuse(r, "a class without end");
        if (c == ']')
            break;
        if (c == '[')
            return refuse(r, "[ inside a class");
        if (c == '&' && peek(r, 1) == '&')
            return refuse(r, "&& inside a class");
        if (c == '\\') {
            MDQ_TRY(escape(r, true));
            continue;
        }
        size_t start = r->i;
        mdq_utf8_next(r->s, &r->i);
        MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + start, r->i - start));
    }
    r->i++;
    return put(r, "]");
}

/* ( and what belongs to it. Ruby's flag m is s elsewhere. */
static enum mdq_err open_group(struct rewriter *r)
{
    if (r->depth == MAX_GROUPS)
        return refuse(r, "groups nested this deep");
    size_t start = r->out.n;
    if (peek(r, 1) != '?') {
        MDQ_TRY(put(r, "(?:")); /* nothing can refer to a captured group */
        r->i++;
    } else if (is_one_of(peek(r, 2), ":=!>")) {
        MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + r->i, 3));
        r->i += 3;
    } else if (peek(r, 2) == '<' && is_one_of(peek(r, 3), "=!")) {
        MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + r->i, 4));
        r->i += 4;
    } else {
        size_t i = r->i + 2;
        MDQ_TRY(put(r, "(?"));
        for (; i < r->n && is_one_of((unsigned char)r->s[i], "im-"); i++) {
            char flag[2] = {r->s[i] == 'm' ? 's' : r->s[i], 0};
            MDQ_TRY(put(r, flag));
        }
        if (i < r->n && r->s[i] == ')' && r->i == 0) { /* elsewhere the two disagree about | after it */
            r->i = i + 1;
            return put(r, ")");
        }
        if (i >= r->n || r->s[i] != ':')
            return refuse(r, "this kind of group");
        MDQ_TRY(put(r, ":"));
        r->i = i + 1;
    }
    r->groups[r->depth++] = start;
    r->can_repeat = false;
    return MDQ_OK;
}

/* {n}, {n,}, {n,m}, {,m} at r->i; false: the brace is literal. */
static bool interval(const struct rewriter *r, size_t *end, unsigned v[2], bool *one)
{
    size_t i = r->i + 1;
    bool digits[2] = {false, false};
    v[0] = 0;
    v[1] = UINT32_MAX;
    *one = true;
    for (int k = 0; k < 2; k++) {
        unsigned x = 0;
        for (; i < r->n && r->s[i] >= '0' && r->s[i] <= '9' && x < 100000; i++) {
            x = x * 10 + (unsigned)(r->s[i] - '0');
            digits[k] = true;
        }
        if (digits[k])
            v[k] = x;
        if (k == 0 && i < r->n && r->s[i] == ',') {
            i++;
            *one = false;
        } else
            break;
    }
    if (i >= r->n || r->s[i] != '}' || !(digits[0] || digits[1]))
        return false;
    *end = i + 1;
    return true;
}

static enum mdq_err quantifier(struct rewriter *r, bool *done)
{
    int c = peek(r, 0);
    size_t end;
    unsigned v[2];
    bool one;
    *done = false;
    if (is_one_of(c, "*+?")) {
        *done = true;
        if (!r->can_repeat)
            return refuse(r, "a quantifier of a quantifier, or of nothing");
        MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + r->i, 1));
        r->i++;
        if (is_one_of(peek(r, 0), "+?")) { /* possessive, lazy: the same in both */
            MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + r->i, 1));
            r->i++;
        }
    } else if (c == '{' && interval(r, &end, v, &one)) {
        *done = true;
        if (!r->can_repeat)
            return refuse(r, "a quantifier of a quantifier, or of nothing");
        char text[40];
        if (one)
            snprintf(text, sizeof text, "{%u}", v[0]);
        else if (v[1] == UINT32_MAX)
            snprintf(text, sizeof text, "{%u,}", v[0]);
        else
            snprintf(text, sizeof text, "{%u,%u}", v[0], v[1]);
        MDQ_TRY(put(r, text));
        r->i = end;
        if (peek(r, 0) == '?') {
            if (one)
                return refuse(r, "{n}?");
            MDQ_TRY(put(r, "?"));
            r->i++;
        } else if (peek(r, 0) == '+') { /* not possessive in Ruby: the whole is repeated */
            MDQ_TRY(mdq_tok_buf_add(&r->out, "    ", 4));
            memmove(r->out.p + r->atom + 3, r->out.p + r->atom, r->out.n - 4 - r->atom);
            memcpy(r->out.p + r->atom, "(?:", 3);
            r->out.p[r->out.n - 1] = ')';
            MDQ_TRY(put(r, "+"));
            r->i++;
        }
    }
    if (*done)
        r->can_repeat = false;
    return MDQ_OK;
}

static enum mdq_err rewrite(struct rewriter *r)
{
    while (r->i < r->n) {
        bool done;
        MDQ_TRY(quantifier(r, &done));
        if (done)
            continue;
        int c = peek(r, 0);
        size_t start = r->out.n;
        r->can_repeat = true;
        if (c == '\\')
            MDQ_TRY(escape(r, false));
        else if (c == '[')
            MDQ_TRY(class(r));
        else if (c == '(') {
            MDQ_TRY(open_group(r));
            r->can_repeat = false;
            continue;
        } else if (c == ')') {
            if (r->depth == 0)
                return refuse(r, "an unmatched )");
            start = r->groups[--r->depth];
            MDQ_TRY(put(r, ")"));
            r->i++;
        } else if (is_one_of(c, "|^$")) {
            r->can_repeat = false;
            MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + r->i, 1));
            r->i++;
        } else if (is_one_of(c, "{}]")) {
            MDQ_TRY(put(r, "\\"));
            MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + r->i, 1));
            r->i++;
        } else {
            size_t from = r->i;
            mdq_utf8_next(r->s, &r->i);
            MDQ_TRY(mdq_tok_buf_add(&r->out, r->s + from, r->i - from));
        }
        r->atom = start;
    }
    return r->depth ? refuse(r, "a group without end") : MDQ_OK;
}

enum mdq_err mdq_pattern_regex(struct mdq_pattern **out, const char *regex, size_t n, const char *where)
{
    *out = NULL;
    if (n == 0 || n > MDQ_TOK_MAX_PATTERN)
        return mdq_fail(MDQ_E_DATA, "%s: regular expression of %zu bytes", where, n);
    struct rewriter r = {.s = regex, .n = n, .where = where};
    enum mdq_err err = rewrite(&r);
    struct mdq_pattern *p = err ? NULL : mdq_calloc(1, sizeof *p, "pattern");
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!err && (!p || !context))
        err = p ? mdq_fail_nomem("pattern", 0) : MDQ_E_INTERNAL;
    if (!err) {
        int why;
        PCRE2_SIZE at;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        p->code = pcre2_compile((PCRE2_SPTR)r.out.p, r.out.n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &why, &at,
                                context);
        if (!p->code) {
            char text[128];
            pcre2_get_error_message(why, (PCRE2_UCHAR *)text, sizeof text);
            err = mdq_fail(MDQ_E_DATA, "%s: regular expression '%.*s': %s", where, (int)(n < 200 ? n : 200), regex,
                           text);
        } else
            pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* where it cannot, matching interprets */
    }
    pcre2_compile_context_free(context);
    mdq_tok_buf_free(&r.out);
    if (err)
        mdq_pattern_free(p);
    else
        *out = p;
    return err;
}

enum mdq_err mdq_pattern_parse(struct mdq_pattern **out, const json_t *spec, const char *where)
{
    *out = NULL;
    const json_t *literal = json_is_string(spec) ? spec : json_object_get(spec, "String");
    const json_t *regex = json_object_get(spec, "Regex");
    if (json_is_string(regex))
        return mdq_pattern_regex(out, json_string_value(regex), json_string_length(regex), where);
    if (!json_is_string(literal))
        return mdq_fail(MDQ_E_DATA, "%s: pattern: neither a String nor a Regex", where);
    if (json_string_length(literal) == 0)
        return mdq_fail(MDQ_E_DATA, "%s: pattern: empty", where);
    struct mdq_pattern *p = mdq_calloc(1, sizeof *p, "pattern");
    if (!p)
        return MDQ_E_INTERNAL;
    p->size = json_string_length(literal);
    p->literal = mdq_alloc(p->size, 1, "pattern");
    if (!p->literal) {
        free(p);
        return MDQ_E_INTERNAL;
    }
    memcpy(p->literal, json_string_value(literal), p->size);
    *out = p;
    return MDQ_OK;
}

void mdq_pattern_free(struct mdq_pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p->literal);
    free(p);
}

static enum mdq_err matcher(struct mdq_matcher **m)
{
    if (*m)
        return MDQ_OK;
    struct mdq_matcher *n = mdq_calloc(1, sizeof *n, "matcher");
    if (!n)
        return MDQ_E_INTERNAL;
    *m = n;
    n->data = pcre2_match_data_create(1, NULL); /* the whole match only */
    n->context = pcre2_match_context_create(NULL);
    n->stack = pcre2_jit_stack_create(32 << 10, 64 << 20, NULL);
    if (!n->data || !n->context)
        return mdq_fail_nomem("matcher", 0);
    if (n->stack) /* none where there is no just-in-time compiler */
        pcre2_jit_stack_assign(n->context, NULL, n->stack);
    return MDQ_OK;
}

void mdq_matcher_free(struct mdq_matcher *m)
{
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    free(m);
}

static enum mdq_err add(struct mdq_pieces *out, size_t base, size_t start, size_t end, bool is_match)
{
    MDQ_TRY(mdq_pieces_add(out, base + start, end - start, false));
    out->v[out->n - 1].is_match = is_match;
    return MDQ_OK;
}

static enum mdq_err find_literal(const struct mdq_pattern *p, const char *s, size_t n, size_t base,
                                 struct mdq_pieces *out)
{
    size_t from = 0;
    const char *hit;
    while (from < n && (hit = memmem(s + from, n - from, p->literal, p->size))) {
        size_t start = (size_t)(hit - s);
        if (start > from)
            MDQ_TRY(add(out, base, from, start, false));
        MDQ_TRY(add(out, base, start, start + p->size, true));
        from = start + p->size;
    }
    return from < n ? add(out, base, from, n, false) : MDQ_OK;
}

enum mdq_err mdq_pattern_find(const struct mdq_pattern *p, struct mdq_matcher **m, const char *s, size_t n,
                              size_t base, struct mdq_pieces *out)
{
    if (n == 0)
        return add(out, base, 0, 0, false);
    if (p->literal)
        return find_literal(p, s, n, base, out);
    MDQ_TRY(matcher(m));
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer((*m)->data);
    size_t from = 0, last = 0; /* where to search, where the last match ended */
    bool any = false;
    while (from <= n) {
        int rc = pcre2_match(p->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, (*m)->data, (*m)->context);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0) {
            char text[128];
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)text, sizeof text);
            return mdq_fail(MDQ_E_DATA, "text: regular expression of the tokenizer, at byte %zu: %s", from, text);
        }
        size_t start = ends[0], end = ends[1];
        if (start == end && any && last == end) { /* no empty match right after a match */
            if (from >= n)
                break;
            mdq_utf8_next(s, &from);
            continue;
        }
        if (start > last)
            MDQ_TRY(add(out, base, last, start, false));
        MDQ_TRY(add(out, base, start, end, true));
        from = last = end;
        any = true;
    }
    return last < n ? add(out, base, last, n, false) : MDQ_OK;
}
