#!/usr/bin/env bash
# How manifold distortion, perplexity and membership go together: the same points of the privacy rank moved to distortions from 0.1 to
# 1.2, along their protective directions and along random ones of the same length, on the unquantized model, with 95 % intervals.
#
#   bench/md-privacy.sh out=DIR model=DIR stats=FILE given=FILE heldout=FILE matched=FILE valid=TEXT tiles="STREAM ..."
#       [share=0.3] [jobs=1] [score="more arguments"]
set -euo pipefail
[ $# -gt 0 ] || { echo "needs arguments (a model and its records), see the head of bench/md-privacy.sh: skipped"; exit 0; }
export LC_ALL=C OMP_WAIT_POLICY=passive
cd "$(dirname "$0")/.."
PATH=$PWD/bin:$PATH
out='' model='' stats='' given='' heldout='' matched='' valid='' tiles='' share=0.3 jobs=1 score=''
for a; do
    case $a in
    *=*) declare "${a%%=*}=${a#*=}" ;;
    *) echo "md-privacy.sh: '$a': want name=value" >&2; exit 2 ;;
    esac
done
for name in out model stats given heldout matched valid tiles; do
    [ -n "${!name}" ] || { echo "md-privacy.sh: $name= is missing" >&2; exit 2; }
done
mkdir -p "$out"
mds=(0.1 0.2 0.3 0.4 0.6 0.8 1.0 1.2)
for md in "${mds[@]}"; do
    [ -s "$out/md-$md.mdq" ] ||
        # shellcheck disable=SC2086
        mdq-score -q -j "$jobs" --model "$model" --stats "$stats" --sensitive "$given" --matched "$matched" --heldout "$heldout" \
            --valid "$valid" --probes "$out/probes" --md-sensitive "$md" --md-functional "$(jq -n "[$md, 0.4] | min")" --drift-share 0 \
            --sensitive-cap "$share" --budget 1000000 --functional-cap 0 --controls 2 $score --thin -o "$out/md-$md.mdq" $tiles
done
for md in "${mds[@]}"; do
    mdq-view "$out/md-$md.mdq" | jq -c --argjson md "$md" 'select(.t == "probe") | .probe | select(.moved == "sensitive") | . + {md: $md}'
done >"$out/probes.jsonl"
jq -rs '
    def r(d): . * pow(10; d) | round / pow(10; d) | tostring;
    def span(k; d): if . == null then "-" else (.[0] * k | r(d)) + (if length > 1 then " [" + (.[1] * k | r(d)) + ", " + (.[2] * k | r(d)) + "]" else "" end) end;
    def pad(n): . + " " * ([n - length, 0] | max);
    ((["MD" | pad(6)] + ["direction" | pad(17)] + ["perplexity, %" | pad(22)] +
      (["H_sens, bits", "fall of advantage", "not given: H_sens", "fall, not given"] | map(pad(26)))) | join("")),
    (group_by(.md)[] | (map(.points) | max) as $n | map(select(.points == $n)) |
     (map(select(.control == null))[0:1] + map(select(.control == "random direction")) + map(select(.control == "random points")))[]
     | [(.md | tostring | pad(6)), (.control // "protective" | pad(17)), (.perplexity_rise_share | span(100; 2) | pad(22)),
        (.h_sens | span(1; 2) | pad(26)), (.advantage_fall | span(1; 3) | pad(26)), (.h_sens_heldout | span(1; 2) | pad(26)),
        (.advantage_fall_heldout | span(1; 3) | pad(26))] | join(""))' "$out/probes.jsonl"
