# mdq.mk: the machinery of all pipelines. A pipeline file declares its variables and stages and includes this last.
# docs/pipelines.md says how; quantize.mk is one.
#
# A stage's output lies in $(WORK)/<stage>-<key>/block-NN.mdq, that of a stage of the whole model in all.mdq. The key hashes the bytes of its program, its arguments,
# the content of its input files, and the same of every stage before it: what is there under its key is never made
# again, whatever was changed in between. One call of mdq-keys computes all keys while make reads this file.
#
# Variables:  var.NAME = TYPE [required] [default=VALUE] words for help
#   TYPE      path, paths, number, program, text, or the values allowed: a|b|c (number may be one)
# Stages:     stages = names, readers after what they read; final = the stage that makes OUT of all blocks; for each S
#   S.program  the program, maybe with words after it      S.args    the arguments that change what it makes
#   S.command  how it is called: program, args and paths   S.from    the stages it reads
#   S.inputs   of: model, tokenizer, rest (of the model folder), and variables that name files
#   S.cache    no: nothing is stored, it is joined to its reader by a pipe
#   S.chain    yes: block n needs what block n - 1 left;   S.with    a stage whose block n - 1 is fed back to block n
#   S.whole    yes: one call for the whole model, which makes one file
#   S.alone    yes: nothing else can run beside it, so that it gets all cores
# In a command: $(call program,S), $(n) the block's number, $(last) the last one's, $(out) the file to write,
# $(call in,T) its input from stage T: a file, or a pipe that joins all blocks for a whole stage or takes this block out
# of one; $(parts) in the final stage all blocks, $(threads) how many it may start, $(memo).

include $(dir $(lastword $(MAKEFILE_LIST)))mdq-variables.mk

# ---- What a command may use.

program = $($(1).program) $(strip $($(1).args)) -j $(if $(filter yes,$($(1).alone)),$(or $(THREADS),$(cores),1),$(threads))
n       = $(n.$*)
out     = $@.part
memo    = $(WORK)/hashes
piped   = $(filter no,$($(1).cache))
whole   = $(filter yes,$($(1).whole))
files   = $(if $(whole),$($(1).dir)/all.mdq,$(foreach b,$(blocks),$($(1).dir)/block-$(b).mdq))
parts   = $(call files,$($(final).from))
cat     = mdq-cat -q -j $(threads) --level 1
in      = $(if $*,$(if $(piped),-,$(if $(whole),<($(cat) --block $(n) $(files)),$($(1).dir)/block-$*.mdq)),$(if $(whole),$(files),<($(cat) $(files))))
# Jobs times threads is at most the cores there are. A bare -j counts as one job per core.
jobs    = $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),$(if $(filter -j,$(MAKEFLAGS)),$(cores),1))
threads = $(or $(THREADS),$(threads.$(jobs)),1)

# ---- Keys, and rules from them.

# (GNU make 4.3 does not pass exported variables to $(shell), hence bin.)
mdq.keys = $(mdq.here)/mdq-keys $(1) $(if $(mdq.bin),bin=$(abspath $(mdq.bin))) work=$(WORK) model=$(MODEL) out=$(OUT) \
  $(foreach f,$(sort $(foreach s,$(stages) $(final),$(filter $(mdq.names),$($(s).inputs)))),$(foreach p,$($(f)),file=$(f)=$(p))) \
  $(foreach s,$(stages) $(final),stage=$(s) $(call mdq.q,program=$($(s).program)) \
    $(call mdq.q,args=$(strip $($(s).args))) $(call mdq.q,command=$(strip $(value $(s).command))) \
    inputs=$(call mdq.q,$($(s).inputs)) from=$(call mdq.q,$($(s).from)) with=$(call mdq.q,$($(s).with)) whole=$($(s).whole))

define mdq.params
$(1).dir := $(WORK)/$(1)-$($(1).key)
$(WORK)/$(1)-$($(1).key)/params:
	$(Q)mkdir -p $$(@D) && $$(call mdq.keys,params=$(1)) > $$@.part && mv -f $$@.part $$@
endef
# How long each call took is noted in WORK/times: stage and key, block, milliseconds.
mdq.clock = t=$${EPOCHREALTIME/./};
mdq.took  = echo "$(1)-$($(1).key) $(2) $$((($${EPOCHREALTIME/./} - t) / 1000))" >>$(WORK)/times
define mdq.block
$($(1).dir)/block-%.mdq: $(foreach s,$($(1).from),$(if $(call piped,$(s)),,$(if $(call whole,$(s)),$(call files,$(s)),$($(s).dir)/block-%.mdq))) | $($(1).dir)/params
	@echo "mdq: $(1) block $$(n) of 0..$$(last)"
	$(Q)$$(mdq.clock) rm -f $$(@D)/.$$(@F).*.part; $(foreach s,$($(1).from),$(if $(call piped,$(s)),$$($(s).command) | ))$$($(1).command) && mv -f $$(out) $$@ && $$(call mdq.took,$(1),$$*)
endef
# Order only here too: statistics that were removed to save room and made again for one block are what they were.
define mdq.whole
$($(1).dir)/all.mdq: | $(foreach s,$($(1).from),$(call files,$(s))) $($(1).dir)/params
	@echo "mdq: $(1) of all blocks, 0..$$(last)"
	$(Q)$$(mdq.clock) rm -f $$(@D)/.$$(@F).*.part; $$($(1).command) && mv -f $$(out) $$@ && $$(call mdq.took,$(1),all)
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
$(foreach s,$(stages),$(foreach t,$($(s).from),$(if $(and $(call whole,$(s)),$(call piped,$(t))),\
  $(error stage $(s) is of the whole model and reads $(t), which is not stored))))
$(foreach s,$(stages),$(if $(call piped,$(s)),,$(eval $(call $(if $(call whole,$(s)),mdq.whole,mdq.block),$(s)))))
$(foreach s,$(stages),$(if $(filter yes,$($(s).chain)),$(call mdq.chains,$(s),$(blocks))))

# What the final stage reads is made again when it is lost; what only led to it may be removed to save room.
.SECONDARY: $(foreach s,$(filter-out $($(final).from),$(stages)),$(call files,$(s)))

# What the final stage made is noted in WORK with size and time of every file. When OUT is not that any more (remade
# with other parameters or from another WORK, damaged, removed) it is made again.
mdq.made := $($(final).dir)/$(out.name).made
$(mdq.made): $(parts) $(if $(out.stale),FORCE) | $($(final).dir)/params
	@echo "mdq: $(final) to $(OUT)"
	$(Q)$(mdq.clock) $($(final).command) && $(call mdq.took,$(final),$(out.name))
	$(Q)$(mdq.here)/mdq-keys made out=$(OUT) > $@.part && mv -f $@.part $@
endif

## all: OUT, and what is missing on the way to it
all: $(mdq.made)

## plan: how many blocks of each stage would be made; costs nothing
plan:
	@+$(MAKE) -f $(mdq.file) -n all | $(mdq.plan)

## why: of each stage that is not there, how it differs from what is
why:
	@$(call mdq.keys,why)

## status: what is done, and what it takes on the disk
status:
	@$(call mdq.keys,status)

## times: how long the programs ran that made OUT, added up; what was read from WORK counts as when it was made
times:
	@$(call mdq.keys,times)

## folders: where in WORK the files of each stage are
folders:
	@printf '%s\n' $(foreach s,$(stages) $(final),$($(s).dir))

## params: what the key of each stage is made of
params:
	@$(foreach s,$(stages) $(final),echo "== $(s)-$($(s).key)"; $(call mdq.keys,params=$(s));)

## gc: list what is in WORK but not part of these parameters; REMOVE=1 removes it
gc:
	@$(call mdq.keys,gc) remove=$(REMOVE)

## clean: remove from WORK all that was made there (never OUT)
clean:
	@$(mdq.here)/mdq-keys clean work=$(WORK)

.PHONY: all plan why status times folders params gc clean FORCE
FORCE:
