/*
 * The full check walks frames and records by the same primitives as the reader, counts and hashes by itself. The quick
 * one reads the header's frame and the last frame of a file.
 */
#include "check_stream.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "mdq_internal.h" /* frames, headers, records */

enum { END_MAX = 1024 }; /* compressed bytes of an end record's frame, generously */

struct state {
    struct mdq_input in;
    struct mdq_bytes packed, frame;
    ZSTD_DCtx *decoder;
    XXH3_state_t *hash;
    struct mdq_header *header;
    struct mdq_record *last;
    struct check_result *result;
    check_report *report;
    void *arg;
    uint64_t frame_at;
    bool whole; /* nothing was skipped so far: counts and hash can be compared */
    bool ended;
};

const char *check_reason_name(enum check_reason reason)
{
    static const char *const names[] = {"truncated", "frame", "damaged", "header", "syntax", "order",
                                        "count", "hash", "array", "finite", "table", "trailing"};
    return names[__builtin_ctz(reason)];
}

static void complain(struct state *s, enum check_reason reason, const char *why, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void complain(struct state *s, enum check_reason reason, const char *why, const char *fmt, ...)
{
    char where[3072];
    int n = snprintf(where, sizeof where, "frame %lld at byte %llu", s->result->frames, (unsigned long long)s->frame_at);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(where + n, sizeof where - (size_t)n, fmt, ap);
    va_end(ap);
    s->result->reasons |= reason;
    s->report(s->arg, reason, where, why);
}

/* ---- records ---- */

static void check_entry(struct state *s, struct mdq_record *r, struct mdq_entry *e)
{
    struct mdq_layout l;
    bool is_array;
    const uint8_t *end, *value = mdq_entry_value(e, &end);
    enum check_reason reason = CHECK_ARRAY;
    const char *why = mdq_layout_read(value, end, &l, &is_array);
    if (!why) {
        reason = CHECK_FINITE;
        why = mdq_entry_check_finite(r, e);
    }
    if (why)
        complain(s, reason, why, ": %s: key %.*s", mdq_record_name(r), (int)e->key_size, (char *)e->raw + e->key_at);
}

static void check_identity(struct state *s, struct mdq_record *r)
{
    struct mdq_id id = mdq_record_id(r);
    const struct mdq_layer_entry *l = mdq_header_layer(s->header, mdq_header_find_layer(s->header, id.tensor));
    const char *why = NULL;
    if (!mdq_header_has_kind(s->header, id.kind))
        why = "a kind that the header does not announce";
    else if (strcmp(id.kind, "tile") == 0 || strcmp(id.kind, "layer") == 0)
        why = !l ? "a tensor that the header's layer table does not have"
              : strcmp(id.kind, "tile") == 0 ? (id.row >= l->tile_rows || id.col >= l->tile_cols
                                                    ? "a tile outside of the header's tiling" : NULL)
              : id.row || id.col             ? "a layer record with a row or column" : NULL;
    if (why)
        complain(s, CHECK_TABLE, why, ": %s", mdq_record_name(r));
    if (s->last) {
        struct mdq_id last = mdq_record_id(s->last);
        int c = mdq_order(s->header, &last, &id);
        if (c >= 0)
            complain(s, CHECK_ORDER, c ? "out of canonical order" : "the same identity as the record before", ": %s",
                     mdq_record_name(r));
    }
    mdq_record_free(&s->last);
    s->last = mdq_record_new(&id);
}

static enum mdq_err check_records(struct state *s)
{
    uint8_t *at = s->frame.data, *end = at + s->frame.size;
    while (at < end) {
        struct mdq_record *r;
        const uint8_t *next = NULL;
        enum mdq_err err = mdq_record_parse(&r, at, end, NULL, &next);
        if (err == MDQ_E_INTERNAL)
            return err;
        if (err) {
            /* What the scanner could delimit is one record lost; otherwise the rest of the frame is. */
            complain(s, CHECK_SYNTAX, mdq_error_message(), ": record %lld, byte %td of the frame's content",
                     s->result->records, at - s->frame.data);
            s->whole = false;
            return MDQ_OK;
        }
        if (s->whole && r->number != s->result->records)
            complain(s, CHECK_COUNT, "its sequence number does not continue the one before", ": %s", mdq_record_name(r));
        check_identity(s, r);
        for (int i = 0; i < r->n; i++)
            check_entry(s, r, &r->entries[i]);
        mdq_record_free(&r);
        s->result->records++;
        at += next - at;
    }
    return MDQ_OK;
}

/* ---- the end record ---- */

static bool at_end_record(const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp m, k, v;
    return !mdq_mp_read(p, end, &m) && m.type == MDQ_MP_MAP && m.size > 0 && !mdq_mp_read(m.next, end, &k) &&
           mdq_mp_is(&k, "t") && !mdq_mp_read(k.next, end, &v) && mdq_mp_is(&v, "end");
}

static const char *parse_end(const struct mdq_bytes *b, int64_t *count, int64_t *bytes, const uint8_t **hash)
{
    struct mdq_mp m, k, v;
    const uint8_t *end = b->data + b->size, *next, *p;
    const char *why = mdq_mp_check(b->data, end, MDQ_LIMIT_DEPTH, &next);
    if (why || next != end)
        return why ? why : "bytes behind it in its frame";
    *count = *bytes = -1;
    p = mdq_mp_get(b->data, end, &m);
    for (uint32_t i = 0; i < m.size; i++, p = mdq_mp_skip(k.next, end)) {
        mdq_mp_get(mdq_mp_get(p, end, &k), end, &v);
        if (mdq_mp_is(&k, "count"))
            mdq_mp_int(&v, count);
        else if (mdq_mp_is(&k, "bytes"))
            mdq_mp_int(&v, bytes);
        else if (mdq_mp_is(&k, "hash") && v.type == MDQ_MP_BIN && v.size == 16)
            *hash = v.data;
    }
    return *count < 0 || *bytes < 0 || !*hash ? "count, bytes or hash is missing" : NULL;
}

static void check_end(struct state *s)
{
    int64_t count, bytes;
    const uint8_t *hash = NULL;
    const char *why = parse_end(&s->frame, &count, &bytes, &hash);
    s->ended = true;
    if (why) {
        complain(s, CHECK_SYNTAX, why, ": end record");
        return;
    }
    if (!s->whole)
        return;
    char text[128];
    XXH128_canonical_t own;
    XXH128_canonicalFromHash(&own, XXH3_128bits_digest(s->hash));
    if (count != s->result->records || bytes != (int64_t)s->result->decoded) {
        snprintf(text, sizeof text, "it counts %lld records and %lld bytes, the stream has %lld and %llu",
                 (long long)count, (long long)bytes, s->result->records, (unsigned long long)s->result->decoded);
        complain(s, CHECK_COUNT, text, ": end record");
    } else if (memcmp(&own, hash, sizeof own) != 0) {
        complain(s, CHECK_HASH, "its hash is not that of the stream", ": end record");
    }
}

/* ---- frames ---- */

/* *go: a frame's content is in s->frame. *stop: there is nothing more to read. */
static enum mdq_err next_frame(struct state *s, bool *go, bool *stop)
{
    size_t size = 0;
    bool end = false;
    *go = *stop = false;
    s->frame_at = s->in.offset;
    enum mdq_err err = mdq_frame_read(&s->in, &s->packed, MDQ_LIMIT_FRAME, &size, &end);
    s->result->packed = s->in.offset;
    if (err == MDQ_E_INTERNAL)
        return err;
    if (err || end) {
        *stop = true;
        if (err && s->ended)
            complain(s, CHECK_TRAILING, "something follows the end record (streams are joined with mdq-cat)", "%s", "");
        else if (err)
            complain(s, err == MDQ_E_IO ? CHECK_TRUNCATED : CHECK_FRAME, mdq_error_message(), "%s",
                     err == MDQ_E_IO ? "" : "; the rest was not read");
        return MDQ_OK;
    }
    s->frame.size = 0;
    if (!mdq_bytes_room(&s->frame, size))
        return MDQ_E_INTERNAL;
    if (mdq_frame_decode(s->decoder, &s->packed, s->frame.data, size)) {
        complain(s, CHECK_DAMAGED, mdq_error_message(), "%s", "");
        s->whole = false;
        s->result->frames++;
        return MDQ_OK;
    }
    s->frame.size = size;
    *go = true;
    return MDQ_OK;
}

static enum mdq_err check_header(struct state *s)
{
    enum mdq_err err = mdq_header_parse(&s->header, s->frame.data, s->frame.data + s->frame.size);
    if (err == MDQ_E_DATA) {
        complain(s, CHECK_HEADER, mdq_error_message(), ": header");
        return MDQ_OK;
    }
    return err;
}

static enum mdq_err check_frames(struct state *s)
{
    for (bool go, stop;;) {
        MDQ_TRY(next_frame(s, &go, &stop));
        if (stop)
            return MDQ_OK;
        if (!go) {
            if (!s->header) {
                s->result->reasons |= CHECK_HEADER;
                return MDQ_OK;
            }
            continue;
        }
        if (s->ended) {
            complain(s, CHECK_TRAILING, "something follows the end record (streams are joined with mdq-cat)", "%s", "");
            return MDQ_OK;
        }
        if (!s->header) {
            MDQ_TRY(check_header(s));
            if (!s->header)
                return MDQ_OK;
        } else if (s->frame.size == 0) {
            complain(s, CHECK_FRAME, "an empty frame", "%s", "");
        } else if (at_end_record(s->frame.data, s->frame.data + s->frame.size)) {
            check_end(s);
            s->result->frames++;
            continue;
        }
        XXH3_128bits_update(s->hash, s->frame.data, s->frame.size);
        s->result->decoded += s->frame.size;
        if (s->result->frames > 0)
            MDQ_TRY(check_records(s));
        s->result->frames++;
    }
}

/* The last frame of a file begins at the last magic number from which one frame reaches to the end. */
static enum mdq_err find_end(struct state *s, const char *path)
{
    struct stat st;
    uint8_t tail[END_MAX];
    if (fstat(s->in.fd, &st) != 0 || !S_ISREG(st.st_mode))
        return mdq_fail(MDQ_E_USAGE, "%s: no regular file: the quick check looks at its end", path);
    size_t n = st.st_size < END_MAX ? (size_t)st.st_size : END_MAX;
    if (pread(s->in.fd, tail, n, st.st_size - (off_t)n) != (ssize_t)n)
        return mdq_fail_errno(MDQ_E_IO, "%s: read", path);
    for (size_t back = 12; back <= n; back++) {
        static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
        const uint8_t *p = tail + n - back;
        int64_t count, bytes;
        const uint8_t *hash = NULL;
        if (memcmp(p, magic, 4) != 0 || ZSTD_findFrameCompressedSize(p, back) != back)
            continue;
        unsigned long long size = ZSTD_getFrameContentSize(p, back);
        s->packed.size = s->frame.size = 0;
        mdq_bytes_add(&s->packed, p, back);
        if (size > MDQ_LIMIT_END || !mdq_bytes_room(&s->frame, (size_t)size) || s->packed.failed ||
            mdq_frame_decode(s->decoder, &s->packed, s->frame.data, (size_t)size))
            continue;
        s->frame.size = (size_t)size;
        if (!at_end_record(s->frame.data, s->frame.data + size) || parse_end(&s->frame, &count, &bytes, &hash))
            continue;
        s->result->records = count;
        s->result->decoded = (uint64_t)bytes;
        s->result->packed = (uint64_t)st.st_size;
        return MDQ_OK;
    }
    s->result->reasons |= CHECK_TRUNCATED;
    s->report(s->arg, CHECK_TRUNCATED, "end of the file", "no end record");
    return MDQ_OK;
}

enum mdq_err check_stream(const char *path, bool quick, check_report *report, void *arg, struct check_result *result)
{
    bool standard = strcmp(path, "-") == 0;
    struct state s = {.result = result, .report = report, .arg = arg, .whole = true};
    *result = (struct check_result){0};
    s.in = (struct mdq_input){.fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), .name = path, .wake = -1};
    if (s.in.fd < 0)
        return mdq_fail_errno(MDQ_E_IO, "%s", path);
    s.decoder = ZSTD_createDCtx();
    s.hash = XXH3_createState();
    enum mdq_err err = s.decoder && s.hash ? MDQ_OK : mdq_fail_nomem("check", 1 << 18);
    if (!err) {
        XXH3_128bits_reset(s.hash);
        bool go = false, stop;
        if (quick) {
            err = next_frame(&s, &go, &stop);
            if (!err && go)
                err = check_header(&s);
            if (!err)
                err = find_end(&s, path);
        } else {
            err = check_frames(&s);
            if (!err && !s.ended && !(result->reasons & (CHECK_TRUNCATED | CHECK_FRAME | CHECK_HEADER)))
                complain(&s, CHECK_TRUNCATED, "no end record: the stream is cut short", "%s", "");
        }
    }
    mdq_record_free(&s.last);
    mdq_header_free(&s.header);
    mdq_bytes_free(&s.packed);
    mdq_bytes_free(&s.frame);
    free(s.in.buf);
    ZSTD_freeDCtx(s.decoder);
    XXH3_freeState(s.hash);
    if (!standard)
        close(s.in.fd);
    return err;
}
