# The runner itself: what it counts as passed, failed and skipped.
load ../helpers

setup() {
    mkdir -p "$BATS_TEST_TMPDIR/tests" && cd "$BATS_TEST_TMPDIR"
    cp "$ROOT/tests/run" tests/run
    mkdir -p tests/cli bin build/check
    cp "$ROOT/tests/helpers.bash" tests/
    # Builds nothing, prints a name for any print- goal.
    printf '#!/bin/sh\necho build\n' >fake-make && chmod +x fake-make
    printf '#!/bin/sh\necho "ok 1 - style"; echo 1..1\n' >tests/style && chmod +x tests/style
}
counts() { # TESTS EXPECTED: the last line of a run over one .bats file
    printf '%s\n' "${1//TEST/@test}" >tests/cli/it.bats
    MDQ_MAKE=./fake-make run tests/run it.bats
    [ "${lines[-1]}" = "$2" ] || { echo "$output"; return 1; }
}

@test "passed tests are counted and the status is 0" {
    counts 'TEST a { true; }
TEST b { true; }' "2 passed, 0 failed"
    [ "$status" -eq 0 ]
}
@test "a failed test makes the status non-zero" {
    counts 'TEST a { true; }
TEST b { false; }' "1 passed, 1 failed"
    [ "$status" -ne 0 ]
}
@test "a skipped test is counted as skipped, not as passed" {
    counts 'TEST a { skip "no such thing"; }
TEST b { true; }' "1 passed, 0 failed, 1 skipped"
    [ "$status" -eq 0 ]
    [[ $output == *"no such thing"* ]]
}
@test "a file that does not parse is a failure" {
    counts 'TEST a { if; }' "0 passed, 1 failed"
    [ "$status" -ne 0 ]
}
@test "a name that matches no test is a failure" {
    MDQ_MAKE=./fake-make expect 1 tests/run no-such-test
}
@test "a build that fails is a failure with a count" {
    printf '#!/bin/sh\nexit 2\n' >fake-make
    MDQ_MAKE=./fake-make expect 1 tests/run
    [ "${lines[-1]}" = "0 passed, 1 failed" ]
}
@test "a skipped unit test is counted as skipped, as cmocka words it" {
    printf '#!/bin/sh\necho 1..2; echo "ok 1 - a"; echo "not ok 2 # SKIP b"\n' >tests/style
    MDQ_MAKE=./fake-make expect 0 tests/run style
    [ "${lines[-1]}" = "1 passed, 0 failed, 1 skipped" ]
}
