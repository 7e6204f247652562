/* Gathering tiles and finding weights that are no numbers, against plain index arithmetic and IEEE bit patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tile_cut.h"

static void gathers(void **state)
{
    (void)state;
    enum { R = 11, C = 13 };
    for (size_t element = 2; element <= 4; element += 2) {
        unsigned char *m = malloc(R * C * element + 1) , *from = m + 1; /* unaligned, as in a mapped file */
        for (size_t i = 0; i < R * C * element; i++)
            from[i] = (unsigned char)(i * 37 + i / 256);
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                const int rows = R - r < 4 ? R - r : 4, cols = C - c < 5 ? C - c : 5;
                unsigned char *tile = malloc((size_t)(rows * cols) * element);
                tile_cut(from, C, element, r, c, rows, cols, tile);
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < cols; j++)
                        assert_memory_equal(tile + (size_t)(i * cols + j) * element,
                                            from + (size_t)((r + i) * C + c + j) * element, element);
                free(tile);
            }
        free(m);
    }
}

/* The bit patterns of infinity, the largest finite number and a NaN with only its last bit set. */
static const struct {
    enum mdq_dtype dtype;
    size_t size;
    uint64_t infinity, largest, nan, sign;
} types[] = {
    {MDQ_F16, 2, 0x7C00, 0x7BFF, 0x7C01, 0x8000},
    {MDQ_BF16, 2, 0x7F80, 0x7F7F, 0x7F81, 0x8000},
    {MDQ_F32, 4, 0x7F800000, 0x7F7FFFFF, 0x7F800001, 0x80000000},
    {MDQ_F64, 8, 0x7FF0000000000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000001, 0x8000000000000000},
};

static void put(unsigned char *p, size_t size, uint64_t v)
{
    for (size_t i = 0; i < size; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static void finds_what_is_not_finite(void **state)
{
    (void)state;
    enum { N = 10000 };
    static const int64_t places[] = {0, 1, 4095, 4096, 8191, 9999};
    unsigned char *p = malloc(N * 8);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const size_t size = types[t].size;
        for (size_t i = 0; i < N; i++)
            put(p + i * size, size, types[t].largest | (i % 2 ? types[t].sign : 0));
        assert_int_equal(tile_nonfinite(types[t].dtype, p, N), -1);
        assert_int_equal(tile_nonfinite(types[t].dtype, p, 0), -1);
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            const uint64_t bad[] = {types[t].infinity, types[t].infinity | types[t].sign, types[t].nan};
            for (int b = 0; b < 3; b++) {
                put(p + (size_t)places[k] * size, size, bad[b]);
                assert_int_equal(tile_nonfinite(types[t].dtype, p, N), places[k]);
                assert_int_equal(tile_nonfinite(types[t].dtype, p, places[k]), -1);
            }
            put(p + (size_t)places[k] * size, size, types[t].largest);
        }
    }
    free(p);
    assert_int_equal(tile_nonfinite(MDQ_I8, "x", 1), -2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gathers), cmocka_unit_test(finds_what_is_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
