/* Mixtures of PPCA against NumPy and plain loops, charts on manifolds with known tangents, training. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fixtures/ppca_numpy.h"
#include "manifolds.h"
#include "vae_block.h"

static uint64_t lcg_state;

static double lcg(void)
{
    lcg_state = lcg_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(lcg_state >> 11) * 0x1p-53;
}

/* As ppca_numpy.py draws them. */
static float *numpy_rows(int64_t n, int64_t D)
{
    float *x = malloc((size_t)(n * D) * sizeof *x);
    lcg_state = 12345;
    for (int64_t i = 0; i < n; i++) {
        int k = i % 2;
        double a = lcg() - 0.5, b = lcg() - 0.5;
        for (int64_t j = 0; j < D; j++) {
            double noise = lcg() - 0.5;
            x[i * D + j] = (float)((k && j < 3 ? 3 : 0) + (j % 2 == k ? a : b) * (double)(1 + j % 3) + 0.4 * noise);
        }
    }
    return x;
}

struct seen {
    double first, last, worst;
    int n;
};

static void see(void *context, double loglik, bool exempt)
{
    struct seen *s = context;
    if (s->n++ == 0)
        s->first = loglik;
    else if (!exempt)
        s->worst = fmin(s->worst, (loglik - s->last) / fabs(s->last));
    s->last = loglik;
}

static void agrees_with_numpy(void **state)
{
    (void)state;
    enum { N = 240, D = 10 };
    struct vae_rows rows = {N, D, numpy_rows(N, D)};
    struct vae_mixture m;
    double resp[N * VAE_MAX_CHARTS];
    struct seen s = {0};
    assert_int_equal(vae_mixture_new(&m, D, 2), MDQ_OK);
    m.k = 2;
    m.c[0].d = m.c[1].d = 2;
    for (int i = 0; i < N; i++) {
        resp[2 * i] = i % 2 ? 0.75 : 0.25;
        resp[2 * i + 1] = 1 - resp[2 * i];
    }
    assert_int_equal(vae_mixture_em(&m, &rows, resp, 400, 1e-9, see, &s), MDQ_OK);
    assert_true(fabs(s.first - numpy_first) < 1e-6 * fabs(numpy_first));
    assert_true(fabs(s.last - numpy_last) < 1e-6 * fabs(numpy_last));
    assert_true(s.worst > -1e-10);
    vae_mixture_free(&m);
    free((float *)rows.x);
}

static void expectation_agrees_with_reference(void **state)
{
    (void)state;
    enum { N = 300, D = 12 };
    struct vae_rows rows = {N, D, numpy_rows(N, D)};
    struct vae_mixture m;
    double resp[N * 3], ref[N * 3], a, b;
    assert_int_equal(vae_mixture_new(&m, D, 4), MDQ_OK);
    m.k = 3;
    for (int i = 0; i < N * 3; i++)
        resp[i] = i % 3 == (i / 3) % 3 ? 0.8 : 0.1;
    for (int k = 0; k < 3; k++) {
        struct vae_dims dims = {.fixed = k, .cap = 4};
        assert_int_equal(vae_component_fit(&m, k, &rows, resp + k, 3, &dims, 1e-9), MDQ_OK);
    }
    assert_int_equal(vae_mixture_expect(&m, &rows, resp, NULL, &a), MDQ_OK);
    assert_int_equal(vae_mixture_expect_ref(&m, &rows, ref, NULL, &b), MDQ_OK);
    assert_true(fabs(a - b) < 1e-10 * fabs(b));
    for (int i = 0; i < N * 3; i++)
        assert_true(fabs(resp[i] - ref[i]) < 1e-9);
    vae_mixture_free(&m);
    free((float *)rows.x);
}

/* The likelihood falls nowhere but where the noise floor or a removal is on record: on noisy planes, on duplicates. */
static void likelihood_does_not_fall(void **state)
{
    (void)state;
    enum { N = 400, D = 24, K = 4 };
    for (int trial = 0; trial < 4; trial++) {
        struct manifold_spec spec = {UNION_OF_PLANES, D, 3, 2 + trial % 2, 0.2, 40 + (uint64_t)trial};
        struct manifold_points p = manifold_sample(&spec, N, 0);
        if (trial == 3) /* half of the rows are equal */
            for (int i = 0; i < N / 2; i++)
                memcpy(p.x + i * D, p.x, D * sizeof *p.x);
        struct vae_rows rows = {N, D, p.x};
        struct vae_mixture m;
        struct seen s = {0};
        double *resp = malloc(sizeof *resp * N * VAE_MAX_CHARTS);
        struct mdq_random r;
        mdq_random_seed(&r, 5, "start", (uint64_t)trial, 0);
        assert_int_equal(vae_mixture_new(&m, D, 3), MDQ_OK);
        m.k = K;
        for (int k = 0; k < K; k++)
            m.c[k].d = 3;
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += resp[i * K + k] = mdq_random_uniform(&r);
            for (int k = 0; k < K; k++)
                resp[i * K + k] /= sum;
        }
        assert_int_equal(vae_mixture_em(&m, &rows, resp, 200, 1e-6, see, &s), MDQ_OK);
        assert_true(s.n > 3);
        assert_true(s.worst > -1e-10);
        vae_mixture_free(&m);
        manifold_free(&p);
        free(resp);
    }
}

static struct vae_options options_for(int charts, int64_t dim, int epochs)
{
    return (struct vae_options){.select = {.charts = charts, .max_charts = VAE_MAX_CHARTS, .restarts = 4, .iterations = 40,
                                           .dims = {.fixed = dim, .cap = 12, .variance = 0.95, .permutations = 3}},
                                .train = {.hidden = 24, .epochs = epochs}, .sweeps = 3, .target = 1e-3, .holdout = 0.125,
                                .foot_steps = 10};
}

static double mean_angle(const struct vae_block *b, const struct manifold_points *p, int64_t d)
{
    double sum = 0, *u = malloc((size_t)(b->D * MDQ_CHART_MAX_DIM) * sizeof *u);
    for (int64_t i = 0; i < b->n; i++) {
        const struct mdq_chart *c = &b->chart[b->chart_of[i]];
        int64_t rank = 0;
        if (c->dim > 0)
            mdq_chart_tangent(c, b->foot + i * b->most, u, &rank);
        sum += manifold_angle(b->D, d, p->tangent + i * b->D * d, rank, u, c->dim) / (double)b->n;
    }
    free(u);
    return sum;
}

static void planes_are_found(void **state)
{
    (void)state;
    struct manifold_spec spec = {UNION_OF_PLANES, 64, 2, 3, 0.05, 3};
    struct manifold_points p = manifold_sample(&spec, 900, 0);
    struct vae_options o = options_for(0, -1, 0);
    struct vae_block b;
    assert_int_equal(vae_block_fit(&b, p.n, spec.D, p.x, &o, "planes", 0), MDQ_OK);
    assert_int_equal(b.k, 3);
    for (int c = 0; c < 3; c++)
        assert_int_equal(b.chart[c].dim, 2);
    /* each plane has one chart */
    for (int64_t i = 1; i < p.n; i++)
        for (int64_t j = 0; j < i; j += 37)
            assert_int_equal(p.plane[i] == p.plane[j], b.chart_of[i] == b.chart_of[j]);
    assert_true(mean_angle(&b, &p, 2) < 0.1);
    vae_block_free(&b);
    manifold_free(&p);
}

/* MD as mdq-gptq has it, with the true plane and with the chart: noise is all there is off the plane. */
static void distortion_is_the_analytic_one(void **state)
{
    (void)state;
    struct manifold_spec spec = {AFFINE_PLANE, 64, 3, 1, 0.05, 9};
    struct manifold_points p = manifold_sample(&spec, 4096, 0);
    struct vae_options o = options_for(0, -1, 24);
    struct vae_block b;
    struct mdq_random r;
    const int64_t D = spec.D;
    double sum = 0;
    int far = 0;
    assert_int_equal(vae_block_fit(&b, p.n, D, p.x, &o, "plane", 0), MDQ_OK);
    assert_int_equal(b.k, 1);
    assert_int_equal(b.chart[0].dim, 3);
    mdq_random_seed(&r, 3, "error", 0, 0);
    for (int64_t i = 0; i < p.n; i++) {
        float e[64];
        double off, truth[2] = {0}, in[2][3] = {{0}};
        for (int64_t j = 0; j < D; j++) {
            e[j] = (float)(0.03 * mdq_random_normal(&r));
            double n = p.x[i * D + j] - p.clean[i * D + j];
            truth[0] += (double)e[j] * e[j];
            truth[1] += n * n;
            for (int a = 0; a < 3; a++) {
                in[0][a] += e[j] * p.tangent[(i * D + j) * 3 + a];
                in[1][a] += n * p.tangent[(i * D + j) * 3 + a];
            }
        }
        for (int k = 0; k < 2; k++)
            for (int a = 0; a < 3; a++)
                truth[k] -= in[k][a] * in[k][a];
        assert_int_equal(mdq_chart_off_tangent(&b.chart[0], 1, b.foot + i * b.most, e, D, &off), MDQ_OK);
        double error = fabs(off / b.normal[i] / sqrt(truth[0] / truth[1]) - 1);
        far += error > 0.01;
        sum += error;
    }
    assert_true(sum / (double)p.n < 0.01);
    assert_true(far < 410); /* of 4096: points far out, where the plane's own error of estimation shows */
    vae_block_free(&b);
    manifold_free(&p);
}

static void training_earns_its_place_on_curves(void **state)
{
    (void)state;
    static const enum manifold kinds[] = {SPHERE, SWISS_ROLL};
    for (int k = 0; k < 2; k++) {
        struct manifold_spec spec = {kinds[k], 32, 2, 1, 0.02, 6 + (uint64_t)k};
        struct manifold_points p = manifold_sample(&spec, 2400, 0), third = manifold_sample(&spec, 1000, 1);
        double bound[2] = {0}, angle[2], *resp = malloc(sizeof *resp * 1000 * 4), *elbo = malloc(sizeof *elbo * 1000);
        for (int trained = 0; trained < 2; trained++) {
            struct vae_options o = options_for(4, 2, trained ? 24 : 0);
            struct vae_block b;
            assert_int_equal(vae_block_fit(&b, p.n, spec.D, p.x, &o, "curved", 0), MDQ_OK);
            angle[trained] = mean_angle(&b, &p, 2);
            assert_int_equal(vae_mixture_elbo(b.chart, b.k, third.n, third.x, resp, elbo), MDQ_OK);
            for (int64_t i = 0; i < third.n; i++)
                bound[trained] += elbo[i] / (double)third.n;
            for (int s = 1; s <= b.sweeps; s++) /* never below the linear start */
                assert_true(b.elbo[s] >= b.elbo[0]);
            vae_block_free(&b);
        }
        assert_true(bound[1] > bound[0]);
        assert_true(angle[1] <= 0.7 * angle[0]);
        free(resp);
        free(elbo);
        manifold_free(&p);
        manifold_free(&third);
    }
}

/* The start is the linear solution exactly: its bound is the log-likelihood. */
static void linear_start_is_exact(void **state)
{
    (void)state;
    struct manifold_spec spec = {AFFINE_PLANE, 20, 3, 1, 0.2, 12};
    struct manifold_points p = manifold_sample(&spec, 500, 0);
    struct vae_rows rows = {p.n, 20, p.x};
    struct vae_mixture m;
    struct vae_dims dims = {.fixed = 3, .cap = 3};
    struct vae_part part;
    struct mdq_chart c = {0};
    double *one = malloc(sizeof *one * 500), *density = malloc(sizeof *one * 500), *elbo = malloc(sizeof *one * 500), loglik;
    float mean[20];
    assert_int_equal(vae_mixture_new(&m, 20, 3), MDQ_OK);
    m.k = 1;
    for (int i = 0; i < 500; i++)
        one[i] = 1;
    assert_int_equal(vae_component_fit(&m, 0, &rows, one, 1, &dims, 1e-9), MDQ_OK);
    assert_int_equal(vae_mixture_expect(&m, &rows, one, density, &loglik), MDQ_OK);
    for (int i = 0; i < 20; i++)
        mean[i] = (float)m.c[0].mean[i];
    assert_int_equal(vae_part_new(&part, &rows, one, 1, mean), MDQ_OK);
    assert_int_equal(vae_chart_start(&c, &m.c[0], 20, 3, 16, &part, 1, "start", 0), MDQ_OK);
    assert_int_equal(vae_elbo(&c, p.n, p.x, 20, elbo), MDQ_OK);
    for (int i = 0; i < 500; i++)
        assert_true(fabs(elbo[i] - density[i]) < 1e-4 * fabs(density[i]) + 1e-3);
    vae_part_free(&part);
    mdq_chart_free(&c);
    vae_mixture_free(&m);
    free(one);
    free(density);
    free(elbo);
    manifold_free(&p);
}

static void few_and_equal_rows(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 3, 17, 70};
    for (size_t t = 0; t < sizeof counts / sizeof *counts; t++)
        for (int what = 0; what < 3; what++) {
            enum { D = 8 };
            float x[70 * D];
            for (int64_t i = 0; i < counts[t] * D; i++)
                x[i] = what == 0 ? 0 : what == 1 ? (float)(i % D) : (float)sin((double)(i * i));
            struct vae_options o = options_for(0, -1, 8);
            struct vae_block b;
            assert_int_equal(vae_block_fit(&b, counts[t], D, x, &o, "few", 0), MDQ_OK);
            assert_true(b.k >= 1);
            for (int64_t i = 0; i < counts[t]; i++) {
                assert_true(isfinite(b.normal[i]));
                if (what < 2)
                    assert_true(b.normal[i] < 1e-5);
            }
            vae_block_free(&b);
        }
}

/* A chart by hand, its functions by their definitions: Jacobian by differences, foot by a grid. */
static void chart_functions(void **state)
{
    (void)state;
    enum { D = 12, d = 2, h = 5 };
    struct mdq_chart c;
    struct mdq_random r;
    assert_int_equal(mdq_chart_new(&c, D, d, h), MDQ_OK);
    mdq_random_seed(&r, 8, "chart", 0, 0);
    float *const arrays[] = {c.mean, c.basis, c.dec_in, c.dec_bias, c.dec_out};
    const int sizes[] = {D, D * d, h * d, h, D * h};
    for (int a = 0; a < 5; a++)
        for (int i = 0; i < sizes[a]; i++)
            arrays[a][i] = (float)(0.5 * mdq_random_normal(&r));
    mdq_chart_prepare(&c);
    for (int trial = 0; trial < 20; trial++) {
        double z[d], at[D], u[D * d], foot[d], residual, normal, off, plain = 0;
        float x[D], e[D];
        int64_t rank;
        for (int j = 0; j < d; j++)
            foot[j] = z[j] = mdq_random_normal(&r);
        mdq_chart_decode(&c, z, at);
        mdq_chart_tangent(&c, z, u, &rank);
        assert_int_equal(rank, d);
        for (int j = 0; j < d; j++) { /* differences lie in the span of u */
            double step[d] = {z[0], z[1]}, there[D], left = 0, whole = 0, dot[d] = {0};
            step[j] += 1e-6;
            mdq_chart_decode(&c, step, there);
            for (int a = 0; a < d; a++)
                for (int i = 0; i < D; i++)
                    dot[a] += (there[i] - at[i]) * u[i * d + a];
            for (int i = 0; i < D; i++) {
                double t = there[i] - at[i] - dot[0] * u[i * d] - dot[1] * u[i * d + 1];
                left += t * t;
                whole += (there[i] - at[i]) * (there[i] - at[i]);
            }
            assert_true(left < 1e-9 * whole);
        }
        double dot[d] = {0};
        for (int i = 0; i < D; i++) {
            e[i] = (float)mdq_random_normal(&r);
            x[i] = (float)at[i];
            plain += (double)e[i] * e[i];
            for (int j = 0; j < d; j++)
                dot[j] += e[i] * u[i * d + j];
        }
        assert_int_equal(mdq_chart_off_tangent(&c, 1, z, e, D, &off), MDQ_OK);
        assert_true(fabs(off - sqrt(plain - dot[0] * dot[0] - dot[1] * dot[1])) < 1e-9);
        double ref;
        assert_int_equal(mdq_chart_off_tangent_ref(&c, 1, z, e, D, &ref), MDQ_OK);
        assert_true(fabs(off - ref) < 1e-9);
        foot[0] += 0.3; /* a point of the chart is its own foot */
        foot[1] -= 0.2;
        assert_int_equal(mdq_chart_foot(&c, 1, x, D, 50, foot, &residual, &normal), MDQ_OK);
        assert_true(residual < 1e-5 && normal <= residual + 1e-12);
    }
    memset(c.dec_out, 0, sizeof *c.dec_out * D * h); /* flat: another path, in float32 */
    mdq_chart_prepare(&c);
    for (int trial = 0; trial < 20; trial++) {
        double z[d] = {trial, 1}, off, ref;
        float e[D];
        for (int i = 0; i < D; i++)
            e[i] = (float)mdq_random_normal(&r);
        assert_int_equal(mdq_chart_off_tangent(&c, 1, z, e, D, &off), MDQ_OK);
        assert_int_equal(mdq_chart_off_tangent_ref(&c, 1, z, e, D, &ref), MDQ_OK);
        assert_true(fabs(off - ref) < 1e-5 * ref);
    }
    mdq_chart_free(&c);
    assert_int_equal(mdq_chart_new(&c, 4, 4, 0), MDQ_E_DATA);
    mdq_chart_free(&c);
    assert_int_equal(mdq_chart_new(&c, 4, 0, 3), MDQ_E_DATA);
    mdq_chart_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_numpy),
        cmocka_unit_test(expectation_agrees_with_reference),
        cmocka_unit_test(likelihood_does_not_fall),
        cmocka_unit_test(planes_are_found),
        cmocka_unit_test(distortion_is_the_analytic_one),
        cmocka_unit_test(training_earns_its_place_on_curves),
        cmocka_unit_test(linear_start_is_exact),
        cmocka_unit_test(few_and_equal_rows),
        cmocka_unit_test(chart_functions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
