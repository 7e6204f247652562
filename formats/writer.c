/*
 * The writer: records to frames to the output. Where frames are cut depends on the records alone, so the bytes written
 * do not depend on the number of threads.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "mdq_cli.h"
#include "mdq_internal.h"
#include "mdq_output.h"
#include "mdq_ring.h"

/* Decoded bytes, where zstd blocks shall end in them, and what they were encoded to. */
struct frame {
    struct mdq_bytes data, packed;
    size_t *cuts;
    size_t n_cuts, room_cuts;
    enum mdq_err err;
    char *message;
};

struct mdq_writer {
    struct mdq_output *out;
    struct mdq_header *header;
    bool thin;
    int64_t count;
    uint64_t bytes;         /* decoded, so far */
    XXH3_state_t *hash;
    int level, threads;
    ZSTD_CCtx **coders;     /* one for each thread */
    struct mdq_ring *ring;
    struct frame *frame;    /* being filled: a slot of the ring */
    struct mdq_record *last; /* identity only */
};

/* ---- frames, in the ring's threads ---- */

static void encode(void *arg, void *slot, int worker)
{
    struct mdq_writer *w = arg;
    struct frame *f = slot;
    f->packed.size = 0;
    if (!w->coders[worker] && !(w->coders[worker] = mdq_frame_coder(w->level)))
        f->err = MDQ_E_INTERNAL;
    else
        f->err = mdq_frame_encode(w->coders[worker], f->data.data, f->data.size, f->cuts, f->n_cuts, &f->packed);
    if (f->err)
        f->message = mdq_strdup(mdq_error_message());
}

static size_t frame_bytes(void *arg, void *slot)
{
    (void)arg;
    return 2 * ((struct frame *)slot)->data.size;
}

/* ---- frames, in order ---- */

/* Writes out frames that are finished; `all`: every one, else those that can be had without waiting. */
static enum mdq_err write_finished(struct mdq_writer *w, bool all)
{
    enum { KEEP = 8 << 20 }; /* buffers of larger frames are not kept */
    struct frame *f;
    while ((f = mdq_ring_take(w->ring, all))) {
        if (f->err)
            return mdq_error_set(f->err, f->message ? f->message : "out of memory");
        MDQ_TRY(mdq_output_write(w->out, f->packed.data, f->packed.size));
        if (f->data.cap > KEEP) {
            mdq_bytes_free(&f->data);
            mdq_bytes_free(&f->packed);
        }
        f->data.size = f->n_cuts = 0;
        mdq_ring_give_back(w->ring);
    }
    return MDQ_OK;
}

/* Hands the frame being filled to the threads and begins another. */
static enum mdq_err send_frame(struct mdq_writer *w)
{
    struct frame *f = w->frame;
    if (f->data.size == 0)
        return MDQ_OK;
    XXH3_128bits_update(w->hash, f->data.data, f->data.size);
    w->bytes += f->data.size;
    mdq_ring_put(w->ring);
    MDQ_TRY(write_finished(w, false));
    while (!(w->frame = mdq_ring_free_slot(w->ring))) {
        mdq_ring_take(w->ring, true);
        MDQ_TRY(write_finished(w, false));
    }
    return MDQ_OK;
}

static void release(struct mdq_writer *w)
{
    mdq_output_abort(&w->out);
    mdq_header_free(&w->header);
    mdq_record_free(&w->last);
    XXH3_freeState(w->hash);
    if (w->ring) {
        mdq_ring_stop(w->ring);
        for (int i = 0; i < mdq_ring_slots(w->ring); i++) {
            struct frame *f = mdq_ring_slot(w->ring, i);
            mdq_bytes_free(&f->data);
            mdq_bytes_free(&f->packed);
            free(f->cuts);
            free(f->message);
        }
        mdq_ring_close(&w->ring);
    }
    for (int i = 0; w->coders && i < w->threads; i++)
        ZSTD_freeCCtx(w->coders[i]);
    free(w->coders);
    free(w);
}

enum mdq_err mdq_writer_open(struct mdq_writer **out, const char *path, const struct mdq_header *h,
                             const struct mdq_writer_options *options)
{
    static const struct mdq_writer_options standard = {.level = MDQ_LEVEL_DEFAULT};
    static const struct mdq_ring_ops ops = {NULL, encode, frame_bytes};
    if (!options)
        options = &standard;
    *out = NULL;
    struct mdq_writer *w = mdq_calloc(1, sizeof *w, "writer");
    if (!w)
        return MDQ_E_INTERNAL;
    w->thin = options->thin;
    w->level = options->level;
    w->threads = options->threads > 0 ? options->threads : omp_get_max_threads();
    w->hash = XXH3_createState();
    w->coders = mdq_calloc((size_t)w->threads, sizeof *w->coders, "writer");
    enum mdq_err err = w->hash && w->coders ? MDQ_OK : mdq_fail_nomem("writer", 1 << 20);
    if (!err) {
        XXH3_128bits_reset(w->hash);
        err = mdq_header_derive(&w->header, h, NULL, NULL);
    }
    if (!err)
        err = mdq_output_open(&w->out, path, true);
    if (!err)
        err = mdq_ring_open(&w->ring, w->threads, sizeof(struct frame), &ops, w);
    if (!err) {
        w->frame = mdq_ring_free_slot(w->ring);
        err = mdq_header_pack(w->header, &w->frame->data);
    }
    if (!err)
        err = send_frame(w);
    if (!err)
        err = write_finished(w, true); /* who reads it can begin */
    if (err) {
        release(w);
        return err;
    }
    *out = w;
    return MDQ_OK;
}

/* ---- one record ---- */

static enum mdq_err check_order(struct mdq_writer *w, const struct mdq_record *r)
{
    if (!mdq_header_has_kind(w->header, r->kind))
        return mdq_fail(MDQ_E_INTERNAL, "%s: the header does not announce records of this kind", mdq_record_name(r));
    struct mdq_id id = mdq_record_id(r);
    if (!w->last) {
        w->last = mdq_record_new(&id);
        return w->last ? MDQ_OK : MDQ_E_INTERNAL;
    }
    struct mdq_id last = mdq_record_id(w->last);
    if (mdq_order(w->header, &last, &id) >= 0) {
        char *name = mdq_strdup(mdq_record_name(w->last));
        enum mdq_err err = mdq_fail(MDQ_E_INTERNAL, "%s: out of canonical order after %s", mdq_record_name(r),
                                    name ? name : "another");
        free(name);
        return err;
    }
    if (strcmp(last.tensor, id.tensor) == 0 && strcmp(last.kind, id.kind) == 0) {
        w->last->row = id.row;
        w->last->col = id.col;
        return MDQ_OK;
    }
    mdq_record_free(&w->last);
    w->last = mdq_record_new(&id);
    return w->last ? MDQ_OK : MDQ_E_INTERNAL;
}

static void cut(struct frame *f, size_t at)
{
    if (f->n_cuts > 0 && f->cuts[f->n_cuts - 1] >= at)
        return;
    if (f->n_cuts == f->room_cuts) {
        void *p = mdq_realloc(f->cuts, 2 * f->room_cuts + 64, sizeof *f->cuts, "writer");
        if (!p)
            return; /* cuts are for compression only */
        f->cuts = p;
        f->room_cuts = 2 * f->room_cuts + 64;
    }
    f->cuts[f->n_cuts++] = at;
}

/* Key and value as they are to be stored, zstd blocks ending where planes do. */
static void add_entry(struct frame *f, const struct mdq_entry *e)
{
    struct mdq_layout l = {0};
    bool is_array = false;
    const uint8_t *end, *value = mdq_entry_value(e, &end);
    if ((size_t)(end - value) < MDQ_PLANES_MIN || mdq_layout_read(value, end, &l, &is_array) || !is_array) {
        mdq_bytes_add(&f->data, e->raw, e->size);
        return;
    }
    size_t at = f->data.size + e->value_at + l.offset;
    unsigned planes = l.planes ? mdq_dtype_bits(l.dtype) / 8 : 1;
    if (l.bytes / planes >= MDQ_FLUSH_MIN)
        for (unsigned i = 0; i <= planes; i++)
            cut(f, at + i * (l.bytes / planes));
    if (!e->joined) {
        mdq_bytes_add(&f->data, e->raw, e->size);
        return;
    }
    uint8_t *room = mdq_bytes_room(&f->data, e->size);
    if (!room)
        return;
    size_t head = e->value_at + l.offset, tail = e->size - head - l.bytes;
    memcpy(room, e->raw, head);
    mdq_planes_split(e->raw + head, (size_t)l.count, planes, room + head);
    memcpy(room + head + l.bytes, e->raw + head + l.bytes, tail);
    f->data.size += e->size;
}

enum mdq_err mdq_writer_put(struct mdq_writer *w, struct mdq_record *r)
{
    MDQ_TRY(check_order(w, r));
    bool thin = w->thin && r->source;
    size_t size = strlen(r->kind) + strlen(r->tensor) + 64, n = 0;
    for (int i = 0; i < r->n; i++)
        if (!thin || !r->entries[i].read) {
            size += r->entries[i].size;
            n++;
        }
    if (size > MDQ_LIMIT_RECORD)
        return mdq_fail(MDQ_E_DATA, "%s: larger than a record may be", mdq_record_name(r));
    if (w->frame->data.size > 0 && w->frame->data.size + size > MDQ_FRAME_TARGET)
        MDQ_TRY(send_frame(w));
    msgpack_packer pk = mdq_packer(&w->frame->data);
    msgpack_pack_map(&pk, 3 + n);
    mdq_pack_str(&pk, "t");
    mdq_pack_str(&pk, r->kind);
    mdq_pack_str(&pk, "id");
    msgpack_pack_array(&pk, 3);
    mdq_pack_str(&pk, r->tensor);
    msgpack_pack_int64(&pk, r->row);
    msgpack_pack_int64(&pk, r->col);
    mdq_pack_str(&pk, "n");
    msgpack_pack_int64(&pk, w->count);
    for (int i = 0; i < r->n; i++)
        if (!thin || !r->entries[i].read)
            add_entry(w->frame, &r->entries[i]);
    if (w->frame->data.failed)
        return MDQ_E_INTERNAL;
    w->count++;
    return MDQ_OK;
}

enum mdq_err mdq_writer_finish(struct mdq_writer **wp)
{
    struct mdq_writer *w = *wp;
    *wp = NULL;
    enum mdq_err err = send_frame(w);
    if (!err) {
        XXH128_canonical_t hash;
        XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(w->hash));
        msgpack_packer pk = mdq_packer(&w->frame->data);
        msgpack_pack_map(&pk, 4);
        mdq_pack_str(&pk, "t");
        mdq_pack_str(&pk, "end");
        mdq_pack_str(&pk, "count");
        msgpack_pack_int64(&pk, w->count);
        mdq_pack_str(&pk, "bytes");
        msgpack_pack_uint64(&pk, w->bytes);
        mdq_pack_str(&pk, "hash");
        msgpack_pack_bin(&pk, sizeof hash);
        msgpack_pack_bin_body(&pk, &hash, sizeof hash);
        err = w->frame->data.failed ? MDQ_E_INTERNAL : send_frame(w);
    }
    if (!err)
        err = write_finished(w, true);
    if (!err)
        err = mdq_output_commit(&w->out);
    release(w);
    return err;
}

void mdq_writer_abort(struct mdq_writer **wp)
{
    if (*wp)
        release(*wp);
    *wp = NULL;
}

uint64_t mdq_writer_records(const struct mdq_writer *w)
{
    return (uint64_t)w->count;
}
