#include "mdq_json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum mdq_err mdq_json_parse(json_t **out, const char *text, size_t size, const char *name)
{
    json_error_t e;
    *out = NULL;
    json_t *j = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);
    if (!j) {
        if (json_error_code(&e) == json_error_out_of_memory)
            return mdq_fail_nomem(name, size);
        return mdq_fail(MDQ_E_DATA, "%s: %s: line %d, column %d: %s", name,
                        json_error_code(&e) == json_error_duplicate_key ? "the same name twice" : "not valid JSON",
                        e.line, e.column, e.text);
    }
    if (!json_is_object(j)) {
        json_decref(j);
        return mdq_fail(MDQ_E_DATA, "%s: not a JSON object", name);
    }
    *out = j;
    return MDQ_OK;
}

/* The whole file into *text; it is not larger than max bytes. */
static enum mdq_err read_whole(int fd, const char *path, size_t max, char **text, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot read", path);
    if (!S_ISREG(st.st_mode))
        return mdq_fail(MDQ_E_IO, "%s: not a regular file", path);
    if (st.st_size == 0)
        return mdq_fail(MDQ_E_DATA, "%s: the file is empty", path);
    if ((uintmax_t)st.st_size > max)
        return mdq_fail(MDQ_E_DATA, "%s: %jd bytes: too large for such a file (at most %zu)", path,
                        (intmax_t)st.st_size, max);
    size_t want = (size_t)st.st_size, got = 0;
    char *p = mdq_alloc(want, 1, path);
    if (!p)
        return MDQ_E_INTERNAL;
    while (got < want) {
        ssize_t n = read(fd, p + got, want - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            mdq_fail_errno(MDQ_E_IO, "%s: reading failed", path);
            free(p);
            return MDQ_E_IO;
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *text = p;
    *size = got;
    return MDQ_OK;
}

enum mdq_err mdq_json_read(json_t **out, const char *path, size_t max)
{
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot open", path);
    char *text = NULL;
    size_t size = 0;
    enum mdq_err err = read_whole(fd, path, max, &text, &size);
    close(fd);
    if (err == MDQ_OK)
        err = mdq_json_parse(out, text, size, path);
    free(text);
    return err;
}

/* NULL when absent or null. */
static const json_t *member(const struct mdq_json_at *at, const char *key)
{
    const json_t *v = json_object_get(at->object, key);
    return json_is_null(v) ? NULL : v;
}

enum mdq_err mdq_json_need(const struct mdq_json_at *at, const char *key)
{
    return member(at, key) ? MDQ_OK : mdq_fail(MDQ_E_DATA, "%s: %s%s: missing", at->file, at->prefix, key);
}

enum mdq_err mdq_json_int(const struct mdq_json_at *at, const char *key, int64_t min, int64_t max, int *out)
{
    const json_t *v = member(at, key);
    if (!v)
        return MDQ_OK;
    if (!json_is_integer(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: not an integer", at->file, at->prefix, key);
    json_int_t i = json_integer_value(v);
    if (i < min || i > max)
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: %lld: must be from %lld to %lld", at->file, at->prefix, key,
                        (long long)i, (long long)min, (long long)max);
    *out = (int)i;
    return MDQ_OK;
}

enum mdq_err mdq_json_bool(const struct mdq_json_at *at, const char *key, bool *out)
{
    const json_t *v = member(at, key);
    if (!v)
        return MDQ_OK;
    if (!json_is_boolean(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: neither true nor false", at->file, at->prefix, key);
    *out = json_is_true(v);
    return MDQ_OK;
}

enum mdq_err mdq_json_number(const struct mdq_json_at *at, const char *key, double min, double max, double *out)
{
    const json_t *v = member(at, key);
    if (!v)
        return MDQ_OK;
    if (!json_is_number(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: not a number", at->file, at->prefix, key);
    double d = json_number_value(v);
    if (!isfinite(d) || d < min || d > max)
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: %g: must be from %g to %g", at->file, at->prefix, key, d, min, max);
    *out = d;
    return MDQ_OK;
}

enum mdq_err mdq_json_string(const struct mdq_json_at *at, const char *key, const char **out)
{
    const json_t *v = member(at, key);
    if (!v)
        return MDQ_OK;
    if (!json_is_string(v))
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: not a string", at->file, at->prefix, key);
    *out = json_string_value(v);
    return MDQ_OK;
}
