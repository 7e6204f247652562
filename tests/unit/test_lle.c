/* Neighbours, weights, tangents and embeddings of tiles: against plain versions, closed forms, and in odd cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lle_embedding.h"
#include "lle_neighbours.h"
#include "lle_tile.h"
#include "lle_weights.h"
#include "mdq_local_pca.h"
#include "mdq_random.h"

struct points {
    int64_t n, D, k;
    float *x;
    double *g, *centred, *dist2;
    uint16_t *nb;
};

static struct points make(int64_t n, int64_t D, int64_t k, float *x)
{
    struct points p = {n, D, k, x, malloc(sizeof(double) * (size_t)(n * n)), malloc(sizeof(double) * (size_t)(n * D)),
                       malloc(sizeof(double) * (size_t)(n * k + 1)), malloc(sizeof(uint16_t) * (size_t)(n * k + 1))};
    lle_gram(n, D, x, D, p.centred, p.g);
    assert_int_equal(lle_neighbours(n, D, x, D, p.g, k, p.nb, p.dist2), MDQ_OK);
    return p;
}

static void drop(struct points *p)
{
    free(p->x);
    free(p->g);
    free(p->centred);
    free(p->dist2);
    free(p->nb);
}

/* n points near a plane of `rank` dimensions in D, far from the origin by `shift` */
static float *cloud(uint64_t seed, int64_t n, int64_t D, int64_t rank, double noise, double shift)
{
    struct mdq_random r;
    float *x = malloc(sizeof *x * (size_t)(n * D));
    double basis[16 * 512];
    mdq_random_seed(&r, seed, "cloud", 0, 0);
    for (int64_t i = 0; i < rank * D; i++)
        basis[i] = mdq_random_normal(&r);
    for (int64_t i = 0; i < n; i++) {
        double z[16];
        for (int64_t j = 0; j < rank; j++)
            z[j] = mdq_random_normal(&r);
        for (int64_t p = 0; p < D; p++) {
            double v = shift + noise * mdq_random_normal(&r);
            for (int64_t j = 0; j < rank; j++)
                v += z[j] * basis[j * D + p];
            x[i * D + p] = (float)v;
        }
    }
    return x;
}

/* All of one tile against the plain versions. */
static void agree(float *x, int64_t n, int64_t D, int64_t k, double tolerance)
{
    struct points p = make(n, D, k, x);
    size_t pairs = (size_t)(n * k), rows = (size_t)n;
    uint16_t *nb = malloc(sizeof *nb * pairs);
    double *d2 = malloc(sizeof *d2 * pairs), *w = malloc(sizeof *w * pairs), *wr = malloc(sizeof *w * pairs);
    double *res = malloc(sizeof *res * rows), *rr = malloc(sizeof *res * rows), *nr = malloc(sizeof *nr * rows);
    double *normal = malloc(sizeof *nr * rows), *basis = malloc(sizeof *basis * (size_t)(D * k) * rows);
    double *br = malloc(sizeof *br * (size_t)(D * k) * rows);
    uint8_t *dim = malloc(rows), *dr = malloc(rows), *direct = malloc(rows);
    double scale = 0;
    assert_int_equal(lle_neighbours_ref(n, D, x, D, k, nb, d2), MDQ_OK);
    for (size_t i = 0; i < pairs; i++) {
        assert_true(fabs(d2[i] - p.dist2[i]) <= 1e-12 * d2[i]);
        assert_true(nb[i] == p.nb[i]);
    }
    struct lle_local l = {w, res, dim, normal};
    assert_int_equal(lle_local(n, D, x, D, p.g, k, p.nb, p.dist2, 1e-3, 0.95, &l), MDQ_OK);
    assert_int_equal(lle_weights_ref(n, D, x, D, k, nb, 1e-3, wr, rr), MDQ_OK);
    assert_int_equal(mdq_local_pca_ref(n, D, x, D, k, nb, 0.95, 0, 0, n, dr, nr, br), MDQ_OK);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, largest = 0;
        scale = d2[i * k + k - 1];
        for (int64_t a = 0; a < k; a++)
            largest = fmax(largest, fabs(wr[i * k + a]));
        for (int64_t a = 0; a < k; a++) {
            assert_true(fabs(w[i * k + a] - wr[i * k + a]) <= tolerance * largest);
            sum += w[i * k + a];
        }
        assert_true(fabs(sum - 1) < 1e-12);
        assert_true(fabs(res[i] - rr[i]) <= tolerance * (rr[i] + scale));
        assert_int_equal(dim[i], dr[i]);
        assert_true(fabs(normal[i] - nr[i]) <= 1e-6 * sqrt(scale));
    }
    /* from the rows themselves, in two parts, with the basis: the same plane */
    assert_int_equal(mdq_local_pca(n, D, x, D, k, nb, 0.95, 0, 0, n / 3, direct, NULL, basis), MDQ_OK);
    int64_t part = n / 3;
    assert_int_equal(mdq_local_pca(n, D, x, D, k, nb, 0.95, 0, part, n - part, direct + part, normal, basis + part * D * k),
                     MDQ_OK);
    assert_memory_equal(direct, dr, rows);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            double inside = 0, own = 0;
            for (int64_t q = 0; q < k; q++) {
                double dot = 0;
                for (int64_t c = 0; c < D; c++)
                    dot += basis[i * D * k + c * k + j] * br[i * D * k + c * k + q];
                inside += dot * dot;
            }
            for (int64_t c = 0; c < D; c++)
                own += basis[i * D * k + c * k + j] * basis[i * D * k + c * k + j];
            double want = j < dim[i] ? 1 : 0;
            assert_true(fabs(own - want) < 1e-9);
            /* the last direction may be one of two of nearly equal variance; on the whole the spaces are one */
            assert_true(fabs(inside - want) < 1e-4);
        }
    void *all[] = {nb, d2, w, wr, res, rr, nr, normal, basis, br, dim, dr, direct};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    drop(&p);
}

static void test_against_plain_versions(void **state)
{
    (void)state;
    agree(cloud(1, 64, 64, 0, 1, 0), 64, 64, 15, 1e-9);
    agree(cloud(2, 61, 40, 3, 0.1, 0), 61, 40, 15, 1e-8);
    agree(cloud(3, 50, 7, 2, 0.01, 0), 50, 7, 12, 1e-6);   /* more neighbours than dimensions */
    agree(cloud(4, 33, 64, 2, 1e-3, 100), 33, 64, 9, 1e-5); /* far from the origin */
    agree(cloud(5, 20, 33, 0, 1, 0), 20, 33, 1, 1e-9);
    agree(cloud(6, 9, 16, 0, 1, 0), 9, 16, 8, 1e-9);       /* all others are neighbours */
    agree(cloud(7, 70, 64, 0, 1, 0), 70, 64, 64, 1e-8);
}

/* Two tight clusters far apart: distances within are tiny beside the lengths of the rows. */
static void test_tight_clusters(void **state)
{
    (void)state;
    float *x = cloud(8, 40, 24, 0, 1e-4, 0);
    for (int64_t i = 0; i < 40 * 24; i++)
        x[i] += i < 20 * 24 ? 1 : -1;
    float *y = malloc(sizeof *y * 40 * 24);
    memcpy(y, x, sizeof *y * 40 * 24);
    struct points p = make(40, 24, 6, y);
    assert_int_equal(lle_components(40, 6, p.nb), 2);
    drop(&p);
    agree(x, 40, 24, 6, 1e-6);
}

static void test_points_on_a_line(void **state)
{
    (void)state;
    /* x_i = i e: the neighbours of inner points are i - 1 and i + 1 (the lower first), weights 1/2 by symmetry */
    float *x = calloc(10 * 3, sizeof *x);
    for (int64_t i = 0; i < 10; i++)
        x[i * 3 + 1] = (float)i;
    struct points p = make(10, 3, 2, x);
    double w[20], res[10], normal[10];
    uint8_t dim[10];
    struct lle_local l = {w, res, dim, normal};
    assert_int_equal(lle_local(10, 3, x, 3, p.g, 2, p.nb, p.dist2, 1e-3, 0.95, &l), MDQ_OK);
    for (int i = 1; i < 9; i++) {
        assert_int_equal(p.nb[2 * i], i - 1);
        assert_int_equal(p.nb[2 * i + 1], i + 1);
        assert_true(fabs(w[2 * i] - 0.5) < 1e-12 && fabs(w[2 * i + 1] - 0.5) < 1e-12);
        assert_true(res[i] < 1e-12);
        assert_int_equal(dim[i], 1);
        assert_true(normal[i] < 1e-7);
    }
    /* the end: neighbours at 1 and 2. C = (1 2; 2 4) + 0.005 I gives w = (2.005, -0.995) / 1.01 */
    assert_true(fabs(w[0] - 2.005 / 1.01) < 1e-9 && fabs(w[1] + 0.995 / 1.01) < 1e-9);
    assert_true(fabs(res[0] - pow((2.005 - 2 * 0.995) / 1.01, 2)) < 1e-9);
    drop(&p);
}

/* A point above a square of four neighbours: the plane, its dimension and the distance are plain to see. */
static void test_point_above_a_square(void **state)
{
    (void)state;
    const float x[5 * 3] = {0, 0, 0.5f, 1, 0, 0, 0, 1, 0, -1, 0, 0, 0, -1, 0};
    const uint16_t nb[5 * 4] = {1, 2, 3, 4, 0, 2, 3, 4, 0, 1, 3, 4, 0, 1, 2, 4, 0, 1, 2, 3};
    uint8_t dim[1];
    double normal[1], u[12];
    assert_int_equal(mdq_local_pca(5, 3, x, 3, 4, nb, 0.95, 0, 0, 1, dim, normal, u), MDQ_OK);
    assert_int_equal(dim[0], 2);
    assert_true(fabs(normal[0] - 0.5) < 1e-12);
    for (int j = 0; j < 4; j++)
        assert_true(fabs(u[2 * 4 + j]) < 1e-12); /* no direction points up */
    assert_int_equal(mdq_local_pca(5, 3, x, 3, 4, nb, 0.5, 0, 0, 1, dim, NULL, NULL), MDQ_OK);
    assert_int_equal(dim[0], 1); /* half of the variance is in one direction */
    assert_int_equal(mdq_local_pca(5, 3, x, 3, 4, nb, 1, 1, 0, 1, dim, NULL, NULL), MDQ_OK);
    assert_int_equal(dim[0], 1); /* the cap */
    assert_int_equal(mdq_local_pca(5, 3, x, 3, 4, nb, 1, 0, 0, 1, dim, NULL, NULL), MDQ_OK);
    assert_int_equal(dim[0], 2); /* rank 2 whatever is asked */
    assert_int_equal(mdq_local_pca(5, 3, x, 3, 0, nb, 1, 0, 0, 1, dim, normal, NULL), MDQ_OK);
    assert_true(dim[0] == 0 && normal[0] == 0);
    assert_int_equal(mdq_local_pca(5, 3, x, 3, 4, nb, 1, 0, 4, 2, dim, normal, NULL), MDQ_E_INTERNAL);
}

/* Equal distances go by index, equal rows are at 0, and constant rows have weights of 1/k. */
static void test_ties_and_duplicates(void **state)
{
    (void)state;
    float *x = malloc(sizeof *x * 30 * 5);
    for (int i = 0; i < 150; i++)
        x[i] = 0.1f;
    struct points p = make(30, 5, 7, x);
    double w[210], res[30], normal[30];
    uint8_t dim[30];
    struct lle_local l = {w, res, dim, normal};
    assert_int_equal(lle_local(30, 5, x, 5, p.g, 7, p.nb, p.dist2, 1e-3, 0.95, &l), MDQ_OK);
    for (int i = 0; i < 30; i++)
        for (int a = 0; a < 7; a++) {
            assert_int_equal(p.nb[i * 7 + a], a < i ? a : a + 1);
            assert_true(p.dist2[i * 7 + a] == 0);
            assert_true(fabs(w[i * 7 + a] - 1.0 / 7) < 1e-12);
            assert_true(res[i] == 0 && dim[i] == 0 && normal[i] == 0);
        }
    assert_int_equal(lle_duplicates(30, 7, p.nb, p.dist2), 29);
    drop(&p);
    /* 0.1 steps on a grid, each point twice: as in the plain version to the index */
    x = malloc(sizeof *x * 50 * 2);
    for (int i = 0; i < 50; i++) {
        x[2 * i] = (float)(i % 25 % 5);
        x[2 * i + 1] = (float)(i % 25 / 5);
    }
    uint16_t nb[50 * 9];
    assert_int_equal(lle_neighbours_ref(50, 2, x, 2, 9, nb, NULL), MDQ_OK);
    p = make(50, 2, 9, x);
    assert_memory_equal(nb, p.nb, sizeof nb);
    assert_int_equal(lle_duplicates(50, 9, p.nb, p.dist2), 25);
    drop(&p);
    /* every row of a cloud three times: neighbourhoods of low rank, in which most have an equal */
    x = cloud(12, 60, 20, 0, 1, 0);
    memcpy(x + 20 * 20, x, sizeof *x * 20 * 20);
    memcpy(x + 40 * 20, x, sizeof *x * 20 * 20);
    agree(x, 60, 20, 15, 1e-8);
}

/* The sine of the largest angle between the spans of the first m columns. */
static double subspace(int64_t n, int64_t m, const double *a, const double *b)
{
    double worst = 0;
    for (int64_t j = 0; j < m; j++) {
        double inside = 0;
        for (int64_t q = 0; q < m; q++) {
            double dot = 0;
            for (int64_t i = 0; i < n; i++)
                dot += a[i * m + j] * b[i * m + q];
            inside += dot * dot;
        }
        worst = fmax(worst, sqrt(fmax(0, 1 - inside)));
    }
    return worst;
}

static void test_embedding(void **state)
{
    (void)state;
    enum { N = 60, K = 8, M = 2 };
    float *x = cloud(11, N, 12, 2, 0.02, 0);
    struct points p = make(N, 12, K, x);
    double w[N * K], res[N], y[N * M], r[N * M], value[N];
    assert_int_equal(lle_weights_ref(N, 12, x, 12, K, p.nb, 1e-3, w, res), MDQ_OK);
    assert_int_equal(lle_embedding(N, K, p.nb, w, M, y), MDQ_OK);
    assert_int_equal(lle_embedding_ref(N, K, p.nb, w, M, r, value), MDQ_OK);
    assert_true(fabs(value[0]) < 1e-12 && value[3] - value[2] > 1e-6 * value[N - 1]);
    assert_true(subspace(N, M, y, r) < 1e-5);
    for (int j = 0; j < M; j++) {
        double sum = 0, square = 0;
        int at = 0;
        for (int i = 0; i < N; i++) {
            sum += y[i * M + j];
            square += y[i * M + j] * y[i * M + j];
            at = fabs(y[i * M + j]) > fabs(y[at * M + j]) ? i : at;
        }
        assert_true(fabs(sum) < 1e-8 && fabs(square - 1) < 1e-10 && y[at * M + j] > 0);
    }
    drop(&p);
}

static void test_eigenvalues(void **state)
{
    (void)state;
    /* of the path 0 - 1 - ... - 5: 2 - 2 cos(pi j / 6) */
    double a[36], b[36], top;
    int64_t above;
    for (int i = 0; i < 36; i++)
        a[i] = i / 6 == i % 6 ? (i == 0 || i == 35 ? 1 : 2) : abs(i / 6 - i % 6) == 1 ? -1 : 0;
    memcpy(b, a, sizeof a);
    assert_int_equal(lle_largest(6, b, &top), MDQ_OK);
    assert_true(fabs(top - (2 + sqrt(3))) < 1e-12);
    assert_int_equal(lle_count_above(6, a, 1.5, &above), MDQ_OK);
    assert_int_equal(above, 3); /* 2, 3 and 3.73 */
}

static struct lle_tile found(float *x, int64_t n, int64_t D, struct lle_options o, uint64_t seed)
{
    struct mdq_random r;
    struct lle_tile t;
    mdq_random_seed(&r, seed, "t", 0, 0);
    assert_int_equal(lle_tile_run(n, D, x, &o, &r, &t), MDQ_OK);
    free(x);
    return t;
}
static const struct lle_options usual = {15, 1e-3, 0.95, 2, 3, 3};

static void test_evidence(void **state)
{
    (void)state;
    for (uint64_t seed = 20; seed < 30; seed++) { /* nothing there */
        struct lle_tile t = found(cloud(seed, 96, 96, 0, 1, 0), 96, 96, usual, seed);
        assert_false(t.manifold);
        assert_true(t.dim_parallel <= 2 && t.dim95 > 12.5 && fabs(t.residual / t.null_residual - 1) < 0.05);
        lle_tile_free(&t);
    }
    struct lle_tile t = found(cloud(30, 128, 64, 3, 0.05, 0), 128, 64, usual, 1);
    assert_true(t.manifold && t.dim_parallel == 3 && t.residual < 0.2 && t.dim95 < 5);
    assert_int_equal(t.components, 1);
    lle_tile_free(&t);
    t = found(cloud(30, 128, 64, 3, 0.05, 0), 128, 64, (struct lle_options){15, 1e-3, 0.95, 0, 0, 0}, 1);
    assert_true(!t.manifold && t.dim_parallel == 0 && t.null_residual == 0 && t.m == 0);
    lle_tile_free(&t);
}

static void test_small_tiles(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 12; n++)
        for (int64_t D = 1; D < 20; D += 6) {
            struct lle_tile t = found(cloud(40 + (uint64_t)n, n, D, 0, 1, 0), n, D, usual, 1);
            assert_int_equal(t.k, n - 1);
            assert_int_equal(t.m, n - 1 < 2 ? n - 1 : 2);
            assert_int_equal(t.components, 1);
            for (int64_t i = 0; i < n * t.k; i++)
                assert_true(isfinite(t.weights[i]));
            for (int64_t i = 0; i < n; i++)
                assert_true(isfinite(t.normal[i]) && isfinite(t.squared[i]) && t.dim[i] <= (t.k > 0 ? t.k : 1) && t.dim[i] <= D);
            lle_tile_free(&t);
        }
    float *zeros = calloc(32 * 8, sizeof *zeros);
    struct lle_tile t = found(zeros, 32, 8, usual, 1);
    assert_true(t.residual == 0 && t.null_residual == 0 && !t.manifold && t.dim_parallel == 0 && t.normal_ratio == 0);
    assert_int_equal(t.duplicates, 31);
    lle_tile_free(&t);
}

static void test_permuted_copies(void **state)
{
    (void)state;
    enum { N = 37, D = 5 };
    float *x = cloud(50, N, D, 1, 0.1, 0), y[N * D], z[N * D];
    struct mdq_random r;
    mdq_random_seed(&r, 7, "a", 1, 2);
    lle_permute(N, D, x, &r, y);
    mdq_random_seed(&r, 7, "a", 1, 2);
    lle_permute(N, D, x, &r, z);
    assert_memory_equal(y, z, sizeof y);
    mdq_random_seed(&r, 7, "a", 2, 1);
    lle_permute(N, D, x, &r, z);
    assert_memory_not_equal(y, z, sizeof y);
    for (int c = 0; c < D; c++) { /* each column has the entries it had */
        int moved = 0;
        for (int i = 0; i < N; i++) {
            int before = 0, after = 0;
            for (int j = 0; j < N; j++) {
                before += x[j * D + c] == x[i * D + c];
                after += y[j * D + c] == x[i * D + c];
            }
            assert_int_equal(before, after);
            moved += x[i * D + c] != y[i * D + c];
        }
        assert_true(moved > N / 2);
    }
    free(x);
}

static void test_random_numbers(void **state)
{
    (void)state;
    struct mdq_random r = {{1, 2}};
    /* xoroshiro128++ from the state (1, 2): first output rotl(1 + 2, 17) + 1 */
    assert_true(mdq_random_next(&r) == ((uint64_t)3 << 17) + 1);
    mdq_random_seed(&r, 0, NULL, 0, 0);
    double sum = 0, square = 0, counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        double v = mdq_random_normal(&r);
        sum += v;
        square += v * v;
        counts[mdq_random_below(&r, 7)]++;
        double u = mdq_random_uniform(&r);
        assert_true(u >= 0 && u < 1);
    }
    assert_true(fabs(sum / 70000) < 0.02 && fabs(square / 70000 - 1) < 0.03);
    for (int i = 0; i < 7; i++)
        assert_true(fabs(counts[i] - 10000) < 500);
    assert_int_equal(mdq_random_below(&r, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain_versions), cmocka_unit_test(test_tight_clusters),
        cmocka_unit_test(test_points_on_a_line),       cmocka_unit_test(test_point_above_a_square),
        cmocka_unit_test(test_ties_and_duplicates),    cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_eigenvalues),            cmocka_unit_test(test_evidence),
        cmocka_unit_test(test_small_tiles),            cmocka_unit_test(test_permuted_copies),
        cmocka_unit_test(test_random_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
