# What the README shows works: every ```sh block is run, in order, in one scratch copy of the repository.
# Left out are the lines that begin with `make deps` (they install packages, and the demo has a test of its own).
# build: plain
load helpers

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    mkdir copy blocks
    cd copy
    cp -r "$ROOT"/{Makefile,README.md,pipelines,examples,formats,docs} .
    ln -s "$BIN" bin
    mkdir build && ln -s "$TOOLS" build/tools
    # blocks/NN, one file for each block. An early end of `head` is no failure of the program before it.
    awk -v dir="$BATS_FILE_TMPDIR/blocks" '
        /^```sh$/ { file = sprintf("%s/%02d", dir, ++n); print "# README.md:" NR > file; next }
        /^```/    { file = "" }
        file && !/^make deps/ { print > file }' README.md
}

@test "README.md has examples" {
    [ "$(ls "$BATS_FILE_TMPDIR/blocks" | wc -l)" -ge 4 ]
}
@test "the examples of README.md run" {
    unset MAKEFLAGS MFLAGS MAKELEVEL
    export TOOLS
    head() { command head "$@"; cat >/dev/null; }
    export -f head
    cd "$BATS_FILE_TMPDIR/copy"
    for block in "$BATS_FILE_TMPDIR"/blocks/*; do
        bash -euo pipefail "$block" || { echo "status $? in the block at $(head -n 1 "$block")"; cat "$block"; return 1; }
    done
}
@test "files that README.md and docs/ refer to exist" {
    cd "$ROOT"
    for page in README.md CONTRIBUTING.md docs/*.md formats/*.md; do
        while read -r target; do
            [ -e "$(dirname "$page")/$target" ] || { echo "$page: $target is not there"; missing=1; }
        done < <(grep -o '](\([^)#:]*\))' "$page" | sed 's/](\(.*\))/\1/' | sort -u)
    done
    [ -z "${missing:-}" ]
}
