/* Element types: every 16-bit value against its definition, rounding at and around every tie, packing bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "mdq_dtype.h"

enum { ALL = 1 << 16 };

/* What 16 bits mean: `exponent_bits` of exponent with the IEEE bias, the rest mantissa. */
static double definition(unsigned h, int exponent_bits)
{
    int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(h >> mantissa_bits) & ((1 << exponent_bits) - 1), mantissa = (int)h & ((1 << mantissa_bits) - 1);
    double sign = h >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

static int same(double a, double b)
{
    return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b));
}

static const struct {
    enum mdq_dtype type;
    int exponent_bits;
} halves[] = {{MDQ_F16, 5}, {MDQ_BF16, 8}};

static float one_to_f32(enum mdq_dtype t, uint16_t h)
{
    return t == MDQ_F16 ? mdq_f16_to_f32(h) : mdq_bf16_to_f32(h);
}

static uint16_t one_from_f32(enum mdq_dtype t, float f)
{
    return t == MDQ_F16 ? mdq_f32_to_f16(f) : mdq_f32_to_bf16(f);
}

static void all_16_bit_values_convert(void **state)
{
    (void)state;
    unsigned char *bytes = malloc(2 * ALL + 1);
    float *f = malloc(ALL * sizeof *f);
    assert_true(bytes && f);
    for (int k = 0; k < 2; k++) {
        for (unsigned h = 0; h < ALL; h++) { /* at an odd address */
            bytes[1 + 2 * h] = (unsigned char)h;
            bytes[2 + 2 * h] = (unsigned char)(h >> 8);
        }
        assert_int_equal(mdq_dtype_to_f32(halves[k].type, bytes + 1, ALL, f), 0);
        for (unsigned h = 0; h < ALL; h++) {
            double want = definition(h, halves[k].exponent_bits);
            assert_true(same(f[h], want));
            assert_true(same(one_to_f32(halves[k].type, (uint16_t)h), want));
        }
        assert_int_equal(mdq_dtype_from_f32(halves[k].type, f, ALL, bytes + 1), 0);
        for (unsigned h = 0; h < ALL; h++) {
            unsigned back = bytes[1 + 2 * h] | (unsigned)bytes[2 + 2 * h] << 8;
            assert_true(back == h || isnan(f[h]));
            assert_true(same(definition(back, halves[k].exponent_bits), f[h]));
        }
    }
    free(bytes);
    free(f);
}

/* Between neighbours lo and hi, a value below the middle goes to lo, above to hi, the middle to the even one. */
static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        unsigned largest = (unsigned)one_from_f32(halves[k].type, INFINITY) - 1;
        for (unsigned h = 0; h <= largest; h++) {
            double lo = definition(h, halves[k].exponent_bits);
            /* above the largest: as if one more value followed it, which is infinity */
            double hi = h < largest ? definition(h + 1, halves[k].exponent_bits)
                                    : lo + (lo - definition(h - 1, halves[k].exponent_bits));
            float middle = (float)((lo + hi) / 2);
            if (middle != (lo + hi) / 2 || !isfinite(middle)) /* bfloat16's subnormals: no float32 there */
                continue;
            const float v[8] = {middle, nextafterf(middle, -INFINITY), nextafterf(middle, INFINITY), -middle,
                                (float)lo, -(float)lo, middle, middle};
            const unsigned want[8] = {h + (h & 1), h, h + 1, (h + (h & 1)) | 0x8000, h, h | 0x8000, h + (h & 1), h + (h & 1)};
            uint16_t bulk[8];
            mdq_dtype_from_f32(halves[k].type, v, 8, bulk);
            for (int i = 0; i < 8; i++) {
                assert_int_equal(one_from_f32(halves[k].type, v[i]), want[i]);
                assert_int_equal(bulk[i], want[i]);
            }
        }
        assert_true(isinf(one_to_f32(halves[k].type, one_from_f32(halves[k].type, 3.4e38f))));
        assert_true(isnan(one_to_f32(halves[k].type, one_from_f32(halves[k].type, NAN))));
    }
}

static void every_length_converts(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 40; n++) {
        float f[41], back[41];
        uint16_t h[41];
        for (int i = 0; i < 41; i++) {
            f[i] = (float)(i - 20) / 4;
            h[i] = 0x1234;
            back[i] = 99;
        }
        for (int k = 0; k < 2; k++) {
            mdq_dtype_from_f32(halves[k].type, f, n, h);
            mdq_dtype_to_f32(halves[k].type, h, n, back);
            assert_memory_equal(f, back, (size_t)n * sizeof *f);
            assert_true(h[n] == 0x1234 && back[n] == 99);
        }
    }
    double d[2] = {0.1, -3};
    float f[2];
    assert_int_equal(mdq_dtype_to_f32(MDQ_F64, d, 2, f), 0);
    assert_true(f[0] == 0.1f && f[1] == -3);
    assert_int_equal(mdq_dtype_to_f32(MDQ_I32, d, 2, f), -1);
    assert_int_equal(mdq_dtype_from_f32(MDQ_U4, f, 2, d), -1);
}

static void packing_follows_the_bit_stream(void **state)
{
    (void)state;
    uint8_t codes[100], packed[104], back[100];
    for (unsigned bits = 1; bits <= 8; bits++)
        for (int64_t n = 0; n <= 100; n++) {
            for (int64_t i = 0; i < n; i++)
                codes[i] = (uint8_t)(i * 151 + 77); /* bits above `bits` must be ignored */
            memset(packed, 0xa5, sizeof packed);
            size_t bytes = ((size_t)n * bits + 7) / 8;
            mdq_bits_pack(codes, n, bits, packed);
            for (size_t b = 0; b < bytes * 8; b++) {
                size_t i = b / bits;
                unsigned want = i < (size_t)n ? codes[i] >> b % bits & 1 : 0;
                assert_int_equal(packed[b / 8] >> b % 8 & 1, want);
            }
            assert_int_equal(packed[bytes], 0xa5);
            mdq_bits_unpack(packed, n, bits, back);
            for (int64_t i = 0; i < n; i++)
                assert_int_equal(back[i], codes[i] & ((1u << bits) - 1));
        }
}

static void names_and_sizes(void **state)
{
    (void)state;
    for (int t = 0; t < MDQ_DTYPE_COUNT; t++)
        assert_int_equal(mdq_dtype_parse(mdq_dtype_name((enum mdq_dtype)t)), t);
    assert_int_equal(mdq_dtype_parse("BF16"), MDQ_BF16);
    assert_int_equal(mdq_dtype_parse("F8_E4M3"), -1);
    assert_int_equal(mdq_dtype_bytes(MDQ_U3, 3), 2);
    assert_int_equal(mdq_dtype_bytes(MDQ_U4, 0), 0);
    assert_int_equal(mdq_dtype_bytes(MDQ_F64, 5), 40);
    assert_true(mdq_dtype_bytes(MDQ_F64, INT64_MAX) == SIZE_MAX && mdq_dtype_bytes(MDQ_F32, -1) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_16_bit_values_convert),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(every_length_converts),
        cmocka_unit_test(packing_follows_the_bit_stream),
        cmocka_unit_test(names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
