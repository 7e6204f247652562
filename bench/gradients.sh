#!/usr/bin/env bash
# What gradients cost in calibration passes over as many tokens, on the demo model's shape and on a wider one (random
# weights): time of --gradients --no-hessian over time of calibration; half of the tokens are text, half records. Loading
# the model is in both. By products it is 4 forward passes: one, once more, two for the backward pass; a calibration pass
# is one and the Hessians. mdq-calib --gradients with its defaults (262144 tokens of calibration, 65536 of gradients) thus
# takes 1 + 1/4 of this ratio calibration passes, and the records' part.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-gradients.XXXXXX")
trap 'rm -rf "$dir"' EXIT
seconds() { # COMMAND...: the least of three runs
    local best=1e9 start end
    for _ in 1 2 3; do
        start=$EPOCHREALTIME
        "$@" || exit # a failure is no time
        end=$EPOCHREALTIME
        best=$(awk -v a="$start" -v b="$end" -v best="$best" 'BEGIN { print b - a < best ? b - a : best }')
    done
    echo "$best"
}
"$TOOLS"/examples/stories/make-stories --seed 1 --bytes 400000 >"$dir/text"
"$TOOLS"/examples/stories/make-stories --seed 2 --bytes 400000 | grep . | cut -c1-200 >"$dir/lines"
printf '%-10s %10s %14s %14s %8s\n' model tokens 'calibration s' 'gradients s' ratio
measure() { # NAME TOKENS OPTIONS...: about so many, 800 or more; a token is a byte
    local name=$1 half=$(($2 / 2)) records=$(($2 / 800)) tokens calib gradients
    shift 2
    "$TOOLS"/tests/tools/make-model -o "$dir/$name" --arch llama --vocab 258 --ctx 256 --dtype bf16 --seed 1 --tied "$@"
    head -n "$records" "$dir/lines" >"$dir/members"
    tail -n $((2 * records)) "$dir/lines" >"$dir/others" # gradients see the first half
    tokens=$((half + $(head -n "$records" "$dir/others" | cat - "$dir/members" | wc -c)))
    calib=$(seconds "$BIN"/mdq-calib -q --model "$dir/$name" --text "$dir/text" --tokens "$tokens" -o "$dir/h")
    gradients=$(seconds "$BIN"/mdq-calib -q --gradients --no-hessian --model "$dir/$name" --text "$dir/text" \
        --gradient-tokens "$half" --sensitive "$dir/members" --matched "$dir/others" -o "$dir/g")
    awk -v n="$name" -v t="$tokens" -v c="$calib" -v g="$gradients" \
        'BEGIN { printf "%-10s %10d %14.2f %14.2f %8.2f\n", n, t, c, g, g / c }'
}
measure demo "${TOKENS:-32768}" --hidden 256 --intermediate 640 --layers 4 --heads 4 --kv-heads 2
measure wide "$((${TOKENS:-32768} / 16))" --hidden 1280 --intermediate 3584 --layers 2 --heads 20 --kv-heads 4
