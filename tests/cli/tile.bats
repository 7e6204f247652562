# mdq-tile on small made-up models: how layers are cut, what it refuses, that nothing is left half-written.
load ../helpers

make_model() { "$TOOLS/tests/tools/make-model" -q "$@"; }
setup_file() {
    cd "$BATS_FILE_TMPDIR"
    make_model --hidden 60 --intermediate 150 --heads 6 --kv-heads 2 --layers 3 --dtype bf16 -o m
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -rf out.mdq bad
}

# refused STATUS 'PATTERN'... -- COMMAND: the status, every pattern in the message, and no output file
refused() {
    local want=$1 patterns=() p
    shift
    while [ "$1" != -- ]; do patterns+=("$1"); shift; done
    shift
    expect "$want" "$@"
    for p in "${patterns[@]}"; do
        [[ $output == *$p* ]] || { echo "no '$p' in: $output"; return 1; }
    done
    [ ! -e out.mdq ]
    [ -z "$(ls -A | grep part)" ]
}

# put FOLDER TENSOR ELEMENT BYTES: overwrites one element of 2 bytes
put() {
    local f=$1/model.safetensors length offset
    length=$(od -An -tu8 -N8 "$f" | tr -d ' ')
    offset=$(tail -c +9 "$f" | head -c "$length" | jq --arg t "$2" '.[$t].data_offsets[0]')
    printf "$4" | dd of="$f" bs=1 seek=$((8 + length + offset + 2 * $3)) conv=notrunc status=none
}

@test "layers come in order, cut into near-equal parts, column block by column block" {
    mdq-tile -q --tile 64 m -o out.mdq
    mdq-check -q out.mdq
    run bash -c "mdq-view out.mdq | jq -r 'select(.t == \"layer\" and (.id[0] | contains(\".1.\"))) | .id[0]'"
    [ "$output" = "$(printf 'model.layers.1.%s.weight\n' self_attn.{q,k,v,o}_proj mlp.{gate,up,down}_proj)" ]
    # down_proj [60, 150]: 150 is 3 x 50. gate_proj [150, 60]: rows 3 x 50
    run bash -c "mdq-view out.mdq | jq -c 'select(.t == \"tile\" and .id[0] == \"model.layers.0.mlp.down_proj.weight\") | [.id[1:], .at, .w.shape, .w.dtype]'"
    [ "$output" = '[[0,0],[0,0],[60,50],"bf16"]
[[0,1],[0,50],[60,50],"bf16"]
[[0,2],[0,100],[60,50],"bf16"]' ]
    # with parts of at most 40: 150 = 38 + 38 + 37 + 37, 60 = 30 + 30
    mdq-tile -q --tile 40 m -o out.mdq
    run bash -c "mdq-view out.mdq | jq -c 'select(.t == \"tile\" and .id[0] == \"model.layers.2.mlp.gate_proj.weight\") | [.id[1:], .at, .w.shape]'"
    [ "$output" = '[[0,0],[0,0],[38,30]]
[[1,0],[38,0],[38,30]]
[[2,0],[76,0],[37,30]]
[[3,0],[113,0],[37,30]]
[[0,1],[0,30],[38,30]]
[[1,1],[38,30],[38,30]]
[[2,1],[76,30],[37,30]]
[[3,1],[113,30],[37,30]]' ]
}
@test "the header has the model's identity and the layers of the chosen blocks" {
    mdq-tile -q m --blocks 1-2 -o out.mdq
    [ "$(mdq-view --header out.mdq | jq -r .model)" = "$(mdq-hash -q --model m | cut -d' ' -f1)" ]
    [ "$(mdq-view --header out.mdq | jq -c '[.layers[] | .[5]] | unique')" = '[1,2]' ]
    [ "$(mdq-view --header out.mdq | jq '.layers | length')" -eq 14 ]
    [ "$(mdq-view --header out.mdq | jq -c '.kinds')" = '["layer","tile"]' ]
}
@test "blocks joined are the whole; threads and pipes make no difference" {
    mdq-tile -q m -o out.mdq
    for i in 0 1 2; do mdq-tile -q m --block $i -o b$i.mdq; done
    diff <(mdq-cat -q b0.mdq b1.mdq b2.mdq | mdq-view --stats) <(mdq-view --stats out.mdq)
    diff <(mdq-cat -q b0.mdq b1.mdq b2.mdq | mdq-view --header) <(mdq-view --header out.mdq)
    mdq-tile -q m -j1 | cmp - out.mdq
    mdq-tile -q m -j3 | cmp - out.mdq
}
@test "the values of a tile are the model's" {
    cp -r m bad
    put bad model.layers.1.mlp.up_proj.weight $((149 * 60 + 59)) '\xc8\x42' # 100 in bfloat16, the last weight
    mdq-tile -q bad -o out.mdq
    run bash -c "mdq-view --stats out.mdq | jq -c 'select(.w.max == 100) | .id'"
    [ "$output" = '["model.layers.1.mlp.up_proj.weight",0,0]' ]
}
@test "the memo keeps the hash, and a changed file is seen" {
    cp -r m bad
    touch -d '2 hours ago' bad/* # what has just changed is not remembered
    mdq-tile -q bad --memo memo -o out.mdq
    [ -s memo ]
    mdq-tile -q bad --memo memo | cmp - out.mdq
    put bad model.layers.0.mlp.up_proj.weight 0 '\x80\x3f'
    [ "$(mdq-tile -q bad --memo memo | mdq-view --header | jq .model)" != "$(mdq-view --header out.mdq | jq .model)" ]
}
@test "a weight that is no finite number is named" {
    cp -r m bad
    put bad model.layers.2.self_attn.k_proj.weight $((7 * 60 + 31)) '\xc0\x7f'
    refused 1 bad/model.safetensors model.layers.2.self_attn.k_proj.weight 'row 7, column 31' 'not a finite' -- mdq-tile bad -o out.mdq
    put bad model.layers.2.self_attn.k_proj.weight $((7 * 60 + 31)) '\x80\xff'
    refused 1 'row 7, column 31' -- mdq-tile --tile 16 bad -o out.mdq
    mdq-tile -q bad --blocks 0-1 -o out.mdq
}
@test "a model that is quantized already is refused" {
    "$TOOLS/tests/tools/make-model" -q --hidden 64 --intermediate 96 --layers 1 -o dense
    "$TOOLS/tests/tools/make-codes" -q dense | mdq-pack -q --model dense --format gptq -o bad
    refused 1 'bad: stored quantized already (GPTQ)' 'full precision' -- mdq-tile bad -o out.mdq
}
@test "missing, empty and truncated models are refused" {
    refused 3 nowhere/config.json -- mdq-tile nowhere -o out.mdq
    cp -r m bad && rm bad/model.safetensors
    refused 3 bad: model.safetensors -- mdq-tile bad -o out.mdq
    : >bad/model.safetensors
    refused 1 bad/model.safetensors -- mdq-tile bad -o out.mdq
    head -c 5000 m/model.safetensors >bad/model.safetensors
    refused 1 bad/model.safetensors -- mdq-tile bad -o out.mdq
    : >bad/config.json
    refused 1 bad/config.json -- mdq-tile bad -o out.mdq
}
@test "blocks that are not there, and misuse" {
    refused 2 'block 3' 'blocks 0 to 2' -- mdq-tile m --block 3 -o out.mdq
    refused 2 'block 9' -- mdq-tile m --blocks 1-9 -o out.mdq
    refused 2 A-B -- mdq-tile m --blocks 2-1 -o out.mdq
    refused 2 A-B -- mdq-tile m --blocks 1 -o out.mdq
    refused 2 -- mdq-tile m --tile 0 -o out.mdq
    refused 2 'one too many' -- mdq-tile m m -o out.mdq
    refused 2 missing -- mdq-tile -o out.mdq
}
@test "a full disk and a closed pipe" {
    refused 3 -- bash -c 'trap "" XFSZ; ulimit -f 8; mdq-tile m -o out.mdq'
    expect 3 bash -c 'mdq-tile m >/dev/full'
    [[ $output == *"No space left"* ]]
    run bash -c 'mdq-tile m | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}'
    [ "$status" -eq 141 ]
}
