#!/usr/bin/env bats
load ../helpers

@test "a file's hash stands before its path, and a copy has the same" {
    echo some text >"$BATS_TEST_TMPDIR/a"
    cp "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
    expect 0 mdq-hash "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
    [[ ${lines[0]} =~ ^[0-9a-f]{32}\ \ $BATS_TEST_TMPDIR/a$ ]]
    [ "${lines[0]%% *}" = "${lines[1]%% *}" ]
}

@test "with a memo nothing is read twice" {
    "$TOOLS/tests/tools/make-model" -q -o "$BATS_TEST_TMPDIR/m" --shards 3
    sleep 0.1
    expect 0 mdq-hash -v --memo "$BATS_TEST_TMPDIR/memo" --model "$BATS_TEST_TMPDIR/m"
    [[ $output == *"reading to hash"* ]]
    first=${lines[-1]}
    expect 0 mdq-hash -v --memo "$BATS_TEST_TMPDIR/memo" --model "$BATS_TEST_TMPDIR/m"
    [ "$output" = "$first" ]
    expect 0 mdq-hash --model "$BATS_TEST_TMPDIR/m"
    [ "$output" = "$first" ]
}

@test "a missing file fails, names itself and leaves no output file" {
    expect 3 mdq-hash -o "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/nothing"
    [[ $output == "mdq-hash: $BATS_TEST_TMPDIR/nothing: cannot read: No such file or directory" ]]
    [ ! -e "$BATS_TEST_TMPDIR/out" ]
}

@test "nothing to hash is misuse" {
    expect 2 mdq-hash
}

@test "a memo that cannot be written is a warning, not a failure" {
    echo some text >"$BATS_TEST_TMPDIR/a"
    touch -d 2001-01-01 "$BATS_TEST_TMPDIR/a"
    expect 0 mdq-hash --memo "$BATS_TEST_TMPDIR/no/such/folder/memo" "$BATS_TEST_TMPDIR/a"
    [[ $output == *warning*"not remembered"* ]]
}
