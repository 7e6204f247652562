/* Tile geometry against the sizes that the design states, and against what any cut must satisfy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mdq_tiling.h"

static void known_sizes(void **state)
{
    (void)state;
    assert_int_equal(mdq_tiling_parts(4096, 256), 16);
    assert_int_equal(mdq_tiling_parts(896, 256), 4);
    assert_int_equal(mdq_tiling_parts(172, 256), 1);
    assert_int_equal(mdq_tiling_parts(257, 256), 2);
    assert_int_equal(mdq_tiling_parts(256, 256), 1);
    assert_int_equal(mdq_tiling_parts(0, 256), 0);
    for (int i = 0; i < 16; i++)
        assert_int_equal(mdq_tiling_length(4096, 16, i), 256);
    for (int i = 0; i < 4; i++)
        assert_int_equal(mdq_tiling_length(896, 4, i), 224);
    assert_int_equal(mdq_tiling_length(172, 1, 0), 172);
    /* 257 = 129 + 128: the longer one first */
    assert_int_equal(mdq_tiling_length(257, 2, 0), 129);
    assert_int_equal(mdq_tiling_length(257, 2, 1), 128);
    assert_int_equal(mdq_tiling_first(257, 2, 1), 129);
    /* 11 in parts of at most 4: 4 + 4 + 3 */
    static const int64_t first[] = {0, 4, 8, 11};
    for (int i = 0; i < 4; i++)
        assert_int_equal(mdq_tiling_first(11, mdq_tiling_parts(11, 4), i), first[i]);
}

static void parts_cover_without_overlap(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 700; n++)
        for (int64_t size = 1; size <= 300; size += 13) {
            int64_t k = mdq_tiling_parts(n, size), at = 0;
            for (int64_t i = 0; i < k; i++) {
                assert_int_equal(mdq_tiling_first(n, k, i), at);
                int64_t length = mdq_tiling_length(n, k, i);
                assert_true(length >= 1 && length <= size);
                assert_true(length == n / k || length == n / k + 1);
                at += length;
            }
            assert_int_equal(at, n);
            assert_int_equal(mdq_tiling_first(n, k, k), n);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_sizes), cmocka_unit_test(parts_cover_without_overlap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
