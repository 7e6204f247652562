load ../helpers

# mdq-view, mdq-cat, mdq-head and what every stage does with streams. The golden streams' texts were compared with an
# independent decoder (tests/golden/decode.py).

setup() {
    cd "$BATS_TEST_TMPDIR" || return 1
    G=$ROOT/tests/golden
}

tiles() { # OUT [OPTION...]: a tile stream of a small random model
    local out=$1; shift
    [ -d model ] || "$TOOLS/tests/tools/make-model" --hidden 64 --intermediate 300 --layers 3 --dtype bf16 -o model
    mdq-tile model -o "$out" "$@"
}

@test "golden streams decode to what they always were" {
    for f in types other-writer future-minor no-records; do
        expect 0 mdq-check "$G/$f.mdq"
        diff <(mdq-view --header "$G/$f.mdq") "$G/$f.header"
        diff <(mdq-view --stats "$G/$f.mdq") "$G/$f.jsonl"
    done
}

@test "an independent decoder agrees" {
    need python3
    need zstd
    for f in types other-writer future-minor no-records; do
        python3 "$G/decode.py" "$G/$f.mdq" "$G/$f"
    done
}

@test "what the library writes today, the independent decoder reads" {
    need python3
    need zstd
    tiles t.mdq
    mdq-view --header t.mdq >t.header
    mdq-view --stats t.mdq >t.jsonl
    [ "$(wc -l <t.jsonl)" -gt 20 ]
    python3 "$G/decode.py" t.mdq t
}

@test "unknown keys pass mdq-cat byte for byte, thick and thin, from other writers too" {
    "$TOOLS/tests/tools/x-key" "$G/types.mdq" x.mdq
    mdq-cat x.mdq -o y.mdq
    "$TOOLS/tests/tools/x-key" --verify x.mdq y.mdq
    cmp x.mdq y.mdq
    mdq-head -n 1000 x.mdq | mdq-cat --level 7 >z.mdq
    "$TOOLS/tests/tools/x-key" --verify x.mdq z.mdq
    for f in other-writer future-minor types; do
        mdq-cat "$G/$f.mdq" -o y.mdq
        "$TOOLS/tests/tools/x-key" --verify "$G/$f.mdq" y.mdq
    done
    # the verifier does see a change
    mdq-cat --thin x.mdq -o thin.mdq
    expect 1 "$TOOLS/tests/tools/x-key" --verify x.mdq thin.mdq
    [[ $output == *"key "*" is lost"* ]]
    "$TOOLS/tests/tools/x-key" --verify --thin x.mdq thin.mdq
    expect 1 "$TOOLS/tests/tools/x-key" --verify x.mdq "$G/types.mdq"
}

@test "unknown keys pass every stage that reads records" {
    tiles t.mdq
    "$TOOLS/tests/tools/x-key" t.mdq x.mdq
    mdq-gptq --bits 4 --group row --sym --method rtn -q x.mdq -o q.mdq
    "$TOOLS/tests/tools/x-key" --verify x.mdq q.mdq
    mdq-gptq --bits 4 --group row --sym --method rtn -q --thin x.mdq -o thin.mdq
    "$TOOLS/tests/tools/x-key" --verify --thin x.mdq thin.mdq
    mdq-cat x.mdq thin.mdq -o merged.mdq
    cmp q.mdq merged.mdq
}

@test "cut into blocks and joined again a stream is what it was" {
    tiles t.mdq
    for b in 0 1 2; do
        tiles b$b.mdq --block $b 2>/dev/null || skip "mdq-tile has no --block"
    done
    mdq-cat b2.mdq b0.mdq b1.mdq -o joined.mdq
    cmp <(mdq-view t.mdq) <(mdq-view joined.mdq)
}

@test "the same bytes whatever the threads; the level changes the size alone" {
    tiles t.mdq
    for j in 1 2 3; do
        mdq-cat -j $j t.mdq -o $j.mdq
    done
    cmp 1.mdq 2.mdq
    cmp 1.mdq 3.mdq
    mdq-cat --level 9 t.mdq -o 9.mdq
    mdq-cat --level -5 t.mdq -o -5.mdq
    cmp <(mdq-view --stats 9.mdq) <(mdq-view --stats ./-5.mdq)
    ! cmp -s 9.mdq 1.mdq
    mdq-cat 9.mdq -o back.mdq
    cmp back.mdq 1.mdq
}

@test "plain cat of two streams is detected, and says what to use" {
    cat "$G/types.mdq" "$G/no-records.mdq" >both.mdq
    expect 1 mdq-view both.mdq
    [[ $output == *"mdq-cat"* ]]
}

@test "one block taken out of a stream is what it was before it was joined" {
    tiles t.mdq
    for b in 0 1 2; do
        tiles b$b.mdq --block $b
        mdq-cat --block $b t.mdq -o cut.mdq
        cmp b$b.mdq cut.mdq
    done
    # of several inputs too, and what belongs to no layer of the table stays out
    mdq-gptq --bits 4 --group row --sym --method rtn -q --thin t.mdq -o q.mdq
    mdq-gptq --bits 4 --group row --sym --method rtn -q --thin b1.mdq -o q1.mdq
    cmp <(mdq-cat --block 1 t.mdq q.mdq | mdq-view) <(mdq-cat b1.mdq q1.mdq | mdq-view)
    mdq-cat --block 2 q.mdq | mdq-view --header | jq -e '[.layers[][5]] == [2, 2, 2, 2, 2, 2, 2]'
    # a block of a block
    mdq-cat --block 1 b1.mdq | cmp - b1.mdq
}

@test "a block that is not there, or a stream cut short behind it, is an error that leaves no file" {
    tiles t.mdq
    expect 1 mdq-cat --block 3 t.mdq -o cut.mdq
    [[ $output == *"no block 3 in the stream: its layers are of blocks 0 to 2"* ]]
    tiles b1.mdq --block 1
    expect 1 mdq-cat --block 0 b1.mdq -o cut.mdq
    [[ $output == *"no block 0 in the stream: its layers are of blocks 1 to 1"* ]]
    head -c $(($(stat -c %s t.mdq) - 100)) t.mdq >short.mdq
    run mdq-cat --block 0 short.mdq -o cut.mdq
    [ "$status" -ne 0 ]
    [ ! -e cut.mdq ]
    expect 2 mdq-cat --block -1 t.mdq -o cut.mdq
    expect 2 mdq-cat --block one t.mdq -o cut.mdq
}

@test "inputs that do not belong together are refused by name" {
    tiles t.mdq
    expect 1 mdq-cat t.mdq "$G/types.mdq" -o out.mdq
    [[ $output == *"t.mdq and $G/types.mdq do not belong together: of another model"* ]]
    [ ! -e out.mdq ]
    mdq-head -n 3 t.mdq -o part.mdq
    expect 1 mdq-view t.mdq part.mdq
    [[ $output == *"has no partner in part.mdq"* ]]
    mdq-cat t.mdq part.mdq -o whole.mdq
    cmp <(mdq-view t.mdq) <(mdq-view whole.mdq)
    expect 2 sh -c "mdq-cat - - < t.mdq > out"
    [[ $output == *"named twice"* ]]
}

@test "a key with two values is refused, and both files are named" {
    tiles a.mdq
    mdq-gptq --bits 4 --group row --sym --method rtn -q --thin a.mdq -o 4.mdq
    mdq-gptq --bits 3 --group row --sym --method rtn -q --thin a.mdq -o 3.mdq
    expect 1 mdq-cat 4.mdq 3.mdq -o out.mdq
    [[ $output == *"4.mdq: record 0: layer "*": has another value in 3.mdq"* ]]
}

@test "mdq-head keeps a prefix that is a whole stream" {
    tiles t.mdq
    mdq-head -n 5 t.mdq -o h.mdq
    mdq-check -q h.mdq
    cmp <(mdq-view h.mdq) <(mdq-view t.mdq | sed 5q)
    mdq-head -n 0 t.mdq | mdq-check -q
    [ "$(mdq-view --header h.mdq | jq -r '.prov[-1].prog')" = mdq-head ]
    [ "$(mdq-head -n 5 --no-pg t.mdq | mdq-view --header | jq -r '.prov[-1].prog')" = mdq-tile ]
}

@test "mdq-view prints JSON that other programs read, and totals" {
    tiles t.mdq
    mdq-view t.mdq | jq -es 'length > 10 and all(.[]; .t and (.id | length) == 3)' >/dev/null
    mdq-view --stats t.mdq | jq -es '.[-1].totals.records == length - 1' >/dev/null
    mdq-view --stats t.mdq | jq -es 'map(select(.t == "tile")) | all(.[]; .w.min <= .w.mean and .w.mean <= .w.max)' >/dev/null
    mdq-view --header t.mdq | jq -e '.layers | length == 21' >/dev/null
}

@test "a full disk and a missing file are I/O errors, and a closed pipe ends quietly" {
    tiles t.mdq
    expect 3 sh -c "mdq-cat t.mdq > /dev/full"
    [[ $output == *"No space left on device"* ]]
    expect 3 mdq-cat no-such.mdq -o out.mdq
    [[ $output == *"no-such.mdq"* ]]
    expect 3 mdq-cat t.mdq -o no-folder/out.mdq
    run bash -c "set -o pipefail; mdq-cat t.mdq t.mdq | true"
    [ "$status" -eq 141 ] || [ "$status" -eq 0 ]
    expect 0 bash -c "mdq-view t.mdq | head -1 >/dev/null"
}

@test "streams are not written to a terminal, nor read from one" {
    need script
    script -qec true /dev/null >/dev/null 2>&1 </dev/null || skip "no pseudo-terminals here"
    tiles t.mdq
    run script -qec "mdq-cat t.mdq" /dev/null
    [ "$status" -eq 2 ]
    [[ $output == *terminal* ]]
    run script -qec "mdq-view" /dev/null
    [ "$status" -eq 2 ]
    [[ $output == *terminal* ]]
}
