# mdq.mk: the machinery of all pipelines. A pipeline file declares its variables and stages and includes this last.
# docs/pipelines.md says how; quantize.mk is one.
#
# A stage's output lies in $(WORK)/<stage>-<key>/block-NN.mdq. The key hashes the bytes of its program, its arguments,
# the content of its input files, and the same of every stage before it: what is there under its key is never made
# again, whatever was changed in between. One call of mdq-keys computes all keys while make reads this file.
#
# Variables:  var.NAME = TYPE [required] [default=VALUE] words for help
#   TYPE      path, number, program, text, or the values allowed: a|b|c (number may be one)
# Stages:     stages = names, readers after what they read; final = the stage that makes OUT of all blocks; for each S
#   S.program  the program, maybe with words after it      S.args    the arguments that change what it makes
#   S.command  how it is called: program, args and paths   S.from    the stages it reads
#   S.inputs   of: model, tokenizer, rest (of the model folder), and variables that name files
#   S.cache    no: nothing is stored, it is joined to its reader by a pipe
#   S.chain    yes: block n needs what block n - 1 left;   S.with    a stage whose block n - 1 is fed back to block n
# In a command: $(call program,S), $(n) the block's number, $(last) the last one's, $(call in,T) its input from stage T,
# $(out) the file to write, $(parts) in the final stage all blocks, $(threads) how many it may start, $(memo).

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
$(if $(mdq.refuse),$(error $(mdq.refuse)))
endif
Q := $(if $(filter 1,$(V)),,@)

# The programs: where MDQ_BIN says, else those built or installed beside these files, else those in PATH.
mdq.bin := $(firstword $(MDQ_BIN) $(patsubst %/mdq-tile,%,$(wildcard $(mdq.here)/../bin/mdq-tile \
             $(mdq.here)/../../../bin/mdq-tile)))
ifneq ($(mdq.bin),)
export PATH := $(abspath $(mdq.bin)):$(PATH)
endif

# ---- What a command may use.

program = $($(1).program) $(strip $($(1).args)) -j $(threads)
n       = $(n.$*)
out     = $@.part
memo    = $(WORK)/hashes
piped   = $(filter no,$($(1).cache))
in      = $(if $(piped),-,$($(1).dir)/block-$*.mdq)
parts   = $(foreach b,$(blocks),$($($(final).from).dir)/block-$(b).mdq)
# Jobs times threads is at most the cores there are. A bare -j counts as one job per core.
jobs    = $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),$(if $(filter -j,$(MAKEFLAGS)),$(cores),1))
threads = $(or $(THREADS),$(threads.$(jobs)),1)

# ---- Keys, and rules from them.

# (GNU make 4.3 does not pass exported variables to $(shell), hence bin.)
mdq.keys = $(mdq.here)/mdq-keys $(1) $(if $(mdq.bin),bin=$(abspath $(mdq.bin))) work=$(WORK) model=$(MODEL) out=$(OUT) \
  $(foreach f,$(sort $(foreach s,$(stages) $(final),$(filter $(mdq.names),$($(s).inputs)))),file=$(f)=$($(f))) \
  $(foreach s,$(stages) $(final),stage=$(s) $(call mdq.q,program=$($(s).program)) \
    $(call mdq.q,args=$(strip $($(s).args))) $(call mdq.q,command=$(strip $(value $(s).command))) \
    inputs=$(call mdq.q,$($(s).inputs)) from=$(call mdq.q,$($(s).from)) with=$(call mdq.q,$($(s).with)))

define mdq.params
$(1).dir := $(WORK)/$(1)-$($(1).key)
$(WORK)/$(1)-$($(1).key)/params:
	$(Q)mkdir -p $$(@D) && $$(call mdq.keys,params=$(1)) > $$@.part && mv -f $$@.part $$@
endef
define mdq.block
$($(1).dir)/block-%.mdq: $(foreach s,$($(1).from),$(if $(call piped,$(s)),,$($(s).dir)/block-%.mdq)) | $($(1).dir)/params
	@echo "mdq: $(1) block $$(n) of 0..$$(last)"
	$(Q)rm -f $$(@D)/.$$(@F).*.part; $(foreach s,$($(1).from),$(if $(call piped,$(s)),$$($(s).command) | ))$$($(1).command) && mv -f $$(out) $$@
endef
# Order only: the key says what is in a file. A stage that is fed back is followed when its block is new.
define mdq.chain
$($(1).dir)/block-$(3).mdq: $(if $($(1).with),$($($(1).with).dir)/block-$(2).mdq) | $($(1).dir)/block-$(2).mdq
endef
mdq.chains = $(if $(word 2,$(2)),$(eval $(call mdq.chain,$(1),$(word 1,$(2)),$(word 2,$(2))))$(call mdq.chains,$(1),$(wordlist 2,100000,$(2))))

ifneq ($(mdq.needed),)
override WORK := $(patsubst %/,%,$(WORK))
override OUT := $(patsubst %/,%,$(OUT))
override MODEL := $(patsubst %/,%,$(MODEL))

mdq.words := $(shell $(call mdq.keys,keys))
ifneq ($(.SHELLSTATUS),0)
$(error $(or $(mdq.words),the keys of the stages could not be computed))
endif
# Words like tile.key:=ab12 and blocks+=00.
$(foreach w,$(mdq.words),$(eval $(w)))
$(foreach s,$(stages) $(final),$(eval $(call mdq.params,$(s))))
$(foreach s,$(stages),$(if $(call piped,$(s)),,$(eval $(call mdq.block,$(s)))))
$(foreach s,$(stages),$(if $(filter yes,$($(s).chain)),$(call mdq.chains,$(s),$(blocks))))

# What the final stage reads is made again when it is lost; what only led to it may be removed to save room.
.SECONDARY: $(foreach s,$(filter-out $($(final).from),$(stages)),$(blocks:%=$($(s).dir)/block-%.mdq))

# What the final stage made is noted in WORK with size and time of every file. When OUT is not that any more (remade
# with other parameters or from another WORK, damaged, removed) it is made again.
mdq.made := $($(final).dir)/$(out.name).made
$(mdq.made): $(parts) $(if $(out.stale),FORCE) | $($(final).dir)/params
	@echo "mdq: $(final) to $(OUT)"
	$(Q)$($(final).command)
	$(Q)$(mdq.here)/mdq-keys made out=$(OUT) > $@.part && mv -f $@.part $@
endif

## all: OUT, and what is missing on the way to it
all: $(mdq.made)

## plan: how many blocks of each stage would be made; costs nothing
plan:
	@+$(MAKE) -f $(mdq.file) -n all | awk '/^echo "mdq: / { if (!n[$$3]++) name[++k] = $$3 } \
	  END { for (i = 1; i <= k; i++) printf "%-8s %d\n", name[i], n[name[i]]; if (!k) print "nothing to do" }'

## why: of each stage that is not there, how it differs from what is
why:
	@$(call mdq.keys,why)

## status: what is done, and what it takes on the disk
status:
	@$(call mdq.keys,status)

## params: what the key of each stage is made of
params:
	@$(foreach s,$(stages) $(final),echo "== $(s)-$($(s).key)"; $(call mdq.keys,params=$(s));)

## gc: list what is in WORK but not part of these parameters; REMOVE=1 removes it
gc:
	@$(call mdq.keys,gc) remove=$(REMOVE)

## clean: remove from WORK all that was made there (never OUT)
clean:
	@$(mdq.here)/mdq-keys clean work=$(WORK)

## print-VAR: the value of a variable
print-%:
	@printf '%s\n' $(call mdq.q,$($*))

## help: this text
mdq.order = $(shell sed -n 's/^var\.\([A-Z_]*\) .*/\1/p' $(MAKEFILE_LIST))
mdq.words-of = $(filter-out required default=%,$(wordlist 2,999,$(var.$(1))))
help:
	@echo "$(usage)"; echo
	@$(foreach v,$(mdq.order),printf '  %-14s %s\n' $(v) $(call mdq.q,$(call mdq.words-of,$(v))$(if $(findstring |,$(call mdq.type,$(v))), [$(call mdq.type,$(v))])$(if $(call mdq.default,$(v)), (default $(call mdq.default,$(v)))));)
	@echo; sed -n 's/^## \([a-z-]*[A-Z]*\): \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 17

.PHONY: all plan why status params gc clean help FORCE
FORCE:
