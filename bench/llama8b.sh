#!/usr/bin/env bash
# A synthetic model of Llama 8B's shape, cut to 4 blocks (random weights, made here), through mdq-tile, mdq-calib,
# mdq-gptq and mdq-pack block by block, each under `ulimit -v` of 10 GiB. Prints peak memory and shares of the time.
# About 8 GB of disk under MDQ_BENCH_DIR (default: a temporary folder). BLOCKS=1 for a quick look.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
PATH=$BIN:$PATH
BLOCKS=${BLOCKS:-4} TOKENS=${TOKENS:-2048}
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-8b.XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$TOOLS"/tests/tools/make-model -o "$dir/model" --arch llama --hidden 4096 --intermediate 14336 --layers "$BLOCKS" \
    --heads 32 --kv-heads 8 --vocab 128256 --ctx 8192 --dtype bf16 --seed 1
"$TOOLS"/examples/stories/make-stories --seed 1 --bytes $((TOKENS * 2)) >"$dir/text"

limited() { # NAME COMMAND...: under the limit, with its wall time and peak memory
    local name=$1; shift
    ( ulimit -v $((10 * 1024 * 1024)); command time -f "$name %e %M" -a -o "$dir/times" "$@" )
}
for ((b = 0; b < BLOCKS; b++)); do
    in=() out=()
    [ $b -eq 0 ] || in=(--acts-in "$dir/acts$b")
    [ $b -eq $((BLOCKS - 1)) ] || out=(--acts-out "$dir/acts$((b + 1))")
    limited mdq-tile mdq-tile "$dir/model" --block $b --memo "$dir/memo" -o "$dir/tiles"
    limited mdq-calib mdq-calib --model "$dir/model" --text "$dir/text" --tokens "$TOKENS" --ctx 2048 --memo "$dir/memo" \
        --block $b "${in[@]}" "${out[@]}" -o "$dir/stats"
    limited mdq-gptq mdq-gptq --bits 4 --group 128 --sym --stats "$dir/stats" --thin -o "$dir/q$b" "$dir/tiles"
    rm -f "$dir/tiles" "$dir/stats" "$dir/acts$b"
done
quantized=()
for ((b = 0; b < BLOCKS; b++)); do quantized+=("$dir/q$b"); done
limited mdq-pack mdq-pack --model "$dir/model" --format gptq -o "$dir/out" "${quantized[@]}"
awk -v blocks="$BLOCKS" -v tokens="$TOKENS" '
    { time[$1] += $2; total += $2; if ($3 > peak[$1]) peak[$1] = $3 }
    END {
        printf "Llama 8B shape, %d blocks, %d calibration tokens, each program under ulimit -v 10 GiB\n", blocks, tokens
        printf "%-10s %8s %14s\n", "stage", "share", "peak memory"
        n = split("mdq-tile mdq-calib mdq-gptq mdq-pack", s, " ")
        for (i = 1; i <= n; i++) printf "%-10s %7.1f%% %10.2f GiB\n", s[i], 100 * time[s[i]] / total, peak[s[i]] / 1048576
    }' "$dir/times"
