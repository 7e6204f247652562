# The demonstration on a few tokens: it prints its table, and GPTQ is nearer to the original than rounding.
# build: plain
load helpers

@test "the demo prints one row for each width and method, and GPTQ comes nearer than rounding" {
    unset MAKEFLAGS MFLAGS MAKELEVEL
    MDQ_DEMO=$BATS_TEST_TMPDIR/demo MDQ_DEMO_CALIB=8192 MDQ_DEMO_EVAL=8192 "$ROOT/examples/demo/run" >table 2>progress ||
        { cat progress; return 1; }
    cat table
    [ "$(grep -cE '^ +(16|4|3) ' table)" -eq 5 ]
    jq -nR -e '[inputs | split("\t") | {bits: .[0], method: .[1], kl: (.[5] | tonumber? // 0)}]
        | (map(select(.method == "rtn")) | map({(.bits): .kl}) | add) as $rtn
        | all(.[] | select(.method == "gptq"); .kl < $rtn[.bits])' "$BATS_TEST_TMPDIR/demo/rows"
}
setup() {
    cd "$BATS_TEST_TMPDIR"
}
