/* Records: what they hold, parsing, getters. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_internal.h"

struct mdq_text {
    struct mdq_text *next;
    char s[];
};

struct mdq_source *mdq_source_new(const char *name)
{
    size_t n = strlen(name) + 1;
    struct mdq_source *s = mdq_alloc(1, sizeof *s + n, "name");
    if (!s)
        return NULL;
    atomic_init(&s->references, 1);
    memcpy(s->name, name, n);
    return s;
}

struct mdq_source *mdq_source_ref(struct mdq_source *s)
{
    if (s)
        atomic_fetch_add(&s->references, 1);
    return s;
}

void mdq_source_free(struct mdq_source *s)
{
    if (s && atomic_fetch_sub(&s->references, 1) == 1)
        free(s);
}

static char *copy_text(const void *s, size_t n)
{
    char *p = mdq_alloc(n + 1, 1, "string");
    if (p) {
        memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

static struct mdq_record *record_create(const void *tensor, size_t tensor_size, const void *kind, size_t kind_size)
{
    struct mdq_record *r = mdq_calloc(1, sizeof *r, "record");
    if (!r)
        return NULL;
    r->number = -1;
    r->tensor = copy_text(tensor, tensor_size);
    r->kind = copy_text(kind, kind_size);
    if (!r->tensor || !r->kind)
        mdq_record_free(&r);
    return r;
}

struct mdq_record *mdq_record_new(const struct mdq_id *id)
{
    struct mdq_record *r = record_create(id->tensor, strlen(id->tensor), id->kind, strlen(id->kind));
    if (r) {
        r->row = id->row;
        r->col = id->col;
    }
    return r;
}

void mdq_record_free(struct mdq_record **rp)
{
    struct mdq_record *r = *rp;
    if (!r)
        return;
    if (r->holder)
        *r->holder = NULL;
    for (int i = 0; i < r->n; i++)
        if (r->entries[i].owned)
            free(r->entries[i].raw);
    while (r->texts) {
        struct mdq_text *t = r->texts;
        r->texts = t->next;
        free(t);
    }
    mdq_source_free(r->source);
    free(r->entries);
    free(r->bytes);
    free(r->tensor);
    free(r->kind);
    free(r);
    *rp = NULL;
}

struct mdq_record *mdq_record_take(struct mdq_record *r)
{
    if (!r->holder)
        return r;
    size_t bytes = 0, at = 0;
    for (int i = 0; i < r->n; i++)
        bytes += r->entries[i].owned ? 0 : r->entries[i].size;
    uint8_t *p = mdq_alloc(bytes, 1, mdq_record_name(r));
    if (!p)
        return NULL;
    for (int i = 0; i < r->n; i++) {
        struct mdq_entry *e = &r->entries[i];
        if (e->owned)
            continue;
        memcpy(p + at, e->raw, e->size);
        e->raw = p + at;
        at += e->size;
    }
    r->bytes = p;
    *r->holder = NULL;
    r->holder = NULL;
    return r;
}

struct mdq_id mdq_record_id(const struct mdq_record *r)
{
    return (struct mdq_id){.tensor = r->tensor, .kind = r->kind, .row = r->row, .col = r->col};
}

const char *mdq_record_name(const struct mdq_record *r)
{
    static _Thread_local char text[MDQ_LIMIT_NAME];
    int at = 0;
    if (r->source)
        at = snprintf(text, sizeof text, "%.1000s: ", r->source->name);
    if (r->number >= 0)
        at += snprintf(text + at, sizeof text - (size_t)at, "record %lld: ", (long long)r->number);
    snprintf(text + at, sizeof text - (size_t)at, "%.100s %.1000s [%lld,%lld]", r->kind, r->tensor, (long long)r->row,
             (long long)r->col);
    return text;
}

/* ---- entries ---- */

static int key_cmp(const struct mdq_entry *e, const char *key, size_t size)
{
    int c = memcmp(e->raw + e->key_at, key, e->key_size < size ? e->key_size : size);
    return c ? c : (e->key_size > size) - (e->key_size < size);
}

/* Index of the first entry whose key is not below `key`. */
static int lower_bound(const struct mdq_record *r, const char *key, size_t size)
{
    int lo = 0, hi = r->n;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (key_cmp(&r->entries[mid], key, size) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct mdq_entry *mdq_record_find(const struct mdq_record *r, const char *key)
{
    size_t size = strlen(key);
    int i = lower_bound(r, key, size);
    return i < r->n && key_cmp(&r->entries[i], key, size) == 0 ? &r->entries[i] : NULL;
}

enum mdq_err mdq_record_insert(struct mdq_record *r, struct mdq_entry e)
{
    if (r->n == r->capacity) {
        int cap = r->capacity ? 2 * r->capacity : 8;
        void *p = mdq_realloc(r->entries, (size_t)cap, sizeof *r->entries, "keys of a record");
        if (!p) {
            if (e.owned)
                free(e.raw);
            return MDQ_E_INTERNAL;
        }
        r->entries = p;
        r->capacity = cap;
    }
    int at = lower_bound(r, (const char *)e.raw + e.key_at, e.key_size);
    memmove(r->entries + at + 1, r->entries + at, (size_t)(r->n - at) * sizeof *r->entries);
    r->entries[at] = e;
    r->n++;
    return MDQ_OK;
}

const uint8_t *mdq_entry_value(const struct mdq_entry *e, const uint8_t **end)
{
    *end = e->raw + e->size;
    return e->raw + e->value_at;
}

/* Arrays in planes are joined in place, so that a record's memory stays that of its bytes. */
enum mdq_err mdq_entry_array(struct mdq_entry *e, struct mdq_array *out, const char **why)
{
    struct mdq_layout l;
    bool is_array;
    const uint8_t *end, *value = mdq_entry_value(e, &end);
    if ((*why = mdq_layout_read(value, end, &l, &is_array)))
        return MDQ_E_DATA;
    if (!is_array) {
        *why = "not an array";
        return MDQ_E_DATA;
    }
    uint8_t *data = e->raw + e->value_at + l.offset;
    if (l.planes && !e->joined) {
        uint8_t *copy = mdq_alloc(l.bytes, 1, "array");
        if (!copy) {
            *why = mdq_error_message();
            return MDQ_E_INTERNAL;
        }
        memcpy(copy, data, l.bytes);
        mdq_planes_join(copy, (size_t)l.count, mdq_dtype_bits(l.dtype) / 8, data);
        free(copy);
        e->joined = true;
    }
    *out = (struct mdq_array){.dtype = l.dtype, .ndim = l.ndim, .data = data, .bytes = l.bytes};
    memcpy(out->shape, l.shape, sizeof out->shape);
    return MDQ_OK;
}

/* ---- the registry's "finite" ---- */

bool mdq_key_finite(const char *kind, const char *key, size_t key_size)
{
    static const struct { const char *kind, *key; } finite[] = {
        {"layer", "scales"}, {"tile", "w"}, {"hessian", "h"}, {"activations", "x"},
        {"gradient", "contrast"}, {"gradient", "fisher"}, {"gradient", "gradient_dot"}, {"gradient", "output_gradient"},
        {"tile", "lle_weights"}, {"tile", "lle_residual"}, {"tile", "lle_embedding"}, {"tile", "tangent_normal"},
        {"tile", "row_scale"}, {"tile", "responsibilities"}, {"tile", "foot"}, {"tile", "normal"}, {"tile", "md_target"},
        {"tile", "md"}, {"tile", "functional_rank"}, {"tile", "privacy_rank"}, {"tile", "s_func"}, {"tile", "s_priv"},
        {"tile", "shift"}, {"tile", "drift"}, {"probe", "losses_sensitive"}, {"probe", "losses_matched"},
        {"probe", "losses_heldout"}, {"probe", "losses_valid"}, {"probe", "losses_tasks"}, {"chart", "weight"},
        {"chart", "noise"}, {"chart", "mean"}, {"chart", "basis"},
        {"chart", "dec_in"}, {"chart", "dec_bias"}, {"chart", "dec_out"}, {"chart", "enc_lin"}, {"chart", "enc_in"},
        {"chart", "enc_bias"}, {"chart", "enc_out"}, {"chart", "post_sd"},
    };
    for (size_t i = 0; i < sizeof finite / sizeof *finite; i++)
        if (strlen(finite[i].key) == key_size && memcmp(finite[i].key, key, key_size) == 0 &&
            strcmp(finite[i].kind, kind) == 0)
            return true;
    return false;
}

const char *mdq_entry_check_finite(const struct mdq_record *r, struct mdq_entry *e)
{
    static _Thread_local char text[80];
    struct mdq_array a;
    struct mdq_mp v;
    const char *why;
    if (!mdq_key_finite(r->kind, (const char *)e->raw + e->key_at, e->key_size))
        return NULL;
    const uint8_t *end, *value = mdq_entry_value(e, &end);
    mdq_mp_get(value, end, &v);
    if (v.type == MDQ_MP_FLOAT)
        return isfinite(v.f) ? NULL : "a number that is not finite";
    if (v.type != MDQ_MP_MAP)
        return NULL;
    if (mdq_entry_array(e, &a, &why))
        return why;
    int64_t i = mdq_find_nonfinite(a.dtype, a.data, mdq_array_count(&a));
    if (i < 0)
        return NULL;
    snprintf(text, sizeof text, "element %lld is not finite", (long long)i);
    return text;
}

/* ---- parsing ---- */

static int entry_cmp(const void *a, const void *b)
{
    const struct mdq_entry *x = a, *y = b;
    return key_cmp(x, (const char *)y->raw + y->key_at, y->key_size);
}

static const char *parse_id(const uint8_t *p, const uint8_t *end, struct mdq_mp *tensor, int64_t *row, int64_t *col)
{
    struct mdq_mp v, r, c;
    p = mdq_mp_get(p, end, &v);
    if (v.type != MDQ_MP_LIST || v.size != 3)
        return "id is no list of three";
    p = mdq_mp_get(p, end, tensor);
    if (tensor->type != MDQ_MP_STR || tensor->size == 0 || tensor->size > MDQ_LIMIT_NAME ||
        memchr(tensor->data, 0, tensor->size))
        return "id does not begin with a tensor's name";
    p = mdq_mp_get(p, end, &r);
    mdq_mp_get(p, end, &c);
    if (!mdq_mp_int(&r, row) || !mdq_mp_int(&c, col) || *row < 0 || *col < 0)
        return "id has no row and column";
    return NULL;
}

enum mdq_err mdq_record_parse(struct mdq_record **out, uint8_t *p, const uint8_t *end, struct mdq_source *source,
                              const uint8_t **next)
{
    struct mdq_mp map, k, v, tensor = {0}, kind = {0};
    int64_t row = 0, col = 0, number = -1;
    struct mdq_entry *entries = NULL;
    int n = 0;
    *out = NULL;
    const char *why = mdq_mp_check(p, end, MDQ_LIMIT_DEPTH, next);
    if (why)
        return mdq_fail(MDQ_E_DATA, "%s", why);
    if (*next - p > MDQ_LIMIT_RECORD)
        return mdq_fail(MDQ_E_DATA, "longer than the limit");
    mdq_mp_get(p, end, &map);
    if (map.type != MDQ_MP_MAP)
        return mdq_fail(MDQ_E_DATA, "not a map");
    if (!(entries = mdq_alloc(map.size + 4, sizeof *entries, "keys of a record")))
        return MDQ_E_INTERNAL;
    const uint8_t *q = map.next;
    for (uint32_t i = 0; i < map.size && !why; i++) {
        mdq_mp_get(q, end, &k);
        const uint8_t *after = mdq_mp_skip(k.next, end);
        mdq_mp_get(k.next, end, &v);
        if (mdq_mp_is(&k, "t"))
            kind = v;
        else if (mdq_mp_is(&k, "id"))
            why = parse_id(k.next, end, &tensor, &row, &col);
        else if (mdq_mp_is(&k, "n"))
            why = mdq_mp_int(&v, &number) && number >= 0 ? NULL : "n is no number from 0";
        else
            entries[n++] = (struct mdq_entry){.raw = p + (q - p), .size = (size_t)(after - q),
                                              .key_at = (uint32_t)(k.data - q), .key_size = k.size,
                                              .value_at = (uint32_t)(k.next - q), .read = true};
        q = after;
    }
    if (!why && (kind.type != MDQ_MP_STR || kind.size == 0 || kind.size > MDQ_LIMIT_NAME || memchr(kind.data, 0, kind.size)))
        why = "no kind t";
    if (!why && !tensor.data)
        why = "no identity id";
    if (!why && number < 0)
        why = "no sequence number n";
    struct mdq_record *r = why ? NULL : record_create(tensor.data, tensor.size, kind.data, kind.size);
    if (!r) {
        free(entries);
        return why ? mdq_fail(MDQ_E_DATA, "%s", why) : MDQ_E_INTERNAL;
    }
    qsort(entries, (size_t)n, sizeof *entries, entry_cmp);
    r->row = row;
    r->col = col;
    r->number = number;
    r->entries = entries;
    r->n = n;
    r->capacity = (int)map.size + 4;
    r->source = mdq_source_ref(source);
    *out = r;
    return MDQ_OK;
}

/* ---- getters ---- */

bool mdq_record_has(const struct mdq_record *r, const char *key)
{
    return mdq_record_find(r, key) != NULL;
}

static enum mdq_err wrong(const struct mdq_record *r, const char *key, const char *why)
{
    return mdq_fail(MDQ_E_DATA, "%s: key %s: %s", mdq_record_name(r), key, why);
}

static enum mdq_err find(const struct mdq_record *r, const char *key, struct mdq_entry **e, struct mdq_mp *v)
{
    const uint8_t *end, *p;
    if (!(*e = mdq_record_find(r, key)))
        return wrong(r, key, "missing");
    p = mdq_entry_value(*e, &end);
    mdq_mp_get(p, end, v);
    return MDQ_OK;
}

enum mdq_err mdq_record_get_bool(const struct mdq_record *r, const char *key, bool *out)
{
    struct mdq_entry *e;
    struct mdq_mp v;
    MDQ_TRY(find(r, key, &e, &v));
    if (v.type != MDQ_MP_BOOL)
        return wrong(r, key, "not true or false");
    *out = v.u != 0;
    return MDQ_OK;
}

enum mdq_err mdq_record_get_int(const struct mdq_record *r, const char *key, int64_t *out)
{
    struct mdq_entry *e;
    struct mdq_mp v;
    MDQ_TRY(find(r, key, &e, &v));
    return mdq_mp_int(&v, out) ? MDQ_OK : wrong(r, key, "not an integer of 64 bits");
}

enum mdq_err mdq_record_get_f64(const struct mdq_record *r, const char *key, double *out)
{
    struct mdq_entry *e;
    struct mdq_mp v;
    MDQ_TRY(find(r, key, &e, &v));
    if (v.type == MDQ_MP_FLOAT)
        *out = v.f;
    else if (v.type == MDQ_MP_UINT)
        *out = (double)v.u;
    else if (v.type == MDQ_MP_INT)
        *out = (double)v.i;
    else
        return wrong(r, key, "not a number");
    const char *why = mdq_entry_check_finite(r, e);
    return why ? wrong(r, key, why) : MDQ_OK;
}

enum mdq_err mdq_record_get_str(const struct mdq_record *r, const char *key, const char **out)
{
    struct mdq_entry *e;
    struct mdq_mp v;
    MDQ_TRY(find(r, key, &e, &v));
    if (v.type != MDQ_MP_STR || memchr(v.data, 0, v.size))
        return wrong(r, key, "not a string");
    struct mdq_text *t = mdq_alloc(1, sizeof *t + v.size + 1, "string");
    if (!t)
        return MDQ_E_INTERNAL;
    memcpy(t->s, v.data, v.size);
    t->s[v.size] = 0;
    struct mdq_record *owner = (struct mdq_record *)r; /* the list of texts is no part of its value */
    t->next = owner->texts;
    owner->texts = t;
    *out = t->s;
    return MDQ_OK;
}

enum mdq_err mdq_record_get_array(struct mdq_record *r, const char *key, struct mdq_array *out)
{
    struct mdq_entry *e;
    struct mdq_mp v;
    const char *why;
    MDQ_TRY(find(r, key, &e, &v));
    enum mdq_err err = mdq_entry_array(e, out, &why);
    if (err == MDQ_E_DATA)
        return wrong(r, key, why);
    if (!err && (why = mdq_entry_check_finite(r, e)))
        return wrong(r, key, why);
    return err;
}

enum mdq_err mdq_record_get_json(const struct mdq_record *r, const char *key, char **out)
{
    struct mdq_entry *e;
    struct mdq_mp v;
    struct mdq_bytes b = {0};
    MDQ_TRY(find(r, key, &e, &v));
    const uint8_t *end, *p = mdq_entry_value(e, &end);
    const char *why = mdq_mp_print(&b, p, end, MDQ_MP_STRICT);
    mdq_bytes_add(&b, "", 1);
    if (why || b.failed) {
        mdq_bytes_free(&b);
        return why ? wrong(r, key, why) : MDQ_E_INTERNAL;
    }
    *out = (char *)b.data;
    return MDQ_OK;
}

enum mdq_err mdq_record_get_int_opt(const struct mdq_record *r, const char *key, int64_t *out)
{
    return mdq_record_has(r, key) ? mdq_record_get_int(r, key, out) : MDQ_OK;
}

enum mdq_err mdq_record_get_f64_opt(const struct mdq_record *r, const char *key, double *out)
{
    return mdq_record_has(r, key) ? mdq_record_get_f64(r, key, out) : MDQ_OK;
}

enum mdq_err mdq_record_get_str_opt(const struct mdq_record *r, const char *key, const char **out)
{
    return mdq_record_has(r, key) ? mdq_record_get_str(r, key, out) : MDQ_OK;
}

int64_t mdq_array_count(const struct mdq_array *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->ndim; i++)
        n *= a->shape[i];
    return n;
}

enum mdq_err mdq_record_copy_f32(struct mdq_record *r, const char *key, int64_t count, float *out)
{
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_array(r, key, &a));
    if (mdq_array_count(&a) != count)
        return mdq_fail(MDQ_E_DATA, "%s: key %s: %lld elements instead of %lld", mdq_record_name(r), key,
                        (long long)mdq_array_count(&a), (long long)count);
    if (mdq_dtype_to_f32(a.dtype, a.data, count, out))
        return wrong(r, key, "not an array of floats");
    return MDQ_OK;
}
