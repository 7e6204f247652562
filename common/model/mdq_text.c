#include "mdq_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mdq_tokenizer_impl.h"

static enum mdq_err read_all(int fd, const char *name, size_t max_bytes, struct mdq_tok_buf *b)
{
    for (;;) {
        MDQ_TRY(mdq_tok_grow(&b->p, &b->capacity, b->n + (1 << 16) + 1, 1, "text"));
        ssize_t got = read(fd, b->p + b->n, b->capacity - b->n - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mdq_fail_errno(MDQ_E_IO, "%s: reading failed", name);
        if (got == 0)
            break;
        b->n += (size_t)got;
        if (b->n > max_bytes)
            return mdq_fail(MDQ_E_DATA, "%s: longer than %zu bytes: give a part of it", name, max_bytes);
    }
    size_t valid = mdq_utf8_valid_prefix(b->p, b->n);
    if (valid < b->n)
        return mdq_fail(MDQ_E_DATA, "%s: byte %zu (0x%02X): no valid UTF-8", name, valid, (unsigned char)b->p[valid]);
    if (b->n == 0)
        return mdq_fail(MDQ_E_DATA, "%s: the text is empty", name);
    b->p[b->n] = 0;
    return MDQ_OK;
}

enum mdq_err mdq_text_read(const char *path, size_t max_bytes, char **text, size_t *size)
{
    *text = NULL;
    *size = 0;
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "standard input" : path;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot be opened", path);
    struct mdq_tok_buf b = {0};
    enum mdq_err err = read_all(fd, name, max_bytes, &b);
    if (!standard)
        close(fd);
    if (err) {
        mdq_tok_buf_free(&b);
        return err;
    }
    *text = b.p;
    *size = b.n;
    return MDQ_OK;
}

static enum mdq_err cut(struct mdq_windows *out, struct mdq_ids *ids, const char *name, int64_t max_tokens,
                        int32_t vocab)
{
    out->tokens = max_tokens > 0 && ids->n > max_tokens ? max_tokens : ids->n;
    out->count = out->tokens / out->ctx;
    if (out->count == 0)
        return mdq_fail(MDQ_E_DATA, "%s: text shorter than a window: %lld tokens, the window has %lld: %s", name,
                        (long long)out->tokens, (long long)out->ctx,
                        out->tokens < ids->n ? "allow more tokens or make the window shorter"
                                             : "give more text or make the window shorter");
    for (int64_t i = 0; vocab > 0 && i < out->tokens; i++)
        if (ids->v[i] >= vocab)
            return mdq_fail(MDQ_E_DATA, "%s: token %lld: id %d, but the model's vocabulary has %d: not its tokenizer",
                            name, (long long)i, ids->v[i], vocab);
    out->ids = ids->v;
    *ids = (struct mdq_ids){0};
    return MDQ_OK;
}

enum mdq_err mdq_text_windows(struct mdq_windows *out, const struct mdq_tokenizer *t, const char *path, int64_t ctx,
                              int64_t max_tokens, int32_t vocab)
{
    *out = (struct mdq_windows){.ctx = ctx};
    const char *name = strcmp(path, "-") ? path : "standard input";
    if (ctx < 1)
        return mdq_fail(MDQ_E_USAGE, "%s: a window of %lld tokens", name, (long long)ctx);
    char *text;
    size_t size;
    MDQ_TRY(mdq_text_read(path, MDQ_TEXT_MAX_BYTES, &text, &size));
    struct mdq_ids ids = {0};
    enum mdq_err err = mdq_tokenizer_encode(t, text, size, false, &ids);
    free(text);
    if (err)
        err = mdq_fail_in(err, "%s", name);
    else
        err = cut(out, &ids, name, max_tokens, vocab);
    mdq_ids_free(&ids);
    return err;
}

void mdq_windows_free(struct mdq_windows *w)
{
    free(w->ids);
    *w = (struct mdq_windows){0};
}
