/* Scales, zero points and plain rounding, against values worked out by hand and a plain second version. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant_grid.h"

static void scales_are_rounded_as_their_type_rounds(void **s)
{
    (void)s;
    /* every float16, and points around the middle between neighbours, against the conversion by bits */
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double v = mdq_f16_to_f32((uint16_t)h), next = h + 1 < 0x7c00 ? mdq_f16_to_f32((uint16_t)(h + 1)) : 65536;
        double up = h + 1 < 0x7c00 ? next : INFINITY, middle = (v + next) / 2;
        assert_true(quant_round_to(MDQ_F16, v) == v);
        assert_true(quant_round_to(MDQ_F16, middle) == (h & 1 ? up : v));
        assert_true(quant_round_to(MDQ_F16, nextafter(middle, 0)) == v);
        assert_true(quant_round_to(MDQ_F16, nextafter(middle, 1e9)) == up);
    }
    for (uint32_t h = 0; h < 0x7f80; h++) {
        double v = mdq_bf16_to_f32((uint16_t)h), next = h + 1 < 0x7f80 ? mdq_bf16_to_f32((uint16_t)(h + 1)) : 0x1p128;
        double up = h + 1 < 0x7f80 ? next : INFINITY, middle = (v + next) / 2;
        assert_true(quant_round_to(MDQ_BF16, v) == v);
        assert_true(quant_round_to(MDQ_BF16, middle) == (h & 1 ? up : v));
        assert_true(quant_round_to(MDQ_BF16, nextafter(middle, 0)) == v);
        assert_true(quant_round_to(MDQ_BF16, nextafter(middle, INFINITY)) == up);
    }
    assert_true(quant_round_to(MDQ_F32, 0.1) == (double)0.1f);
    assert_true(quant_round_to(MDQ_F64, 0.1) == 0.1);
}

static void grids_by_hand(void **s)
{
    (void)s;
    /* two groups per row: symmetric 4 bits, max|w| 7.5 -> s = 1, z = 8; 15 -> s = 2 */
    static const float w[] = {7.5f, -1, 0.5f, 1.5f, -15, 3, 1, 5, /* row 1: zeros; one sided */ 0, 0, 0, 0, 1, 2, 3, 7.5f};
    struct quant_spec spec = {.bits = 4, .group = 4, .symmetric = true, .scale = MDQ_F16};
    struct quant_grid g;
    struct quant_outcome out;
    uint8_t codes[16];
    float back[16];
    assert_int_equal(quant_grid_fit(&g, w, 2, 8, &spec), MDQ_OK);
    assert_int_equal(g.groups, 2);
    assert_true(g.scales[0] == 1 && g.scales[1] == 2 && g.scales[3] == 1);
    assert_true(fabs(g.scales[2] - 1 / 7.5) < 1e-4);
    assert_int_equal(quant_rtn(w, &g, codes, &out), MDQ_OK);
    /* ties go to even: 7.5 -> 8 (clipped), 0.5 -> 0, 1.5 -> 2; -7.5 -> -8, 1.5 -> 2, 0.5 -> 0, 2.5 -> 2 */
    static const uint8_t want[] = {15, 7, 8, 10, 0, 10, 8, 10, 8, 8, 8, 8, 9, 10, 11, 15};
    assert_memory_equal(codes, want, 16);
    assert_int_equal(out.clipped, 2); /* 7.5 twice */
    assert_true(out.max_abs == 1);    /* -15 -> -16, 3 -> 4, 1 -> 0, 5 -> 4 */
    assert_true(fabs(out.sq_error - (0.25 + 0 + 0.25 + 0.25 + 1 + 1 + 1 + 1 + 0.25)) < 1e-12);
    quant_dequantize(&g, codes, back);
    assert_true(back[0] == 7 && back[4] == -16 && back[8] == 0 && back[15] == 7);
    quant_grid_free(&g);

    /* asymmetric 2 bits: [-1, 2] -> s = 1, z = 1; all positive: 0 forced in, z = 0; all negative: z = 3 */
    static const float a[] = {-1, 2, 0.4f, 0.6f, 1, 3, 2.4f, 1.6f, -3, -1, -2, -0.4f};
    spec = (struct quant_spec){.bits = 2, .group = 0, .symmetric = false, .scale = MDQ_F64};
    assert_int_equal(quant_grid_fit(&g, a, 3, 4, &spec), MDQ_OK);
    assert_true(g.group == 4 && g.scales[0] == 1 && g.scales[1] == 1 && g.scales[2] == 1);
    assert_true(g.zeros[0] == 1 && g.zeros[1] == 0 && g.zeros[2] == 3);
    assert_int_equal(quant_rtn(a, &g, codes, &out), MDQ_OK);
    static const uint8_t wanta[] = {0, 3, 1, 2, 1, 3, 2, 2, 0, 2, 1, 3};
    assert_memory_equal(codes, wanta, 12);
    assert_int_equal(out.clipped, 0);
    quant_grid_free(&g);
}

static void rounding_agrees_with_the_plain_version(void **s)
{
    (void)s;
    enum { ROWS = 133, COLS = 96 };
    static float w[ROWS * COLS];
    static uint8_t a[ROWS * COLS], b[ROWS * COLS];
    uint32_t x = 1;
    for (int i = 0; i < ROWS * COLS; i++) {
        x = x * 1664525u + 1013904223u;
        w[i] = ((float)(x >> 8) * 0x1p-24f - 0.5f) * (float)(1 + i % 5);
    }
    static const int bits[] = {2, 3, 4, 8};
    for (int k = 0; k < 8; k++) {
        struct quant_spec spec = {.bits = bits[k / 2], .group = k & 1 ? 16 : 0, .symmetric = k & 1,
                                  .scale = k < 4 ? MDQ_F16 : MDQ_F32};
        struct quant_grid g;
        struct quant_outcome out;
        assert_int_equal(quant_grid_fit(&g, w, ROWS, COLS, &spec), MDQ_OK);
        assert_int_equal(quant_rtn(w, &g, a, &out), MDQ_OK);
        quant_rtn_ref(w, &g, b);
        assert_memory_equal(a, b, sizeof a);
        double most = 0;
        for (int i = 0; i < ROWS * g.groups; i++)
            most = fmax(most, g.scales[i]);
        assert_true(out.max_abs <= most * 0.51);
        quant_grid_free(&g);
    }
}

static void scales_never_vanish_or_overflow(void **s)
{
    (void)s;
    float w[16] = {0};
    struct quant_grid g;
    struct quant_spec spec = {.bits = 8, .group = 0, .symmetric = true, .scale = MDQ_F16};
    w[3] = 1e-7f; /* its scale, 8e-10, is below half of the smallest float16 */
    assert_int_equal(quant_grid_fit(&g, w, 1, 16, &spec), MDQ_OK);
    assert_true(g.scales[0] == 0x1p-24);
    assert_int_equal(g.bumped, 1);
    quant_grid_free(&g);
    w[3] = 1e7f;
    assert_int_equal(quant_grid_fit(&g, w, 1, 16, &spec), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "row 0, group 0"));
    assert_non_null(strstr(mdq_error_message(), "f16 cannot hold"));
    quant_grid_free(&g);
    spec.scale = MDQ_BF16;
    assert_int_equal(quant_grid_fit(&g, w, 1, 16, &spec), MDQ_OK);
    assert_int_equal(g.bumped, 0);
    quant_grid_free(&g);
}

static void bad_weights_and_groups_are_errors(void **s)
{
    (void)s;
    float w[96] = {0};
    struct quant_grid g;
    struct quant_spec spec = {.bits = 4, .group = 16, .symmetric = false, .scale = MDQ_F16};
    w[32 + 21] = NAN;
    assert_int_equal(quant_grid_fit(&g, w, 3, 32, &spec), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "row 1, column 21"));
    quant_grid_free(&g);
    w[32 + 21] = -INFINITY;
    assert_int_equal(quant_grid_fit(&g, w, 3, 32, &spec), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "row 1, column 21"));
    quant_grid_free(&g);
    w[32 + 21] = 0;
    spec.group = 24;
    assert_int_equal(quant_grid_fit(&g, w, 3, 32, &spec), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "24 columns do not divide rows of 32"));
    quant_grid_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_are_rounded_as_their_type_rounds), cmocka_unit_test(grids_by_hand),
        cmocka_unit_test(rounding_agrees_with_the_plain_version),  cmocka_unit_test(scales_never_vanish_or_overflow),
        cmocka_unit_test(bad_weights_and_groups_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
