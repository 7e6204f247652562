#include "mdq_error.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_SIZE = 2048 };
static _Thread_local char message[MESSAGE_SIZE];

static void set(const char *fmt, va_list ap, const char *tail)
{
    char text[MESSAGE_SIZE];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    if (n >= 0 && (size_t)n < sizeof text && tail)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", tail);
    memcpy(message, text, sizeof message); /* the arguments may point into the old message */
}

enum mdq_err mdq_fail(enum mdq_err err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(fmt, ap, NULL);
    va_end(ap);
    return err;
}

enum mdq_err mdq_fail_errno(enum mdq_err err, const char *fmt, ...)
{
    const char *why = strerror(errno);
    va_list ap;
    va_start(ap, fmt);
    set(fmt, ap, why);
    va_end(ap);
    return err;
}

enum mdq_err mdq_fail_nomem(const char *what, size_t bytes)
{
    return mdq_fail(MDQ_E_INTERNAL, "%s: out of memory asking for %zu bytes", what, bytes);
}

enum mdq_err mdq_fail_in(enum mdq_err err, const char *fmt, ...)
{
    char old[MESSAGE_SIZE];
    memcpy(old, message, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    set(fmt, ap, old);
    va_end(ap);
    return err;
}

const char *mdq_error_message(void)
{
    return message[0] ? message : "no message";
}

enum mdq_err mdq_error_set(enum mdq_err err, const char *text)
{
    return mdq_fail(err, "%s", text);
}

void *mdq_realloc(void *p, size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) {
        mdq_fail_nomem(what, SIZE_MAX);
        return NULL;
    }
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q)
        mdq_fail_nomem(what, bytes);
    return q;
}

void *mdq_alloc(size_t count, size_t size, const char *what)
{
    return mdq_realloc(NULL, count, size, what);
}

void *mdq_calloc(size_t count, size_t size, const char *what)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        mdq_fail_nomem(what, count > SIZE_MAX / (size ? size : 1) ? SIZE_MAX : count * size);
    return p;
}

void *mdq_alloc_aligned(size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - 64) {
        mdq_fail_nomem(what, SIZE_MAX);
        return NULL;
    }
    void *p = aligned_alloc(64, bytes ? (bytes + 63) / 64 * 64 : 64);
    if (!p)
        mdq_fail_nomem(what, bytes);
    return p;
}

char *mdq_strdup(const char *s)
{
    char *p = strdup(s);
    if (!p)
        mdq_fail_nomem("string", strlen(s) + 1);
    return p;
}

char *mdq_asprintf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    if (n < 0) {
        mdq_fail_nomem("string", 0);
        return NULL;
    }
    return p;
}
