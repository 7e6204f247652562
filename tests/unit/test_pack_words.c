/*
 * The export formats' arithmetic. Packed words are written out by hand (or as one big number: code i times 2^(b i));
 * positions of codes follow the layouts' own formulas, weights the definition scale * (code - zero).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pack_folder.h"
#include "pack_format.h"
#include "pack_plan.h"
#include "pack_words.h"

static void words_by_hand(void **state)
{
    (void)state;
    uint32_t w[6];
    const uint8_t four[] = {0, 1, 2, 3, 4, 5, 6, 7, 15};
    memset(w, 0xAA, sizeof w);
    pack_lines(four, 1, 9, 4, w);
    assert_int_equal(pack_words(9, 4), 2);
    assert_int_equal(w[0], 0x76543210);
    assert_int_equal(w[1], 0x0000000F);
    const uint8_t two[] = {3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0};
    pack_lines(two, 1, 16, 2, w);
    assert_int_equal(w[0], 0x1B1B1B1B);
    const uint8_t eight[] = {0x11, 0x22, 0x33, 0xFF, 0x80};
    pack_lines(eight, 1, 5, 8, w);
    assert_int_equal(w[0], 0xFF332211);
    assert_int_equal(w[1], 0x00000080);
}

/* 3 bits cross word borders: 32 codes are the 96-bit number sum of code_i 8^i, low word first. */
static void words_of_three_bits(void **state)
{
    (void)state;
    uint8_t a[32], b[64];
    uint32_t w[6];
    for (int i = 0; i < 32; i++)
        a[i] = (uint8_t)(i % 8);
    pack_lines(a, 1, 32, 3, w);
    assert_int_equal(w[0], 0x88FAC688);
    assert_int_equal(w[1], 0xC688FAC6);
    assert_int_equal(w[2], 0xFAC688FA);
    /* two lines, of 12 codes: 36 bits, so two words each, the rest zero */
    for (int i = 0; i < 12; i++)
        b[i] = b[12 + i] = (uint8_t)((5 * i + 3) % 8);
    memset(w, 0xFF, sizeof w);
    pack_lines(b, 2, 12, 3, w);
    assert_int_equal(w[0], 0x43C67543);
    assert_int_equal(w[1], 0x00000005);
    assert_int_equal(w[2], w[0]);
    assert_int_equal(w[3], w[1]);
}

static void transposes(void **state)
{
    (void)state;
    enum { R = 37, C = 70 };
    static uint8_t s8[R * C], d8[R * C];
    static uint16_t s16[R * C], d16[R * C];
    static uint32_t s32[R * C], d32[R * C];
    for (int i = 0; i < R * C; i++)
        s32[i] = (uint32_t)i * 2654435761u, s16[i] = (uint16_t)s32[i], s8[i] = (uint8_t)s32[i];
    pack_transpose(s8, R, C, 1, d8);
    pack_transpose(s16, R, C, 2, d16);
    pack_transpose(s32, R, C, 4, d32);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            assert_int_equal(d8[c * R + r], s8[r * C + c]);
            assert_int_equal(d16[c * R + r], s16[r * C + c]);
            assert_int_equal(d32[c * R + r], s32[r * C + c]);
        }
}

static void rounds_once(void **state)
{
    (void)state;
    /* just above the middle of 1 and the next f16 (1 + 2^-10): through float32 it would be the middle, and go down */
    assert_int_equal(pack_f64_to_f16(1 + 0x1p-11 + 0x1p-40), 0x3C01);
    assert_int_equal(pack_f64_to_f16(1 + 0x1p-11), 0x3C00);
    assert_int_equal(pack_f64_to_f16(1 + 0x1p-11 - 0x1p-40), 0x3C00);
    assert_int_equal(pack_f64_to_f16(-(1 + 0x1p-11 + 0x1p-40)), 0xBC01);
    assert_int_equal(pack_f64_to_f16(1 + 3 * 0x1p-11 - 0x1p-40), 0x3C01); /* float32: the middle, up to even 0x3C02 */
    assert_int_equal(pack_f64_to_bf16(1 + 0x1p-8 + 0x1p-40), 0x3F81);
    assert_int_equal(pack_f64_to_bf16(1 + 0x1p-8), 0x3F80);
    assert_int_equal(pack_f64_to_bf16(-(1 + 3 * 0x1p-8 - 0x1p-45)), 0xBF81);
    assert_int_equal(pack_f64_to_f16(0), 0);
    assert_int_equal(pack_f64_to_f16(1e300), 0x7C00);
    assert_int_equal(pack_f64_to_f16(-1e300), 0xFC00);
    assert_int_equal(pack_f64_to_f16(0x1p-24), 1);
    assert_int_equal(pack_f64_to_f16(0x1p-25 + 0x1p-70), 1);
    assert_int_equal(pack_f64_to_f16(0x1p-25), 0);
}

/* A layer of `rows` x `cols` with codes, zero points and scales that differ from place to place. */
static struct mdq_qlayer make_layer(int64_t rows, int64_t cols, int bits, int64_t group, bool sym)
{
    struct mdq_qlayer l = {.rows = rows, .cols = cols, .bits = bits, .group = group, .groups = cols / group, .sym = sym,
                           .scale_type = MDQ_F16};
    snprintf(l.tensor, sizeof l.tensor, "model.layers.0.mlp.up_proj.weight");
    l.codes = malloc((size_t)(rows * cols));
    l.zeros = malloc((size_t)(rows * l.groups));
    l.scales = malloc((size_t)(rows * l.groups) * sizeof *l.scales);
    for (int64_t i = 0; i < rows * cols; i++)
        l.codes[i] = (uint8_t)(((uint64_t)i * 2654435761u >> 13) & ((1u << bits) - 1));
    for (int64_t i = 0; i < rows * l.groups; i++) {
        l.zeros[i] = (uint8_t)(sym ? 1 << (bits - 1) : 1 + i % ((1 << bits) - 1));
        l.scales[i] = (double)(1 + i % 100) / 1024; /* exact in f16 */
    }
    return l;
}

static unsigned field(const uint32_t *words, int64_t stride, int64_t i, int bits)
{
    uint64_t at = (uint64_t)i * (unsigned)bits, w = at / 32;
    uint64_t v = words[w * (uint64_t)stride];
    if (at % 32 + (unsigned)bits > 32)
        v |= (uint64_t)words[(w + 1) * (uint64_t)stride] << 32;
    return (unsigned)(v >> at % 32) & ((1u << bits) - 1);
}

static void *fill(const struct pack_plan *p, const struct pack_entry *e, const struct mdq_qlayer *l, const char *suffix,
                  struct pack_tensor *shape)
{
    struct pack_tensor t[PACK_TENSORS];
    int n = p->format->tensors(p, e, t);
    for (int k = 0; k < n; k++)
        if (strcmp(t[k].suffix, suffix) == 0) {
            void *dst = malloc(mdq_dtype_bytes(t[k].dtype, t[k].shape[0] * (t[k].ndim > 1 ? t[k].shape[1] : 1)));
            *shape = t[k];
            assert_int_equal(p->format->fill(p, e, t[k].ahead ? NULL : l, k, dst), MDQ_OK);
            return dst;
        }
    fail_msg("no tensor %s", suffix);
    return NULL;
}

static void check_gptq(int bits, int64_t group, bool sym, const struct pack_format *format, int offset)
{
    enum { N = 64, K = 96 };
    struct mdq_qlayer l = make_layer(N, K, bits, group, sym);
    struct pack_entry e = {.name = l.tensor, .rows = N, .cols = K};
    struct pack_plan p = {.format = format, .source = "test", .bits = (unsigned)bits, .group = group, .sym = sym,
                          .scale_type = MDQ_F16, .entries = &e, .n = 1};
    struct pack_tensor t;
    uint32_t *q = fill(&p, &e, &l, ".qweight", &t);
    assert_int_equal(t.shape[0], K * bits / 32);
    assert_int_equal(t.shape[1], N);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++)
            assert_int_equal(field(q + n, N, k, bits), l.codes[n * K + k]);
    uint32_t *z = fill(&p, &e, &l, ".qzeros", &t);
    assert_int_equal(t.shape[0], K / group);
    assert_int_equal(t.shape[1], N * bits / 32);
    for (int g = 0; g < K / group; g++)
        for (int n = 0; n < N; n++)
            assert_int_equal(field(z + g * t.shape[1], 1, n, bits), l.zeros[n * l.groups + g] - offset);
    uint16_t *s = fill(&p, &e, &l, ".scales", &t);
    for (int g = 0; g < K / group; g++)
        for (int n = 0; n < N; n++)
            assert_true(mdq_f16_to_f32(s[g * N + n]) == (float)l.scales[n * l.groups + g]);
    int32_t *x = fill(&p, &e, &l, ".g_idx", &t);
    assert_int_equal(t.shape[0], K);
    for (int k = 0; k < K; k++)
        assert_int_equal(x[k], k / group);
    if (sym) { /* the constants that readers know formats by */
        static const uint32_t v1[] = {[2] = 0x55555555, [4] = 0x77777777, [8] = 0x7F7F7F7F};
        static const uint32_t v2[] = {[2] = 0xAAAAAAAA, [4] = 0x88888888, [8] = 0x80808080};
        if (bits != 3)
            assert_int_equal(z[0], offset ? v1[bits] : v2[bits]);
    }
    free(q), free(z), free(s), free(x);
    mdq_qlayer_free(&l);
}

static void gptq_positions(void **state)
{
    (void)state;
    static const int widths[] = {2, 3, 4, 8};
    for (int i = 0; i < 4; i++) {
        check_gptq(widths[i], 32, true, &pack_format_gptq, 1);
        check_gptq(widths[i], 32, false, &pack_format_gptq, 1);
        check_gptq(widths[i], 32, true, &pack_format_gptq_v2, 0);
        check_gptq(widths[i], 96, false, &pack_format_gptq_v2, 0);
    }
}

static void gptq_v1_refuses_zero_points_of_zero(void **state)
{
    (void)state;
    struct mdq_qlayer l = make_layer(32, 64, 4, 32, false);
    struct pack_entry e = {.name = l.tensor, .rows = 32, .cols = 64};
    struct pack_plan p = {.format = &pack_format_gptq, .source = "test", .bits = 4, .group = 32, .scale_type = MDQ_F16,
                          .entries = &e, .n = 1};
    uint32_t dst[2 * 4];
    l.zeros[7 * 2 + 1] = 0;
    assert_int_equal(p.format->fill(&p, &e, &l, 1, dst), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "row 7, group 1"));
    assert_non_null(strstr(mdq_error_message(), "gptq_v2"));
    p.format = &pack_format_gptq_v2;
    assert_int_equal(p.format->fill(&p, &e, &l, 1, dst), MDQ_OK);
    mdq_qlayer_free(&l);
}

static void compressed_positions(void **state)
{
    (void)state;
    enum { N = 50, K = 60 }; /* no multiples of 32: lines end inside a word */
    static const int widths[] = {2, 4, 8};
    for (int i = 0; i < 3; i++) {
        const int bits = widths[i];
        struct mdq_qlayer l = make_layer(N, K, bits, 20, false);
        struct pack_entry e = {.name = l.tensor, .rows = N, .cols = K};
        struct pack_plan p = {.format = &pack_format_compressed, .source = "test", .bits = (unsigned)bits, .group = 20,
                              .scale_type = MDQ_F16, .entries = &e, .n = 1};
        struct pack_tensor t;
        uint32_t *w = fill(&p, &e, &l, ".weight_packed", &t);
        assert_int_equal(t.shape[0], N);
        assert_int_equal(t.shape[1], (K * bits + 31) / 32);
        for (int n = 0; n < N; n++)
            for (int k = 0; k < K; k++)
                assert_int_equal(field(w + n * t.shape[1], 1, k, bits), l.codes[n * K + k]);
        uint32_t *z = fill(&p, &e, &l, ".weight_zero_point", &t);
        assert_int_equal(t.shape[0], (N * bits + 31) / 32);
        assert_int_equal(t.shape[1], 3);
        for (int g = 0; g < 3; g++)
            for (int n = 0; n < N; n++)
                assert_int_equal(field(z + g, 3, n, bits), l.zeros[n * 3 + g]);
        uint16_t *s = fill(&p, &e, &l, ".weight_scale", &t);
        for (int k = 0; k < N * 3; k++)
            assert_true(mdq_f16_to_f32(s[k]) == (float)l.scales[k]);
        int64_t *shape = fill(&p, &e, &l, ".weight_shape", &t);
        assert_int_equal(shape[0], N);
        assert_int_equal(shape[1], K);
        p.sym = true; /* readers refuse a zero point there */
        struct pack_tensor all[PACK_TENSORS];
        assert_int_equal(p.format->tensors(&p, &e, all), 3);
        free(w), free(z), free(s), free(shape);
        mdq_qlayer_free(&l);
    }
}

static void dense_weights(void **state)
{
    (void)state;
    enum { N = 3, K = 8 };
    struct mdq_qlayer l = make_layer(N, K, 4, 4, false);
    l.scales[0] = 0.1; /* no float: the product must be made in double */
    float w[N * K];
    uint16_t h[N * K];
    assert_int_equal(pack_dequantize(l.codes, N, K, 4, l.scales, l.zeros, MDQ_F32, w), 0);
    assert_int_equal(pack_dequantize(l.codes, N, K, 4, l.scales, l.zeros, MDQ_BF16, h), 0);
    assert_int_equal(pack_dequantize(l.codes, N, K, 4, l.scales, l.zeros, MDQ_I8, h), -1);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            double exact = l.scales[n * 2 + k / 4] * ((double)l.codes[n * K + k] - l.zeros[n * 2 + k / 4]);
            assert_true(w[n * K + k] == (float)exact);
            assert_int_equal(h[n * K + k], pack_f64_to_bf16(exact));
        }
    mdq_qlayer_free(&l);
}

static void plan_of_ragged_layers(void **state)
{
    (void)state;
    struct pack_entry wide = {.cols = 192}, narrow = {.cols = 64}, odd = {.cols = 172};
    struct pack_plan p = {.group = 64};
    assert_int_equal(pack_plan_group(&p, &wide), 64);
    assert_false(pack_plan_ragged(&p, &narrow)); /* one group, and that of the plan */
    assert_int_equal(pack_plan_group(&p, &narrow), 64);
    assert_true(pack_plan_ragged(&p, &odd));
    assert_int_equal(pack_plan_group(&p, &odd), 172);
    p.group = 128;
    assert_true(pack_plan_ragged(&p, &narrow));
    p.group = -1;
    assert_false(pack_plan_ragged(&p, &odd));
    assert_int_equal(pack_plan_group(&p, &odd), 172);
}

static void config_keeps_its_text(void **state)
{
    (void)state;
    char *out;
    assert_int_equal(pack_config_splice("c", "{\n  \"z\": 1e-05,\n  \"a\": [1,\t2]\n}\n", "{\n  \"b\": 4\n}", &out), MDQ_OK);
    assert_string_equal(out, "{\n  \"z\": 1e-05,\n  \"a\": [1,\t2],\n  \"quantization_config\": {\n    \"b\": 4\n  }\n}\n");
    free(out);
    assert_int_equal(pack_config_splice("c", "{}", "{}", &out), MDQ_OK);
    assert_string_equal(out, "{\n  \"quantization_config\": {}\n}");
    free(out);
    assert_int_equal(pack_config_splice("c", "{\"quantization_config\": null}", "{}", &out), MDQ_E_DATA);
    assert_int_equal(pack_config_splice("c", "[1]", "{}", &out), MDQ_E_DATA);
    assert_int_equal(pack_config_splice("c", "{\"a\": 1", "{}", &out), MDQ_E_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_by_hand),
        cmocka_unit_test(words_of_three_bits),
        cmocka_unit_test(transposes),
        cmocka_unit_test(rounds_once),
        cmocka_unit_test(gptq_positions),
        cmocka_unit_test(gptq_v1_refuses_zero_points_of_zero),
        cmocka_unit_test(compressed_positions),
        cmocka_unit_test(dense_weights),
        cmocka_unit_test(plan_of_ragged_layers),
        cmocka_unit_test(config_keeps_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
