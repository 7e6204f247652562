# pipelines/geometry.mk with stand-ins: what runs again after each kind of change, what each stage is given to read.
# build: plain
load ../helpers
load pipeline

setup() {
    setup_standins
    pipeline=geometry
    all+=(LABELS="--functional mlp --sensitive down")
}
fresh() { ran -- tile:4 calib:4 lle:4 vae:4 label:4 gptq:4 pack:1; }
nothing() {
    ran "$@" --
    quantize -q "$@"
}
# told N ARGS...: -q says there is work, -n names N steps of it, and neither does any.
told() {
    local n=$1
    shift
    : >log
    run quantize -q "$@"
    [ "$status" -eq 1 ]
    quantize -n "$@" | grep -c '^echo "mdq: ' >told
    [ "$(cat told)" -eq "$n" ] || { echo "told $(cat told), want $n"; return 1; }
    [ ! -s log ]
}
called() { grep -q -e "$1" log || { echo "no call like $1"; cat log; return 1; }; }

@test "a fresh run does every stage of every block; a second one nothing" {
    told 25
    fresh
    nothing
}
@test "each stage reads what it should, from files, and writes thin" {
    fresh
    t='work/tile-[0-9a-f]*/block-02.mdq' l='work/lle-[0-9a-f]*/block-02.mdq' v='work/vae-[0-9a-f]*/block-02.mdq'
    b='work/label-[0-9a-f]*/block-02.mdq'
    called "^mdq-lle -j [0-9]* --thin -o [^ ]* $t\$"
    called "^mdq-vae -j [0-9]* --thin -o [^ ]* $t $l\$"
    called "^mdq-label --functional mlp --sensitive down -j [0-9]* --thin -o [^ ]* $t\$"
    called "^mdq-gptq .* --thin --stats work/calib-[^ ]* -o [^ ]* $t $l $v $b\$"
}
@test "other labels: label, gptq and pack; back: pack" {
    fresh
    new=(LABELS="--functional attn --share 3")
    told 9 "${new[@]}"
    ran "${new[@]}" -- label:4 gptq:4 pack:1
    nothing "${new[@]}"
    ran LABEL_ARGS=--seed=3 -- label:4 gptq:4 pack:1
    told 1
    ran -- pack:1
}
@test "no labels: no stage label" {
    ran LABELS= -- tile:4 calib:4 lle:4 vae:4 gptq:4 pack:1
    told 9
    ran -- label:4 gptq:4 pack:1
}
@test "arguments of a stage: it and what follows" {
    fresh
    told 9 VAE_ARGS=--charts=4
    ran VAE_ARGS=--charts=4 -- vae:4 gptq:4 pack:1
    told 13 LLE_ARGS=--k=9
    ran LLE_ARGS=--k=9 -- lle:4 vae:4 gptq:4 pack:1
    ran BITS=3 -- gptq:4 pack:1
    ran TOKENS=100 -- calib:4 gptq:4 pack:1
    ran EXPORT=dense -- pack:1
    ran TILE_ARGS=--tile=64 -- tile:4 lle:4 vae:4 label:4 gptq:4 pack:1
}
@test "a program swapped or rebuilt: its stage and what follows" {
    fresh
    cp bin/mdq-lle my-lle
    sed -i 's/^name=.*/name=mdq-lle/' my-lle
    told 13 LLE=./my-lle
    ran LLE=./my-lle -- lle:4 vae:4 gptq:4 pack:1
    echo "# another version" >>bin/mdq-vae
    ran -- vae:4 gptq:4 pack:1
    echo "# another version" >>bin/mdq-label
    ran -- label:4 gptq:4 pack:1
    sed 's/^name=.*/name=mdq-label/' bin/mdq-label >my-label
    chmod +x my-label
    ran LABEL=./my-label -- label:4 gptq:4 pack:1
}
@test "a stage left out is neither run nor read" {
    ran VAE=none -- tile:4 calib:4 lle:4 label:4 gptq:4 pack:1
    [ -z "$(find work -name 'vae-*')" ]
    ! grep -q vae- log
    ran LLE=none -- vae:4 gptq:4 pack:1
    ! grep -q lle- log
    ran LLE=none VAE=none -- gptq:4 pack:1
    nothing LLE=none VAE=none
}
@test "rounding calibrates nothing and needs no text" {
    all=(MDQ_BIN="$PWD/bin" MODEL=m OUT=q LABELS="--functional mlp")
    ran METHOD=rtn -- tile:4 lle:4 vae:4 label:4 gptq:4 pack:1
    nothing METHOD=rtn
}
@test "sequential: what gptq depends on, calibration does too" {
    ran SEQUENTIAL=1 -- tile:4 calib:4 lle:4 vae:4 label:4 gptq:4 pack:1
    [ "$(grep -c -e --quantized log)" -eq 3 ]
    nothing SEQUENTIAL=1
    ran SEQUENTIAL=1 VAE_ARGS=--charts=4 -- vae:4 calib:4 gptq:4 pack:1
    ran SEQUENTIAL=1 LABELS="--functional attn" -- label:4 calib:4 gptq:4 pack:1
    ran SEQUENTIAL=1 EXPORT=dense -- pack:1
}
@test "one block's charts lost: nothing; touched: that block" {
    fresh
    touch work/vae-*/block-02.mdq
    told 2
    ran -- gptq:1 pack:1
    rm work/vae-*/block-01.mdq
    nothing
    rm work/gptq-*/block-01.mdq
    ran -- vae:1 gptq:1 pack:1
}
@test "-j4 makes the same; help names the variables of both files" {
    fresh
    cp q/model.safetensors before
    ran -j4 WORK=w2 OUT=q2 -- tile:4 calib:4 lle:4 vae:4 label:4 gptq:4 pack:1
    cmp before q2/model.safetensors
    quantize help >text
    for v in LABELS LLE VAE_ARGS BITS GPTQ_ARGS WORK; do grep -q "^  $v " text; done
    ! grep -q '^  CACHE ' text
}
