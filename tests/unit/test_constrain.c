/* Distortion, descent and constraints, against plain formulas, exhaustive search and what theory gives for Gaussian rows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gptq_constrain.h"
#include "gptq_descent.h"
#include "mdq_shift.h"
#include "lle_neighbours.h"
#include "mdq_local_pca.h"
#include "mdq_random.h"

/* A layer without records: geometry made by hand, points in blocks of `width` columns, charts with planes of `dim`. */
struct layer {
    struct mdq_points g;
    float *w, *h;
    uint8_t *codes;
    float *md;
    struct quant_grid grid;
    struct gptq_factor f;
};

static void layer_new(struct layer *l, int64_t rows, int64_t cols, int64_t width, int64_t dim, struct quant_spec spec, uint64_t seed)
{
    struct mdq_random r;
    const int64_t blocks = cols / width, tokens = 3 * cols;
    mdq_random_seed(&r, seed, "layer", 0, 0);
    *l = (struct layer){.g = {.basis = dim < 0 ? MDQ_BASIS_NONE : MDQ_BASIS_CHART, .rows = rows, .cols = cols, .blocks = blocks,
                              .tile_rows = 1, .points = rows * blocks, .most_charts = 1, .most_dim = dim > 0 ? dim : 0, .labelled = true}};
    struct mdq_points *g = &l->g;
    l->w = malloc(sizeof(float) * (size_t)(rows * cols));
    l->h = malloc(sizeof(float) * (size_t)(cols * cols));
    l->codes = malloc((size_t)(rows * cols));
    l->md = malloc(sizeof(float) * (size_t)g->points);
    for (int64_t i = 0; i < rows * cols; i++)
        l->w[i] = (float)(0.05 * mdq_random_normal(&r));
    double *x = malloc(sizeof(double) * (size_t)(tokens * cols));
    for (int64_t t = 0; t < tokens; t++) {
        double common = mdq_random_normal(&r);
        for (int64_t i = 0; i < cols; i++)
            x[t * cols + i] = (mdq_random_normal(&r) + 0.5 * common) * (i % 7 == 2 ? 3 : 1);
    }
    for (int64_t i = 0; i < cols; i++)
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; t++)
                sum += x[t * cols + i] * x[t * cols + j];
            l->h[i * cols + j] = (float)sum;
        }
    free(x);
    g->first = malloc(sizeof(int64_t) * (size_t)(blocks + 1));
    g->tile_first = malloc(sizeof(int64_t) * 2);
    g->tile_first[0] = 0, g->tile_first[1] = rows;
    for (int64_t j = 0; j <= blocks; j++)
        g->first[j] = j * width;
    g->norm = malloc(sizeof(double) * (size_t)g->points);
    g->label = calloc((size_t)g->points, 1);
    g->target = calloc((size_t)g->points, sizeof(float));
    if (dim >= 0) {
        g->charts = calloc((size_t)blocks, sizeof *g->charts);
        g->chart = calloc((size_t)g->points, 1);
        g->foot = calloc((size_t)(g->points * g->most_dim + 1), sizeof(double));
        g->scale = malloc(sizeof(double) * (size_t)blocks);
        for (int64_t j = 0; j < blocks; j++) {
            assert_int_equal(mdq_chart_new(&g->charts[j], width, dim, 0), MDQ_OK);
            for (int64_t i = 0; i < width * dim; i++)
                g->charts[j].basis[i] = (float)mdq_random_normal(&r);
            mdq_chart_prepare(&g->charts[j]);
            g->scale[j] = 1;
        }
    }
    for (int64_t at = 0; at < g->points; at++) {
        double sum = 0;
        for (int64_t i = 0; i < width; i++)
            sum += pow(l->w[at / blocks * cols + at % blocks * width + i], 2);
        g->norm[at] = sqrt(sum);
    }
    assert_int_equal(quant_grid_fit(&l->grid, l->w, rows, cols, &spec), MDQ_OK);
    struct gptq_options how = {.order = GPTQ_ORDER_ACT, .damp = 0.01};
    assert_int_equal(gptq_factor_make(&l->f, cols, l->h, &how), MDQ_OK);
}

static void layer_free(struct layer *l)
{
    mdq_points_free(&l->g);
    quant_grid_free(&l->grid);
    gptq_factor_free(&l->f);
    free(l->w);
    free(l->h);
    free(l->codes);
    free(l->md);
}

static void layer_round(struct layer *l, bool gptq)
{
    struct quant_outcome out;
    assert_int_equal(gptq ? gptq_quantize(l->w, &l->grid, &l->f, l->codes, &out) : quant_rtn(l->w, &l->grid, l->codes, &out), MDQ_OK);
    assert_int_equal(gptq_distortion(&l->g, l->w, &l->grid, l->codes, l->md), MDQ_OK);
}

/* MD of one point by its definition, the plane orthonormalised here. */
static double plain_md(const struct layer *l, int64_t at)
{
    const struct mdq_points *g = &l->g;
    const int64_t row = at / g->blocks, j = at % g->blocks, D = g->first[j + 1] - g->first[j];
    double e[512], u[64][512], off = 0;
    for (int64_t i = 0; i < D; i++) {
        int64_t c = g->first[j] + i, s = row * l->grid.groups + c / l->grid.group;
        e[i] = (float)(l->grid.scales[s] * (l->codes[row * g->cols + c] - l->grid.zeros[s])) - l->w[row * g->cols + c];
    }
    const int64_t dim = g->basis == MDQ_BASIS_CHART ? g->charts[j].dim : 0;
    for (int64_t a = 0; a < dim; a++) {
        double size = 0, dot = 0;
        for (int64_t i = 0; i < D; i++)
            u[a][i] = g->charts[j].basis[i * dim + a];
        for (int pass = 0; pass < 2; pass++)
            for (int64_t b = 0; b < a; b++) {
                double t = 0;
                for (int64_t i = 0; i < D; i++)
                    t += u[b][i] * u[a][i];
                for (int64_t i = 0; i < D; i++)
                    u[a][i] -= t * u[b][i];
            }
        for (int64_t i = 0; i < D; i++)
            size += u[a][i] * u[a][i];
        for (int64_t i = 0; i < D; i++)
            dot += (u[a][i] /= sqrt(size)) * e[i];
        for (int64_t i = 0; i < D; i++)
            e[i] -= dot * u[a][i];
    }
    for (int64_t i = 0; i < D; i++)
        off += e[i] * e[i];
    return sqrt(off) / g->norm[at];
}

static void distortion_by_definition(void **state)
{
    (void)state;
    for (int64_t dim = -1; dim <= 6; dim += dim < 0 ? 1 : 3) {
        struct layer l;
        layer_new(&l, 20, 96, 48, dim, (struct quant_spec){3, 16, true, MDQ_F16}, 5);
        layer_round(&l, true);
        for (int64_t at = 0; at < l.g.points; at++)
            assert_true(fabs(l.md[at] - plain_md(&l, at)) < 1e-6);
        layer_free(&l);
    }
}

/* Design 1.2: Gaussian tiles of 256, min-max rounding, medians to 5 %; the plane of a pooled fit of noise has no dimension. */
static void gaussian_tiles(void **state)
{
    (void)state;
    static const double pooled[] = {0.115, 0.247, 0.57}, local256[] = {0.124, 0.263, 0.617}, local32[] = {0.100, 0.213, 0.500};
    enum { N = 256, K = 15 };
    for (int bits = 4; bits >= 2; bits--)
        for (int group = 256; group >= 32; group -= 224)
            for (int local = 0; local < 2; local++) {
                if (!local && group == 32)
                    continue;
                struct layer l;
                layer_new(&l, N, N, N, -1, (struct quant_spec){bits, group, true, MDQ_F32}, 31);
                if (local) {
                    double *gram = malloc(sizeof(double) * N * N), *centred = malloc(sizeof(double) * N * N);
                    l.g.basis = MDQ_BASIS_LLE;
                    l.g.k = K;
                    l.g.variance = 0.95;
                    l.g.tile_k = malloc(sizeof(int64_t));
                    l.g.tile_k[0] = K;
                    l.g.neighbours = malloc(sizeof(uint16_t) * N * K);
                    lle_gram(N, N, l.w, N, centred, gram);
                    assert_int_equal(lle_neighbours(N, N, l.w, N, gram, K, l.g.neighbours, NULL), MDQ_OK);
                    uint8_t dim[N];
                    assert_int_equal(mdq_local_pca(N, N, l.w, N, K, l.g.neighbours, 0.95, 0, 0, N, dim, l.g.norm, NULL), MDQ_OK);
                    free(gram);
                    free(centred);
                }
                layer_round(&l, false);
                double sum = 0, want = local ? (group == 32 ? local32 : local256)[4 - bits] : pooled[4 - bits];
                for (int i = 0; i < N; i++)
                    sum += l.md[i] / N;
                assert_true(fabs(sum / want - 1) < 0.05);
                layer_free(&l);
            }
}

static void best_scale_is_best(void **state)
{
    (void)state;
    struct mdq_random r;
    mdq_random_seed(&r, 2, "scale", 0, 0);
    for (int trial = 0; trial < 60; trial++) {
        float w[24];
        const int bits = 2 + trial % 3, top = (1 << bits) - 1, zero = trial % 2 ? 1 << (bits - 1) : trial % (top + 1);
        for (int i = 0; i < 24; i++)
            w[i] = (float)mdq_random_normal(&r);
        double scale, least = gptq_best_scale(24, w, zero, top, &scale), found = INFINITY, at_scale = 0;
        for (int step = -1; step < 20000; step++) {
            double s = step < 0 ? scale : 3.0 * (step + 1) / 20000, error = 0;
            for (int i = 0; i < 24; i++) {
                double c = rint(w[i] / s) + zero;
                c = c < 0 ? 0 : c > top ? top : c;
                error += pow(w[i] - s * (c - zero), 2);
            }
            if (step < 0)
                at_scale = error;
            found = fmin(found, error);
        }
        assert_true(fabs(at_scale - least) < 1e-9 * (1 + least));
        assert_true(least <= found + 1e-9);
        assert_true(found < least + 1e-3);
    }
}

struct tiny {
    float h[100];
    double target[10], scales[10], e[10], he[10], u[20], ue[2];
    uint8_t codes[10], zeros[10];
    struct gptq_segment segment;
    struct gptq_row row;
};

static void tiny_new(struct tiny *t, int64_t n, int bits, uint64_t seed)
{
    struct mdq_random r;
    mdq_random_seed(&r, seed, "tiny", 0, 0);
    double x[30][10];
    for (int k = 0; k < 30; k++)
        for (int64_t i = 0; i < n; i++)
            x[k][i] = mdq_random_normal(&r) + (i > 0 ? 0.6 * x[k][i - 1] : 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < 30; k++)
                sum += x[k][i] * x[k][j];
            t->h[i * n + j] = (float)sum;
        }
    double size = 0;
    for (int64_t i = 0; i < n; i++) {
        t->target[i] = mdq_random_normal(&r);
        t->u[i] = mdq_random_normal(&r);
        size += t->u[i] * t->u[i];
    }
    for (int64_t i = 0; i < n; i++)
        t->u[i] /= sqrt(size);
    t->scales[0] = 2.2 / (1 << (bits - 1));
    t->zeros[0] = (uint8_t)(1 << (bits - 1));
    for (int64_t i = 0; i < n; i++)
        t->codes[i] = (uint8_t)mdq_random_below(&r, 1 << bits);
    t->segment = (struct gptq_segment){.D = n, .rank = 1, .u = t->u, .ue = t->ue, .mu = 40};
    t->row = (struct gptq_row){.n = n, .group = n, .h = t->h, .lambda = 0.3, .target = t->target, .scales = t->scales, .zeros = t->zeros,
                               .top = (1 << bits) - 1, .codes = t->codes, .segment = &t->segment, .segments = 1, .e = t->e, .he = t->he};
    gptq_row_reset(&t->row);
}

static double plain_objective(const struct tiny *t, const int *codes)
{
    const int64_t n = t->row.n;
    double e[10], sum = 0, dot = 0;
    for (int64_t i = 0; i < n; i++)
        e[i] = t->target[i] - t->scales[0] * (codes[i] - t->zeros[0]);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++)
            sum += e[i] * e[j] * t->h[i * n + j];
        sum += (t->row.lambda + t->segment.mu) * e[i] * e[i];
        dot += t->u[i] * e[i];
    }
    return sum - t->segment.mu * dot * dot;
}

/* Rows of at most 10 columns, all codes: never better than the best, mostly equal over a few starts, no single move left. */
static void descent_against_exhaustive_search(void **state)
{
    (void)state;
    int optimal = 0, trials = 0;
    for (int bits = 2; bits <= 3; bits++)
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct tiny t;
            const int64_t n = bits == 2 ? 10 : 6;
            int64_t all = 1;
            double best = INFINITY, found = INFINITY;
            tiny_new(&t, n, bits, seed);
            for (int64_t i = 0; i < n; i++)
                all *= 1 << bits;
            for (int64_t k = 0; k < all; k++) {
                int codes[10];
                for (int64_t i = 0, rest = k; i < n; i++, rest >>= bits)
                    codes[i] = (int)(rest & ((1 << bits) - 1));
                best = fmin(best, plain_objective(&t, codes));
            }
            for (int start = 0; start < 30; start++) {
                struct mdq_random r;
                mdq_random_seed(&r, seed, "start", (uint64_t)start, 0);
                for (int64_t i = 0; i < n; i++)
                    t.codes[i] = (uint8_t)mdq_random_below(&r, 1 << bits);
                gptq_row_reset(&t.row);
                double before = gptq_row_objective(&t.row);
                for (int sweep = 0; sweep < 20; sweep++) {
                    gptq_row_descend(&t.row, 1, 0, n);
                    double now = gptq_row_objective(&t.row);
                    assert_true(now <= before * (1 + 1e-12));
                    before = now;
                }
                int codes[10];
                for (int64_t i = 0; i < n; i++)
                    codes[i] = t.codes[i];
                assert_true(fabs(plain_objective(&t, codes) - before) < 1e-8 * before);
                for (int64_t i = 0; i < n; i++)
                    for (int d = -1; d <= 1; d += 2) {
                        codes[i] += d;
                        if (codes[i] >= 0 && codes[i] < 1 << bits)
                            assert_true(plain_objective(&t, codes) >= before * (1 - 1e-9));
                        codes[i] -= d;
                    }
                found = fmin(found, before);
            }
            assert_true(found >= best * (1 - 1e-9));
            optimal += found <= best * (1 + 1e-9);
            trials++;
        }
    assert_true(optimal >= trials - 2);
}

/* Ax with a dense inverse: the direction has no part in the plane, and costs no more than random normal ones. */
static void shift_direction_is_cheap_and_normal(void **state)
{
    (void)state;
    struct layer l;
    enum { D = 48, DIM = 3 };
    layer_new(&l, 2, D, D, DIM, (struct quant_spec){4, 16, true, MDQ_F16}, 8);
    double factor[D * D], u[D * MDQ_CHART_MAX_DIM], v[D];
    int64_t rank;
    double found;
    struct mdq_random r;
    mdq_random_seed(&r, 1, "shift", 0, 0);
    assert_int_equal(mdq_point_tangent(&l.g, l.w, 0, 0, u, &rank), MDQ_OK);
    assert_int_equal(rank, DIM);
    assert_int_equal(mdq_shift_factor(D, l.h, 0, D, factor), MDQ_OK);
    assert_int_equal(mdq_shift_direction(D, factor, rank, u, NULL, &r, v, &found), MDQ_OK);
    assert_true(found > 0);
    double size = 0, mean = 0, cost[2] = {0}, v2[D];
    for (int64_t i = 0; i < D; i++)
        mean += l.h[i * D + i] / D;
    for (int64_t a = 0; a < rank; a++) {
        double dot = 0;
        for (int64_t i = 0; i < D; i++)
            dot += u[i * rank + a] * v[i];
        assert_true(fabs(dot) < 1e-10);
    }
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < D; i++)
            v2[i] = k == 0 ? v[i] : mdq_random_normal(&r) / sqrt(D);
        for (int64_t i = 0; i < D; i++)
            for (int64_t j = 0; j < D; j++)
                cost[k] += v2[i] * v2[j] * (l.h[i * D + j] + (i == j ? 0.1 * mean : 0));
        size += k == 0 ? 0 : 0;
    }
    for (int64_t i = 0; i < D; i++)
        size += v[i] * v[i];
    assert_true(fabs(size - 1) < 1e-12);
    assert_true(cost[0] < 0.6 * cost[1]);
    /* with a gradient c: KKT, v = A (c - U t), so that H v + U t is parallel to c */
    double c[D];
    for (int64_t i = 0; i < D; i++)
        c[i] = mdq_random_normal(&r);
    assert_int_equal(mdq_shift_direction(D, factor, rank, u, c, &r, v, &found), MDQ_OK);
    double hv[D], residual[D], along = 0, cc = 0, left = 0, whole = 0;
    for (int64_t i = 0; i < D; i++) {
        hv[i] = 0.1 * mean * v[i];
        for (int64_t j = 0; j < D; j++)
            hv[i] += l.h[i * D + j] * v[j];
    }
    for (int k = 0; k < 2; k++) { /* both without their part in the plane */
        double *p = k ? c : hv;
        for (int64_t a = 0; a < rank; a++) {
            double dot = 0;
            for (int64_t i = 0; i < D; i++)
                dot += u[i * rank + a] * p[i];
            for (int64_t i = 0; i < D; i++)
                p[i] -= dot * u[i * rank + a];
        }
    }
    for (int64_t i = 0; i < D; i++) {
        along += hv[i] * c[i];
        cc += c[i] * c[i];
    }
    for (int64_t i = 0; i < D; i++) {
        residual[i] = hv[i] - along / cc * c[i];
        left += residual[i] * residual[i];
        whole += hv[i] * hv[i];
    }
    assert_true(along > 0 && left < 1e-12 * whole);
    layer_free(&l);
}

static void constraints_are_met(void **state)
{
    (void)state;
    for (int bits = 4; bits >= 2; bits--)
        for (int64_t dim = 0; dim <= 6; dim += 3)
            for (int sym = 0; sym < 2; sym++) {
                struct layer l;
                struct gptq_constrained done;
                struct gptq_constraints how = {.restarts = 20, .tensor = "test"};
                struct quant_outcome out;
                layer_new(&l, 40, 128, 64, dim, (struct quant_spec){bits, 32, sym, MDQ_F16}, 3);
                int64_t labelled = 0;
                for (int64_t at = 0; at < l.g.points; at += 3, labelled++) {
                    l.g.label[at] = (uint8_t)(1 + labelled % 3);
                    /* near what rounding gives without constraints, so that there is something to do */
                    l.g.target[at] = labelled % 3 == 0 ? (bits == 4 ? 0.11f : bits == 3 ? 0.23f : 0.45f) : labelled % 3 == 1 ? 0.6f : 0.5f;
                }
                assert_int_equal(gptq_quantize(l.w, &l.grid, &l.f, l.codes, &out), MDQ_OK);
                layer_round(&l, true);
                int64_t before = 0, after = 0;
                for (int64_t at = 0; at < l.g.points; at++)
                    before += !mdq_md_met(l.g.label[at], l.g.target[at], l.md[at]);
                double ehe;
                assert_int_equal(gptq_output_norm(l.w, &l.grid, l.codes, l.h, true, &ehe), MDQ_OK);
                assert_int_equal(gptq_constrain(&l.g, l.w, l.w, &l.grid, l.h, &l.f, &how, l.codes, l.md, &done), MDQ_OK);
                for (int64_t at = 0; at < l.g.points; at++) {
                    bool met = mdq_md_met(l.g.label[at], l.g.target[at], l.md[at]);
                    assert_true(fabs(l.md[at] - plain_md(&l, at)) < 1e-5);
                    after += !met;
                    if (l.g.label[at] == MDQ_FUNCTIONAL && dim == 0 && !met) { /* no bound speaks against what was not met, or it is one */
                        for (int64_t i = 0; i < done.misses; i++)
                            if (done.miss[i].row * l.g.blocks + done.miss[i].block == at)
                                assert_true(done.miss[i].bound >= 0 && done.miss[i].bound <= done.miss[i].md + 1e-6);
                    }
                }
                assert_int_equal(after, done.misses);
                assert_true(before > labelled / 2);
                assert_true(after <= labelled / (bits == 2 ? 4 : 20));
                /* the sums are those of what is stored */
                double now;
                assert_int_equal(gptq_output_norm(l.w, &l.grid, l.codes, l.h, true, &now), MDQ_OK);
                assert_true(fabs(ehe + done.ehe - now) < 1e-6 * now);
                gptq_constrained_free(&done);
                layer_free(&l);
            }
}

/* Rows of 8 columns at 2 bits, all codes on the grid that was left: a constraint that is missed could not be met on it, and what is
 * stored for it is nearly the best there is. */
static void misses_against_exhaustive_search(void **state)
{
    (void)state;
    int missed = 0, best_found = 0;
    for (int64_t dim = 0; dim <= 1; dim++) {
        struct layer l;
        struct gptq_constrained done;
        struct gptq_constraints how = {.restarts = 60, .tensor = "tiny"};
        layer_new(&l, 60, 8, 8, dim, (struct quant_spec){2, 8, true, MDQ_F32}, 77);
        for (int64_t at = 0; at < l.g.points; at++) {
            l.g.label[at] = MDQ_FUNCTIONAL;
            l.g.target[at] = 0.22f;
        }
        layer_round(&l, true);
        assert_int_equal(gptq_constrain(&l.g, l.w, l.w, &l.grid, l.h, &l.f, &how, l.codes, l.md, &done), MDQ_OK);
        for (int64_t i = 0; i < done.misses; i++) {
            const int64_t row = done.miss[i].row;
            uint8_t stored[8];
            double least = INFINITY;
            memcpy(stored, l.codes + row * 8, 8);
            for (int k = 0; k < 1 << 16; k++) {
                for (int c = 0; c < 8; c++)
                    l.codes[row * 8 + c] = (uint8_t)(k >> (2 * c) & 3);
                least = fmin(least, plain_md(&l, row));
            }
            memcpy(l.codes + row * 8, stored, 8);
            missed++;
            best_found += done.miss[i].md <= least * (1 + 1e-5);
            assert_true(least > l.g.target[row]);
            if (done.miss[i].bound >= 0)
                assert_true(done.miss[i].bound <= least + 1e-6);
        }
        gptq_constrained_free(&done);
        layer_free(&l);
    }
    assert_true(missed > 10 && missed < 120);
    assert_true(best_found >= missed * 9 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misses_against_exhaustive_search),
        cmocka_unit_test(distortion_by_definition),
        cmocka_unit_test(gaussian_tiles),
        cmocka_unit_test(best_scale_is_best),
        cmocka_unit_test(descent_against_exhaustive_search),
        cmocka_unit_test(shift_direction_is_cheap_and_normal),
        cmocka_unit_test(constraints_are_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
