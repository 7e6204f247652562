/* Bytes, UTF-8 and the character classes that the tokenizer needs (categories from utf8proc). */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "mdq_tokenizer_impl.h"

enum mdq_err mdq_tok_grow(void *v, size_t *capacity, size_t need, size_t size, const char *what)
{
    if (need <= *capacity)
        return MDQ_OK;
    size_t c = *capacity < 8 ? 8 : *capacity;
    while (c < need) {
        if (c > SIZE_MAX / 2)
            return mdq_fail_nomem(what, SIZE_MAX);
        c *= 2;
    }
    void *p; /* copied, since v points to a pointer of another type */
    memcpy(&p, v, sizeof p);
    p = mdq_realloc(p, c, size, what);
    if (!p)
        return MDQ_E_INTERNAL;
    memcpy(v, &p, sizeof p);
    *capacity = c;
    return MDQ_OK;
}

enum mdq_err mdq_tok_buf_add(struct mdq_tok_buf *b, const void *data, size_t n)
{
    MDQ_TRY(mdq_tok_grow(&b->p, &b->capacity, b->n + n + 1, 1, "text"));
    if (n)
        memcpy(b->p + b->n, data, n);
    b->n += n;
    return MDQ_OK;
}

enum mdq_err mdq_tok_buf_add_char(struct mdq_tok_buf *b, uint32_t c)
{
    char u[4];
    return mdq_tok_buf_add(b, u, mdq_utf8_put(u, c));
}

void mdq_tok_buf_free(struct mdq_tok_buf *b)
{
    free(b->p);
    *b = (struct mdq_tok_buf){0};
}

enum mdq_err mdq_pieces_add(struct mdq_pieces *l, size_t offset, size_t size, bool start)
{
    if (offset > UINT32_MAX || size > UINT32_MAX - offset)
        return mdq_fail(MDQ_E_DATA, "text: too long once normalized");
    MDQ_TRY(mdq_tok_grow(&l->v, &l->capacity, l->n + 1, sizeof *l->v, "pieces of text"));
    l->v[l->n++] = (struct mdq_piece){.offset = (uint32_t)offset, .size = (uint32_t)size, .start = start};
    return MDQ_OK;
}

void mdq_pieces_free(struct mdq_pieces *l)
{
    free(l->v);
    *l = (struct mdq_pieces){0};
}

enum mdq_err mdq_ids_add(struct mdq_ids *ids, int32_t id)
{
    size_t capacity = (size_t)ids->capacity;
    MDQ_TRY(mdq_tok_grow(&ids->v, &capacity, (size_t)ids->n + 1, sizeof *ids->v, "token ids"));
    ids->capacity = (int64_t)capacity;
    ids->v[ids->n++] = id;
    return MDQ_OK;
}

void mdq_ids_free(struct mdq_ids *ids)
{
    free(ids->v);
    *ids = (struct mdq_ids){0};
}

/* Length of the well-formed sequence at s, 0 if there is none (table 3-7 of the Unicode standard). */
static size_t sequence_length(const unsigned char *s, size_t n)
{
    unsigned c = s[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n < len)
        return 0;
    unsigned lo = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned hi = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

size_t mdq_utf8_valid_prefix(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t len = sequence_length((const unsigned char *)s + i, n - i);
        if (!len)
            break;
        i += len;
    }
    return i;
}

uint32_t mdq_utf8_next(const char *s, size_t *i)
{
    const unsigned char *u = (const unsigned char *)s + *i;
    if (u[0] < 0x80) {
        *i += 1;
        return u[0];
    }
    if (u[0] < 0xE0) {
        *i += 2;
        return (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
    }
    if (u[0] < 0xF0) {
        *i += 3;
        return (u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
    }
    *i += 4;
    return (u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
}

uint32_t mdq_utf8_before(const char *s, size_t i)
{
    do
        i--;
    while (i > 0 && ((unsigned char)s[i] & 0xC0) == 0x80);
    return mdq_utf8_next(s, &i);
}

size_t mdq_utf8_put(char out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

bool mdq_char_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool mdq_char_is_word(uint32_t c)
{
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and the circled and squared letters that are Alphabetic but of category So */
        return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
               (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    }
}

bool mdq_char_is_numeric(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool mdq_char_is_punct(uint32_t c)
{
    if (c < 0x80)
        return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7F);
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_PC: case UTF8PROC_CATEGORY_PD: case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE: case UTF8PROC_CATEGORY_PI: case UTF8PROC_CATEGORY_PF: case UTF8PROC_CATEGORY_PO:
        return true;
    default:
        return false;
    }
}

/*
 * Byte-level vocabularies spell each byte as a printable character: bytes that are printable in Latin-1 as themselves,
 * the 68 others, in order, as U+0100, U+0101, ...
 */
static bool printable(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

static unsigned unprintable_before(unsigned b) /* how many bytes below b are not printable */
{
    if (b <= 0x21)
        return b;
    if (b <= 0x7F)
        return 0x21;
    if (b <= 0xA1)
        return 0x21 + (b - 0x7F);
    return 0x21 + (0xA1 - 0x7F);
}

uint32_t mdq_byte_char(uint8_t b)
{
    return printable(b) ? b : 0x100 + unprintable_before(b);
}

int mdq_char_byte(uint32_t c)
{
    if (c < 0x100)
        return printable(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    if (c <= 0x142)
        return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}
