#!/usr/bin/env bash
# What gradients cost, in calibration passes over the same tokens, on the demo model's shape and on a wider one (random
# weights): (time of --gradients --no-hessian over N tokens of text and as many of records) / (time of calibration over
# 2 N tokens). Loading the model is in both. Products say: a forward pass, once more, and two for the backward pass is 4;
# a calibration pass makes the Hessians too. And the cost of all that mdq-calib --gradients does by default (262144 tokens
# of calibration, 65536 of gradients) follows: 1 + 1/4 of that ratio, and the records.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-gradients.XXXXXX")
trap 'rm -rf "$dir"' EXIT
seconds() { # COMMAND...: the least of three runs
    local best=1e9 start end
    for _ in 1 2 3; do
        start=$EPOCHREALTIME
        "$@"
        end=$EPOCHREALTIME
        best=$(awk -v a="$start" -v b="$end" -v best="$best" 'BEGIN { print b - a < best ? b - a : best }')
    done
    echo "$best"
}
"$TOOLS"/examples/stories/make-stories --seed 1 --bytes 400000 >"$dir/text"
"$TOOLS"/examples/stories/make-stories --seed 2 --bytes 400000 | grep . | cut -c1-200 >"$dir/lines"
printf '%-28s %10s %14s %14s %8s\n' model tokens 'calibration s' 'gradients s' ratio
measure() { # NAME TOKENS OPTIONS...: half the tokens are text, half are records (a byte each)
    local name=$1 tokens=$2 calib gradients
    shift 2
    "$TOOLS"/tests/tools/make-model -o "$dir/$name" --arch llama --vocab 258 --ctx 256 --dtype bf16 --seed 1 --tied "$@"
    head -n $((tokens / 800)) "$dir/lines" >"$dir/members"
    tail -n $((tokens / 800)) "$dir/lines" >"$dir/others"
    calib=$(seconds "$BIN"/mdq-calib -q --model "$dir/$name" --text "$dir/text" --tokens "$tokens" -o "$dir/h")
    gradients=$(seconds "$BIN"/mdq-calib -q --gradients --no-hessian --model "$dir/$name" --text "$dir/text" \
        --gradient-tokens $((tokens / 2)) --sensitive "$dir/members" --matched "$dir/others" -o "$dir/g")
    awk -v n="$name" -v t="$tokens" -v c="$calib" -v g="$gradients" 'BEGIN { printf "%-28s %10d %14.2f %14.2f %8.2f\n", n, t, c, g, g / c }'
}
measure demo "${TOKENS:-32768}" --hidden 256 --intermediate 640 --layers 4 --heads 4 --kv-heads 2
measure wide "$((${TOKENS:-32768} / 16))" --hidden 1280 --intermediate 3584 --layers 2 --heads 20 --kv-heads 4
