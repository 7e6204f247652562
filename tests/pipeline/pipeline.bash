# For the tests of pipelines that run with stand-ins: a model of four blocks, a text, and a log of calls.
setup_standins() {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p bin m
    for p in mdq-{tile,calib,lle,vae,label,score,gptq,pack,eval,hash,cat}; do cp "$ROOT/tests/pipeline/standin" bin/$p; done
    echo '{"num_hidden_layers": 4}' >m/config.json
    echo weights >m/model.safetensors
    echo tokens >m/tokenizer.json
    echo licence >m/LICENSE
    echo "some text" >text.txt
    export STANDIN_LOG=$PWD/log STANDIN_FAIL=$PWD/fail STANDIN_HANG=$PWD/hang
    unset MAKEFLAGS MFLAGS MAKELEVEL
    all=(MDQ_BIN="$PWD/bin" MODEL=m CALIB=text.txt OUT=q)
}
quantize() { make -f "$ROOT/pipelines/${pipeline:-quantize}.mk" "${all[@]}" "$@"; }

# ran NAME=VALUE... -- STAGE:TIMES...: makes, then checks how often each program was called; others not at all.
ran() {
    local args=()
    while [ "$1" != -- ]; do args+=("$1"); shift; done
    shift
    : >log
    quantize "${args[@]}" >make.log 2>&1 || { cat make.log; return 1; }
    # Blocks, not calls: a run without statistics only brings activations.
    got=$(grep -v -e --no-stats -e '^mdq-cat ' log | sed 's/^mdq-calib .*--gradients .*/gradients/; s/ .*//; s/^mdq-//' | sort | uniq -c | awk '{ printf "%s:%d ", $2, $1 }')
    want=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
    [ "${got% }" = "${want% }" ] || [ "$got" = "$want" ] || { echo "ran: $got, want: $want"; cat log make.log; return 1; }
}
