#include "mdq_scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mdq_cli.h"

static const size_t in_memory = (size_t)1 << 30;

/* An open file of that size without a name. */
static enum mdq_err open_unlinked(int *fd, size_t bytes, const char *what)
{
    const char *dir = getenv("TMPDIR");
    char *path = mdq_asprintf("%s/%s.XXXXXX", dir && *dir ? dir : "/tmp", mdq_program_name());
    if (!path)
        return MDQ_E_INTERNAL;
    enum mdq_err err = MDQ_OK;
    int failed = 0;
    *fd = mkstemp(path);
    if (*fd < 0 || unlink(path) != 0)
        failed = errno;
    else
        failed = posix_fallocate(*fd, 0, (off_t)bytes); /* returns the reason and leaves errno alone */
    if (failed) {
        errno = failed;
        err = mdq_fail_errno(MDQ_E_IO, "%s: no room for %zu bytes of %s: set TMPDIR", path, bytes, what);
        if (*fd >= 0)
            close(*fd);
    }
    free(path);
    return err;
}

enum mdq_err mdq_scratch_map(struct mdq_scratch *s, size_t count, size_t size, const char *what)
{
    *s = (struct mdq_scratch){0};
    if (size != 0 && count > SIZE_MAX / 2 / size)
        return mdq_fail_nomem(what, SIZE_MAX);
    const size_t bytes = count == 0 || size == 0 ? 1 : count * size;
    int fd = -1;
    if (bytes > in_memory)
        MDQ_TRY(open_unlinked(&fd, bytes, what));
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p == MAP_FAILED)
        return mdq_fail_nomem(what, bytes);
    *s = (struct mdq_scratch){p, bytes};
    return MDQ_OK;
}

void mdq_scratch_unmap(struct mdq_scratch *s)
{
    if (s->p)
        munmap(s->p, s->bytes);
    *s = (struct mdq_scratch){0};
}
