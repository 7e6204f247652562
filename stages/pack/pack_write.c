/*
 * Order in the file: what the plan knows ahead; carried tensors of 8 and 4 byte elements; the layers; carried tensors of
 * narrower elements. So every element is aligned to its size without gaps, which the format forbids.
 */
#include "pack_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"

struct state {
    struct mdq_safetensors_writer *w;
    const struct mdq_model *m;
    struct pack_plan *p;
    struct pack_totals *totals;
    void *buffer;
    size_t capacity;
    bool *replaced; /* tensors of the source that are not carried */
};

static size_t tensor_bytes(const struct pack_tensor *t)
{
    return mdq_dtype_bytes(t->dtype, t->shape[0] * (t->ndim > 1 ? t->shape[1] : 1));
}

static void tensor_name(char *buf, size_t size, const struct pack_entry *e, const struct pack_tensor *t)
{
    snprintf(buf, size, "%.*s%s", pack_module_length(e->name), e->name, t->suffix);
}

/* ---- announcing ---- */

static enum mdq_err announce_layers(struct state *s, bool ahead)
{
    for (int i = 0; i < s->p->n; i++) {
        struct pack_entry *e = &s->p->entries[i];
        struct pack_tensor t[PACK_TENSORS];
        if (e->kept)
            continue;
        const int n = s->p->format->tensors(s->p, e, t);
        for (int k = 0; k < n; k++) {
            char name[160];
            if (t[k].ahead != ahead)
                continue;
            tensor_name(name, sizeof name, e, &t[k]);
            MDQ_TRY(mdq_safetensors_writer_announce(s->w, name, t[k].dtype, t[k].ndim, t[k].shape));
            e->bytes += tensor_bytes(&t[k]);
        }
    }
    return MDQ_OK;
}

static enum mdq_err announce_carried(struct state *s, unsigned bits)
{
    for (int i = 0; i < mdq_safetensors_count(s->m->tensors); i++) {
        const struct mdq_tensor *t = mdq_safetensors_at(s->m->tensors, i);
        if (!s->replaced[i] && mdq_dtype_bits(t->dtype) == bits)
            MDQ_TRY(mdq_safetensors_writer_announce(s->w, t->name, t->dtype, t->ndim, t->shape));
    }
    return MDQ_OK;
}

static enum mdq_err announce(struct state *s)
{
    MDQ_TRY(announce_layers(s, true));
    MDQ_TRY(announce_carried(s, 64));
    MDQ_TRY(announce_carried(s, 32));
    MDQ_TRY(announce_layers(s, false));
    MDQ_TRY(announce_carried(s, 16));
    return announce_carried(s, 8);
}

/* ---- writing ---- */

static enum mdq_err write_layer(struct state *s, struct pack_entry *e, const struct mdq_qlayer *l)
{
    struct pack_tensor t[PACK_TENSORS];
    const int n = s->p->format->tensors(s->p, e, t);
    for (int k = 0; k < n; k++) {
        char name[160];
        const size_t bytes = tensor_bytes(&t[k]);
        if (t[k].ahead != !l)
            continue;
        if (bytes > s->capacity) {
            void *buffer = mdq_realloc(s->buffer, bytes, 1, "packed tensor");
            if (!buffer)
                return MDQ_E_INTERNAL;
            s->buffer = buffer;
            s->capacity = bytes;
        }
        MDQ_TRY(s->p->format->fill(s->p, e, l, k, s->buffer));
        tensor_name(name, sizeof name, e, &t[k]);
        MDQ_TRY(mdq_safetensors_writer_data(s->w, name, s->buffer, bytes));
        mdq_progress_add((double)bytes / 1e6);
    }
    return MDQ_OK;
}

static enum mdq_err write_ahead(struct state *s)
{
    for (int i = 0; i < s->p->n; i++)
        if (!s->p->entries[i].kept)
            MDQ_TRY(write_layer(s, &s->p->entries[i], NULL));
    return MDQ_OK;
}

static enum mdq_err write_carried(struct state *s, unsigned bits)
{
    for (int i = 0; i < mdq_safetensors_count(s->m->tensors); i++) {
        const struct mdq_tensor *t = mdq_safetensors_at(s->m->tensors, i);
        if (s->replaced[i] || mdq_dtype_bits(t->dtype) != bits)
            continue;
        MDQ_TRY(mdq_safetensors_writer_data(s->w, t->name, t->data, t->bytes));
        mdq_tensor_release(t);
        mdq_progress_add((double)t->bytes / 1e6);
    }
    return MDQ_OK;
}

static enum mdq_err write_layers(struct state *s, struct pack_input *in, struct mdq_qlayer *l)
{
    bool more = true;
    for (int i = 0; i < s->p->n; i++) {
        struct pack_entry *e = &s->p->entries[i];
        if (i > 0)
            MDQ_TRY(pack_input_next(in, l, &more));
        if (!more)
            return mdq_fail(MDQ_E_DATA, "%s: %s: is missing", s->p->source, e->name);
        s->p->source = pack_input_name(in);
        MDQ_TRY(pack_plan_arrived(s->p, e, l));
        if (!e->kept)
            MDQ_TRY(write_layer(s, e, l));
    }
    MDQ_TRY(pack_input_next(in, l, &more)); /* the end records */
    return more ? mdq_fail(MDQ_E_DATA, "%s: %s: is one layer too many", s->p->source, l->tensor) : MDQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Which tensors of the source are replaced, and the totals as far as they are known now. */
static enum mdq_err sort_tensors(struct state *s)
{
    const struct pack_plan *p = s->p;
    const int count = mdq_safetensors_count(s->m->tensors);
    const char **names = mdq_alloc((size_t)p->n, sizeof *names, "names");
    s->replaced = mdq_calloc((size_t)count, sizeof *s->replaced, "tensors");
    if (!names || !s->replaced) {
        free(names);
        return MDQ_E_INTERNAL;
    }
    int n = 0;
    for (int i = 0; i < p->n; i++)
        if (!p->entries[i].kept)
            names[n++] = p->entries[i].name;
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (int i = 0; i < count; i++) {
        const struct mdq_tensor *t = mdq_safetensors_at(s->m->tensors, i);
        s->replaced[i] = bsearch(&t->name, names, (size_t)n, sizeof *names, compare_names) != NULL;
        s->totals->source_bytes += (double)t->bytes;
        if (!s->replaced[i]) {
            s->totals->bytes += (double)t->bytes;
            s->totals->carried++;
        }
    }
    s->totals->carried -= p->n_kept;
    free(names);
    return MDQ_OK;
}

static void count_layers(struct state *s)
{
    for (int i = 0; i < s->p->n; i++) {
        struct pack_entry *e = &s->p->entries[i];
        if (e->kept) {
            const struct mdq_tensor *t = mdq_safetensors_find(s->m->tensors, e->name);
            e->bytes = t ? t->bytes : 0;
            continue;
        }
        s->totals->bytes += (double)e->bytes;
        s->totals->quantized_bytes += (double)e->bytes;
        s->totals->quantized_weights += (double)e->rows * (double)e->cols;
    }
}

enum mdq_err pack_write(const char *dir, size_t max_shard, const struct mdq_model *m, struct pack_plan *p,
                        struct pack_input *in, struct mdq_qlayer *first, struct pack_totals *totals)
{
    struct state s = {.m = m, .p = p, .totals = totals};
    enum mdq_err err;
    *totals = (struct pack_totals){0};
    MDQ_GOTO(err, mdq_safetensors_writer_new(&s.w, dir, max_shard), out);
    MDQ_GOTO(err, sort_tensors(&s), out);
    MDQ_GOTO(err, announce(&s), out);
    count_layers(&s);
    mdq_progress_start("weights", totals->bytes / 1e6, "MB");
    MDQ_GOTO(err, write_ahead(&s), out);
    MDQ_GOTO(err, write_carried(&s, 64), out);
    MDQ_GOTO(err, write_carried(&s, 32), out);
    MDQ_GOTO(err, write_layers(&s, in, first), out);
    MDQ_GOTO(err, write_carried(&s, 16), out);
    MDQ_GOTO(err, write_carried(&s, 8), out);
    err = mdq_safetensors_writer_finish(&s.w);
    mdq_progress_end();
out:
    mdq_safetensors_writer_abort(&s.w);
    free(s.replaced);
    free(s.buffer);
    return err;
}
