/*
 * One input stream: header, records, end record, each checked as it comes. Frames are read and decoded ahead by the
 * threads of a ring; hash, order and counts are checked here, in the order of the stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "mdq_internal.h"
#include "mdq_ring.h"

/* One frame of the input, filled by whichever thread is at it. */
struct frame {
    struct mdq_bytes packed, data;
    size_t size;         /* of the content, as claimed */
    uint64_t at, behind; /* where it begins and ends in the input */
    bool end;            /* there was no frame: the input is at its end */
    enum mdq_err err;
    char *message;
};

struct mdq_stream {
    struct mdq_source *source;
    struct mdq_header *header;
    struct mdq_input in;     /* fetch's, once the ring is open */
    uint64_t fetched, max_total; /* decoded bytes; fetch's */
    struct mdq_ring *ring;
    int threads, wake[2];
    ZSTD_DCtx **decoders;    /* one for each thread */
    struct frame first;      /* the header's */
    struct frame *frame;     /* the current one, a slot of the ring */
    int64_t frames;
    uint8_t *at, *end;       /* of the frame, what was not yet read */
    int64_t count;
    uint64_t bytes;          /* decoded */
    XXH3_state_t *hash;
    struct mdq_record *record;
    struct mdq_record *last; /* identity of the record before */
    bool ended;
};

/* ---- frames, in the ring's threads ---- */

static void fail_frame(struct frame *f, enum mdq_err err)
{
    f->err = err;
    f->message = mdq_strdup(mdq_error_message());
}

static void fetch_into(struct mdq_stream *s, struct frame *f, size_t limit)
{
    f->at = s->in.offset;
    f->err = mdq_frame_read(&s->in, &f->packed, limit, &f->size, &f->end);
    if (!f->err && s->max_total && f->size > s->max_total - s->fetched)
        f->err = mdq_fail(MDQ_E_DATA, "the stream is larger than the bound of %llu bytes",
                          (unsigned long long)s->max_total);
    if (f->err)
        fail_frame(f, f->err);
    s->fetched += f->err ? 0 : f->size;
    f->behind = s->in.offset;
}

static bool fetch(void *arg, void *slot)
{
    struct frame *f = slot;
    free(f->message);
    f->message = NULL;
    f->size = 0;
    fetch_into(arg, f, MDQ_LIMIT_FRAME);
    return !f->err && !f->end;
}

static void decode(void *arg, void *slot, int worker)
{
    enum { KEEP = 8 << 20 }; /* buffers of larger frames are not kept */
    struct mdq_stream *s = arg;
    struct frame *f = slot;
    if (f->err || f->end)
        return;
    if (f->data.cap > KEEP && f->data.cap > 2 * f->size)
        mdq_bytes_free(&f->data);
    f->data.size = 0;
    if (!s->decoders[worker] && !(s->decoders[worker] = ZSTD_createDCtx()))
        fail_frame(f, mdq_fail_nomem("decompressor", 1 << 18));
    else if (!mdq_bytes_room(&f->data, f->size))
        fail_frame(f, MDQ_E_INTERNAL);
    else if ((f->err = mdq_frame_decode(s->decoders[worker], &f->packed, f->data.data, f->size)))
        fail_frame(f, f->err);
    f->data.size = f->size;
    if (f->packed.cap > KEEP)
        mdq_bytes_free(&f->packed);
}

static size_t frame_bytes(void *arg, void *slot)
{
    (void)arg;
    return ((struct frame *)slot)->size + ((struct frame *)slot)->packed.size;
}

static void free_frame(struct frame *f)
{
    mdq_bytes_free(&f->packed);
    mdq_bytes_free(&f->data);
    free(f->message);
}

/* ---- frames, in order ---- */

static enum mdq_err in_frame(struct mdq_stream *s, enum mdq_err err)
{
    return mdq_fail_in(err, "%s: frame %lld at byte %llu", s->source->name, (long long)s->frames,
                       (unsigned long long)s->frame->at);
}

static enum mdq_err use_frame(struct mdq_stream *s, struct frame *f)
{
    s->frame = f;
    if (f->err)
        return in_frame(s, mdq_error_set(f->err, f->message ? f->message : "out of memory"));
    s->at = f->data.data;
    s->end = s->at + (f->end ? 0 : f->size);
    return MDQ_OK;
}

static enum mdq_err read_frame(struct mdq_stream *s)
{
    static const struct mdq_ring_ops ops = {fetch, decode, frame_bytes};
    if (!s->ring) {
        if (s->threads > 1 && pipe2(s->wake, O_CLOEXEC) == 0)
            s->in.wake = s->wake[0];
        else
            s->threads = 1; /* without it, closing could wait for a slow writer */
        MDQ_TRY(mdq_ring_open(&s->ring, s->threads, sizeof(struct frame), &ops, s));
    }
    if (s->frame->end || s->frame->err) /* nothing comes after these */
        return use_frame(s, s->frame);
    MDQ_TRY(use_frame(s, mdq_ring_next(s->ring)));
    s->frames += !s->frame->end;
    return MDQ_OK;
}

static void count_bytes(struct mdq_stream *s)
{
    XXH3_128bits_update(s->hash, s->frame->data.data, s->frame->size);
    s->bytes += s->frame->size;
}

static enum mdq_err read_header(struct mdq_stream *s)
{
    fetch_into(s, &s->first, MDQ_LIMIT_HEADER);
    decode(s, &s->first, 0);
    MDQ_TRY(use_frame(s, &s->first));
    if (s->first.end)
        return mdq_fail(MDQ_E_IO, "%s: empty, an mdq stream was expected", s->source->name);
    s->frames = 1;
    enum mdq_err err = mdq_header_parse(&s->header, s->at, s->end);
    if (err)
        return mdq_fail_in(err, "%s: header", s->source->name);
    count_bytes(s);
    s->at = s->end;
    return MDQ_OK;
}

enum mdq_err mdq_stream_open(struct mdq_stream **out, const char *path, const struct mdq_reader_options *options)
{
    bool standard = !path || strcmp(path, "-") == 0;
    *out = NULL;
    struct mdq_stream *s = mdq_calloc(1, sizeof *s, "reader");
    if (!s)
        return MDQ_E_INTERNAL;
    s->in = (struct mdq_input){.fd = -1, .wake = -1};
    s->wake[0] = s->wake[1] = -1;
    s->max_total = options->max_total;
    s->threads = options->threads < 1 ? 1 : options->threads;
    s->source = mdq_source_new(standard ? "standard input" : path);
    s->hash = XXH3_createState();
    s->decoders = mdq_calloc((size_t)s->threads, sizeof *s->decoders, "reader");
    enum mdq_err err = s->source && s->hash && s->decoders ? MDQ_OK : mdq_fail_nomem("reader", 1 << 18);
    if (!err && standard && isatty(STDIN_FILENO))
        err = mdq_fail(MDQ_E_USAGE, "standard input: a terminal, a record stream was expected (name a file or use a pipe)");
    if (!err) {
        s->in.name = s->source->name;
        s->in.fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
        if (s->in.fd < 0)
            err = mdq_fail_errno(MDQ_E_IO, "%s", path);
        else
            posix_fadvise(s->in.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    if (!err) {
        XXH3_128bits_reset(s->hash);
        err = read_header(s);
    }
    if (err)
        mdq_stream_close(&s);
    *out = s;
    return err;
}

/* ---- the end record ---- */

static const char *parse_end(struct mdq_stream *s, int64_t *count, int64_t *bytes, struct mdq_mp *hash)
{
    struct mdq_mp map, k, v;
    const uint8_t *next, *p = mdq_mp_get(s->at, s->end, &map);
    const char *why = mdq_mp_check(s->at, s->end, MDQ_LIMIT_DEPTH, &next);
    if (why)
        return why;
    if (next != s->end)
        return "bytes behind it in its frame";
    *count = *bytes = -1;
    for (uint32_t i = 0; i < map.size; i++) {
        mdq_mp_get(mdq_mp_get(p, s->end, &k), s->end, &v);
        if (mdq_mp_is(&k, "count") && !mdq_mp_int(&v, count))
            return "count is no number";
        if (mdq_mp_is(&k, "bytes") && !mdq_mp_int(&v, bytes))
            return "bytes is no number";
        if (mdq_mp_is(&k, "hash"))
            *hash = v;
        p = mdq_mp_skip(k.next, s->end);
    }
    return hash->type == MDQ_MP_BIN && hash->size == 16 ? NULL : "no hash of 16 bytes";
}

/* A map whose first pair is t = end: decided before the frame is counted. */
static bool at_end_record(const struct mdq_stream *s)
{
    struct mdq_mp m, k, v;
    return !mdq_mp_read(s->at, s->end, &m) && m.type == MDQ_MP_MAP && m.size > 0 &&
           !mdq_mp_read(m.next, s->end, &k) && mdq_mp_is(&k, "t") && !mdq_mp_read(k.next, s->end, &v) &&
           mdq_mp_is(&v, "end");
}

static enum mdq_err read_end(struct mdq_stream *s)
{
    const char *name = s->source->name;
    struct mdq_mp hash = {0};
    int64_t count, bytes;
    const char *why = parse_end(s, &count, &bytes, &hash);
    if (why)
        return in_frame(s, mdq_fail(MDQ_E_DATA, "end record: %s", why));
    if (count != s->count)
        return mdq_fail(MDQ_E_DATA, "%s: end record: it counts %lld records, the stream has %lld", name,
                        (long long)count, (long long)s->count);
    if (bytes != (int64_t)s->bytes)
        return mdq_fail(MDQ_E_DATA, "%s: end record: it counts %lld bytes, the stream has %llu", name,
                        (long long)bytes, (unsigned long long)s->bytes);
    XXH128_canonical_t own;
    XXH128_canonicalFromHash(&own, XXH3_128bits_digest(s->hash));
    if (memcmp(&own, hash.data, sizeof own) != 0)
        return mdq_fail(MDQ_E_DATA, "%s: end record: its hash is not that of the stream", name);
    enum mdq_err err = read_frame(s);
    if ((err && s->frame->packed.size) || err == MDQ_E_DATA || (!err && !s->frame->end))
        return mdq_fail(MDQ_E_DATA, "%s: byte %llu: something follows the end record (streams are joined with mdq-cat)",
                        name, (unsigned long long)s->frame->at);
    s->ended = true;
    return err;
}

/* ---- records ---- */

static enum mdq_err next_frame(struct mdq_stream *s)
{
    MDQ_TRY(read_frame(s));
    if (s->frame->end)
        return mdq_fail(MDQ_E_IO, "%s: truncated after %lld records: there is no end record", s->source->name,
                        (long long)s->count);
    if (s->at == s->end)
        return in_frame(s, mdq_fail(MDQ_E_DATA, "an empty frame"));
    if (at_end_record(s))
        return read_end(s);
    count_bytes(s); /* before anybody changes the bytes in place */
    return MDQ_OK;
}

static enum mdq_err check_record(struct mdq_stream *s, struct mdq_record *r)
{
    if (!mdq_header_has_kind(s->header, r->kind))
        return mdq_fail(MDQ_E_DATA, "%s: a kind that the header does not announce", mdq_record_name(r));
    if (r->number != s->count)
        return mdq_fail(MDQ_E_DATA, "%s: it should be record %lld", mdq_record_name(r), (long long)s->count);
    struct mdq_id id = mdq_record_id(r);
    if (s->last) {
        struct mdq_id last = mdq_record_id(s->last);
        int c = mdq_order(s->header, &last, &id);
        if (c >= 0)
            return mdq_fail(MDQ_E_DATA, "%s: %s", mdq_record_name(r),
                            c ? "out of canonical order" : "the same identity as the record before");
        if (strcmp(last.tensor, id.tensor) == 0 && strcmp(last.kind, id.kind) == 0) {
            s->last->row = id.row;
            s->last->col = id.col;
            return MDQ_OK;
        }
        mdq_record_free(&s->last);
    }
    s->last = mdq_record_new(&id);
    return s->last ? MDQ_OK : MDQ_E_INTERNAL;
}

enum mdq_err mdq_stream_next(struct mdq_stream *s, struct mdq_record **rec)
{
    *rec = NULL;
    mdq_record_free(&s->record);
    if (s->at == s->end && !s->ended)
        MDQ_TRY(next_frame(s));
    if (s->ended)
        return MDQ_OK;
    const uint8_t *next;
    enum mdq_err err = mdq_record_parse(&s->record, s->at, s->end, s->source, &next);
    if (err)
        return mdq_fail_in(err, "%s: frame %lld: record %lld", s->source->name, (long long)s->frames - 1,
                           (long long)s->count);
    MDQ_TRY(check_record(s, s->record));
    s->at += next - s->at;
    s->count++;
    s->record->holder = &s->record;
    *rec = s->record;
    return MDQ_OK;
}

const struct mdq_header *mdq_stream_header(const struct mdq_stream *s)
{
    return s->header;
}

const char *mdq_stream_name(const struct mdq_stream *s)
{
    return s->source->name;
}

uint64_t mdq_stream_bytes(const struct mdq_stream *s)
{
    return s->frame->behind;
}

void mdq_stream_close(struct mdq_stream **sp)
{
    struct mdq_stream *s = *sp;
    if (!s)
        return;
    mdq_record_free(&s->record);
    mdq_record_free(&s->last);
    mdq_header_free(&s->header);
    if (s->wake[1] >= 0)
        close(s->wake[1]); /* a thread that waits for input sees this */
    if (s->ring) {
        mdq_ring_stop(s->ring);
        for (int i = 0; i < mdq_ring_slots(s->ring); i++)
            free_frame(mdq_ring_slot(s->ring, i));
        mdq_ring_close(&s->ring);
    }
    if (s->wake[0] >= 0)
        close(s->wake[0]);
    if (s->in.fd > STDIN_FILENO)
        close(s->in.fd);
    free_frame(&s->first);
    free(s->in.buf);
    mdq_source_free(s->source);
    XXH3_freeState(s->hash);
    for (int i = 0; s->decoders && i < s->threads; i++)
        ZSTD_freeDCtx(s->decoders[i]);
    free(s->decoders);
    free(s);
    *sp = NULL;
}
