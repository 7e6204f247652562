#include "mdq_points.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_chart_record.h"
#include "mdq_local_pca.h"
#include "mdq_tiling.h"

enum { MOST_CHARTS = 256 };

bool mdq_md_met(int label, double target, double md)
{
    /* targets are float32: what equals them when rounded meets them */
    const double slack = 1e-6;
    switch (label) {
    case MDQ_FUNCTIONAL: return md <= target + slack;
    case MDQ_SENSITIVE: return md >= target - slack;
    case MDQ_OVERLAP: return fabs(md - target) <= MDQ_OVERLAP_WIDTH + slack;
    default: return true;
    }
}

void mdq_points_free(struct mdq_points *g)
{
    for (int64_t i = 0; g->charts && i < g->blocks * g->most_charts; i++)
        mdq_chart_free(&g->charts[i]);
    free(g->charts);
    free(g->first);
    free(g->tile_first);
    free(g->norm);
    free(g->chart);
    free(g->foot);
    free(g->scale);
    free(g->neighbours);
    free(g->tile_k);
    free(g->label);
    free(g->target);
    free(g->shift);
    free(g->shift_at);
    *g = (struct mdq_points){0};
}

static enum mdq_err get_rows(struct mdq_record *rec, const char *key, enum mdq_dtype t, int64_t rows, int ndim, struct mdq_array *a)
{
    MDQ_TRY(mdq_record_get_array(rec, key, a));
    if (a->dtype != t || a->ndim != ndim || a->shape[0] != rows)
        return mdq_fail(MDQ_E_DATA, "%s: want %s with %lld rows", key, mdq_dtype_name(t), (long long)rows);
    return MDQ_OK;
}

/* ---- what there is, and room for it ---- */

static enum mdq_err look(struct mdq_points *g, const struct mdq_layer_tiles *l)
{
    bool all_chart = true, all_lle = true;
    for (int i = 0; i < l->n; i++) {
        struct mdq_record *rec = l->held[i];
        struct mdq_id id = mdq_record_id(rec);
        struct mdq_array a;
        if (strcmp(id.kind, "chart") == 0) {
            if (id.col < 0 || id.col >= g->blocks || id.row < 0 || id.row >= MOST_CHARTS)
                return mdq_fail(MDQ_E_DATA, "%s: chart %lld of column block %lld: there is no such place", id.tensor,
                                (long long)id.row, (long long)id.col);
            g->most_charts = id.row + 1 > g->most_charts ? id.row + 1 : g->most_charts;
        }
        if (strcmp(id.kind, "tile") != 0)
            continue;
        all_chart &= mdq_record_has(rec, "chart") && mdq_record_has(rec, "foot") && mdq_record_has(rec, "row_scale") &&
                     mdq_record_has(rec, "normal");
        all_lle &= mdq_record_has(rec, "lle_neighbours") && mdq_record_has(rec, "tangent_normal");
        g->labelled |= mdq_record_has(rec, "label");
        if (mdq_record_has(rec, "shift")) {
            MDQ_TRY(mdq_record_get_array(rec, "shift", &a));
            g->shifts += a.ndim == 2 ? a.shape[0] : 0;
        }
        if (mdq_record_has(rec, "foot")) {
            MDQ_TRY(mdq_record_get_array(rec, "foot", &a));
            if (a.ndim == 2 && a.shape[1] <= MDQ_CHART_MAX_DIM)
                g->most_dim = a.shape[1] > g->most_dim ? a.shape[1] : g->most_dim;
        }
        if (mdq_record_has(rec, "lle_neighbours")) {
            MDQ_TRY(mdq_record_get_array(rec, "lle_neighbours", &a));
            if (a.ndim == 2 && a.shape[1] <= MDQ_LOCAL_MAX_K)
                g->k = a.shape[1] > g->k ? a.shape[1] : g->k;
        }
    }
    g->basis = all_chart && g->most_charts > 0 ? MDQ_BASIS_CHART : all_lle ? MDQ_BASIS_LLE : MDQ_BASIS_NONE;
    return MDQ_OK;
}

static enum mdq_err reserve(struct mdq_points *g)
{
    const size_t points = (size_t)g->points, tiles = (size_t)(g->tile_rows * g->blocks);
    g->first = mdq_alloc((size_t)g->blocks + 1, sizeof *g->first, "column blocks");
    g->tile_first = mdq_alloc((size_t)g->tile_rows + 1, sizeof *g->tile_first, "tile rows");
    g->norm = mdq_calloc(points, sizeof *g->norm, "normals");
    g->label = mdq_calloc(points, 1, "labels");
    g->target = mdq_calloc(points, sizeof *g->target, "targets");
    if (!g->first || !g->tile_first || !g->norm || !g->label || !g->target)
        return MDQ_E_INTERNAL;
    if (g->shifts > 0) {
        g->shift = mdq_calloc((size_t)g->shifts, sizeof(float) * (size_t)g->first_most, "shifts");
        g->shift_at = mdq_alloc(points, sizeof *g->shift_at, "shifts");
        if (!g->shift || !g->shift_at)
            return MDQ_E_INTERNAL;
        for (size_t i = 0; i < points; i++)
            g->shift_at[i] = -1;
    }
    if (g->basis == MDQ_BASIS_CHART) {
        g->charts = mdq_calloc((size_t)(g->blocks * g->most_charts), sizeof *g->charts, "charts");
        g->chart = mdq_calloc(points, 1, "charts of points");
        g->foot = mdq_calloc(points * (size_t)g->most_dim, sizeof *g->foot, "feet");
        g->scale = mdq_calloc(tiles, sizeof *g->scale, "scales of tiles");
        return g->charts && g->chart && g->foot && g->scale ? MDQ_OK : MDQ_E_INTERNAL;
    }
    if (g->basis == MDQ_BASIS_LLE) {
        g->neighbours = mdq_calloc(points * (size_t)g->k, sizeof *g->neighbours, "neighbours");
        g->tile_k = mdq_calloc(tiles, sizeof *g->tile_k, "neighbours of tiles");
        return g->neighbours && g->tile_k ? MDQ_OK : MDQ_E_INTERNAL;
    }
    return MDQ_OK;
}

/* ---- one tile ---- */

static double length_of(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    return sqrt(sum);
}

static enum mdq_err take_labels(struct mdq_points *g, struct mdq_record *rec, const struct mdq_tile_place *p, int64_t j)
{
    struct mdq_array a, t;
    if (!mdq_record_has(rec, "label"))
        return MDQ_OK;
    MDQ_TRY(get_rows(rec, "label", MDQ_U8, p->rows, 1, &a));
    MDQ_TRY(get_rows(rec, "md_target", MDQ_F32, p->rows, 1, &t));
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = (p->row + r) * g->blocks + j;
        g->label[at] = ((const uint8_t *)a.data)[r];
        memcpy(&g->target[at], (const char *)t.data + sizeof(float) * (size_t)r, sizeof(float));
        if (g->label[at] >= MDQ_CLASSES || (g->label[at] != MDQ_FREE && !(g->target[at] >= 0 && g->target[at] <= 1e6f)))
            return mdq_fail(MDQ_E_DATA, "row %lld: label %d with target %g makes no sense", (long long)r, g->label[at],
                            (double)g->target[at]);
    }
    return MDQ_OK;
}

/* The shifts of the tile's sensitive and overlap points, in the order of the rows. */
static enum mdq_err take_shifts(struct mdq_points *g, struct mdq_record *rec, const struct mdq_tile_place *p, int64_t j, int64_t *taken)
{
    struct mdq_array a;
    if (!mdq_record_has(rec, "shift"))
        return MDQ_OK;
    MDQ_TRY(mdq_record_get_array(rec, "shift", &a));
    if (a.dtype != MDQ_F32 || a.ndim != 2 || a.shape[1] != p->cols)
        return mdq_fail(MDQ_E_DATA, "shift: want f32 [points, %lld]", (long long)p->cols);
    int64_t n = 0;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = (p->row + r) * g->blocks + j;
        if (g->label[at] != MDQ_SENSITIVE && g->label[at] != MDQ_OVERLAP)
            continue;
        if (n >= a.shape[0])
            return mdq_fail(MDQ_E_DATA, "shift: %lld rows, fewer than the sensitive and overlap points", (long long)a.shape[0]);
        memcpy(g->shift + *taken * g->first_most, (const char *)a.data + sizeof(float) * (size_t)(n * p->cols),
               sizeof(float) * (size_t)p->cols);
        g->shift_at[at] = (*taken)++;
        n++;
    }
    if (n < a.shape[0])
        return mdq_fail(MDQ_E_DATA, "shift: %lld rows for %lld sensitive and overlap points", (long long)a.shape[0], (long long)n);
    return MDQ_OK;
}

static enum mdq_err take_charts(struct mdq_points *g, struct mdq_record *rec, const struct mdq_tile_place *p, int64_t i, int64_t j)
{
    struct mdq_array chart, foot, normal;
    double scale;
    MDQ_TRY(get_rows(rec, "chart", MDQ_U8, p->rows, 1, &chart));
    MDQ_TRY(get_rows(rec, "foot", MDQ_F64, p->rows, 2, &foot));
    MDQ_TRY(get_rows(rec, "normal", MDQ_F32, p->rows, 1, &normal));
    MDQ_TRY(mdq_record_get_f64(rec, "row_scale", &scale));
    if (!(scale > 0))
        return mdq_fail(MDQ_E_DATA, "row_scale: %g is no scale", scale);
    if (foot.shape[1] > g->most_dim)
        return mdq_fail(MDQ_E_DATA, "foot: %lld dimensions", (long long)foot.shape[1]);
    g->scale[i * g->blocks + j] = scale;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = (p->row + r) * g->blocks + j, c = ((const uint8_t *)chart.data)[r];
        if (c >= g->most_charts || g->charts[j * g->most_charts + c].dim_in != p->cols ||
            g->charts[j * g->most_charts + c].dim > foot.shape[1])
            return mdq_fail(MDQ_E_DATA, "row %lld: chart %lld: no such chart, or one of other dimensions", (long long)r, (long long)c);
        float n;
        int floored;
        memcpy(&n, (const char *)normal.data + sizeof n * (size_t)r, sizeof n);
        g->chart[at] = (uint8_t)c;
        memcpy(g->foot + at * g->most_dim, (const char *)foot.data + sizeof(double) * (size_t)(r * foot.shape[1]),
               sizeof(double) * (size_t)foot.shape[1]);
        g->norm[at] = scale * mdq_chart_normal_floor(&g->charts[j * g->most_charts + c], n / scale, &floored);
        g->floored += floored;
    }
    return MDQ_OK;
}

static enum mdq_err take_neighbours(struct mdq_points *g, struct mdq_record *rec, const struct mdq_tile_place *p, int64_t i,
                                    int64_t j)
{
    struct mdq_array nb, normal;
    MDQ_TRY(get_rows(rec, "lle_neighbours", MDQ_U16, p->rows, 2, &nb));
    MDQ_TRY(get_rows(rec, "tangent_normal", MDQ_F32, p->rows, 1, &normal));
    const int64_t k = nb.shape[1];
    if (k > g->k || k >= p->rows + (k == 0))
        return mdq_fail(MDQ_E_DATA, "lle_neighbours: %lld for each of %lld rows", (long long)k, (long long)p->rows);
    g->tile_k[i * g->blocks + j] = k;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = (p->row + r) * g->blocks + j;
        float n;
        memcpy(&n, (const char *)normal.data + sizeof n * (size_t)r, sizeof n);
        g->norm[at] = n;
        for (int64_t q = 0; q < k; q++) {
            uint16_t v;
            memcpy(&v, (const char *)nb.data + sizeof v * (size_t)(r * k + q), sizeof v);
            if (v >= p->rows)
                return mdq_fail(MDQ_E_DATA, "lle_neighbours: row %lld: neighbour %d of %lld rows", (long long)r, v, (long long)p->rows);
            g->neighbours[at * g->k + q] = v;
        }
    }
    return MDQ_OK;
}

static enum mdq_err read_variance(struct mdq_points *g, const struct mdq_record *rec)
{
    char *text;
    g->variance = 0.95;
    if (!mdq_record_has(rec, "lle"))
        return MDQ_OK;
    MDQ_TRY(mdq_record_get_json(rec, "lle", &text));
    json_t *o = json_loads(text, 0, NULL), *v = json_object_get(o, "variance");
    if (json_is_number(v))
        g->variance = json_number_value(v);
    json_decref(o);
    free(text);
    return MDQ_OK;
}

enum mdq_err mdq_points_read(struct mdq_points *g, const struct mdq_layer_tiles *l)
{
    const struct mdq_layer_entry *e = &l->entry;
    *g = (struct mdq_points){.rows = e->rows, .cols = e->cols, .blocks = e->tile_cols, .tile_rows = e->tile_rows,
                                .points = e->rows * e->tile_cols};
    int64_t taken = 0;
    g->first_most = mdq_tiling_first(g->cols, g->blocks, 1); /* the first part is the longest */
    MDQ_TRY(look(g, l));
    MDQ_TRY(reserve(g));
    for (int64_t j = 0; j <= g->blocks; j++)
        g->first[j] = mdq_tiling_first(g->cols, g->blocks, j);
    for (int64_t i = 0; i <= g->tile_rows; i++)
        g->tile_first[i] = mdq_tiling_first(g->rows, g->tile_rows, i);
    for (int i = 0; i < l->n && g->basis == MDQ_BASIS_CHART; i++) {
        struct mdq_id id = mdq_record_id(l->held[i]);
        if (strcmp(id.kind, "chart") != 0)
            continue;
        struct mdq_chart *c = &g->charts[id.col * g->most_charts + id.row];
        if (c->dim_in > 0)
            return mdq_fail(MDQ_E_DATA, "%s: chart %lld of column block %lld comes twice", id.tensor, (long long)id.row,
                            (long long)id.col);
        MDQ_TRY(mdq_chart_from_record(l->held[i], g->first[id.col + 1] - g->first[id.col], c));
    }
    for (int i = 0; i < l->n; i++) {
        struct mdq_record *rec = l->held[i];
        struct mdq_id id = mdq_record_id(rec);
        struct mdq_tile_place p;
        if (strcmp(id.kind, "tile") != 0 || !mdq_tile_place(e, id, &p))
            continue;
        enum mdq_err err = take_labels(g, rec, &p, id.col);
        if (err == MDQ_OK)
            err = take_shifts(g, rec, &p, id.col, &taken);
        if (err == MDQ_OK && g->basis == MDQ_BASIS_CHART)
            err = take_charts(g, rec, &p, id.row, id.col);
        if (err == MDQ_OK && g->basis == MDQ_BASIS_LLE)
            err = take_neighbours(g, rec, &p, id.row, id.col);
        if (err == MDQ_OK && g->basis == MDQ_BASIS_LLE)
            err = read_variance(g, rec);
        if (err != MDQ_OK)
            return mdq_fail_in(err, "%s: tile %lld, %lld", id.tensor, (long long)id.row, (long long)id.col);
    }
    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t j = 0; j < g->blocks; j++) {
            int64_t at = r * g->blocks + j;
            if (g->norm[at] > 0)
                continue;
            g->zero += g->basis != MDQ_BASIS_NONE;
            g->norm[at] = length_of(l->w + r * g->cols + g->first[j], g->first[j + 1] - g->first[j]);
        }
    return MDQ_OK;
}

/* ---- distortion ---- */

/* Squared length of what u [D, rank] (stride ldu) holds of e. */
static double held(int64_t D, const float *e, const double *u, int64_t rank, int64_t ldu)
{
    double sum = 0;
    for (int64_t a = 0; a < rank; a++) {
        double dot = 0;
        for (int64_t i = 0; i < D; i++)
            dot += u[i * ldu + a] * e[i];
        sum += dot * dot;
    }
    return sum;
}

static bool all_on(const struct mdq_points *g, int64_t row0, int64_t rows, int64_t j, int64_t chart)
{
    for (int64_t r = 0; r < rows; r++)
        if (g->chart[(row0 + r) * g->blocks + j] != chart)
            return false;
    return true;
}

enum mdq_err mdq_points_off(const struct mdq_points *g, const float *w, int64_t i, int64_t j, const float *e, double *off)
{
    const int64_t row0 = g->tile_first[i], rows = g->tile_first[i + 1] - row0, D = g->first[j + 1] - g->first[j];
    enum mdq_err err = MDQ_OK;
    if (g->basis == MDQ_BASIS_CHART) {
        float *some = mdq_alloc_aligned((size_t)(rows * D), sizeof *some, "errors of a chart");
        double *z = mdq_alloc((size_t)(rows * g->most_dim), sizeof *z, "feet"), *out = mdq_alloc((size_t)rows, sizeof *out, "distances");
        int64_t *of = mdq_alloc((size_t)rows, sizeof *of, "rows of a chart");
        err = some && z && out && of ? MDQ_OK : MDQ_E_INTERNAL;
        for (int64_t c = 0; c < g->most_charts && err == MDQ_OK; c++) {
            const struct mdq_chart *chart = &g->charts[j * g->most_charts + c];
            int64_t n = 0;
            if (chart->dim_in > 0 && chart->flat && all_on(g, row0, rows, j, c)) {
                err = mdq_chart_off_tangent(chart, rows, NULL, e, D, off); /* nothing to gather */
                break;
            }
            for (int64_t r = 0; r < rows; r++) {
                int64_t at = (row0 + r) * g->blocks + j;
                if (g->chart[at] != c)
                    continue;
                memcpy(some + n * D, e + r * D, sizeof *e * (size_t)D);
                memcpy(z + n * chart->dim, g->foot + at * g->most_dim, sizeof *z * (size_t)chart->dim);
                of[n++] = r;
            }
            if (n > 0)
                err = mdq_chart_off_tangent(chart, n, z, some, D, out);
            for (int64_t r = 0; r < n && err == MDQ_OK; r++)
                off[of[r]] = out[r];
        }
        free(some);
        free(z);
        free(out);
        free(of);
        return err;
    }
    const int64_t k = g->basis == MDQ_BASIS_LLE ? g->tile_k[i * g->blocks + j] : 0;
    if (k == 0) {
        for (int64_t r = 0; r < rows; r++)
            off[r] = length_of(e + r * D, D);
        return MDQ_OK;
    }
    enum { SOME = 32 }; /* bases of so many points at a time */
    double *u = mdq_alloc_aligned((size_t)(SOME * D * k), sizeof *u, "tangents");
    uint16_t *nb = mdq_alloc((size_t)(rows * k), sizeof *nb, "neighbours");
    uint8_t dim[SOME];
    err = u && nb ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t r = 0; r < rows && err == MDQ_OK; r++)
        memcpy(nb + r * k, g->neighbours + ((row0 + r) * g->blocks + j) * g->k, sizeof *nb * (size_t)k);
    for (int64_t r = 0; r < rows && err == MDQ_OK; r += SOME) {
        int64_t n = rows - r < SOME ? rows - r : SOME;
        err = mdq_local_pca(rows, D, w + row0 * g->cols + g->first[j], g->cols, k, nb, g->variance, 0, r, n, dim, NULL, u);
        for (int64_t a = 0; a < n && err == MDQ_OK; a++) {
            double all = length_of(e + (r + a) * D, D);
            off[r + a] = sqrt(fmax(all * all - held(D, e + (r + a) * D, u + a * D * k, dim[a], k), 0));
        }
    }
    free(u);
    free(nb);
    return err;
}

float mdq_point_md(const struct mdq_points *g, int64_t at, double off)
{
    return (float)(off == 0 ? 0 : g->norm[at] > 0 ? fmin(off / g->norm[at], 1e30) : 1e30);
}

enum mdq_err mdq_point_tangent(const struct mdq_points *g, const float *w, int64_t row, int64_t block, double *u, int64_t *rank)
{
    const int64_t at = row * g->blocks + block, D = g->first[block + 1] - g->first[block];
    *rank = 0;
    if (g->basis == MDQ_BASIS_CHART) {
        const struct mdq_chart *c = &g->charts[block * g->most_charts + g->chart[at]];
        int64_t found = 0;
        if (c->dim == 0)
            return MDQ_OK;
        mdq_chart_tangent(c, g->foot + at * g->most_dim, u, &found);
        for (int64_t i = 0; i < D && found < c->dim; i++) /* to the narrower stride */
            for (int64_t a = 0; a < found; a++)
                u[i * found + a] = u[i * c->dim + a];
        *rank = found;
        return MDQ_OK;
    }
    int64_t i = 0;
    while (g->tile_first[i + 1] <= row)
        i++;
    const int64_t k = g->basis == MDQ_BASIS_LLE ? g->tile_k[i * g->blocks + block] : 0, row0 = g->tile_first[i];
    if (k == 0)
        return MDQ_OK;
    const int64_t rows = g->tile_first[i + 1] - row0;
    uint16_t *nb = mdq_alloc((size_t)(rows * k), sizeof *nb, "neighbours");
    uint8_t dim;
    if (!nb)
        return MDQ_E_INTERNAL;
    for (int64_t r = 0; r < rows; r++)
        memcpy(nb + r * k, g->neighbours + ((row0 + r) * g->blocks + block) * g->k, sizeof *nb * (size_t)k);
    enum mdq_err err = mdq_local_pca(rows, D, w + row0 * g->cols + g->first[block], g->cols, k, nb, g->variance, 0, row - row0, 1,
                                     &dim, NULL, u);
    for (int64_t p = 0; p < D && err == MDQ_OK; p++)
        for (int64_t a = 0; a < dim; a++)
            u[p * dim + a] = u[p * k + a];
    *rank = dim;
    free(nb);
    return err;
}

enum mdq_err mdq_point_off(const struct mdq_points *g, const float *w, int64_t row, int64_t block, const float *e, double *off)
{
    const int64_t at = row * g->blocks + block, D = g->first[block + 1] - g->first[block];
    int64_t rank;
    if (g->basis == MDQ_BASIS_CHART)
        return mdq_chart_off_tangent(&g->charts[block * g->most_charts + g->chart[at]], 1, g->foot + at * g->most_dim, e, D, off);
    double *u = mdq_alloc_aligned((size_t)(D * MDQ_CHART_MAX_DIM), sizeof *u, "tangent");
    enum mdq_err err = u ? mdq_point_tangent(g, w, row, block, u, &rank) : MDQ_E_INTERNAL;
    if (err == MDQ_OK) {
        double all = length_of(e, D);
        *off = sqrt(fmax(all * all - held(D, e, u, rank, rank), 0));
    }
    free(u);
    return err;
}
