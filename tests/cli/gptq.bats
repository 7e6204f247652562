# mdq-gptq on small made-up models, with made-up Hessians: what it adds, what it leaves alone, what it refuses.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -q --hidden 96 --intermediate 288 --layers 2 -o m
    "$TOOLS/tests/tools/make-hessians" -q m -o h.mdq
    mdq-tile -q --tile 80 m -o t.mdq
    mdq-gptq -q --bits 4 --group 32 --sym --stats h.mdq t.mdq --report r.jsonl -o q.mdq
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -f out.mdq out.jsonl
}
Q=model.layers.0.self_attn.q_proj.weight
DOWN=model.layers.1.mlp.down_proj.weight
GATE=model.layers.1.mlp.gate_proj.weight

# refused STATUS 'PATTERN'... -- COMMAND: the status, every pattern in the message, and no output file
refused() {
    local want=$1 patterns=(); shift
    while [ "$1" != -- ]; do patterns+=("$1"); shift; done
    shift
    expect "$want" "$@"
    local p
    for p in "${patterns[@]}"; do
        [[ $output == *$p* ]] || { echo "no '$p' in: $output"; return 1; }
    done
    [ ! -e out.mdq ] && [ ! -e out.jsonl ]
    [ -z "$(ls -A | grep part)" ]
}
gptq() {
    mdq-gptq -q --bits 4 --group 32 --sym "$@" -o out.mdq
}
# faulty FAULT TENSOR
faulty() {
    "$TOOLS/tests/tools/make-hessians" -q m --fault "$1" --at "$2" -o bad.mdq
}
weights() { # STREAM: hash of the dense model made from it
    rm -rf dense
    mdq-pack -q --format dense --model m "$1" -o dense
    sha256sum <dense/model.safetensors
}

@test "adds its keys and leaves every other as it was" {
    mdq-check -q q.mdq
    diff <(mdq-view --stats t.mdq | jq -c 'select(.t) | del(.n)') \
        <(mdq-view --stats q.mdq | jq -c 'select(.t) | del(.n, .codes, .scales, .zeros, .qbits, .qgroup, .qsym, .qmethod, .qorder, .qreport, .md)')
    run bash -c "mdq-view q.mdq | jq -r 'select(.t == \"layer\") | [.qbits, .qgroup, .qsym, .qmethod, .qorder, .scales.dtype, has(\"zeros\")] | @tsv' | sort -u"
    [ "$output" = $'4\t32\ttrue\tgptq\tact\tf16\tfalse' ]
    [ "$(mdq-view q.mdq | jq -c 'select(.t == "tile") | .codes.dtype' | sort -u)" = '"u4"' ]
}
@test "unknown keys pass through byte for byte" {
    "$TOOLS/tests/tools/x-key" t.mdq odd.mdq
    gptq --stats h.mdq odd.mdq
    "$TOOLS/tests/tools/x-key" --verify odd.mdq out.mdq
    [ "$(weights out.mdq)" = "$(weights q.mdq)" ]
}
@test "a thin stream merged with its input is the full stream" {
    gptq --stats h.mdq t.mdq --thin
    [ "$(mdq-view out.mdq | jq -c 'select(has("w"))' | wc -l)" -eq 0 ]
    diff <(mdq-view --stats t.mdq out.mdq) <(mdq-view --stats q.mdq)
}
@test "the bytes do not depend on threads, or on files and pipes" {
    gptq --stats h.mdq t.mdq -j1 --report out.jsonl
    cmp out.mdq q.mdq
    cmp out.jsonl r.jsonl
    mdq-tile -q --tile 80 m | mdq-gptq -q -j2 --bits 4 --group 32 --sym --stats h.mdq >out.mdq
    cmp out.mdq q.mdq
}
@test "the way that W is cut into tiles changes nothing" {
    mdq-tile -q m | gptq --stats h.mdq
    [ "$(weights out.mdq)" = "$(weights q.mdq)" ]
}
@test "rounding agrees with an independent program, symmetric and not" {
    "$TOOLS/tests/tools/make-codes" -q --bits 3 --group 32 m -o other.mdq
    mdq-gptq -q --bits 3 --group 32 --sym --method rtn t.mdq -o out.mdq
    [ "$(weights out.mdq)" = "$(weights other.mdq)" ]
    "$TOOLS/tests/tools/make-codes" -q --bits 4 --group 96 --scale bf16 --asym m -o other.mdq
    mdq-gptq -q --bits 4 --group 96 --scale bf16 --method rtn t.mdq -o out.mdq
    [ "$(weights out.mdq)" = "$(weights other.mdq)" ]
}
@test "with the identity as Hessian GPTQ is rounding; with another it is not" {
    "$TOOLS/tests/tools/make-hessians" -q --identity m -o identity.mdq
    for p in float double; do
        gptq --stats identity.mdq --precision $p t.mdq
        same=$(weights out.mdq)
        gptq --method rtn t.mdq
        [ "$same" = "$(weights out.mdq)" ]
    done
    [ "$same" != "$(weights q.mdq)" ]
}
@test "options reach the codes: order, damping, precision, scale" {
    for o in '--order natural' '--damp 0.3' '--scale f32' '--scale bf16'; do
        gptq --stats h.mdq t.mdq $o
        [ "$(weights out.mdq)" != "$(weights q.mdq)" ]
        mdq-check -q out.mdq
    done
    gptq --stats h.mdq t.mdq --precision double --scale f64
    [ "$(mdq-view out.mdq | jq -r 'select(.t == "layer") | .scales.dtype' | sort -u)" = f64 ]
}
@test "every bit width and kind of group" {
    for b in 2 3 4 8; do
        mdq-gptq -q --bits $b --group row --stats h.mdq t.mdq -o out.mdq
        [ "$(mdq-view out.mdq | jq -r 'select(.t == "layer") | [.qbits, .zeros.dtype, (.qgroup == .shape[1])] | @tsv' | sort -u)" = "$b"$'\tu8\ttrue' ]
        mdq-pack -q --format dense --model m out.mdq -o dense
    done
}
@test "reports: GPTQ beats rounding, error is near its expectation, clipping is counted" {
    [ "$(wc -l <r.jsonl)" -eq 14 ]
    gptq --method rtn --stats h.mdq t.mdq --report out.jsonl
    jq -es '[.[] | select(.method == "gptq" and .tokens == 600 and .damp == 0.01 and .damp_tried == [0.01]
                          and .error_over_bound < 0.6 and .error_over_expected > 0.8
                          and .clipped > 0 and .clipped < 0.1)] | length == 14' r.jsonl
    jq -es '[.[0:14], .[14:]] | transpose | all(.[0].tensor == .[1].tensor and .[1].method == "rtn" and .[0].output_error < 0.85 * .[1].output_error)' r.jsonl out.jsonl
    diff <(mdq-view q.mdq | jq -cS 'select(.t == "layer") | .qreport') <(jq -cS 'del(.tensor)' r.jsonl)
}
@test "table with -v, one line of summary without, nothing with -q" {
    expect 0 mdq-gptq --bits 4 --group 32 --stats h.mdq t.mdq -o out.mdq
    [ "${#lines[@]}" -eq 1 ]
    [[ $output == *"14 layers: 14 by gptq, 0 by rtn; "*"% of codes clipped; worst: model.layers."* ]]
    expect 0 mdq-gptq -v --bits 4 --group 32 --stats h.mdq t.mdq -o out.mdq
    [ "$(grep -c '^model.layers' <<<"$output")" -eq 14 ]
    expect 0 gptq --stats h.mdq t.mdq
    [ -z "$output" ]
}
@test "statistics of the whole model serve a stream of one block" {
    mdq-tile -q --tile 80 --block 1 m -o t1.mdq
    gptq --stats h.mdq t1.mdq --report out.jsonl
    diff <(tail -n 7 r.jsonl) out.jsonl
}

@test "a group that does not divide the columns is refused before any work" {
    refused 1 "$Q" "96 columns" "groups of 64" "--ragged row" -- mdq-gptq -q --bits 4 --group 64 --stats h.mdq t.mdq -o out.mdq
}
@test "--ragged row gives such layers whole rows, and counts them" {
    expect 0 mdq-gptq --bits 4 --group 144 --ragged row --stats h.mdq t.mdq --report out.jsonl -o out.mdq
    [[ $output == *"12 with whole-row groups"* ]]
    jq -es 'all(.group == (if .cols == 288 then 144 else .cols end) and (.ragged // false) == (.cols != 288))' out.jsonl
}
@test "options that make no sense are usage errors" {
    refused 2 "--bits" -- mdq-gptq --group 32 --method rtn t.mdq -o out.mdq
    refused 2 "--group" -- mdq-gptq --bits 4 --method rtn t.mdq -o out.mdq
    refused 2 "--stats" -- mdq-gptq --bits 4 --group 32 t.mdq -o out.mdq
    refused 2 "2, 3, 4, 8" -- mdq-gptq --bits 5 --group 32 --method rtn t.mdq -o out.mdq
    refused 2 "16 to 1024" -- mdq-gptq --bits 4 --group 8 --method rtn t.mdq -o out.mdq
    refused 2 "--damp" -- gptq --damp nan --stats h.mdq t.mdq
    refused 2 "--order" -- gptq --order random --stats h.mdq t.mdq
}
@test "a layer without Hessian is named" {
    faulty missing $GATE
    refused 1 bad.mdq "no Hessian for layer $GATE" -- gptq --stats bad.mdq t.mdq
    faulty missing $DOWN # the last: the stream ends
    refused 1 bad.mdq "no Hessian for layer $DOWN" -- gptq --stats bad.mdq t.mdq
}
@test "panels that contradict each other or the layer are refused" {
    faulty panel $GATE
    refused 1 bad.mdq $GATE "50 of 96 rows" -- gptq --stats bad.mdq t.mdq
    faulty panel $DOWN
    refused 1 bad.mdq $DOWN "250 of 288 rows" -- gptq --stats bad.mdq t.mdq
    faulty order $GATE
    refused 1 bad.mdq $GATE "panel starts at row 51, expected row 50" -- gptq --stats bad.mdq t.mdq
    faulty count $GATE
    refused 1 bad.mdq $GATE "count 601" -- gptq --stats bad.mdq t.mdq
    faulty dim $GATE
    refused 1 bad.mdq $GATE "97 inputs" "96 columns" -- gptq --stats bad.mdq t.mdq
    faulty shape $GATE
    refused 1 bad.mdq $GATE "h is not f32" -- gptq --stats bad.mdq t.mdq
    faulty for $GATE
    refused 1 bad.mdq $GATE "not a list" -- gptq --stats bad.mdq t.mdq
    faulty no-kind $GATE
    refused 1 bad.mdq "holds no Hessians" -- gptq --stats bad.mdq t.mdq
}
@test "statistics of another model are refused" {
    "$TOOLS/tests/tools/make-model" -q --hidden 96 --intermediate 288 --layers 2 --seed 5 -o m2
    "$TOOLS/tests/tools/make-hessians" -q m2 -o bad.mdq
    refused 1 bad.mdq "statistics of model" -- gptq --stats bad.mdq t.mdq
}
@test "an indefinite Hessian is an error, or rounding when that was asked for" {
    faulty indefinite $GATE
    refused 1 $GATE "not positive definite" -- gptq --stats bad.mdq t.mdq --report out.jsonl
    expect 0 mdq-gptq --bits 4 --group 32 --sym --fallback rtn --stats bad.mdq t.mdq --report out.jsonl -o out.mdq
    [[ $output == *"warning: $GATE"*"not positive definite"*"falls back"* ]]
    [[ $output == *"14 layers: 12 by gptq, 2 by rtn (2 fell back)"* ]] # gate and up share the input
    jq -es --arg t $GATE 'map(select(.fallback)) | length == 2 and .[0].tensor == $t and .[0].method == "rtn"
                          and .[0].damp_tried == [0.01, 0.1, 1.0]' out.jsonl
    [ "$(mdq-view out.mdq | jq -c 'select(.qmethod == "rtn") | .id[0]' | wc -l)" -eq 2 ]
    # the others are as good as ever
    diff <(jq -c 'select(.method == "gptq")' out.jsonl | head -n 4) <(head -n 4 r.jsonl | jq -c .)
}
@test "damping that had to be raised is told and recorded" {
    faulty needs-damp $GATE
    expect 0 mdq-gptq --bits 4 --group 32 --sym --stats bad.mdq t.mdq --report out.jsonl -o out.mdq
    [[ $output == *"warning: $GATE: Hessian not positive definite with damping 0.01: raised to 0.1"* ]]
    [[ $output == *"damping raised in 2"* ]]
    jq -es --arg t $GATE 'map(select(.tensor == $t))[0] | .damp == 0.1 and .damp_tried == [0.01, 0.1]' out.jsonl
}
@test "an input that is always 0 is counted; a layer that nothing reached is an error" {
    faulty dead $GATE
    gptq --stats bad.mdq t.mdq --report out.jsonl
    jq -es --arg t $GATE 'map(select(.tensor == $t))[0].dead_inputs == 1' out.jsonl
    rm out.mdq out.jsonl
    faulty no-input $GATE
    refused 1 $GATE "no input reached" -- gptq --stats bad.mdq t.mdq
    gptq --stats bad.mdq t.mdq --fallback rtn --report out.jsonl
    jq -es 'map(select(.fallback == "no input in calibration")) | length == 2' out.jsonl
}
@test "truncated tiles, truncated statistics" {
    head -c 20000 t.mdq >short.mdq
    refused 3 short.mdq -- gptq --stats h.mdq short.mdq
    head -c -30 h.mdq >short.mdq
    refused 3 short.mdq -- gptq --stats short.mdq t.mdq
    mdq-head -q -n 3 t.mdq -o short.mdq
    refused 1 "$Q" "tile 0, 1 is missing" -- gptq --stats h.mdq short.mdq
}
@test "input that is no tiles, or is quantized already" {
    refused 1 "holds no tiles" -- gptq --stats h.mdq h.mdq
    refused 1 "$Q" "quantized already" -- gptq --stats h.mdq q.mdq
    refused 3 nothing.mdq -- gptq --stats h.mdq nothing.mdq
    refused 3 nothing.mdq -- gptq --stats nothing.mdq t.mdq
}
@test "an output that cannot be written" {
    expect 3 mdq-gptq -q --bits 4 --group 32 --stats h.mdq t.mdq -o /nowhere/out.mdq
    [[ $output == *"/nowhere/out.mdq"* ]]
    refused 3 /nowhere/r.jsonl -- gptq --stats h.mdq t.mdq --report /nowhere/r.jsonl
    expect 3 bash -c 'mdq-gptq -q --bits 4 --group 32 --stats h.mdq t.mdq >/dev/full'
    expect 3 bash -c 'mdq-gptq -q --bits 4 --group 32 --stats h.mdq t.mdq --report /dev/full -o out.mdq'
    [ ! -e out.mdq ]
}
