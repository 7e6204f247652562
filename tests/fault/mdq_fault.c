/*
 * Makes system calls and allocations fail, for tests: LD_PRELOAD this and say what in the environment.
 *
 *   FAULT=CALL:HOW:AT   CALL  read, write, close (of files written), fsync, rename, open (for writing),
 *                             malloc (all allocations), mmap
 *                       HOW   an error (ENOSPC, EIO, ENOMEM, EMFILE, EACCES); short: at most 7 bytes are read or
 *                             written; EINTR: every second call is interrupted
 *                       AT    the AT-th such call fails, and the later ones too (allocations: only that one)
 *   FAULT_COUNT=FILE    appends to FILE how many calls of CALL there were
 *   FAULT_TRACE=1       says on standard error where the call that fails came from (for addr2line)
 *
 * Standard error, and what is only read from folders of the system (libraries, /proc, /sys), is left alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static char call[16];
static int error, brief, interrupt, trace;
static long at;
static atomic_long calls;
static int ready;

static const struct {
    const char *name;
    int value;
} errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE}, {"EACCES", EACCES},
              {"EINTR", EINTR}};

__attribute__((constructor)) static void start(void)
{
    const char *fault = getenv("FAULT");
    char how[16];
    if (!fault || sscanf(fault, "%15[a-z]:%15[A-Za-z]:%ld", call, how, &at) != 3)
        return;
    brief = strcmp(how, "short") == 0;
    interrupt = strcmp(how, "EINTR") == 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(how, errors[i].name) == 0)
            error = errors[i].value;
    trace = getenv("FAULT_TRACE") != NULL;
    ready = 1;
}

__attribute__((destructor)) static void finish(void)
{
    const char *path = getenv("FAULT_COUNT");
    if (!ready || !path)
        return;
    ready = 0;
    FILE *f = fopen(path, "a");
    if (f) {
        fprintf(f, "%ld\n", atomic_load(&calls));
        fclose(f);
    }
}

/* Counts a call of `name`; true when it is to fail, errno set. */
static int fails(const char *name)
{
    if (!ready || strcmp(name, call) != 0)
        return 0;
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (brief || n < at || (interrupt && (n - at) % 2) || (strcmp(name, "malloc") == 0 && n != at))
        return 0;
    if (trace) {
        void *frames[32];
        trace = 0;
        backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    }
    errno = error;
    return 1;
}

static size_t shortened(const char *name, size_t n)
{
    return ready && brief && strcmp(name, call) == 0 && n > 7 ? 7 : n;
}

static int file_for_writing(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *p, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = REAL(ssize_t, write, int, const void *, size_t);
    if (fd != STDERR_FILENO && fails("write"))
        return -1;
    return real(fd, p, fd != STDERR_FILENO ? shortened("write", n) : n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t o)
{
    if (fails("write"))
        return -1;
    return REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(fd, p, shortened("write", n), o);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    if (fd != STDERR_FILENO && fails("write"))
        return -1;
    return REAL(ssize_t, writev, int, const struct iovec *, int)(fd, v, n);
}

ssize_t read(int fd, void *p, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        real = REAL(ssize_t, read, int, void *, size_t);
    if (fails("read"))
        return -1;
    return real(fd, p, shortened("read", n));
}

ssize_t pread(int fd, void *p, size_t n, off_t o)
{
    if (fails("read"))
        return -1;
    return REAL(ssize_t, pread, int, void *, size_t, off_t)(fd, p, shortened("read", n), o);
}

int close(int fd)
{
    static int (*real)(int);
    if (!real)
        real = REAL(int, close, int);
    int bad = file_for_writing(fd) && fails("close");
    int e = errno, r = real(fd); /* the descriptor is gone either way, as the kernel does it */
    if (bad)
        errno = e;
    return bad ? -1 : r;
}

int fsync(int fd)
{
    return fails("fsync") ? -1 : REAL(int, fsync, int)(fd);
}

int fdatasync(int fd)
{
    return fails("fsync") ? -1 : REAL(int, fdatasync, int)(fd);
}

int rename(const char *a, const char *b)
{
    return fails("rename") ? -1 : REAL(int, rename, const char *, const char *)(a, b);
}

int renameat2(int ad, const char *a, int bd, const char *b, unsigned f)
{
    return fails("rename") ? -1
                           : REAL(int, renameat2, int, const char *, int, const char *, unsigned)(ad, a, bd, b, f);
}

static int ours(const char *path)
{
    return strncmp(path, "/proc/", 6) != 0 && strncmp(path, "/sys/", 5) != 0 && strncmp(path, "/dev/", 5) != 0 &&
           strncmp(path, "/etc/", 5) != 0 && strncmp(path, "/usr/", 5) != 0;
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if ((flags & O_ACCMODE) != O_RDONLY && ours(path) && fails("open"))
        return -1;
    return REAL(int, open, const char *, int, ...)(path, flags, mode);
}

void *mmap(void *a, size_t n, int prot, int flags, int fd, off_t o)
{
    if (fd >= 0 && fails("mmap"))
        return MAP_FAILED;
    return REAL(void *, mmap, void *, size_t, int, int, int, off_t)(a, n, prot, flags, fd, o);
}

void *malloc(size_t n)
{
    return fails("malloc") ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails("malloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fails("malloc") ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t a, size_t n)
{
    return fails("malloc") ? NULL : __libc_memalign(a, n);
}

int posix_memalign(void **p, size_t a, size_t n)
{
    if (fails("malloc"))
        return ENOMEM;
    *p = __libc_memalign(a, n);
    return *p ? 0 : ENOMEM;
}
