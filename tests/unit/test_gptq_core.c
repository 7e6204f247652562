/* GPTQ against its textbook form, against Babai's nearest plane, and against what theory says of its error. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gptq_core.h"

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

struct problem {
    int64_t rows, n, tokens;
    float *w, *h;
    uint8_t *codes, *other;
};

/* correlated inputs with a few strong channels; h = x^T x in double, rounded; dead: input 1 is always 0 */
static struct problem problem_new(int64_t rows, int64_t n, int64_t tokens, int dead)
{
    struct problem p = {.rows = rows, .n = n, .tokens = tokens};
    size_t size = (size_t)(rows * n);
    p.w = malloc(size * sizeof *p.w);
    p.h = malloc((size_t)(n * n) * sizeof *p.h);
    p.codes = malloc(size);
    p.other = malloc(size);
    double *x = malloc((size_t)(tokens * n) * sizeof *x);
    for (int64_t t = 0; t < tokens; t++) {
        double common = normal();
        for (int64_t i = 0; i < n; i++)
            x[t * n + i] = dead && i == 1 ? 0 : (normal() + 0.7 * common) * (i % 11 == 3 ? 4 : 0.3 + (double)(i % 5));
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; t++)
                sum += x[t * n + i] * x[t * n + j];
            p.h[i * n + j] = p.h[j * n + i] = (float)sum;
        }
    for (size_t i = 0; i < size; i++)
        p.w[i] = (float)(0.05 * normal());
    free(x);
    return p;
}

static void problem_free(struct problem *p)
{
    free(p->w);
    free(p->h);
    free(p->codes);
    free(p->other);
}

static double *damped(const struct problem *p, double lambda)
{
    double *hd = malloc((size_t)(p->n * p->n) * sizeof *hd);
    for (int64_t i = 0; i < p->n * p->n; i++)
        hd[i] = p->h[i] + (i % (p->n + 1) == 0 ? lambda : 0);
    return hd;
}

/* sum over rows of e^T a e, plainly */
static double error_in(const struct problem *p, const struct quant_grid *g, const uint8_t *codes, const double *a)
{
    double sum = 0, *e = malloc((size_t)p->n * sizeof *e);
    for (int64_t r = 0; r < p->rows; r++) {
        for (int64_t i = 0; i < p->n; i++) {
            int64_t at = r * g->groups + i / g->group;
            e[i] = p->w[r * p->n + i] - (codes ? g->scales[at] * (codes[r * p->n + i] - g->zeros[at]) : 0);
        }
        for (int64_t i = 0; i < p->n; i++)
            for (int64_t j = 0; j < p->n; j++)
                sum += e[i] * a[i * p->n + j] * e[j];
    }
    free(e);
    return sum;
}

static const struct quant_spec spec4 = {.bits = 4, .group = 0, .symmetric = false, .scale = MDQ_F16};

static void exact_path_gives_the_textbook_codes(void **s)
{
    (void)s;
    static const int64_t shapes[][2] = {{1, 1}, {3, 2}, {5, 31}, {70, 64}, {300, 48}, {7, 129}, {2, 300}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int variant = 0; variant < 4; variant++) {
            struct problem p = problem_new(shapes[k][0], shapes[k][1], 2 * shapes[k][1] + 4, variant & 1 && shapes[k][1] > 1);
            struct quant_spec spec = {.bits = variant == 3 ? 2 : 3, .group = p.n % 16 == 0 ? 16 : 0,
                                      .symmetric = variant >= 2, .scale = MDQ_F64};
            struct gptq_options o = {.order = variant & 1 ? GPTQ_ORDER_NATURAL : GPTQ_ORDER_ACT, .damp = 0.01,
                                     .exact = true};
            struct quant_grid g;
            struct gptq_factor f;
            struct quant_outcome out;
            assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec), MDQ_OK);
            assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
            assert_int_equal(f.tries, 1);
            assert_false(f.failed);
            assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &out), MDQ_OK);
            double *hd = damped(&p, 0.01 * f.mean);
            assert_int_equal(gptq_quantize_ref(p.w, &g, hd, f.column, p.other), MDQ_OK);
            assert_memory_equal(p.codes, p.other, (size_t)(p.rows * p.n));
            /* the residuals add up to the error in the damped H, computed from the codes alone */
            double want = error_in(&p, &g, p.codes, hd);
            assert_true(fabs(out.residual - want) <= 1e-9 * want);
            free(hd);
            quant_grid_free(&g);
            gptq_factor_free(&f);
            problem_free(&p);
        }
}

/* more columns than one block of the fast path holds */
static void wide_layers_too(void **s)
{
    (void)s;
    struct problem p = problem_new(3, 700, 60, 0);
    struct quant_spec spec = {.bits = 4, .group = 100, .symmetric = true, .scale = MDQ_F16};
    struct gptq_options o = {.order = GPTQ_ORDER_ACT, .damp = 0.05, .exact = true};
    struct quant_grid g;
    struct gptq_factor f;
    struct quant_outcome out;
    assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec), MDQ_OK);
    assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
    assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &out), MDQ_OK);
    double *hd = damped(&p, 0.05 * f.mean), *h = damped(&p, 0);
    assert_int_equal(gptq_quantize_ref(p.w, &g, hd, f.column, p.other), MDQ_OK);
    assert_memory_equal(p.codes, p.other, (size_t)(p.rows * p.n));
    for (int exact = 0; exact < 2; exact++) {
        double sum, want = error_in(&p, &g, NULL, h);
        assert_int_equal(gptq_output_norm(p.w, &g, NULL, p.h, exact, &sum), MDQ_OK);
        assert_true(fabs(sum / want - 1) < (exact ? 1e-11 : 1e-4));
    }
    free(hd);
    free(h);
    quant_grid_free(&g);
    gptq_factor_free(&f);
    problem_free(&p);
}

/* float32 feedback moves a code only where it lands within its rounding of a tie, and what follows in that row */
static void fast_path_is_as_good_as_the_textbook(void **s)
{
    (void)s;
    struct problem p = problem_new(300, 320, 700, 0);
    struct quant_spec spec = {.bits = 4, .group = 32, .symmetric = true, .scale = MDQ_F16};
    struct gptq_options o = {.order = GPTQ_ORDER_ACT, .damp = 0.01};
    struct quant_grid g;
    struct gptq_factor f;
    struct quant_outcome out;
    assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec), MDQ_OK);
    assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
    assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &out), MDQ_OK);
    double *hd = damped(&p, 0.01 * f.mean), *h = damped(&p, 0);
    assert_int_equal(gptq_quantize_ref(p.w, &g, hd, f.column, p.other), MDQ_OK);
    int64_t differ = 0;
    for (int64_t i = 0; i < p.rows * p.n; i++)
        differ += p.codes[i] != p.other[i];
    assert_true(differ < p.rows * p.n / 500);
    double fast = error_in(&p, &g, p.codes, hd), plain = error_in(&p, &g, p.other, hd);
    assert_true(fabs(fast / plain - 1) < 1e-3);
    assert_true(fabs(out.residual / fast - 1) < 1e-4);

    /* the report's output error, on the undamped H, against plain sums; in float32 and in double */
    double whw, ehe, want_w = error_in(&p, &g, NULL, h), want_e = error_in(&p, &g, p.codes, h);
    for (int exact = 0; exact < 2; exact++) {
        double tolerance = exact ? 1e-12 : 1e-4;
        assert_int_equal(gptq_output_norm(p.w, &g, NULL, p.h, exact, &whw), MDQ_OK);
        assert_int_equal(gptq_output_norm(p.w, &g, p.codes, p.h, exact, &ehe), MDQ_OK);
        assert_true(fabs(whw / want_w - 1) < tolerance && fabs(ehe / want_e - 1) < tolerance);
    }
    assert_true(fabs(gptq_output_error(&f, &out) / want_e - 1) < 1e-3);

    /* and GPTQ beats rounding, by much on inputs this correlated */
    struct quant_outcome rounded;
    assert_int_equal(quant_rtn(p.w, &g, p.other, &rounded), MDQ_OK);
    assert_true(ehe < 0.5 * error_in(&p, &g, p.other, h));
    free(hd);
    free(h);
    quant_grid_free(&g);
    gptq_factor_free(&f);
    problem_free(&p);
}

/*
 * Babai's nearest plane as geometry: basis vectors s_i x_i and target X w, both in the coordinates of an orthogonal
 * basis got by Gram-Schmidt; the last vector's coefficient is rounded first. No Cholesky, no Hessian.
 */
static void codes_are_babais_nearest_plane(void **st)
{
    (void)st;
    enum { N = 12, T = 40, ROWS = 20 };
    double x[T][N], star[N][T], mu[N][N];
    struct problem p = problem_new(ROWS, N, 4, 0);
    for (int t = 0; t < T; t++)
        for (int i = 0; i < N; i++)
            x[t][i] = (float)(normal() + (i > 0 ? 0.8 * x[t][i - 1] : 0));
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int t = 0; t < T; t++)
                sum += x[t][i] * x[t][j];
            p.h[i * N + j] = (float)sum;
        }
    struct quant_spec spec = {.bits = 8, .group = 0, .symmetric = false, .scale = MDQ_F32};
    struct gptq_options o = {.order = GPTQ_ORDER_ACT, .damp = 0, .exact = true};
    struct quant_grid g;
    struct gptq_factor f;
    struct quant_outcome out;
    assert_int_equal(quant_grid_fit(&g, p.w, ROWS, N, &spec), MDQ_OK);
    for (int r = 0; r < ROWS; r++) { /* coarse, and a range that clips nothing */
        g.scales[r] *= 20;
        g.zeros[r] = 128;
    }
    assert_int_equal(gptq_factor_make(&f, N, p.h, &o), MDQ_OK);
    assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &out), MDQ_OK);
    assert_int_equal(out.clipped, 0);
    /* Gram-Schmidt in the order of positions */
    for (int i = 0; i < N; i++) {
        for (int t = 0; t < T; t++)
            star[i][t] = x[t][f.column[i]];
        for (int j = 0; j < i; j++) {
            double dot = 0, norm = 0;
            for (int t = 0; t < T; t++) {
                dot += x[t][f.column[i]] * star[j][t];
                norm += star[j][t] * star[j][t];
            }
            mu[i][j] = dot / norm;
            for (int t = 0; t < T; t++)
                star[i][t] -= mu[i][j] * star[j][t];
        }
    }
    for (int r = 0; r < ROWS; r++) {
        double b[T];
        for (int t = 0; t < T; t++) {
            b[t] = 0;
            for (int i = 0; i < N; i++)
                b[t] += x[t][i] * p.w[r * N + i];
        }
        for (int i = N - 1; i >= 0; i--) {
            double dot = 0, norm = 0;
            for (int t = 0; t < T; t++) {
                dot += b[t] * star[i][t];
                norm += star[i][t] * star[i][t];
            }
            double z = rint(dot / (norm * g.scales[r]));
            assert_int_equal(p.codes[r * N + f.column[i]], 128 + (int)z);
            for (int t = 0; t < T; t++)
                b[t] -= z * g.scales[r] * x[t][f.column[i]];
        }
    }
    quant_grid_free(&g);
    gptq_factor_free(&f);
    problem_free(&p);
}

/* by hand: H = [2 1; 1 2], natural order, s = 1, z = 8; feedback of the first error is H_01 / H_11 = 1/2 of it */
static void two_columns_by_hand(void **s)
{
    (void)s;
    float w[] = {0.4f, 0.4f, 1.4f, 0.2f, -0.6f, 2.6f}, h[] = {2, 1, 1, 2};
    double scales[] = {1, 1, 1};
    uint8_t zeros[] = {8, 8, 8}, codes[6];
    struct quant_grid g = {.rows = 3, .cols = 2, .group = 2, .groups = 1, .bits = 4, .scales = scales, .zeros = zeros};
    struct gptq_options o = {.order = GPTQ_ORDER_NATURAL};
    for (int exact = 0; exact < 2; exact++) {
        struct gptq_factor f;
        struct quant_outcome out;
        o.exact = exact;
        assert_int_equal(gptq_factor_make(&f, 2, h, &o), MDQ_OK);
        assert_int_equal(gptq_quantize(w, &g, &f, codes, &out), MDQ_OK);
        static const uint8_t want[] = {
            8, 9, /* 0.4 -> 0, error 0.4; 0.4 + 0.2 = 0.6 -> 1 */
            9, 8, /* 1.4 -> 1, error 0.4; 0.2 + 0.2 = 0.4 -> 0 */
            7, 11, /* -0.6 -> -1, error 0.4; 2.6 + 0.2 = 2.8 -> 3 */
        };
        assert_memory_equal(codes, want, 6);
        /* D: second column 2, first 2 - 1/2; residuals 0.4, 0.4, 0.4 and 0.4, 0.4, 0.2 */
        double second = 2 * (0.16 + 0.16 + 0.04), first = 1.5 * 3 * 0.16;
        assert_true(fabs(out.residual - first - second) < 1e-6);
        assert_true(fabs(out.bound - 3 * 3.5 / 4) < 1e-6);
        assert_true(fabs(out.max_abs - 0.6) < 1e-6);
        gptq_factor_free(&f);
    }
}

static void without_correlation_it_is_rounding(void **s)
{
    (void)s;
    struct problem p = problem_new(261, 144, 8, 0);
    for (int exact = 0; exact < 2; exact++)
        for (int diagonal = 0; diagonal < 2; diagonal++) {
            for (int64_t i = 0; i < p.n * p.n; i++)
                p.h[i] = i % (p.n + 1) ? 0 : diagonal ? (float)(i % 13) : 1; /* a zero on it: a dead input */
            struct quant_spec spec = {.bits = 3, .group = 16, .symmetric = diagonal, .scale = MDQ_BF16};
            struct gptq_options o = {.damp = diagonal ? 0.01 : 0, .exact = exact};
            struct quant_grid g;
            struct gptq_factor f;
            struct quant_outcome a, b;
            assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec), MDQ_OK);
            assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
            assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &a), MDQ_OK);
            assert_int_equal(quant_rtn(p.w, &g, p.other, &b), MDQ_OK);
            assert_memory_equal(p.codes, p.other, (size_t)(p.rows * p.n));
            assert_int_equal(a.clipped, b.clipped);
            assert_true(a.max_abs == b.max_abs);
            assert_true(fabs(a.sq_error / b.sq_error - 1) < 1e-12 && fabs(a.sq_weight / b.sq_weight - 1) < 1e-12);
            quant_grid_free(&g);
            gptq_factor_free(&f);
        }
    problem_free(&p);
}

/* theorem 5: at most the bound when nothing is clipped, feedback included; about a third of it on average */
static void error_keeps_the_bound(void **s)
{
    (void)s;
    for (int k = 0; k < 4; k++) {
        struct problem p = problem_new(256, 192, 500, 0);
        struct quant_grid g;
        struct gptq_factor f;
        struct quant_outcome out;
        struct gptq_options o = {.order = k & 1 ? GPTQ_ORDER_NATURAL : GPTQ_ORDER_ACT, .damp = 0.01, .exact = k > 1};
        assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec4), MDQ_OK);
        g.bits = 8; /* 4-bit steps, room for whatever feedback asks */
        for (int64_t i = 0; i < p.rows; i++)
            g.zeros[i] = 128;
        assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
        assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &out), MDQ_OK);
        assert_int_equal(out.clipped, 0);
        double *hd = damped(&p, f.damp * f.mean), actual = error_in(&p, &g, p.codes, hd);
        assert_true(actual < out.bound);
        assert_true(fabs(3 * actual / out.bound - 1) < 0.05);
        free(hd);
        quant_grid_free(&g);
        gptq_factor_free(&f);
        problem_free(&p);
    }
}

static void damping_is_raised_and_recorded(void **s)
{
    (void)s;
    struct problem p = problem_new(4, 64, 8, 0); /* 8 tokens: rank 8 of 64 */
    struct gptq_factor f;
    struct gptq_options o = {.damp = 0.01, .exact = true};
    double scale = 0;
    for (int64_t i = 0; i < p.n; i++)
        scale += p.h[i * (p.n + 1)] / (double)p.n;
    for (int64_t i = 0; i < p.n; i++)
        p.h[i * (p.n + 1)] -= (float)(0.05 * scale); /* smallest eigenvalue about -5 % of the mean diagonal */
    assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
    assert_false(f.failed);
    assert_int_equal(f.tries, 2);
    assert_true(fabs(f.tried[0] - 0.01) < 1e-12 && fabs(f.tried[1] - 0.1) < 1e-12 && f.damp == f.tried[1]);
    gptq_factor_free(&f);

    o.damp = 0;
    assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
    assert_false(f.failed);
    assert_int_equal(f.tries, 5); /* 0, 1e-4, 1e-3, 1e-2, 1e-1 */
    gptq_factor_free(&f);

    for (int64_t i = 0; i < p.n; i++)
        p.h[i * (p.n + 1)] -= (float)(0.9 * scale); /* beyond any damping up to the mean diagonal, which is now small */
    o.damp = 0.01;
    for (int exact = 0; exact < 2; exact++) {
        o.exact = exact;
        assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
        assert_true(f.failed);
        assert_int_equal(f.tries, 3); /* 0.01, 0.1, 1 */
        gptq_factor_free(&f);
    }
    problem_free(&p);
}

static void bad_hessians_are_errors(void **s)
{
    (void)s;
    struct problem p = problem_new(2, 40, 60, 0);
    struct gptq_factor f;
    struct gptq_options o = {.damp = 0.01};
    p.h[7 * p.n + 3] = NAN;
    assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "row 7, column 3"));
    gptq_factor_free(&f);
    memset(p.h, 0, (size_t)(p.n * p.n) * sizeof *p.h);
    assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "no input"));
    gptq_factor_free(&f);
    problem_free(&p);
}

static void a_dead_input_is_rounded_plainly(void **s)
{
    (void)s;
    struct problem p = problem_new(64, 48, 200, 1);
    for (int damped_h = 0; damped_h < 2; damped_h++) {
        struct quant_grid g;
        struct gptq_factor f;
        struct quant_outcome out;
        struct gptq_options o = {.damp = damped_h ? 0.01 : 0};
        assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec4), MDQ_OK);
        assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
        assert_int_equal(f.dead, 1);
        assert_int_equal(f.tries, 1);
        assert_int_equal(f.column[0], 1); /* last in activation order */
        assert_int_equal(gptq_quantize(p.w, &g, &f, p.codes, &out), MDQ_OK);
        quant_rtn_ref(p.w, &g, p.other);
        int64_t others = 0;
        for (int64_t r = 0; r < p.rows; r++) {
            assert_int_equal(p.codes[r * p.n + 1], p.other[r * p.n + 1]);
            others += p.codes[r * p.n + 2] != p.other[r * p.n + 2];
        }
        assert_true(others > 0);
        quant_grid_free(&g);
        gptq_factor_free(&f);
    }
    problem_free(&p);
}

static void order_is_descending_and_stable(void **s)
{
    (void)s;
    float h[25] = {0};
    static const float diagonal[] = {2, 5, 2, 0, 5};
    int64_t column[5];
    for (int i = 0; i < 5; i++)
        h[i * 6] = diagonal[i];
    assert_int_equal(gptq_order_columns(5, h, GPTQ_ORDER_ACT, column), MDQ_OK);
    static const int64_t act[] = {3, 2, 0, 4, 1}; /* rounded from the end: 1, 4, 0, 2, 3 */
    assert_memory_equal(column, act, sizeof act);
    assert_int_equal(gptq_order_columns(5, h, GPTQ_ORDER_NATURAL, column), MDQ_OK);
    static const int64_t natural[] = {4, 3, 2, 1, 0};
    assert_memory_equal(column, natural, sizeof natural);
}

static void threads_change_nothing(void **s)
{
    (void)s;
    struct problem p = problem_new(600, 400, 420, 0);
    struct quant_outcome out[2] = {{0}};
    double sums[2];
    for (int t = 0; t < 2; t++) {
        struct quant_grid g;
        struct gptq_factor f;
        struct gptq_options o = {.damp = 0.01};
        struct quant_spec spec = {.bits = 2, .group = 100, .symmetric = true, .scale = MDQ_F16};
        omp_set_num_threads(t + 1);
        assert_int_equal(quant_grid_fit(&g, p.w, p.rows, p.n, &spec), MDQ_OK);
        assert_int_equal(gptq_factor_make(&f, p.n, p.h, &o), MDQ_OK);
        uint8_t *codes = t ? p.other : p.codes;
        assert_int_equal(gptq_quantize(p.w, &g, &f, codes, out + t), MDQ_OK);
        assert_int_equal(gptq_output_norm(p.w, &g, codes, p.h, false, sums + t), MDQ_OK);
        quant_grid_free(&g);
        gptq_factor_free(&f);
    }
    assert_memory_equal(p.codes, p.other, (size_t)(p.rows * p.n));
    assert_memory_equal(out, out + 1, sizeof *out);
    assert_memory_equal(sums, sums + 1, sizeof *sums);
    problem_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_path_gives_the_textbook_codes),
        cmocka_unit_test(wide_layers_too),
        cmocka_unit_test(fast_path_is_as_good_as_the_textbook),
        cmocka_unit_test(codes_are_babais_nearest_plane),
        cmocka_unit_test(two_columns_by_hand),
        cmocka_unit_test(without_correlation_it_is_rounding),
        cmocka_unit_test(error_keeps_the_bound),
        cmocka_unit_test(damping_is_raised_and_recorded),
        cmocka_unit_test(bad_hessians_are_errors),
        cmocka_unit_test(a_dead_input_is_rounded_plainly),
        cmocka_unit_test(order_is_descending_and_stable),
        cmocka_unit_test(threads_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
