# Failed, killed and concurrent runs: nothing partial under a final name, and the next run goes on where it was.
# build: plain
load ../helpers
load pipeline

setup() {
    setup_standins
    quantize OUT=whole WORK=whole-work
    : >log
}
# No file of the work folder is partial: each that exists under a final name is as in a run that was not disturbed.
nothing_partial() {
    local f
    for f in $(cd work && find . -name 'block-*.mdq' -o -name 'acts-*.mdq'); do
        [[ $f == */acts-* ]] || cmp "work/$f" "whole-work/$f"
        [[ $f != */acts-* ]] || grep -q '^acts .* [0-9a-f]\{32\}$' "work/$f"
    done
}
same_as_whole() { diff -r q whole; diff -r <(cd work && find . -name '*.mdq' | sort) <(cd whole-work && find . -name '*.mdq' | sort); }

@test "a stage that fails stops make, leaves no output, and the next run does the rest only" {
    for at in "mdq-tile m --block 2" "mdq-calib --block 1" "mdq-gptq" "mdq-pack"; do
        rm -rf work q
        case $at in
        "mdq-tile m"*) echo "-j 2 m --block 2" ;; "mdq-calib"*) echo "--block 1 " ;;
        *) echo "$at" ;;
        esac >fail
        run quantize
        [ "$status" -ne 0 ]
        [[ $output == *"failed as told"* ]]
        [ ! -e q ]
        nothing_partial
        done_before=$(find work -name 'block-*.mdq' | wc -l)
        rm fail
        : >log
        quantize
        same_as_whole
        [ $(($(grep -cE '^mdq-(calib|gptq) .* -o ' log) + done_before)) -eq 8 ]
    done
}
@test "kill -9 in the middle of any stage: nothing passes for finished, and the rest is made" {
    for at in "--block 2 --acts-in" "--block 2 --memo" mdq-gptq mdq-pack; do
        rm -rf work q hang.reached
        echo "$at" >hang
        setsid make -f "$ROOT/pipelines/quantize.mk" "${all[@]}" >make.log 2>&1 &
        pid=$!
        for ((i = 0; i < 300; i++)); do
            [ ! -e hang.reached ] || break
            sleep 0.02
        done
        [ -e hang.reached ] || { cat make.log log; false; }
        kill -9 -- -$pid
        wait $pid || true
        [ ! -e q ]
        nothing_partial
        run quantize -q
        [ "$status" -eq 1 ]
        rm hang
        quantize
        same_as_whole
    done
}
@test "an interrupt ends make with an error and leaves nothing partial" {
    echo "mdq-gptq" >hang
    setsid make -f "$ROOT/pipelines/quantize.mk" "${all[@]}" >make.log 2>&1 &
    pid=$!
    for ((i = 0; i < 300; i++)); do
        [ ! -e hang.reached ] || break
        sleep 0.02
    done
    kill -TERM -- -$pid
    run wait $pid
    [ ! -e q ]
    nothing_partial
    rm hang
    quantize
    same_as_whole
}
@test "-j1 and -j4 make the same, sequential or not" {
    rm -rf work q
    quantize -j4
    same_as_whole
    quantize SEQUENTIAL=1 WORK=s1 OUT=qs1
    quantize SEQUENTIAL=1 WORK=s4 OUT=qs4 -j4
    diff -r qs1 qs4
}
@test "jobs times threads is at most the number of cores" {
    cores=$(nproc)
    rm -rf work q
    quantize -j1
    grep -q -e "mdq-gptq.* -j $cores " log
    rm -rf work q
    : >log
    quantize -j"$cores"
    [ -z "$(grep -v -e '-j 1 ' log)" ]
    rm -rf work q
    : >log
    quantize THREADS=7
    [ -z "$(grep -v -e '-j 7 ' log)" ]
}
@test "callable from any directory, with paths from there" {
    rm -rf work q
    mkdir -p sub/dir
    cd sub/dir
    make -f "$ROOT/pipelines/quantize.mk" MDQ_BIN=../../bin MODEL=../../m/ CALIB=../../text.txt OUT=../../q WORK=../../work/
    cd ../..
    same_as_whole
    cd /
    make -f "$ROOT/pipelines/quantize.mk" MDQ_BIN="$BATS_TEST_TMPDIR/bin" MODEL="$BATS_TEST_TMPDIR/m" \
        CALIB="$BATS_TEST_TMPDIR/text.txt" OUT="$BATS_TEST_TMPDIR/q" WORK="$BATS_TEST_TMPDIR/work" -q
}
