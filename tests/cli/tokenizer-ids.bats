# Token ids of whole texts with real tokenizers, as Hugging Face tokenizers gives them (md5 of the ids as decimal text).
load ../helpers

setup() { cd "$BATS_TEST_TMPDIR"; }
tokenize() { "$TOOLS/tests/tools/tokenize" "$@"; }
# same TOKENIZER TEXT MD5
same() {
    [ "$(tokenize "$DATA/$1" <"$DATA/text/$2.txt" | md5sum)" = "$3  -" ]
}

@test "a prompt with its first token, as reference.json has it" {
    need_data
    jq -r '."stories260k prompt".text' "$DATA/reference.json" | tr -d '\n' | tokenize -s "$DATA/models/stories260k" >ids
    jq -r '."stories260k prompt".ids | join(" ")' "$DATA/reference.json" | diff - ids
}

@test "stories260k: byte fallback" {
    need_data
    [ "$(tokenize "$DATA/models/stories260k" <"$DATA/text/tinystories-eval.txt" | wc -w)" -eq 125486 ]
    same models/stories260k tinystories-eval 0902da56d45181b4e133f0245a681dc0
    same models/stories260k wikitext2-test aabb6538f55ddf59246f29a40835f710
}

@test "babyllama105: unknown characters, no merges" {
    need_data
    same models/babyllama105 tinystories-eval 35fda61d450bee65d8aa3310a38ccb3e
    same models/babyllama105 wikitext2-test f39dfeee18df2ac94c2dd34cf8e191f2
}

@test "gpt-neox: byte level" {
    need_data
    same tokenizers/gpt-neox tinystories-eval 3bd5015027b2ba70cb7c2ab5a540eea5
    same tokenizers/gpt-neox wikitext2-test 4604aa9e82e2b73ed269747910cb777b
}

@test "decoding gives the text back" {
    need_data
    tokenize -d "$DATA/tokenizers/gpt-neox" <"$DATA/text/wikitext2-test.txt" | cmp - "$DATA/text/wikitext2-test.txt"
    tokenize -d "$DATA/models/stories260k" <"$DATA/text/tinystories-eval.txt" | cmp - "$DATA/text/tinystories-eval.txt"
}
