/* The reader of stages: one stream, or several merged by identity (mdq1.md, section 6). */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_internal.h"

struct input {
    struct mdq_stream *stream;
    struct mdq_record *record; /* the one not yet handed out; NULL at the end, or when it was used */
    bool started, ended;
};

struct mdq_reader {
    struct input *inputs;
    int n;
    bool join;
    struct mdq_header *header;
    struct mdq_record *merged; /* of several inputs */
    int64_t count;
};

enum mdq_err mdq_reader_open(struct mdq_reader **out, char *const *paths, int n,
                             const struct mdq_reader_options *options)
{
    static const struct mdq_reader_options standard = {0};
    static char *const only[] = {"-"};
    *out = NULL;
    struct mdq_reader_options o = options ? *options : standard;
    if (n == 0) {
        paths = only;
        n = 1;
    }
    if (o.threads <= 0)
        o.threads = omp_get_max_threads();
    o.threads = o.threads / n > 1 ? o.threads / n : 1;
    struct mdq_reader *r = mdq_calloc(1, sizeof *r, "reader");
    if (!r)
        return MDQ_E_INTERNAL;
    r->join = o.join;
    r->inputs = mdq_calloc((size_t)n, sizeof *r->inputs, "reader");
    enum mdq_err err = r->inputs ? MDQ_OK : MDQ_E_INTERNAL;
    int standards = 0;
    for (int i = 0; i < n && !err; i++) {
        if (strcmp(paths[i], "-") == 0 && standards++)
            err = mdq_fail(MDQ_E_USAGE, "standard input is named twice");
        if (!err)
            err = mdq_stream_open(&r->inputs[i].stream, paths[i], &o);
        if (err)
            break;
        r->n++;
        const struct mdq_header *h = mdq_stream_header(r->inputs[i].stream);
        err = i ? mdq_header_unite(r->header, h, o.join) : mdq_header_derive(&r->header, h, NULL, NULL);
        if (err && i)
            err = mdq_fail_in(err, "%s and %s do not belong together", paths[0], paths[i]);
    }
    if (err)
        mdq_reader_close(&r);
    *out = r;
    return err;
}

const struct mdq_header *mdq_reader_header(const struct mdq_reader *r)
{
    return r->header;
}

/* The input whose record comes first, -1 when all are at their end. */
static enum mdq_err first(struct mdq_reader *r, int *best)
{
    *best = -1;
    for (int i = 0; i < r->n; i++) {
        struct input *in = &r->inputs[i];
        if (!in->record && !in->ended) {
            MDQ_TRY(mdq_stream_next(in->stream, &in->record));
            in->ended = !in->record;
        }
        if (!in->record)
            continue;
        if (*best < 0) {
            *best = i;
            continue;
        }
        struct mdq_id a = mdq_record_id(in->record), b = mdq_record_id(r->inputs[*best].record);
        if (mdq_order(r->header, &a, &b) < 0)
            *best = i;
    }
    return MDQ_OK;
}

/* Every input that announces the kind must have the record that `best` has. */
static enum mdq_err check_partners(const struct mdq_reader *r, int best)
{
    const struct mdq_record *rec = r->inputs[best].record;
    struct mdq_id id = mdq_record_id(rec);
    for (int i = 0; i < r->n && !r->join; i++) {
        const struct input *in = &r->inputs[i];
        if (i == best || !mdq_header_has_kind(mdq_stream_header(in->stream), rec->kind))
            continue;
        struct mdq_id other = {0};
        if (in->record)
            other = mdq_record_id(in->record);
        if (!in->record || mdq_order(r->header, &id, &other) != 0)
            return mdq_fail(MDQ_E_DATA, "%s: has no partner in %s, which announces records of this kind",
                            mdq_record_name(rec), mdq_stream_name(in->stream));
    }
    return MDQ_OK;
}

enum mdq_err mdq_reader_next(struct mdq_reader *r, struct mdq_record **rec)
{
    *rec = NULL;
    if (r->n == 1)
        return mdq_stream_next(r->inputs[0].stream, rec);
    mdq_record_free(&r->merged);
    int best;
    MDQ_TRY(first(r, &best));
    if (best < 0)
        return MDQ_OK;
    MDQ_TRY(check_partners(r, best));
    /* The merged record points into those of the inputs, which stay where they are until their next read. */
    struct mdq_id id = mdq_record_id(r->inputs[best].record);
    struct mdq_record *m = r->merged = mdq_record_new(&id);
    if (!m)
        return MDQ_E_INTERNAL;
    m->number = r->count;
    m->source = mdq_source_ref(r->inputs[best].record->source);
    for (int i = best; i < r->n; i++) {
        struct input *in = &r->inputs[i];
        struct mdq_id other = {0};
        if (!in->record)
            continue;
        other = mdq_record_id(in->record);
        if (i > best && mdq_order(r->header, &id, &other) != 0)
            continue;
        MDQ_TRY(mdq_record_unite(m, in->record));
        in->record = NULL;
    }
    r->count++;
    m->holder = &r->merged;
    *rec = m;
    return MDQ_OK;
}

uint64_t mdq_reader_bytes(const struct mdq_reader *r)
{
    uint64_t sum = 0;
    for (int i = 0; i < r->n; i++)
        sum += mdq_stream_bytes(r->inputs[i].stream);
    return sum;
}

void mdq_reader_close(struct mdq_reader **rp)
{
    struct mdq_reader *r = *rp;
    if (!r)
        return;
    mdq_record_free(&r->merged);
    for (int i = 0; i < r->n; i++)
        mdq_stream_close(&r->inputs[i].stream);
    mdq_header_free(&r->header);
    free(r->inputs);
    free(r);
    *rp = NULL;
}
