#!/usr/bin/env bash
# What scoring costs: gradients and ranking over a calibration pass on as many tokens (goal: at most 10), and how many probes each set
# took against the bound 2 log2(candidates) + 10, controls left out. On the model of examples/secrets, one thread. Prints ratios.
set -euo pipefail
export LC_ALL=C OMP_WAIT_POLICY=passive
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
PATH=$BIN:$PATH
root=$(cd "$(dirname "$0")/.." && pwd)
model=$root/examples/secrets/model
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-scoring.XXXXXX")
trap 'rm -rf "$dir"' EXIT
records() { "$TOOLS"/examples/secrets/make-records --seed 1 --set "$1" --records "$2" | jq -c '{text}'; }
"$TOOLS"/examples/stories/make-stories --seed 7 --bytes 400000 >"$dir/calib.txt"
"$TOOLS"/examples/stories/make-stories --seed 8 --bytes 200000 >"$dir/valid.txt"
"$TOOLS"/examples/stories/make-stories --seed 9 --pairs 200 >"$dir/tasks.jsonl"
records members 400 >"$dir/s.jsonl"
records matched 400 >"$dir/r.jsonl"
seconds() { local t=$EPOCHREALTIME; "$@"; awk -v a="$t" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'; }
mdq-tile -q "$model" -o "$dir/tiles.mdq"
mdq-lle -q --thin "$dir/tiles.mdq" -o "$dir/lle.mdq"
pass=$(seconds mdq-calib -q -j 1 --model "$model" --text "$dir/calib.txt" --tokens 65536 --ctx 256 -o "$dir/h.mdq")
gradients=$(seconds mdq-calib -q -j 1 --gradients --no-hessian --model "$model" --text "$dir/calib.txt" --gradient-tokens 65536 --ctx 256 \
    --sensitive "$dir/s.jsonl" --matched "$dir/r.jsonl" -o "$dir/g.mdq")
mdq-score -v -j 1 --model "$model" --stats "$dir/h.mdq" --stats "$dir/g.mdq" --sensitive "$dir/s.jsonl" --matched "$dir/r.jsonl" \
    --valid "$dir/valid.txt" --ctx 256 --tasks "$dir/tasks.jsonl" --report "$dir/report.txt" --thin -o "$dir/labels.mdq" "$dir/tiles.mdq" \
    "$dir/lle.mdq" 2>"$dir/log"
statistics=$(sed -n 's/.*statistics \([0-9.]*\) s, probes.*/\1/p' "$dir/log")
probing=$(sed -n 's/.*statistics [0-9.]* s, probes \([0-9.]*\) s.*/\1/p' "$dir/log")
candidates=$(sed -n 's/^candidates *\([0-9]*\) .*/\1/p' "$dir/report.txt")
mdq-view "$dir/labels.mdq" | jq -rs --argjson c "$candidates" --argjson pass "$pass" --argjson g "$gradients" --argjson s "$statistics" --argjson p "$probing" '
    def r: . * 100 | round / 100;
    map(select(.t == "probe").probe) as $all | ($all | map(select(.control == null))) as $own
    | "gradients over a calibration pass on as many tokens (and 600 records)   \($g / $pass | r)",
      "reading statistics and ranking over it                                 \($s / $pass | r)",
      "both (goal: at most 10)                                                \(($g + $s) / $pass | r)",
      "a probe over it (\($all | length) probes with controls)                             \($p / ($all | length) / $pass | r)",
      "probes of the functional set \([$own[] | select(.moved == "functional")] | length), of what is moved \([$own[] | select(.moved == "sensitive" or .moved == "drift")] | length); bound for \($c) candidates: \(2 * ($c | log2) + 10 | floor)"'
