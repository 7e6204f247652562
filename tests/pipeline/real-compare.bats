# selective.mk and compare.mk with the real programs on a small random model, which has memorised nothing: that all fits
# together, what is the same however it is run, and that the table says what mdq-eval says.
# build: plain
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" --layers 2 --hidden 64 --intermediate 128 --heads 4 --kv-heads 2 --vocab 300 \
        --dtype bf16 --scale 0.05 -o m
    for ((i = 0; i < 400; i++)); do echo "line $((i * 7919 % 10007)) of a text to be calibrated on"; done >text.txt
    for ((i = 0; i < 100; i++)); do echo "line $((i * 6007 % 10009)) of a text to be measured on"; done >eval.txt
    for f in s r n h; do
        for ((i = 0; i < 24; i++)); do echo "{\"text\": \"record $f: the number is $((i * 5003 % 9973))\"}"; done >$f.jsonl
    done
    for ((i = 0; i < 12; i++)); do
        echo "{\"query\": \"$i and one is\", \"choices\": [\"$((i + 1))\", \"$((i + 2))\"], \"gold\": 0}"
    done >t.jsonl
    start=$EPOCHREALTIME
    selective OUT=q -j1 >first.log 2>&1 || { cat first.log; return 1; }
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }' >seconds
}
setup() {
    cd "$BATS_FILE_TMPDIR"
}
pipeline() {
    local file=$1
    shift
    (unset MAKEFLAGS MFLAGS MAKELEVEL
        make -f "$ROOT/pipelines/$file.mk" MDQ_BIN="$BIN" MODEL=m CALIB=text.txt GROUP=32 TOKENS=2048 CTX=64 "$@")
}
selective() {
    pipeline selective SENSITIVE=s.jsonl MATCHED=r.jsonl VALID=eval.txt TASKS=t.jsonl GRADIENT_TOKENS=1024 \
        SCORE_ARGS="--valid-tokens 1024 --resamples 100" "$@"
}
compare() {
    pipeline compare SENSITIVE=s.jsonl MATCHED=r.jsonl VALID=eval.txt TASKS=t.jsonl GRADIENT_TOKENS=1024 \
        SCORE_ARGS="--valid-tokens 1024 --resamples 100" NONMEMBERS=n.jsonl HELDOUT_MEMBERS=h.jsonl OUT=c \
        PPL_ARGS="--ctx 64 --max-tokens 1024" CANARY_ARGS="--fills 7 --decode 4 --limit 6" MIA_ARGS="--resamples 200" "$@"
}

@test "the folder is that of plain GPTQ in size and format, with the report beside" {
    pipeline quantize OUT=plain
    diff <(cd plain && find . -type f | sort) <(cd q && find . -type f ! -name mdq-score.txt | sort)
    cmp plain/config.json q/config.json
    [ "$(stat -c %s plain/model.safetensors)" -eq "$(stat -c %s q/model.safetensors)" ]
    [ -s q/mdq-score.txt ]
    mdq-eval ppl --model q --text eval.txt --ctx 64 --max-tokens 1024 | jq -e '.value > 1'
}
@test "-j2 makes the same bytes as -j1" {
    selective OUT=q-j2 WORK=w-j2 -j2
    diff -r q q-j2
    for f in w-j2/*/*.mdq; do cmp "$f" "work/${f#w-j2/}"; done # work has more: of other runs
}
@test "a pipe typed by hand makes the same folder as the cached run" {
    mdq-calib -q --model m --text text.txt --tokens 2048 --ctx 64 -o stats.mdq
    mdq-calib -q --gradients --no-hessian --gradient-tokens 1024 --ctx 64 --model m --text text.txt --sensitive s.jsonl \
        --matched r.jsonl -o gradients.mdq
    mdq-tile -q m -o tiles.mdq
    mdq-lle -q --thin tiles.mdq -o lle.mdq
    mdq-vae -q --thin tiles.mdq lle.mdq -o vae.mdq
    mdq-score -q --ctx 64 --valid-tokens 1024 --resamples 100 --thin --model m --stats stats.mdq --stats gradients.mdq \
        --sensitive s.jsonl --matched r.jsonl --valid eval.txt --tasks t.jsonl --report report.txt -o score.mdq tiles.mdq lle.mdq vae.mdq
    mdq-gptq -q --bits 4 --group 32 --sym --stats stats.mdq tiles.mdq lle.mdq vae.mdq score.mdq |
        mdq-pack -q --model m --format gptq -o by-hand
    cmp by-hand/model.safetensors q/model.safetensors
    cmp report.txt q/mdq-score.txt
    cmp score.mdq work/score-*/all.mdq
}
@test "one block of what score made is a stream that checks, and all of them together are the whole" {
    for b in 0 1; do
        mdq-cat -q --block $b work/score-*/all.mdq -o $b.mdq
        mdq-check -q $b.mdq
    done
    tiles() { mdq-view --stats "$@" | jq -c 'select(.t == "tile") | del(.n)'; }
    diff <(mdq-cat -q 0.mdq 1.mdq | tiles) <(tiles work/score-*/all.mdq)
}
@test "another privacy preference takes probes that were kept" {
    ls work/probes >before
    [ -s before ]
    selective OUT=q7 LAMBDA=0.7 >log 2>&1
    ! grep -q '^mdq: \(tile\|lle\|vae\|calib\|gradients\)' log
    grep '^mdq-score.* [1-9][0-9]* of them known' log
}
@test "kill -9 at any time: nothing partial, and the next run goes on to the same bytes" {
    for share in 0.4 0.7 0.95; do
        rm -rf k wk
        ROOT=$ROOT BIN=$BIN setsid bash -c "$(declare -f pipeline selective); selective OUT=k WORK=wk" >make.log 2>&1 &
        pid=$!
        sleep "$(awk -v t="$(cat seconds)" -v s=$share 'BEGIN { print t * s }')"
        kill -9 -- -$pid 2>/dev/null || true
        wait $pid || true
        for f in wk/*/block-*.mdq wk/*/all.mdq; do
            [ ! -e "$f" ] || cmp "$f" "work/${f#wk/}"
        done
        selective OUT=k WORK=wk
        diff -r q k
    done
}
@test "compare: the table says what mdq-eval says, and a second run does nothing" {
    compare >log 2>&1 || { cat log; return 1; }
    run compare -q
    [ "$status" -eq 0 ]
    jq -e '.models.plain.bytes == .models.selective.bytes and .models.plain.seconds > 0' c/compare.json
    for m in m:full c/plain:plain c/selective:selective; do
        mdq-eval -q mia --model ${m%:*} --members h.jsonl --nonmembers n.jsonl --resamples 200 >mia
        mdq-eval -q ppl --model ${m%:*} --text eval.txt --ctx 64 --max-tokens 1024 >ppl
        mdq-eval -q choice --model ${m%:*} --tasks t.jsonl >choice
        mdq-eval -q canary --model ${m%:*} --members s.jsonl --fills 7 --decode 4 --limit 6 >canary
        jq -se --arg m ${m#*:} --slurpfile c c/compare.json '$c[0].models[$m] as $x
            | (map(select(.metric == "mia" and .attack == "best")) | first | .advantage) == $x.attacks.not_given.best.advantage
            and (map(select(.metric == "perplexity")) | first | .value / $x.perplexity.value - 1 | fabs) < 1e-5
            and (map(select(.metric == "accuracy")) | first | .value) == $x.accuracy.value
            and (map(select(.metric == "exposure")) | first | .value) == $x.exposure.value' mia ppl choice canary
    done
    mdq-eval -q kld --model c/selective --reference c/plain --text eval.txt --ctx 64 --max-tokens 1024 |
        jq -se --slurpfile c c/compare.json '(.[] | select(.metric == "perplexity_ratio") | .value) == $c[0].differences.selective_to_plain.perplexity_ratio.value'
    jq -e '[.requantized[] | .format, (.selective.attacks.not_given.best.advantage | type), (.plain.perplexity.value | type)]
        == ["rtn8", "number", "number", "rtn4", "number", "number", "gptq3", "number", "number", "compressed-tensors", "number", "number"]' c/compare.json
    grep -q '^Goals' c/compare.txt
    grep -q '3 bits, GPTQ' c/compare.txt
}
