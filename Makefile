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
CFLAGS   ?= -O3 -g
CPPFLAGS ?=
LDFLAGS  ?=
# SANITIZE=address,undefined builds beside the plain build and leaves bin/ alone.
SANITIZE ?=
WERROR   ?= $(if $(CI),1)
V        ?=
Q        := $(if $(filter 1,$(V)),,@)

PREFIX  ?= /usr/local
DESTDIR ?=
bindir  ?= $(PREFIX)/bin
libexecdir ?= $(PREFIX)/libexec/mdq
datadir ?= $(PREFIX)/share
mandir  ?= $(datadir)/man

PKGS := libzstd msgpack openblas jansson libpcre2-8 libutf8proc libxxhash
DEBS := gcc make pkg-config libzstd-dev libmsgpack-dev libopenblas-dev libjansson-dev libpcre2-dev \
        libutf8proc-dev libxxhash-dev libcmocka-dev bats help2man jq

GOALS_WITHOUT_BUILD := help deps clean uninstall
need_pkgs := $(if $(MAKECMDGOALS),$(filter-out $(GOALS_WITHOUT_BUILD),$(MAKECMDGOALS)),all)
pkg_cflags := $(if $(need_pkgs),$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
pkg_libs   := $(if $(need_pkgs),$(shell pkg-config --libs $(PKGS) 2>/dev/null || echo -lzstd -lmsgpackc -lopenblas -ljansson -lpcre2-8 -lutf8proc -lxxhash))

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith $(if $(WERROR),-Werror)
ALL_CPPFLAGS := -D_GNU_SOURCE -DMDQ_VERSION='"$(VERSION)"' -Iformats -Icommon/cli -Icommon/model -Icommon/math \
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

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
PROGRAMS := $(patsubst %.c,$(BINDIR)/%,$(notdir $(prog_src)))
UNITS    := $(patsubst %.c,$(BUILD)/%,$(unit_src))
BENCHES  := $(patsubst %.c,$(BUILD)/%,$(bench_src))
FUZZERS  := $(patsubst %.c,$(BUILD)/%,$(fuzz_src))
TOOLS    := $(patsubst %.c,$(BUILD)/%,$(tool_src))

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

## units: the unit test programs, built and not run
units: $(UNITS)
## tools: the small programs of examples/ and tests/
tools: $(TOOLS)

## clean: remove what was built
clean:
	rm -rf build bin

## help: this list
help:
	@echo "mdq $(VERSION): selective quantization of language models"
	@sed -n 's/^## \([a-z-]*\): \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24

.PHONY: all units tools clean help
