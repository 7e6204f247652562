#!/usr/bin/env bash
# Selective quantization against plain GPTQ at the same bits and format: the best of the membership attacks on members given to
# mdq-score and on members not given, perplexity and accuracy, over several samples of the calibration text.
#
#   bench/privacy.sh out=DIR model=DIR given=FILE heldout=FILE matched=FILE nonmembers=FILE calib=TEXT eval=TEXT
#       [tasks=FILE,...] [reference=DIR] [samples=5] [parts=samples] [tokens=65536] [ctx=N] [bits=4] [group=32] [export=gptq] [jobs=1] [probe_heldout=1]
#       [variants=plain,selective,...] [score="more arguments of mdq-score"]
#
# Variants: plain; selective; set (no drift); drift (no sensitive set); set-points, set-direction, drift-signs (controls: other points,
# other directions, the same directions forwards or backwards at random). Sample i is the i-th of samples + 1 equal parts of calib, of
# which the last is what mdq-score measures perplexity on; parts=N takes only the first N. What is there in DIR is not made again.
set -euo pipefail
[ $# -gt 0 ] || { echo "needs arguments (a model and its records), see the head of bench/privacy.sh: skipped"; exit 0; }
export LC_ALL=C OMP_WAIT_POLICY=passive
cd "$(dirname "$0")/.."
PATH=$PWD/bin:$PATH
out='' model='' given='' heldout='' matched='' nonmembers='' calib='' eval='' tasks='' reference='' samples=5 parts='' probe_heldout='' tokens=65536 ctx='' bits=4
group=32 export=gptq jobs=1 variants=plain,selective score=''
for a; do
    case $a in
    *=*) declare "${a%%=*}=${a#*=}" ;;
    *) echo "privacy.sh: '$a': want name=value" >&2; exit 2 ;;
    esac
done
for name in out model given heldout matched nonmembers calib eval; do
    [ -n "${!name}" ] || { echo "privacy.sh: $name= is missing" >&2; exit 2; }
done
mkdir -p "$out"
parts=${parts:-$samples}
window=(${ctx:+--ctx "$ctx"})
key_tasks=()
IFS=, read -ra files <<<"$tasks"
for f in "${files[@]}"; do key_tasks+=(--tasks "$f"); done

once() { # FILE COMMAND...: unless FILE is there; {} is where to write
    local file=$1
    shift
    [ -s "$file" ] || { "${@//\{\}/$file.part}" && mv "$file.part" "$file"; }
}
part() { # I FILE: the I-th part of the calibration text, whole lines
    local size
    size=$(stat -c %s "$calib")
    size=$((size / (samples + 1)))
    dd if="$calib" iflag=skip_bytes,count_bytes skip=$((($1 - 1) * size)) count="$size" status=none | sed '1d;$d' >"$2"
}
measure() { # MODEL: all metrics as JSON lines
    mdq-eval ppl -j "$jobs" --model "$1" --text "$eval" "${window[@]}" || return 1
    [ ${#key_tasks[@]} -eq 0 ] || mdq-eval choice -q -j "$jobs" --model "$1" "${key_tasks[@]}" || return 1
    local of
    for of in given heldout; do
        mdq-eval mia -q -j "$jobs" --model "$1" --members "${!of}" --nonmembers "$nonmembers" ${reference:+--reference "$reference"} |
            jq -c --arg of "$of" 'select(.metric == "mia") + {of: $of}' || return 1
    done
}
size() { find "$1" -name '*.safetensors' -printf '%s\n' | awk '{ n += $1 } END { print n }'; }
tiles() { printf '%s\n' "$out/tiles.mdq" "$out/lle.mdq" "$out/vae.mdq"; }
label() { # I VARIANT
    local more=()
    case $2 in
    selective) ;;
    set) more=(--drift-share 0) ;;
    set-points) more=(--drift-share 0 --write random-points) ;;
    set-direction) more=(--drift-share 0 --write random-direction) ;;
    drift) more=(--drift-share 100 --sensitive-cap 0) ;;
    drift-signs) more=(--drift-share 100 --sensitive-cap 0 --write random-signs) ;;
    *) echo "privacy.sh: $2: no such variant" >&2; exit 2 ;;
    esac
    # shellcheck disable=SC2086
    mdq-score -q -j "$jobs" --model "$model" --stats "$out/stats-$1.mdq" --sensitive "$given" --matched "$matched" ${probe_heldout:+--heldout "$heldout"} \
        --valid "$out/valid.txt" "${window[@]}" "${key_tasks[@]}" --probes "$out/probes" --report "$out/$2-$1.txt" $score "${more[@]}" \
        --thin -o "$out/labels-$2-$1.mdq.part" $(tiles)
    mv "$out/labels-$2-$1.mdq.part" "$out/labels-$2-$1.mdq"
}
quantize() { # I VARIANT
    local labels=()
    [ "$2" = plain ] || labels=("$out/labels-$2-$1.mdq")
    [ "$2" = plain ] || [ -s "${labels[0]}" ] || label "$1" "$2"
    [ -d "$out/$2-$1" ] || {
        # shellcheck disable=SC2046
        mdq-gptq -q -j "$jobs" --bits "$bits" --group "$group" --sym --ragged row --stats "$out/stats-$1.mdq" $(tiles) "${labels[@]}" \
            --report "$out/$2-$1.gptq" | mdq-pack -q --model "$model" --format "$export" -o "$out/$2-$1"
    }
    [ -s "$out/$2-$1.json" ] || { measure "$out/$2-$1" >"$out/$2-$1.json.part" && mv "$out/$2-$1.json.part" "$out/$2-$1.json"; }
}

once "$out/tiles.mdq" mdq-tile "$model" -o {}
once "$out/lle.mdq" mdq-lle -q --thin -j "$jobs" "$out/tiles.mdq" -o {}
once "$out/vae.mdq" mdq-vae -q --thin -j "$jobs" "$out/tiles.mdq" "$out/lle.mdq" -o {}
part $((samples + 1)) "$out/valid.txt"
[ -s "$out/full.json" ] || { measure "$model" >"$out/full.json.part" && mv "$out/full.json.part" "$out/full.json"; }
for ((i = 1; i <= parts; i++)); do
    part "$i" "$out/calib-$i.txt"
    once "$out/stats-$i.mdq" mdq-calib -q -j "$jobs" --gradients --model "$model" --text "$out/calib-$i.txt" --tokens "$tokens" \
        --gradient-tokens "$tokens" "${window[@]}" --sensitive "$given" --matched "$matched" -o {}
    for v in ${variants//,/ }; do
        quantize "$i" "$v"
        echo "privacy.sh: sample $i: $v: $(jq -rs 'map(select(.metric == "perplexity").value)[0]' "$out/$v-$i.json")" >&2
    done
done

# One row per variant: medians over the samples; changes are of the medians.
rows() {
    jq -cs '{ppl: map(select(.metric == "perplexity"))[0].value, acc: (map(select(.metric == "accuracy"))[0].value // null),
             given: map(select(.metric == "mia" and .attack == "best" and .of == "given" and .repeats == null))[0],
             held: map(select(.metric == "mia" and .attack == "best" and .of == "heldout" and .repeats == null))[0]}' "$@"
}
echo
echo "$parts samples of the calibration text, $bits bits, groups of $group; medians [least, greatest]; best of the attacks"
printf '%-14s  %-24s  %-8s  %-22s  %-26s  %-26s  %s\n' variant perplexity 'over' 'accuracy, %' 'advantage, given' 'advantage, not given' 'bytes'
for v in full ${variants//,/ }; do
    for ((i = 1; i <= parts; i++)); do
        [ "$v" = full ] && i=$parts
        if [ "$v" = full ]; then rows "$out/full.json"; else rows "$out/$v-$i.json"; fi
    done | jq -rs --arg v "$v" --arg bytes "$([ "$v" = full ] && size "$model" || size "$out/$v-1")" '
        def med: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def three: [med, min, max];
        [$v, (map(.ppl) | three), (if .[0].acc == null then null else (map(.acc) | three) end), (map(.given.advantage) | three),
         (map(.held.advantage) | three), .[0].given.chance, .[0].held.chance, $bytes] | @json'
done >"$out/rows"
jq -rs '
    def r(d): . * pow(10; d) | round / pow(10; d) | tostring;
    def span(d): (.[0] | r(d)) + (if .[1] == .[2] then "" else " [" + (.[1] | r(d)) + ", " + (.[2] | r(d)) + "]" end);
    def pad(n): . + " " * ([n - length, 0] | max);
    def change(p): if p == null or p == 0 then "" else " " + ((. / p - 1) * 100 | round | if . > 0 then "+" + tostring else tostring end) + " %" end;
    (map(select(.[0] == "plain"))[0]) as $plain
    | .[] | [(.[0] | pad(14)), (.[1] | span(3) | pad(24)),
             ((if $plain == null or .[0] == "full" then "" else ((.[1][0] / $plain[1][0] - 1) * 10000 | round / 100 | tostring) + " %" end) | pad(8)),
             ((if .[2] == null then "-" else (.[2] | map(. * 100) | span(2)) end) | pad(22)),
             (((.[3] | span(3)) + (if .[0] == "full" or .[0] == "plain" then "" else (.[3][0] | change($plain[3][0])) end)) | pad(26)),
             (((.[4] | span(3)) + (if .[0] == "full" or .[0] == "plain" then "" else (.[4][0] | change($plain[4][0])) end)) | pad(26)),
             .[7]] | join("  ")' "$out/rows"
jq -rs '"chance gives the best of the attacks " + (.[0][5] * 1000 | round / 1000 | tostring) + " (given) and " +
        (.[0][6] * 1000 | round / 1000 | tostring) + " (not given)"' "$out/rows"
for v in ${variants//,/ }; do
    [ "$v" = plain ] || cat "$out/$v"-*.gptq | jq -s --arg v "$v" -r '[.[].md | (.sensitive, .functional, .overlap) // {}] |
        "constraints of \($v): \(map(.met // 0) | add) met, \(map(.missed // 0) | add) missed"'
done
