# mdq-lle on small made-up models: what it adds, what it leaves alone, what it refuses.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -q --hidden 96 --intermediate 144 --layers 1 -o m
    mdq-tile -q --tile 64 m -o t.mdq
    mdq-lle -q t.mdq -o l.mdq
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -f out.mdq
}
own='.lle, .lle_neighbours, .lle_weights, .lle_residual, .lle_embedding, .tangent_dim, .tangent_normal'

# refused STATUS PATTERN COMMAND...: the status, the pattern in the message, and no output file
refused() {
    local want=$1 pattern=$2; shift 2
    expect "$want" "$@"
    [[ $output == *$pattern* ]] || { echo "no '$pattern' in: $output"; return 1; }
    [ ! -e out.mdq ]
    [ -z "$(ls -A | grep part)" ]
}
maps() { # STREAM FILTER: of the map of each tile
    mdq-view "$1" | jq -c "select(.t == \"tile\") | .lle | $2"
}

@test "adds its keys and leaves every other as it was" {
    mdq-check -q l.mdq
    diff <(mdq-view --stats t.mdq | jq -c 'select(.t) | del(.n)') <(mdq-view --stats l.mdq | jq -c "select(.t) | del(.n, $own)")
    [ "$(mdq-view l.mdq | jq -c 'select(.t == "tile") | [.lle_neighbours.dtype, .lle_weights.dtype, .lle_residual.dtype,
        .lle_embedding.dtype, .tangent_dim.dtype, .tangent_normal.dtype]' | sort -u)" = '["u16","f32","f32","f32","u8","f32"]' ]
    [ "$(mdq-view l.mdq | jq -c 'select(.t == "tile") | .w.shape[0] as $n | [.lle_neighbours.shape == [$n, 15],
        .lle_weights.shape == [$n, 15], .lle_residual.shape == [$n], .lle_embedding.shape == [$n, 2], .tangent_dim.shape == [$n],
        .tangent_normal.shape == [$n]] | all' | sort -u)" = true ]
    [ "$(maps l.mdq keys | sort -u)" = '["components","dim95","dim_parallel","duplicates","k","manifold","normal_ratio","null_residual","reg","residual","variance"]' ]
    [ "$(mdq-view l.mdq | jq -c 'select(.t == "layer") | has("lle")' | sort -u)" = false ]
}
@test "unknown keys pass through byte for byte" {
    "$TOOLS/tests/tools/x-key" t.mdq odd.mdq
    mdq-lle -q odd.mdq -o out.mdq
    "$TOOLS/tests/tools/x-key" --verify odd.mdq out.mdq
}
@test "a thin stream merged with its input is the full stream" {
    mdq-lle -q --thin t.mdq -o out.mdq
    [ "$(mdq-view out.mdq | jq -c 'select(has("w"))' | wc -l)" -eq 0 ]
    diff <(mdq-view --stats t.mdq out.mdq) <(mdq-view --stats l.mdq)
}
@test "the bytes do not depend on threads, or on files and pipes; --seed is for the copies" {
    mdq-lle -q -j1 t.mdq -o out.mdq
    cmp out.mdq l.mdq
    mdq-tile -q --tile 64 m | mdq-lle -q -j2 >out.mdq
    cmp out.mdq l.mdq
    mdq-lle -q --seed 1 t.mdq -o out.mdq
    [ "$(maps out.mdq .null_residual)" != "$(maps l.mdq .null_residual)" ]
    [ "$(maps out.mdq .residual)" = "$(maps l.mdq .residual)" ]
}
@test "provenance has the arguments that change results, and --no-pg adds none" {
    [ "$(mdq-view --header l.mdq | jq -c '.prov[-1] | [.prog, (.args | keys)]')" = \
        '["mdq-lle",["embedding","neighbours","parallel","permutations","reg","seed","variance"]]' ]
    mdq-lle -q --no-pg t.mdq -o out.mdq
    [ "$(mdq-view --header out.mdq | jq '.prov | length')" -eq "$(mdq-view --header t.mdq | jq '.prov | length')" ]
}
@test "random weights show no manifold" {
    [ "$(maps l.mdq .manifold | sort -u)" = false ]
    [ "$(maps l.mdq 'select(.residual > 0.9 * .null_residual and .residual < 1.1 * .null_residual and .components == 1)' | wc -l)" \
        -eq "$(maps l.mdq .k | wc -l)" ]
}
@test "options reach the results" {
    mdq-lle -q -k 7 --embedding 0 --variance 0.5 --permutations 0 --parallel 0 --reg 0.01 t.mdq -o out.mdq
    mdq-check -q out.mdq
    [ "$(maps out.mdq '[.k, .reg, .variance, .null_residual, .dim_parallel, .manifold]' | sort -u)" = '[7,0.01,0.5,0,0,false]' ]
    [ "$(mdq-view out.mdq | jq -c 'select(has("lle_embedding"))' | wc -l)" -eq 0 ]
    [ "$(maps out.mdq 'select(.dim95 < 5)' | wc -l)" -eq "$(maps out.mdq .k | wc -l)" ]
    mdq-lle -q --embedding 5 t.mdq -o out.mdq
    [ "$(mdq-view out.mdq | jq -c 'select(.t == "tile") | .lle_embedding.shape[1]' | sort -u)" -eq 5 ]
}
@test "tiles with fewer rows than neighbours, ragged ones, and other types of weights" {
    mdq-tile -q --tile 10 m | mdq-lle -q -o out.mdq
    mdq-check -q out.mdq
    [ "$(maps out.mdq .k | sort -n | uniq | xargs)" = "8 9" ]
    for t in f16 bf16; do
        "$TOOLS/tests/tools/make-model" -q --hidden 96 --intermediate 100 --layers 1 --dtype $t -o m-$t
        mdq-tile -q m-$t | mdq-lle -q -o $t.mdq
        mdq-check -q $t.mdq
        [ "$(maps $t.mdq '.k == 15 and .residual > 0.5' | sort -u)" = true ]
    done
}
@test "one line of summary, nothing with -q" {
    expect 0 mdq-lle t.mdq -o out.mdq
    [ "${#lines[@]}" -eq 1 ]
    [[ $output == *" tiles: residual 0."*", null 0."*"evidence of a manifold in 0.0 % of tiles; dimension "* ]]
    expect 0 mdq-lle -q t.mdq -o out.mdq
    [ -z "$output" ]
}
@test "misuse is refused" {
    for o in '-k 0' '-k 65' '-k x' '--reg 0' '--reg -1' '--variance 2' '--embedding -1' '--permutations -1' '--parallel 1.5'; do
        refused 2 "${o%% *}" bash -c "mdq-lle $o t.mdq -o out.mdq 2>&1 | sed 's/--neighbours/-k/'; exit \${PIPESTATUS[0]}"
    done
    mdq-lle --help | grep -q 'mdq-tile --tile'
}
@test "bad input is refused: no tiles, no weights, done already, cut off" {
    "$TOOLS/tests/tools/make-hessians" -q m -o h.mdq
    refused 1 'holds no tiles' mdq-lle -q h.mdq -o out.mdq
    mdq-lle -q --thin t.mdq -o thin.mdq
    refused 1 'has neighbours already' mdq-lle -q l.mdq -o out.mdq
    refused 1 'has neighbours already' mdq-lle -q thin.mdq -o out.mdq
    head -c 20000 t.mdq >short.mdq
    refused 3 short.mdq mdq-lle -q short.mdq -o out.mdq
    refused 3 nowhere mdq-lle -q nowhere.mdq -o out.mdq
}
