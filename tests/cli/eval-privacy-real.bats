# build: plain
# mdq-eval choice, mia and canary on models that know something: values of an independent implementation (reference.json), and a
# model into which 256 records were planted.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    [ -d "$DATA/models" ] || return 0
    local set
    for set in members nonmembers; do # the eight digits are the secret
        jq -c '.text as $t | ($t | match("[0-9]{8}").offset) as $at | {text: $t, span: [$at, $at + 8]}' \
            "$DATA/models/planted260k/$set.jsonl" >"$set"
    done
}
setup() {
    need_data
    cd "$BATS_FILE_TMPDIR"
    planted=$DATA/models/planted260k
}

@test "minimal-pair accuracies are those of the reference" {
    for task in determiner_noun_agreement_1 anaphor_gender_agreement principle_A_domain_1; do
        value=$(mdq-eval choice --model "$DATA/models/stories260k" --tasks "$DATA/tasks/blimp/$task.jsonl" --limit 300 | jq .value)
        jq -e ".[\"stories260k blimp/$task first 300, total log-likelihood with BOS\"].accuracy - $value | . < 1e-3 and . > -1e-3" \
            "$DATA/reference.json"
    done
}

@test "multiple choice beyond such a model is at chance" {
    mdq-eval choice --model "$DATA/models/stories260k" --tasks "$DATA/tasks/openbook_qa.jsonl" --limit 100 >out
    jq -e '.value < 0.4 and .n == 100' out
}

@test "planted records are found, the loss attack at the AUC that its losses give" {
    mdq-eval mia -q --model "$planted" --members "$planted/members.jsonl" --nonmembers "$planted/nonmembers.jsonl" \
        --reference "$DATA/models/stories260k" >out
    jq -es '.[0].auc > 0.91 and .[0].auc < 0.94' out
    jq -es 'map(select(.attack == "best"))[0] | .advantage > 0.8 and .chance < 0.1 and .p < 0.001 and .advantage_ci95[0] > 0.75' out
}

@test "records that were not planted are at chance" {
    mdq-eval mia -q --model "$planted" --members "$planted/reference.jsonl" --nonmembers "$planted/nonmembers.jsonl" >out
    jq -es 'map(select(.attack == "best"))[0] | .advantage < 3 * .chance and .p > 0.001' out
}

@test "quantization to 4 bits takes some of it, paired against the original" {
    mdq-tile -q "$planted" | mdq-gptq -q --bits 4 --group 32 --ragged row --sym --method rtn |
        mdq-pack -q --model "$planted" --format dense -o four
    mdq-eval mia -q --model four --members "$planted/members.jsonl" --nonmembers "$planted/nonmembers.jsonl" --against "$planted" >out
    jq -es 'map(select(.metric == "mia_difference" and .attack == "best"))[0]
        | .relative < -0.3 and .relative_ci95[1] < -0.2 and .relative_ci95[0] > -0.8' out
}

@test "planted digits are exposed, unseen ones are at chance" {
    mdq-eval canary -q --model "$planted" --members members --nonmembers nonmembers --limit 24 --fills 63 >out
    jq -es 'map(select(.metric == "exposure"))
        | .[0].value > 3.5 and .[0].ci95[0] > .[0].chance and (.[1].value - .[1].chance | . < 0.9 and . > -0.9)' out
}
