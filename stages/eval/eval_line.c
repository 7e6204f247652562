#include "eval_line.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void eval_line_begin(struct eval_line *l)
{
    *l = (struct eval_line){0};
    l->f = open_memstream(&l->text, &l->size);
}

static FILE *key_of(struct eval_line *l, const char *key)
{
    if (l->f)
        fprintf(l->f, "%c\"%s\":", l->members++ ? ',' : '{', key);
    return l->f;
}

void eval_line_text(struct eval_line *l, const char *key, const char *value)
{
    FILE *f = key_of(l, key);
    if (!f)
        return;
    putc('"', f);
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            putc('\\', f);
        if ((unsigned char)*p < ' ')
            fprintf(f, "\\u%04x", *p);
        else
            putc(*p, f);
    }
    putc('"', f);
}

void eval_line_int(struct eval_line *l, const char *key, int64_t value)
{
    if (key_of(l, key))
        fprintf(l->f, "%" PRId64, value);
}

static void number(FILE *f, int digits, double v)
{
    if (isfinite(v))
        fprintf(f, "%.*g", digits, v);
    else
        fputs("null", f);
}

void eval_line_number(struct eval_line *l, const char *key, double value)
{
    if (key_of(l, key))
        number(l->f, 9, value);
}

void eval_line_exact(struct eval_line *l, const char *key, double value)
{
    if (key_of(l, key))
        number(l->f, 17, value);
}

void eval_line_exact_list(struct eval_line *l, const char *key, const double *v, int64_t n)
{
    if (!key_of(l, key))
        return;
    for (int64_t i = 0; i < n; i++) {
        putc(i ? ',' : '[', l->f);
        number(l->f, 17, v[i]);
    }
    fputs(n ? "]" : "[]", l->f);
}

void eval_line_interval(struct eval_line *l, const char *key, struct mdq_interval i)
{
    if (!key_of(l, key))
        return;
    if (!isfinite(i.low) || !isfinite(i.high)) {
        fputs("null", l->f);
        return;
    }
    putc('[', l->f);
    number(l->f, 9, i.low);
    putc(',', l->f);
    number(l->f, 9, i.high);
    putc(']', l->f);
}

enum mdq_err eval_line_end(struct eval_line *l, struct mdq_output *out)
{
    int failed = !l->f;
    if (l->f) {
        fputs(l->members ? "}\n" : "{}\n", l->f);
        failed = ferror(l->f) != 0;
        failed = fclose(l->f) != 0 || failed;
    }
    enum mdq_err err = failed ? mdq_fail(MDQ_E_INTERNAL, "a line of results: out of memory") : mdq_output_write(out, l->text, l->size);
    free(l->text);
    *l = (struct eval_line){0};
    return err;
}

void eval_line_drop(struct eval_line *l)
{
    if (l->f)
        fclose(l->f);
    free(l->text);
    *l = (struct eval_line){0};
}
