#!/usr/bin/env bash
# Perplexity after rounding and GPTQ on stories260k and babyllama105, through pipelines/quantize.mk: the reference
# protocol (double arithmetic, unrounded scales, dense export) beside values of an independent implementation, and what
# is served (16-bit scales). Then the same codes in three export formats. Needs the data at MDQ_DATA (default:
# ../shared/data beside the project); prints why and ends where there is none.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench}
PATH=$BIN:$PATH
root=$(cd "$(dirname "$0")/.." && pwd)
data=${MDQ_DATA:-$root/../shared/data}
[ -d "$data/models" ] || { echo "no data at MDQ_DATA: skipped"; exit 0; }
unset MAKEFLAGS MFLAGS MAKELEVEL
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-quality.XXXXXX")
trap 'rm -rf "$dir"' EXIT
jq -Rrs '.[0:60000]' "$data/text/tinystories-eval.txt" | head -c -1 >"$dir/eval.txt"

quantize() { # MODEL CTX VARIABLES...
    local model=$1 ctx=$2; shift 2
    make -s -f "$root/pipelines/quantize.mk" MODEL="$data/models/$model" CALIB="$data/text/tinystories-calib.txt" \
        OUT="$dir/out" WORK="$dir/work" GROUP=32 SYM=1 RAGGED=row TOKENS=16384 CTX="$ctx" "$@" >"$dir/log" 2>&1 || {
        tail "$dir/log" >&2
        exit 1
    }
}
perplexity() { mdq-eval ppl --model "$1" --text "$dir/eval.txt" --ctx "$2" | jq .value; }

printf '%-13s %5s %-6s %12s %12s %10s %14s\n' model bits method reference here 'here/ref-1' '16-bit scales'
for model in stories260k babyllama105; do
    ctx=512
    [ $model = stories260k ] || ctx=256
    printf '%-13s %5s %-6s %12s %12.6f\n' $model 32 - \
        "$(jq ".[\"quantized, independent implementation\"].$model[\"full precision\"]" "$data/reference.json")" \
        "$(perplexity "$data/models/$model" $ctx)"
    for bits in 4 3 2; do
        for method in rtn gptq; do
            quantize $model $ctx BITS=$bits METHOD=$method EXPORT=dense SCALE=f64 PRECISION=double
            here=$(perplexity "$dir/out" $ctx)
            quantize $model $ctx BITS=$bits METHOD=$method EXPORT=dense
            served=$(perplexity "$dir/out" $ctx)
            reference=$(jq ".[\"quantized, independent implementation\"].$model.$method[\"$bits\"]" "$data/reference.json")
            awk -v m=$model -v b=$bits -v k=$method -v r="$reference" -v h="$here" -v s="$served" 'BEGIN {
                printf "%-13s %5d %-6s %12.6f %12.6f %+10.1e %14.6f\n", m, b, k, r, h, h / r - 1, s }'
        done
    done
done
echo
printf 'babyllama105, GPTQ, groups of 32: the same codes in three formats\n%5s %20s %12s\n' bits format perplexity
for bits in 8 4 2; do
    for format in dense gptq compressed-tensors; do
        quantize babyllama105 256 BITS=$bits EXPORT=$format
        printf '%5d %20s %12.6f\n' $bits $format "$(perplexity "$dir/out" 256)"
    done
done
