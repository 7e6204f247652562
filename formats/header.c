/* The header of a stream: new, parse, pack, unite, getters. */
#include <stdlib.h>
#include <string.h>

#include "mdq_internal.h"

void mdq_header_free(struct mdq_header **hp)
{
    struct mdq_header *h = *hp;
    if (!h)
        return;
    for (int i = 0; i < h->n_layers; i++)
        free((char *)h->layers[i].tensor);
    for (int i = 0; i < h->n_prov; i++)
        mdq_prov_free(&h->prov[i]);
    for (int i = 0; i < h->n_extra; i++) {
        free(h->extra[i].key);
        mdq_bytes_free(&h->extra[i].value);
    }
    for (int i = 0; i < h->n_require; i++)
        free(h->require[i]);
    for (int i = 0; i < h->n_kinds; i++)
        free(h->kinds[i]);
    free(h->require);
    free(h->kinds);
    free(h->layers);
    free(h->by_name);
    free(h->prov);
    free(h->extra);
    free(h);
    *hp = NULL;
}

/* ---- the layer table ---- */

static enum mdq_err add_layer(struct mdq_header *h, const struct mdq_layer_entry *l)
{
    int n = h->n_layers;
    if ((n & (n + 1)) == 0) { /* room doubles at 0, 1, 3, 7, ... */
        void *p = mdq_realloc(h->layers, (size_t)n * 2 + 2, sizeof *h->layers, "layer table");
        if (!p)
            return MDQ_E_INTERNAL;
        h->layers = p;
    }
    h->layers[n] = *l;
    if (!(h->layers[n].tensor = mdq_strdup(l->tensor)))
        return MDQ_E_INTERNAL;
    h->n_layers++;
    return MDQ_OK;
}

static int by_name_cmp(const void *a, const void *b, void *layers)
{
    const struct mdq_layer_entry *l = layers;
    return strcmp(l[*(const int *)a].tensor, l[*(const int *)b].tensor);
}

enum mdq_err mdq_header_index(struct mdq_header *h)
{
    void *p = mdq_realloc(h->by_name, (size_t)h->n_layers, sizeof *h->by_name, "layer table");
    if (!p)
        return MDQ_E_INTERNAL;
    h->by_name = p;
    for (int i = 0; i < h->n_layers; i++)
        h->by_name[i] = i;
    qsort_r(h->by_name, (size_t)h->n_layers, sizeof *h->by_name, by_name_cmp, h->layers);
    for (int i = 1; i < h->n_layers; i++)
        if (by_name_cmp(&h->by_name[i - 1], &h->by_name[i], h->layers) == 0)
            return mdq_fail(MDQ_E_DATA, "layers: %.200s twice", h->layers[h->by_name[i]].tensor);
    return MDQ_OK;
}

int mdq_header_find_layer(const struct mdq_header *h, const char *tensor)
{
    int lo = 0, hi = h->n_layers - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2, c = strcmp(h->layers[h->by_name[mid]].tensor, tensor);
        if (c == 0)
            return h->by_name[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid - 1;
    }
    return -1;
}

static enum mdq_err check_layer(const struct mdq_layer_entry *l)
{
    if (l->rows < 0 || l->cols < 0 || l->tile_rows < 0 || l->tile_cols < 0 || l->tile_rows > l->rows ||
        l->tile_cols > l->cols || l->block < -1)
        return mdq_fail(MDQ_E_DATA, "layers: %.200s: sizes that cannot be", l->tensor);
    return MDQ_OK;
}

static bool is_model(const char *s)
{
    return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

enum mdq_err mdq_header_new(struct mdq_header **out, const char *model, const struct mdq_layer_entry *layers, int n)
{
    *out = NULL;
    if (!is_model(model))
        return mdq_fail(MDQ_E_INTERNAL, "model identity %.40s: not 32 hex digits in lower case", model);
    struct mdq_header *h = mdq_calloc(1, sizeof *h, "header");
    if (!h)
        return MDQ_E_INTERNAL;
    strcpy(h->model, model);
    enum mdq_err err = MDQ_OK;
    for (int i = 0; i < n && !err; i++) {
        err = check_layer(&layers[i]);
        if (!err)
            err = add_layer(h, &layers[i]);
    }
    if (!err)
        err = mdq_header_index(h);
    if (err)
        mdq_header_free(&h);
    *out = h;
    return err;
}

/* ---- parsing ---- */

static bool take_string(const struct mdq_mp *v)
{
    return v->type == MDQ_MP_STR && v->size > 0 && v->size <= MDQ_LIMIT_NAME && !memchr(v->data, 0, v->size);
}

static enum mdq_err parse_names(char ***list, int *n, const char *key, const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp v, s;
    p = mdq_mp_get(p, end, &v);
    if (v.type != MDQ_MP_LIST || v.size > 1024)
        return mdq_fail(MDQ_E_DATA, "%s: no list of names", key);
    for (uint32_t i = 0; i < v.size; i++) {
        p = mdq_mp_get(p, end, &s);
        if (!take_string(&s))
            return mdq_fail(MDQ_E_DATA, "%s: no list of names", key);
        MDQ_TRY(mdq_list_add(list, n, (const char *)s.data, s.size));
    }
    return MDQ_OK;
}

static enum mdq_err parse_layers(struct mdq_header *h, const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp v, row, name, x;
    p = mdq_mp_get(p, end, &v);
    if (v.type != MDQ_MP_LIST || v.size > MDQ_LIMIT_LAYERS)
        return mdq_fail(MDQ_E_DATA, "layers: no list, or longer than the limit");
    for (uint32_t i = 0; i < v.size; i++) {
        int64_t n[5];
        bool ok = true;
        p = mdq_mp_get(p, end, &row);
        if (row.type != MDQ_MP_LIST || row.size != 6)
            return mdq_fail(MDQ_E_DATA, "layers: entry %u is no list of six", i);
        p = mdq_mp_get(p, end, &name);
        for (int k = 0; k < 5 && ok; k++) {
            p = mdq_mp_get(p, end, &x);
            ok = mdq_mp_int(&x, &n[k]);
        }
        if (!ok || !take_string(&name) || n[4] > INT32_MAX || n[4] < -1)
            return mdq_fail(MDQ_E_DATA, "layers: entry %u is no name with five numbers", i);
        char *tensor = mdq_asprintf("%.*s", (int)name.size, (const char *)name.data);
        if (!tensor)
            return MDQ_E_INTERNAL;
        struct mdq_layer_entry l = {tensor, n[0], n[1], n[2], n[3], (int)n[4]};
        enum mdq_err err = check_layer(&l);
        if (!err)
            err = add_layer(h, &l);
        free(tensor);
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

static enum mdq_err add_extra(struct mdq_header *h, const char *key, size_t key_size, const uint8_t *value, size_t size)
{
    void *p = mdq_realloc(h->extra, (size_t)h->n_extra + 1, sizeof *h->extra, "header");
    if (!p)
        return MDQ_E_INTERNAL;
    h->extra = p;
    struct mdq_extra e = {.key = mdq_asprintf("%.*s", (int)key_size, key)};
    mdq_bytes_add(&e.value, value, size);
    if (!e.key || e.value.failed) {
        free(e.key);
        mdq_bytes_free(&e.value);
        return MDQ_E_INTERNAL;
    }
    int at = h->n_extra++;
    for (; at > 0 && strcmp(h->extra[at - 1].key, e.key) > 0; at--)
        h->extra[at] = h->extra[at - 1];
    h->extra[at] = e;
    return MDQ_OK;
}

/* magic and version come first, so that they are checked before anything else is believed. */
static enum mdq_err parse_version(struct mdq_header *h, const uint8_t **p, const uint8_t *end, uint32_t pairs)
{
    struct mdq_mp k, v;
    int64_t major;
    if (pairs < 3)
        return mdq_fail(MDQ_E_DATA, "no mdq header");
    mdq_mp_get(mdq_mp_get(*p, end, &k), end, &v);
    if (!mdq_mp_is(&k, "magic") || !mdq_mp_is(&v, "mdq"))
        return mdq_fail(MDQ_E_DATA, "no mdq header: it does not begin with the key magic");
    mdq_mp_get(mdq_mp_get(v.next, end, &k), end, &v);
    if (!mdq_mp_is(&k, "major") || !mdq_mp_int(&v, &major))
        return mdq_fail(MDQ_E_DATA, "the second key is not major, a number");
    if (major != MDQ_MAJOR)
        return mdq_fail(MDQ_E_DATA, "written in version %lld of the format, this program reads version %d",
                        (long long)major, MDQ_MAJOR);
    mdq_mp_get(mdq_mp_get(v.next, end, &k), end, &v);
    if (!mdq_mp_is(&k, "minor") || !mdq_mp_int(&v, &h->minor) || h->minor < 0)
        return mdq_fail(MDQ_E_DATA, "the third key is not minor, a number");
    *p = v.next;
    return MDQ_OK;
}

static enum mdq_err parse(struct mdq_header *h, const uint8_t *p, const uint8_t *end)
{
    struct mdq_mp map, k, v;
    const uint8_t *next;
    const char *why = mdq_mp_check(p, end, MDQ_LIMIT_DEPTH, &next);
    if (why)
        return mdq_fail(MDQ_E_DATA, "%s", why);
    if (next != end)
        return mdq_fail(MDQ_E_DATA, "bytes behind the header in its frame");
    p = mdq_mp_get(p, end, &map);
    if (map.type != MDQ_MP_MAP)
        return mdq_fail(MDQ_E_DATA, "no mdq header: not a map");
    MDQ_TRY(parse_version(h, &p, end, map.size));
    bool layers = false, prov = false, kinds = false;
    for (uint32_t i = 3; i < map.size; i++) {
        mdq_mp_get(p, end, &k);
        mdq_mp_get(k.next, end, &v);
        const uint8_t *after = mdq_mp_skip(k.next, end);
        if (mdq_mp_is(&k, "require")) {
            MDQ_TRY(parse_names(&h->require, &h->n_require, "require", k.next, end));
            if (h->n_require > 0) /* this version knows none */
                return mdq_fail(MDQ_E_DATA, "the stream requires %.100s, which this version of mdq does not know",
                                h->require[0]);
        } else if (mdq_mp_is(&k, "model")) {
            if (v.type != MDQ_MP_STR || v.size != 32)
                return mdq_fail(MDQ_E_DATA, "model: not 32 hex digits");
            memcpy(h->model, v.data, 32);
        } else if (mdq_mp_is(&k, "layers")) {
            layers = true;
            MDQ_TRY(parse_layers(h, k.next, end));
        } else if (mdq_mp_is(&k, "kinds")) {
            kinds = true;
            MDQ_TRY(parse_names(&h->kinds, &h->n_kinds, "kinds", k.next, end));
        } else if (mdq_mp_is(&k, "prov")) {
            prov = true;
            MDQ_TRY(mdq_prov_parse(h, k.next, end));
        } else {
            MDQ_TRY(add_extra(h, (const char *)k.data, k.size, k.next, (size_t)(after - k.next)));
        }
        p = after;
    }
    if (!is_model(h->model))
        return mdq_fail(MDQ_E_DATA, "model: missing, or not 32 hex digits in lower case");
    if (!layers || !prov || !kinds)
        return mdq_fail(MDQ_E_DATA, "the key %s is missing", !layers ? "layers" : !prov ? "prov" : "kinds");
    return mdq_header_index(h);
}

enum mdq_err mdq_header_parse(struct mdq_header **out, const uint8_t *p, const uint8_t *end)
{
    *out = NULL;
    struct mdq_header *h = mdq_calloc(1, sizeof *h, "header");
    if (!h)
        return MDQ_E_INTERNAL;
    enum mdq_err err = parse(h, p, end);
    if (err)
        mdq_header_free(&h);
    *out = h;
    return err;
}

/* ---- packing ---- */

static int kind_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum mdq_err pack(const struct mdq_header *h, int64_t minor, struct mdq_bytes *out)
{
    msgpack_packer pk = mdq_packer(out);
    size_t from = out->size;
    msgpack_pack_map(&pk, 8 + (size_t)h->n_extra);
    mdq_pack_str(&pk, "magic");
    mdq_pack_str(&pk, "mdq");
    mdq_pack_str(&pk, "major");
    msgpack_pack_int(&pk, MDQ_MAJOR);
    mdq_pack_str(&pk, "minor");
    msgpack_pack_int64(&pk, minor);
    mdq_pack_str(&pk, "require");
    msgpack_pack_array(&pk, (size_t)h->n_require);
    for (int i = 0; i < h->n_require; i++)
        mdq_pack_str(&pk, h->require[i]);
    mdq_pack_str(&pk, "model");
    mdq_pack_str(&pk, h->model);
    mdq_pack_str(&pk, "layers");
    msgpack_pack_array(&pk, (size_t)h->n_layers);
    for (int i = 0; i < h->n_layers; i++) {
        const struct mdq_layer_entry *l = &h->layers[i];
        msgpack_pack_array(&pk, 6);
        mdq_pack_str(&pk, l->tensor);
        msgpack_pack_int64(&pk, l->rows);
        msgpack_pack_int64(&pk, l->cols);
        msgpack_pack_int64(&pk, l->tile_rows);
        msgpack_pack_int64(&pk, l->tile_cols);
        msgpack_pack_int(&pk, l->block);
    }
    mdq_pack_str(&pk, "kinds");
    msgpack_pack_array(&pk, (size_t)h->n_kinds);
    for (int i = 0; i < h->n_kinds; i++)
        mdq_pack_str(&pk, h->kinds[i]);
    mdq_pack_str(&pk, "prov");
    mdq_prov_pack(h, out);
    for (int i = 0; i < h->n_extra; i++) {
        mdq_pack_str(&pk, h->extra[i].key);
        mdq_bytes_add(out, h->extra[i].value.data, h->extra[i].value.size);
    }
    if (!out->failed && out->size - from > MDQ_LIMIT_HEADER)
        return mdq_fail(MDQ_E_DATA, "the header is larger than the limit");
    return out->failed ? MDQ_E_INTERNAL : MDQ_OK;
}

enum mdq_err mdq_header_pack(const struct mdq_header *h, struct mdq_bytes *out)
{
    return pack(h, MDQ_MINOR, out); /* the lowest that describes what this library writes */
}

enum mdq_err mdq_header_derive(struct mdq_header **out, const struct mdq_header *in, const char *prog, const char *args)
{
    struct mdq_bytes b = {0};
    *out = NULL;
    enum mdq_err err = mdq_header_pack(in, &b);
    if (!err)
        err = mdq_header_parse(out, b.data, b.data + b.size);
    mdq_bytes_free(&b);
    if (!err)
        (*out)->minor = in->minor;
    if (!err)
        err = mdq_header_add_provenance(*out, NULL, prog, args);
    if (err)
        mdq_header_free(out);
    return err;
}

/* ---- kinds and other keys ---- */

bool mdq_header_has_kind(const struct mdq_header *h, const char *kind)
{
    for (int i = 0; i < h->n_kinds; i++)
        if (strcmp(h->kinds[i], kind) == 0)
            return true;
    return false;
}

enum mdq_err mdq_header_add_kind(struct mdq_header *h, const char *kind)
{
    if (mdq_header_has_kind(h, kind))
        return MDQ_OK;
    MDQ_TRY(mdq_list_add(&h->kinds, &h->n_kinds, kind, strlen(kind)));
    qsort(h->kinds, (size_t)h->n_kinds, sizeof *h->kinds, kind_cmp); /* the same, in whatever order they were announced */
    return MDQ_OK;
}

static struct mdq_extra *find_extra(const struct mdq_header *h, const char *key)
{
    for (int i = 0; i < h->n_extra; i++)
        if (strcmp(h->extra[i].key, key) == 0)
            return &h->extra[i];
    return NULL;
}

enum mdq_err mdq_header_set_json(struct mdq_header *h, const char *key, const char *json)
{
    static const char *const own[] = {"magic", "major", "minor", "require", "model", "layers", "kinds", "prov"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(key, own[i]) == 0)
            return mdq_fail(MDQ_E_INTERNAL, "header key %s: has a function of its own", key);
    struct mdq_bytes b = {0};
    enum mdq_err err = mdq_mp_from_json(&b, json, key);
    const struct mdq_extra *old = find_extra(h, key);
    if (!err && old && (old->value.size != b.size || memcmp(old->value.data, b.data, b.size) != 0))
        err = mdq_fail(MDQ_E_DATA, "header key %s: is there already, with another value", key);
    if (!err && !old)
        err = add_extra(h, key, strlen(key), b.data, b.size);
    mdq_bytes_free(&b);
    return err;
}

static char *json_of(const uint8_t *p, const uint8_t *end)
{
    struct mdq_bytes b = {0};
    mdq_mp_print(&b, p, end, MDQ_MP_SUMMARY);
    mdq_bytes_add(&b, "", 1);
    if (b.failed)
        mdq_bytes_free(&b);
    return (char *)b.data;
}

char *mdq_header_get_json(const struct mdq_header *h, const char *key)
{
    const struct mdq_extra *e = find_extra(h, key);
    return e ? json_of(e->value.data, e->value.data + e->value.size) : NULL;
}

char *mdq_header_json(const struct mdq_header *h)
{
    struct mdq_bytes b = {0};
    char *text = pack(h, h->minor, &b) == MDQ_OK ? json_of(b.data, b.data + b.size) : NULL;
    mdq_bytes_free(&b);
    return text;
}

const char *mdq_header_model(const struct mdq_header *h)
{
    return h->model;
}

int mdq_header_layers(const struct mdq_header *h)
{
    return h->n_layers;
}

const struct mdq_layer_entry *mdq_header_layer(const struct mdq_header *h, int i)
{
    return i >= 0 && i < h->n_layers ? &h->layers[i] : NULL;
}

/* ---- cutting and uniting ---- */

enum mdq_err mdq_header_cut(struct mdq_header *h, int block)
{
    int n = 0;
    for (int i = 0; i < h->n_layers; i++)
        n += h->layers[i].block == block;
    if (n == 0 && h->n_layers == 0)
        return mdq_fail(MDQ_E_DATA, "no block %d in the stream: its layer table is empty", block);
    if (n == 0)
        return mdq_fail(MDQ_E_DATA, "no block %d in the stream: its layers are of blocks %d to %d", block, h->layers[0].block,
                        h->layers[h->n_layers - 1].block);
    n = 0;
    for (int i = 0; i < h->n_layers; i++) {
        if (h->layers[i].block == block)
            h->layers[n++] = h->layers[i];
        else
            free((char *)h->layers[i].tensor);
    }
    h->n_layers = n;
    return mdq_header_index(h);
}

static bool same_layer(const struct mdq_layer_entry *a, const struct mdq_layer_entry *b)
{
    return strcmp(a->tensor, b->tensor) == 0 && a->rows == b->rows && a->cols == b->cols &&
           a->tile_rows == b->tile_rows && a->tile_cols == b->tile_cols && a->block == b->block;
}

/* Layers that b has and a has not are put behind a's of the same and earlier blocks. */
static enum mdq_err unite_layers(struct mdq_header *a, const struct mdq_header *b)
{
    for (int i = 0; i < b->n_layers; i++) {
        const struct mdq_layer_entry *l = &b->layers[i];
        int have = mdq_header_find_layer(a, l->tensor);
        if (have >= 0 && !same_layer(&a->layers[have], l))
            return mdq_fail(MDQ_E_DATA, "layers: %.200s: another shape or tiling", l->tensor);
        if (have >= 0)
            continue;
        MDQ_TRY(add_layer(a, l));
        struct mdq_layer_entry added = a->layers[a->n_layers - 1];
        int at = a->n_layers - 1;
        for (; at > 0 && a->layers[at - 1].block > added.block; at--)
            a->layers[at] = a->layers[at - 1];
        a->layers[at] = added;
        MDQ_TRY(mdq_header_index(a));
    }
    return MDQ_OK;
}

enum mdq_err mdq_header_unite(struct mdq_header *a, const struct mdq_header *b, bool tables)
{
    if (strcmp(a->model, b->model) != 0)
        return mdq_fail(MDQ_E_DATA, "of another model (%s instead of %s)", b->model, a->model);
    bool same = a->n_layers == b->n_layers;
    for (int i = 0; same && i < a->n_layers; i++)
        same = same_layer(&a->layers[i], &b->layers[i]);
    if (!same && !tables)
        return mdq_fail(MDQ_E_DATA, "layers: another table of layers or tiles");
    if (!same)
        MDQ_TRY(unite_layers(a, b));
    for (int i = 0; i < b->n_kinds; i++)
        MDQ_TRY(mdq_header_add_kind(a, b->kinds[i]));
    for (int i = 0; i < b->n_extra; i++) {
        const struct mdq_extra *x = &b->extra[i], *old = find_extra(a, x->key);
        if (!old)
            MDQ_TRY(add_extra(a, x->key, strlen(x->key), x->value.data, x->value.size));
        else if (old->value.size != x->value.size || memcmp(old->value.data, x->value.data, x->value.size) != 0)
            return mdq_fail(MDQ_E_DATA, "header key %.100s: has another value", x->key);
    }
    return mdq_prov_unite(a, b);
}
