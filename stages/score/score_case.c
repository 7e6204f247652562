#include "score_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_tiling.h"

void score_case_free(struct score_case *c)
{
    mdq_scratch_unmap(&c->shift);
    free(c->first_point);
    free(c->first_weight);
    free(c->p);
    free(c->functional);
    free(c->privacy);
    *c = (struct score_case){0};
}

enum mdq_err score_case_new(struct score_case *c, const struct mdq_layer_entry *const *layer, int layers)
{
    *c = (struct score_case){.layers = layers, .layer = layer};
    c->first_point = mdq_alloc((size_t)layers + 1, sizeof *c->first_point, "layers");
    c->first_weight = mdq_alloc((size_t)layers + 1, sizeof *c->first_weight, "layers");
    if (!c->first_point || !c->first_weight)
        return MDQ_E_INTERNAL;
    c->first_point[0] = c->first_weight[0] = 0;
    for (int i = 0; i < layers; i++) {
        c->first_point[i + 1] = c->first_point[i] + layer[i]->rows * layer[i]->tile_cols;
        c->first_weight[i + 1] = c->first_weight[i] + layer[i]->rows * layer[i]->cols;
    }
    c->points = c->first_point[layers];
    c->p = mdq_calloc((size_t)c->points, sizeof *c->p, "points");
    c->functional = mdq_alloc((size_t)c->points, sizeof *c->functional, "ranks");
    c->privacy = mdq_alloc((size_t)c->points, sizeof *c->privacy, "ranks");
    if (!c->p || !c->functional || !c->privacy)
        return MDQ_E_INTERNAL;
    return mdq_scratch_map(&c->shift, (size_t)c->first_weight[layers], sizeof(float), "protective shifts");
}

enum mdq_err score_place_of(const struct score_case *c, int64_t point, struct score_place *out)
{
    int low = 0, high = c->layers;
    while (high - low > 1) {
        int mid = low + (high - low) / 2;
        if (c->first_point[mid] <= point)
            low = mid;
        else
            high = mid;
    }
    const struct mdq_layer_entry *e = c->layer[low];
    const int64_t at = point - c->first_point[low];
    *out = (struct score_place){.layer = low, .row = at / e->tile_cols, .tile_col = at % e->tile_cols};
    out->column = mdq_tiling_first(e->cols, e->tile_cols, out->tile_col);
    out->D = mdq_tiling_length(e->cols, e->tile_cols, out->tile_col);
    out->weight = c->first_weight[low] + out->row * e->cols + out->column;
    if (mdq_linear_parse(e->tensor, &out->block, &out->linear) != 0)
        return mdq_fail(MDQ_E_DATA, "%s: no linear layer of a block", e->tensor);
    return MDQ_OK;
}

/* ---- ranks ---- */

struct ranked {
    double value;
    int64_t at;
};

static int falling(const void *a, const void *b)
{
    const struct ranked *p = a, *q = b;
    if (p->value != q->value)
        return p->value > q->value ? -1 : 1;
    return p->at < q->at ? -1 : p->at > q->at;
}

double score_privacy_rank(const struct score_case *c, int64_t point)
{
    const struct score_point *p = &c->p[point];
    double below = p->cost + 1e-3 * c->median_cost;
    return !(p->gain > 0) ? 0 : below > 0 ? p->gain / below : INFINITY;
}

enum mdq_err score_case_rank(struct score_case *c)
{
    struct ranked *r = mdq_alloc((size_t)c->points + 1, sizeof *r, "ranks");
    int64_t n = 0;
    if (!r)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < c->points; i++)
        if (c->p[i].gain > 0)
            r[n++] = (struct ranked){c->p[i].cost, i};
    qsort(r, (size_t)n, sizeof *r, falling);
    c->median_cost = n > 0 ? (r[n / 2].value + r[(n - 1) / 2].value) / 2 : 0;
    c->with_gain = n;
    for (int64_t i = 0; i < n; i++)
        r[i].value = score_privacy_rank(c, r[i].at);
    qsort(r, (size_t)n, sizeof *r, falling);
    for (int64_t i = 0; i < n; i++)
        c->privacy[i] = r[i].at;
    for (int64_t i = 0; i < c->points; i++)
        r[i] = (struct ranked){c->p[i].functional, i};
    qsort(r, (size_t)c->points, sizeof *r, falling);
    for (int64_t i = 0; i < c->points; i++)
        c->functional[i] = r[i].at;
    free(r);
    return MDQ_OK;
}

enum mdq_err score_case_reasons(struct score_case *c, double fisher_share, double privacy_share, const struct score_spike *spikes,
                                int64_t n_spikes, int64_t *candidates)
{
    struct ranked *r = mdq_alloc((size_t)c->points + 1, sizeof *r, "ranks");
    if (!r)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < c->points; i++)
        r[i] = (struct ranked){c->p[i].fisher, i};
    qsort(r, (size_t)c->points, sizeof *r, falling);
    int64_t n = (int64_t)ceil(fisher_share * (double)c->points);
    for (int64_t i = 0; i < n && i < c->points; i++)
        if (r[i].value > 0)
            c->p[r[i].at].reasons |= SCORE_FISHER;
    free(r);
    n = (int64_t)ceil(privacy_share * (double)c->points);
    for (int64_t i = 0; i < n && i < c->with_gain; i++)
        c->p[c->privacy[i]].reasons |= SCORE_PRIVACY;
    for (int64_t k = 0; k < n_spikes; k++)
        for (int i = 0; i < c->layers; i++) {
            int block;
            enum mdq_linear l;
            const struct mdq_layer_entry *e = c->layer[i];
            if (mdq_linear_parse(e->tensor, &block, &l) != 0 || l != MDQ_DOWN_PROJ || block != spikes[k].block)
                continue;
            for (int64_t j = 0; j < e->tile_cols; j++)
                if (spikes[k].column >= mdq_tiling_first(e->cols, e->tile_cols, j) &&
                    spikes[k].column < mdq_tiling_first(e->cols, e->tile_cols, j + 1))
                    c->p[c->first_point[i] + spikes[k].row * e->tile_cols + j].reasons |= SCORE_SUPER;
        }
    *candidates = 0;
    for (int64_t i = 0; i < c->points; i++)
        *candidates += c->p[i].reasons != 0;
    return MDQ_OK;
}

/* ---- moves ---- */

void score_moves_free(struct score_moves *m)
{
    free(m->v);
    free(m->d);
    *m = (struct score_moves){0};
}

static double length_of(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    return sqrt(sum);
}

static void random_direction(int64_t D, struct mdq_random *random, float *d)
{
    for (int64_t i = 0; i < D; i++)
        d[i] = (float)mdq_random_normal(random);
}

enum mdq_err score_moves_new(struct score_moves *m, const struct score_case *c, const int64_t *points, const int64_t *like, int64_t n,
                             enum score_way way, struct mdq_random *random)
{
    const bool at_random = way == SCORE_RANDOM || way == SCORE_RANDOM_AS_ZERO;
    const float *shift = c->shift.p;
    struct score_place at, other;
    int64_t size = 0;
    double sum = 0;
    *m = (struct score_moves){.n = n};
    for (int64_t i = 0; i < n && at_random; i++) {
        MDQ_TRY(score_place_of(c, points[i], &at));
        size += at.D;
    }
    m->v = mdq_alloc((size_t)c->points + 1, sizeof *m->v, "moves");
    m->d = mdq_alloc((size_t)size + 1, sizeof *m->d, "moves");
    if (!m->v || !m->d)
        return MDQ_E_INTERNAL;
    float *own = m->d;
    for (int64_t i = 0; i < n; i++) {
        MDQ_TRY(score_place_of(c, points[i], &at));
        MDQ_TRY(score_place_of(c, like[i], &other));
        const double length = way == SCORE_ZERO || way == SCORE_RANDOM_AS_ZERO ? c->p[like[i]].length
                                                                               : length_of(shift + other.weight, other.D);
        const float *d = at_random ? own : shift + at.weight;
        if (at_random) {
            random_direction(at.D, random, own);
            own += at.D;
        }
        const double long_is = length_of(d, at.D);
        m->v[i] = (struct score_move){.block = at.block, .linear = at.linear, .row = at.row, .column = at.column, .D = at.D,
                                      .d = way == SCORE_ZERO ? NULL : d, .scale = long_is > 0 ? (float)(length / long_is) : 0};
        sum += length * length;
    }
    m->norm = sqrt(sum);
    return MDQ_OK;
}

/* Distortion at step 1. */
static double reach_of(const struct score_case *c, int64_t point, bool by_row)
{
    const struct score_point *p = &c->p[point];
    return by_row ? (p->output > 0 ? p->reach / p->output : 0) : p->reach;
}

double score_drift_md(const struct score_case *c, int64_t point, const struct score_drift *drift)
{
    return fmin(drift->step * reach_of(c, point, drift->by_row), drift->most);
}

double score_drift_scale(const struct score_case *c, int64_t point, const struct score_drift *drift)
{
    struct score_place at;
    if (!(c->p[point].reach > 0) || score_place_of(c, point, &at) != MDQ_OK)
        return 0;
    const double long_is = length_of((const float *)c->shift.p + at.weight, at.D);
    return long_is > 0 ? score_drift_md(c, point, drift) * c->p[point].norm / long_is : 0;
}

double score_drift_step(const struct score_case *c, bool by_row, double md)
{
    double sum = 0;
    for (int64_t i = 0; i < c->points; i++)
        sum += pow(reach_of(c, i, by_row), 2);
    return sum > 0 ? md / sqrt(sum / (double)c->points) : 0;
}

enum mdq_err score_moves_drift(struct score_moves *m, const struct score_case *c, const uint8_t *stays, const struct score_drift *drift)
{
    const float *shift = c->shift.p;
    double sum = m->norm * m->norm;
    for (int64_t i = 0; i < c->points; i++) {
        struct score_place at;
        if (stays[i] || !(c->p[i].reach > 0))
            continue;
        MDQ_TRY(score_place_of(c, i, &at));
        const double length = score_drift_md(c, i, drift) * c->p[i].norm;
        m->v[m->n++] = (struct score_move){.block = at.block, .linear = at.linear, .row = at.row, .column = at.column, .D = at.D,
                                           .d = shift + at.weight, .scale = (float)score_drift_scale(c, i, drift)};
        sum += length * length;
    }
    m->norm = sqrt(sum);
    return MDQ_OK;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

enum mdq_err score_random_points(const struct score_case *c, const int64_t *chosen, int64_t n, bool with_shift, struct mdq_random *random,
                                 int64_t *out, int64_t *found)
{
    uint8_t *used = mdq_calloc((size_t)c->points, 1, "points");
    int64_t tries = 0;
    if (!used)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < n; i++)
        used[chosen[i]] = 1;
    const int64_t among = with_shift ? c->with_gain : c->points;
    for (*found = 0; *found < n && among > 0 && tries < 64 * c->points; tries++) {
        int64_t at = mdq_random_below(random, among);
        if (with_shift)
            at = c->privacy[at];
        if (used[at])
            continue;
        used[at] = 1;
        out[(*found)++] = at;
    }
    qsort(out, (size_t)*found, sizeof *out, by_number);
    free(used);
    return MDQ_OK;
}
