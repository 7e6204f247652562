#include "mdq_output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mdq_jansson.h"

struct mdq_output {
    int fd;
    char *path; /* final name */
    char *temp; /* NULL when written in place */
    int slot;   /* of the table below, -1: none */
};

struct mdq_output_dir {
    char *path, *temp;
};

/* Unfinished files, for the signal handler: it may only touch what is async-signal-safe, so a fixed table. */
enum { SLOTS = 64 };
static char *volatile unfinished[SLOTS];

static void on_signal(int sig)
{
    for (int i = 0; i < SLOTS; i++)
        if (unfinished[i])
            unlink(unfinished[i]);
    signal(sig, SIG_DFL);
    raise(sig);
}

void mdq_output_catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old, act = {.sa_handler = on_signal};
        sigemptyset(&act.sa_mask);
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &act, NULL);
    }
}

static void release(struct mdq_output **out)
{
    struct mdq_output *o = *out;
    if (o->slot >= 0)
        unfinished[o->slot] = NULL;
    free(o->path);
    free(o->temp);
    free(o);
    *out = NULL;
}

/* "dir/.name.PID.part", in the same folder so that rename stays within one file system. */
static char *temp_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path + 1) : 0;
    return mdq_asprintf("%.*s.%s.%d.part", dir, path, path + dir, (int)getpid());
}

enum mdq_err mdq_output_open(struct mdq_output **out, const char *path, bool binary)
{
    struct mdq_output *o = *out = mdq_calloc(1, sizeof *o, "output");
    if (!o)
        return MDQ_E_INTERNAL;
    o->slot = -1;
    bool standard = !path || strcmp(path, "-") == 0;
    enum mdq_err err = MDQ_OK;
    if (!(o->path = mdq_strdup(standard ? "standard output" : path))) {
        err = MDQ_E_INTERNAL;
        goto fail;
    }
    if (standard) {
        o->fd = STDOUT_FILENO;
        if (binary && isatty(o->fd)) {
            err = mdq_fail(MDQ_E_USAGE, "standard output: is a terminal: records are binary; use -o FILE or a pipe");
            goto fail;
        }
        return MDQ_OK;
    }
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        if (S_ISDIR(st.st_mode)) {
            err = mdq_fail(MDQ_E_USAGE, "%s: is a folder: -o wants a file name", path);
            goto fail;
        }
        if ((o->fd = open(path, O_WRONLY | O_CLOEXEC)) < 0) {
            err = mdq_fail_errno(MDQ_E_IO, "%s: cannot open for writing", path);
            goto fail;
        }
        return MDQ_OK;
    }
    if (!(o->temp = temp_name(path))) {
        err = MDQ_E_INTERNAL;
        goto fail;
    }
    if ((o->fd = open(o->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0) {
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot create", path);
        goto fail;
    }
    for (int i = 0; i < SLOTS && o->slot < 0; i++)
        if (!unfinished[i]) {
            unfinished[i] = o->temp;
            o->slot = i;
        }
    return MDQ_OK;
fail:
    release(out);
    return err;
}

enum mdq_err mdq_output_write(struct mdq_output *o, const void *data, size_t size)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = write(o->fd, p, size < (1u << 30) ? size : (1u << 30));
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return mdq_fail_errno(MDQ_E_IO, "%s: writing failed", o->path);
        }
        p += n;
        size -= (size_t)n;
    }
    return MDQ_OK;
}

const char *mdq_output_name(const struct mdq_output *o)
{
    return o->path;
}

void mdq_output_abort(struct mdq_output **out)
{
    if (!out || !*out)
        return;
    struct mdq_output *o = *out;
    if (o->fd != STDOUT_FILENO)
        close(o->fd);
    if (o->temp)
        unlink(o->temp);
    release(out);
}

enum mdq_err mdq_output_commit(struct mdq_output **out)
{
    struct mdq_output *o = *out;
    enum mdq_err err = mdq_jansson_check();
    if (err == MDQ_OK && o->temp && fsync(o->fd) != 0)
        err = mdq_fail_errno(MDQ_E_IO, "%s: writing failed", o->path);
    /* standard output is closed, with a check, by mdq_main */
    if (o->fd != STDOUT_FILENO && close(o->fd) != 0 && err == MDQ_OK)
        err = mdq_fail_errno(MDQ_E_IO, "%s: closing failed", o->path);
    if (o->temp && err == MDQ_OK && rename(o->temp, o->path) != 0)
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot take its name", o->path);
    if (o->temp && err != MDQ_OK)
        unlink(o->temp);
    release(out);
    return err;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int fsync_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int bad = fsync(fd);
    return close(fd) != 0 || bad ? -1 : 0;
}

/* 1: may be replaced, 0: holds something else, -1: does not exist */
static int replaceable(const char *path, const char *marker)
{
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? -1 : 0;
    bool empty = true, marked = false;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        empty = false;
        marked |= strcmp(e->d_name, marker) == 0;
    }
    closedir(d);
    return empty || marked;
}

static void release_dir(struct mdq_output_dir **out)
{
    free((*out)->path);
    free((*out)->temp);
    free(*out);
    *out = NULL;
}

enum mdq_err mdq_output_dir_open(struct mdq_output_dir **out, const char *path, const char *marker)
{
    struct mdq_output_dir *o = *out = mdq_calloc(1, sizeof *o, "output folder");
    if (!o)
        return MDQ_E_INTERNAL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!(o->path = mdq_strdup(path)))
        goto fail;
    for (size_t n = strlen(o->path); n > 1 && o->path[n - 1] == '/'; n--)
        o->path[n - 1] = 0;
    if (replaceable(o->path, marker) == 0) {
        err = mdq_fail(MDQ_E_USAGE, "%s: exists and holds no earlier result of ours (no %s): give another folder",
                       path, marker);
        goto fail;
    }
    if (!(o->temp = temp_name(o->path)))
        goto fail;
    remove_tree(o->temp);
    if (mkdir(o->temp, 0777) != 0) {
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot create", path);
        goto fail;
    }
    return MDQ_OK;
fail:
    release_dir(out);
    return err;
}

const char *mdq_output_dir_path(const struct mdq_output_dir *o)
{
    return o->temp;
}

void mdq_output_dir_abort(struct mdq_output_dir **out)
{
    if (!out || !*out)
        return;
    remove_tree((*out)->temp);
    release_dir(out);
}

enum mdq_err mdq_output_dir_commit(struct mdq_output_dir **out)
{
    struct mdq_output_dir *o = *out;
    enum mdq_err err = mdq_jansson_check();
    if (err == MDQ_OK && nftw(o->temp, fsync_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        err = mdq_fail_errno(MDQ_E_IO, "%s: writing failed", o->path);
    if (err == MDQ_OK && rename(o->temp, o->path) != 0) {
        /* an old result is there: change places with it in one step, then remove it under the temporary name */
        if (renameat2(AT_FDCWD, o->temp, AT_FDCWD, o->path, RENAME_EXCHANGE) != 0)
            err = mdq_fail_errno(MDQ_E_IO, "%s: cannot take its name", o->path);
    }
    remove_tree(o->temp);
    release_dir(out);
    return err;
}
