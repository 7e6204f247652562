#!/usr/bin/env bash
# The front that the privacy preference lambda traces: nine values from 0.1 to 0.9, each quantized and attacked. A table, Spearman's rank
# correlations and a picture (front.svg, in out=).
#
#   bench/privacy-front.sh out=DIR (as bench/privacy.sh, which must have run there with the same arguments: its statistics are used)
set -euo pipefail
[ $# -gt 0 ] || { echo "needs arguments (a model and its records), see the head of bench/privacy-front.sh: skipped"; exit 0; }
export LC_ALL=C
cd "$(dirname "$0")"
out='' samples=1
for a; do
    case $a in
    out=*) out=${a#out=} ;;
    samples=*) samples=${a#samples=} ;;
    esac
done
[ -n "$out" ] || { echo "privacy-front.sh: out= is missing" >&2; exit 2; }
score=''
for a; do case $a in score=*) score=${a#score=} ;; esac; done
lambdas=(0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9)
for l in "${lambdas[@]}"; do
    mkdir -p "$out/front-$l"
    for f in tiles.mdq lle.mdq vae.mdq full.json probes; do [ -e "$out/front-$l/$f" ] || ln -s "../$f" "$out/front-$l/$f"; done
    for ((i = 1; i <= samples; i++)); do
        for f in stats-$i.mdq plain-$i plain-$i.json; do [ -e "$out/front-$l/$f" ] || ln -s "../$f" "$out/front-$l/$f"; done
    done
    ./privacy.sh "$@" samples=5 "parts=$samples" out="$out/front-$l" score="$score --lambda $l --controls 0" variants=plain,selective >"$out/front-$l/table"
    jq -s -c --argjson l "$l" 'map(select(.[0] == "selective"))[0] as $s | map(select(.[0] == "plain"))[0] as $p
        | {lambda: $l, over: (($s[1][0] / $p[1][0] - 1) * 100), accuracy: ($s[2][0] // 0 | . * 100), given: $s[3][0], held: $s[4][0], plain_given: $p[3][0], plain_held: $p[4][0]}' \
        "$out/front-$l/rows"
done >"$out/front.jsonl"
jq -rs '
    def r(d): . * pow(10; d) | round / pow(10; d);
    def ranks: . as $v | [range(length)] | map(. as $i | [$v[] | select(. < $v[$i])] | length) as $low
        | [range($v | length)] | map(. as $i | $low[$i] + ([$v[] | select(. == $v[$i])] | length + 1) / 2);
    def corr($x; $y): ([$x, $y] | map(add / length)) as [$a, $b] | ([range($x | length) | ($x[.] - $a) * ($y[.] - $b)] | add) as $c
        | ([$x[] | (. - $a) * (. - $a)] | add) as $p | ([$y[] | (. - $b) * (. - $b)] | add) as $q
        | if $p == 0 or $q == 0 then null else $c / (($p * $q) | sqrt) end;
    def spearman($x; $y): corr(($x | ranks); ($y | ranks));
    . as $all | "lambda  perplexity over plain, %  accuracy, %  advantage, given  advantage, not given",
    (.[] | "\(.lambda)     \(.over | r(2))                     \(.accuracy | r(2))        \(.given | r(3))             \(.held | r(3))"),
    "Spearman of lambda with the advantage: given \(spearman(map(.lambda); map(.given)) | r(2)), not given \(spearman(map(.lambda); map(.held)) | r(2)); both together \(spearman(map(.lambda); map(.given + .held)) | r(2)); with perplexity \(spearman(map(.lambda); map(.over)) | r(2))"' "$out/front.jsonl"
# The picture: advantage (down) against perplexity over plain GPTQ (right).
jq -rs '
    def r: . * 10 | round / 10;
    (map(.over) + [0] | max) as $right | (map(.over) + [0] | min) as $left | (map(.plain_given, .plain_held, .given, .held) | max * 1.1) as $top
    | def x: 60 + (. - $left) / ([$right - $left, 0.01] | max) * 500; def y: 340 - . / $top * 300;
    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"400\" font-family=\"sans-serif\" font-size=\"12\">",
    "<rect width=\"640\" height=\"400\" fill=\"white\"/><path d=\"M60 40V340H600\" fill=\"none\" stroke=\"black\"/>",
    "<text x=\"330\" y=\"385\" text-anchor=\"middle\">perplexity over plain GPTQ, %</text>",
    "<text x=\"20\" y=\"190\" text-anchor=\"middle\" transform=\"rotate(-90 20 190)\">best advantage of the attacks</text>",
    ((["given", "#1f77b4", .[0].plain_given], ["held", "#d62728", .[0].plain_held]) as [$k, $color, $plain]
    | "<path d=\"M\(map("\(.over | x | r) \(.[$k] | y | r)") | join("L"))\" fill=\"none\" stroke=\"\($color)\"/>",
      (.[] | "<circle cx=\"\(.over | x | r)\" cy=\"\(.[$k] | y | r)\" r=\"4\" fill=\"\($color)\"/><text x=\"\(.over | x + 6 | r)\" y=\"\(.[$k] | y - 6 | r)\" fill=\"\($color)\">\(.lambda)</text>"),
      "<circle cx=\"\(0 | x | r)\" cy=\"\($plain | y | r)\" r=\"4\" fill=\"none\" stroke=\"\($color)\"/><text x=\"\(0 | x + 6 | r)\" y=\"\($plain | y - 6 | r)\" fill=\"\($color)\">plain, \(if $k == "held" then "not given" else "given" end)</text>"),
    ((["0", 0], ["\($right | r)", $right]) as [$t, $v] | "<text x=\"\($v | x | r)\" y=\"356\" text-anchor=\"middle\">\($t)</text>"),
    "<text x=\"54\" y=\"344\" text-anchor=\"end\">0</text><text x=\"54\" y=\"44\" text-anchor=\"end\">\($top * 100 | round / 100)</text>",
    "</svg>"' "$out/front.jsonl" >"$out/front.svg"
