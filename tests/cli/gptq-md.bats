# Manifold distortion in mdq-gptq: measured on every basis, constraints met, misses listed.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -q --hidden 96 --intermediate 144 --layers 1 -o m
    tr -dc 'a-z \n' <"$ROOT/README.md" >text.txt
    mdq-calib -q --model m --text text.txt --tokens 1024 --ctx 64 -o h.mdq
    mdq-tile -q --tile 64 m -o t.mdq
    mdq-lle -q --thin t.mdq -o l.mdq
    mdq-vae -q --thin --epochs 4 t.mdq l.mdq -o v.mdq
    mdq-label -q --thin --functional . --sensitive . --share 10,5 t.mdq -o lab.mdq
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -f out.mdq
}
gptq() { # ARGS...: 4 bits, groups of 16
    mdq-gptq -q --group 16 --sym "$@"
}
basis() { mdq-view "$1" | jq -r 'select(.t == "layer") | .qreport.md.basis' | sort -u; }

@test "the basis is what the stream has: none, neighbours, charts" {
    gptq --bits 4 --method rtn t.mdq -o out.mdq
    [ "$(basis out.mdq)" = none ]
    mdq-view out.mdq | jq -se '[.[] | select(.t == "tile") | .md.shape == [.w.shape[0]]] | all'
    gptq --bits 4 --method rtn t.mdq l.mdq -o out.mdq
    [ "$(basis out.mdq)" = lle ]
    gptq --bits 4 --method rtn t.mdq l.mdq v.mdq -o out.mdq
    [ "$(basis out.mdq)" = chart ]
    [ "$(mdq-view out.mdq | jq -c 'select(has("md_status"))' | wc -l)" -eq 0 ]
}
@test "without a basis it is the relative error: its mean square over points of one length is the weight error" {
    gptq --bits 3 --method rtn t.mdq -o out.mdq --report r.jsonl
    # every point has nearly the same norm in a random model
    jq -se 'all((.md.all.q50 / .weight_error) > 0.95 and (.md.all.q50 / .weight_error) < 1.05)' r.jsonl
}
@test "constraints are met at 4 and 3 bits, by GPTQ and by rounding, and nothing is relabelled" {
    for bits in 4 3; do
        for method in gptq rtn; do
            gptq --bits $bits --method $method --stats h.mdq t.mdq v.mdq lab.mdq -o out.mdq --report r.jsonl
            mdq-check -q out.mdq
            # from the tiles' own keys
            mdq-view out.mdq >view
            jq -se '([.[].md.functional.missed, .[].md.sensitive.missed] | map(. // 0) | add) as $missed |
                ([.[].md.functional.met, .[].md.sensitive.met] | map(. // 0) | add) as $met | $missed <= $met / 20' r.jsonl
        done
    done
    diff <(mdq-view --stats out.mdq | jq -c 'select(.t == "tile") | [.label, .md_target]') \
        <(mdq-view --stats lab.mdq | jq -c 'select(.t == "tile") | [.label, .md_target]')
}
@test "what misses is listed with its value and the reason; the summary counts both" {
    expect 0 mdq-gptq --group 16 --sym --bits 2 --stats h.mdq --restarts 0 t.mdq v.mdq lab.mdq -o out.mdq --report r.jsonl
    [[ $output =~ ([0-9]+)\ distortion\ constraints\ met,\ ([0-9]+)\ missed ]]
    met=${BASH_REMATCH[1]} missed=${BASH_REMATCH[2]}
    [ "$(jq -s '[.[].md.list // [] | length] | add' r.jsonl)" -eq "$missed" ]
    [ "$(jq -s '[.[].md.list[]? | .reason, .md, .target] | any(. == null)' r.jsonl)" = false ]
    [ "$(mdq-view --table md out.mdq | tail -n 1 | grep -c .)" -eq 1 ]
    [ $((met + missed)) -gt 0 ]
    # off: the same codes as without labels
    gptq --bits 2 --stats h.mdq --md-constraints off t.mdq v.mdq lab.mdq -o out.mdq
    gptq --bits 2 --stats h.mdq t.mdq v.mdq -o plain.mdq
    diff <(mdq-view --stats out.mdq | jq -c '[.codes, .scales]') <(mdq-view --stats plain.mdq | jq -c '[.codes, .scales]')
}
@test "the bytes do not depend on threads" {
    gptq -j1 --bits 3 --stats h.mdq t.mdq v.mdq lab.mdq -o out.mdq
    gptq -j2 --bits 3 --stats h.mdq t.mdq v.mdq lab.mdq -o out2.mdq
    cmp out.mdq out2.mdq
}
@test "labels without statistics are refused" {
    expect 1 mdq-gptq --bits 4 --group 16 --sym --method rtn t.mdq lab.mdq -o out.mdq
    [[ $output == *"constraints need --stats"* ]]
    [ ! -e out.mdq ]
    gptq --bits 4 --method rtn --md-constraints off t.mdq lab.mdq -o out.mdq
}
@test "the exported model is that of the constrained codes" {
    gptq --bits 3 --stats h.mdq t.mdq v.mdq lab.mdq -o out.mdq
    mdq-pack -q --model m --format dense -o packed out.mdq
    mdq-eval ppl -q --model packed --text text.txt --ctx 64 | jq -e '.value > 1'
}
