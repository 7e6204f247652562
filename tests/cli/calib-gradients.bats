# mdq-calib --gradients: what is in the stream, what it does not depend on, and its bad input. Values are tested against
# differences in tests/unit/test_gradients.c.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -o tiny --arch qwen2 --hidden 64 --intermediate 300 --layers 3 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 3 --dtype bf16
    "$TOOLS/examples/stories/make-stories" --seed 5 --bytes 30000 >text
    for i in 1 2 3 4 5 6 7 8 9; do echo "{\"text\": \"The number of box $i is $((i * 7919 % 1000)).\", \"span\": [20, 24]}"; done >members
    for i in 11 12 13 14 15 16 17 18; do echo "The key of door $i is $((i * 7907 % 1000)) or more."; done >others
    mdq-calib -j1 --model tiny --text text --tokens 2560 -o plain
    mdq-calib -j1 --gradients --model tiny --text text --tokens 2560 --gradient-tokens 1000 --sensitive members --matched others -o all
}
setup() { cd "$BATS_FILE_TMPDIR"; }
# With the smallest, largest and mean element of each array.
records() { mdq-view --stats "$1" | jq -c 'select(.id) | del(.n)'; }
gradients() { mdq-calib -j1 --gradients --model tiny --text text --tokens 2560 --gradient-tokens 1000 "$@"; }

@test "gradients of every layer stand beside the Hessians, which are as without" {
    expect 0 mdq-check all
    [ "$(mdq-view all | jq -r 'select(.t == "gradient") | .id[0]' | sort -u | wc -l)" -eq 21 ]
    cmp <(records plain) <(records all | grep '"t":"hessian"')
    mdq-view all | jq -e 'select(.t == "gradient" and (.id[0] | endswith("down_proj.weight")) and .id[1] == 0)
        | .first == 0 and .contrast.shape == [64, 300] and .fisher.shape == [64, 300] and .gradient_dot.shape == [64, 2]
          and .output_gradient.shape == [64]' >/dev/null
    mdq-view --header all | jq -e '.kinds == ["gradient", "hessian"] and .gradients.windows == 15 and .gradients.tokens == 960
        and .gradients.ctx == 64 and .gradients.sensitive.records == 9 and .gradients.matched.records == 4
        and (.gradients.sensitive.hash | length) == 32 and .calib.windows == 40 and .prov[0].args.gradients == .gradients' >/dev/null
    [ "$(mdq-view --header all | jq -c .calib)" = "$(mdq-view --header plain | jq -c .calib)" ]
}

@test "mdq-gptq takes statistics that hold gradients too" {
    mdq-tile tiny | mdq-gptq --bits 4 --group row --sym --stats all --no-pg -o q1
    mdq-tile tiny | mdq-gptq --bits 4 --group row --sym --stats plain --no-pg -o q2
    cmp q1 q2
}

@test "gradients alone, of the same values" {
    gradients --no-hessian --sensitive members --matched others -o only
    expect 0 mdq-check only
    mdq-view --header only | jq -e '.kinds == ["gradient"] and .calib.tokens == 960' >/dev/null
    cmp <(records all | grep '"t":"gradient"') <(records only)
}

@test "the same bytes on one and on two threads" {
    gradients --sensitive members --matched others -j1 -o one
    gradients --sensitive members --matched others -j2 -o two
    cmp one two
    cmp one all
}

@test "swapped records give the negative; the second half of the matched ones plays no part; spans matter" {
    head -n 4 others >swapped_members
    { cat members; for i in {1..9}; do echo "unused $i"; done; } >swapped_others
    gradients --no-hessian --sensitive swapped_members --matched swapped_others -o swapped
    mdq-view --stats all | jq -c 'select(.t == "gradient") | [.id, -.contrast.max, -.contrast.min, .fisher.mean]' >want
    mdq-view --stats swapped | jq -c 'select(.id) | [.id, .contrast.min, .contrast.max, .fisher.mean]' >got
    [ "$(wc -l <got)" -eq 21 ]
    jq -n -e --slurpfile a want --slurpfile b got 'def near($x; $y): ($x - $y) | fabs < 1e-4 * (($y | fabs) + 1e-9);
        [range($a | length) as $i | range(1; 4) as $k | near($a[$i][$k]; $b[$i][$k])] | all' >/dev/null
    jq -c 'del(.span)' members >whole
    gradients --no-hessian --sensitive whole --matched others -o unmarked
    [ "$(mdq-view --header unmarked | jq -r .gradients.sensitive.hash)" != "$(mdq-view --header all | jq -r .gradients.sensitive.hash)" ]
}

@test "options that do not go together" {
    expect 2 mdq-calib --model tiny --text text --sensitive members -o never
    [[ $output == *"go with --gradients"* ]]
    expect 2 mdq-calib --model tiny --text text --no-hessian -o never
    expect 2 gradients --sensitive members -o never
    [[ $output == *"needs --sensitive and --matched"* ]]
    expect 2 gradients --sensitive members --matched others --block 0 -o never
    [[ $output == *"whole model in one call"* ]]
    expect 2 gradients --sensitive members --matched others --gradient-tokens 63 -o never
    [[ $output == *"less than one window of 64"* ]]
    expect 2 gradients --sensitive members --matched others --ctx 1 -o never
    expect 2 gradients --sensitive members --matched others --gradient-tokens 64 --tokens 10 -o never
    [ ! -e never ]
}

@test "records that are missing, empty, shared, marked wrongly" {
    expect 3 gradients --sensitive absent --matched others -o never
    head -n 1 others >single
    expect 1 gradients --sensitive members --matched single -o never
    [[ $output == *"one matched record"* ]]
    printf '\n \n' >empty
    expect 1 gradients --sensitive members --matched empty -o never
    [[ $output == *empty*"no record"* ]]
    { echo; sed -n 3p others; cat members; } >shared
    expect 1 gradients --sensitive shared --matched others -o never
    [[ $output == *"shared: line 2 and others: line 3 are the same text"*"is nothing"* ]]
    { head -n 4 members; echo '{"text": "short", "span": [9, 12]}'; } >marked
    expect 1 gradients --sensitive marked --matched others -o never
    [[ $output == *"marked: line 5"*span* ]]
    [ ! -e never ]
}

@test "few records and long ones are warned of" {
    head -n 7 members >few
    expect 0 gradients --no-hessian --sensitive few --matched others -o /dev/null
    [[ $output == *"only 7 sensitive records"*"will not carry over"* ]]
    { cat others; printf 'long %.0s' {1..40}; echo; } >long
    expect 0 gradients --no-hessian --sensitive members --matched long -o /dev/null
    [[ $output == *"1 of 9 records"*64*"cut"* ]]
}

@test "a text shorter than asked for gives what it has" {
    expect 0 mdq-calib -j1 --gradients --no-hessian --model tiny --text text --sensitive members --matched others -o short
    [[ $output != *"asked for"* ]]
    expect 0 mdq-calib -j1 --gradients --no-hessian --model tiny --text text --gradient-tokens 99999 --sensitive members --matched others -o long
    [[ $output == *"asked for by --gradient-tokens"* ]]
    cmp short long
}
