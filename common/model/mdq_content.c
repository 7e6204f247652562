#include "mdq_content.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "mdq_log.h"
#include "mdq_model.h"
#include "mdq_output.h"

enum { BUFFER = 1 << 20 };

struct entry {
    char hex[MDQ_HASH_SIZE];
    int64_t size, sec, nsec;
    char *path;
};

struct entries {
    struct entry *v;
    size_t n, capacity;
};

struct mdq_memo {
    char *path; /* NULL: none */
    struct entries known, fresh;
};

static void entries_free(struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->v[i].path);
    free(e->v);
    *e = (struct entries){0};
}

static enum mdq_err entries_add(struct entries *e, const struct entry *entry, const char *path)
{
    if (e->n == e->capacity) {
        size_t capacity = e->capacity ? 2 * e->capacity : 64;
        struct entry *v = mdq_realloc(e->v, capacity, sizeof *v, "memo");
        if (!v)
            return MDQ_E_INTERNAL;
        e->v = v;
        e->capacity = capacity;
    }
    struct entry copy = *entry;
    if (!(copy.path = mdq_strdup(path)))
        return MDQ_E_INTERNAL;
    e->v[e->n++] = copy;
    return MDQ_OK;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static const struct entry *entries_find(const struct entries *sorted, const char *path)
{
    const struct entry key = {.path = (char *)path};
    return sorted->n ? bsearch(&key, sorted->v, sorted->n, sizeof key, by_path) : NULL;
}

static enum mdq_err parse_line(struct entries *e, char *line)
{
    struct entry x = {0};
    int at = 0;
    size_t length = strlen(line);
    if (length > 0 && line[length - 1] == '\n')
        line[length - 1] = 0;
    if (sscanf(line, "%32[0-9a-f] %" SCNd64 " %" SCNd64 ".%9" SCNd64 " %n", x.hex, &x.size, &x.sec, &x.nsec, &at) != 4 ||
        strlen(x.hex) != 32 || at == 0 || line[at] != '/')
        return MDQ_OK;
    return entries_add(e, &x, line + at);
}

static enum mdq_err read_memo(struct entries *e, const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? MDQ_OK : mdq_fail_errno(MDQ_E_IO, "%s: cannot open the memo", path);
    char *line = NULL;
    size_t size = 0;
    enum mdq_err err = MDQ_OK;
    while (err == MDQ_OK && getline(&line, &size, f) > 0)
        err = parse_line(e, line);
    if (err == MDQ_OK && ferror(f))
        err = mdq_fail(MDQ_E_IO, "%s: reading the memo failed", path);
    free(line);
    fclose(f);
    if (e->n > 0)
        qsort(e->v, e->n, sizeof *e->v, by_path);
    return err;
}

enum mdq_err mdq_memo_open(struct mdq_memo **out, const char *path)
{
    struct mdq_memo *m = *out = mdq_calloc(1, sizeof *m, "memo");
    if (!m)
        return MDQ_E_INTERNAL;
    if (!path)
        return MDQ_OK;
    enum mdq_err err = (m->path = mdq_strdup(path)) ? read_memo(&m->known, path) : MDQ_E_INTERNAL;
    if (err != MDQ_OK) {
        free(m->path);
        m->path = NULL;
        mdq_memo_close(out);
    }
    return err;
}

static enum mdq_err put_entry(struct mdq_output *out, const struct entry *x)
{
    char *line = mdq_asprintf("%s %" PRId64 " %" PRId64 ".%09" PRId64 " %s\n", x->hex, x->size, x->sec, x->nsec, x->path);
    if (!line)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_output_write(out, line, strlen(line));
    free(line);
    return err;
}

/* Reads the memo again, since another process may have written it, and puts our new entries over it. */
static enum mdq_err write_memo(struct mdq_memo *m)
{
    struct entries now = {0};
    struct mdq_output *out = NULL;
    enum mdq_err err;
    qsort(m->fresh.v, m->fresh.n, sizeof *m->fresh.v, by_path);
    MDQ_GOTO(err, read_memo(&now, m->path), out);
    MDQ_GOTO(err, mdq_output_open(&out, m->path, true), out);
    for (size_t i = 0; i < now.n; i++)
        if (!entries_find(&m->fresh, now.v[i].path))
            MDQ_GOTO(err, put_entry(out, &now.v[i]), out);
    for (size_t i = 0; i < m->fresh.n; i++)
        if (i == 0 || by_path(&m->fresh.v[i - 1], &m->fresh.v[i]) != 0)
            MDQ_GOTO(err, put_entry(out, &m->fresh.v[i]), out);
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    entries_free(&now);
    return err;
}

void mdq_memo_close(struct mdq_memo **memo)
{
    if (!memo || !*memo)
        return;
    struct mdq_memo *m = *memo;
    if (m->path && m->fresh.n > 0 && write_memo(m) != MDQ_OK)
        mdq_log(MDQ_LOG_WARNING, "hashes are not remembered: %s", mdq_error_message());
    entries_free(&m->known);
    entries_free(&m->fresh);
    free(m->path);
    free(m);
    *memo = NULL;
}

static void to_hex(XXH128_hash_t h, char hex[MDQ_HASH_SIZE])
{
    snprintf(hex, MDQ_HASH_SIZE, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

static enum mdq_err hash_content(int fd, const char *path, char hex[MDQ_HASH_SIZE], int64_t *size)
{
    XXH3_state_t *state = XXH3_createState();
    char *buffer = mdq_alloc(BUFFER, 1, "hash buffer");
    enum mdq_err err = state && buffer ? MDQ_OK : mdq_fail_nomem("hash", BUFFER);
    ssize_t n = 1;
    *size = 0;
    if (err == MDQ_OK)
        XXH3_128bits_reset(state);
    while (err == MDQ_OK && n != 0) {
        n = read(fd, buffer, BUFFER);
        if (n < 0 && errno != EINTR)
            err = mdq_fail_errno(MDQ_E_IO, "%s: reading failed", path);
        if (n > 0) {
            XXH3_128bits_update(state, buffer, (size_t)n);
            *size += n;
        }
    }
    if (err == MDQ_OK)
        to_hex(XXH3_128bits_digest(state), hex);
    XXH3_freeState(state);
    free(buffer);
    return err;
}

/* A file changed within a tick of the file system's clock could change again and keep its time: not remembered. */
static bool settled(const struct stat *st)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double age = (double)(now.tv_sec - st->st_mtim.tv_sec) + 1e-9 * (double)(now.tv_nsec - st->st_mtim.tv_nsec);
    return age > 0.02;
}

static bool same_file(const struct stat *st, int64_t size, int64_t sec, int64_t nsec)
{
    return st->st_size == size && st->st_mtim.tv_sec == sec && st->st_mtim.tv_nsec == nsec;
}

/* *size: the length of the file. */
static enum mdq_err hash_file(struct mdq_memo *memo, const char *path, char hex[MDQ_HASH_SIZE], int64_t *size)
{
    struct stat st, after;
    char *absolute = realpath(path, NULL);
    int fd = -1;
    enum mdq_err err = MDQ_OK;
    if (!absolute || stat(absolute, &st) != 0) {
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot read", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        err = mdq_fail(MDQ_E_IO, "%s: not a regular file", path);
        goto out;
    }
    const struct entry *x = entries_find(&memo->known, absolute);
    if (x && same_file(&st, x->size, x->sec, x->nsec)) {
        memcpy(hex, x->hex, MDQ_HASH_SIZE);
        *size = x->size;
        goto out;
    }
    mdq_log(MDQ_LOG_INFO, "%s: reading to hash its content", path);
    if ((fd = open(absolute, O_RDONLY | O_CLOEXEC)) < 0 || fstat(fd, &st) != 0) {
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot read", path);
        goto out;
    }
    bool old = settled(&st);
    MDQ_GOTO(err, hash_content(fd, path, hex, size), out);
    if (fstat(fd, &after) != 0 || !same_file(&after, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec) ||
        *size != st.st_size) {
        err = mdq_fail(MDQ_E_IO, "%s: changed while it was read", path);
        goto out;
    }
    if (memo->path && old && !strchr(absolute, '\n')) {
        struct entry fresh = {.size = *size, .sec = st.st_mtim.tv_sec, .nsec = st.st_mtim.tv_nsec};
        memcpy(fresh.hex, hex, MDQ_HASH_SIZE);
        err = entries_add(&memo->fresh, &fresh, absolute);
    }
out:
    if (fd >= 0)
        close(fd);
    free(absolute);
    return err;
}

enum mdq_err mdq_hash_file(struct mdq_memo *memo, const char *path, char hex[MDQ_HASH_SIZE])
{
    int64_t size;
    return hash_file(memo, path, hex, &size);
}

/* Over name, NUL, length (u64, little-endian) and the 32 hex digits of the content, of each file. */
static enum mdq_err hash_named(struct mdq_memo *memo, const char *dir, char *const *names, int n, char hex[MDQ_HASH_SIZE])
{
    XXH3_state_t *state = XXH3_createState();
    enum mdq_err err = state ? MDQ_OK : mdq_fail_nomem("hash", 0);
    if (state)
        XXH3_128bits_reset(state);
    for (int i = 0; i < n && err == MDQ_OK; i++) {
        int64_t size;
        char *path = mdq_asprintf("%s/%s", dir, names[i]);
        if (!path) {
            err = MDQ_E_INTERNAL;
            break;
        }
        if ((err = hash_file(memo, path, hex, &size)) == MDQ_OK) {
            unsigned char length[8];
            for (int b = 0; b < 8; b++)
                length[b] = (unsigned char)((uint64_t)size >> 8 * b);
            XXH3_128bits_update(state, names[i], strlen(names[i]) + 1);
            XXH3_128bits_update(state, length, sizeof length);
            XXH3_128bits_update(state, hex, MDQ_HASH_SIZE - 1);
        }
        free(path);
    }
    if (err == MDQ_OK)
        to_hex(XXH3_128bits_digest(state), hex);
    XXH3_freeState(state);
    return err;
}

static int regular(const char *dir, const char *name)
{
    struct stat st;
    char *path = mdq_asprintf("%s/%s", dir, name);
    if (!path)
        return -1;
    int yes = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return yes;
}

enum mdq_err mdq_hash_folder(struct mdq_memo *memo, const char *dir, char hex[MDQ_HASH_SIZE])
{
    struct dirent **list = NULL;
    /* strcmp, not the locale's order */
    int n = scandir(dir, &list, NULL, NULL), kept = 0;
    if (n < 0)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot read the folder", dir);
    enum mdq_err err = MDQ_OK;
    char **names = mdq_alloc((size_t)n, sizeof *names, "file names");
    if (!names)
        err = MDQ_E_INTERNAL;
    for (int i = 0; i < n && err == MDQ_OK; i++) {
        int yes = list[i]->d_name[0] == '.' ? 0 : regular(dir, list[i]->d_name);
        if (yes < 0)
            err = MDQ_E_INTERNAL;
        if (yes > 0)
            names[kept++] = list[i]->d_name;
    }
    for (int i = 1; i < kept; i++) /* insertion: folders are small */
        for (int j = i; j > 0 && strcmp(names[j - 1], names[j]) > 0; j--) {
            char *swap = names[j];
            names[j] = names[j - 1];
            names[j - 1] = swap;
        }
    if (err == MDQ_OK)
        err = hash_named(memo, dir, names, kept, hex);
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    free(names);
    return err;
}

enum mdq_err mdq_hash_model(struct mdq_memo *memo, const char *dir, char hex[MDQ_HASH_SIZE])
{
    char **files = NULL, **names = NULL;
    int n = 0;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_safetensors_list(&files, &n, dir), out);
    if (!(names = mdq_alloc((size_t)n + 1, sizeof *names, "file names"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    names[0] = (char *)"config.json";
    memcpy(names + 1, files, (size_t)n * sizeof *names);
    err = hash_named(memo, dir, names, n + 1, hex);
out:
    free(files);
    free(names);
    return err;
}

enum mdq_err mdq_model_hash(struct mdq_model *m, const char *memo_path)
{
    struct mdq_memo *memo = NULL;
    MDQ_TRY(mdq_memo_open(&memo, memo_path));
    enum mdq_err err = mdq_hash_model(memo, m->dir, m->hash);
    if (err != MDQ_OK)
        m->hash[0] = 0;
    mdq_memo_close(&memo);
    return err;
}
