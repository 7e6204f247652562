# mdq-score as a whole, on a model with random weights. It "prefers" texts in capitals, so that these stand for members; where small
# letters do, it has memorised nothing. Values are tested in tests/unit/test_score_*.c.
load ../helpers

model() { # NAME ARGS...
    "$TOOLS/tests/tools/make-model" -q -o "$1" --hidden 32 --intermediate 300 --layers 2 --heads 2 --ctx 32 --scale 0.2 --dtype bf16 "${@:2}"
}
calib() { mdq-calib -q -j1 --model tiny --text text --tokens 768 "$@"; }
setup_file() {
    cd "$BATS_FILE_TMPDIR"
    model tiny --seed 3
    "$TOOLS/examples/stories/make-stories" --seed 5 --bytes 9000 >text
    "$TOOLS/examples/stories/make-stories" --seed 6 --bytes 6000 >valid
    for i in {1..20}; do echo "DOOR $i KEY $((i * 7919 % 1000))"; done >capitals
    for i in {1..40}; do echo "box $i holds $((i * 7907 % 1000))"; done >small
    for i in {21..30}; do echo "DOOR $i KEY $((i * 7919 % 1000))"; done >heldout
    for i in {1..6}; do echo "{\"query\": \"The box $i\", \"choices\": [\"is red\", \"QQ $i\"], \"gold\": $((i % 2))}"; done >tasks
    calib --gradients --gradient-tokens 512 --sensitive capitals --matched small -o stats
    mdq-tile -q tiny -o t
    mdq-lle -q --thin t -o l
    score --thin --report report -o s t l
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    rm -rf never out probes
}
score_with() { # ARGS...: few points may be moved, so that there is room for a drift
    mdq-score -j1 --model tiny --valid valid --valid-tokens 640 --resamples 100 --controls 0 --sensitive-cap 0.2 --lambda 0.3 "$@"
}
score() { score_with -q --stats stats --sensitive capitals --matched small "$@"; }
complains() { # ARGS...: as score, with what it says
    score_with --stats stats --sensitive capitals --matched small --thin -o never "$@" t
}
records() { mdq-view "$1" | jq -c 'select(.id)'; }

@test "every tile gets its keys, every probe is a record, and the stream is sound" {
    expect 0 mdq-check s
    mdq-view --header s | jq -e '.kinds == ["probe", "tile"] and (.layers | length) == 14 and .prov[-1].prog == "mdq-score"
        and .prov[-1].args.texts.valid and .prov[-1].args.lambda == 0.3 and .prov[-1].args.drift_share == 0.5' >/dev/null
    mdq-view s >view
    jq -se '[.[] | select(.t == "tile")] | length > 14 and all(.[]; .label.shape as [$n]
        | ([.reasons, .md_target, .functional_rank, .privacy_rank, .s_func, .s_priv] | all(.[]; .shape == [$n])) and .drift.shape[0] == $n
          and .drift.dtype == "bf16" and .label.dtype == "u8" and .md_target.dtype == "f32")' view >/dev/null
    # three of 1,584 points: each has its shift
    [ "$(jq -s '[.[] | select(.t == "tile") | .shift.shape[0] // 0] | add' view)" -eq 3 ]
    jq -se '[.[] | select(.t == "probe")] | length > 5 and ([.[].id[1]] == [range(length)]) and all(.[]; .id[0] | endswith("layers.0.self_attn.q_proj.weight"))
        and .[0].probe.moved == "model" and ([.[].probe.moved] | unique) == ["drift", "functional", "model", "sensitive"]
        and all(.[]; (.probe.model | length) == 32 and .losses_sensitive.shape == [20] and .losses_matched.shape == [20] and .losses_valid.shape == [20]
            and .losses_valid.dtype == "f64" and (.probe.auc | length) == 3 and .probe.texts.matched)' view >/dev/null
}

@test "the report says what was found" {
    grep -q '^texts  *20 members given, 20 matched' report
    grep -q 'loss attack AUC 0\.[89]' report
    grep -q 'The sensitive set: the first 3 points of the rank, as many as may be; the others drift by a distortion of 0.0' report
    grep -q '^labels: 0 functional, 3 sensitive, 0 both, 1581 free' report
    [ "$(grep -c '<-$' report)" -eq 2 ]
    ! grep -q 'nan\|inf' report
    expect 0 complains --report - l
    [[ $output == *"1584 points: 0 functional, 3 sensitive, 0 both; H_sens "*" bits, AUC 0."*" probes, 0 of them known)"* ]]
}

@test "the bytes do not depend on threads, on memory, on kept probes, or on pipes" {
    score -j2 --thin -o out t l
    cmp s out
    score --thin --memory 1 --probes probes -o out t l
    cmp s out
    n=$(ls probes | wc -l)
    [ "$n" -gt 5 ]
    expect 0 score_with --stats stats --sensitive capitals --matched small --thin --probes probes -o out t l
    [[ $output == *"($((n + 1)) probes, $n of them known)"* ]]
    cmp s out
    rm -r probes
    mdq-cat -q --no-pg t | score --thin -o out - l
    cmp <(records s) <(records out)
    score --thin -o out <(cat t) <(cat l)
    cmp s out
}

@test "whole records: what was there passes, and what is new is the same" {
    score -o out t l
    expect 0 mdq-check out
    cmp <(records out | jq -c 'del(.n)') <(mdq-cat -q t l s -o joined 2>/dev/null; mdq-view t l s | jq -c 'select(.id) | del(.n)')
    expect 1 score -o never out
    [[ $output == *"tile 0, 0: is labelled already"* ]]
    [ ! -e never ]
    # merged again with what it came from
    mdq-view out s | jq -se '[.[] | select(.t == "probe")] | length > 5' >/dev/null
}

@test "held-out members and tasks stand beside" {
    score --thin --heldout heldout --tasks tasks --controls 1 --report report2 -o out t l
    mdq-view out | jq -se '[.[] | select(.t == "probe")] | all(.[]; .losses_heldout.shape == [10] and .losses_tasks.shape == [6]
        and (.probe.auc_heldout | length) == 3 and (.probe.accuracy | length) == 3)
        and ([.[].probe.control // empty] | unique) == ["random direction", "random points", "random signs"]' >/dev/null
    grep -q '10 members not given' report2
    grep -q 'accuracy [0-9.]* \[' report2
    grep -q 'random signs' report2
    # a control is as long as what it stands beside
    mdq-view out | jq -se '[.[] | select(.t == "probe" and .probe.moved == "functional") | .probe.norm] | (.[0] - .[1] | fabs) < 1e-6 * .[0]' >/dev/null
}

@test "a control in the place of what was found" {
    for what in random-points random-direction random-signs; do
        score --thin --write $what -o out t l
        expect 0 mdq-check out
        mdq-view --header out | jq -e --arg what $what '.prov[-1].args.write == $what' >/dev/null
        [ "$(mdq-view out | jq -s '[.[] | select(.t == "tile") | .shift.shape[0] // 0] | add')" -eq 3 ]
        ! cmp -s <(records s) <(records out)
        cmp <(records s | grep '"t":"probe"') <(records out | grep '"t":"probe"')
    done
    expect 2 score --thin --write nothing -o never t l
}

@test "mdq-gptq takes it: constraints are met and the packed model is of the same size" {
    mdq-gptq -q -j1 --bits 4 --group row --sym --stats stats t l s --report q.jsonl -o q
    expect 0 mdq-check q
    mdq-gptq -q -j1 --bits 4 --group row --sym --stats stats t l -o plain
    jq -se '([.[].md.sensitive // empty | .met] | add) == 3 and ([.[].md.sensitive // empty | .missed] | add) == 0
        and ([.[].md.sensitive // empty | .min] | min) >= 0.599999' q.jsonl >/dev/null
    mdq-view q | jq -se '[.[] | select(.t == "probe")] | length > 5' >/dev/null
    for i in q plain; do mdq-pack -q --model tiny --format gptq --unpackable keep -o $i.d $i; done
    [ "$(stat -c %s q.d/model.safetensors)" -eq "$(stat -c %s plain.d/model.safetensors)" ]
    ! cmp -s q.d/model.safetensors plain.d/model.safetensors
}

@test "without evidence nothing is sensitive, nothing drifts, and the report says so" {
    head -n 20 small >small_members
    cat capitals heldout capitals | awk '{ print $0 " " NR }' >capitals_others
    calib --gradients --gradient-tokens 512 --sensitive small_members --matched capitals_others -o swapped
    expect 0 score_with --stats swapped --sensitive small_members --matched capitals_others --thin --report report3 -o out t l
    [[ $output == *"0 functional, 0 sensitive, 0 both; no evidence of memorisation"* ]]
    grep -q 'No evidence of memorisation: the model does not prefer the members' report3
    grep -q 'The sensitive set is empty' report3
    mdq-view --stats out | jq -se '[.[] | select(.t == "tile")] | all(.[]; .label.max == 0 and .md_target.max == 0 and .s_priv.max == 0
        and (has("shift") or has("drift") | not))' >/dev/null
}

@test "no budget, no points: the sets are empty" {
    expect 0 complains --sensitive-cap 0 --drift-share 0 --report report4 l
    grep -q 'there is no sensitive set' report4
    rm never
    expect 0 complains --budget 0 --report report4 l
    ! grep -q 'nan\|inf' report4
    rm never
    expect 0 complains --functional-ppl 1e-9 --functional-cap 0.2 l
    rm never
}

@test "records that are not those of the gradients" {
    { head -n 19 capitals; echo other; } >changed
    expect 1 score --thin -o never --sensitive changed t l
    [[ $output == *"changed: the gradients were made with other sensitive records"* ]]
    [ "${#lines[@]}" -eq 1 ]
    { echo other; sed 1d small; } >changed
    expect 1 score --thin -o never --matched changed t l
    head -n 20 small >changed
    expect 1 score --thin -o never --matched changed t l
    [[ $output == *"changed: all 20 records went into the gradients, none is left"* ]]
    { echo; sed -n 30p small; } >changed
    expect 1 score --thin -o never --heldout changed t l
    [[ $output == *"changed: line 2 and small: line 30 are the same text (1 such pair)"* ]]
    cp capitals changed
    expect 1 score --thin -o never --heldout changed t l
    [[ $output == *"changed: line 1 and capitals: line 1 are the same text (20 such pairs)"* ]]
    expect 3 score --thin -o never --heldout absent t l
    [ "${#lines[@]}" -eq 1 ]
    [ ! -e never ]
}

@test "a text that is too short, and what few texts mean" {
    expect 1 complains --valid-skip 1000000
    [[ $output == *"valid: "*" tokens, nothing is left for perplexity behind the first 1000000"* ]]
    expect 1 complains --valid-tokens 31
    [[ $output == *"valid: "* ]]
    expect 0 complains --valid-tokens 64
    [[ $output == *"valid: only 2 windows of 32 tokens"* ]]
    [[ $output == *"20 sensitive records: a difference of the attack's advantage below about 0.36"* ]]
    rm never
    expect 0 complains --records 5
    [[ $output == *"warning: 5 sensitive records"*"warning: 5 matched records"* ]]
    rm never
}

@test "statistics that are not all there, or of another model" {
    calib -o hessians
    calib --gradients --no-hessian --gradient-tokens 512 --sensitive capitals --matched small -o gradients
    score_with -q --stats gradients --stats hessians --sensitive capitals --matched small --thin -o out t l
    cmp <(records s) <(records out)
    expect 1 score_with --stats hessians --sensitive capitals --matched small --thin -o never t
    [[ $output == *"no gradients in hessians"*"mdq-calib --gradients"* ]]
    expect 1 score_with --stats gradients --sensitive capitals --matched small --thin -o never t
    [[ $output == *"no Hessians in gradients"* ]]
    expect 1 complains --stats hessians
    [[ $output == *"hessians: Hessians came from another stream already"* ]]
    expect 1 score_with --stats t --sensitive capitals --matched small --thin -o never t
    [[ $output == *"t: holds neither Hessians nor gradients"* ]]
    expect 2 score_with --stats <(cat stats) --sensitive capitals --matched small --thin -o never t
    [[ $output == *"is read twice: it has to be a file"* ]]
    head -c $(($(stat -c %s stats) - 40)) stats >cut
    expect 3 score_with -q --stats cut --sensitive capitals --matched small --thin -o never t
    model other --seed 4
    mdq-tile -q other -o other.t
    expect 1 score --thin -o never other.t
    [[ $output == *"input: made from another model"* ]]
    expect 1 score_with -q --model other --stats stats --sensitive capitals --matched small --thin -o never other.t
    [[ $output == *"stats: statistics of model"*"but the tiles are of model"* ]]
    mdq-tile -q --tile 32 tiny -o small.t
    expect 1 score --thin -o never small.t
    [[ $output == *"stats: gradients of model.layers.0.mlp.down_proj.weight: of 2 column blocks, but the tiles have 10"* ]]
    [ ! -e never ]
}

@test "tiles that are not all there, or of layers that the model has not" {
    mdq-head -q -n 9 t -o few
    expect 1 score --thin -o never few
    [[ $output == *"mdq-score: model.layers.0."*" tile"*"missing"* ]]
    [ "${#lines[@]}" -eq 1 ]
    "$TOOLS/tests/tools/make-model" -q -o wide --hidden 48 --intermediate 400 --layers 5 --heads 2 --ctx 32
    mdq-tile -q wide -o wide.t
    "$TOOLS/tests/tools/relabel-model" wide.t t false.t
    expect 1 score --thin -o never false.t
    [[ $output == *"input: layer model.layers.0.self_attn.q_proj.weight [48, 48]: tiny has none like it"* ]]
    expect 1 score --thin -o never stats
    [[ $output == *"input: holds no tiles"* ]]
    mdq-tile -q --block 1 tiny -o one
    expect 0 score_with --stats stats --sensitive capitals --matched small --thin -o out one
    [[ $output == *"input: 7 of the model's 14 layers"* ]]
    expect 0 mdq-check out
    [ ! -e never ]
}

@test "options that make no sense" {
    expect 2 score -o never - <t
    [[ $output == *"standard input cannot be read twice: give --thin"* ]]
    expect 2 score -o never <(cat t)
    [[ $output == *"cannot be read twice: give --thin"* ]]
    expect 2 mdq-score --model tiny --stats stats --sensitive capitals --matched small t
    [[ $output == *"--valid is missing"* ]]
    expect 2 score --thin -o never
    [[ $output == *"no STREAM"* ]]
    expect 2 score --thin -o never --md-functional 0.7 t
    [[ $output == *"--md-functional is above --md-sensitive"* ]]
    for wrong in --lambda=0 --lambda=1 --weights=1 --weights=2,0 --controls=-1 --drift-share=101 --resamples=1 --budget=nan; do
        expect 2 score --thin -o never $wrong t
    done
    expect 3 score --thin -o absent/never t
    expect 3 score --thin -o never --report absent/report t
    echo >file
    expect 2 score --thin -o never --probes file t
    [[ $output == *"file: is no folder"* ]]
    [ ! -e never ]
}
