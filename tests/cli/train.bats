# mdq-train: the same bytes however it is run, a loss that falls, and clear errors.
load ../helpers

setup_file() {
    mkdir -p "$BATS_FILE_TMPDIR/tiny"
    cd "$BATS_FILE_TMPDIR"
    cp "$ROOT"/examples/stories/model/tokenizer*.json tiny/
    config >tiny/config.json
    "$TOOLS/examples/stories/make-stories" --seed 5 --bytes 60000 -o text
    "$TOOLS/examples/stories/make-stories" --seed 6 --bytes 9000 -o valid
    # 20 steps with a checkpoint at 12
    mdq-train -q --config tiny --text text --valid valid --steps 20 $SMALL --save-every 12 -j1 -o whole >whole.log
}
SMALL="--batch 4 --ctx 32 --lr 5e-3 --warmup 4 --log-every 1 --seed 3"
config() { # [NAME VALUE]...: a tiny config.json, some members replaced
    jq -n '{architectures:["LlamaForCausalLM"],model_type:"llama",hidden_size:32,intermediate_size:64,num_hidden_layers:2,
        num_attention_heads:4,num_key_value_heads:2,vocab_size:1024,max_position_embeddings:64,rms_norm_eps:1e-5,
        rope_theta:10000,hidden_act:"silu",tie_word_embeddings:true,torch_dtype:"float32"}' |
        jq "$(while [ $# -gt 0 ]; do printf '.%s=%s | ' "$1" "$2"; shift 2; done) ."
}
setup() {
    cd "$BATS_TEST_TMPDIR"
    W=$BATS_FILE_TMPDIR
    TRAIN="mdq-train -q --text $W/text $SMALL"
}
folder() { # with config members replaced
    mkdir -p "$1"
    cp "$W"/tiny/tokenizer*.json "$1"
    config "${@:2}" >"$1/config.json"
}

@test "a resumed run gives the bytes of an uninterrupted one" {
    expect 0 $TRAIN --config "$W/tiny" --valid "$W/valid" --steps 20 --save-every 12 --checkpoint "$W/whole.checkpoint" \
        --resume -o resumed
    diff -r "$W/whole" resumed
    # and says what the uninterrupted one said from there on
    diff <(tail -n 9 "$W/whole.log") <(echo "$output")
}
@test "the bytes do not depend on -j" {
    expect 0 $TRAIN --config "$W/tiny" --valid "$W/valid" --steps 20 -j3 -o threads
    diff -r "$W/whole" threads
    diff "$W/whole.log" <(echo "$output")
}
@test "another seed gives another model" {
    expect 0 $TRAIN --seed 4 --config "$W/tiny" --steps 1 -o a
    expect 0 $TRAIN --seed 5 --config "$W/tiny" --steps 1 -o b
    ! cmp -s a/model.safetensors b/model.safetensors
}
@test "the loss starts at that of a uniform guess and falls" {
    first=$(jq -s '.[0].loss' "$W/whole.log") last=$(jq -s 'map(.loss // empty) | last' "$W/whole.log")
    jq -en "($first - (1024 | log) | fabs) < 0.1 and $last < 6.6"
    jq -es 'last | .valid_loss < 6.6 and (.valid_perplexity - (.valid_loss | exp) | fabs) < 0.01' "$W/whole.log"
}
@test "the held-out perplexity is the one that mdq-eval gives" {
    expect 0 $TRAIN --config "$W/tiny" --valid "$W/valid" --steps 20 --dtype f32 -o wide
    ours=$(jq -s 'last | .valid_perplexity' <<<"$output") tokens=$(jq -s 'last | .tokens' <<<"$output")
    theirs=$(mdq-eval ppl -q --model wide --text "$W/valid" --ctx 32 --max-tokens $((64 * 32)) | jq -s '.[0]')
    jq -e --argjson ours "$ours" --argjson n "$tokens" '(.value - $ours | fabs) < 1e-3 * $ours and .tokens == $n' <<<"$theirs"
    # and that of token counts, by another road
    jq -es 'last | .unigram_perplexity > 150 and .unigram_perplexity < 500' <<<"$output"
}
@test "a step of no size leaves the weights" {
    expect 0 $TRAIN --model "$W/whole" --steps 3 --lr 0 --dtype bf16 -o same
    cmp "$W/whole/model.safetensors" same/model.safetensors
}
@test "training goes on from a model's weights" {
    expect 0 $TRAIN --model "$W/whole" --steps 2 --lr 1e-4 -o more
    jq -es '.[0].loss < 6.6' <<<"$output"
}
@test "the folder has the dtype that was asked for and the tokenizer" {
    expect 0 $TRAIN --config "$W/tiny" --steps 0 --dtype f32 -o wide
    [ "$(jq -r .torch_dtype wide/config.json)" = float32 ]
    [ "$(jq -r .torch_dtype "$W/whole/config.json")" = bfloat16 ]
    a=$(stat -c %s wide/model.safetensors) b=$(stat -c %s "$W/whole/model.safetensors")
    [ "$a" -gt $((2 * b - 4000)) ] && [ "$a" -lt $((2 * b)) ]
    cmp wide/tokenizer.json "$W/tiny/tokenizer.json"
}
@test "the config may be named as a file" {
    expect 0 $TRAIN --config "$W/tiny/config.json" --steps 0 -o named
    [ -s named/model.safetensors ]
}
@test "fresh weights have the spread that config.json asks for" {
    folder wide initializer_range 0.1
    expect 0 $TRAIN --config wide --steps 0 --dtype f32 -o out
    expect 0 $TRAIN --config "$W/tiny" --steps 0 --dtype f32 -o usual
    # the same deviates, five times as large: the embedding's first values
    first() { tail -c +$((9 + $(od -An -tu8 -N8 "$1"))) "$1" | od -An -tf4 -N400 -v | tr -s ' ' '\n' | grep .; }
    paste <(first out/model.safetensors) <(first usual/model.safetensors) |
        awk '{ if ($1 / $2 < 4.999 || $1 / $2 > 5.001) bad = 1 } END { exit bad || NR != 100 }'
    folder words initializer_range '"small"'
    expect 1 $TRAIN --config words --steps 0 -o never
    [[ $output == *initializer_range* ]]
}
@test "every supported family trains" {
    for arch in Mistral:mistral Qwen2:qwen2 Qwen3:qwen3; do
        folder "${arch#*:}" architectures "[\"${arch%:*}ForCausalLM\"]" model_type "\"${arch#*:}\"" tie_word_embeddings false
        expect 0 $TRAIN --config "${arch#*:}" --steps 16 -o "${arch#*:}-out"
        jq -es '.[0].loss - .[15].loss > 0.3' <<<"$output"
        expect 0 $TRAIN --model "${arch#*:}-out" --steps 1 -o "${arch#*:}-more"
        jq -es '.[0].loss < 6.8' <<<"$output"
    done
}
@test "text shorter than a window is refused" {
    head -c 40 "$W/text" >short
    expect 1 mdq-train -q --config "$W/tiny" --text short --ctx 32 -o out
    [[ $output == *"short: has "*" tokens: a window needs 33"* ]]
    [ ! -e out ]
}
@test "held-out text shorter than a window is refused" {
    head -c 40 "$W/text" >short
    expect 1 $TRAIN --config "$W/tiny" --valid short -o out
    [[ $output == *"short: has "* ]]
}
@test "a missing text is an input error" {
    expect 3 $TRAIN --text nowhere --config "$W/tiny" -o out
    [[ $output == *"nowhere: cannot open"* ]]
}
@test "text that is not UTF-8 is refused by name" {
    { cat "$W/text"; printf '\377\376'; } >bytes
    expect 1 mdq-train -q --config "$W/tiny" --text bytes --ctx 32 -o out
    [[ $output == *bytes:* ]]
}
@test "a tokenizer with more tokens than the model is refused" {
    folder few vocab_size 300
    expect 1 $TRAIN --config few -o out
    [[ $output == *"vocabulary is 300"* ]]
}
@test "an architecture that is not ours is refused by name" {
    folder other architectures '["GPT2LMHeadModel"]' model_type '"gpt2"'
    expect 1 $TRAIN --config other -o out
    [[ $output == *GPT2LMHeadModel* ]]
}
@test "a window longer than the model's positions is refused" {
    expect 2 $TRAIN --config "$W/tiny" --ctx 65 -o out
    [[ $output == *"up to 64"* ]]
}
@test "a loss that is not finite ends the run and keeps the checkpoint" {
    expect 1 $TRAIN --config "$W/tiny" --steps 40 --lr 1e6 --clip 0 --save-every 1 -o out
    [[ $output == *"step "*"not finite"*"the last checkpoint is in out.checkpoint"* ]]
    [ ! -e out ]
    jq -e '.step >= 1' out.checkpoint/train.json
}
@test "a checkpoint of another run is refused, with what differs" {
    for change in "--lr 1e-3" "--seed 4" "--batch 2" "--weight-decay 0"; do
        expect 2 $TRAIN --config "$W/tiny" --steps 20 --checkpoint "$W/whole.checkpoint" --resume $change -o out
        [[ $output == *"another ${change:2:3}"* ]] || { echo "$output"; false; }
    done
    cat "$W/text" "$W/valid" >longer
    expect 2 $TRAIN --text longer --config "$W/tiny" --steps 20 --checkpoint "$W/whole.checkpoint" --resume -o out
    [[ $output == *"another text"* ]]
}
@test "--resume without a checkpoint is an error" {
    expect 3 $TRAIN --config "$W/tiny" --resume -o out
    [[ $output == *out.checkpoint/train.json* ]]
}
@test "a damaged checkpoint is refused" {
    cp -r "$W/whole.checkpoint" cut
    truncate -s -100 cut/model.safetensors
    expect 1 $TRAIN --config "$W/tiny" --steps 20 --checkpoint cut --resume -o out
    echo '{"step": 3}' >cut/train.json
    expect 1 $TRAIN --config "$W/tiny" --steps 20 --checkpoint cut --resume -o out
    [[ $output == *"is no checkpoint"* ]]
}
@test "a folder that holds something else is not written over" {
    mkdir mine && echo precious >mine/file
    expect 2 $TRAIN --config "$W/tiny" --steps 1 -o mine
    [ "$(cat mine/file)" = precious ]
    expect 2 $TRAIN --config "$W/tiny" --steps 1 --save-every 1 --checkpoint mine -o out
    [ "$(cat mine/file)" = precious ]
    [ ! -e out ]
}
@test "a killed run leaves its last whole checkpoint and no model" {
    $TRAIN --config "$W/tiny" --steps 100000 --save-every 2 -o out >log & pid=$!
    for i in $(seq 300); do [ -e out.checkpoint/train.json ] && break; sleep 0.1; done
    kill -9 $pid; wait $pid || true
    [ ! -e out ]
    step=$(jq .step out.checkpoint/train.json)
    [ $((step % 2)) -eq 0 ]
    [ "$(wc -l <log)" -ge "$step" ]
}
@test "misuse ends with status 2" {
    expect 2 mdq-train --text "$W/text" -o out
    expect 2 mdq-train --config "$W/tiny" --model "$W/whole" --text "$W/text" -o out
    expect 2 mdq-train --config "$W/tiny" -o out
    expect 2 mdq-train --config "$W/tiny" --text "$W/text"
    expect 2 $TRAIN --config "$W/tiny" --steps x -o out
    expect 2 $TRAIN --config "$W/tiny" -o out more
}
