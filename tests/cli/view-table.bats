# mdq-view --table, on tiles with values that tests/tools/make-geometry.c chose: sums are done by hand here.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    # gate_proj and up_proj [41, 60]: one tile; down_proj [60, 41]: with tiles of 30 two rows of two
    "$TOOLS/tests/tools/make-model" -q --hidden 60 --heads 6 --kv-heads 2 --intermediate 41 --layers 2 --dtype bf16 -o m
    mdq-tile -q --tile 64 m -o t.mdq
    mdq-tile -q --tile 30 m --block 1 -o small.mdq
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -f l.mdq g.mdq
}
geometry() { "$TOOLS/tests/tools/make-geometry" "$@"; }
# The columns of a line, by the layer's name.
line() { awk -v name="$1" '$1 ~ name { $1 = ""; print substr($0, 2); exit }'; }

@test "md: counts, quantiles, constraints by status" {
    mdq-label -q --functional 'gate' --sensitive 'up_proj' --share 100,100 t.mdq -o l.mdq
    geometry --status l.mdq g.mdq
    mdq-view --table md g.mdq >table
    # 0.00 ... 0.40: the 5, 50, 95 % quantiles are values 2, 20, 38; even rows met: 21 of 41
    [ "$(line 1.mlp.gate <table)" = "41 0 41 0 0 charts - 0.020/0.200/0.380 - - 21/0/0 20/0/0 25.00 %" ]
    [ "$(line 1.mlp.up <table)" = "41 0 0 41 0 charts - - 0.020/0.200/0.380 - 0/21/0 0/20/0 25.00 %" ]
    # 60 points, 0.00 ... 0.59: 2.95, 29.5, 56.05
    [[ "$(line 0.self_attn.q <table)" =~ ^60\ 60\ 0\ 0\ 0\ charts\ 0\.0(29|30)/0\.295/0\.56[01]\ -\ -\ -\ 0/0/0\ 0/0/0\ 25\.00\ % ]]
    # heading, 14 layers, totals of two blocks
    [ "$(wc -l <table)" -eq 16 ]
    line total <table | grep -q '^604 440 82 82 0 - .*42/42/0 40/40/0 25.00 %$'
    # aligned: all lines are as long
    [ "$(awk '{ print length($0) }' table | sort -u | wc -l)" -eq 1 ]
}
@test "md: the totals' quantiles are those of the values, nearly" {
    geometry t.mdq g.mdq
    mdq-view --table md g.mdq | line total >total
    # all points free: per block 60 x 3 + 20 x 2 + 41 x 2 rows of the tiles, here by hand
    for block in 0 1; do
        for rows in 60 20 20 60 41 41 60; do seq 0 $((rows - 1)); done
    done | sort -n >values
    n=$(wc -l <values)
    [ "$(cut -d' ' -f1 total)" -eq "$n" ]
    IFS=/ read -r q5 q50 q95 < <(cut -d' ' -f7 total)
    for q in "5 $q5" "50 $q50" "95 $q95"; do
        awk -v n="$n" -v q="${q% *}" -v got="${q#* }" 'NR == int(q / 100 * (n - 1) + 0.5) + 1 {
            d = got - $1 / 100; exit !(d < 0.002 && d > -0.002) }' values || { echo "$q"; cat total; return 1; }
    done
}
@test "md: without md_status the targets decide; labels may be another stream" {
    geometry t.mdq g.mdq
    mdq-label -q --thin --functional gate --sensitive 'up|gate' --share 100,100 --md-functional 0.205 --md-sensitive 0.305 \
        --lambda 0.5 t.mdq -o l.mdq
    mdq-view --table md g.mdq l.mdq >table
    # sensitive: 0.31 ... 0.40 met; both: within 0.03 of 0.255: 0.23 ... 0.28
    [ "$(line 0.mlp.up <table)" = "41 0 0 41 0 charts - - 0.020/0.200/0.380 - 0/10/0 0/31/0 25.00 %" ]
    [ "$(line 0.mlp.gate <table)" = "41 0 0 0 41 charts - - - 0.020/0.200/0.380 0/0/6 0/0/35 25.00 %" ]
    mdq-label -q --thin --functional gate --share 100 --md-functional 0.205 t.mdq -o l.mdq
    mdq-view --table md g.mdq l.mdq | line 0.mlp.gate | grep -q ' 21/0/0 20/0/0 '
}
@test "lle: means over the tiles of a layer" {
    geometry small.mdq g.mdq
    mdq-view --table lle g.mdq >table
    # two rows of tiles: residuals 0.1 and 0.2, dimensions 4 and 5, the first with a manifold
    [ "$(line down_proj <table)" = "4 0.1500 0.8000 0.1875 13.0 4.5 50.0 %" ]
    [ "$(line k_proj <table)" = "2 0.1000 0.8000 0.1250 13.0 4.0 100.0 %" ]
    [ "$(line total <table | cut -d' ' -f1)" -eq "$(mdq-view small.mdq | grep -c '"t":"tile"')" ]
}
@test "vae: a line for each column block" {
    geometry small.mdq g.mdq
    mdq-view --table vae g.mdq >table
    # dimensions 3 + c, 5 + c with weights 1/4, 3/4; noise 0.2, 0.4
    [ "$(grep down_proj table | awk '{ $1 = ""; print }')" = " 0 2 3-5 4.50 0.35 8
 1 2 4-6 5.50 0.35 8" ]
    [ "$(line total <table)" = "14 28 3-6 5.00 0.35 8" ]
}
@test "streams without such keys, and misuse, are errors" {
    for what in md lle; do
        expect 1 mdq-view --table $what t.mdq
        [[ $output == *"q_proj.weight: tile [0,0]: has no key $what"* ]]
    done
    expect 1 mdq-view --table vae t.mdq
    [[ $output == *"--table vae: the stream holds no charts"* ]]
    expect 1 mdq-view --table md "$ROOT/tests/golden/no-records.mdq"
    [[ $output == *"the stream holds no tiles"* ]]
    expect 2 mdq-view --table nothing t.mdq
    expect 2 mdq-view --table md --stats t.mdq
    expect 2 mdq-view --header --table md t.mdq
}
@test "lines come while the stream is read" {
    geometry t.mdq g.mdq
    size=$(stat -c %s g.mdq)
    head -c $((size - 3)) g.mdq >cut.mdq
    run mdq-view --table md cut.mdq
    [ "$status" -eq 3 ]
    [[ $output == *gate_proj* ]]
    [[ $output != *total* ]]
}
