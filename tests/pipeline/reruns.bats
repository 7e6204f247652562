# What runs again after each kind of change, and that make -n and -q tell the truth about it.
# build: plain
load ../helpers
load pipeline

setup() {
    setup_standins
}
fresh() { ran -- tile:4 calib:4 gptq:4 pack:1; }
# nothing ARGS...: a further make does nothing and -q says so.
nothing() {
    ran "$@" --
    quantize -q "$@"
}
# told ARGS...: -q says there is work, -n names it, and neither does it nor changes what the next one says.
told() {
    : >log
    run quantize -q "$@"
    [ "$status" -eq 1 ]
    quantize -n "$@" | grep -c '^echo "mdq: ' >told
    [ ! -s log ]
    run quantize -q "$@"
    [ "$status" -eq 1 ]
}

@test "a second run does nothing" {
    fresh
    nothing
}
@test "-n names every step of a fresh run and runs none" {
    told
    [ "$(cat told)" -eq 9 ]
    fresh
}
@test "other bits: gptq and pack; and changing back only packs" {
    fresh
    told BITS=3
    [ "$(cat told)" -eq 5 ]
    ran BITS=3 -- tile:4 gptq:4 pack:1
    nothing BITS=3
    told
    [ "$(cat told)" -eq 1 ]
    ran -- pack:1
    nothing
}
@test "changing back with another OUT does nothing at all" {
    fresh
    ran BITS=3 OUT=q3 -- tile:4 gptq:4 pack:1
    nothing
    nothing BITS=3 OUT=q3
}
@test "other group, symmetry, order, ragged: gptq and pack" {
    fresh
    for change in GROUP=64 SYM=0 ORDER=natural RAGGED=row SCALE=f32 DAMP=0.05 FALLBACK=rtn PRECISION=double; do
        ran $change -- tile:4 gptq:4 pack:1
    done
}
@test "other export: pack alone" {
    fresh
    for change in EXPORT=dense EXPORT=gptq_v2 UNPACKABLE=keep; do
        ran $change -- pack:1
    done
}
@test "other text, token count, window: calib and what follows" {
    fresh
    ran TOKENS=1000 -- tile:4 calib:4 gptq:4 pack:1
    ran CTX=64 -- tile:4 calib:4 gptq:4 pack:1
    echo "another text" >text.txt
    ran -- tile:4 calib:4 gptq:4 pack:1
    echo "some text" >text.txt
    ran -- pack:1
}
@test "the same text under another name or time: nothing" {
    fresh
    mv text.txt renamed.txt
    nothing CALIB=renamed.txt
    touch renamed.txt
    nothing CALIB=renamed.txt
}
@test "another program: its stage and what follows" {
    fresh
    echo "# another version" >>bin/mdq-gptq
    ran -- tile:4 gptq:4 pack:1
    echo "# another version" >>bin/mdq-calib
    ran -- tile:4 calib:4 gptq:4 pack:1
    echo "# another version" >>bin/mdq-pack
    ran -- pack:1
    echo "# another version" >>bin/mdq-tile
    ran -- tile:4 gptq:4 pack:1
}
@test "a stage swapped on the command line: it and what follows; and its arguments" {
    fresh
    cp bin/mdq-tile my-tile
    sed -i 's/^name=.*/name=mdq-tile/' my-tile
    ran TILE=./my-tile -- tile:4 gptq:4 pack:1
    ran GPTQ_ARGS=--extra=1 -- tile:4 gptq:4 pack:1
    ran PACK_ARGS=--extra=1 -- pack:1
}
@test "a file named in a stage's arguments counts by its content" {
    echo one >table
    ran GPTQ_ARGS=--extra=table -- tile:4 calib:4 gptq:4 pack:1
    echo two >table
    ran GPTQ_ARGS=--extra=table -- tile:4 gptq:4 pack:1
}
@test "another model: everything; a file beside the weights: pack" {
    fresh
    echo "more weights" >>m/model.safetensors
    ran -- tile:4 calib:4 gptq:4 pack:1
    echo "another licence" >>m/LICENSE
    ran -- pack:1
    echo "another tokenizer" >>m/tokenizer.json
    ran -- tile:4 calib:4 gptq:4 pack:1
}
@test "one block's statistics touched: that block" {
    fresh
    touch work/calib-*/block-02.mdq
    told
    [ "$(cat told)" -eq 2 ]
    ran -- tile:1 gptq:1 pack:1
    nothing
}
@test "statistics removed to save room: nothing; needed again: those blocks, with the same content" {
    fresh
    cp -r work/calib-* before
    rm work/calib-*/block-0[13].mdq
    nothing
    rm work/gptq-*/*.mdq
    told
    ran -- tile:4 calib:2 gptq:4 pack:1
    diff -r before work/calib-*
    nothing
}
@test "one quantized block lost: that block" {
    fresh
    cp q/model.safetensors before
    rm work/gptq-*/block-01.mdq
    told
    ran -- tile:1 gptq:1 pack:1
    cmp before q/model.safetensors
    nothing
}
@test "one block lost with its statistics: that block of both" {
    fresh
    rm work/*/block-02.mdq
    ran -- tile:1 calib:1 gptq:1 pack:1
    nothing
}
@test "OUT removed, damaged or made otherwise: pack alone" {
    fresh
    rm -r q
    told
    [ "$(cat told)" -eq 1 ]
    ran -- pack:1
    echo damage >>q/model.safetensors
    told
    ran -- pack:1
    nothing
    ran WORK=other BITS=3 -- tile:4 calib:4 gptq:4 pack:1
    told
    ran -- pack:1
}
@test "a file more in OUT is no reason" {
    fresh
    echo notes >q/notes.txt
    nothing
}
@test "rounding calibrates nothing and needs no text" {
    all=(MDQ_BIN="$PWD/bin" MODEL=m OUT=q)
    ran METHOD=rtn -- tile:4 gptq:4 pack:1
    [ -z "$(find work -name 'calib-*')" ]
    nothing METHOD=rtn
    nothing METHOD=rtn ORDER=natural
}
@test "tiles stored and tiles piped give the same, and each re-runs what it must" {
    fresh
    cp q/model.safetensors before
    ran CACHE=tile WORK=w2 OUT=q2 -- tile:4 calib:4 gptq:4 pack:1
    cmp before q2/model.safetensors
    ran CACHE=tile WORK=w2 OUT=q2 BITS=3 -- gptq:4 pack:1
    touch w2/tile-*/block-03.mdq
    ran CACHE=tile WORK=w2 OUT=q2 -- gptq:1 pack:1
}
@test "sequential: other bits calibrate again; quantized blocks are fed back in order" {
    ran SEQUENTIAL=1 -- tile:4 calib:4 gptq:4 pack:1
    [ "$(grep -c -e --quantized log)" -eq 3 ]
    grep -e '--quantized work/gptq-[0-9a-f]*/block-02.mdq --no-stats' log
    nothing SEQUENTIAL=1
    ran SEQUENTIAL=1 BITS=3 -- tile:4 calib:4 gptq:4 pack:1
    ran SEQUENTIAL=1 EXPORT=dense -- pack:1
}
@test "sequential: what comes behind a new block is calibrated again" {
    ran SEQUENTIAL=1 -- tile:4 calib:4 gptq:4 pack:1
    cp q/model.safetensors before
    touch work/gptq-*/block-01.mdq
    ran SEQUENTIAL=1 -- tile:2 calib:2 gptq:2 pack:1
    cmp before q/model.safetensors
}
@test "activations do not stay behind" {
    fresh
    ran SEQUENTIAL=1 -- tile:4 calib:4 gptq:4 pack:1
    [ -z "$(find work -name 'acts-*')" ]
}
@test "a model of 120 blocks: order and width of the names" {
    echo '{"num_hidden_layers": 120}' >m/config.json
    ran -j4 -- tile:120 calib:120 gptq:120 pack:1
    [ -f work/gptq-*/block-0119.mdq ]
    nothing
}
@test "start is quick: a make with nothing to do takes under a second" {
    fresh
    start=$EPOCHREALTIME
    quantize
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 1) }'
}
@test "the pipeline that docs/pipelines.md shows runs" {
    sed -n '/^```make$/,/^```$/p' "$ROOT/docs/pipelines.md" | sed "/^\`\`\`/d; s|path/to|$ROOT/pipelines|" >mine.mk
    make -f mine.mk MDQ_BIN="$PWD/bin" MODEL=m OUT=q BITS=3
    grep -q -e 'mdq-gptq --method rtn --bits 3 --group row' log
    [ -f q/mdq-report.json ]
}
