#!/usr/bin/env bash
# What the pipeline costs beside calibration and GPTQ themselves, on the demo model's shape with ten times its blocks
# (random weights): (wall time of quantize.mk - wall time inside mdq-calib and mdq-gptq) / wall time of quantize.mk.
# The two programs are swapped for wrappers that note their own time. Goal: under 5 %.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-overhead.XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$TOOLS"/tests/tools/make-model -o "$dir/model" --arch llama --hidden 256 --intermediate 640 --layers 40 --heads 4 \
    --kv-heads 2 --vocab 1024 --ctx 256 --dtype bf16 --seed 1 --tied
"$TOOLS"/examples/stories/make-stories --seed 1 --bytes 2000000 >"$dir/text"
for p in mdq-calib mdq-gptq; do
    cat >"$dir/$p" <<EOF
#!/bin/bash
start=\$EPOCHREALTIME
"$BIN/$p" "\$@" || exit
echo "\$start \$EPOCHREALTIME" >>"$dir/inside"
EOF
    chmod +x "$dir/$p"
done
start=$EPOCHREALTIME
make -s -f "$root/pipelines/quantize.mk" CALIBRATE="$dir/mdq-calib" GPTQ="$dir/mdq-gptq" MODEL="$dir/model" \
    CALIB="$dir/text" OUT="$dir/out" WORK="$dir/work" BITS=4 GROUP=128 TOKENS="${TOKENS:-131072}" >"$dir/log" 2>&1 || {
    tail "$dir/log"
    exit 1
}
end=$EPOCHREALTIME
awk -v total="$(echo "$end $start" | awk '{ print $1 - $2 }')" '
    { inside += $2 - $1 }
    END {
        printf "pipeline overhead on the demo shape x 10 (40 blocks): %.1f %% of the run (goal: under 5 %%)\n",
            100 * (total - inside) / total
    }' "$dir/inside"
