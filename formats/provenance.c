/* The chain of programs that made a stream: parsing, appending, uniting (mdq1.md, section 3). */
#include <stdlib.h>
#include <string.h>

#include "mdq_internal.h"

enum mdq_err mdq_list_add(char ***list, int *n, const char *s, size_t size)
{
    void *p = mdq_realloc(*list, (size_t)*n + 1, sizeof **list, "list of names");
    if (!p)
        return MDQ_E_INTERNAL;
    *list = p;
    char *copy = mdq_alloc(size + 1, 1, "name");
    if (!copy)
        return MDQ_E_INTERNAL;
    memcpy(copy, s, size);
    copy[size] = 0;
    (*list)[(*n)++] = copy;
    return MDQ_OK;
}

void mdq_prov_free(struct mdq_prov *p)
{
    for (int i = 0; i < p->n_prev; i++)
        free(p->prev[i]);
    free(p->prev);
    free(p->id);
    mdq_bytes_free(&p->fields);
    *p = (struct mdq_prov){0};
}

static int find(const struct mdq_header *h, const char *id)
{
    for (int i = 0; i < h->n_prov; i++)
        if (strcmp(h->prov[i].id, id) == 0)
            return i;
    return -1;
}

/* Takes p. */
static enum mdq_err append(struct mdq_header *h, struct mdq_prov *p)
{
    void *list = h->n_prov < MDQ_LIMIT_PROVENANCE
                     ? mdq_realloc(h->prov, (size_t)h->n_prov + 1, sizeof *h->prov, "provenance")
                     : NULL;
    if (!list) {
        mdq_prov_free(p);
        return h->n_prov < MDQ_LIMIT_PROVENANCE ? MDQ_E_INTERNAL
                                                : mdq_fail(MDQ_E_DATA, "prov: more entries than the limit");
    }
    h->prov = list;
    h->prov[h->n_prov++] = *p;
    return MDQ_OK;
}

static enum mdq_err parse_prev(struct mdq_header *h, struct mdq_prov *e, const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp list, v;
    p = mdq_mp_get(p, end, &list);
    if (list.type != MDQ_MP_LIST)
        return mdq_fail(MDQ_E_DATA, "prov: prev is no list");
    for (uint32_t i = 0; i < list.size; i++) {
        p = mdq_mp_get(p, end, &v);
        if (v.type != MDQ_MP_STR || v.size > MDQ_LIMIT_NAME || memchr(v.data, 0, v.size))
            return mdq_fail(MDQ_E_DATA, "prov: prev holds something that is no id");
        MDQ_TRY(mdq_list_add(&e->prev, &e->n_prev, (const char *)v.data, v.size));
        if (find(h, e->prev[i]) < 0)
            return mdq_fail(MDQ_E_DATA, "prov: prev names %.100s, which no entry before it has", e->prev[i]);
    }
    return MDQ_OK;
}

struct field {
    const uint8_t *raw, *key;
    size_t size, key_size;
};

static int field_cmp(const void *a, const void *b)
{
    const struct field *x = a, *y = b;
    int c = memcmp(x->key, y->key, x->key_size < y->key_size ? x->key_size : y->key_size);
    return c ? c : (x->key_size > y->key_size) - (x->key_size < y->key_size);
}

static enum mdq_err parse_entry(struct mdq_header *h, struct mdq_prov *e, const uint8_t *p, const uint8_t *end,
                                const struct mdq_mp *map)
{
    struct mdq_mp k, v;
    struct field *fields = mdq_alloc(map->size, sizeof *fields, "provenance");
    if (!fields)
        return MDQ_E_INTERNAL;
    enum mdq_err err = MDQ_OK;
    for (uint32_t i = 0; i < map->size && !err; i++) {
        mdq_mp_get(p, end, &k);
        mdq_mp_get(k.next, end, &v);
        const uint8_t *after = mdq_mp_skip(k.next, end);
        if (mdq_mp_is(&k, "id")) {
            if (v.type != MDQ_MP_STR || v.size == 0 || v.size > MDQ_LIMIT_NAME || memchr(v.data, 0, v.size))
                err = mdq_fail(MDQ_E_DATA, "prov: an id that is no string");
            else if (!(e->id = mdq_asprintf("%.*s", (int)v.size, (const char *)v.data)))
                err = MDQ_E_INTERNAL;
        } else if (mdq_mp_is(&k, "prev")) {
            err = parse_prev(h, e, k.next, end);
        } else {
            fields[e->n_fields++] = (struct field){p, k.data, (size_t)(after - p), k.size};
        }
        p = after;
    }
    qsort(fields, e->n_fields, sizeof *fields, field_cmp);
    for (uint32_t i = 0; i < e->n_fields; i++)
        mdq_bytes_add(&e->fields, fields[i].raw, fields[i].size);
    free(fields);
    return err || !e->fields.failed ? err : MDQ_E_INTERNAL;
}

enum mdq_err mdq_prov_parse(struct mdq_header *h, const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp list, map;
    p = mdq_mp_get(p, end, &list);
    if (list.type != MDQ_MP_LIST || list.size > MDQ_LIMIT_PROVENANCE)
        return mdq_fail(MDQ_E_DATA, "prov: no list, or longer than the limit");
    for (uint32_t i = 0; i < list.size; i++) {
        struct mdq_prov e = {0};
        mdq_mp_get(p, end, &map);
        if (map.type != MDQ_MP_MAP)
            return mdq_fail(MDQ_E_DATA, "prov: an entry that is no map");
        enum mdq_err err = parse_entry(h, &e, map.next, end, &map);
        if (!err && (!e.id || find(h, e.id) >= 0))
            err = mdq_fail(MDQ_E_DATA, "prov: %s", e.id ? "two entries have the same id" : "an entry without id");
        if (err) {
            mdq_prov_free(&e);
            return err;
        }
        MDQ_TRY(append(h, &e));
        p = mdq_mp_skip(p, end);
    }
    return MDQ_OK;
}

void mdq_prov_pack(const struct mdq_header *h, struct mdq_bytes *out)
{
    msgpack_packer pk = mdq_packer(out);
    msgpack_pack_array(&pk, (size_t)h->n_prov);
    for (int i = 0; i < h->n_prov; i++) {
        const struct mdq_prov *e = &h->prov[i];
        msgpack_pack_map(&pk, 2 + e->n_fields);
        mdq_pack_str(&pk, "id");
        mdq_pack_str(&pk, e->id);
        mdq_pack_str(&pk, "prev");
        msgpack_pack_array(&pk, (size_t)e->n_prev);
        for (int k = 0; k < e->n_prev; k++)
            mdq_pack_str(&pk, e->prev[k]);
        mdq_bytes_add(out, e->fields.data, e->fields.size);
    }
}

/* `base`, or with the first of .1, .2, ... that is free. */
static char *free_id(const struct mdq_header *h, const char *base)
{
    char *id = mdq_strdup(base);
    for (int i = 1; id && find(h, id) >= 0; i++) {
        free(id);
        id = mdq_asprintf("%s.%d", base, i);
    }
    return id;
}

/* An id without its suffix of digits. */
static char *base_of(const char *id)
{
    size_t n = strlen(id), k = n;
    while (k > 0 && id[k - 1] >= '0' && id[k - 1] <= '9')
        k--;
    bool suffix = k < n && k > 1 && id[k - 1] == '.';
    return mdq_asprintf("%.*s", (int)(suffix ? k - 1 : n), id);
}

static bool same(const struct mdq_prov *a, const struct mdq_prov *b)
{
    char *x = base_of(a->id), *y = base_of(b->id);
    bool eq = x && y && strcmp(x, y) == 0 && a->n_prev == b->n_prev && a->fields.size == b->fields.size &&
              a->n_fields == b->n_fields &&
              (a->fields.size == 0 || memcmp(a->fields.data, b->fields.data, a->fields.size) == 0);
    for (int i = 0; eq && i < a->n_prev; i++)
        eq = strcmp(a->prev[i], b->prev[i]) == 0;
    free(x);
    free(y);
    return eq;
}

/* The entry `from` of another header as one of h: its parents renamed, its id made free. *index: where it is in h. */
static enum mdq_err adopt(struct mdq_header *h, const struct mdq_header *other, const struct mdq_prov *from,
                          const int *index_of, int *index)
{
    struct mdq_prov e = {.n_fields = from->n_fields};
    mdq_bytes_add(&e.fields, from->fields.data, from->fields.size);
    enum mdq_err err = e.fields.failed ? MDQ_E_INTERNAL : MDQ_OK;
    for (int i = 0; i < from->n_prev && !err; i++) {
        const char *id = h->prov[index_of[find(other, from->prev[i])]].id;
        err = mdq_list_add(&e.prev, &e.n_prev, id, strlen(id));
    }
    if (!err && !(e.id = mdq_strdup(from->id)))
        err = MDQ_E_INTERNAL;
    for (int i = 0; i < h->n_prov && !err; i++)
        if (same(&h->prov[i], &e)) {
            *index = i;
            mdq_prov_free(&e);
            return MDQ_OK;
        }
    if (!err && find(h, e.id) >= 0) {
        char *base = base_of(e.id);
        free(e.id);
        e.id = base ? free_id(h, base) : NULL;
        free(base);
        err = e.id ? MDQ_OK : MDQ_E_INTERNAL;
    }
    if (err) {
        mdq_prov_free(&e);
        return err;
    }
    *index = h->n_prov;
    return append(h, &e);
}

enum mdq_err mdq_prov_unite(struct mdq_header *h, const struct mdq_header *other)
{
    int *index_of = mdq_alloc((size_t)other->n_prov, sizeof *index_of, "provenance");
    enum mdq_err err = index_of ? MDQ_OK : MDQ_E_INTERNAL;
    for (int i = 0; i < other->n_prov && !err; i++)
        err = adopt(h, other, &other->prov[i], index_of, &index_of[i]);
    free(index_of);
    return err;
}

static enum mdq_err fields_of(struct mdq_prov *e, const char *prog, const char *args)
{
    msgpack_packer pk = mdq_packer(&e->fields);
    mdq_pack_str(&pk, "args");
    MDQ_TRY(mdq_mp_from_json(&e->fields, args ? args : "{}", "arguments"));
    mdq_pack_str(&pk, "prog");
    mdq_pack_str(&pk, prog);
    mdq_pack_str(&pk, "version");
    mdq_pack_str(&pk, MDQ_VERSION);
    e->n_fields = 3;
    return e->fields.failed ? MDQ_E_INTERNAL : MDQ_OK;
}

enum mdq_err mdq_header_add_provenance(struct mdq_header *h, const struct mdq_header *other, const char *prog,
                                       const char *args)
{
    if (!prog)
        return MDQ_OK;
    if (other)
        MDQ_TRY(mdq_prov_unite(h, other));
    struct mdq_prov e = {0};
    enum mdq_err err = fields_of(&e, prog, args);
    for (int i = 0; i < h->n_prov && !err; i++) {
        bool parent = false;
        for (int k = i + 1; k < h->n_prov && !parent; k++)
            for (int j = 0; j < h->prov[k].n_prev && !parent; j++)
                parent = strcmp(h->prov[k].prev[j], h->prov[i].id) == 0;
        if (!parent)
            err = mdq_list_add(&e.prev, &e.n_prev, h->prov[i].id, strlen(h->prov[i].id));
    }
    if (!err && !(e.id = free_id(h, prog)))
        err = MDQ_E_INTERNAL;
    if (err) {
        mdq_prov_free(&e);
        return err;
    }
    return append(h, &e);
}
