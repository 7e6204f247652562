# pipelines/compare.mk with stand-ins: what is made and measured again after each kind of change, what the table and the
# object hold, what is refused, what a run that failed leaves.
# build: plain
load ../helpers
load pipeline

setup() {
    setup_standins
    pipeline=compare
    for f in s r n h t u; do echo "records $f" >$f.jsonl; done
    echo "text to measure on" >e.txt
    all+=(SENSITIVE=s.jsonl MATCHED=r.jsonl NONMEMBERS=n.jsonl HELDOUT_MEMBERS=h.jsonl EVAL=e.txt TASKS=t.jsonl REQUANTIZE=0)
}
# full: ppl, choice, canary, mia twice; plain and selective against full, selective against plain: kld and the same
fresh() { ran -- tile:4 lle:4 vae:4 calib:4 gradients:1 score:1 gptq:8 pack:2 eval:20; }
nothing() {
    ran "$@" --
    quantize -q "$@"
}
told() { # N ARGS...: -q says there is work, -n names N steps of it, and neither does any.
    local n=$1
    shift
    : >log
    run quantize -q "$@"
    [ "$status" -ne 0 ]
    quantize -n "$@" | grep -c '^echo "mdq: ' >told
    [ "$(cat told)" -eq "$n" ] || { echo "told $(cat told), want $n"; return 1; }
    [ ! -s log ]
}
called() { grep -q -e "$1" log || { echo "no call like $1"; cat log; return 1; }; }
json() { jq -e "$@" q/compare.json >/dev/null || { jq . q/compare.json; return 1; }; }

@test "a fresh run makes both models in one WORK and measures all three; a second one does nothing" {
    quantize plan >plan
    grep -q '^tile  *4$' plan
    grep -q '^gptq  *8$' plan
    grep -q '^compare  *1$' plan
    [ ! -s log ]
    fresh
    nothing
    [ "$(ls -A q)" = "$(printf 'compare.json\ncompare.txt\nplain\nselective')" ]
    quantize plan >plan
    [ "$(cat plan)" = "nothing to do" ]
}
@test "plain and selective differ in what selective.mk adds, and in nothing else" {
    fresh
    sort -u <(grep '^mdq-gptq' log | sed 's/ -j .*//') >calls
    [ "$(wc -l <calls)" -eq 1 ]
    all=(MDQ_BIN="$PWD/bin" MODEL=m CALIB=text.txt OUT=q/plain)
    pipeline=quantize
    quantize -q
    all+=(SENSITIVE=s.jsonl MATCHED=r.jsonl OUT=q/selective TASKS=t.jsonl)
    pipeline=selective
    quantize -q
}
@test "every metric is asked of every model, differences from the same texts" {
    fresh
    for m in m q/plain q/selective; do
        called "^mdq-eval choice --model $m --tasks t.jsonl"
        called "^mdq-eval mia --model $m --members s.jsonl --nonmembers n.jsonl"
        called "^mdq-eval mia --model $m --members h.jsonl --nonmembers n.jsonl"
        called "^mdq-eval canary --model $m --members s.jsonl"
    done
    called "^mdq-eval ppl --model m --text e.txt"
    for pair in "q/plain m" "q/selective m" "q/selective q/plain"; do
        read -r a b <<<"$pair"
        called "^mdq-eval kld --model $a --reference $b --text e.txt"
        called "^mdq-eval choice --model $a .*--against $b"
        called "^mdq-eval mia --model $a --members h.jsonl .*--against $b"
        called "^mdq-eval canary --model $a .*--against $b"
    done
    called "^mdq-score .* --sensitive s.jsonl --matched r.jsonl "
    ! grep -q -e '^mdq-score.*[nh].jsonl' log
}
@test "the object: what mdq-eval said, where docs/pipelines.md says it stands" {
    fresh
    said() { grep -h "$1" work/compare/measured/*.jsonl | sort -u; }
    json '.format == "mdq-compare" and .version == 1 and .settings.bits == 4 and .settings.lambda == 0.5'
    for m in full plain selective; do
        json --arg m $m '.models[$m] | .bytes > 0 and .accuracy.n == 50 and .exposure.max == 8 and .extraction[0].kind == "exact"'
        json --arg m $m '.models[$m].perplexity | .value > 8 and (.ci95[1] - .value - 1.96 * .stderr | fabs) < 1e-9'
        json --arg m $m '.models[$m].attacks | keys == ["given", "not_given"]'
        json --arg m $m '.models[$m].attacks.given | keys == ["best", "loss", "min_k", "min_k_pp", "zlib"] and .best.chance == 0.06'
    done
    json '[.models[].attacks.given.best.advantage] | unique | length == 3'
    json '.models.selective.attacks | .given.best.advantage != .not_given.best.advantage'
    json '.models.full.seconds == null and .models.plain.seconds > 0 and .models.selective.seconds > .models.plain.seconds'
    for d in plain_to_full selective_to_full selective_to_plain; do
        json --arg d $d '.differences[$d] | .perplexity_ratio.value == 1.004 and .accuracy.value == -0.002 and .exposure.n == 50'
        json --arg d $d '.differences[$d].attacks.not_given.best | .relative == -0.75 and .relative_ci95 == [-0.9, -0.6]'
    done
    json '.constraints == {functional: {points: 7, met: 6, missed: 1}, sensitive: {points: 1, met: 1, missed: 0}}'
    json '[.goals[] | .met] == [true, true, true, true] and [.goals[] | .shown] == [true, true, false, true]'
    json '.aims | length == 6 and (map(select(.aim | startswith("best"))) | all(.met and .shown and .limit == -0.15))'
    json '.aims[0] as $a | .models.plain.accuracy.value as $p | ($a.value - 0.002 / $p | fabs) < 1e-9 and $a.against == "plain"'
    json '.requantized == []'
}
@test "the text has a row for each, with its interval" {
    fresh
    for row in 'size, MB' 'seconds to make it' 'perplexity  .* (.* to .*).* (.* to .*)' 'accuracy, %' 'loss: AUC' 'zlib: AUC' 'min-k %: AUC' \
        'min-k++ %: AUC' 'best: AUC' 'by chance alone' 'best against plain, % of it  *-75 (-90 to -60)' 'members not given to it: 50' 'exposure, bits' \
        'extracted, exact, full prefix' 'functional 6 of 7 (1 missed)' '^Aims' '^Goals' 'at most -70 %  *-75.0 (-90.0 to -60.0)  *met, interval not'; do
        grep -q -e "$row" q/compare.txt || { cat q/compare.txt; echo "no row like $row"; return 1; }
    done
    ! grep -q 'Does it last' q/compare.txt
    awk 'length > 150' q/compare.txt | { ! grep .; }
}
@test "another privacy preference: score, what follows, and what is measured of the selective model" {
    fresh
    told 7 LAMBDA=0.7
    ran LAMBDA=0.7 -- score:1 gptq:4 pack:1 eval:10
    nothing LAMBDA=0.7
    json '.settings.lambda == 0.7'
    ran -- pack:1
    json '.settings.lambda == 0.5'
    nothing
}
@test "other bits: both models, not score, not full precision" {
    fresh
    ran BITS=3 -- gptq:8 pack:2 eval:15
    ran -- pack:2
}
@test "other records or texts: what is measured on them" {
    fresh
    echo more >>n.jsonl
    told 1
    ran -- eval:8
    echo more >>h.jsonl
    ran -- eval:4
    echo more >>e.txt
    ran -- eval:4
    mv e.txt f.txt
    nothing EVAL=f.txt
    ran EVAL=f.txt MIA_ARGS=--min-k=0.1 -- eval:8
    called "^mdq-eval mia .* --min-k=0.1"
    ran EVAL=f.txt CTX=64 -- calib:4 gradients:1 score:1 gptq:8 pack:2 eval:16
    called "^mdq-eval ppl .* --ctx 64"
}
@test "another mdq-eval, or another in its place: all is measured again, nothing made" {
    fresh
    echo "# another version" >>bin/mdq-eval
    ran -- eval:20
    sed 's/^name=.*/name=mdq-eval/' bin/mdq-eval >my-eval
    chmod +x my-eval
    ran EVALUATE=./my-eval -- eval:20
    ran --
}
@test "what is lost or damaged in OUT is made again without measuring" {
    fresh
    rm q/compare.txt
    told 1
    ran --
    [ -s q/compare.txt ]
    rm q/compare.json
    ran --
    echo damage >>q/plain/model.safetensors
    told 2
    ran -- pack:1
    rm -r q
    ran -- pack:2
    nothing
}
@test "made into something else: dense, then rounded, calibrated and exported, and attacked beside plain treated the same" {
    fresh
    formats=REQUANTIZE=rtn8,rtn4,gptq3,compressed-tensors
    # A kld and four of mia for each, less what stand-ins write alike as compressed-tensors and as gptq.
    ran $formats -- tile:24 calib:8 gptq:24 pack:10 eval:17
    nothing $formats
    for p in plain selective; do
        [ "$(grep -c "^mdq-tile .* work/compare/dense-$p " log)" -eq 0 ]
    done
    json '[.requantized[].format] == ["rtn8", "rtn4", "gptq3", "compressed-tensors"]'
    json '.requantized[] | .plain.attacks.given.best.advantage != .selective.attacks.given.best.advantage and .selective_to_plain.attacks.not_given.best.relative == -0.75'
    json '.requantized[] | .plain.perplexity.value > 8 and .selective.perplexity.value > 8'
    grep -q '3 bits, GPTQ, groups of 128' q/compare.txt
    ran REQUANTIZE=rtn8 --
    json '[.requantized[].format] == ["rtn8"]'
    ran $formats LAMBDA=0.7 -- score:1 gptq:16 calib:4 tile:12 pack:6 eval:19
}
@test "at 3 bits compressed-tensors is left out, and that is said" {
    quantize BITS=3 REQUANTIZE=rtn8,compressed-tensors
    json '[.requantized[].format] == ["rtn8"] and (.notes | any(test("compressed-tensors holds no 3 bits")))'
    grep -q "^Note: compressed-tensors holds no 3 bits" q/compare.txt
}
@test "a reference model makes one more attack" {
    mkdir ref
    cp m/config.json ref
    echo other weights >ref/model.safetensors
    quantize REFERENCE=ref REQUANTIZE=rtn8
    called "^mdq-eval mia --model q/selective .* --reference ref --against q/plain"
    json '.models.full.attacks.given.reference.auc > 0 and .requantized[0].selective.attacks.given.reference.auc > 0'
    grep -q 'reference model: AUC' q/compare.txt
    echo more >>ref/model.safetensors
    ran REFERENCE=ref REQUANTIZE=rtn8 -- eval:12
}
@test "without tasks or held-out members those rows are not there, and the second is said" {
    all=(MDQ_BIN="$PWD/bin" MODEL=m CALIB=text.txt OUT=q SENSITIVE=s.jsonl MATCHED=r.jsonl NONMEMBERS=r.jsonl VALID=e.txt REQUANTIZE=0)
    ran -- tile:4 lle:4 vae:4 calib:4 gradients:1 score:1 gptq:8 pack:2 eval:12
    json '.models.full.accuracy == null and (.models.full.attacks | keys == ["given"])'
    json '.goals[1].met == null and (.goals | length) == 3'
    ! grep -q '^accuracy, %' q/compare.txt
    for note in "no HELDOUT_MEMBERS" "NONMEMBERS is MATCHED" "perplexity is measured on VALID" "mark no span"; do
        grep -q "^Note: .*$note" q/compare.txt
        json --arg note "$note" '.notes | any(contains($note))'
    done
}
@test "a measurement that fails or is killed: no table, nothing partial, and the rest is measured" {
    quantize OUT=whole WORK=whole-work
    measured() { find work/compare/measured -name '*.jsonl' 2>/dev/null | wc -l; }
    echo "mdq-eval canary --model q/plain" >fail
    run quantize
    [ "$status" -ne 0 ]
    [[ $output == *"failed as told"* ]]
    [ ! -e q/compare.json ]
    [ ! -e q/compare.txt ]
    done_before=$(measured)
    rm fail
    told 1
    ran -- eval:$((20 - done_before))
    same() { jq 'del(.models[].seconds)' "$1"; }
    diff <(same q/compare.json) <(same whole/compare.json)
    echo another >>n.jsonl
    cp q/compare.json before
    echo "mdq-eval mia --model q/selective" >hang
    setsid make -f "$ROOT/pipelines/compare.mk" "${all[@]}" >make.log 2>&1 &
    pid=$!
    for ((i = 0; i < 500; i++)); do
        [ ! -e hang.reached ] || break
        sleep 0.02
    done
    [ -e hang.reached ] || { cat make.log log; false; }
    kill -9 -- -$pid
    wait $pid || true
    cmp before q/compare.json
    for f in work/compare/measured/*.jsonl; do tail -n 1 "$f" | jq -e . >/dev/null; done
    rm hang
    ran -- eval:4
    [ -z "$(find q work/compare -name '*.part')" ]
}
@test "-j4 makes the same" {
    fresh
    ran -j4 WORK=w2 OUT=q2 -- tile:4 lle:4 vae:4 calib:4 gradients:1 score:1 gptq:8 pack:2 eval:20
    diff <(jq 'del(.models[].seconds)' q/compare.json) <(jq 'del(.models[].seconds)' q2/compare.json)
}
@test "why, status, times, gc and clean are of both models" {
    fresh
    quantize status >text
    grep -q '^== plain' text
    grep -q '^pack: q/plain is made' text
    grep -q '^pack: q/selective is made' text
    quantize why LAMBDA=0.7 >text
    grep -q 'now: args --lambda 0.7' text
    quantize times >text
    [ "$(grep -c '^all: [0-9.]* s$' text)" -eq 2 ]
    quantize gc >text
    [ ! -s text ]
    quantize BITS=3 OUT=q3
    quantize gc >text
    [ "$(wc -l <text)" -eq 4 ]
    [ "$(ls -d work/gptq-*/ | wc -l)" -eq 4 ]
    quantize gc REMOVE=1
    [ "$(ls -d work/gptq-*/ | wc -l)" -eq 2 ]
    nothing
    quantize clean
    [ ! -e work ]
    [ -f q/compare.json ]
}
refused() { # TEXT ARGS...: make fails at once, says TEXT, and has run nothing and left nothing.
    local text=$1
    shift
    : >log
    run quantize "$@"
    [ "$status" -ne 0 ]
    [[ $output == *"$text"* ]] || { echo "$output"; return 1; }
    [ ! -s log ]
    [ ! -e q ]
}
@test "what is missing or wrong is said before anything runs" {
    refused "NONMEMBERS is not set" NONMEMBERS=
    refused "SENSITIVE is not set" SENSITIVE=
    refused "EVAL is not set, nor VALID" EVAL=
    refused "NONMEMBERS=none: no such file" NONMEMBERS=none
    refused "HELDOUT_MEMBERS=none: no such file" HELDOUT_MEMBERS=none
    refused "REFERENCE=none: no model folder" REFERENCE=none
    refused "REQUANTIZE=rtn8,rtn5: rtn5 is not one of" REQUANTIZE=rtn8,rtn5
    refused "MODEL=none: no such folder" MODEL=none
    refused "SENSITIVE=none: no such file" SENSITIVE=none
    refused "EVALUATE=none: program not found" EVALUATE=none
    refused "stage score: ./none: program not found" SCORE=./none
    refused "LAMBDA=2: must lie between 0 and 1" LAMBDA=2
    refused "there is no such variable" NONMEMBER=n.jsonl
    refused "make cannot work with spaces" NONMEMBERS="a b"
    echo file >out
    refused "OUT=out: is there and no folder" OUT=out
    mkdir -p mine/plain
    echo data >mine/plain/thesis.txt
    refused "was not made by mdq" OUT=mine
    [ -f mine/plain/thesis.txt ]
}
@test "help names the variables of all files, each once" {
    quantize help >text
    for v in NONMEMBERS HELDOUT_MEMBERS EVAL REFERENCE REQUANTIZE SENSITIVE LAMBDA LLE BITS OUT WORK; do
        [ "$(grep -c "^  $v " text)" -eq 1 ]
    done
}
