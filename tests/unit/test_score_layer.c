/*
 * Scores of a layer against the formulas written out: A as an explicit inverse, the tangent orthonormalised here, everything in
 * double. And the functions from scores to labels on tables worked out by hand.
 */
#include <omp.h>

#include "score_fixture.h"
#include "score_label.h"

enum { ROWS = 7, COLS = 11, BLOCKS = 2, WIDE = 6, DIM = 2, TOKENS = 40 };

/* A layer without records: charts are planes of DIM directions. */
struct layer {
    struct mdq_points g;
    float w[ROWS * COLS], h[COLS * COLS], contrast[ROWS * COLS], fisher[ROWS * COLS], dot[ROWS * BLOCKS], output[ROWS];
};

static void layer_new(struct layer *l, bool charts, uint64_t seed)
{
    struct mdq_random r;
    double x[TOKENS][COLS];
    mdq_random_seed(&r, seed, "layer", 0, 0);
    *l = (struct layer){.g = {.basis = charts ? MDQ_BASIS_CHART : MDQ_BASIS_NONE, .rows = ROWS, .cols = COLS, .blocks = BLOCKS,
                              .tile_rows = 1, .points = ROWS * BLOCKS, .most_charts = 1, .most_dim = charts ? DIM : 0, .first_most = WIDE}};
    struct mdq_points *g = &l->g;
    g->first = malloc(sizeof *g->first * (BLOCKS + 1));
    g->tile_first = malloc(sizeof *g->tile_first * 2);
    g->norm = malloc(sizeof *g->norm * ROWS * BLOCKS);
    g->first[0] = 0, g->first[1] = WIDE, g->first[2] = COLS;
    g->tile_first[0] = 0, g->tile_first[1] = ROWS;
    for (int i = 0; i < TOKENS; i++)
        for (int j = 0; j < COLS; j++)
            x[i][j] = mdq_random_normal(&r) * (1 + j % 3) + (j > 0 ? 0.5 * x[i][j - 1] : 0);
    for (int i = 0; i < COLS; i++)
        for (int j = 0; j < COLS; j++) {
            double sum = 0;
            for (int t = 0; t < TOKENS; t++)
                sum += x[t][i] * x[t][j];
            l->h[i * COLS + j] = (float)sum;
        }
    for (int i = 0; i < ROWS * COLS; i++) {
        l->w[i] = (float)(0.05 * mdq_random_normal(&r));
        l->contrast[i] = (float)(0.3 * mdq_random_normal(&r));
        l->fisher[i] = (float)pow(mdq_random_normal(&r), 2);
    }
    for (int i = 0; i < ROWS * BLOCKS; i++) {
        l->dot[i] = (float)mdq_random_normal(&r);
        g->norm[i] = 0.1 + mdq_random_uniform(&r);
    }
    for (int i = 0; i < ROWS; i++)
        l->output[i] = (float)(0.01 + mdq_random_uniform(&r));
    if (!charts)
        return;
    g->charts = calloc(BLOCKS, sizeof *g->charts);
    g->chart = calloc(ROWS * BLOCKS, 1);
    g->foot = calloc(ROWS * BLOCKS * DIM, sizeof *g->foot);
    for (int j = 0; j < BLOCKS; j++) {
        const int64_t D = g->first[j + 1] - g->first[j];
        assert_ok(mdq_chart_new(&g->charts[j], D, DIM, 0));
        for (int64_t i = 0; i < D * DIM; i++)
            g->charts[j].basis[i] = (float)mdq_random_normal(&r);
        mdq_chart_prepare(&g->charts[j]);
    }
}

/* inverse [n, n] of a by Gauss and Jordan, the largest pivot of each column first. */
static void invert(int n, const double *a, double *inverse)
{
    double m[WIDE][2 * WIDE];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            m[i][j] = a[i * n + j], m[i][n + j] = i == j;
    for (int c = 0; c < n; c++) {
        int best = c;
        for (int i = c; i < n; i++)
            best = fabs(m[i][c]) > fabs(m[best][c]) ? i : best;
        for (int j = 0; j < 2 * n; j++) {
            double t = m[c][j];
            m[c][j] = m[best][j], m[best][j] = t;
        }
        for (int j = 2 * n - 1; j >= 0; j--)
            m[c][j] /= m[c][c];
        for (int i = 0; i < n; i++)
            for (int j = 2 * n - 1; i != c && j >= c; j--)
                m[i][j] -= m[i][c] * m[c][j];
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            inverse[i * n + j] = m[i][n + j];
}

struct plain {
    double d[WIDE], gain, cost, functional, reach;
};

/* Design 1.3 for one point, word by word. */
static void plain_point(const struct layer *l, int row, int j, double md, struct plain *p)
{
    const struct mdq_points *g = &l->g;
    const int first = (int)g->first[j], D = (int)(g->first[j + 1] - g->first[j]), rank = g->basis == MDQ_BASIS_CHART ? DIM : 0;
    const double norm = g->norm[row * BLOCKS + j];
    double h[WIDE * WIDE], a[WIDE * WIDE], u[WIDE][DIM] = {{0}}, v[WIDE], mean = 0, quadratic = 0;
    for (int i = 0; i < D; i++)
        mean += (double)l->h[(first + i) * COLS + first + i] / TOKENS / D;
    for (int i = 0; i < D; i++)
        for (int k = 0; k < D; k++) {
            h[i * D + k] = (double)l->h[(first + i) * COLS + first + k] / TOKENS;
            quadratic += h[i * D + k] * l->w[row * COLS + first + i] * l->w[row * COLS + first + k];
            h[i * D + k] += i == k ? 0.1 * mean : 0;
        }
    invert(D, h, a);
    for (int b = 0; b < rank; b++) { /* Gram and Schmidt, twice */
        for (int i = 0; i < D; i++)
            u[i][b] = g->charts[j].basis[i * DIM + b];
        for (int pass = 0; pass < 2; pass++)
            for (int o = 0; o < b; o++) {
                double t = 0;
                for (int i = 0; i < D; i++)
                    t += u[i][o] * u[i][b];
                for (int i = 0; i < D; i++)
                    u[i][b] -= t * u[i][o];
            }
        double size = 0;
        for (int i = 0; i < D; i++)
            size += u[i][b] * u[i][b];
        for (int i = 0; i < D; i++)
            u[i][b] /= sqrt(size);
    }
    double au[WIDE][DIM] = {{0}}, uau[DIM * DIM] = {0}, solved[DIM * DIM], uac[DIM] = {0}, size = 0;
    for (int i = 0; i < D; i++) {
        v[i] = 0;
        for (int k = 0; k < D; k++)
            v[i] += a[i * D + k] * l->contrast[row * COLS + first + k];
        for (int b = 0; b < rank; b++)
            for (int k = 0; k < D; k++)
                au[i][b] += a[i * D + k] * u[k][b];
    }
    for (int b = 0; b < rank; b++)
        for (int i = 0; i < D; i++) {
            uac[b] += u[i][b] * v[i];
            for (int o = 0; o < rank; o++)
                uau[b * rank + o] += u[i][b] * au[i][o];
        }
    if (rank > 0)
        invert(rank, uau, solved);
    for (int i = 0; i < D; i++)
        for (int b = 0; b < rank; b++)
            for (int o = 0; o < rank; o++)
                v[i] -= au[i][b] * solved[b * rank + o] * uac[o];
    for (int i = 0; i < D; i++)
        size += v[i] * v[i];
    *p = (struct plain){.reach = sqrt(size) / norm};
    p->functional = fabs((double)l->dot[row * BLOCKS + j]) + 0.5 * l->output[row] * quadratic;
    for (int i = 0; i < D; i++) {
        p->d[i] = md * norm * v[i] / sqrt(size);
        p->gain += p->d[i] * l->contrast[row * COLS + first + i];
        p->cost += 0.5 * l->fisher[row * COLS + first + i] * p->d[i] * p->d[i];
    }
    for (int b = 0; b < rank; b++) { /* normal to the tangent */
        double t = 0;
        for (int i = 0; i < D; i++)
            t += u[i][b] * p->d[i];
        assert_true(fabs(t) < 1e-12);
    }
}

static void near(double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want) + 1e-12))
        fail_msg("%.12g is not %.12g", got, want);
}

static void score(const struct layer *l, double md, struct score_point *p, float *d)
{
    const struct score_layer in = {.points = &l->g, .w = l->w, .h = l->h, .count = TOKENS, .contrast = l->contrast, .fisher = l->fisher,
                                   .dot = l->dot, .output = l->output};
    const struct score_options how = {.deviations = 6, .md = md};
    assert_ok(score_layer(&in, &how, p, d));
}

static void scores_are_those_of_the_formulas(void **state)
{
    (void)state;
    for (int charts = 0; charts < 2; charts++) {
        struct layer l;
        struct score_point p[ROWS * BLOCKS];
        float d[ROWS * COLS];
        const double md = charts ? 0.6 : 0.45;
        layer_new(&l, charts, 11);
        score(&l, md, p, d);
        for (int at = 0; at < ROWS * BLOCKS; at++) {
            const int row = at / BLOCKS, j = at % BLOCKS, first = (int)l.g.first[j], D = (int)l.g.first[j + 1] - first;
            struct plain want;
            double fisher = 0;
            plain_point(&l, row, j, md, &want);
            for (int i = 0; i < D; i++) {
                fisher = fmax(fisher, l.fisher[row * COLS + first + i]);
                if (!(fabs(d[row * COLS + first + i] - want.d[i]) < 2e-6 * md * l.g.norm[at]))
                    fail_msg("point %d: d[%d] is %g, want %g", at, i, d[row * COLS + first + i], want.d[i]);
            }
            near(p[at].gain, want.gain, 1e-5);
            near(p[at].cost, want.cost, 1e-5);
            near(p[at].functional, want.functional, 1e-6);
            near(p[at].reach, want.reach, 1e-5);
            near(p[at].norm, l.g.norm[at], 1e-6);
            near(p[at].length, length(l.w + row * COLS + first, D), 1e-6);
            near(p[at].fisher, fisher, 1e-7);
            near(p[at].output, sqrt(l.output[row]), 1e-6);
            assert_true(p[at].gain > 0);
        }
        mdq_points_free(&l.g);
    }
}

/* The shift is the best of its cost: no other normal vector of the same d^T A^-1 d has more gain. */
static void no_direction_gains_more_at_the_same_cost(void **state)
{
    (void)state;
    struct layer l;
    struct score_point p[ROWS * BLOCKS];
    float d[ROWS * COLS];
    struct mdq_random r;
    mdq_random_seed(&r, 5, "directions", 0, 0);
    layer_new(&l, false, 12);
    score(&l, 0.6, p, d);
    double mean = 0;
    for (int i = 0; i < WIDE; i++)
        mean += (double)l.h[i * COLS + i] / WIDE;
    for (int trial = 0; trial < 200; trial++) {
        double x[WIDE], gain = 0, gain_d = 0, price[2] = {0};
        for (int i = 0; i < WIDE; i++) {
            x[i] = d[i] + 0.1 * p[0].norm * mdq_random_normal(&r);
            gain += x[i] * l.contrast[i];
            gain_d += d[i] * l.contrast[i];
        }
        for (int i = 0; i < WIDE; i++)
            for (int k = 0; k < WIDE; k++) {
                double h = l.h[i * COLS + k] + (i == k ? 0.1 * mean : 0);
                price[0] += h * d[i] * d[k], price[1] += h * x[i] * x[k];
            }
        assert_true(gain / sqrt(price[1]) <= gain_d / sqrt(price[0]) * (1 + 1e-6));
    }
    mdq_points_free(&l.g);
}

static void points_without_a_direction_do_not_move(void **state)
{
    (void)state;
    struct layer l;
    struct score_point p[ROWS * BLOCKS];
    float d[ROWS * COLS];
    layer_new(&l, true, 13);
    memset(l.contrast + 2 * COLS, 0, WIDE * sizeof *l.contrast); /* row 2, block 0: no contrast */
    l.g.norm[3 * BLOCKS + 1] = 0;                                /* row 3, block 1: a point of zeros */
    /* row 4, block 0: a contrast of no length that a float can tell */
    for (int i = 0; i < WIDE; i++)
        l.contrast[4 * COLS + i] = 1e-45f;
    score(&l, 0.6, p, d);
    const int still[] = {2 * BLOCKS, 3 * BLOCKS + 1};
    for (int k = 0; k < 2; k++) {
        assert_true(p[still[k]].gain == 0 && p[still[k]].cost == 0 && p[still[k]].reach == 0 && p[still[k]].functional > 0);
        const int row = still[k] / BLOCKS, j = still[k] % BLOCKS;
        for (int64_t i = l.g.first[j]; i < l.g.first[j + 1]; i++)
            assert_true(d[row * COLS + i] == 0);
    }
    for (int i = 0; i < ROWS * BLOCKS; i++)
        assert_true(isfinite(p[i].gain) && isfinite(p[i].cost) && isfinite(p[i].reach) && isfinite(p[i].functional));
    mdq_points_free(&l.g);
}

/* What a stream may hold, be it ever so large, becomes numbers that can be ranked and written. */
static void the_largest_numbers_stay_finite(void **state)
{
    (void)state;
    struct layer l;
    struct score_point p[ROWS * BLOCKS];
    float d[ROWS * COLS];
    layer_new(&l, false, 14);
    for (int i = 0; i < ROWS * COLS; i++)
        l.contrast[i] *= 3e38f, l.fisher[i] = 3e38f, l.w[i] *= 1e38f;
    for (int i = 0; i < ROWS; i++)
        l.output[i] = 3e38f;
    for (int i = 0; i < ROWS * BLOCKS; i++)
        l.g.norm[i] = i % 2 ? 1e38 : 1e300;
    score(&l, 1e6, p, d);
    for (int i = 0; i < ROWS * BLOCKS; i++)
        assert_true(isfinite(p[i].gain) && isfinite(p[i].cost) && isfinite(p[i].reach) && isfinite(p[i].functional) &&
                    isfinite(p[i].norm) && isfinite(p[i].length));
    for (int i = 0; i < ROWS * COLS; i++)
        assert_true(isfinite(d[i]));
    mdq_points_free(&l.g);
}

static void the_bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    struct layer l;
    struct score_point p[2][ROWS * BLOCKS];
    float d[2][ROWS * COLS];
    layer_new(&l, true, 15);
    for (int k = 0; k < 2; k++) {
        omp_set_num_threads(k ? 3 : 1);
        score(&l, 0.6, p[k], d[k]);
    }
    assert_memory_equal(d[0], d[1], sizeof d[0]);
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    mdq_points_free(&l.g);
}

static void median_and_deviation(void **state)
{
    (void)state;
    const float odd[] = {5, 1, 100, 2, 3}, even[] = {4, -2, 10, 0};
    float some[5];
    double median, deviation;
    score_robust(odd, 5, some, &median, &deviation); /* |v - 3| = 2 2 97 1 0 */
    assert_true(median == 3);
    near(deviation, 1.4826 * 2, 1e-12);
    score_robust(even, 4, some, &median, &deviation); /* median of 0 and 4; |v - 2| = 2 4 8 2 */
    assert_true(median == 2);
    near(deviation, 1.4826 * 3, 1e-12);
    score_robust(odd, 1, some, &median, &deviation);
    assert_true(median == 5 && deviation == 0);
}

static void outliers_of_a_row_are_found_where_they_stand(void **state)
{
    (void)state;
    struct layer l;
    struct score_point p[ROWS * BLOCKS];
    float d[ROWS * COLS];
    layer_new(&l, false, 16);
    for (int i = 0; i < ROWS * COLS; i++)
        l.w[i] = 0.01f * (float)(i % COLS - 5); /* median 0, MAD 0.03: six robust deviations are 0.2669 */
    l.w[1 * COLS + 7] = 0.268f;                 /* the fourth on that side, as 0.02 was: neither median nor MAD changes */
    l.w[2 * COLS + 10] = -0.264f;               /* 0.05 becomes this: the median is -0.01, and it lies 0.254 from it */
    for (int i = 0; i < COLS; i++)
        l.w[3 * COLS + i] = i == 3 ? 9.0f : 0; /* no deviation at all: nothing is judged */
    score(&l, 0.6, p, d);
    for (int i = 0; i < ROWS * BLOCKS; i++)
        assert_int_equal(p[i].reasons, i == 1 * BLOCKS + 1 ? SCORE_MAGNITUDE : 0);
    mdq_points_free(&l.g);
}

/* ---- scores to targets ---- */

static void phi(void **state)
{
    (void)state;
    assert_true(score_phi(0) == 0 && score_phi(1) == 0.5 && score_phi(3) == 0.75 && score_phi(-2) == 0);
    assert_true(score_phi(NAN) == 0 && score_phi(INFINITY) == 1 && score_phi(-INFINITY) == 0);
}

static void overlap_targets_are_those_of_the_table(void **state)
{
    (void)state;
    static const double table_of[][3] = {{.1, .5, .9}, {.42, .50, .58}, {.412, .471, .567}, {.433, .529, .588}};
    static const double scores[][2] = {{.7, .7}, {.5, .9}, {.9, .5}}; /* S_priv, S_func */
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            assert_true(fabs(score_overlap_target(table_of[0][k], scores[i][0], scores[i][1], 0.4, 0.6) - table_of[i + 1][k]) < 0.0006);
    assert_true(fabs(score_overlap_target(0.5, 0.3, 0, 0.4, 0.6) - 0.6) < 0.001);
    assert_true(fabs(score_overlap_target(0.5, 0, 0.3, 0.4, 0.6) - 0.4) < 0.001);
    /* rises with lambda, which is kept within [0.01, 0.99] */
    assert_true(score_overlap_target(0.999, .5, .5, 0.4, 0.6) == score_overlap_target(0.99, .5, .5, 0.4, 0.6));
    assert_true(score_overlap_target(1e-6, .5, .5, 0.4, 0.6) == score_overlap_target(0.01, .5, .5, 0.4, 0.6));
    near(score_overlap_target(0.5, .5, .5, 0.2, 0.8), 0.5, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_the_formulas), cmocka_unit_test(no_direction_gains_more_at_the_same_cost),
        cmocka_unit_test(points_without_a_direction_do_not_move), cmocka_unit_test(the_largest_numbers_stay_finite),
        cmocka_unit_test(the_bytes_do_not_depend_on_threads), cmocka_unit_test(median_and_deviation),
        cmocka_unit_test(outliers_of_a_row_are_found_where_they_stand), cmocka_unit_test(phi),
        cmocka_unit_test(overlap_targets_are_those_of_the_table),
    };
    return cmocka_run_group_tests_name("scores of a layer", tests, NULL, NULL);
}
