/* Which OpenBLAS kernels a CPU should run: the table of what each kernel set uses against what the CPU has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mdq_blas.h"

enum { OLD = 0, AVX2 = MDQ_CPU_AVX2_FMA, AVX512 = MDQ_CPU_AVX2_FMA | MDQ_CPU_AVX512, AMD = MDQ_CPU_AMD };

static void a_cpu_taken_for_an_older_one_is_put_right(void **state)
{
    (void)state;
    assert_string_equal(mdq_blas_better_core("Prescott", AVX512), "SkylakeX");
    assert_string_equal(mdq_blas_better_core("Prescott", AVX2), "Haswell");
    assert_string_equal(mdq_blas_better_core("Prescott", AVX2 | AMD), "Zen");
    assert_string_equal(mdq_blas_better_core("Haswell", AVX512), "SkylakeX");
    assert_string_equal(mdq_blas_better_core("Zen", AVX512 | AMD), "SkylakeX");
    assert_string_equal(mdq_blas_better_core("Sandybridge", AVX2), "Haswell");
}

static void kernels_that_fit_are_left_alone(void **state)
{
    (void)state;
    assert_null(mdq_blas_better_core("SkylakeX", AVX512));
    assert_null(mdq_blas_better_core("Cooperlake", AVX512));
    assert_null(mdq_blas_better_core("SAPPHIRERAPIDS", AVX512)); /* its spelling differs between versions */
    assert_null(mdq_blas_better_core("Haswell", AVX2));
    assert_null(mdq_blas_better_core("Zen", AVX2 | AMD));
    assert_null(mdq_blas_better_core("Prescott", OLD));
    assert_null(mdq_blas_better_core("Nehalem", OLD | AMD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cpu_taken_for_an_older_one_is_put_right),
        cmocka_unit_test(kernels_that_fit_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
