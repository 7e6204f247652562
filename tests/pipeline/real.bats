# The pipelines with the real programs on a small random model.
# build: plain
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" --layers 3 --hidden 128 --intermediate 320 --heads 4 --kv-heads 2 --vocab 300 \
        --dtype bf16 --scale 0.05 -o m
    for ((i = 0; i < 1500; i++)); do echo "line $((i * 7919 % 10007)) of a text to be calibrated on"; done >text.txt
    start=$EPOCHREALTIME
    quantize OUT=q -j1
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }' >seconds
}
setup() {
    cd "$BATS_FILE_TMPDIR"
}
quantize() {
    (unset MAKEFLAGS MFLAGS MAKELEVEL
        make -f "$ROOT/pipelines/quantize.mk" MDQ_BIN="$BIN" MODEL=m CALIB=text.txt GROUP=32 TOKENS=4096 CTX=64 "$@")
}

@test "-j2 makes the same bytes as -j1" {
    quantize OUT=q-j2 WORK=w-j2 -j2
    diff -r q q-j2
    for f in work/*/block-*.mdq; do cmp "$f" "w-j2/${f#work/}"; done
}
@test "sequential: -j2 makes the same bytes as -j1, and others than without" {
    quantize OUT=s-j1 WORK=ws1 SEQUENTIAL=1 -j1
    quantize OUT=s-j2 WORK=ws2 SEQUENTIAL=1 -j2
    diff -r s-j1 s-j2
    run cmp q/model.safetensors s-j1/model.safetensors
    [ "$status" -eq 1 ]
    [ -z "$(find ws1 ws2 -name 'acts-*')" ]
}
@test "a pipe typed by hand makes the same folder as the cached run" {
    mdq-calib --model m --text text.txt --tokens 4096 --ctx 64 -o stats.mdq
    mdq-tile m | mdq-gptq --method gptq --bits 4 --group 32 --sym --ragged error --order act --stats stats.mdq |
        mdq-pack --model m --format gptq --unpackable error -o q-hand
    diff -r q q-hand
}
@test "tiles stored or piped: the same" {
    quantize OUT=q-tile WORK=w-tile CACHE=tile
    [ -f w-tile/tile-*/block-02.mdq ]
    diff -r q q-tile
}
@test "every width, symmetry, group, method and format" {
    quantize OUT=v BITS=2 SYM=0 EXPORT=dense
    quantize OUT=v BITS=3 METHOD=rtn EXPORT=dense
    quantize OUT=v BITS=8 SYM=0 EXPORT=gptq_v2
    quantize OUT=v BITS=4 GROUP=row EXPORT=dense
    quantize OUT=v BITS=4 ORDER=natural PRECISION=double SCALE=f16 DAMP=0.05 FALLBACK=rtn EXPORT=compressed-tensors
    quantize OUT=v BITS=4 SCALE=f32 EXPORT=dense DTYPE=f32
    [ -f v/mdq-report.json ]
    jq -e . v/mdq-report.json >/dev/null
}
@test "a second run does nothing, quickly, and -q agrees" {
    run quantize OUT=q
    [ "$status" -eq 0 ]
    [[ $output == *"Nothing to be done"* ]]
    quantize OUT=q -q
}
@test "-n, -q and plan read no weights" {
    # Other bytes of the same size and time: seen only by who reads them.
    cp -r m unread
    quantize MODEL=unread OUT=q-unread WORK=wn
    touch -r unread/model.safetensors time
    size=$(stat -c %s unread/model.safetensors)
    head -c "$size" /dev/zero | dd of=unread/model.safetensors conv=notrunc status=none
    touch -r time unread/model.safetensors
    quantize MODEL=unread OUT=q-unread WORK=wn -q
    quantize MODEL=unread OUT=q-unread WORK=wn BITS=3 -n >/dev/null
    quantize MODEL=unread OUT=q-unread WORK=wn BITS=3 plan
    touch unread/model.safetensors
    run quantize MODEL=unread OUT=q-unread WORK=wn -q
    [ "$status" -eq 1 ]
}
@test "a group that does not divide a row: an error that names it, or whole rows" {
    run quantize OUT=r GROUP=96
    [ "$status" -ne 0 ]
    [[ $output == *96* ]]
    [ ! -e r ]
    quantize OUT=r GROUP=96 RAGGED=row EXPORT=dense
}
@test "what the format cannot hold: an error that names it, or kept and counted" {
    "$TOOLS/tests/tools/make-model" --layers 1 --hidden 64 --intermediate 112 --heads 2 --vocab 300 -o odd
    run quantize MODEL=odd OUT=u WORK=wu METHOD=rtn GROUP=16
    [ "$status" -ne 0 ]
    [[ $output == *"layers.0.mlp"* ]]
    [ ! -e u ]
    quantize MODEL=odd OUT=u WORK=wu METHOD=rtn GROUP=16 UNPACKABLE=keep
    jq -e . u/mdq-report.json >/dev/null
    grep -q layers.0.mlp.down_proj u/mdq-report.json
}
@test "a text shorter than a window is an error that names it" {
    echo short >short.txt
    run quantize OUT=t CALIB=short.txt WORK=wt
    [ "$status" -ne 0 ]
    [[ $output == *short.txt* ]]
    [ ! -e t ]
}
@test "kill -9 at any time: nothing partial, and the next run goes on to the same bytes" {
    for share in 0.1 0.3 0.5 0.7 0.9; do
        rm -rf k wk
        (unset MAKEFLAGS MFLAGS MAKELEVEL
            exec setsid make -f "$ROOT/pipelines/quantize.mk" MDQ_BIN="$BIN" MODEL=m CALIB=text.txt GROUP=32 TOKENS=4096 \
                CTX=64 OUT=k WORK=wk) >/dev/null 2>&1 &
        pid=$!
        sleep "$(awk -v t="$(cat seconds)" -v s=$share 'BEGIN { print t * s }')"
        kill -9 -- -$pid 2>/dev/null || true
        wait $pid || true
        for f in wk/*/block-*.mdq; do
            [ ! -e "$f" ] || cmp "$f" "work/${f#wk/}"
        done
        [ ! -e k ] || diff -r q k
        quantize OUT=k WORK=wk
        diff -r q k
        [ -z "$(find wk -name '*.part')" ]
    done
}
@test "a full disk stops the run; nothing is left under a final name; with room again it goes on" {
    rm -rf f wf
    for call in write:ENOSPC:1 write:ENOSPC:3 rename:EIO:1 fsync:EIO:1; do
        LD_PRELOAD=$TOOLS/tests/fault/mdq_fault.so FAULT=$call run quantize OUT=f WORK=wf
        [ "$status" -ne 0 ]
        [ ! -e f ]
        for g in wf/*/block-*.mdq; do
            [ ! -e "$g" ] || cmp "$g" "work/${g#wf/}"
        done
    done
    quantize OUT=f WORK=wf
    diff -r q f
}
@test "a replaced stage in the middle, as a script that adds an option" {
    printf '#!/bin/sh\nexec mdq-gptq --damp 0.02 "$@"\n' >my-gptq
    chmod +x my-gptq
    quantize OUT=mine GPTQ=./my-gptq
    quantize OUT=same GPTQ_ARGS='--damp 0.02'
    cmp mine/model.safetensors same/model.safetensors
}
@test "installed: programs, pages and pipelines work from where they are, and uninstall leaves nothing" {
    there=$PWD/root
    in_tree() { (unset MAKEFLAGS MFLAGS MAKELEVEL; make -s -C "$ROOT" DESTDIR="$there" PREFIX=/opt/mdq "$@"); }
    in_tree install
    (unset MAKEFLAGS MFLAGS MAKELEVEL MDQ_BIN
        PATH=/usr/bin:/bin make -f "$there/opt/mdq/share/mdq/pipelines/quantize.mk" MODEL=m CALIB=text.txt GROUP=32 \
            TOKENS=4096 CTX=64 OUT=q-installed WORK=wi)
    diff -r q q-installed
    for p in "$there"/opt/mdq/bin/*; do
        grep -q '^\.TH' "$there/opt/mdq/share/man/man1/$(basename "$p").1"
        grep -q '^\.SH EXAMPLE' "$there/opt/mdq/share/man/man1/$(basename "$p").1"
    done
    in_tree uninstall
    [ -z "$(find "$there" -type f)" ]
}
@test "geometry: -j2 makes the same bytes as -j1, and merged streams have the keys of all stages" {
    without=()
    [ -x "$BIN/mdq-vae" ] || without=(VAE=none)
    for j in 1 2; do
        (unset MAKEFLAGS MFLAGS MAKELEVEL
            make -f "$ROOT/pipelines/geometry.mk" MDQ_BIN="$BIN" MODEL=m CALIB=text.txt GROUP=32 TOKENS=4096 CTX=64 \
                "${without[@]}" LABELS="--functional 'mlp[.]' --sensitive down_proj --share 10,5" WORK=wg$j OUT=g$j -j$j)
    done
    diff -r g1 g2
    for f in wg1/*/block-*.mdq; do cmp "$f" "wg2/${f#wg1/}"; done
    mdq-cat -q wg1/tile-*/block-*.mdq -o tiles.mdq
    mdq-cat -q wg1/label-*/block-*.mdq -o labels.mdq
    mdq-cat -q wg1/lle-*/block-*.mdq -o lle.mdq
    mdq-check -q labels.mdq
    mdq-check -q lle.mdq
    # the labels of all blocks are what the whole model gets at once
    diff <(mdq-label -q --thin --functional 'mlp[.]' --sensitive down_proj --share 10,5 tiles.mdq | mdq-view --stats) \
        <(mdq-view --stats labels.mdq)
    mdq-view tiles.mdq lle.mdq labels.mdq | jq -se '[.[] | select(.t == "tile") | has("w") and has("lle") and has("label")] | all'
}
# Stands for mdq-score: as mdq-label, which takes the streams and leaves the rest of the options unread.
as_score() {
    cat >my-score <<'END'
#!/usr/bin/env bash
streams=() out=
while [ $# -gt 0 ]; do
    case $1 in
    --thin) ;;
    --stats) mdq-check -q "$2" || exit 1; shift ;;
    -o) out=$2; shift ;;
    -*) shift ;;
    *) streams+=("$1") ;;
    esac
    shift
done
exec mdq-label -q --thin --functional 'mlp[.]' --sensitive down_proj --share 10,5 -o "$out" "${streams[@]}"
END
    cat >my-gradients <<'END'
#!/usr/bin/env bash
# For the form alone: Hessians where gradients would be.
while [ "$1" != --model ]; do shift; done
exec mdq-calib -q --tokens 512 --ctx 64 --model "$2" --text "$4" -o "${12}"
END
    chmod +x my-score my-gradients
}
selective() {
    (unset MAKEFLAGS MFLAGS MAKELEVEL
        make -f "$ROOT/pipelines/selective.mk" MDQ_BIN="$BIN" MODEL=m CALIB=text.txt GROUP=32 TOKENS=4096 CTX=64 \
            SENSITIVE=text.txt MATCHED=text.txt "$@")
}
@test "a stage of the whole model: what it makes of joined blocks, its readers get block by block, -j2 as -j1" {
    as_score
    selective SCORE=./my-score GRADIENTS=./my-gradients WORK=wp1 OUT=p1
    selective SCORE=./my-score GRADIENTS=./my-gradients WORK=wp2 OUT=p2 -j2
    diff -r p1 p2
    # the same labels made block by block
    (unset MAKEFLAGS MFLAGS MAKELEVEL
        make -f "$ROOT/pipelines/geometry.mk" MDQ_BIN="$BIN" MODEL=m CALIB=text.txt GROUP=32 TOKENS=4096 CTX=64 \
            LABELS="--functional 'mlp[.]' --sensitive down_proj --share 10,5" WORK=wp1 OUT=p3)
    cmp p1/model.safetensors p3/model.safetensors
    labels() { mdq-view --stats | jq -c 'select(.t == "tile") | del(.n)'; }
    diff <(mdq-cat -q wp1/label-*/block-*.mdq | labels) <(labels <wp1/score-*/all.mdq)
}
@test "a joined stream cut short stops its reader" {
    as_score
    selective SCORE=./my-score GRADIENTS=./my-gradients WORK=wp4 OUT=p4
    rm -r p4 wp4/gptq-*
    all=$(echo wp4/score-*/all.mdq)
    head -c $(($(stat -c %s "$all") - 50)) "$all" >short && mv short "$all"
    run selective SCORE=./my-score GRADIENTS=./my-gradients WORK=wp4 OUT=p4
    [ "$status" -ne 0 ]
    [ ! -e p4 ]
    [ -z "$(find wp4/gptq-* -name '*.mdq')" ]
}
