# mdq: build, check, install. One file, non-recursive, no configure step. `make help` lists the targets.
#
# Every stages/<verb>/mdq-<verb>.c is a program; whatever else stands in a stage's folder is its method.
# formats/ and common/ make one static library, the methods another (the unit tests link both).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += -rR
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

ifeq ($(filter grouped-target,$(.FEATURES)),)
$(error mdq needs GNU make 4.3 or newer)
endif

VERSION  := 0.1.0
CC       := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
# The instruction set: native for a build used where it is made; packagers set ARCH=x86-64-v3 or the like.
ARCH     ?= native
CPPFLAGS ?=
LDFLAGS  ?=
# SANITIZE=address,undefined builds beside the plain build and leaves bin/ alone.
SANITIZE ?=
CFLAGS   ?= $(if $(SANITIZE),-O1,-O3) -g
WERROR   ?= $(if $(CI),1)
V        ?=
Q        := $(if $(filter 1,$(V)),,@)

PREFIX  ?= /usr/local
DESTDIR ?=
bindir  ?= $(PREFIX)/bin
libexecdir ?= $(PREFIX)/libexec/mdq
datadir ?= $(PREFIX)/share
mandir  ?= $(datadir)/man

# ---- What must be installed: pkg:<pkg-config name>[|<other name>]:<Debian package>[|<other>], cmd:<program>:<package>,
# hdr:<header>:<package>.

NEEDS := cmd:gcc:gcc hdr:stdio.h:libc6-dev cmd:pkg-config:pkg-config pkg:libzstd:libzstd-dev \
         'pkg:msgpack|msgpack-c:libmsgpack-dev|libmsgpack-c-dev' pkg:openblas:libopenblas-dev \
         pkg:jansson:libjansson-dev pkg:libpcre2-8:libpcre2-dev pkg:libutf8proc:libutf8proc-dev \
         pkg:libxxhash:libxxhash-dev pkg:zlib:zlib1g-dev pkg:cmocka:libcmocka-dev cmd:bats:bats cmd:help2man:help2man cmd:jq:jq

# With `deps` among the goals everything else waits for it and is then made by a second make, which finds the libraries
# that were not there when this one was parsed.
ifneq ($(filter deps,$(MAKECMDGOALS)),)
after_deps := $(filter-out deps,$(MAKECMDGOALS))
deps:
	@tests/deps $(NEEDS)
ifneq ($(after_deps),)
$(after_deps): after-deps ; @:
after-deps: deps
	@+$(MAKE) --no-print-directory $(after_deps)
endif
.PHONY: deps after-deps $(after_deps)
else

# ---- Everything else, to the end of this file.

GOALS_WITHOUT_BUILD := help clean uninstall check-style print-VERSION
need_pkgs := $(if $(MAKECMDGOALS),$(filter-out $(GOALS_WITHOUT_BUILD),$(MAKECMDGOALS)),all)
ifneq ($(need_pkgs),)
MSGPACK := $(shell pkg-config --exists msgpack 2>/dev/null && echo msgpack || echo msgpack-c)
PKGS := libzstd $(MSGPACK) openblas jansson libpcre2-8 libutf8proc libxxhash zlib
pkg_missing := $(shell command -v pkg-config >/dev/null || { echo pkg-config; exit 0; }; \
                       for p in $(PKGS); do pkg-config --exists $$p || echo $$p; done)
ifneq ($(pkg_missing),)
$(error missing: $(pkg_missing). `make deps` installs what mdq needs)
endif
pkg_cflags := $(shell pkg-config --cflags $(PKGS))
pkg_libs   := $(shell pkg-config --libs $(PKGS))
endif

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith $(if $(WERROR),-Werror)
ALL_CPPFLAGS := -D_GNU_SOURCE -DMDQ_VERSION='"$(VERSION)"' -Iformats -Icommon/cli -Icommon/model -Icommon/math -Icommon/geometry -Icommon/stream \
                $(patsubst %,-I%,$(sort $(wildcard stages/*))) $(pkg_cflags) $(CPPFLAGS)
ALL_CFLAGS := -std=c11 $(WARN) -march=$(ARCH) -ffp-contract=fast -fno-math-errno -fopenmp $(CFLAGS) \
              $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
ALL_LDFLAGS := -fopenmp $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LDLIBS := -Wl,--as-needed $(pkg_libs) -lm -lpthread -ldl

# Objects live under a name made of the compiler and its flags, so that builds never mix and switching back is free.
conf   := $(shell printf '%s\0' '$(CC)' '$(ALL_CPPFLAGS)' '$(ALL_CFLAGS)' '$(ALL_LDFLAGS)' | md5sum | cut -c1-12)
BUILD  := build/$(conf)
BINDIR := $(if $(SANITIZE),$(BUILD)/bin,bin)

lib_src    := $(sort $(wildcard formats/*.c common/*/*.c))
prog_src   := $(sort $(wildcard stages/*/mdq-*.c))
method_src := $(filter-out $(prog_src),$(sort $(wildcard stages/*/*.c)))
unit_src   := $(sort $(wildcard tests/unit/test_*.c))
bench_src  := $(sort $(wildcard bench/*.c))
fuzz_src   := $(sort $(wildcard tests/fuzz/*.c))
tool_src   := $(sort $(wildcard examples/*/*.c tests/tools/*.c))
shim_src   := $(sort $(wildcard tests/fault/*.c))

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
PROGRAMS := $(patsubst %.c,$(BINDIR)/%,$(notdir $(prog_src)))
UNITS    := $(patsubst %.c,$(BUILD)/%,$(unit_src))
BENCHES  := $(patsubst %.c,$(BUILD)/%,$(bench_src))
FUZZERS  := $(patsubst %.c,$(BUILD)/%,$(fuzz_src))
TOOLS    := $(patsubst %.c,$(BUILD)/%,$(tool_src))
SHIMS    := $(patsubst %.c,$(BUILD)/%.so,$(shim_src))
MANPAGES := $(patsubst $(BINDIR)/%,build/man/%.1,$(PROGRAMS))

## all: the programs, in bin/
all: $(PROGRAMS)

# A text stamp that is rewritten, while parsing, only when its text changed: `make -n` and `-q` stay truthful.
$(shell mkdir -p build; t='$(conf)$(BINDIR)'; [ "$$(cat build/conf.$(notdir $(BINDIR)) 2>/dev/null)" = "$$t" ] || { [ '$(need_pkgs)' ] && printf '%s' "$$t" > build/conf.$(notdir $(BINDIR)); })

define program
$(BINDIR)/$(basename $(notdir $(1))): $(call obj,$(1)) $(BUILD)/libmethods.a $(BUILD)/libmdq.a build/conf.$(notdir $(BINDIR)) | $(BINDIR)/
	$$(if $$(Q),@echo "  LD      $$@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $$@.part $(call obj,$(1)) $(BUILD)/libmethods.a $(BUILD)/libmdq.a $(LDLIBS) && mv -f $$@.part $$@
endef
$(foreach p,$(prog_src),$(eval $(call program,$(p))))

$(UNITS): LDLIBS += -lcmocka
$(UNITS) $(BENCHES) $(FUZZERS) $(TOOLS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libmethods.a $(BUILD)/libmdq.a
	$(if $(Q),@echo "  LD      $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@.part $< $(BUILD)/libmethods.a $(BUILD)/libmdq.a $(LDLIBS) && mv -f $@.part $@

$(BUILD)/libmdq.a: $(call obj,$(lib_src))
$(BUILD)/libmethods.a: $(call obj,$(method_src))
$(BUILD)/lib%.a:
	$(if $(Q),@echo "  AR      $@")
	$(Q)mkdir -p $(@D); rm -f $@ $@.part; ar rcs $@.part $^ && mv -f $@.part $@

$(BUILD)/%.o: %.c
	$(if $(Q),@echo "  CC      $<")
	$(Q)mkdir -p $(@D); $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

bin/ $(BUILD)/bin/:
	$(Q)mkdir -p $@

-include $(patsubst %.o,%.d,$(call obj,$(lib_src) $(prog_src) $(method_src) $(unit_src) $(bench_src) $(fuzz_src) $(tool_src)))

# What LD_PRELOAD loads to make system calls fail; neither sanitized nor optimised.
$(SHIMS): $(BUILD)/%.so: %.c
	$(if $(Q),@echo "  SHIM    $@")
	$(Q)mkdir -p $(@D); $(CC) -std=c11 -D_GNU_SOURCE -Wall -Wextra $(if $(WERROR),-Werror) -O1 -g -shared -fPIC -o $@.part $< -ldl && mv -f $@.part $@

# Pages come from --help and from the include file that stands beside each program.
define manpage
build/man/$(basename $(notdir $(1))).1: $(BINDIR)/$(basename $(notdir $(1))) $(wildcard $(1:.c=.h2m))
	$$(if $$(Q),@echo "  MAN     $$@")
	$(Q)mkdir -p $$(@D); help2man --no-info --section=1 --source='mdq $(VERSION)' --manual=mdq $$(patsubst %,--include=%,$$(filter %.h2m,$$^)) -o $$@.part ./$$< && mv -f $$@.part $$@
endef
$(foreach p,$(prog_src),$(eval $(call manpage,$(p))))

## deps: install what is missing (libraries, test tools); does nothing when all is there
## units: the unit test programs, built and not run
units: $(UNITS)
## tools: the small programs of examples/ and tests/, in build/tools, and the fault shims
tools: $(TOOLS) $(SHIMS)
	$(if $(SANITIZE),,$(Q)ln -sfn $(notdir $(BUILD)) build/tools)
	$(if $(SANITIZE),,$(Q)[ "$$(readlink build/tools)" = $(notdir $(BUILD)) ] || ln -sfn $(notdir $(BUILD)) build/tools)
## fuzzers: the fuzz harnesses, built and not run
fuzzers: $(FUZZERS)
## benches: the benchmarks, built and not run
benches: $(BENCHES)
## man: the manual pages, in build/man
man: $(MANPAGES)

## demo: quantize an example model plainly and selectively, measure and attack it (three minutes)
demo: all tools
	$(Q)MDQ_BIN=$(abspath $(BINDIR)) MDQ_TOOLS=$(abspath $(BUILD)) examples/demo/run

# The runner builds what it runs, so that a build that fails is counted too.
## check: all tests; ends with a line of counts
check:
	$(Q)MDQ_MAKE='$(MAKE)' tests/run $(TESTS)
## check-interop: what other tools make of the exports (needs Python and a network, else skips)
check-interop: all tools
	$(Q)tests/run --interop
## check-style: layout, file sizes, which folder may include which
check-style:
	$(Q)tests/style
## bench: every benchmark, tables of ratios; BENCH=word for those with that name
bench: all tools benches
	$(Q)export MDQ_BIN=$(abspath $(BINDIR)) MDQ_TOOLS=$(abspath $(BUILD)); \
	for b in $(BENCHES) $(sort $(wildcard bench/*.sh)); do \
	    case $$b in *$(BENCH)*) echo "== $$(basename $$b)"; $$b; echo ;; esac; done

## install: programs, manual pages, pipelines and formats under PREFIX (DESTDIR before it)
install: all man
	$(Q)install -d $(DESTDIR)$(bindir) $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(datadir)/mdq/pipelines $(DESTDIR)$(datadir)/doc/mdq
	$(Q)install -m 755 $(PROGRAMS) $(DESTDIR)$(bindir)/
	$(Q)install -m 644 $(MANPAGES) $(DESTDIR)$(mandir)/man1/
	$(Q)install -m 644 $(wildcard pipelines/*.mk) $(DESTDIR)$(datadir)/mdq/pipelines/
	$(Q)install -m 755 $(wildcard pipelines/mdq-*[!.mk]) $(DESTDIR)$(datadir)/mdq/pipelines/
	$(Q)install -m 644 $(wildcard LICENSE NEWS.md README.md docs/*.md formats/*.md) $(DESTDIR)$(datadir)/doc/mdq/
## uninstall: remove what install put there
uninstall:
	rm -f $(patsubst $(BINDIR)/%,$(DESTDIR)$(bindir)/%,$(PROGRAMS)) $(patsubst build/man/%,$(DESTDIR)$(mandir)/man1/%,$(MANPAGES))
	rm -rf $(DESTDIR)$(datadir)/mdq $(DESTDIR)$(datadir)/doc/mdq

## clean: remove what was built
clean:
	rm -rf build bin

## help: this list
help:
	@echo "mdq $(VERSION): selective quantization of language models"
	@sed -n 's/^## \([a-z-]*\): \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24

print-%:
	@printf '%s\n' '$(subst ','\'',$($*))'

.PHONY: all units tools fuzzers benches man demo check check-interop check-style bench install uninstall clean help
endif
