/* Accumulation of Hessians: against a plain double-precision sum, over several chunks, cut in odd places. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hessian.h"

static float *random_rows(int64_t n, int64_t dim)
{
    float *x = malloc((size_t)(n * dim) * sizeof *x);
    uint32_t s = 12345;
    for (int64_t i = 0; i < n * dim; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(s >> 8) / (float)(1 << 24) - 0.25f;
    }
    return x;
}

static void agrees_with_a_plain_sum(void **state)
{
    (void)state;
    enum { N = 9001, DIM = 37 };
    float *x = random_rows(N, DIM);
    struct hessian h;
    assert_int_equal(hessian_init(&h, DIM), MDQ_OK);
    for (int64_t at = 0, step = 1; at < N; at += step, step = step * 3 % 1000 + 1) {
        if (at + step > N)
            step = N - at;
        hessian_add(&h, x + at * DIM, step);
    }
    assert_int_equal(hessian_flush(&h), MDQ_OK);
    assert_int_equal(h.count, N);
    float panel[DIM * DIM];
    const int64_t rows = hessian_panel_rows(DIM);
    assert_int_equal(rows, DIM);
    hessian_panel(&h, 0, DIM, panel);
    for (int i = 0; i < DIM; i++)
        for (int j = 0; j < DIM; j++) {
            double want = 0;
            for (int64_t t = 0; t < N; t++)
                want += (double)x[t * DIM + i] * x[t * DIM + j];
            if (fabs(panel[i * DIM + j] - want) > 1e-5 * fabs(want) + 1e-4)
                fail_msg("entry %d,%d: %g, want %g", i, j, panel[i * DIM + j], want);
        }
    hessian_free(&h);
    free(x);
}

static void panels_cover_the_lower_triangle(void **state)
{
    (void)state;
    enum { N = 50, DIM = 150 };
    float *x = random_rows(N, DIM), *whole = malloc(DIM * DIM * sizeof *whole), *part = malloc(DIM * DIM * sizeof *part);
    struct hessian h;
    assert_int_equal(hessian_init(&h, DIM), MDQ_OK);
    hessian_add(&h, x, N);
    assert_int_equal(hessian_flush(&h), MDQ_OK);
    hessian_panel(&h, 0, DIM, whole);
    for (int64_t first = 0; first < DIM; first += 64) {
        int64_t rows = DIM - first < 64 ? DIM - first : 64, width = first + rows;
        hessian_panel(&h, first, rows, part);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < width; j++)
                assert_true(part[i * width + j] == whole[(first + i) * DIM + j]);
    }
    hessian_free(&h);
    free(x), free(whole), free(part);
}

static void infinite_activations_are_an_error(void **state)
{
    (void)state;
    float x[3] = {1, INFINITY, 2};
    struct hessian h;
    assert_int_equal(hessian_init(&h, 3), MDQ_OK);
    hessian_add(&h, x, 1);
    assert_int_equal(hessian_flush(&h), MDQ_E_DATA);
    hessian_reset(&h);
    x[1] = 0;
    hessian_add(&h, x, 1);
    assert_int_equal(hessian_flush(&h), MDQ_OK);
    assert_int_equal(h.count, 1);
    hessian_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_sum),
        cmocka_unit_test(panels_cover_the_lower_triangle),
        cmocka_unit_test(infinite_activations_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
