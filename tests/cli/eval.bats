# mdq-eval against an independent implementation's values (reference.json), and its bad input.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -o tiny --hidden 32 --intermediate 64 --layers 2 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 3
    "$TOOLS/examples/stories/make-stories" --seed 5 --bytes 4000 >text
}
setup() { cd "$BATS_FILE_TMPDIR"; }

value() { jq -r "select(.metric == \"$1\") | .$2"; }
# near A B T: |A / B - 1| <= T
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a / b - 1; exit !(d <= t && d >= -t) }'; }
reference() { jq -r ".[\"$1\"].$2" "$DATA/reference.json"; }

@test "perplexity of stories260k agrees with the reference to 1e-4" {
    need_data
    expect 0 mdq-eval ppl --model "$DATA/models/stories260k" --text "$DATA/text/tinystories-eval.txt" --ctx 512
    [ "$(value perplexity tokens <<<"$output")" -eq "$(reference 'stories260k tinystories-eval.txt ctx 512' scored_tokens)" ]
    near "$(value perplexity value <<<"$output")" "$(reference 'stories260k tinystories-eval.txt ctx 512' perplexity)" 1e-4
    expect 0 mdq-eval ppl --model "$DATA/models/stories260k" --text "$DATA/text/tinystories-eval.txt" --ctx 128
    [ "$(value perplexity tokens <<<"$output")" -eq "$(reference 'stories260k tinystories-eval.txt ctx 128' scored_tokens)" ]
    near "$(value perplexity value <<<"$output")" "$(reference 'stories260k tinystories-eval.txt ctx 128' perplexity)" 1e-4
}

@test "perplexity of babyllama105 agrees with the reference to 1e-4" {
    need_data
    LC_ALL=C.UTF-8 awk '{ t = t $0 "\n" } END { printf "%s", substr(t, 1, 60000) }' "$DATA/text/tinystories-eval.txt" >first
    expect 0 mdq-eval ppl --model "$DATA/models/babyllama105" --text first --ctx 256
    local key='babyllama105 tinystories-eval.txt[:60000 characters] ctx 256'
    [ "$(value perplexity tokens <<<"$output")" -eq "$(reference "$key" scored_tokens)" ]
    near "$(value perplexity value <<<"$output")" "$(reference "$key" perplexity)" 1e-4
}

@test "a model compared with itself: no divergence, full agreement" {
    expect 0 mdq-eval kld --model tiny --reference tiny --text text --ctx 64
    [ "$(value kl_divergence value <<<"$output")" = 0 ]
    [ "$(value top1_agreement value <<<"$output")" = 1 ]
    [ "$(value perplexity_ratio value <<<"$output")" = 1 ]
    near "$(value perplexity value <<<"$output")" "$(mdq-eval ppl --model tiny --text text --ctx 64 | jq .value)" 1e-6
}

@test "perplexity_ratio is that of the two perplexities" {
    "$TOOLS/tests/tools/make-model" -o second --hidden 32 --intermediate 64 --layers 2 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 4
    expect 0 mdq-eval kld --model second --reference tiny --text text --ctx 64
    ratio=$(value perplexity_ratio value <<<"$output")
    near "$ratio" "$(awk -v a="$(mdq-eval ppl --model second --text text --ctx 64 | jq .value)" \
        -v b="$(mdq-eval ppl --model tiny --text text --ctx 64 | jq .value)" 'BEGIN { printf "%.12g", a / b }')" 1e-6
}

@test "a random model is near the uniform perplexity, 258" {
    expect 0 mdq-eval ppl --model tiny --text text --ctx 64
    near "$(value perplexity value <<<"$output")" 258 0.1
}

@test "the same bytes on one and on two threads" {
    mdq-eval ppl --model tiny --text text --ctx 64 -j1 >one
    mdq-eval ppl --model tiny --text text --ctx 64 -j2 >two
    cmp one two
    mdq-eval kld --model tiny --reference tiny --text text --ctx 32 -j1 >one
    mdq-eval kld --model tiny --reference tiny --text text --ctx 32 -j2 >two
    cmp one two
}

@test "--max-tokens uses the first tokens only; one window has no standard error" {
    expect 0 mdq-eval ppl --model tiny --text text --ctx 64 --max-tokens 100
    [ "$(value perplexity tokens <<<"$output")" -eq 63 ]
    [ "$(value perplexity stderr <<<"$output")" = null ]
}

@test "-o writes a file, complete or not at all" {
    mdq-eval ppl --model tiny --text text --ctx 64 -o result
    [ "$(value perplexity ctx <result)" = 64 ]
    expect 1 mdq-eval ppl --model tiny --text text --ctx 64 --max-tokens 10 -o never
    [ ! -e never ]
}

@test "text shorter than a window is an error that names the counts" {
    printf 'short' >short
    expect 1 mdq-eval ppl --model tiny --text short --ctx 64
    [[ $output == *short*5*64* ]]
}

@test "missing model, text, metric: clear errors" {
    expect 3 mdq-eval ppl --model absent --text text --ctx 64
    [[ $output == mdq-eval:*absent*"No such file"* ]]
    expect 3 mdq-eval ppl --model tiny --text absent --ctx 64
    [[ $output == mdq-eval:*absent*"No such file"* ]]
    expect 2 mdq-eval ppl --model tiny --ctx 64
    expect 2 mdq-eval bpb --model tiny --text text
    expect 2 mdq-eval kld --model tiny --text text
}

@test "models of different vocabularies are not compared" {
    "$TOOLS/tests/tools/make-model" -o other --hidden 32 --intermediate 64 --layers 1 --heads 4 --vocab 300 --ctx 64
    expect 1 mdq-eval kld --model tiny --reference other --text text --ctx 64
    [[ $output == *vocabulary* ]]
}

@test "a tokenizer that does not match the model is an error" {
    cp -r tiny wrong
    "$TOOLS/tests/tools/make-model" -o big --hidden 32 --intermediate 64 --layers 1 --heads 4 --vocab 400 --ctx 64
    cp -r tiny small
    jq '.vocab_size = 100' tiny/config.json >small/config.json
    expect 1 mdq-eval ppl --model small --text text --ctx 64
    [[ $output == *small* ]]
}

@test "a full disk is an error" {
    [ -e /dev/full ] || skip "no /dev/full"
    expect 3 sh -c 'mdq-eval ppl --model tiny --text text --ctx 64 >/dev/full'
    [[ $output == *"No space left"* ]]
}
