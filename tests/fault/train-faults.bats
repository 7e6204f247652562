# mdq-train on a full disk, with failing calls and failing allocations: never status 0 without the whole model, never a
# crash, and a checkpoint that is there is a whole one.
# build: plain
load ../helpers

SHIM=$TOOLS/tests/fault/mdq_fault.so

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" --layers 1 --hidden 32 --intermediate 48 --heads 2 --kv-heads 1 --vocab 300 -o m
    for i in {1..40}; do echo "line $i of a text to be trained on"; done >text
    # The kernels are chosen here, so that the program does not start itself again and a fault at its start is one in it.
    train good -v 2>&1 | sed -n 's/.*OpenBLAS kernels: \([A-Za-z0-9]*\).*/\1/p' >kernels
    [ -s good/model.safetensors ]
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    export OPENBLAS_CORETYPE=$(cat kernels)
}
train() { # OUT [OPTION...]
    mdq-train --config m --text text --batch 2 --ctx 16 --steps 4 --save-every 2 --log-every 1 -j 1 -o "$@"
}
calls() { # CALL: how many such calls a run makes
    rm -rf result* counted
    LD_PRELOAD=$SHIM FAULT=$1:EIO:1000000000 FAULT_COUNT=$PWD/counted train result -q >/dev/null
    tail -n 1 counted
}
# Fails the given call at up to 30 places, spread evenly from the first to the last.
everywhere() { # CALL HOW
    local n=$(calls "$1") step at status
    [ "$n" -gt 0 ]
    step=$(((n + 29) / 30))
    for ((at = 1; at <= n; at += step)); do
        rm -rf result* .result*
        status=0
        LD_PRELOAD=$SHIM FAULT=$1:$2:$at train result -q >/dev/null 2>stderr || status=$?
        if [ $status -eq 0 ]; then
            diff -r result good || { echo "$1 $at of $n: status 0 without the result"; return 1; }
        else
            [ $status -le 5 ] && [ -s stderr ] || { echo "$1 $at of $n: status $status"; cat stderr; return 1; }
            [ ! -e result ] || { echo "$1 $at of $n: status $status and a result"; return 1; }
        fi
        if [ -e result.checkpoint ]; then
            rm -rf resumed && cp -r result.checkpoint whole
            train resumed -q --resume --checkpoint whole >/dev/null
            diff -r resumed good || { echo "$1 $at of $n: the checkpoint is not whole"; return 1; }
            rm -rf whole
        fi
    done
}

@test "a full disk, wherever it is met" { everywhere write ENOSPC; }
@test "files that cannot be created" { everywhere open EACCES; }
@test "names that cannot be taken" { everywhere rename EACCES; }
@test "data that cannot be flushed" { everywhere fsync EIO; }
@test "reading that fails" { everywhere read EIO; }
@test "memory that runs out" { everywhere malloc ENOMEM; }
@test "calls that are interrupted or short change nothing" {
    for how in EINTR short; do
        rm -rf result*
        LD_PRELOAD=$SHIM FAULT=write:$how:1 train result -q >/dev/null
        diff -r result good
    done
}
