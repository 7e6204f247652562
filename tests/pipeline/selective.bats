# pipelines/selective.mk with stand-ins: what runs again after each kind of change, what stages of the whole model read
# and what reads them, what is refused.
# build: plain
load ../helpers
load pipeline

setup() {
    setup_standins
    pipeline=selective
    echo "a member" >s.jsonl
    echo "no member" >r.jsonl
    all+=(SENSITIVE=s.jsonl MATCHED=r.jsonl)
}
before=(tile:4 lle:4 vae:4 calib:4 gradients:1)
fresh() { ran -- "${before[@]}" score:1 gptq:4 pack:1; }
nothing() {
    ran "$@" --
    quantize -q "$@"
}
# told N ARGS...: -q says there is work, -n names N steps of it, and neither does any.
told() {
    local n=$1
    shift
    : >log
    run quantize -q "$@"
    [ "$status" -eq 1 ]
    quantize -n "$@" | grep -c '^echo "mdq: ' >told
    [ "$(cat told)" -eq "$n" ] || { echo "told $(cat told), want $n"; return 1; }
    [ ! -s log ]
}
called() { grep -q -e "$1" log || { echo "no call like $1"; cat log; return 1; }; }

@test "a fresh run does every stage, those of the whole model once; a second one nothing" {
    told 23
    fresh
    nothing
    [ "$(ls work/score-*/)" = "$(printf 'all.mdq\nmdq-score.txt\nparams')" ]
}
@test "a stage of the whole model reads joined blocks through pipes; its readers get one block of it" {
    fresh
    fd='/dev/fd/[0-9]*' t='work/tile-[0-9a-f]*/block'
    called "^mdq-calib --gradients --no-hessian -j [0-9]* --model m --text text.txt --sensitive s.jsonl --matched r.jsonl --memo work/hashes -o work/gradients-[0-9a-f]*/all.mdq.part\$"
    called "^mdq-score --lambda 0.5 --valid-skip 262144 -j [0-9]* --model m --thin --stats $fd --stats work/gradients-[0-9a-f]*/all.mdq --sensitive s.jsonl --matched r.jsonl --valid text.txt --memo work/hashes --probes work/probes --report work/score-[0-9a-f]*/mdq-score.txt -o work/score-[0-9a-f]*/all.mdq.part $fd $fd $fd\$"
    for s in tile lle vae calib; do
        called "^mdq-cat -q -j [0-9]* --level 1 work/$s-[0-9a-f]*/block-00.mdq work/$s-[0-9a-f]*/block-01.mdq work/$s-[0-9a-f]*/block-02.mdq work/$s-[0-9a-f]*/block-03.mdq\$"
    done
    called "^mdq-cat -q -j [0-9]* --level 1 --block 2 work/score-[0-9a-f]*/all.mdq\$"
    called "^mdq-gptq .* --thin --stats work/calib-[^ ]*/block-02.mdq -o [^ ]* $t-02.mdq work/lle-[^ ]*/block-02.mdq work/vae-[^ ]*/block-02.mdq $fd\$"
    [ "$(grep -c '^mdq-cat .*--block' log)" -eq 4 ]
}
@test "the report of score stands in OUT beside that of the rounding" {
    fresh
    cmp work/score-*/mdq-score.txt q/mdq-score.txt
    [ -f q/mdq-report.json ]
    rm q/mdq-score.txt
    told 1
    ran -- pack:1
    nothing
}
@test "another privacy preference: score and what follows; back: pack" {
    fresh
    told 6 LAMBDA=0.7
    ran LAMBDA=0.7 -- score:1 gptq:4 pack:1
    nothing LAMBDA=0.7
    told 1
    ran -- pack:1
    nothing
}
@test "other bits, group or order do not score again" {
    fresh
    told 5 BITS=3
    for change in BITS=3 GROUP=64 SYM=0 ORDER=natural; do
        ran $change -- gptq:4 pack:1
    done
    ran EXPORT=dense -- pack:1
}
@test "texts and records: the stages that read them" {
    fresh
    echo more >>s.jsonl
    ran -- gradients:1 score:1 gptq:4 pack:1
    echo more >>r.jsonl
    ran -- gradients:1 score:1 gptq:4 pack:1
    echo held out >h.jsonl
    ran HELDOUT=h.jsonl -- score:1 gptq:4 pack:1
    echo more >>h.jsonl
    ran HELDOUT=h.jsonl -- score:1 gptq:4 pack:1
    echo valid >v.txt
    ran VALID=v.txt -- score:1 gptq:4 pack:1
    called "^mdq-score --lambda 0.5 -j .* --valid v.txt "
    mv v.txt w.txt
    nothing VALID=w.txt
    ran TOKENS=1000 -- calib:4 score:1 gptq:4 pack:1
    called "--valid-skip 1000 "
    ran GRADIENT_TOKENS=10 -- gradients:1 score:1 gptq:4 pack:1
    echo another >text.txt
    ran -- calib:4 gradients:1 score:1 gptq:4 pack:1
}
@test "several files of tasks, by their content" {
    echo one >one.jsonl
    echo two >two.jsonl
    ran TASKS="one.jsonl two.jsonl" -- "${before[@]}" score:1 gptq:4 pack:1
    called "--tasks one.jsonl --tasks two.jsonl"
    mv one.jsonl uno.jsonl
    nothing TASKS="uno.jsonl two.jsonl"
    told 6 TASKS=two.jsonl
    echo more >>two.jsonl
    ran TASKS="uno.jsonl two.jsonl" -- score:1 gptq:4 pack:1
}
@test "a program swapped, rebuilt or given arguments: its stage and what follows" {
    fresh
    sed 's/^name=.*/name=mdq-score/' bin/mdq-score >my-score
    chmod +x my-score
    told 6 SCORE=./my-score
    ran SCORE=./my-score -- score:1 gptq:4 pack:1
    ran SCORE_ARGS=--probes-only=3 -- score:1 gptq:4 pack:1
    ran GRADIENTS_ARGS=--extra=3 -- gradients:1 score:1 gptq:4 pack:1
    echo "# another version" >>bin/mdq-score
    ran -- score:1 gptq:4 pack:1
    # the program of gradients is calib's as well
    echo "# another version" >>bin/mdq-calib
    ran -- calib:4 gradients:1 score:1 gptq:4 pack:1
    ran VAE_ARGS=--charts=4 -- vae:4 score:1 gptq:4 pack:1
    ran VAE=none LLE=none -- score:1 gptq:4 pack:1
}
@test "a program in the place of score that writes no report" {
    sed 's/^name=.*/name=mdq-score/; s/^ *echo "$me" >"$report"//' bin/mdq-score >my-score
    chmod +x my-score
    ran SCORE=./my-score -- "${before[@]}" score:1 gptq:4 pack:1
    [ ! -e q/mdq-score.txt ]
    nothing SCORE=./my-score
}
@test "plain and selective share tiles and statistics" {
    fresh
    all=(MDQ_BIN="$PWD/bin" MODEL=m CALIB=text.txt OUT=plain CACHE=tile)
    pipeline=quantize
    ran -- gptq:4 pack:1
}
@test "statistics or charts removed to save room: nothing; one made again does not score again" {
    fresh
    cp -r work before
    rm work/calib-*/block-0[13].mdq work/vae-*/block-*.mdq work/gradients-*/all.mdq
    nothing
    rm work/gptq-*/block-01.mdq
    told 4
    ran -- calib:1 vae:1 gptq:1 pack:1
    nothing
    rm work/score-*/all.mdq
    nothing
    rm work/gptq-*/*.mdq
    told 11
    ran -- calib:1 vae:3 gradients:1 score:1 gptq:4 pack:1
    for f in $(cd before && find . -name '*.mdq'); do cmp "before/$f" "work/$f"; done
    nothing
}
@test "one block touched: that block behind it, not what goes by its key" {
    fresh
    touch work/vae-*/block-02.mdq
    told 2
    ran -- gptq:1 pack:1
    touch work/score-*/all.mdq
    ran -- gptq:4 pack:1
    nothing
}
@test "sequential: score reads statistics of its own, as it comes before all rounding" {
    ran SEQUENTIAL=1 -- tile:4 lle:4 vae:4 calib:8 gradients:1 score:1 gptq:4 pack:1
    [ -d work/precalib-* ]
    called "^mdq-cat .* work/precalib-[0-9a-f]*/block-00.mdq "
    [ "$(grep -c -e --quantized log)" -eq 3 ]
    nothing SEQUENTIAL=1
    ran SEQUENTIAL=1 BITS=3 -- calib:4 gptq:4 pack:1
    ran SEQUENTIAL=1 LAMBDA=0.2 -- score:1 calib:4 gptq:4 pack:1
    [ -z "$(find work -name 'acts-*')" ]
}
@test "rounding needs statistics for score alone" {
    ran METHOD=rtn -- "${before[@]}" score:1 gptq:4 pack:1
    ! grep -q '^mdq-gptq .*--stats' log
    nothing METHOD=rtn
}
@test "-j4 makes the same; score, beside which nothing runs, gets all cores" {
    fresh
    cp -r q before
    cores=$(nproc)
    ran -j"$cores" WORK=w2 OUT=q2 -- "${before[@]}" score:1 gptq:4 pack:1
    cmp before/model.safetensors q2/model.safetensors
    called "^mdq-score .* -j $cores "
    called "^mdq-gptq .* -j 1 "
    ran -j"$cores" THREADS=7 WORK=w3 OUT=q3 -- "${before[@]}" score:1 gptq:4 pack:1
    [ -z "$(grep -v -e '-j 7 ' log)" ]
}
@test "a stage of the whole model that fails or is killed: nothing partial, and the rest is made" {
    quantize OUT=whole WORK=whole-work
    for at in mdq-score --gradients; do
        rm -rf work q
        echo "$at" >fail
        run quantize
        [ "$status" -ne 0 ]
        [[ $output == *"failed as told"* ]]
        rm fail
        [ -z "$(find work -path "*score*" -name all.mdq)" ]
    done
    for at in mdq-score --gradients; do
        rm -rf work q hang.reached
        echo "$at" >hang
        setsid make -f "$ROOT/pipelines/selective.mk" "${all[@]}" >make.log 2>&1 &
        pid=$!
        for ((i = 0; i < 300; i++)); do
            [ ! -e hang.reached ] || break
            sleep 0.02
        done
        [ -e hang.reached ] || { cat make.log log; false; }
        kill -9 -- -$pid
        wait $pid || true
        [ ! -e q ]
        [ -z "$(find work -path '*score*' -name all.mdq)" ]
        run quantize -q
        [ "$status" -eq 1 ]
        rm hang
        quantize
        diff -r q whole
        diff -r <(cd work && find . -name '*.mdq*' | sort) <(cd whole-work && find . -name '*.mdq*' | sort)
    done
}
@test "plan, why, status, times and folders know stages of the whole model" {
    run quantize plan
    [[ $output == *"gradients 1"*"score    1"* ]]
    run quantize status
    [[ $output == *"score: not there"* ]]
    quantize
    run quantize status
    [[ $output == *"score: all blocks in one, "*"work/score-"* ]]
    run quantize why LAMBDA=0.7
    [[ $output == *"gradients: work/gradients-"*" has all blocks in one"* ]]
    [[ $output == *"was: args --lambda 0.5"*"now: args --lambda 0.7"* ]]
    run quantize times
    [ "$(grep -cE '^[a-z]+: [0-9.]+ s$' <<<"$output")" -eq 9 ]
    [[ $output == *"all: "* ]]
    run quantize folders
    [ "${#lines[@]}" -eq 8 ]
    for d in "${lines[@]}"; do [ -f "$d/params" ]; done
    sed -i '/^gradients/d' work/times
    sed -i '/^vae.* 02 /d' work/times
    run quantize times
    [ "${lines[-1]}" = "all: not known" ]
}
@test "gc removes what these parameters do not use, and probes only by clean" {
    quantize
    quantize LAMBDA=0.7 OUT=q7
    run quantize gc
    [ "$(grep -c '^work/' <<<"$output")" -eq 3 ]
    [[ $output == *"kept: work/probes, "* ]]
    quantize gc REMOVE=1
    [ -f work/probes/probe ]
    nothing
    quantize clean
    [ ! -e work ]
}
# refused TEXT ARGS...: make fails at once, says TEXT, and has run nothing and left nothing.
refused() {
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
    refused "SENSITIVE is not set" SENSITIVE=
    refused "MATCHED is not set" MATCHED=
    refused "CALIB is not set" CALIB= METHOD=rtn
    refused "SENSITIVE=none: no such file" SENSITIVE=none
    refused "HELDOUT=none: no such file" HELDOUT=none
    refused "VALID=none: no such file" VALID=none
    refused "TASKS=none: no such file" TASKS="s.jsonl none"
    refused "TASKS=a:b c: make cannot work with" TASKS="a:b c"
    for l in 0 1 1.5 0.0 -0.5 half 1e-3; do
        run quantize LAMBDA=$l
        [ "$status" -ne 0 ]
        [[ $output == *"LAMBDA=$l: "* ]]
    done
    refused "there is no such variable" LABELS=x
    mkdir old
    echo '{}' >old/mdq-report.json
    cp s.jsonl old/
    refused "s.jsonl is or lies in it" OUT=old SENSITIVE=old/s.jsonl
}
@test "help names the variables of all files, each once" {
    quantize help >text
    for v in SENSITIVE MATCHED HELDOUT VALID TASKS LAMBDA SCORE SCORE_ARGS GRADIENTS LLE VAE_ARGS BITS WORK CALIB; do
        [ "$(grep -c "^  $v " text)" -eq 1 ]
    done
}
