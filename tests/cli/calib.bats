# mdq-calib: the same statistics however the work is cut, and its bad input.
load ../helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$TOOLS/tests/tools/make-model" -o tiny --arch qwen2 --hidden 64 --intermediate 96 --layers 3 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 3 --dtype bf16
    "$TOOLS/examples/stories/make-stories" --seed 5 --bytes 30000 >text
    mdq-calib --model tiny --text text --tokens 20000 -o all
}
setup() { cd "$BATS_FILE_TMPDIR"; }

@test "the stream is sound and holds four inputs of three blocks" {
    expect 0 mdq-check all
    [ "$(mdq-view all | jq -r 'select(.t == "hessian") | .id[0]' | sort -u | wc -l)" -eq 12 ]
    mdq-view all | jq -e 'select(.t == "hessian") | .count == 19968' >/dev/null # 312 windows of 64
}

@test "block by block gives the same records as the whole model" {
    mdq-calib --model tiny --text text --tokens 20000 --block 0 --acts-out a1 -o s0
    mdq-calib --model tiny --text text --tokens 20000 --block 1 --acts-in a1 --acts-out a2 -o s1
    mdq-calib --model tiny --block 2 --acts-in a2 -o s2
    mdq-cat s0 s1 s2 -o joined
    mdq-view joined | jq -c 'del(.n)' >joined.txt
    mdq-view all | jq -c 'del(.n)' >all.txt
    cmp joined.txt all.txt
    [ "$(mdq-view --header joined | jq -c .prov)" = "$(mdq-view --header all | jq -c .prov)" ]
}

@test "the same bytes on one and on two threads" {
    mdq-calib --model tiny --text text --tokens 20000 -j1 -o one
    mdq-calib --model tiny --text text --tokens 20000 -j2 -o two
    cmp one two
    cmp one all
}

@test "sequential: activations behind a quantized block differ, and say so" {
    mdq-calib --model tiny --text text --tokens 2000 --block 0 -o s0
    mdq-tile tiny --block 0 | mdq-gptq --bits 3 --group 32 --sym --stats s0 --thin -o q0
    mdq-calib --model tiny --text text --tokens 2000 --block 0 --quantized q0 --acts-out a1
    mdq-calib --model tiny --block 1 --acts-in a1 -o s1
    mdq-calib --model tiny --text text --tokens 2000 --block 0 --acts-out b1 -o /dev/null
    mdq-calib --model tiny --block 1 --acts-in b1 -o t1
    [ "$(mdq-view --header s1 | jq .calib.sequential)" = true ]
    [ "$(mdq-view --header t1 | jq .calib.sequential)" = false ]
    mdq-view --header s1 | jq -e '[.prov[].prog] | index("mdq-gptq")' >/dev/null
    ! cmp -s <(mdq-view --stats s1 | tail -n +2) <(mdq-view --stats t1 | tail -n +2)
}

@test "bad input: text shorter than a window, missing files, wrong activations" {
    printf 'short' >short
    expect 1 mdq-calib --model tiny --text short -o never
    [[ $output == *short*5*64* ]]
    expect 3 mdq-calib --model tiny --text absent -o never
    expect 2 mdq-calib --model tiny --text text --block 1 -o never
    expect 2 mdq-calib --model tiny --text text --block 7 --acts-in all -o never
    expect 1 mdq-calib --model tiny --block 1 --acts-in all -o never
    [[ $output == *"no activations"* ]]
    [ ! -e never ]
}

@test "activations of another model are refused" {
    "$TOOLS/tests/tools/make-model" -o other --arch qwen2 --hidden 64 --intermediate 96 --layers 3 --heads 4 --kv-heads 2 \
        --vocab 258 --ctx 64 --seed 4 --dtype bf16
    mdq-calib --model tiny --text text --tokens 2000 --block 0 --acts-out a1 -o /dev/null
    expect 1 mdq-calib --model other --block 1 --acts-in a1 -o never
    [[ $output == *"another model"* ]]
    mdq-calib --model tiny --block 1 --acts-in a1 --acts-out a2 -o /dev/null
    expect 1 mdq-calib --model tiny --block 1 --acts-in a2 -o never
    [[ $output == *a2*"block 1"* ]]
    [ ! -e never ]
}

@test "activations that overflow are an error naming the layer" {
    "$TOOLS/tests/tools/make-model" -o huge --hidden 32 --intermediate 64 --layers 1 --heads 4 --vocab 258 --ctx 64 --scale 3e18
    expect 1 mdq-calib --model huge --text text --tokens 640 -o never
    [[ $output == *"block 0"*finite* ]]
    [ ! -e never ]
}
