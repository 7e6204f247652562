/*
 * Zstandard frames, whole ones: found in the input by walking their blocks, so that nothing is believed or reserved
 * before the bytes are there; encoded with block ends where the caller wants them.
 */
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_c_literalCompressionMode */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "mdq_cli.h"
#include "mdq_internal.h"

enum { INPUT_SIZE = 1 << 20, BLOCK_MAX = 128 << 10 };

/* Makes at least n bytes (n <= INPUT_SIZE) available at in->at unless the input ends before. */
static enum mdq_err fill(struct mdq_input *in, size_t n)
{
    if (in->have - in->at >= n)
        return MDQ_OK;
    if (!in->buf && !(in->buf = mdq_alloc(INPUT_SIZE, 1, "input buffer")))
        return MDQ_E_INTERNAL;
    memmove(in->buf, in->buf + in->at, in->have - in->at);
    in->have -= in->at;
    in->at = 0;
    while (in->have < n) {
        if (in->wake >= 0) {
            struct pollfd p[2] = {{.fd = in->fd, .events = POLLIN}, {.fd = in->wake, .events = POLLIN}};
            if (poll(p, 2, -1) > 0 && p[1].revents)
                return mdq_fail(MDQ_E_IO, "closed");
        }
        ssize_t r = read(in->fd, in->buf + in->have, INPUT_SIZE - in->have);
        if (r == 0)
            return MDQ_OK;
        if (r < 0 && errno != EINTR && errno != EAGAIN)
            return mdq_fail_errno(MDQ_E_IO, "read");
        in->have += r > 0 ? (size_t)r : 0;
    }
    return MDQ_OK;
}

static const char cut_short[] = "the stream is cut short inside a frame";

/* Moves n bytes of input behind what packed holds; their number is bounded by the caller. */
static enum mdq_err take(struct mdq_input *in, struct mdq_bytes *packed, size_t n)
{
    while (n > 0) {
        size_t part = n < INPUT_SIZE ? n : INPUT_SIZE;
        MDQ_TRY(fill(in, part));
        if (in->have - in->at < part)
            return mdq_fail(MDQ_E_IO, "%s", cut_short);
        mdq_bytes_add(packed, in->buf + in->at, part);
        if (packed->failed)
            return MDQ_E_INTERNAL;
        in->at += part;
        in->offset += part;
        n -= part;
    }
    return MDQ_OK;
}

static uint64_t little(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

/* The frame header of RFC 8878, 3.1.1.1. *header: its size. */
static enum mdq_err frame_header(const uint8_t *p, size_t have, size_t *header, uint64_t *size)
{
    static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    if (have < 4 && memcmp(p, magic, have) == 0)
        return mdq_fail(MDQ_E_IO, "%s", cut_short);
    if (have < 4 || memcmp(p, magic, 4) != 0) {
        if (have >= 4 && (little(p, 4) & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START)
            return mdq_fail(MDQ_E_DATA, "a skippable frame, which mdq streams do not have");
        return mdq_fail(MDQ_E_DATA, "no zstd frame begins here");
    }
    if (have < 5)
        return mdq_fail(MDQ_E_IO, "%s", cut_short);
    unsigned d = p[4];
    static const unsigned id_sizes[] = {0, 1, 2, 4}, size_sizes[] = {0, 2, 4, 8};
    bool single = d & 0x20;
    size_t n_id = id_sizes[d & 3], n_size = size_sizes[d >> 6];
    if (n_size == 0 && single)
        n_size = 1;
    *header = 5 + (single ? 0 : 1) + n_id + n_size;
    if (have < *header)
        return mdq_fail(MDQ_E_IO, "%s", cut_short);
    if (d & 0x08)
        return mdq_fail(MDQ_E_DATA, "a frame with a reserved bit");
    if (n_id)
        return mdq_fail(MDQ_E_DATA, "a frame that needs a dictionary");
    if (!(d & 0x04))
        return mdq_fail(MDQ_E_DATA, "a frame without checksum");
    if (n_size == 0)
        return mdq_fail(MDQ_E_DATA, "a frame that does not state its size");
    *size = little(p + *header - n_size, n_size) + (n_size == 2 ? 256 : 0);
    return MDQ_OK;
}

enum mdq_err mdq_frame_read(struct mdq_input *in, struct mdq_bytes *packed, size_t limit, size_t *size, bool *end)
{
    size_t header = 0;
    uint64_t content = 0, possible = 0;
    packed->size = 0;
    MDQ_TRY(fill(in, ZSTD_FRAMEHEADERSIZE_MAX));
    *end = in->have == in->at;
    if (*end)
        return MDQ_OK;
    MDQ_TRY(frame_header(in->buf + in->at, in->have - in->at, &header, &content));
    if (content > limit)
        return mdq_fail(MDQ_E_DATA, "a frame claims %llu bytes, the limit is %zu", (unsigned long long)content, limit);
    size_t most = (size_t)content + (size_t)content / 16 + (64 << 10);
    MDQ_TRY(take(in, packed, header));
    for (bool last = false; !last;) {
        MDQ_TRY(take(in, packed, 3));
        uint64_t b = little(packed->data + packed->size - 3, 3);
        size_t n = (size_t)(b >> 3), type = b >> 1 & 3;
        last = b & 1;
        if (type == 3 || n > BLOCK_MAX)
            return mdq_fail(MDQ_E_DATA, "a frame with an impossible block");
        possible += type == 2 ? BLOCK_MAX : n;
        MDQ_TRY(take(in, packed, type == 1 ? 1 : n));
        if (packed->size > most)
            return mdq_fail(MDQ_E_DATA, "a frame much longer than what it claims to hold");
    }
    if (possible < content)
        return mdq_fail(MDQ_E_DATA, "a frame claims %llu bytes, but its blocks can hold %llu at most",
                        (unsigned long long)content, (unsigned long long)possible);
    *size = (size_t)content;
    return take(in, packed, 4);
}

enum mdq_err mdq_frame_decode(ZSTD_DCtx *d, const struct mdq_bytes *packed, uint8_t *out, size_t size)
{
    size_t n = ZSTD_decompressDCtx(d, out, size, packed->data, packed->size);
    if (ZSTD_isError(n))
        return ZSTD_getErrorCode(n) == ZSTD_error_checksum_wrong
                   ? mdq_fail(MDQ_E_DATA, "the checksum of a frame is wrong: damaged bytes")
                   : mdq_fail(MDQ_E_DATA, "a frame with damaged bytes (zstd says: %s)", ZSTD_getErrorName(n));
    if (n != size)
        return mdq_fail(MDQ_E_DATA, "a frame holds %zu bytes and claims %zu", n, size);
    return MDQ_OK;
}

/*
 * The default level was chosen by bench/bench-stream.c: no search for matches to speak of (they are rare in weights),
 * but literals entropy-coded, which is what shrinks planes of exponents; planes of mantissas end up stored.
 */
ZSTD_CCtx *mdq_frame_coder(int level)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    if (!c) {
        mdq_fail_nomem("compressor", 1 << 20);
        return NULL;
    }
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level == MDQ_LEVEL_DEFAULT ? 1 : level);
    if (level == MDQ_LEVEL_DEFAULT) {
        ZSTD_CCtx_setParameter(c, ZSTD_c_strategy, ZSTD_fast);
        ZSTD_CCtx_setParameter(c, ZSTD_c_targetLength, 1024);
        /* not in the stable interface; without it the level works, only less well */
        ZSTD_CCtx_setParameter(c, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
    }
    return c;
}

enum mdq_err mdq_frame_encode(ZSTD_CCtx *c, const uint8_t *data, size_t size, const size_t *cuts, size_t n,
                              struct mdq_bytes *out)
{
    size_t bound = ZSTD_compressBound(size) + 64 * (n + 4);
    uint8_t *room = mdq_bytes_room(out, bound);
    if (!room)
        return MDQ_E_INTERNAL;
    ZSTD_CCtx_reset(c, ZSTD_reset_session_only);
    size_t r = ZSTD_CCtx_setPledgedSrcSize(c, size), at = 0;
    ZSTD_outBuffer o = {room, out->cap - out->size, 0};
    for (size_t i = 0; i <= n && !ZSTD_isError(r); i++) {
        size_t to = i < n ? cuts[i] : size;
        if (to == at && i < n)
            continue;
        ZSTD_inBuffer in = {data + at, to - at, 0};
        do
            r = ZSTD_compressStream2(c, &o, &in, i < n ? ZSTD_e_flush : ZSTD_e_end);
        while (!ZSTD_isError(r) && r > 0 && o.pos < o.size);
        if (!ZSTD_isError(r) && r > 0)
            return mdq_fail(MDQ_E_INTERNAL, "zstd needs more room than its bound");
        at = to;
    }
    if (ZSTD_isError(r))
        return mdq_fail(MDQ_E_INTERNAL, "zstd: %s", ZSTD_getErrorName(r));
    out->size += o.pos;
    return MDQ_OK;
}
