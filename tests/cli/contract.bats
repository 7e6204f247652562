# What every program promises alike.
load ../helpers
setup() { cd "$BATS_TEST_TMPDIR"; }

@test "every program has the shared options, in --help" {
    for p in "$BIN"/mdq-*; do
        help=$("$p" --help)
        for option in --output --jobs --seed --quiet --verbose --progress --version; do
            [[ $help == *" $option"* ]] || [[ $help == *"$option"[=,\ ]* ]] || { echo "${p##*/} lacks $option"; return 1; }
        done
    done
}

@test "--help and --version exit 0 on standard output, misuse 2 on standard error" {
    for p in "$BIN"/mdq-*; do
        "$p" --help 2>err | grep -q Usage && [ ! -s err ]
        "$p" -h 2>err | grep -q Usage
        "$p" --version 2>err | grep -q "^${p##*/} (mdq)"
        expect 2 "$p" --no-such-option
        expect 2 "$p" -j 0
        expect 2 "$p" --seed -1
    done
}

@test "mdq-check -o writes its findings to a file" {
    mdq-check -o report "$ROOT/tests/golden/types.mdq"
    grep -q 'ok:' report
    expect 1 mdq-check -o report "$ROOT/tests/bad/records-twice.mdq"
    grep -q 'bad' report
}

@test "OpenBLAS kernels: the user's choice is left alone, and -v says what runs" {
    "$TOOLS/tests/tools/make-model" -o tiny --hidden 32 --intermediate 64 --layers 1 --heads 4 --vocab 258 --ctx 32
    printf '%0100d' 7 >text
    OPENBLAS_CORETYPE=Prescott mdq-eval ppl -v --model tiny --text text --ctx 32 2>said >one
    grep -q 'Prescott (OPENBLAS_CORETYPE as given)' said
    env -u OPENBLAS_CORETYPE mdq-eval ppl -v --model tiny --text text --ctx 32 2>said >two
    grep -q 'OpenBLAS kernels: ' said
    [ "$(grep -c 'starting again' said)" -le 1 ]
    ! grep -q 'as given' said
}
