#include "gptq_constrain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gptq_rows.h"   /* rows of a layer by themselves */
#include "gptq_scales.h"
#include "mdq_shift.h"

enum { SWEEPS = 20, ROUNDS = 6, REFITS = 6 };

/* mu over the mean diagonal of H, in turn. */
static const double weights[] = {0.03, 0.1, 0.3, 1, 3, 10, 100, 1e4};
enum { WEIGHTS = sizeof weights / sizeof *weights };
/* Parts of the min-max scale to begin with. */
static const double parts[] = {1, 0.85, 0.72, 0.6, 0.5, 0.4};
enum { PARTS = sizeof parts / sizeof *parts };

struct work {
    const struct mdq_points *g;
    const float *w, *target, *h;
    struct quant_grid *grid;
    const struct gptq_constraints *o;
    uint8_t *codes;
    double lambda, mean;
    float *shifted;       /* [shifted rows, cols]: targets of rows with sensitive or overlap points */
    int64_t *shifted_at;  /* [rows] which of them, -1 */
};

static double off_to_md(const struct work *k, int64_t row, const struct gptq_segment *s, double off)
{
    return mdq_point_md(k->g, row * k->g->blocks + s->block, sqrt(off));
}

static int label_of(const struct work *k, int64_t row, const struct gptq_segment *s)
{
    return k->g->label[row * k->g->blocks + s->block];
}

static double target_of(const struct work *k, int64_t row, const struct gptq_segment *s)
{
    return k->g->target[row * k->g->blocks + s->block];
}

static double functional_md(const struct work *k, int64_t row, const struct gptq_row *r, const struct gptq_segment *s)
{
    return off_to_md(k, row, s, gptq_segment_off(r, s));
}

static bool functional_met(const struct work *k, int64_t row, const struct gptq_row *r, const struct gptq_segment *s)
{
    return mdq_md_met(MDQ_FUNCTIONAL, target_of(k, row, s), functional_md(k, row, r, s));
}

static bool all_functional_met(const struct work *k, int64_t row, struct gptq_row *r, double mu)
{
    bool all = true;
    for (int i = 0; i < r->segments; i++) {
        struct gptq_segment *s = &r->segment[i];
        if (label_of(k, row, s) != MDQ_FUNCTIONAL || functional_met(k, row, r, s))
            continue;
        s->mu = mu; /* once it counts it goes on counting */
        all = false;
    }
    return all;
}

/* ---- functional points ---- */

/* The nearest codes of the segment's groups (their other columns too) to the target moved by t along the tangent. */
static void nearest_codes(struct gptq_row *r, const struct gptq_segment *s, const double *t)
{
    const int64_t g0 = s->first / r->group, g1 = (s->first + s->D - 1) / r->group + 1;
    for (int64_t i = g0 * r->group; i < g1 * r->group; i++) {
        double v = r->target[i];
        if (t && i >= s->first && i < s->first + s->D)
            for (int64_t a = 0; a < s->rank; a++)
                v += s->u[(i - s->first) * s->rank + a] * t[a];
        double c = rint(v / r->scales[i / r->group]) + r->zeros[i / r->group];
        r->codes[i] = (uint8_t)(c < 0 ? 0 : c > r->top ? r->top : c);
    }
}

/* Codes and scales of the segment in turn, normal metric only. */
static void alternate(const struct work *k, struct gptq_row *r, struct gptq_segment *s, const double *start, int64_t row)
{
    s->mu = 1e4 * k->mean;
    gptq_row_reset(r);
    gptq_row_descend(r, SWEEPS, s->first, s->D);
    for (int i = 0; i < REFITS && !functional_met(k, row, r, s); i++) {
        if (!gptq_scales_refit(r, s, start, k->grid->scale_type))
            return;
        gptq_row_reset(r);
        gptq_row_descend(r, SWEEPS, s->first, s->D);
    }
}

struct saved {
    uint8_t *codes;
    double *scales, md;
};

static void save(struct saved *to, const struct gptq_row *r, double md)
{
    memcpy(to->codes, r->codes, (size_t)r->n);
    memcpy(to->scales, r->scales, sizeof *r->scales * (size_t)(r->n / r->group));
    to->md = md;
}

static void restore(const struct saved *from, struct gptq_row *r)
{
    memcpy(r->codes, from->codes, (size_t)r->n);
    memcpy(r->scales, from->scales, sizeof *r->scales * (size_t)(r->n / r->group));
    gptq_row_reset(r);
}

/* Other scales, then random starts; leaves the best. */
static void rescale(const struct work *k, int64_t row, struct gptq_row *r, struct gptq_segment *s, const double *start,
                    struct saved *best)
{
    const int64_t g0 = s->first / r->group, g1 = (s->first + s->D - 1) / r->group + 1;
    struct mdq_random random;
    double t[MDQ_CHART_MAX_DIM];
    bool met = false;
    save(best, r, functional_md(k, row, r, s));
    mdq_random_seed(&random, k->o->seed, k->o->tensor, (uint64_t)row, (uint64_t)s->block);
    for (int p = 0; p < PARTS + k->o->restarts && !met; p++) {
        double part = p < PARTS ? parts[p] : 0.4 + 0.6 * mdq_random_uniform(&random);
        for (int64_t g = g0; g < g1; g++) {
            double v = quant_round_to(k->grid->scale_type, part * start[g]);
            r->scales[g] = v > 0 && isfinite(v) ? v : start[g];
        }
        for (int64_t a = 0; p >= PARTS && a < s->rank; a++)
            t[a] = mdq_random_normal(&random) * r->scales[g0] * sqrt((double)s->D / 12);
        nearest_codes(r, s, p < PARTS ? NULL : t);
        alternate(k, r, s, start, row);
        double md = functional_md(k, row, r, s);
        if (md < best->md)
            save(best, r, md);
        met = functional_met(k, row, r, s);
    }
    restore(best, r);
}

/* With the constraints met: as much of the cost in H back as they allow. */
static void polish(const struct work *k, int64_t row, struct gptq_row *r, struct saved *at)
{
    for (int i = 3; i < WEIGHTS; i++) {
        save(at, r, 0);
        double before = gptq_row_cost(r);
        for (int j = 0; j < r->segments; j++)
            if (r->segment[j].mu > 0)
                r->segment[j].mu = weights[i] * k->mean;
        gptq_row_descend(r, SWEEPS, 0, r->n);
        if (all_functional_met(k, row, r, 0) && gptq_row_cost(r) < before)
            return;
        restore(at, r);
    }
}

static void meet_functional(const struct work *k, int64_t row, struct gptq_row *r, const double *start, struct saved *best,
                            struct saved *other, int64_t *rescaled)
{
    if (all_functional_met(k, row, r, weights[0] * k->mean))
        return;
    save(other, r, 0);
    for (int i = 0; i < WEIGHTS; i++) {
        for (int j = 0; j < r->segments; j++)
            if (r->segment[j].mu > 0)
                r->segment[j].mu = weights[i] * k->mean;
        gptq_row_descend(r, SWEEPS, 0, r->n);
        if (all_functional_met(k, row, r, weights[i] * k->mean))
            return;
    }
    restore(other, r);
    bool changed = false;
    for (int j = 0; j < r->segments; j++) {
        struct gptq_segment *s = &r->segment[j];
        if (label_of(k, row, s) != MDQ_FUNCTIONAL || functional_met(k, row, r, s))
            continue;
        rescale(k, row, r, s, start, best);
        ++*rescaled;
        changed = true;
    }
    /* a group that two points share was last set for the second of them */
    for (int j = 0; j < r->segments; j++)
        if (r->segment[j].mu > 0)
            r->segment[j].mu = 1e4 * k->mean;
    if (changed && all_functional_met(k, row, r, 1e4 * k->mean))
        polish(k, row, r, best);
}

/* ---- sensitive and overlap points ---- */

/*
 * Moves of one code in the segment, cheapest in H per distance gained, until MD, measured against w, meets the constraint or no move
 * helps. e is of the shifted target; eo and ueo are the error against w itself.
 */
static enum mdq_err push(const struct work *k, int64_t row, struct gptq_row *r, struct gptq_segment *s)
{
    const int label = label_of(k, row, s);
    const double target = target_of(k, row, s), norm = k->g->norm[row * k->g->blocks + s->block];
    double *eo = mdq_alloc((size_t)(s->D + s->rank), sizeof *eo, "errors of a point"), *ueo = eo ? eo + s->D : NULL;
    if (!eo)
        return MDQ_E_INTERNAL;
    for (int64_t a = 0; a < s->rank; a++)
        ueo[a] = 0;
    double off = 0;
    for (int64_t i = 0; i < s->D; i++) {
        int64_t c = s->first + i;
        eo[i] = k->w[row * r->n + c] - r->scales[c / r->group] * ((double)r->codes[c] - r->zeros[c / r->group]);
        off += eo[i] * eo[i];
        for (int64_t a = 0; a < s->rank; a++)
            ueo[a] += s->u[i * s->rank + a] * eo[i];
    }
    for (int64_t a = 0; a < s->rank; a++)
        off -= ueo[a] * ueo[a];
    for (int64_t move = 0; move < 16 * s->D && norm > 0; move++) {
        double md = sqrt(fmax(off, 0)) / norm, best = INFINITY, best_off = 0;
        if (mdq_md_met(label, target, md))
            break;
        bool up = md < target;
        int64_t at = -1;
        int code = 0;
        for (int64_t i = 0; i < s->D; i++) {
            int64_t c = s->first + i;
            double inside = 0, size = 0;
            for (int64_t a = 0; a < s->rank; a++) {
                inside += s->u[i * s->rank + a] * ueo[a];
                size += s->u[i * s->rank + a] * s->u[i * s->rank + a];
            }
            for (int d = -1; d <= 1; d += 2) {
                int next = r->codes[c] + d;
                if (next < 0 || next > r->top)
                    continue;
                double delta = -d * r->scales[c / r->group];
                double gained = 2 * delta * (eo[i] - inside) + delta * delta * fmax(1 - size, 0);
                double cost = 2 * delta * r->he[c] + delta * delta * ((double)r->h[c * r->n + c] + r->lambda);
                if (up ? gained <= 0 : gained >= 0)
                    continue;
                double there = sqrt(fmax(off + gained, 0)) / norm;
                if (label == MDQ_OVERLAP && fabs(there - target) >= fabs(md - target))
                    continue;
                double price = cost / fabs(gained);
                if (price < best) {
                    best = price;
                    best_off = off + gained;
                    at = i;
                    code = next;
                }
            }
        }
        if (at < 0)
            break;
        int64_t c = s->first + at;
        double delta = r->scales[c / r->group] * (r->codes[c] - code);
        gptq_row_move(r, c, code);
        eo[at] += delta;
        for (int64_t a = 0; a < s->rank; a++)
            ueo[a] += delta * s->u[at * s->rank + a];
        off = best_off;
    }
    free(eo);
    return MDQ_OK;
}

struct shift {
    int64_t row, block, first, D;
    int label;
    double target, norm, alpha;
    double *v; /* [D] */
};

static enum mdq_err shift_new(const struct work *k, int64_t row, int64_t block, const double *l, double *u, struct shift *s)
{
    const struct mdq_points *g = k->g;
    const int64_t at = row * g->blocks + block;
    struct mdq_random random;
    int64_t rank;
    double found;
    *s = (struct shift){.row = row, .block = block, .first = g->first[block], .D = g->first[block + 1] - g->first[block],
                        .label = g->label[at], .target = g->target[at], .norm = g->norm[at]};
    s->v = mdq_calloc((size_t)s->D, sizeof *s->v, "direction");
    if (!s->v)
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_point_tangent(g, k->w, row, block, u, &rank));
    mdq_random_seed(&random, k->o->seed, k->o->tensor, (uint64_t)row, (uint64_t)block);
    if (g->shift_at && g->shift_at[at] >= 0)
        found = mdq_shift_normal(s->D, rank, u, g->shift + g->shift_at[at] * g->first_most, s->v);
    else
        MDQ_TRY(mdq_shift_direction(s->D, l, rank, u, NULL, &random, s->v, &found));
    s->alpha = found > 0 ? s->target * s->norm : 0;
    return MDQ_OK;
}

/* w + alpha v, kept to what the grid can say. */
static void apply_shift(const struct work *k, const struct shift *s, float *row)
{
    const struct quant_grid *q = k->grid;
    for (int64_t i = 0; i < s->D; i++) {
        int64_t c = s->first + i, at = s->row * q->groups + c / q->group;
        double low = -q->zeros[at] * q->scales[at], high = (quant_max_code(q) - q->zeros[at]) * q->scales[at];
        double w = k->w[s->row * q->cols + c], v = w + s->alpha * s->v[i];
        /* what lay outside already may stay there */
        row[c] = (float)fmin(fmax(v, fmin(low, w)), fmax(high, w));
    }
}

/* Shifted targets for all rows with sensitive or overlap points, rounded, the shifts rescaled until MD fits. */
static enum mdq_err shift_rows(struct work *k, const struct gptq_factor *f, float *md, int64_t *count)
{
    const struct mdq_points *g = k->g;
    struct gptq_rows sub = {0};
    struct shift *shift = NULL;
    int64_t shifts = 0, rows = 0;
    double *l = NULL, *u = NULL;
    int64_t *list = mdq_alloc((size_t)g->rows, sizeof *list, "rows");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!list)
        return err;
    for (int64_t r = 0; r < g->rows; r++) {
        bool any = false;
        for (int64_t j = 0; j < g->blocks; j++) {
            bool one = g->label[r * g->blocks + j] == MDQ_SENSITIVE || g->label[r * g->blocks + j] == MDQ_OVERLAP;
            shifts += one;
            any |= one;
        }
        k->shifted_at[r] = any ? rows : -1;
        if (any)
            list[rows++] = r;
    }
    *count = shifts;
    if (shifts == 0) {
        free(list);
        return MDQ_OK;
    }
    int64_t most = 0, at = 0;
    for (int64_t j = 0; j < g->blocks; j++)
        most = g->first[j + 1] - g->first[j] > most ? g->first[j + 1] - g->first[j] : most;
    shift = mdq_calloc((size_t)shifts, sizeof *shift, "shifts");
    l = mdq_alloc_aligned((size_t)(most * most), sizeof *l, "block of H");
    u = mdq_alloc_aligned((size_t)(most * MDQ_CHART_MAX_DIM), sizeof *u, "tangent");
    k->shifted = mdq_alloc_aligned((size_t)(rows * g->cols), sizeof *k->shifted, "shifted rows");
    if (!shift || !l || !u || !k->shifted)
        goto done;
    for (int64_t j = 0; j < g->blocks; j++) {
        bool factored = false;
        for (int64_t r = 0; r < rows; r++) {
            int label = g->label[list[r] * g->blocks + j];
            if (label != MDQ_SENSITIVE && label != MDQ_OVERLAP)
                continue;
            if (!factored)
                MDQ_GOTO(err, mdq_shift_factor(g->cols, k->h, g->first[j], g->first[j + 1] - g->first[j], l), done);
            factored = true;
            MDQ_GOTO(err, shift_new(k, list[r], j, l, u, &shift[at]), done);
            at++;
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int64_t r = 0; r < rows; r++)
            memcpy(k->shifted + r * g->cols, k->target + list[r] * g->cols, sizeof *k->target * (size_t)g->cols);
        for (int64_t i = 0; i < shifts; i++)
            apply_shift(k, &shift[i], k->shifted + k->shifted_at[shift[i].row] * g->cols);
        MDQ_GOTO(err, gptq_rows_quantize(&sub, rows, list, k->shifted, k->grid, f, k->codes), done);
        MDQ_GOTO(err, gptq_rows_distortion(g, k->w, k->grid, k->codes, rows, list, md), done);
        bool all = true;
        for (int64_t i = 0; i < shifts && round + 1 < ROUNDS; i++) {
            struct shift *s = &shift[i];
            double now = md[s->row * g->blocks + s->block];
            bool high = s->label == MDQ_SENSITIVE && now > 1.1 * s->target;
            if (mdq_md_met(s->label, s->target, now) && !high)
                continue;
            all = false;
            /* rounding adds to the shift nearly at a right angle: what it takes to reach the target from there */
            double noise = fmax(now * now - pow(s->alpha / s->norm, 2), 0), aim = s->label == MDQ_SENSITIVE ? 1.03 * s->target : s->target;
            double want = sqrt(fmax(aim * aim - noise, 0)) * s->norm;
            s->alpha = want > 0 && now >= 0.5 * aim ? want * (now < aim ? 1.02 : 1) : s->alpha * fmin(2, aim / fmax(now, 1e-9));
        }
        if (all)
            break;
    }
    err = MDQ_OK;
done:
    for (int64_t i = 0; shift && i < shifts; i++)
        free(shift[i].v);
    gptq_rows_free(&sub);
    free(shift);
    free(l);
    free(u);
    free(list);
    return err;
}

/* ---- one row ---- */

struct scratch {
    struct gptq_row row;
    double *target, *e, *he, *scales, *start;
    uint8_t *codes, *spare1, *spare2;
    double *scales1, *scales2;
    struct gptq_segment *segment;
    double *u; /* one point's tangent */
};

static enum mdq_err scratch_new(struct scratch *s, const struct work *k)
{
    const size_t n = (size_t)k->g->cols, groups = (size_t)k->grid->groups, blocks = (size_t)k->g->blocks;
    s->target = mdq_alloc_aligned(n, sizeof(double), "row");
    s->e = mdq_alloc_aligned(n, sizeof(double), "row");
    s->he = mdq_alloc_aligned(n, sizeof(double), "row");
    s->scales = mdq_alloc(groups, sizeof(double), "row");
    s->start = mdq_alloc(groups, sizeof(double), "row");
    s->scales1 = mdq_alloc(groups, sizeof(double), "row");
    s->scales2 = mdq_alloc(groups, sizeof(double), "row");
    s->codes = mdq_alloc(n, 1, "row");
    s->spare1 = mdq_alloc(n, 1, "row");
    s->spare2 = mdq_alloc(n, 1, "row");
    s->segment = mdq_calloc(blocks, sizeof *s->segment, "points of a row");
    s->u = mdq_alloc_aligned((size_t)(k->g->first[1] + 1) * MDQ_CHART_MAX_DIM, sizeof(double), "tangent");
    return s->target && s->e && s->he && s->scales && s->start && s->scales1 && s->scales2 && s->codes && s->spare1 && s->spare2 &&
                   s->segment && s->u
               ? MDQ_OK
               : MDQ_E_INTERNAL;
}

static void segments_free(struct scratch *s)
{
    for (int i = 0; i < s->row.segments; i++) {
        free(s->segment[i].u);
        free(s->segment[i].ue);
        s->segment[i] = (struct gptq_segment){0};
    }
    s->row.segments = 0;
}

static void scratch_free(struct scratch *s)
{
    segments_free(s);
    void *const all[] = {s->target, s->e, s->he, s->scales, s->start, s->scales1, s->scales2, s->codes, s->spare1, s->spare2,
                         s->segment, s->u};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static enum mdq_err load_row(const struct work *k, int64_t row, struct scratch *s)
{
    const struct mdq_points *g = k->g;
    const struct quant_grid *q = k->grid;
    s->row = (struct gptq_row){.n = g->cols, .group = q->group, .h = k->h, .lambda = k->lambda, .target = s->target, .scales = s->scales,
                               .zeros = q->zeros + row * q->groups, .top = quant_max_code(q), .codes = s->codes, .segment = s->segment,
                               .e = s->e, .he = s->he};
    const float *from = k->shifted_at[row] >= 0 ? k->shifted + k->shifted_at[row] * g->cols : k->target + row * g->cols;
    for (int64_t i = 0; i < g->cols; i++)
        s->target[i] = from[i];
    memcpy(s->scales, q->scales + row * q->groups, sizeof *s->scales * (size_t)q->groups);
    memcpy(s->start, s->scales, sizeof *s->scales * (size_t)q->groups);
    memcpy(s->codes, k->codes + row * g->cols, (size_t)g->cols);
    for (int64_t j = 0; j < g->blocks; j++) {
        if (g->label[row * g->blocks + j] == MDQ_FREE)
            continue;
        struct gptq_segment *t = &s->segment[s->row.segments++];
        *t = (struct gptq_segment){.block = j, .first = g->first[j], .D = g->first[j + 1] - g->first[j],
                                   .frozen = g->label[row * g->blocks + j] != MDQ_FUNCTIONAL};
        MDQ_TRY(mdq_point_tangent(g, k->w, row, j, s->u, &t->rank));
        t->u = mdq_alloc((size_t)(t->D * t->rank), sizeof *t->u, "tangent");
        t->ue = mdq_alloc((size_t)t->rank, sizeof *t->ue, "tangent");
        if (!t->u || !t->ue)
            return MDQ_E_INTERNAL;
        memcpy(t->u, s->u, sizeof *t->u * (size_t)(t->D * t->rank));
    }
    gptq_row_reset(&s->row);
    return MDQ_OK;
}

static enum mdq_err constrain_row(const struct work *k, int64_t row, struct scratch *s, int64_t *rescaled)
{
    struct gptq_row *r = &s->row;
    struct saved best = {s->spare1, s->scales1, 0}, other = {s->spare2, s->scales2, 0};
    enum mdq_err err;
    MDQ_GOTO(err, load_row(k, row, s), done);
    meet_functional(k, row, r, s->start, &best, &other, rescaled);
    for (int i = 0; i < r->segments; i++)
        if (r->segment[i].frozen)
            MDQ_GOTO(err, push(k, row, r, &r->segment[i]), done);
    memcpy(k->codes + row * r->n, r->codes, (size_t)r->n);
    memcpy(k->grid->scales + row * k->grid->groups, r->scales, sizeof *r->scales * (size_t)k->grid->groups);
done:
    segments_free(s);
    return err;
}

/* ---- the layer ---- */

enum mdq_err gptq_constrain(const struct mdq_points *g, const float *w, const float *target, struct quant_grid *grid, const float *h,
                            const struct gptq_factor *f, const struct gptq_constraints *o, uint8_t *codes, float *md,
                            struct gptq_constrained *out)
{
    struct work k = {.g = g, .w = w, .target = target, .h = h, .grid = grid, .o = o, .codes = codes, .lambda = f ? f->damp * f->mean : 0};
    int64_t *list = mdq_alloc((size_t)g->rows, sizeof *list, "rows"), rows = 0, rescaled = 0;
    struct gptq_sums before, after;
    enum mdq_err err = MDQ_E_INTERNAL;
    bool starved = false;
    *out = (struct gptq_constrained){0};
    k.shifted_at = mdq_alloc((size_t)g->rows, sizeof *k.shifted_at, "rows");
    if (!list || !k.shifted_at)
        goto done;
    for (int64_t i = 0; i < g->cols; i++)
        k.mean += ((double)h[i * g->cols + i] + k.lambda) / (double)g->cols;
    if (!(k.mean > 0))
        k.mean = 1;
    for (int64_t r = 0; r < g->rows; r++) {
        bool any = false;
        for (int64_t j = 0; j < g->blocks; j++) {
            int64_t at = r * g->blocks + j;
            any |= g->label[at] == MDQ_SENSITIVE || g->label[at] == MDQ_OVERLAP || !mdq_md_met(g->label[at], g->target[at], md[at]);
        }
        k.shifted_at[r] = -1;
        if (any)
            list[rows++] = r;
    }
    out->rows = rows;
    MDQ_GOTO(err, gptq_rows_sums(g, target, NULL, NULL, grid, h, f, codes, rows, list, &before), done);
    MDQ_GOTO(err, shift_rows(&k, f, md, &out->shifted), done);
#pragma omp parallel reduction(|| : starved) reduction(+ : rescaled)
    {
        struct scratch s = {0};
        bool ready = scratch_new(&s, &k) == MDQ_OK;
        starved = !ready;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < rows; i++)
            if (ready && constrain_row(&k, list[i], &s, &rescaled) != MDQ_OK)
                starved = true;
        scratch_free(&s);
    }
    if (starved) {
        err = mdq_fail(MDQ_E_INTERNAL, "out of memory: constrained rows");
        goto done;
    }
    out->rescaled = rescaled;
    MDQ_GOTO(err, gptq_rows_distortion(g, w, grid, codes, rows, list, md), done);
    MDQ_GOTO(err, gptq_rows_sums(g, target, k.shifted, k.shifted_at, grid, h, f, codes, rows, list, &after), done);
    out->ehe = after.ehe - before.ehe;
    out->residual = after.residual - before.residual;
    out->sq_error = after.sq_error - before.sq_error;
    out->bound = after.bound - before.bound;
    out->max_abs = after.max_abs;
    err = gptq_list_misses(g, w, grid, md, out);
done:
    free(k.shifted);
    free(k.shifted_at);
    free(list);
    return err;
}

void gptq_constrained_free(struct gptq_constrained *c)
{
    free(c->miss);
    *c = (struct gptq_constrained){0};
}
