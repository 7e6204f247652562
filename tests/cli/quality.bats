# build: plain
# What rounding and GPTQ do to real models, against values that an independent implementation computed with the same
# protocol: double arithmetic, unrounded scales, dense export (reference.json). bench/quality.sh shows all of it.
load ../helpers

setup_file() {
    [ -d "$DATA/models" ] || return 0
    cd "$BATS_FILE_TMPDIR"
    jq -Rrs '.[0:60000]' "$DATA/text/tinystories-eval.txt" | head -c -1 >eval.txt
    for model in stories260k babyllama105; do
        mdq-calib --model "$DATA/models/$model" --text "$DATA/text/tinystories-calib.txt" --tokens 16384 \
            --ctx "$(ctx $model)" -o $model.stats
        mdq-tile "$DATA/models/$model" -o $model.tiles
    done
}
setup() { need_data; cd "$BATS_FILE_TMPDIR"; }

ctx() { [ "$1" = stories260k ] && echo 512 || echo 256; }
# perplexity MODEL METHOD BITS GPTQ_OPTIONS...
perplexity() {
    local model=$1 method=$2 bits=$3; shift 3
    mdq-gptq -q --bits "$bits" --group 32 --ragged row --sym --method "$method" --stats "$model.stats" "$@" "$model.tiles" |
        mdq-pack -q --model "$DATA/models/$model" --format dense -o "out-$method-$bits"
    mdq-eval ppl --model "out-$method-$bits" --text eval.txt --ctx "$(ctx "$model")" | jq .value
    rm -rf "out-$method-$bits"
}
reference() { jq ".[\"quantized, independent implementation\"].$1.$2[\"$3\"]" "$DATA/reference.json"; }
within() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a / b - 1; exit !(d <= t && d >= -t) }'; }

check_bits() { # BITS
    local model rtn gptq
    for model in stories260k babyllama105; do
        rtn=$(perplexity $model rtn "$1" --precision double --scale f64)
        gptq=$(perplexity $model gptq "$1" --precision double --scale f64)
        echo "$model $1 bits: rounding $rtn, GPTQ $gptq"
        within "$rtn" "$(reference $model rtn "$1")" 1e-4
        awk -v a="$gptq" -v b="$(reference $model gptq "$1")" 'BEGIN { exit !(a <= 1.01 * b) }'
        awk -v a="$gptq" -v b="$rtn" 'BEGIN { exit !(a < b) }'
    done
}

@test "4 bits: rounding to 1e-4 of the reference, GPTQ at most 1 % above it and better than rounding" { check_bits 4; }
@test "3 bits: the same" { check_bits 3; }
@test "2 bits: the same" { check_bits 2; }

@test "16-bit scales: GPTQ better than rounding at 4 and 3 bits" {
    for model in stories260k babyllama105; do
        for bits in 4 3; do
            awk -v a="$(perplexity $model gptq $bits)" -v b="$(perplexity $model rtn $bits)" 'BEGIN { exit !(a < b) }'
        done
    done
}

@test "dense, GPTQ and compressed-tensors exports of the same codes agree to 1e-3" {
    m=$DATA/models/babyllama105
    mdq-gptq -q --bits 4 --group 32 --sym --stats babyllama105.stats babyllama105.tiles -o codes
    for format in dense gptq gptq_v2 compressed-tensors; do
        mdq-pack -q --model "$m" --format $format -o out-$format codes
        mdq-eval ppl --model out-$format --text eval.txt --ctx 256 | jq .value >ppl-$format
    done
    for format in gptq gptq_v2 compressed-tensors; do
        within "$(cat ppl-$format)" "$(cat ppl-dense)" 1e-3
    done
}
