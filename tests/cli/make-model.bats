#!/usr/bin/env bats
load ../helpers

make_model() {
    "$TOOLS/tests/tools/make-model" -q "$@"
}

@test "the same seed makes the same bytes, another seed others, with any number of threads" {
    cd "$BATS_TEST_TMPDIR"
    make_model -o a --arch qwen3 --dtype bf16 -j 1
    make_model -o b --arch qwen3 --dtype bf16 -j 3
    make_model -o c --arch qwen3 --dtype bf16 --seed 1
    diff -r a b
    ! cmp -s a/model.safetensors c/model.safetensors || return 1
}

@test "shards and one file hold the same tensors" {
    cd "$BATS_TEST_TMPDIR"
    make_model -o one --arch qwen2 --dtype f16
    make_model -o many --arch qwen2 --dtype f16 --shards 4
    [ "$(ls many/*.safetensors | wc -l)" -ge 4 ]
    [ ! -e many/model.safetensors ]
    [ -e many/model.safetensors.index.json ]
}
