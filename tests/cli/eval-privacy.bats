# mdq-eval choice, mia and canary on a small random model: lines, counts, intervals, bad input. Values against NumPy: tests/interop;
# real models: eval-privacy-real.bats.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -o tiny --hidden 32 --intermediate 64 --layers 2 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 3 --scale 0.3
    "$TOOLS/tests/tools/make-model" -o second --hidden 32 --intermediate 64 --layers 2 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 4 --scale 0.3
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        echo "{\"text\":\"member $i has 4${i}17 here\",\"span\":[$((${#i} + 12)),$((${#i} + 15 + ${#i}))],\"repeats\":$((i % 2 * 3 + 1))}"
    done >members
    for i in 1 2 3 4 5 6 7 8 9 10; do
        echo "{\"text\":\"another $i with 5${i}28 there\",\"span\":[$((${#i} + 14)),$((${#i} + 17 + ${#i}))]}"
    done >nonmembers
    cat >tasks <<'END'
{"query":"The cat","choices":["sat on the mat.","flew to the moon.","is"],"gold":0}
{"query":"Two and two","choices":["are four","are five"],"gold":0}

{"query":"Question: why?\n","choices":["Because.","Not."],"gold":1}
END
    cat >pairs <<'END'
{"sentence_good":"He helps himself.","sentence_bad":"He helps herself."}
{"sentence_good":"These cats sleep.","sentence_bad":"This cats sleep."}
END
}
setup() { cd "$BATS_FILE_TMPDIR"; }

# line FILTER KEY: KEY of the one line of $output that the filter selects
line() { jq -rs "[.[] | select($1)] | if length == 1 then .[0].$2 else error(\"\(length) lines\") end" <<<"$output"; }
# what DESCRIPTION COMMAND...: only standard output in $output
results() { output=$("$@" 2>err) || { cat err; return 1; }; }

@test "choice: one line with accuracy, its error and interval" {
    results mdq-eval choice --model tiny --tasks tasks
    [ "$(wc -l <<<"$output")" -eq 1 ]
    [ "$(jq -c 'keys_unsorted' <<<"$output")" = '["metric","value","stderr","ci95","n"]' ]
    [ "$(line '.metric == "accuracy"' n)" -eq 3 ]
    jq -e '.value >= 0 and .value <= 1 and .ci95[0] <= .value and .value <= .ci95[1]' <<<"$output"
    results mdq-eval choice --model tiny --tasks tasks --limit 2
    [ "$(line '.metric == "accuracy"' n)" -eq 2 ]
}

@test "choice: several files, and a line for each" {
    results mdq-eval choice --model tiny --tasks tasks pairs
    [ "$(line '.metric == "accuracy"' n)" -eq 5 ]
    [ "$(line '.tasks == "pairs"' n)" -eq 2 ]
    all=$(line '.metric == "accuracy"' value)
    jq -es '(.[1].value * 3 + .[2].value * 2) / 5 - .[0].value | . < 1e-8 and . > -1e-8' <<<"$output"
    results mdq-eval choice --model tiny --tasks tasks --tasks pairs
    [ "$(line '.metric == "accuracy"' value)" = "$all" ]
}

@test "choice: a model against itself differs by nothing, against another by the difference" {
    results mdq-eval choice --model tiny --tasks tasks --against tiny
    [ "$(line '.metric == "accuracy_difference"' value)" = 0 ]
    [ "$(jq -c 'select(.metric == "accuracy_difference").ci95' <<<"$output")" = '[0,0]' ]
    results mdq-eval choice --model tiny --tasks pairs --against second
    difference=$(line '.metric == "accuracy_difference"' value)
    a=$(mdq-eval choice --model tiny --tasks pairs | jq .value)
    b=$(mdq-eval choice --model second --tasks pairs | jq .value)
    jq -ne "$difference == $a - $b"
}

@test "choice: what separates query and answer matters" {
    mdq-eval choice --model tiny --tasks tasks --delimiter '' >one
    [ "$(jq .n one)" -eq 3 ]
    # two choices alike are guessed between
    echo '{"query":"a","choices":["x","x","x"],"gold":1}' >same
    results mdq-eval choice --model tiny --tasks same
    jq -e '.value > 0.333 and .value < 0.334 and .stderr == null and .ci95 == null' <<<"$output"
    grep -q 'one item only' err
}

@test "choice: items longer than the context" {
    long=$(printf 'x%.0s' {1..80})
    { cat tasks; echo "{\"query\":\"$long\",\"choices\":[\"a\",\"b\"],\"gold\":0}"; } >longer
    results mdq-eval choice --model tiny --tasks longer
    [ "$(jq .n <<<"$output")" -eq 4 ]
    grep -q "longer: 2 choices are with their query longer than the context of 64 tokens: they are judged without" err
    { cat tasks; echo "{\"query\":\"a\",\"choices\":[\"$long\",\"b\"],\"gold\":0}"; echo "{\"sentence_good\":\"$long\",\"sentence_bad\":\"bb\"}"; } >longer
    results mdq-eval choice --model tiny --tasks longer
    [ "$(jq .n <<<"$output")" -eq 3 ]
    grep -q "2 of 5 items .* longer than the context of 64 tokens and are left out: accuracy is that of the others" err
    results mdq-eval choice --model tiny --tasks tasks --ctx 20
    grep -q "context of 20 tokens: they are judged without" err
}

@test "choice: bad tasks name file and line" {
    echo '{"query":"a","choices":["b","c"],"gold":2}' | cat tasks - >bad
    expect 1 mdq-eval choice --model tiny --tasks bad
    [[ $output == *"bad: line 5: gold 2 is none of the 2 choices"* ]]
    echo '{"question":"a"}' >bad
    expect 1 mdq-eval choice --model tiny --tasks bad
    [[ $output == *"bad: line 1: neither \"query\", \"choices\", \"gold\" nor \"sentence_good\", \"sentence_bad\""* ]]
    echo >bad
    expect 1 mdq-eval choice --model tiny --tasks bad
    [[ $output == *"bad: holds no task"* ]]
    expect 3 mdq-eval choice --model tiny --tasks absent
    [[ $output == *absent*"No such file"* ]]
}

@test "mia: a line for each attack and the best, with reference five and one" {
    results mdq-eval mia --model tiny --members members --nonmembers nonmembers --reference second --resamples 200
    [ "$(jq -rs 'map(select(.repeats == null).attack) | join(" ")' <<<"$output")" = "loss zlib min_k min_k_pp reference best" ]
    jq -es 'all(.auc >= 0 and .auc <= 1 and .auc_ci95[0] <= .auc_ci95[1] and .nonmembers == 10)' <<<"$output"
    jq -es 'all((.advantage - ((2 * .auc - 1) | if . < 0 then -. else . end)) | . < 1e-8 and . > -1e-8)' <<<"$output"
    [ "$(line '.attack == "best"' members)" -eq 12 ]
    [ "$(line '.attack == "best"' advantage)" = "$(jq -s 'map(select(.repeats == null and .attack != "best").advantage) | max' <<<"$output")" ]
    jq -es 'map(select(.attack == "best")) | .[0] | .chance > 0 and .chance < 1 and .p > 0 and .p <= 1 and (.of | length > 0)' <<<"$output"
    grep -q '12 members, 10 non-members: an AUC is known to about' err
    grep -q 'at no false positive at all' err
    results mdq-eval mia --model tiny --members members --nonmembers nonmembers --resamples 200
    [ "$(jq -rs 'map(select(.repeats == null).attack) | join(" ")' <<<"$output")" = "loss zlib min_k min_k_pp best" ]
}

@test "mia: the loss attack by number of repeats" {
    results mdq-eval mia --model tiny --members members --nonmembers nonmembers --resamples 200
    [ "$(line '.attack == "loss" and .repeats == 1' members)" -eq 6 ]
    [ "$(line '.attack == "loss" and .repeats == 4' members)" -eq 6 ]
    # of two halves of the members the AUCs' mean is that of all
    jq -es '(map(select(.repeats).auc) | add / 2) - .[0].auc | . < 1e-8 and . > -1e-8' <<<"$output"
}

@test "mia: scores of every record, and what the lines say follows from them" {
    results mdq-eval mia --model tiny --members members --nonmembers nonmembers --scores scores --resamples 200
    [ "$(wc -l <scores)" -eq 22 ]
    jq -es 'all((.losses | length) == .tokens and (.z | length) == .tokens and ((.losses | add / length) - .loss | . < 1e-9 and . > -1e-9))' scores
    auc=$(jq -s 'map(select(.set == "members").loss) as $m | map(select(.set == "nonmembers").loss) as $n
        | [$m[] as $a | $n[] as $b | if $a < $b then 1 elif $a == $b then 0.5 else 0 end] | add / length' scores)
    jq -es "(.[0].auc - $auc) | . < 1e-8 and . > -1e-8" <<<"$output"
    [ "$(jq -s '.[0].zlib_bytes' scores)" -eq "$(jq -sj '.[0].text' members | python3 -c 'import sys, zlib; print(len(zlib.compress(sys.stdin.buffer.read())))' 2>/dev/null || jq -s '.[0].zlib_bytes' scores)" ]
}

@test "mia: against itself no difference, against another that of the advantages" {
    results mdq-eval mia --model tiny --members members --nonmembers nonmembers --against tiny --resamples 200
    jq -es 'map(select(.metric == "mia_difference")) | length == 5 and all(.advantage == 0 and .ci95 == [0,0])' <<<"$output"
    results mdq-eval mia --model tiny --members members --nonmembers nonmembers --against second --resamples 200
    difference=$(line '.metric == "mia_difference" and .attack == "loss"' advantage)
    a=$(line '.metric == "mia" and .attack == "loss" and .repeats == null' advantage)
    b=$(mdq-eval mia -q --model second --members members --nonmembers nonmembers --resamples 200 | jq -s '.[0].advantage')
    jq -ne "($difference - ($a - $b)) | . < 1e-8 and . > -1e-8"
}

@test "mia: a text in both files is an error that names the two" {
    { tail -n 3 members; sed -n 4p nonmembers; } >mixed
    expect 1 mdq-eval mia --model tiny --members mixed --nonmembers nonmembers
    [[ $output == *"mixed and nonmembers: 1 text is in both (the first: record 4 and record 4): no text can be a member and not"* ]]
    expect 1 mdq-eval canary --model tiny --members members --nonmembers members
    [[ $output == *"12 texts are in both"* ]]
}

@test "mia: one record gives values without intervals, and says so" {
    head -n 1 members >one
    results mdq-eval mia --model tiny --members one --nonmembers nonmembers --against second
    jq -es 'all(.auc_ci95 == null and .ci95 == null)' <<<"$output"
    grep -q '1 members, 10 non-members: too few for an interval' err
}

@test "records longer than the context are cut, with a warning" {
    printf '%080d\n' 1 2 3 >long
    results mdq-eval mia --model tiny --members long --nonmembers nonmembers --scores scores
    grep -q 'long: 3 of 3 records are longer than the context of 64 tokens and were cut there: what follows is not looked at' err
    [ "$(jq -s '.[0].tokens' scores)" -eq 63 ]
    echo "{\"text\":\"$(printf '%080d' 7)\",\"span\":[70,80]}" >long
    expect 1 mdq-eval canary --model tiny --members long
    [[ $output == *"long: line 1: "*"its span is not in what is left"* ]]
}

@test "empty, absent and broken records are errors" {
    : >empty
    expect 1 mdq-eval mia --model tiny --members empty --nonmembers nonmembers
    [[ $output == *empty* ]]
    printf '\n\n' >blank
    expect 1 mdq-eval mia --model tiny --members members --nonmembers blank
    [[ $output == *"blank: holds no record"* ]]
    expect 3 mdq-eval mia --model tiny --members absent --nonmembers nonmembers
    expect 3 mdq-eval mia --model tiny --members members --nonmembers nonmembers --reference absent
    expect 3 mdq-eval mia --model tiny --members members --nonmembers nonmembers --against absent
    echo '{"txt":"a"}' >broken
    expect 1 mdq-eval canary --model tiny --members broken
    [[ $output == *"broken: line 1: no \"text\""* ]]
}

@test "canary: exposure and four rates of extraction, all of it by repeats" {
    results mdq-eval canary --model tiny --members members --nonmembers nonmembers --fills 15 --scores scores --resamples 200
    [ "$(jq -s 'map(select(.set == null and .repeats == null)) | length' <<<"$output")" -eq 5 ]
    [ "$(jq -s 'map(select(.set == "nonmembers")) | length' <<<"$output")" -eq 5 ]
    [ "$(jq -s 'map(select(.repeats == 4)) | length' <<<"$output")" -eq 5 ]
    [ "$(line '.metric == "exposure" and .repeats == null and .set == null' max)" = 4 ]
    # every rank of 16 as likely as the others
    jq -es '.[0].chance - 1.2344 | . < 1e-3 and . > -1e-3' <<<"$output"
    [ "$(wc -l <scores)" -eq 22 ]
    jq -es 'all((.fill_losses | length) == 15 and .candidates == 16 and .rank >= 1 and .rank <= 16)' scores
    mean=$(jq -s 'map(select(.set == "members").exposure) | add / length' scores)
    jq -es "(.[0].value - $mean) | . < 1e-8 and . > -1e-8" <<<"$output"
    # a random model is not exposed beyond chance: the standard error of 22 is about 0.28
    jq -es 'map(.exposure) | add / length | . < 2.4' scores
    ! grep -q warning err || { cat err; false; }
}

@test "canary: differences from another model; none from itself" {
    results mdq-eval canary --model tiny --members members --fills 15 --against tiny --resamples 200
    [ "$(jq -s 'map(select(.metric == "exposure_difference" or .metric == "extraction_difference")) | length' <<<"$output")" -eq 5 ]
    jq -es 'map(select(.metric | endswith("difference"))) | all(.value == 0 and .ci95 == [0,0] and .n == 12)' <<<"$output"
}

@test "canary: a small space is taken whole; a span without letters and digits has no exposure" {
    echo '{"text":"the code is 7 now","span":[12,13]}' >small
    echo '{"text":"the code is -- now","span":[12,14]}' >>small
    results mdq-eval canary --model tiny --members small
    [ "$(line '.metric == "exposure"' n)" -eq 1 ]
    jq -es '.[0].max - 3.321928 | . < 1e-6 and . > -1e-6' <<<"$output"
    grep -q '1 of 2 records have neither digit nor letter in their span' err
}

@test "canary: records without a span warn that exposure says little" {
    printf 'a plain line of text\nand another one\n' >plain
    results mdq-eval canary --model tiny --members plain --fills 7
    grep -q '2 of 2 records mark no "span": their second half is taken for it' err
    [ "$(line '.metric == "extraction" and .kind == "exact" and .prefix == "full"' n)" -eq 2 ]
}

@test "what a model says by itself is extracted, from a shifted prefix too or not" {
    # Its own greedy continuation as the secret: found byte by byte through the exact rate.
    text="go on: "
    for _ in 1 2 3 4; do
        for c in {a..z} {0..9} ' ' '.' ','; do
            echo "{\"text\":\"$text$c\",\"span\":[${#text},$((${#text} + 1))]}"
        done >guess
        results mdq-eval canary --model tiny --members guess --fills 1 --scores scores
        c=$(jq -s 'map(.similarity == 1) | index(true)' scores)
        [ "$c" = null ] && break
        all=({a..z} {0..9} ' ' '.' ',')
        text+=${all[c]}
        # one byte is the likeliest, the others are not
        [ "$(jq -s 'map(select(.similarity == 1)) | length' scores)" -eq 1 ]
    done
}

@test "the same bytes on one and on two threads, and with the same seed" {
    for args in "choice --tasks tasks --against second" \
        "mia --members members --nonmembers nonmembers --against second --resamples 300" \
        "canary --members members --nonmembers nonmembers --fills 9 --against second"; do
        # shellcheck disable=SC2086
        mdq-eval $args -q --model tiny -j1 >one
        # shellcheck disable=SC2086
        mdq-eval $args -q --model tiny -j2 >two
        cmp one two
        # shellcheck disable=SC2086
        mdq-eval $args -q --model tiny -j2 --seed 7 >seven
        [ "$(jq -c 'select(.metric == "mia" or .metric == "accuracy") | [.auc, .value]' one)" = \
            "$(jq -c 'select(.metric == "mia" or .metric == "accuracy") | [.auc, .value]' seven)" ]
    done
    ! cmp -s one seven
}

@test "options that do not belong to the metric are refused" {
    expect 2 mdq-eval choice --model tiny
    [[ $output == *"choice needs --tasks"* ]]
    expect 2 mdq-eval mia --model tiny --members members
    [[ $output == *"mia needs --nonmembers"* ]]
    expect 2 mdq-eval choice --model tiny --tasks tasks --text tasks
    [[ $output == *"choice does not take --text"* ]]
    expect 2 mdq-eval canary --model tiny --members members --reference second
    expect 2 mdq-eval ppl --model tiny --text tasks --against second
    expect 2 mdq-eval mia --model tiny --members members --nonmembers nonmembers --min-k 0
    expect 2 mdq-eval mia --model tiny --members members --nonmembers nonmembers --scores -
    expect 2 mdq-eval choice --model tiny --tasks tasks --limit 0
    expect 2 mdq-eval kld choice --model tiny
}

@test "results and scores are complete or not there" {
    mdq-eval choice -q --model tiny --tasks tasks -o result
    [ "$(jq .n result)" -eq 3 ]
    expect 1 mdq-eval mia --model tiny --members members --nonmembers members -o never --scores neither
    [ ! -e never ] && [ ! -e neither ]
    [ -e /dev/full ] || skip "no /dev/full"
    expect 3 sh -c 'mdq-eval choice --model tiny --tasks tasks >/dev/full'
    [[ $output == *"No space left"* ]]
    expect 3 mdq-eval mia -q --model tiny --members members --nonmembers nonmembers --scores /dev/full
}
