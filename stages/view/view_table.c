#include "view_table.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const view_table_names[] = {"md", "lle", "vae", NULL};

enum { FREE, FUNCTIONAL, SENSITIVE, BOTH, CLASSES }; /* values of the key label */

/*
 * The totals' quantiles come from counts, so that no more than one layer's values are held: 256 bins for each factor of 2
 * from 2^-20 to 2^12, which is 0.14 % either way. Bin 0 is for what is smaller still.
 */
enum { PER_OCTAVE = 256, LOWEST = -20, BINS = 32 * PER_OCTAVE };

struct class {
    float *md; /* of the layer */
    int64_t n, capacity;
    long long met, missed;
};

struct view_table {
    enum view_table_kind kind;
    const struct mdq_header *header;
    int width;                /* of the layer column */
    char *tensor;             /* the layer that is being summed up; NULL: none yet */
    long long lines;

    struct class classes[CLASSES];
    char basis[24];
    double floored;           /* share, negative: not known */
    double floored_points, floored_known; /* over all layers */
    struct {
        int64_t bins[BINS];
        long long n, met, missed;
    } total[CLASSES];

    struct lle_sums {
        long long tiles, manifold;
        double residual, null_residual, dim95, dim_parallel;
    } lle, lle_total;

    struct vae_sums {
        long long charts, blocks;
        double dims, noise, weight; /* dims and noise weighted by mixing weight */
        int64_t dim_min, dim_max, hidden;
    } vae, vae_total;
    int64_t col;              /* the column block that is being summed up */
};

double view_quantile(const float *sorted, int64_t n, double q)
{
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    double low = (double)sorted[i], high = (double)sorted[i + 1 < n ? i + 1 : i];
    return low + (at - (double)i) * (high - low);
}

static int bin_of(float md)
{
    double at = md > 0 ? floor((log2((double)md) - LOWEST) * PER_OCTAVE) : 0;
    return at < 0 ? 0 : at > BINS - 1 ? BINS - 1 : (int)at;
}

static double bin_quantile(const int64_t *bins, long long n, double q)
{
    long long rank = (long long)(q * (double)(n - 1) + 0.5), seen = 0;
    int i = 0;
    while (i < BINS - 1 && (seen += bins[i]) <= rank)
        i++;
    return i == 0 ? 0 : exp2((i + 0.5) / PER_OCTAVE + LOWEST);
}

static int ascending(const void *a, const void *b)
{
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static enum mdq_err keep(struct class *c, float md)
{
    if (c->n == c->capacity) {
        int64_t more = c->capacity ? 2 * c->capacity : 1024;
        float *v = mdq_realloc(c->md, (size_t)more, sizeof *v, "distortions");
        if (!v)
            return MDQ_E_INTERNAL;
        c->md = v;
        c->capacity = more;
    }
    c->md[c->n++] = md;
    return MDQ_OK;
}

/* ---- md ---- */

static void md_heading(const struct view_table *t, struct mdq_bytes *b)
{
    mdq_bytes_printf(b, "%-*s %9s %9s %9s %9s %7s %-6s %18s %18s %18s %18s %18s %18s %8s\n", t->width, "layer", "points", "free",
                     "func", "sens", "both", "basis", "MD free", "MD func", "MD sens", "MD both", "met f/s/b",
                     "missed f/s/b", "floored");
}

static void triple(struct mdq_bytes *b, long long x, long long y, long long z)
{
    char text[64];
    snprintf(text, sizeof text, "%lld/%lld/%lld", x, y, z);
    mdq_bytes_printf(b, " %18s", text);
}

static void md_line(const struct view_table *t, struct mdq_bytes *b, const char *name, const long long n[CLASSES],
                    double q[CLASSES][3], const long long met[CLASSES], const long long missed[CLASSES],
                    const char *basis, double floored)
{
    mdq_bytes_printf(b, "%-*s %9lld %9lld %9lld %9lld %7lld %-6s", t->width, name,
                     n[FREE] + n[FUNCTIONAL] + n[SENSITIVE] + n[BOTH], n[FREE], n[FUNCTIONAL], n[SENSITIVE], n[BOTH], basis);
    for (int k = 0; k < CLASSES; k++) {
        char text[64] = "-";
        if (n[k] > 0)
            snprintf(text, sizeof text, "%.3f/%.3f/%.3f", q[k][0], q[k][1], q[k][2]);
        mdq_bytes_printf(b, " %18s", text);
    }
    triple(b, met[FUNCTIONAL], met[SENSITIVE], met[BOTH]);
    triple(b, missed[FUNCTIONAL], missed[SENSITIVE], missed[BOTH]);
    if (floored < 0)
        mdq_bytes_printf(b, " %8s\n", "-");
    else
        mdq_bytes_printf(b, " %6.2f %%\n", 100 * floored);
}

static const double wanted[3] = {0.05, 0.5, 0.95};

static void md_layer_end(struct view_table *t, struct mdq_bytes *b)
{
    long long n[CLASSES], met[CLASSES], missed[CLASSES], points = 0;
    double q[CLASSES][3] = {{0}};
    for (int k = 0; k < CLASSES; k++) {
        struct class *c = &t->classes[k];
        n[k] = c->n;
        points += c->n;
        met[k] = c->met;
        missed[k] = c->missed;
        if (c->n > 0)
            qsort(c->md, (size_t)c->n, sizeof *c->md, ascending);
        for (int i = 0; i < 3 && c->n > 0; i++)
            q[k][i] = view_quantile(c->md, c->n, wanted[i]);
        for (int64_t i = 0; i < c->n; i++)
            t->total[k].bins[bin_of(c->md[i])]++;
        t->total[k].n += c->n;
        t->total[k].met += c->met;
        t->total[k].missed += c->missed;
        c->n = 0;
        c->met = c->missed = 0;
    }
    if (points > 0) {
        md_line(t, b, t->tensor, n, q, met, missed, t->basis, t->floored);
        t->lines++;
        if (t->floored >= 0) {
            t->floored_points += t->floored * (double)points;
            t->floored_known += (double)points;
        }
    }
    snprintf(t->basis, sizeof t->basis, "-");
    t->floored = -1;
}

static void md_totals(struct view_table *t, struct mdq_bytes *b)
{
    long long n[CLASSES], met[CLASSES], missed[CLASSES];
    double q[CLASSES][3] = {{0}};
    for (int k = 0; k < CLASSES; k++) {
        n[k] = t->total[k].n;
        met[k] = t->total[k].met;
        missed[k] = t->total[k].missed;
        for (int i = 0; i < 3 && n[k] > 0; i++)
            q[k][i] = bin_quantile(t->total[k].bins, n[k], wanted[i]);
    }
    md_line(t, b, "total", n, q, met, missed, "-", t->floored_known > 0 ? t->floored_points / t->floored_known : -1);
}

/* What mdq-gptq says of the whole layer, where it does. */
static enum mdq_err md_layer(struct view_table *t, const struct mdq_record *r)
{
    char *text = NULL;
    if (!mdq_record_has(r, "qreport"))
        return MDQ_OK;
    MDQ_TRY(mdq_record_get_json(r, "qreport", &text));
    json_t *report = json_loads(text, 0, NULL);
    const json_t *md = json_object_get(report, "md"), *basis = json_object_get(md, "basis");
    const json_t *floored = json_object_get(md, "floored");
    if (json_is_string(basis))
        snprintf(t->basis, sizeof t->basis, "%s", json_string_value(basis));
    if (json_is_number(floored))
        t->floored = json_number_value(floored);
    json_decref(report);
    free(text);
    return MDQ_OK;
}

static bool is_met(int label, float md, float target)
{
    if (label == FUNCTIONAL)
        return md <= target;
    return label == SENSITIVE ? md >= target : fabsf(md - target) <= 0.03f;
}

static enum mdq_err bytes_of(struct mdq_record *r, const char *key, int64_t n, uint8_t *out)
{
    struct mdq_array a;
    struct mdq_id id = mdq_record_id(r);
    MDQ_TRY(mdq_record_get_array(r, key, &a));
    if (a.dtype != MDQ_U8 || a.ndim != 1 || a.shape[0] != n)
        return mdq_fail(MDQ_E_DATA, "%s: tile [%lld,%lld]: key %s: not one byte for each row", id.tensor,
                        (long long)id.row, (long long)id.col, key);
    memcpy(out, a.data, (size_t)n);
    return MDQ_OK;
}

static enum mdq_err md_tile(struct view_table *t, struct mdq_record *r)
{
    struct mdq_id id = mdq_record_id(r);
    struct mdq_array a;
    bool labels = mdq_record_has(r, "label"), status = labels && mdq_record_has(r, "md_status");
    if (!mdq_record_has(r, "md"))
        return mdq_fail(MDQ_E_DATA, "%s: tile [%lld,%lld]: has no key md: was it made by mdq-gptq, of tiles with lle or charts?",
                        id.tensor, (long long)id.row, (long long)id.col);
    MDQ_TRY(mdq_record_get_array(r, "md", &a));
    int64_t n = a.ndim == 1 ? a.shape[0] : 0;
    float *md = mdq_alloc((size_t)n, 2 * sizeof *md, "distortions"), *target = md ? md + n : NULL;
    uint8_t *label = mdq_calloc((size_t)n, 2, "labels"), *state = label ? label + n : NULL;
    enum mdq_err err = md && label ? MDQ_OK : MDQ_E_INTERNAL;
    if (!err)
        err = mdq_record_copy_f32(r, "md", n, md);
    if (!err && labels)
        err = bytes_of(r, "label", n, label);
    if (!err && status)
        err = bytes_of(r, "md_status", n, state);
    if (!err && labels && !status)
        err = mdq_record_copy_f32(r, "md_target", n, target);
    for (int64_t i = 0; i < n && !err; i++) {
        if (label[i] >= CLASSES || state[i] > 2) {
            err = mdq_fail(MDQ_E_DATA, "%s: tile [%lld,%lld]: row %lld: label %d, status %d: there are none such",
                           id.tensor, (long long)id.row, (long long)id.col, (long long)i, label[i], state[i]);
            break;
        }
        struct class *c = &t->classes[label[i]];
        err = keep(c, md[i]);
        if (label[i] != FREE) {
            bool met = status ? state[i] == 1 : is_met(label[i], md[i], target[i]);
            c->met += met;
            c->missed += status ? state[i] == 2 : !met;
        }
    }
    free(md);
    free(label);
    return err;
}

/* ---- lle ---- */

static void lle_line(struct view_table *t, struct mdq_bytes *b, const char *name, const struct lle_sums *s)
{
    double n = (double)s->tiles;
    mdq_bytes_printf(b, "%-*s %7lld %9.4f %9.4f %9.4f %7.1f %9.1f %7.1f %%\n", t->width, name, s->tiles, s->residual / n,
                     s->null_residual / n, s->null_residual > 0 ? s->residual / s->null_residual : 0, s->dim95 / n,
                     s->dim_parallel / n, 100 * (double)s->manifold / n);
}

static void lle_layer_end(struct view_table *t, struct mdq_bytes *b)
{
    struct lle_sums *s = &t->lle, *a = &t->lle_total;
    if (s->tiles > 0) {
        lle_line(t, b, t->tensor, s);
        t->lines++;
    }
    a->tiles += s->tiles;
    a->manifold += s->manifold;
    a->residual += s->residual;
    a->null_residual += s->null_residual;
    a->dim95 += s->dim95;
    a->dim_parallel += s->dim_parallel;
    *s = (struct lle_sums){0};
}

static enum mdq_err lle_tile(struct view_table *t, const struct mdq_record *r)
{
    char *text;
    struct mdq_id id = mdq_record_id(r);
    if (!mdq_record_has(r, "lle"))
        return mdq_fail(MDQ_E_DATA, "%s: tile [%lld,%lld]: has no key lle: was it made by mdq-lle?", id.tensor,
                        (long long)id.row, (long long)id.col);
    MDQ_TRY(mdq_record_get_json(r, "lle", &text));
    json_t *m = json_loads(text, 0, NULL);
    free(text);
    t->lle.tiles++;
    t->lle.manifold += json_is_true(json_object_get(m, "manifold"));
    t->lle.residual += json_number_value(json_object_get(m, "residual"));
    t->lle.null_residual += json_number_value(json_object_get(m, "null_residual"));
    t->lle.dim95 += json_number_value(json_object_get(m, "dim95"));
    t->lle.dim_parallel += json_number_value(json_object_get(m, "dim_parallel"));
    json_decref(m);
    return MDQ_OK;
}

/* ---- vae: a line for each column block ---- */

static void vae_line(struct view_table *t, struct mdq_bytes *b, const char *name, long long block, const struct vae_sums *s)
{
    char dims[48];
    snprintf(dims, sizeof dims, "%lld-%lld", (long long)s->dim_min, (long long)s->dim_max);
    mdq_bytes_printf(b, "%-*s %6lld %7lld %9s %9.2f %11.4g %7lld\n", t->width, name, block, s->charts, dims,
                     s->weight > 0 ? s->dims / s->weight : 0, s->weight > 0 ? s->noise / s->weight : 0,
                     (long long)s->hidden);
}

static void vae_unite(struct vae_sums *a, const struct vae_sums *s)
{
    a->dim_min = a->charts == 0 || s->dim_min < a->dim_min ? s->dim_min : a->dim_min;
    a->dim_max = s->dim_max > a->dim_max ? s->dim_max : a->dim_max;
    a->hidden = s->hidden > a->hidden ? s->hidden : a->hidden;
    a->charts += s->charts;
    a->blocks += s->blocks;
    a->dims += s->dims;
    a->noise += s->noise;
    a->weight += s->weight;
}

static void vae_block_end(struct view_table *t, struct mdq_bytes *b)
{
    if (t->vae.charts == 0)
        return;
    vae_line(t, b, t->tensor, (long long)t->col, &t->vae);
    t->vae.blocks = 1;
    vae_unite(&t->vae_total, &t->vae);
    t->vae = (struct vae_sums){0};
    t->lines++;
}

static enum mdq_err vae_chart(struct view_table *t, const struct mdq_record *r, struct mdq_bytes *b)
{
    struct vae_sums s = {.charts = 1};
    int64_t dim;
    double noise;
    MDQ_TRY(mdq_record_get_int(r, "dim", &dim));
    MDQ_TRY(mdq_record_get_int(r, "hidden", &s.hidden));
    MDQ_TRY(mdq_record_get_f64(r, "weight", &s.weight));
    MDQ_TRY(mdq_record_get_f64(r, "noise", &noise));
    s.dim_min = s.dim_max = dim;
    s.dims = s.weight * (double)dim;
    s.noise = s.weight * noise;
    if (mdq_record_id(r).col != t->col)
        vae_block_end(t, b);
    t->col = mdq_record_id(r).col;
    vae_unite(&t->vae, &s);
    return MDQ_OK;
}

/* ---- all ---- */

enum mdq_err view_table_new(struct view_table **out, enum view_table_kind kind, const struct mdq_header *h,
                            struct mdq_bytes *text)
{
    struct view_table *t = mdq_calloc(1, sizeof *t, "table");
    if (!(*out = t))
        return MDQ_E_INTERNAL;
    t->kind = kind;
    t->header = h;
    t->width = 5;
    t->floored = -1;
    snprintf(t->basis, sizeof t->basis, "-");
    for (int i = 0; i < mdq_header_layers(h); i++) {
        int n = (int)strlen(mdq_header_layer(h, i)->tensor);
        t->width = n > t->width ? n : t->width;
    }
    switch (kind) {
    case VIEW_TABLE_MD: md_heading(t, text); break;
    case VIEW_TABLE_LLE:
        mdq_bytes_printf(text, "%-*s %7s %9s %9s %9s %7s %9s %9s\n", t->width, "layer", "tiles", "residual", "null", "ratio",
                         "dim95", "parallel", "manifold");
        break;
    case VIEW_TABLE_VAE:
        mdq_bytes_printf(text, "%-*s %6s %7s %9s %9s %11s %7s\n", t->width, "layer", "block", "charts", "dims", "mean dim",
                         "noise", "hidden");
        break;
    }
    return MDQ_OK;
}

static void layer_end(struct view_table *t, struct mdq_bytes *text)
{
    if (!t->tensor)
        return;
    switch (t->kind) {
    case VIEW_TABLE_MD: md_layer_end(t, text); break;
    case VIEW_TABLE_LLE: lle_layer_end(t, text); break;
    case VIEW_TABLE_VAE: vae_block_end(t, text); break;
    }
}

enum mdq_err view_table_add(struct view_table *t, struct mdq_record *r, struct mdq_bytes *text)
{
    struct mdq_id id = mdq_record_id(r);
    if (!t->tensor || strcmp(t->tensor, id.tensor) != 0) {
        layer_end(t, text);
        free(t->tensor);
        if (!(t->tensor = mdq_strdup(id.tensor)))
            return MDQ_E_INTERNAL;
    }
    if (t->kind == VIEW_TABLE_MD && strcmp(id.kind, "layer") == 0)
        return md_layer(t, r);
    if (t->kind == VIEW_TABLE_MD && strcmp(id.kind, "tile") == 0)
        return md_tile(t, r);
    if (t->kind == VIEW_TABLE_LLE && strcmp(id.kind, "tile") == 0)
        return lle_tile(t, r);
    if (t->kind == VIEW_TABLE_VAE && strcmp(id.kind, "chart") == 0)
        return vae_chart(t, r, text);
    return MDQ_OK;
}

enum mdq_err view_table_end(struct view_table *t, struct mdq_bytes *text)
{
    layer_end(t, text);
    if (t->lines == 0)
        return mdq_fail(MDQ_E_DATA, "--table %s: the stream holds no %s", view_table_names[t->kind],
                        t->kind == VIEW_TABLE_VAE ? "charts" : "tiles");
    switch (t->kind) {
    case VIEW_TABLE_MD: md_totals(t, text); break;
    case VIEW_TABLE_LLE: lle_line(t, text, "total", &t->lle_total); break;
    case VIEW_TABLE_VAE: vae_line(t, text, "total", t->vae_total.blocks, &t->vae_total); break;
    }
    return MDQ_OK;
}

void view_table_free(struct view_table **t)
{
    if (!*t)
        return;
    for (int k = 0; k < CLASSES; k++)
        free((*t)->classes[k].md);
    free((*t)->tensor);
    free(*t);
    *t = NULL;
}
