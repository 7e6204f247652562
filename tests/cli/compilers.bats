# Every source compiles without a warning with gcc, and with clang where that is installed.
load ../helpers

@test "no warnings, with each compiler that is here" {
    cd "$ROOT"
    flags() { (unset MAKEFLAGS MFLAGS MAKELEVEL CI; make -s CC="$1" WERROR=1 print-ALL_CPPFLAGS print-WARN); }
    # clang's own omp.h comes with its OpenMP; the interface is the same.
    ln -s "$(gcc -print-file-name=include/omp.h)" "$BATS_TEST_TMPDIR/omp.h"
    for cc in gcc clang; do
        command -v $cc >/dev/null || continue
        # shellcheck disable=SC2046
        eval "set -- $(flags $cc | tr '\n' ' ')"
        find common formats stages tests examples bench -name '*.c' ! -path 'tests/fault/*' -print0 |
            xargs -0 -n 8 -P 2 $cc "$@" -std=c11 -fopenmp -march=native -O1 -fsyntax-only -idirafter "$BATS_TEST_TMPDIR"
    done
}
