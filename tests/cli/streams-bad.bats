load ../helpers

# Every stream of tests/bad has one defect. mdq-check names it, readers refuse it, and nothing is left where their output
# would have been.

setup() {
    cd "$BATS_TEST_TMPDIR" || return 1
}

names() {
    sed -n 's/^\([a-z][^ ]*\) .*/\1/p' "$ROOT/tests/bad/expect"
}

@test "every bad stream is listed and every listed one is there" {
    diff <(names | sort) <(cd "$ROOT/tests/bad" && ls -- *.mdq | sed 's/\.mdq$//' | sort)
    [ "$(names | wc -l)" -gt 70 ]
}

@test "mdq-check says what is wrong, and its exit status tells" {
    while read -r name _; do
        run mdq-check "$ROOT/tests/bad/$name.mdq"
        got=$(sed -n 's/.*: bad (0x[0-9a-f]*): //p' <<<"$output" | tr ' ' ,)
        want=$(awk -v n="$name" '$1 == n { print $2 " " $3 }' "$ROOT/tests/bad/expect")
        [ "$status ${got:--}" = "$want" ] || { echo "$name: $status ${got:--}, want $want"; echo "$output"; return 1; }
    done < <(grep -v '^#' "$ROOT/tests/bad/expect")
}

@test "readers refuse bad streams with the status that fits, and leave no output" {
    while read -r name _ _ want; do
        run mdq-cat -o out.mdq "$ROOT/tests/bad/$name.mdq"
        [ "$status" -eq "$want" ] || { echo "$name: $status, want $want: $output"; return 1; }
        if [ "$want" -ne 0 ]; then
            [ ! -e out.mdq ] || { echo "$name: left an output"; return 1; }
            [[ $output == "mdq-cat: "*"$name.mdq: "* ]] || { echo "$name: $output"; return 1; }
            [ "$(ls)" = "" ] || { ls; return 1; }
        fi
        rm -f out.mdq
    done < <(grep -v '^#' "$ROOT/tests/bad/expect")
}

@test "a bad stream is refused from a pipe too, whatever the threads" {
    for name in flipped-bit-in-block truncated-in-block truncated-between-records trailing-second-stream value-key-twice; do
        want=$(awk -v n="$name" '$1 == n { print $4 }' "$ROOT/tests/bad/expect")
        for j in 1 2 5; do
            expect "$want" sh -c "mdq-cat -j $j < '$ROOT/tests/bad/$name.mdq' > out"
            expect "$want" sh -c "cat '$ROOT/tests/bad/$name.mdq' | mdq-view -j $j > out"
        done
    done
}

@test "arrays that contradict themselves are refused where they are looked at" {
    for name in array-unknown-dtype array-unknown-encoding array-too-short array-too-long array-shape-overflows \
        array-negative-size array-five-dimensions array-bytes-in-planes; do
        mdq-view "$ROOT/tests/bad/$name.mdq" >/dev/null
        expect 1 mdq-view --stats "$ROOT/tests/bad/$name.mdq"
        [[ $output == *"key w: "* ]] || [[ $output == *"an array"* ]] || { echo "$output"; return 1; }
    done
}

@test "the bad streams are those that their maker makes" {
    "$TOOLS/tests/tools/make-bad" .
    for f in "$ROOT"/tests/bad/*.mdq; do
        cmp "$f" "$(basename "$f")"
    done
}

@test "the quick check sees a missing end, and refuses what it cannot look at" {
    expect 0 mdq-check --quick "$ROOT/tests/bad/good.mdq"
    [[ $output == *": ok: 3 records, "* ]]
    for name in truncated-between-records truncated-in-end-record truncated-after-header; do
        expect 3 mdq-check --quick "$ROOT/tests/bad/$name.mdq"
    done
    expect 1 mdq-check --quick "$ROOT/tests/bad/header-newer-major.mdq"
    expect 2 sh -c "cat '$ROOT/tests/bad/good.mdq' | mdq-check --quick"
    # damage between header and end is what it does not see
    expect 0 mdq-check --quick "$ROOT/tests/bad/flipped-bit-in-block.mdq"
}

@test "mdq-check goes on behind a damaged frame, and behind a bad stream" {
    expect 1 mdq-check "$ROOT/tests/bad/flipped-bit-in-block.mdq" "$ROOT/tests/bad/good.mdq"
    [[ $output == *"good.mdq: ok: 3 records"* ]]
    [[ $output == *"1 of 2 streams"* ]]
    # 3 only when nothing worse than a missing end was found
    expect 3 mdq-check "$ROOT/tests/bad/truncated-in-block.mdq" "$ROOT/tests/bad/good.mdq"
    expect 1 mdq-check "$ROOT/tests/bad/truncated-in-block.mdq" "$ROOT/tests/bad/records-twice.mdq"
    expect 3 mdq-check no-such-file.mdq
}
