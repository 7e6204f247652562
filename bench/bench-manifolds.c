/*
 * Tangents where they are known: mean angle error (largest principal angle, degrees) of the local PCA of 15 neighbours in tiles of 256
 * rows (mdq-lle alone), of the linear mixture, and of the trained charts (mdq-vae), on the same 4096 points in R^256; the
 * number of components and dimensions found; the evidence lower bound on a third split, never seen.
 */
#include <cblas.h>
#include <stdio.h>

#include "../tests/unit/manifolds.h"
#include "lle_neighbours.h"
#include "mdq_local_pca.h"
#include "mdq_log.h"
#include "vae_block.h"

enum { N = 4096, D = 256, TILE = 256, K = 15, THIRD = 2048 };

struct result {
    int k, nonlinear;
    double angle, elbo, dims, seconds;
};

static void fail(void)
{
    fprintf(stderr, "bench-manifolds: %s\n", mdq_error_message());
    exit(1);
}

static double lle_angle(const struct manifold_points *p, int64_t d)
{
    double sum = 0, *g = malloc(sizeof(double) * TILE * TILE), *c = malloc(sizeof(double) * TILE * D);
    double *basis = malloc(sizeof(double) * TILE * D * K);
    uint16_t *nb = malloc(sizeof *nb * TILE * K);
    uint8_t dim[TILE];
    for (int64_t t = 0; t < N; t += TILE) {
        const float *x = p->x + t * D;
        lle_gram(TILE, D, x, D, c, g);
        if (lle_neighbours(TILE, D, x, D, g, K, nb, NULL) ||
            mdq_local_pca(TILE, D, x, D, K, nb, 1.0, d, 0, TILE, dim, NULL, basis))
            fail();
        for (int64_t i = 0; i < TILE; i++)
            sum += manifold_angle(D, d, p->tangent + (t + i) * D * d, dim[i], basis + i * D * K, K);
    }
    free(g);
    free(c);
    free(basis);
    free(nb);
    return sum / N;
}

static struct result fit(const struct manifold_points *p, const struct manifold_points *third, int64_t d, int charts, int64_t dim,
                         int epochs)
{
    struct vae_options o = {.select = {.charts = charts, .max_charts = VAE_MAX_CHARTS, .restarts = 4, .iterations = 40,
                                       .dims = {.fixed = dim, .cap = 16, .variance = 0.95, .permutations = 3}},
                            .train = {.hidden = 24, .epochs = epochs}, .sweeps = 3, .target = 1e-3, .holdout = 0.125,
                            .foot_steps = 10};
    struct vae_block b;
    struct result r = {0};
    double start = mdq_seconds(), *u = malloc(sizeof(double) * D * MDQ_CHART_MAX_DIM), *resp = malloc(sizeof(double) * THIRD * 16);
    double *elbo = malloc(sizeof(double) * THIRD);
    if (vae_block_fit(&b, N, D, p->x, &o, "bench", 0))
        fail();
    r.seconds = mdq_seconds() - start;
    for (int64_t i = 0; i < N; i++) {
        const struct mdq_chart *c = &b.chart[b.chart_of[i]];
        int64_t rank = 0;
        if (c->dim > 0)
            mdq_chart_tangent(c, b.foot + i * b.most, u, &rank);
        r.angle += manifold_angle(D, d, p->tangent + i * D * d, rank, u, c->dim) / N;
        r.dims += (double)c->dim / N;
    }
    if (vae_mixture_elbo(b.chart, b.k, THIRD, third->x, resp, elbo))
        fail();
    for (int64_t i = 0; i < THIRD; i++)
        r.elbo += elbo[i] / THIRD;
    r.k = b.k;
    for (int c = 0; c < b.k; c++)
        r.nonlinear += b.chart[c].hidden > 0;
    vae_block_free(&b);
    free(u);
    free(resp);
    free(elbo);
    return r;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        struct manifold_spec s;
        int charts;
    } cases[] = {
        {"plane, d 3", {AFFINE_PLANE, D, 3, 1, 0.05, 1}, 0},
        {"2 planes, d 3", {UNION_OF_PLANES, D, 3, 2, 0.05, 2}, 0},
        {"3 planes, d 3", {UNION_OF_PLANES, D, 3, 3, 0.05, 3}, 0},
        {"5 planes, d 2", {UNION_OF_PLANES, D, 2, 5, 0.05, 4}, 0},
        {"8 planes, d 3", {UNION_OF_PLANES, D, 3, 8, 0.05, 5}, 0},
        {"sphere", {SPHERE, D, 2, 1, 0.02, 6}, 0},
        {"sphere, 4 charts", {SPHERE, D, 2, 1, 0.02, 6}, 4},
        {"Swiss roll", {SWISS_ROLL, D, 2, 1, 0.02, 7}, 0},
        {"Swiss roll, 4 charts", {SWISS_ROLL, D, 2, 1, 0.02, 7}, 4},
        {"Swiss roll, 8 charts", {SWISS_ROLL, D, 2, 1, 0.02, 7}, 8},
    };
    openblas_set_num_threads(1);
    printf("%-22s %5s %8s | %6s %8s | %6s %4s %8s %5s | %9s %9s | %6s\n", "", "noise", "lle", "linear", "", "charts", "nonl", "",
           "ratio", "ELBO lin", "ELBO", "s");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (argc > 1 && !strstr(cases[i].name, argv[1]))
            continue;
        const struct manifold_spec *s = &cases[i].s;
        struct manifold_points p = manifold_sample(s, N, 0), third = manifold_sample(s, THIRD, 1);
        double lle = lle_angle(&p, s->d), degree = 57.29577951308232;
        struct result a = fit(&p, &third, s->d, cases[i].charts, s->d, 0), b = fit(&p, &third, s->d, cases[i].charts, s->d, 24);
        printf("%-22s %5.2f %8.2f | %6d %8.2f | %6d %4d %8.2f %5.2f | %9.3f %9.3f | %6.2f\n", cases[i].name, s->noise, lle * degree,
               a.k, a.angle * degree, b.k, b.nonlinear, b.angle * degree, b.angle / a.angle, a.elbo, b.elbo, b.seconds);
        fflush(stdout);
        manifold_free(&p);
        manifold_free(&third);
    }
    if (argc > 1)
        return 0;
    printf("\ndimensions by parallel analysis (3 planes of dimension d, noise per entry)\n");
    printf("%6s %8s %8s %8s\n", "d", "noise", "charts", "found");
    for (int d = 1; d <= 8; d *= 2)
        for (double noise = 0.05; noise < 0.9; noise *= 2) {
            struct manifold_spec s = {UNION_OF_PLANES, D, d, 3, noise, 11};
            struct manifold_points p = manifold_sample(&s, N, 0), third = manifold_sample(&s, THIRD, 1);
            struct result a = fit(&p, &third, d, 0, -1, 0);
            printf("%6d %8.2f %8d %8.2f\n", d, noise, a.k, a.dims);
            manifold_free(&p);
            manifold_free(&third);
        }
    return 0;
}
