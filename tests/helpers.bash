# Loaded by every .bats file: `load ../helpers`. The runner (tests/run) sets MDQ_BIN and MDQ_TOOLS.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${MDQ_BIN:-$ROOT/bin}
TOOLS=${MDQ_TOOLS:?set by the runner: where tests/tools and examples are built}
DATA=${MDQ_DATA:-$ROOT/../shared/data}
PATH=$BIN:$PATH
export LC_ALL=C

# Real models and texts that are not part of the repository: their tests skip where they are absent.
need_data() {
    [ -d "$DATA/models" ] || skip "no test data at MDQ_DATA"
}
need() {
    command -v "$1" >/dev/null || skip "no $1 here"
}
# expect STATUS COMMAND...: runs it, output in $output (standard error included), fails unless the status is STATUS.
expect() {
    local want=$1; shift
    run "$@"
    [ "$status" -eq "$want" ] || { echo "status $status, want $want: $*"; echo "$output"; return 1; }
}
