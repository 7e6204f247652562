# What is wrong with the variables is said at once and by name, before any program runs.
# build: plain
load ../helpers
load pipeline

setup() {
    setup_standins
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

@test "values that are not among the allowed" {
    refused "BITS=5: must be one of: 2 3 4 8" BITS=5
    refused "BITS=: must not be empty" BITS=
    refused "EXPORT=gtpq: must be one of" EXPORT=gtpq
    refused "METHOD=awq: must be one of" METHOD=awq
    refused "SYM=yes: must be one of: 0 1" SYM=yes
    refused "RAGGED=rows: must be" RAGGED=rows
    refused "UNPACKABLE=drop: must be" UNPACKABLE=drop
    refused "ORDER=activation: must be" ORDER=activation
    refused "SEQUENTIAL=2: must be" SEQUENTIAL=2
    refused "GROUP=12x: must be" GROUP=12x
    refused "TOKENS=many: is not a number" TOKENS=many
}
@test "a variable that does not exist is refused by name" {
    refused "BIT=4: there is no such variable" BIT=4
    refused "bits=4: there is no such variable" bits=4
    refused "GROUPSIZE=64: there is no such variable" GROUPSIZE=64
}
@test "what is required and missing" {
    all=(MDQ_BIN="$PWD/bin")
    refused "MODEL is not set" CALIB=text.txt OUT=q
    refused "CALIB is not set" MODEL=m OUT=q
    refused "OUT is not set" MODEL=m CALIB=text.txt
}
@test "the environment is no way to set a variable" {
    BITS=3 MODEL=elsewhere GROUP=64 run quantize print-BITS
    [ "$output" = 4 ]
}
@test "files and folders that are not there" {
    refused "MODEL=none: no such folder" MODEL=none
    refused "CALIB=none.txt: no such file" CALIB=none.txt
    mkdir empty
    refused "no config.json" MODEL=empty
    echo '{}' >empty/config.json
    refused "no num_hidden_layers" MODEL=empty
}
@test "an OUT that mdq did not make is not touched" {
    mkdir precious
    echo data >precious/thesis.txt
    refused "was not made by mdq" OUT=precious
    [ "$(cat precious/thesis.txt)" = data ]
    refused "is MODEL itself" OUT=m
    echo file >out
    refused "is there and no folder" OUT=out
}
@test "an OUT that holds what is read or kept is refused" {
    refused "lies in it, and OUT is replaced" OUT=q WORK=q
    refused "lies in it, and OUT is replaced" OUT=q WORK=q/work
    mkdir old
    echo '{}' >old/mdq-report.json
    cp text.txt old/
    refused "text.txt is or lies in it" OUT=old CALIB=old/text.txt
    [ -f old/text.txt ]
}
@test "paths that make cannot work with" {
    mkdir "a model" && cp m/* "a model"
    refused "make cannot work with spaces" MODEL="a model"
    refused "make cannot work with spaces" CALIB="a text"
    refused "make cannot work with spaces" OUT="a:b"
    refused "make cannot work with spaces" WORK="a b"
}
@test "a stage's program that is not there" {
    refused "stage tile: ./no-such-tile: program not found" TILE=./no-such-tile
}
@test "sequential rounding makes no sense" {
    refused "SEQUENTIAL=1 needs METHOD=gptq" METHOD=rtn SEQUENTIAL=1
}
@test "a work folder that cannot be made" {
    : >file
    refused "WORK=file/work: cannot be made" WORK=file/work
}
@test "help names every variable and runs nothing; so do plan, why, status, params, gc" {
    run quantize help
    [ "$status" -eq 0 ]
    for v in MODEL CALIB OUT BITS GROUP SYM METHOD ORDER RAGGED EXPORT UNPACKABLE TOKENS SEQUENTIAL WORK; do
        [[ $output == *"  $v "* ]]
    done
    run quantize plan
    [[ $output == *"gptq "*"4"* ]]
    run quantize status
    [[ $output == *"gptq: 0 of 4 blocks"* ]]
    run quantize why
    [[ $output == *"gptq: was never run"* ]]
    run quantize params
    [[ $output == *"--bits 4 --group 128 --sym"* ]]
    [ ! -e log ]
}
@test "why says what changed, plan how much it costs, status what is there" {
    quantize
    run quantize plan BITS=3
    [ "$output" = "$(printf 'gptq     4\npack     1')" ]
    run quantize why BITS=3
    [ "$status" -eq 0 ]
    [[ $output == *"pack: differs from "* ]]
    [[ $output == *"calib: work/calib-"*" has 4 of 4 blocks"* ]]
    [[ $output == *"was: args"*"--bits 4"*"now: args"*"--bits 3"* ]]
    run quantize status
    [[ $output == *"pack: q is made"* ]]
    run quantize plan
    [ "$output" = "nothing to do" ]
}
@test "gc lists what these parameters do not use, removes it when told, and nothing else" {
    quantize
    quantize BITS=3 OUT=q3
    mkdir work/mine-0123456789ab
    run quantize gc
    [ "$(grep -c '^work/' <<<"$output")" -eq 2 ]
    ran --
    quantize gc REMOVE=1
    [ -d work/mine-0123456789ab ]
    [ "$(ls -d work/gptq-* | wc -l)" -eq 1 ]
    ran --
    run quantize gc
    [[ $output == "nothing in work"* ]]
}
@test "clean removes what was made in WORK, and neither OUT nor what is not ours" {
    quantize
    touch work/notes
    quantize clean
    [ "$(ls work)" = notes ]
    [ -f q/mdq-report.json ]
}
