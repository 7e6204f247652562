#!/usr/bin/env bash
# What GPTQ does to points that must stay or must move: manifold distortions of 5 % functional and 1 % sensitive points
# (drawn at random in every layer), constraints met and missed, and perplexity, with the constraints on and off, at 4, 3 and
# 2 bits in symmetric groups of 32, on stories260k, babyllama105 (at MDQ_DATA, default: ../shared/data beside the project;
# left out where there is none) and the example model. BITS="4 3" and MODELS="stories" choose.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
PATH=$BIN:$PATH
root=$(cd "$(dirname "$0")/.." && pwd)
data=${MDQ_DATA:-$root/../shared/data}
for p in mdq-lle mdq-label; do command -v $p >/dev/null || { echo "no $p: skipped"; exit 0; }; done
mdq-gptq --help | grep -q -e --md-constraints || { echo "mdq-gptq has no --md-constraints: skipped"; exit 0; }
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-md-table.XXXXXX")
trap 'rm -rf "$dir"' EXIT

texts() { # MODEL CTX: what it is calibrated and measured on
    if [ "$1" = stories ]; then
        "$TOOLS"/examples/stories/make-stories --seed 7 --bytes 400000 >"$dir/calib.txt"
        "$TOOLS"/examples/stories/make-stories --seed 8 --bytes 60000 >"$dir/eval.txt"
    else
        cp "$data/text/tinystories-calib.txt" "$dir/calib.txt"
        jq -Rrs '.[0:60000]' "$data/text/tinystories-eval.txt" | head -c -1 >"$dir/eval.txt"
    fi
}
perplexity() { mdq-eval ppl -q --model "$1" --text "$dir/eval.txt" --ctx "$2" | jq .value; }
row() { # BITS CONSTRAINTS FUNCTIONAL SENSITIVE BOTH FREE-MD FUNC-MD SENS-MD BOTH-MD PERPLEXITY
    printf '%4s %-11s %15s %15s %15s %8s %8s %8s %8s %12s\n' "$@"
}

for name in ${MODELS:-stories260k babyllama105 stories}; do
    model=$data/models/$name ctx=256
    [ "$name" != stories ] || model=$root/examples/stories/model
    [ "$name" != stories260k ] || ctx=512
    [ -d "$model" ] || { echo "$name: no such model at MDQ_DATA: skipped"; continue; }
    texts "$name" $ctx
    mdq-calib -q --model "$model" --text "$dir/calib.txt" --tokens "${TOKENS:-16384}" --ctx $ctx -o "$dir/stats.mdq"
    mdq-tile -q "$model" -o "$dir/tiles.mdq"
    mdq-lle -q --thin -o "$dir/lle.mdq" "$dir/tiles.mdq"
    streams=("$dir/tiles.mdq" "$dir/lle.mdq")
    basis="charts"
    if command -v mdq-vae >/dev/null; then
        mdq-vae -q --thin -o "$dir/vae.mdq" "${streams[@]}"
        streams+=("$dir/vae.mdq")
    else
        basis="tangents of the neighbourhoods (no mdq-vae here)"
    fi
    mdq-label -q --thin --functional . --sensitive . --share 5,1 -o "$dir/label.mdq" "$dir/tiles.mdq"
    streams+=("$dir/label.mdq")

    echo "$name, groups of 32, distortion from $basis; met/missed of each class, median distortions"
    row bits constraints functional sensitive both 'MD free' 'MD func' 'MD sens' 'MD both' perplexity
    row 32 - - - - - - - - "$(perplexity "$model" $ctx)"
    for bits in ${BITS:-4 3 2}; do
        for constraints in on off; do
            mdq-gptq -q --bits "$bits" --group 32 --sym --ragged row --stats "$dir/stats.mdq" \
                --md-constraints $constraints -o "$dir/q.mdq" "${streams[@]}"
            # Which fields: the heading of mdq-view --table md.
            read -r free func sens both met_f met_s met_b missed_f missed_s missed_b < <(
                mdq-view --table md "$dir/q.mdq" | awk '
                    function median(q, p) { return split(q, p, "/") == 3 ? p[2] : "-" }
                    $1 == "total" { split($12, met, "/"); split($13, missed, "/")
                        print median($8), median($9), median($10), median($11), met[1], met[2], met[3],
                              missed[1], missed[2], missed[3] }')
            mdq-pack -q --model "$model" --format dense -o "$dir/out" "$dir/q.mdq"
            row "$bits" $constraints "$met_f/$missed_f" "$met_s/$missed_s" "$met_b/$missed_b" "$free" "$func" "$sens" \
                "$both" "$(perplexity "$dir/out" $ctx)"
        done
    done
    echo
done
