# The demonstration on a few tokens and records: it prints its tables, GPTQ is nearer to the original than rounding, and what is made
# selectively has the size of what is made plainly and tells an attacker less.
# build: plain
load helpers

@test "the demo prints one row for each width and method, and GPTQ comes nearer than rounding" {
    unset MAKEFLAGS MFLAGS MAKELEVEL
    MDQ_DEMO=$BATS_TEST_TMPDIR/demo MDQ_DEMO_CALIB=8192 MDQ_DEMO_EVAL=8192 MDQ_DEMO_RECORDS=120 "$ROOT/examples/demo/run" >table 2>progress ||
        { cat progress; return 1; }
    cat table
    [ "$(grep -cE '^ +(16|4|3) ' table)" -eq 5 ]
    jq -nR -e '[inputs | split("\t") | {bits: .[0], method: .[1], kl: (.[5] | tonumber? // 0)}]
        | (map(select(.method == "rtn")) | map({(.bits): .kl}) | add) as $rtn
        | all(.[] | select(.method == "gptq"); .kl < $rtn[.bits])' "$BATS_TEST_TMPDIR/demo/rows"
    cd "$BATS_TEST_TMPDIR/demo/compare"
    size() { stat -c %s "$1"/model.safetensors; }
    [ "$(size plain)" -eq "$(size selective)" ]
    grep -q '^sensitive: ' selective/mdq-score.txt
    advantage() { # MODEL: of the best attack on members given
        "$BIN/mdq-eval" mia -q --model "$1" --members ../given.jsonl --nonmembers ../nonmembers.jsonl |
            jq 'select(.attack == "best" and .repeats == null and .metric == "mia").advantage'
    }
    jq -n -e --argjson plain "$(advantage plain)" --argjson selective "$(advantage selective)" '$selective < 0.75 * $plain'
}
setup() {
    cd "$BATS_TEST_TMPDIR"
}
