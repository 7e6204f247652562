# mdq-variables.mk: what every makefile here begins with: the shell, variables with types, the programs, help. Included by
# mdq.mk, whose head says how variables are declared.

ifeq ($(filter grouped-target,$(.FEATURES)),)
$(error mdq needs GNU make 4.3 or newer)
endif
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += -rR --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
export LC_ALL := C

mdq.here := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
mdq.file := $(firstword $(MAKEFILE_LIST))
mdq.q = '$(subst ','\'',$(1))'

# ---- Variables. They are given on the command line; the environment is not looked at, so that what a result is made of
# stands in the command. A wrong value or name fails here, before anything runs.

var.WORK    = path default=work folder of what is made on the way, kept for the next time
var.THREADS = number threads of one program (default: cores / jobs of make -j)
var.MDQ_BIN = path folder of the programs (default: where they were built or installed, else PATH)
var.V       = 0|1 default=0 show the commands
var.REMOVE  = 0|1 default=0 gc: remove what it lists

mdq.names := $(sort $(patsubst var.%,%,$(filter var.%,$(.VARIABLES))))
mdq.type = $(firstword $(var.$(1)))
mdq.default = $(patsubst default=%,%,$(filter default=%,$(var.$(1))))
mdq.values = $(subst |, ,$(mdq.type))
$(foreach v,$(mdq.names),$(if $(filter command override file,$(firstword $(origin $(v)))),,$(eval $(v) := $(call mdq.default,$(v)))))

mdq.digits = $(if $(1),$(call mdq.digits,$(wordlist 2,99,$(1)),$(subst $(firstword $(1)),,$(2))),$(2))
mdq.odd = $(strip $(foreach c,: % \# $$ ' " \ * ? [ ] ; | & < > ( ),$(findstring $(c),$(1))))
mdq.bad.path    = $(if $(or $(word 2,$($(1))),$(call mdq.odd,$($(1)))),make cannot work with spaces or any of : % \# $$ ' " \ * ? [ ] ; | & < > ( ) in a path: give a symbolic link instead)
mdq.bad.number  = $(if $(or $(word 2,$($(1))),$(call mdq.digits,0 1 2 3 4 5 6 7 8 9 . e-,$($(1)))),is not a number)
mdq.bad.paths   = $(if $(call mdq.odd,$($(1))),make cannot work with any of : % \# $$ ' " \ * ? [ ] ; | & < > ( ) in a path: give symbolic links instead)
mdq.bad.program =
mdq.bad.text    =
mdq.bad.choice  = $(if $(filter number,$(mdq.values)),$(if $(mdq.bad.number),$(mdq.bad.listed)),$(mdq.bad.listed))
mdq.bad.listed  = $(if $(and $(filter 1,$(words $($(1)))),$(filter $(mdq.values),$($(1)))),,must be one of: $(mdq.values))
mdq.bad = $(if $(strip $($(1))),$(call mdq.bad.$(if $(findstring |,$(mdq.type)),choice,$(mdq.type)),$(1)),$(if $(call mdq.default,$(1)),must not be empty))

mdq.needed := $(filter-out help print-% clean,$(or $(MAKECMDGOALS),all))
$(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(v)))),$(if $(filter $(mdq.names),$(v)),,\
  $(error $(v)=$($(v)): there is no such variable. There are: $(mdq.names)))))
$(foreach v,$(mdq.names),$(if $(call mdq.bad,$(v)),$(error $(v)=$($(v)): $(call mdq.bad,$(v)))))
ifneq ($(mdq.needed),)
$(foreach v,$(mdq.names),$(if $(filter required,$(var.$(v))),$(if $(strip $($(v))),,\
  $(error $(v) is not set: $(usage). `make -f $(mdq.file) help` lists the variables))))
$(if $(strip $(mdq.refuse)),$(error $(mdq.refuse)))
endif
Q := $(if $(filter 1,$(V)),,@)

# The programs: where MDQ_BIN says, else those built or installed beside these files, else those in PATH.
mdq.bin := $(firstword $(MDQ_BIN) $(patsubst %/mdq-tile,%,$(wildcard $(mdq.here)/../bin/mdq-tile \
             $(mdq.here)/../../../bin/mdq-tile)))
ifneq ($(mdq.bin),)
export PATH := $(abspath $(mdq.bin)):$(PATH)
endif

# What `make -n` prints, as counts of steps: each is named by an echo and counted by the command that follows it, as two
# pipelines may both want the same.
mdq.plan = awk '/^echo "mdq: / { stage = $$3; next } \
  stage { if (!seen[$$0]++ && !n[stage]++) name[++k] = stage; stage = "" } \
  END { for (i = 1; i <= k; i++) printf "%-8s %d\n", name[i], n[name[i]]; if (!k) print "nothing to do" }'

## print-VAR: the value of a variable
print-%:
	@printf '%s\n' $(call mdq.q,$($*))

## help: this text
mdq.order = $(shell sed -n 's/^var\.\([A-Z_]*\) .*/\1/p' $(MAKEFILE_LIST) | awk '!n[$$0]++')
mdq.words-of = $(filter-out required default=%,$(wordlist 2,999,$(var.$(1))))
help:
	@echo "$(usage)"; echo
	@$(foreach v,$(mdq.order),printf '  %-14s %s\n' $(v) $(call mdq.q,$(call mdq.words-of,$(v))$(if $(findstring |,$(call mdq.type,$(v))), [$(call mdq.type,$(v))])$(if $(call mdq.default,$(v)), (default $(call mdq.default,$(v)))));)
	@echo; sed -n 's/^## \([a-z-]*[A-Z]*\): \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 17
.PHONY: help
