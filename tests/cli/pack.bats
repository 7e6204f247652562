# mdq-pack on small made-up models: what it writes, what it carries over, what it refuses, that nothing is left behind.
# The streams come from tests/tools/make-codes, which can put one fault into them. What other tools read: tests/interop.
load ../helpers

make_model() { "$TOOLS/tests/tools/make-model" -q "$@"; }
codes() { "$TOOLS/tests/tools/make-codes" -q "$@"; }
setup_file() {
    cd "$BATS_FILE_TMPDIR"
    make_model --hidden 64 --intermediate 96 --heads 4 --kv-heads 2 --layers 3 --dtype bf16 --tied -o m
    make_model --hidden 64 --intermediate 172 --heads 4 --kv-heads 2 --layers 2 -o ragged
    codes m -o codes.mdq
    codes ragged -o ragged.mdq
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -rf out out2 report bad.mdq
}
DOWN=model.layers.1.mlp.down_proj.weight

# refused STATUS 'PATTERN'... -- COMMAND: the status, every pattern in the message, and no folder nor parts of one
refused() {
    local want=$1 patterns=() p
    shift
    while [ "$1" != -- ]; do patterns+=("$1"); shift; done
    shift
    expect "$want" "$@"
    for p in "${patterns[@]}"; do
        [[ $output == *$p* ]] || { echo "no '$p' in: $output"; return 1; }
    done
    [ ! -e out ] || { echo "out exists"; return 1; }
    [ -z "$(ls -A | grep part)" ] || { ls -A; return 1; }
}
pack() { # FORMAT ARGUMENTS...
    local format=$1
    shift
    mdq-pack -q --model m --format "$format" -o out "$@"
}
# header FILE: that of a safetensors file
header() {
    tail -c +9 "$1" | head -c "$(od -An -tu8 -N8 "$1" | tr -d ' ')"
}
# tensor FILE NAME: its bytes
tensor() {
    local length from to
    length=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    read -r from to < <(header "$1" | jq -r --arg t "$2" '.[$t].data_offsets | @tsv')
    tail -c +$((9 + length + from)) "$1" | head -c $((to - from))
}

@test "every format: the layers replaced, all other tensors and a tied head as they were" {
    for format in gptq gptq_v2 compressed-tensors dense; do
        pack $format codes.mdq
        local want
        case $format in
        gptq*) want='g_idx qweight qzeros scales' ;;
        dense) want=weight ;;
        *) want='weight_packed weight_scale weight_shape' ;;
        esac
        run bash -c "$(declare -f header); header out/model.safetensors | jq -r 'keys[] | select(contains(\".0.mlp.up_proj\")) | ltrimstr(\"model.layers.0.mlp.up_proj.\")' | xargs"
        [ "$output" = "$want" ]
        for t in model.embed_tokens.weight model.norm.weight model.layers.2.input_layernorm.weight; do
            cmp <(tensor out/model.safetensors $t) <(tensor m/model.safetensors $t)
        done
        [ "$(header out/model.safetensors | jq 'has("lm_head.weight")')" = false ]
        [ "$(header out/model.safetensors | jq -c .__metadata__)" = '{"format":"pt"}' ]
        rm -r out
    done
}
@test "config.json keeps its text and gets quantization_config; quantize_config.json says the same" {
    pack gptq codes.mdq
    diff <(jq -S 'del(.quantization_config)' out/config.json) <(jq -S . m/config.json)
    [ "$(jq -r 'keys_unsorted | last' out/config.json)" = quantization_config ]
    diff <(head -n -1 m/config.json) <(sed '/"quantization_config"/,$d' out/config.json | sed '$ s/,$//')
    diff <(jq -S .quantization_config out/config.json) <(jq -S . out/quantize_config.json)
    run jq -c '[.quant_method, .bits, .group_size, .sym, .desc_act, .static_groups, .lm_head, .checkpoint_format]' out/quantize_config.json
    [ "$output" = '["gptq",4,32,true,false,false,false,"gptq"]' ]
    codes m --seed 1 --asym --group 4096 | pack gptq_v2
    run jq -c '[.bits, .group_size, .sym, .desc_act, .static_groups, .checkpoint_format]' out/quantize_config.json
    [ "$output" = '[4,-1,false,false,true,"gptq_v2"]' ]
    codes m --seed 1 --asym --bits 8 | pack compressed-tensors
    [ ! -e out/quantize_config.json ]
    run jq -c '.quantization_config | [.quant_method, .format, .quantization_status, .ignore, (.config_groups.group_0.weights | .num_bits, .symmetric, .strategy, .group_size, .actorder)]' out/config.json
    [ "$output" = '["compressed-tensors","pack-quantized","compressed",["lm_head"],8,false,"group",32,"static"]' ]
    pack dense codes.mdq
    cmp out/config.json m/config.json
}
@test "all other files of the folder are carried over" {
    cp -r m m2
    mkdir -p m2/sub/deeper m2/.git
    echo deep >m2/sub/deeper/file
    echo secret >m2/.git/config
    echo text >elsewhere
    ln -s ../elsewhere m2/linked
    printf 'a\0b' >m2/.hidden
    echo stale >m2/mdq-report.json
    echo other >m2/adapter.safetensors
    mdq-pack -q --model m2 --format gptq -o out codes.mdq
    rm -r m2/.git m2/adapter.safetensors
    for f in $(cd m2 && find . -type f -o -type l); do
        case $f in
        ./config.json | ./model.safetensors | ./mdq-report.json) ;;
        *) cmp "m2/$f" "out/$f" ;;
        esac
    done
    [ ! -L out/linked ] && [ ! -e out/.git ] && [ ! -e out/adapter.safetensors ]
    [ "$(jq -r .program out/mdq-report.json)" = mdq-pack ]
    rm -r m2
}
@test "the report tells what became of every layer" {
    mdq-pack -q --model ragged --format gptq --unpackable keep --report report -o out ragged.mdq
    cmp report out/mdq-report.json
    run jq -c '[.format, .quantized, .kept, .carried, (.layers | length), (.kept_layers | length), .model]' report
    [ "$output" = "[\"gptq\",8,6,7,8,6,\"$(mdq-hash -q --model ragged | cut -d' ' -f1)\"]" ]
    run jq -c '.layers[0] | [.tensor, .shape, .bits, .group, .symmetric, .method, .scales, .report.note]' report
    [ "$output" = '["model.layers.0.self_attn.q_proj.weight",[64,64],4,32,true,"rtn","f16","made for a test"]' ]
    [ "$(jq -r '.kept_layers[] | .tensor' report | grep -c mlp)" -eq 6 ]
    [[ $(jq -r '.kept_layers[0].why' report) == *'no multiple of 32'* ]]
    # a block's q, k, v, o are 12288 weights: 4 bits each, for 32 of them a 16-bit scale and a 4-bit zero point, and 4 bytes
    # for each of the 64 columns of the four layers (g_idx)
    run jq '.bits_per_weight' report
    [ "$(jq -n "$output - 8 * (12288 / 2 + 12288 / 32 * 2.5 + 4 * 4 * 64) / 12288 | fabs < 1e-9")" = true ]
    run jq -c '[.provenance[].prog]' report
    [ "$output" = '["make-codes"]' ]
    # its sizes are those of the files
    [ "$(jq .bytes report)" -eq "$(header out/model.safetensors | jq '[.[] | .data_offsets? // [0] | max] | max')" ]
}
@test "one stream, one per block in any order, pipes: the same bytes" {
    pack compressed-tensors codes.mdq
    for i in 0 1 2; do codes m --block $i -o b$i.mdq; done
    mdq-pack -q --model m --format compressed-tensors -o out2 b2.mdq b0.mdq b1.mdq
    diff -r out out2
    mdq-pack -q --model m --format compressed-tensors -o out2 <(cat b0.mdq) <(cat b1.mdq) <(cat b2.mdq)
    diff -r out out2
    mdq-pack -q -j1 --model m --format compressed-tensors -o out2 <codes.mdq
    diff -r out out2
    mdq-tile -q m >tiles.mdq
    mdq-pack -q --model m --format compressed-tensors -o out2 tiles.mdq codes.mdq
    diff <(cd out && sha256sum model.safetensors config.json) <(cd out2 && sha256sum model.safetensors config.json)
}
@test "large weights are spread over shards" {
    pack gptq --max-shard 20000 codes.mdq
    [ "$(ls out/model-*-of-*.safetensors | wc -l)" -gt 2 ]
    [ ! -e out/model.safetensors ]
    for f in out/model-*; do header "$f" | jq -r 'keys[] | select(. != "__metadata__")'; done | sort >names
    jq -r '.weight_map | keys[]' out/model.safetensors.index.json | sort | diff - names
    mkdir one
    mdq-pack -q --model m --format gptq -o out2 codes.mdq
    header out2/model.safetensors | jq -r 'keys[] | select(. != "__metadata__")' | sort | diff - names
}
@test "the element type of a dense export" {
    for t in f32 f16 bf16; do
        pack dense --dtype $t codes.mdq
        [ "$(header out/model.safetensors | jq -r '."'$DOWN'".dtype' | tr A-Z a-z)" = $t ]
        [ "$(header out/model.safetensors | jq -r '."model.norm.weight".dtype')" = BF16 ]
    done
    refused_dtype() { mdq-pack --model m --format gptq --dtype f16 -o out3 codes.mdq; }
    expect 2 refused_dtype
}
@test "layers that a format cannot hold: an error that names them, or kept" {
    refused 1 'cannot hold 6 of the 14' model.layers.0.mlp.gate_proj.weight '[172, 64]' 'unpackable keep' -- \
        mdq-pack --model ragged --format gptq -o out ragged.mdq
    run mdq-pack --model ragged --format gptq --unpackable keep -o out ragged.mdq
    [ "$status" -eq 0 ]
    [[ $output == *"model.layers.1.mlp.down_proj.weight: kept in full precision"* ]]
    [[ $output == *"6 kept in full precision"* ]]
    cmp <(tensor out/model.safetensors $DOWN) <(tensor ragged/model.safetensors $DOWN)
    run jq -c '.dynamic | keys_unsorted[0], length' out/quantize_config.json
    [ "$output" = $'"-:^model\\\\.layers\\\\.0\\\\.mlp\\\\.gate_proj$"\n6' ]
    [ "$(jq -c '.modules_in_block_to_quantize[0] | length' out/quantize_config.json)" -eq 4 ]
    # whole rows beside groups: two groups of configuration
    mdq-pack -q --model ragged --format compressed-tensors -o out ragged.mdq
    run jq -c '.quantization_config.config_groups[] | [(.targets | length), .weights.strategy, .weights.group_size]' out/config.json
    [ "$output" = $'[2,"channel",null]\n[1,"group",32]' ]
}
@test "what a format cannot hold at all" {
    codes m --bits 3 | refused 1 '3 bits' 'dense' -- mdq-pack --model m --format compressed-tensors -o out
    for scale in f32 f64; do
        for format in gptq gptq_v2 compressed-tensors; do
            codes m --scale $scale | refused 1 "scales of type $scale" 'scale f16' -- mdq-pack --model m --format $format -o out
        done
    done
    codes m --scale bf16 | refused 1 'scales of type bf16' -- mdq-pack --model m --format gptq -o out
    codes m --scale f64 | mdq-pack -q --model m --format dense -o out
    codes m --scale bf16 | mdq-pack -q --model m --format compressed-tensors -o out
}
@test "a zero point of 0 in GPTQ v1" {
    codes m --asym --fault zero --at $DOWN -o bad.mdq
    refused 1 "$DOWN" 'row 1, group 0' 'gptq_v2' -- mdq-pack --model m --format gptq -o out bad.mdq
    pack gptq_v2 bad.mdq
}
@test "layers that differ from the others" {
    codes m --fault bits --at $DOWN -o bad.mdq
    refused 1 "$DOWN" 'bits: 8' -- mdq-pack --model m --format gptq -o out bad.mdq
    pack dense bad.mdq
    codes m --fault group --at $DOWN -o bad.mdq
    rm -r out
    refused 1 "$DOWN" 'groups of 96' 'have 32' -- mdq-pack --model m --format compressed-tensors -o out bad.mdq
    codes m --fault scale-type --at $DOWN -o bad.mdq
    refused 1 "$DOWN" 'scales of type f64' -- mdq-pack --model m --format gptq_v2 -o out bad.mdq
}
@test "an incomplete stream names what is missing" {
    codes m --fault drop-layer --at $DOWN -o bad.mdq
    refused 1 bad.mdq "$DOWN" missing -- mdq-pack --model m --format dense -o out bad.mdq
    for fault in drop-tile drop-last; do
        codes m --tile 32 --fault $fault --at $DOWN -o bad.mdq
        refused 1 bad.mdq "$DOWN" missing -- mdq-pack --model m --format dense -o out bad.mdq
    done
    codes m --fault no-codes --at $DOWN -o bad.mdq
    refused 1 bad.mdq "$DOWN" codes -- mdq-pack --model m --format dense -o out bad.mdq
    codes m --fault drop-layer --at model.layers.2.mlp.down_proj.weight -o bad.mdq # the last
    refused 1 bad.mdq model.layers.2.mlp.down_proj.weight missing -- mdq-pack --model m --format gptq -o out bad.mdq
    codes m --block 1 -o b1.mdq
    refused 1 '7 of its 21 linear layers' model.layers.0.self_attn.q_proj.weight -- mdq-pack --model m --format gptq -o out b1.mdq
    codes m --block 0 -o b0.mdq
    refused 1 '7 of its 21 linear layers' model.layers.2.self_attn.q_proj.weight -- mdq-pack --model m --format gptq -o out b0.mdq b1.mdq
    refused 1 model.layers.1.self_attn.q_proj.weight 'another input holds it' -- mdq-pack --model m --format gptq -o out codes.mdq b1.mdq
    mdq-tile -q m -o tiles.mdq
    refused 1 'not quantized' mdq-gptq -- mdq-pack --model m --format gptq -o out tiles.mdq
}
@test "a truncated stream, and one that is none" {
    head -c $(($(stat -c %s codes.mdq) / 2)) codes.mdq >bad.mdq
    expect_not_zero() { run "$@"; [ "$status" -ne 0 ]; }
    expect_not_zero mdq-pack --model m --format dense -o out bad.mdq
    [[ $output == *bad.mdq* ]] && [ ! -e out ] && [ -z "$(ls -A | grep part)" ]
    : >bad.mdq
    refused 3 bad.mdq -- mdq-pack --model m --format dense -o out bad.mdq
    refused 3 nowhere.mdq -- mdq-pack --model m --format dense -o out nowhere.mdq
}
@test "a stream of another model" {
    refused 1 ragged.mdq 'another model' -- mdq-pack --model m --format dense -o out ragged.mdq
    refused 1 'another model' -- bash -c 'mdq-pack --model m --format dense -o out <ragged.mdq'
    pack gptq codes.mdq
    mv out quantized
    refused 1 'quantized: stored quantized already' -- mdq-pack --model quantized --format dense -o out codes.mdq
    rm -r quantized
}
@test "a folder that is not ours is never touched, an earlier result is replaced" {
    mkdir out2
    echo precious >out2/file
    refused 2 out2 'another folder' -- mdq-pack --model m --format dense -o out2 codes.mdq
    [ "$(cat out2/file)" = precious ]
    refused 2 m 'own folder' -- mdq-pack --model m --format dense -o m codes.mdq
    refused 2 m/sub 'own folder' -- mdq-pack --model m --format dense -o m/sub codes.mdq
    [ ! -e m/sub ]
    pack dense codes.mdq
    touch out/old
    pack gptq codes.mdq
    [ ! -e out/old ] && [ -e out/quantize_config.json ]
    # a failure leaves the earlier result alone
    codes m --fault drop-last --at model.layers.2.mlp.down_proj.weight -o bad.mdq
    find out -type f -exec sha256sum {} + | sort >before
    expect 1 mdq-pack --model m --format dense -o out bad.mdq
    find out -type f -exec sha256sum {} + | sort | diff before -
}
@test "a full disk" {
    refused 3 'writing failed' -- bash -c 'trap "" XFSZ; ulimit -f 20; mdq-pack --model m --format dense -o out codes.mdq'
    refused 3 report -- mdq-pack --model m --format dense --report nowhere/report -o out codes.mdq
}
@test "misuse" {
    refused 2 --model -- mdq-pack --format dense -o out codes.mdq
    refused 2 --format -- mdq-pack --model m -o out codes.mdq
    refused 2 -o -- mdq-pack --model m --format dense codes.mdq
    refused 2 awq -- mdq-pack --model m --format awq -o out codes.mdq
    refused 2 --max-shard -- mdq-pack --model m --format dense --max-shard 0 -o out codes.mdq
}
@test "dense, GPTQ and compressed-tensors folders of the same codes evaluate alike" {
    need_data
    local model=$DATA/models/babyllama105 text=$DATA/text/tinystories-eval.txt
    mdq-tile -q "$model" | mdq-gptq -q --bits 4 --group 32 --sym --method rtn -o real.mdq
    for format in dense gptq gptq_v2 compressed-tensors; do
        mdq-pack -q --model "$model" --format $format -o out real.mdq
        mdq-eval ppl -q --model out --text "$text" --ctx 128 --max-tokens 2048 | jq .value
    done >values
    awk 'NR == 1 { v = $1 } $1 / v > 1.001 || v / $1 > 1.001 { bad = 1 } END { exit bad || NR != 4 || v < 1.5 || v > 4 }' values ||
        { cat values; false; }
}
