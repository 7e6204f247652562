/*
 * Errors. A function that can fail returns enum mdq_err; the message is built once, at the place that failed,
 * where file, record and reason are known, and is printed once, by main.
 *
 *     return mdq_fail(MDQ_E_DATA, "%s: tensor %s: shape [%ld] but config.json says [%ld]", path, name, a, b);
 *
 * A message reads `where: what: why` (the program's name is put before it when it is printed).
 */
#ifndef MDQ_ERROR_H
#define MDQ_ERROR_H

#include <stdarg.h>
#include <stddef.h>

/* The values are the exit codes. They are pinned: never renumbered, never reused. */
enum mdq_err {
    MDQ_OK = 0,
    MDQ_E_DATA = 1,     /* input that is wrong: a bad file, a shape that does not fit */
    MDQ_E_USAGE = 2,    /* options that make no sense */
    MDQ_E_IO = 3,       /* reading or writing failed, or a stream ended before its end record */
    MDQ_E_BACKEND = 4,  /* a device was asked for and is not there */
    MDQ_E_INTERNAL = 5, /* out of memory, or a defect of ours */
};

/* Sets this thread's message and returns `err`, so that callers write `return mdq_fail(...)`. */
enum mdq_err mdq_fail(enum mdq_err err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As mdq_fail, with ": " and strerror(errno) appended. errno is read before anything else is called. */
enum mdq_err mdq_fail_errno(enum mdq_err err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* MDQ_E_INTERNAL with "out of memory" and how much was asked for. `what` names the thing allocated. */
enum mdq_err mdq_fail_nomem(const char *what, size_t bytes);

/* Puts "prefix: " before this thread's message (a caller that knows more of the place adds it). Returns `err`. */
enum mdq_err mdq_fail_in(enum mdq_err err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* This thread's last message, never NULL. Valid until this thread's next failure. */
const char *mdq_error_message(void);

/* Takes over a message from another thread (a worker that failed): sets this thread's message. */
enum mdq_err mdq_error_set(enum mdq_err err, const char *message);

/* `MDQ_TRY(f(x));` returns f's error from the enclosing function. For functions with nothing to release. */
#define MDQ_TRY(expr)                                                                                        \
    do {                                                                                                     \
        enum mdq_err mdq_try_err_ = (expr);                                                                  \
        if (mdq_try_err_ != MDQ_OK)                                                                          \
            return mdq_try_err_;                                                                             \
    } while (0)

/* `MDQ_GOTO(err, f(x), out);` stores f's error in err and jumps to the cleanup label. */
#define MDQ_GOTO(err, expr, label)                                                                           \
    do {                                                                                                     \
        if (((err) = (expr)) != MDQ_OK)                                                                      \
            goto label;                                                                                      \
    } while (0)

/*
 * Allocation with overflow checks. All return NULL on failure after setting this thread's message, so
 * `if (!p) return MDQ_E_INTERNAL;` is enough. Released with free(). A count or size of 0 gives a non-NULL
 * pointer. mdq_alloc_aligned is 64-byte aligned and not zeroed.
 */
void *mdq_alloc(size_t count, size_t size, const char *what);          /* not zeroed */
void *mdq_calloc(size_t count, size_t size, const char *what);         /* zeroed */
void *mdq_realloc(void *p, size_t count, size_t size, const char *what); /* on failure p is still valid */
void *mdq_alloc_aligned(size_t count, size_t size, const char *what);
char *mdq_strdup(const char *s);
/* printf into a new string, NULL when out of memory. */
char *mdq_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
