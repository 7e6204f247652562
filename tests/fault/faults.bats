# Full disks, closed pipes, failing calls and failing allocations, for every program that handles streams: never exit
# status 0, never a crash, nothing under a final name, and what was there before stays as it was.
# build: plain
load ../helpers

SHIM=$TOOLS/tests/fault/mdq_fault.so
programs=(tile calib gptq pack cat head view check hash eval choice mia canary) # the last three are mdq-eval too

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    make_model --layers 2 --hidden 64 --intermediate 96 --heads 2 --kv-heads 1 --vocab 300 -o m
    for i in {1..400}; do echo "line $i of a text that is only there to be calibrated on"; done >text
    for i in {1..6}; do echo "{\"text\":\"record $i\",\"span\":[7,8],\"repeats\":$((i % 2))}"; done >members
    printf 'another %s\n' 7 8 9 >others
    echo '{"query":"a","choices":["b","c"],"gold":0}' >tasks
    mdq-tile m -o tiles
    mdq-calib --model m --text text --tokens 512 --ctx 32 -o stats
    mdq-gptq --bits 4 --group 32 --sym --stats stats tiles -o codes
    # The kernels are chosen here, so that no program starts itself again and a fault at its start is a fault in it.
    mdq-calib --model m --text text --tokens 512 --ctx 32 -v -o stats 2>&1 |
        sed -n 's/.*OpenBLAS kernels: \([A-Za-z0-9]*\).*/\1/p' >kernels
    export OPENBLAS_CORETYPE=$(cat kernels)
    # What each program writes when nothing fails.
    mkdir good
    for p in "${programs[@]}"; do
        call "$p" good/$p
        "${cmd[@]}" >good/$p.stdout
    done
}
setup() {
    cd "$BATS_FILE_TMPDIR"
    export OPENBLAS_CORETYPE=$(cat kernels)
}
make_model() { "$TOOLS/tests/tools/make-model" "$@"; }

# cmd = the call of program $1 with the result in $2 (or on standard output, for those that print)
call() {
    local o=$2
    case $1 in
    tile) cmd=(mdq-tile m -j 1 -o "$o") ;;
    calib) cmd=(mdq-calib --model m --text text --tokens 512 --ctx 32 -j 1 -o "$o") ;;
    gptq) cmd=(mdq-gptq --bits 4 --group 32 --sym --stats stats tiles -j 1 -o "$o") ;;
    pack) cmd=(mdq-pack --model m --format dense -j 1 -o "$o" codes) ;;
    cat) cmd=(mdq-cat -o "$o" tiles) ;;
    head) cmd=(mdq-head -n 3 -o "$o" tiles) ;;
    view) cmd=(mdq-view tiles) ;;
    check) cmd=(mdq-check tiles) ;;
    hash) cmd=(mdq-hash tiles) ;;
    eval) cmd=(mdq-eval ppl --model m --text text --ctx 32 --max-tokens 512 -j 1) ;;
    choice) cmd=(mdq-eval choice --model m --tasks tasks --against m -j 1) ;;
    mia) cmd=(mdq-eval mia --model m --members members --nonmembers others --reference m --resamples 100 -j 1) ;;
    canary) cmd=(mdq-eval canary --model m --members members --nonmembers others --fills 2 --resamples 100 -j 1) ;;
    esac
}
prints() { [[ " view check hash eval choice mia canary " == *" $1 "* ]]; }
# to standard output instead of -o
to_stdout() {
    local i
    for i in "${!cmd[@]}"; do
        [ "${cmd[i]}" != -o ] || { unset "cmd[i]" "cmd[i+1]"; break; }
    done
}
same() { # PROGRAM PATH: the result is the good one
    if prints "$1"; then cmp -s stdout "good/$1.stdout"; else diff -r "$2" "good/$1" >/dev/null; fi
}
count() { # PROGRAM CALL: how many such calls it makes
    rm -rf result counted
    call "$1" result
    LD_PRELOAD=$SHIM FAULT=$2:EIO:1000000000 FAULT_COUNT=$PWD/counted "${cmd[@]}" >stdout 2>stderr
    tail -n 1 counted
}
# broken PROGRAM FAULT [harmless]: runs it with the fault; with `harmless` a good result in spite of it will do.
broken() {
    local status=0
    rm -rf result
    [ ! -e "good/$1" ] || cp -r "good/$1" result
    call "$1" result
    LD_PRELOAD=$SHIM FAULT=$2 timeout 20 "${cmd[@]}" >stdout 2>stderr || status=$?
    if [ $status -eq 0 ]; then
        # OpenBLAS that fails to find its kernels takes others, with a warning.
        [ -n "${3:-}" ] && { same "$1" result || grep -q 'slow kernels' stderr; } && return 0
        echo "${cmd[*]} with $2: status 0"
        return 1
    fi
    [ $status -le 5 ] || { echo "${cmd[*]} with $2: status $status"; cat stderr; return 1; }
    [ -s stderr ] || { echo "${cmd[*]} with $2: no message"; return 1; }
    [ ! -e "good/$1" ] || diff -r "good/$1" result >/dev/null || { echo "${cmd[*]} with $2: the old result is lost"; return 1; }
    [ -z "$(find . -name '.*.part')" ] || { echo "${cmd[*]} with $2: leaves $(find . -name '.*.part')"; find . -name '.*.part' -exec rm -rf {} +; return 1; }
    # And where nothing was before, nothing is.
    prints "$1" || {
        rm -rf result
        LD_PRELOAD=$SHIM FAULT=$2 timeout 20 "${cmd[@]}" >stdout 2>stderr || true
        [ ! -e result ] || { echo "${cmd[*]} with $2: leaves a result"; return 1; }
    }
}
# at PROGRAM CALL HOW [harmless]: fails the first, the last and some calls between.
at() {
    local n i last=0
    n=$(count "$1" "$2")
    for i in 1 2 3 $((n / 4)) $((n / 2)) $((n * 3 / 4)) $((n - 1)) "$n"; do
        [ "$i" -gt "$last" ] && [ "$i" -le "$n" ] || continue
        last=$i
        broken "$1" "$2:$3:$i" "${4:-}"
    done
}

@test "a disk that is full: any write fails" {
    for p in "${programs[@]}"; do at $p write ENOSPC; done
}
@test "a disk that fails: any read fails" {
    for p in tile calib gptq pack cat view check hash eval choice mia canary; do at $p read EIO; done
    # Stops where it has enough, maybe before what was read ahead.
    at head read EIO harmless
}
@test "a close that fails (quota, network file systems)" {
    for p in tile calib gptq pack cat head; do at $p close EIO; done
}
@test "a sync that fails" {
    for p in tile calib gptq pack cat head; do at $p fsync EIO; done
}
@test "a rename that fails" {
    for p in tile calib gptq pack cat head; do at $p rename EACCES; done
}
@test "a file that cannot be made" {
    for p in tile calib gptq pack cat head; do at $p open EACCES; done
}
@test "a file that cannot be mapped" {
    for p in tile calib pack eval choice mia canary; do at $p mmap ENOMEM harmless; done
}
@test "allocations that fail, one at a time" {
    for p in "${programs[@]}"; do
        n=$(count $p malloc)
        # All of the first, then ever fewer.
        for ((i = 1; i <= n; i += 1 + i / 12)); do broken $p malloc:ENOMEM:$i harmless; done
    done
}
@test "short reads and writes and interrupted calls change nothing" {
    for p in "${programs[@]}"; do
        for fault in read:short:1 write:short:1 read:EINTR:1 write:EINTR:1; do
            rm -rf result
            call $p result
            LD_PRELOAD=$SHIM FAULT=$fault "${cmd[@]}" >stdout || { echo "$p with $fault: status $?"; return 1; }
            same $p result || { echo "$p with $fault: another result"; return 1; }
        done
    done
}
@test "standard output full or closed" {
    for p in "${programs[@]}"; do
        [ $p != pack ] || continue
        call $p result
        to_stdout
        status=0
        "${cmd[@]}" >/dev/full 2>stderr || status=$?
        [ $status -eq 3 ] || { echo "${cmd[*]} > /dev/full: status $status"; return 1; }
        grep -q 'No space left' stderr
        status=0
        "${cmd[@]}" >&- 2>stderr || status=$?
        [ $status -ne 0 ] && [ $status -le 5 ] || { echo "${cmd[*]} >&-: status $status"; return 1; }
    done
}
@test "a reader that goes away ends the writer, and the pipe fails" {
    for p in tile calib gptq cat; do
        call $p result
        to_stdout
        # The reader closes at once; what the writer does then is its status in the pipe.
        run bash -c 'set -o pipefail; { sleep 0.2; "$@"; } | exec 0<&- true' _ "${cmd[@]}"
        [ "$status" -ne 0 ] || { echo "${cmd[*]}: status 0 into a closed pipe"; return 1; }
    done
}
@test "a writer that dies half way: its reader fails and leaves no file" {
    size=$(stat -c %s tiles)
    for cut in 10 $((size / 2)) $((size - 20)); do
        rm -f out
        run bash -c 'set -o pipefail; head -c '$cut' tiles | mdq-gptq --bits 4 --group 32 --sym --method rtn -o out'
        [ "$status" -eq 3 ] || [ "$status" -eq 1 ]
        [ ! -e out ]
        run bash -c 'head -c '$cut' tiles | mdq-cat -o out'
        [ "$status" -ne 0 ]
        [ ! -e out ]
    done
}
