# `make deps`: nothing when all is there; installs where it may; else says what to type. With other goals beside it the
# build sees what was just installed.
# build: plain
load ../helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    mkdir bin
    # A machine on which libzstd is missing until apt-get was called.
    real=$(type -P pkg-config)
    cat >bin/pkg-config <<END
#!/bin/sh
case "\$*" in *libzstd*) [ -e "$PWD/installed" ] || exit 1 ;; esac
exec "$real" "\$@"
END
    cat >bin/apt-get <<END
#!/bin/sh
echo "\$*" >>"$PWD/apt.log"
case "\$*" in *install*) [ -e "$PWD/broken" ] && exit 100; touch "$PWD/installed" ;; esac
END
    printf '#!/bin/sh\n[ -e "%s/known" ] && echo "  Candidate: 1.0"\nexit 0\n' "$PWD" >bin/apt-cache
    printf '#!/bin/sh\necho 0\n' >bin/id
    chmod +x bin/*
    PATH=$PWD/bin:$PATH
    unset MAKEFLAGS MFLAGS MAKELEVEL
    cp -r "$ROOT"/{Makefile,tests,stages,formats,common} .
}

@test "does nothing when all is there" {
    touch installed
    expect 0 make -s deps
    [ -z "$output" ]
    [ ! -e apt.log ]
}
@test "installs what is missing, after an update when the package is not known, and only that" {
    expect 0 make deps
    grep -q update apt.log
    grep -q 'install -y .*libzstd-dev' apt.log
    [ -z "$(grep jansson apt.log)" ]
    : >apt.log
    rm installed
    touch known
    expect 0 make deps
    [ -z "$(grep update apt.log)" ]
}
@test "a goal beside deps sees what deps installed" {
    expect 0 make -s deps print-pkg_libs
    [[ $output == *-lzstd* ]]
    rm installed
    expect 0 make -s -j2 print-pkg_libs deps print-VERSION
    [[ $output == *-lzstd* ]]
}
@test "without deps the missing library is named" {
    expect 2 make all
    [[ $output == *"missing: libzstd"*"make deps"* ]]
    expect 0 make help
}
@test "without the right to install, the command is printed and it fails" {
    printf '#!/bin/sh\necho 1000\n' >bin/id
    printf '#!/bin/sh\nexit 1\n' >bin/sudo
    chmod +x bin/*
    expect 2 make deps
    [[ $output == *"needs root"*"sudo apt-get install"*"libzstd-dev"* || $output == *"needs root"*"apt-get update && sudo apt-get install -y libzstd-dev"* ]]
    [ ! -e apt.log ]
}
@test "an apt-get that fails is a failure, with the command" {
    touch broken
    expect 2 make deps all
    [[ $output == *"apt-get failed"*"libzstd-dev"* ]]
    [[ $output != *"CC "* ]]
}
