# mdq-vae on small made-up models: what it adds, what it leaves alone, what it refuses.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -q --hidden 96 --intermediate 144 --layers 1 -o m
    mdq-tile -q --tile 64 m -o t.mdq
    mdq-lle -q --embedding 0 --thin t.mdq -o l.mdq
    mdq-vae -q --epochs 4 t.mdq l.mdq -o v.mdq
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -f out.mdq
}
refused() { # STATUS PATTERN COMMAND...
    local want=$1 pattern=$2; shift 2
    expect "$want" "$@"
    [[ $output == *$pattern* ]] || { echo "no '$pattern' in: $output"; return 1; }
    [ ! -e out.mdq ]
}

@test "adds its keys and its records, and leaves everything else as it was" {
    mdq-check -q v.mdq
    diff <(mdq-view --stats t.mdq l.mdq | jq -c 'select(.t) | del(.n)') \
        <(mdq-view --stats v.mdq | jq -c 'select(.t and .t != "chart") | del(.n, .row_scale, .chart, .responsibilities, .foot, .normal, .vae)')
    [ "$(mdq-view v.mdq | jq -c 'select(.t == "tile") | .w.shape[0] as $n | [.chart.shape == [$n], .normal.shape == [$n],
        .responsibilities.shape[0] == $n, .foot.shape[0] == $n, .row_scale > 0] | all' | sort -u)" = true ]
}
@test "charts of a column block: weights sum to 1, shapes are those of their columns" {
    mdq-view v.mdq | jq -se '[.[] | select(.t == "chart")] | group_by([.id[0], .id[2]]) | map(map(.weight) | add) |
        all(. > 0.999999 and . < 1.000001)'
    mdq-view v.mdq | jq -se '[.[] | select(.t == "chart")] | all(.mean.shape[0] as $D | .basis.shape == [$D, .dim] and
        .dec_out.shape == [$D, .hidden] and .enc_in.shape == [.hidden, $D] and .noise > 0)'
}
@test "the bytes do not depend on threads, files and pipes, or thin streams merged" {
    mdq-vae -q -j1 --epochs 4 t.mdq l.mdq -o out.mdq
    cmp out.mdq v.mdq
    mdq-tile -q --tile 64 m | mdq-vae -q -j2 --epochs 4 - l.mdq >out.mdq
    cmp out.mdq v.mdq
    mdq-vae -q --thin --epochs 4 t.mdq l.mdq -o out.mdq
    diff <(mdq-view --stats t.mdq l.mdq out.mdq) <(mdq-view --stats v.mdq)
    [ "$(mdq-view out.mdq | jq -c 'select(has("w"))' | wc -l)" -eq 0 ]
}
@test "unknown keys pass through byte for byte" {
    "$TOOLS/tests/tools/x-key" t.mdq odd.mdq
    mdq-vae -q --epochs 0 odd.mdq -o out.mdq
    mdq-view odd.mdq | jq -c 'select(.t) | [.id, with_entries(select(.key | startswith("x-")))]' >want
    mdq-view out.mdq | jq -c 'select(.t and .t != "chart") | [.id, with_entries(select(.key | startswith("x-")))]' | diff want -
}
@test "random weights have charts without dimensions or with a chance one, and none that is curved" {
    [ "$(mdq-view v.mdq | jq -s '[.[] | select(.t == "chart") | .hidden] | max')" -eq 0 ]
    [ "$(mdq-view v.mdq | jq -s '[.[] | select(.t == "chart") | .dim] | add / length < 1')" = true ]
}
@test "options: so many charts, so many dimensions" {
    mdq-vae -q --charts 2 --dim 3 --epochs 0 t.mdq -o out.mdq
    [ "$(mdq-view out.mdq | jq -c 'select(.t == "chart") | .dim' | sort -u)" = 3 ]
    [ "$(mdq-view out.mdq | jq -c 'select(.t == "chart") | .id[1]' | sort -u | tr '\n' ' ')" = "0 1 " ]
}
@test "what it refuses" {
    refused 1 "has charts already" mdq-vae -q v.mdq -o out.mdq
    refused 2 "--dim" mdq-vae --dim 65 t.mdq -o out.mdq
    refused 2 "--charts" mdq-vae --charts 0 t.mdq -o out.mdq
    refused 1 "key w" mdq-vae -q l.mdq -o out.mdq
    head -c 3000 t.mdq >cut.mdq
    refused 3 "cut short" mdq-vae -q cut.mdq -o out.mdq
}
