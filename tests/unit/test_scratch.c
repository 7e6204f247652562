/* Scratch memory: zeroed where it is small; where it is large a file that must find room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mdq_scratch.h"

static void small_is_memory(void **state)
{
    (void)state;
    struct mdq_scratch s;
    assert_int_equal(mdq_scratch_map(&s, 1000, 100, "numbers"), MDQ_OK);
    assert_int_equal(s.bytes, 100000);
    for (size_t i = 0; i < s.bytes; i++)
        assert_int_equal(((char *)s.p)[i], 0);
    memset(s.p, 1, s.bytes);
    mdq_scratch_unmap(&s);
    assert_null(s.p);
    mdq_scratch_unmap(&s);
    assert_int_equal(mdq_scratch_map(&s, 0, 8, "nothing"), MDQ_OK);
    assert_non_null(s.p);
    mdq_scratch_unmap(&s);
}

static void large_wants_a_file(void **state)
{
    (void)state;
    struct mdq_scratch s;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    assert_int_equal(mdq_scratch_map(&s, ((size_t)1 << 30) + 1, 1, "activations"), MDQ_E_IO);
    assert_null(s.p);
    assert_non_null(strstr(mdq_error_message(), "/nowhere/at/all"));
    assert_non_null(strstr(mdq_error_message(), "activations"));
    unsetenv("TMPDIR");
    assert_int_equal(mdq_scratch_map(&s, SIZE_MAX / 2, 8, "activations"), MDQ_E_INTERNAL);
    assert_null(s.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_is_memory),
        cmocka_unit_test(large_wants_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
