/* The factorisations and X^T X against plain double loops, at sizes around the blocks, on one thread and on two. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mdq_linalg.h"

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53 * 2 - 1;
}

/* A^T A + diagonal, full */
static double *positive(int64_t n, double diagonal)
{
    int64_t rank = n / 2 + 1;
    double *x = malloc(sizeof *x * (size_t)(rank * n)), *a = calloc((size_t)(n * n), sizeof *a);
    for (int64_t i = 0; i < rank * n; i++)
        x[i] = uniform();
    for (int64_t r = 0; r < rank; r++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                a[i * n + j] += x[r * n + i] * x[r * n + j];
    for (int64_t i = 0; i < n; i++)
        a[i * n + i] += diagonal * (double)rank;
    free(x);
    return a;
}

static const int64_t sizes[] = {1, 2, 31, 33, 64, 255, 257, 300, 530};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void cholesky_reproduces_the_matrix(void **s)
{
    (void)s;
    for (int k = 0; k < SIZES; k++) {
        int64_t n = sizes[k], lda = n + 3, bad = 7;
        double *a = positive(n, 0.1), worst = 0, worst32 = 0;
        double *l = malloc(sizeof *l * (size_t)(n * lda));
        float *f = malloc(sizeof *f * (size_t)(n * lda));
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                l[i * lda + j] = j <= i ? a[i * n + j] : 1234;
                f[i * lda + j] = (float)l[i * lda + j];
            }
        assert_int_equal(mdq_cholesky_f64(n, l, lda, &bad), MDQ_OK);
        assert_int_equal(bad, -1);
        assert_int_equal(mdq_cholesky(n, f, lda, &bad), MDQ_OK);
        assert_int_equal(bad, -1);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                double sum = 0, sum32 = 0;
                for (int64_t p = 0; p <= j; p++) {
                    sum += l[i * lda + p] * l[j * lda + p];
                    sum32 += (double)f[i * lda + p] * f[j * lda + p];
                }
                worst = fmax(worst, fabs(sum - a[i * n + j]) / a[0]);
                worst32 = fmax(worst32, fabs(sum32 - a[i * n + j]) / a[0]);
            }
        assert_true(worst < 1e-13);
        assert_true(worst32 < 3e-5);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                assert_true(l[i * lda + j] == 1234); /* above the diagonal nothing is touched */
        free(a);
        free(l);
        free(f);
    }
}

static void the_first_bad_pivot_is_named(void **s)
{
    (void)s;
    static const int64_t at[] = {0, 5, 255, 256, 299};
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        int64_t n = 300, bad = -1;
        double *a = calloc((size_t)(n * n), sizeof *a);
        float *f = calloc((size_t)(n * n), sizeof *f);
        for (int64_t i = 0; i < n; i++)
            a[i * n + i] = f[i * n + i] = i == at[k] ? -1 : i == 299 && at[k] != 299 ? NAN : 2;
        assert_int_equal(mdq_cholesky_f64(n, a, n, &bad), MDQ_OK);
        assert_int_equal(bad, at[k]);
        bad = -1;
        assert_int_equal(mdq_cholesky(n, f, n, &bad), MDQ_OK);
        assert_int_equal(bad, at[k]);
        free(a);
        free(f);
    }
}

static void inverse_times_factor_is_one(void **s)
{
    (void)s;
    for (int k = 0; k < SIZES; k++) {
        int64_t n = sizes[k], bad;
        double *a = positive(n, 1), worst = 0, worst32 = 0;
        assert_int_equal(mdq_cholesky_f64(n, a, n, &bad), MDQ_OK);
        double *x = malloc(sizeof *x * (size_t)(n * n));
        float *f = malloc(sizeof *f * (size_t)(n * n));
        for (int64_t i = 0; i < n * n; i++) {
            x[i] = i % n <= i / n ? a[i] : -77;
            f[i] = (float)x[i];
        }
        assert_int_equal(mdq_trtri_f64(n, x, n), MDQ_OK);
        assert_int_equal(mdq_trtri(n, f, n), MDQ_OK);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                double sum = 0, sum32 = 0;
                for (int64_t p = j; p <= i; p++) {
                    sum += a[i * n + p] * x[p * n + j];
                    sum32 += a[i * n + p] * f[p * n + j];
                }
                worst = fmax(worst, fabs(sum - (i == j)));
                worst32 = fmax(worst32, fabs(sum32 - (i == j)));
            }
        assert_true(worst < 1e-12);
        assert_true(worst32 < 1e-3);
        free(a);
        free(x);
        free(f);
    }
}

static void syrk_adds_the_products(void **s)
{
    (void)s;
    static const int64_t rows[] = {0, 1, 37, 2049}, cols[] = {1, 5, 255, 257, 520};
    for (size_t a = 0; a < sizeof rows / sizeof *rows; a++)
        for (size_t b = 0; b < sizeof cols / sizeof *cols; b++) {
            int64_t n = rows[a], k = n > 2000 && cols[b] > 257 ? 3 : cols[b], ldx = k + 2, ldh = k + 1;
            float *x = malloc(sizeof *x * (size_t)(n * ldx + 1)), *h = malloc(sizeof *h * (size_t)(k * ldh));
            double *want = malloc(sizeof *want * (size_t)(k * ldh));
            for (int64_t i = 0; i < n * ldx; i++)
                x[i] = (float)uniform();
            for (int64_t i = 0; i < k * ldh; i++)
                want[i] = h[i] = (float)(i % 7);
            mdq_syrk_add_ref(n, k, x, ldx, want, ldh);
            mdq_syrk_add(n, k, x, ldx, h, ldh);
            for (int64_t i = 0; i < k; i++)
                for (int64_t j = 0; j < k; j++)
                    assert_true(fabs(h[i * ldh + j] - want[i * ldh + j]) <= 1e-6 * (double)(n + 8));
            free(x);
            free(h);
            free(want);
        }
}

/* the same bytes from one thread, from two, and from two calls cut at a multiple of 2048 rows */
static void syrk_and_cholesky_do_not_depend_on_threads(void **s)
{
    (void)s;
    int64_t n = 2500, k = 600, bad;
    size_t bytes = sizeof(float) * (size_t)(k * k);
    float *x = malloc(sizeof *x * (size_t)(n * k)), *h[3];
    for (int64_t i = 0; i < n * k; i++)
        x[i] = (float)uniform();
    for (int t = 0; t < 3; t++) {
        h[t] = calloc(1, bytes);
        omp_set_num_threads(t == 0 ? 1 : 2);
        if (t < 2) {
            mdq_syrk_add(n, k, x, k, h[t], k);
        } else {
            mdq_syrk_add(2048, k, x, k, h[t], k);
            mdq_syrk_add(n - 2048, k, x + 2048 * k, k, h[t], k);
        }
        mdq_cholesky(k, h[t], k, &bad);
        assert_int_equal(bad, -1);
        mdq_trtri(k, h[t], k);
        if (t > 0)
            assert_memory_equal(h[0], h[t], bytes);
    }
    for (int t = 0; t < 3; t++)
        free(h[t]);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cholesky_reproduces_the_matrix), cmocka_unit_test(the_first_bad_pivot_is_named),
        cmocka_unit_test(inverse_times_factor_is_one),    cmocka_unit_test(syrk_adds_the_products),
        cmocka_unit_test(syrk_and_cholesky_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
