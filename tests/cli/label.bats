# mdq-label: how many points it marks, where, with what target; what it depends on and what not.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -q --hidden 64 --intermediate 300 --layers 2 --dtype bf16 -o m
    mdq-tile -q --tile 64 m -o t.mdq
    # down_proj [64, 300]: 5 tiles across, 320 points; up_proj [300, 64]: 5 tiles down, 300 points
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -f l.mdq x.mdq
}
# Sums over the tiles of a tensor, from what --stats shows: mean x count.
sum() { # FILE KEY TENSOR
    mdq-view --stats "$1" | jq -rs --arg k "$2" --arg t "$3" \
        '[.[] | select(.t == "tile" and (.id[0] | contains($t))) | .[$k] | .mean * .shape[0]] | add | . * 1000 | round / 1000'
}

@test "the share of each layer is exact, in matching tensors only, rounded" {
    mdq-label --functional 'down_proj|layers\.1\.mlp\.up' --share 7 t.mdq -o l.mdq
    mdq-check -q l.mdq
    [ "$(sum l.mdq label 0.mlp.down_proj)" = 22 ] # 7 % of 320 = 22.4
    [ "$(sum l.mdq label 1.mlp.down_proj)" = 22 ]
    [ "$(sum l.mdq label 1.mlp.up_proj)" = 21 ]   # 7 % of 300
    [ "$(sum l.mdq label 0.mlp.up_proj)" = 0 ]
    [ "$(sum l.mdq md_target 1.mlp.up_proj)" = 8.4 ]
    [ "$(sum l.mdq md_target q_proj)" = 0 ]
    # every tile has both keys, one element for each row
    [ "$(mdq-view l.mdq | jq -s '[.[] | select(.t == "tile") | [.w.shape[0]] == .label.shape and .label.shape == .md_target.shape and .label.dtype == "u8" and .md_target.dtype == "f32"] | all')" = true ]
}
@test "both sets at 100 %: all overlap, with the target that lambda gives" {
    mdq-label --functional . --sensitive . --share 100,100 --lambda 0.25 t.mdq -o l.mdq
    run bash -c "mdq-view --stats l.mdq | jq -c 'select(.t == \"tile\") | [.label.min, .label.max, (.md_target.min * 1e6 | round), (.md_target.max * 1e6 | round)]' | sort -u"
    [ "$output" = '[3,3,450000,450000]' ]
    mdq-label --sensitive . --share 0,100 --md-sensitive 0.75 t.mdq -o l.mdq
    run bash -c "mdq-view --stats l.mdq | jq -c 'select(.t == \"tile\") | [.label.min, .label.max, .md_target.min]' | sort -u"
    [ "$output" = '[2,2,0.75]' ]
}
@test "the counts in the summary are those in the stream" {
    expect 0 mdq-label --functional mlp --sensitive mlp --share 20,30 t.mdq -o l.mdq
    [[ $output =~ ([0-9]+)\ points:\ ([0-9]+)\ functional,\ ([0-9]+)\ sensitive,\ ([0-9]+)\ both ]]
    # per block: 320 + 300 + 300 points match
    [ $((BASH_REMATCH[2] + BASH_REMATCH[4])) -eq 368 ]
    [ $((BASH_REMATCH[3] + BASH_REMATCH[4])) -eq 552 ]
    # by chance: 6 % of 1840 points, give or take four standard deviations
    [ "${BASH_REMATCH[4]}" -gt 70 ] && [ "${BASH_REMATCH[4]}" -lt 151 ]
}
@test "threads, blocks and thin streams make no difference; the seed does" {
    mdq-label -q --functional . --sensitive . -j1 t.mdq -o l.mdq
    mdq-label -q --functional . --sensitive . -j3 <t.mdq | cmp - l.mdq
    for i in 0 1; do
        mdq-tile -q --tile 64 m --block $i | mdq-label -q --functional . --sensitive . -o b$i.mdq
    done
    diff <(mdq-cat -q b0.mdq b1.mdq | mdq-view --stats) <(mdq-view --stats l.mdq)
    mdq-label -q --functional . --sensitive . --thin t.mdq -o x.mdq
    [ "$(mdq-view x.mdq | jq -c 'select(.t == "tile") | keys' | sort -u)" = '["id","label","md_target","n","t"]' ]
    diff <(mdq-cat -q t.mdq x.mdq | mdq-view --stats) <(mdq-view --stats l.mdq)
    mdq-label -q --functional . --sensitive . --seed 1 t.mdq -o x.mdq
    run cmp x.mdq l.mdq
    [ "$status" -eq 1 ]
    [ "$(sum x.mdq md_target down_proj)" != 0 ]
}
@test "what it refuses" {
    mdq-label -q --functional . t.mdq -o l.mdq
    expect 1 mdq-label --functional . l.mdq -o x.mdq
    [[ $output == *"self_attn.q_proj.weight: tile [0,0]: is labelled already (key label)"* ]]
    [ ! -e x.mdq ]
    expect 2 mdq-label t.mdq -o x.mdq
    expect 2 mdq-label --functional '(' t.mdq -o x.mdq
    [[ $output == *"missing closing parenthesis"* ]]
    for share in '' 5, ,1 5,1,1 5% 101 -1 nan; do
        expect 2 mdq-label --functional . --share "$share" t.mdq -o x.mdq
    done
    expect 2 mdq-label --functional . --md-functional 0.7 t.mdq -o x.mdq
    expect 2 mdq-label --functional . --lambda 1.5 t.mdq -o x.mdq
    expect 0 mdq-label --sensitive nowhere t.mdq -o x.mdq
    [[ $output == *"--sensitive nowhere: matches no tensor"* ]]
}
