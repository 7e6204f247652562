# compare.mk: full precision, plain rounding and selective rounding at the same bits and in the same format, measured on the
# same texts and by the same attacks: one table. Calls quantize.mk and selective.mk. `make -f compare.mk help`

usage = make -f $(mdq.file) MODEL=dir CALIB=text.txt SENSITIVE=s.jsonl MATCHED=r.jsonl NONMEMBERS=n.jsonl OUT=dir BITS=4 GROUP=128 [NAME=value...]

include $(dir $(lastword $(MAKEFILE_LIST)))selective-stages.mk
selective.names := $(patsubst var.%,%,$(filter var.%,$(.VARIABLES)))

var.OUT             = path required the folder for plain/, selective/, compare.txt and compare.json
var.NONMEMBERS      = path required records of the same kind that neither the model nor mdq-score has seen: what attacks tell members from
var.HELDOUT_MEMBERS = path members that are not in SENSITIVE: does protection carry over to them?
var.EVAL            = path text for perplexity (default: VALID)
var.REFERENCE       = path a model folder that was not trained on the members: for the attack that compares with one
var.REQUANTIZE      = text default=rtn8,rtn4,gptq3,compressed-tensors what is made of both models to see whether protection lasts; 0 leaves it out
var.EVALUATE        = program default=mdq-eval the program that measures
var.PPL_ARGS        = text arguments for its perplexity (default: --ctx CTX where that is given); the next three for the others
var.CHOICE_ARGS     = text
var.MIA_ARGS        = text
var.CANARY_ARGS     = text

mdq.refuse += $(if $(EVAL)$(VALID),,EVAL is not set, nor VALID: which text shall perplexity be measured on?)

include $(dir $(lastword $(MAKEFILE_LIST)))mdq-variables.mk

# What was given here is handed on by name, not by make itself: each pipeline knows its own variables only.
MAKEOVERRIDES :=
given = $(foreach v,$(filter-out OUT,$(1)) THREADS MDQ_BIN V,$(if $(filter command,$(firstword $(origin $(v)))),$(call mdq.q,$(v)=$($(v)))))
override OUT := $(patsubst %/,%,$(OUT))
override WORK := $(patsubst %/,%,$(WORK))
plain.args     = $(mdq.here)/quantize.mk $(call given,$(quantize.names)) WORK=$(WORK) CACHE=tile OUT=$(OUT)/plain
selective.args = $(mdq.here)/selective.mk $(call given,$(selective.names)) WORK=$(WORK) OUT=$(OUT)/selective
both = $(foreach p,plain selective,echo "== $(p)"; $(MAKE) -f $($(p).args) $(1);)
mdq.compare = $(mdq.here)/mdq-compare $(1) work=$(WORK) out=$(OUT) make=$(call mdq.q,$(MAKE)) threads=$(THREADS) \
  $(foreach v,MODEL SENSITIVE NONMEMBERS HELDOUT_MEMBERS REFERENCE,$(if $($(v)),$(v)=$($(v)))) EVAL=$(or $(EVAL),$(VALID)) \
  $(foreach v,MATCHED HELDOUT VALID,$(if $($(v)),$(v)=$($(v)))) $(foreach t,$(TASKS),TASKS=$(t)) \
  $(foreach v,REQUANTIZE EVALUATE CHOICE_ARGS MIA_ARGS CANARY_ARGS,$(call mdq.q,$(v)=$($(v)))) \
  $(call mdq.q,PPL_ARGS=$(or $(PPL_ARGS),$(call option,--ctx,CTX))) \
  $(foreach v,BITS GROUP SYM METHOD EXPORT LAMBDA,$(v)=$($(v))) \
  requantize: $(mdq.here)/quantize.mk $(call given,CALIB TOKENS CTX TILE CALIBRATE GPTQ PACK) RAGGED=row GROUP=128 EXPORT=dense \
  plain: $(plain.args) selective: $(selective.args)

ifneq ($(mdq.needed),)
# Words like plain.stale:=1, for what is not there or not as it should be.
mdq.words := $(shell $(if $(mdq.bin),PATH=$(abspath $(mdq.bin)):$$PATH )$(call mdq.compare,check))
ifneq ($(.SHELLSTATUS),0)
$(error $(or $(mdq.words),what is there could not be found out))
endif
$(foreach w,$(mdq.words),$(eval $(w)))
endif

## all: OUT/compare.txt and OUT/compare.json, and the models on the way to them
all: $(if $(compare.stale),compare)

# One after the other: both work in WORK. (With -q the models are not asked again, which run `make` lines even then.)
asked = $(findstring q,$(firstword -$(MAKEFLAGS)))
compare: $(if $(asked),,$(foreach p,plain selective,$(if $($(p).stale),$(p))))
	@echo "mdq: compare to $(OUT)"
	$(Q)$(call mdq.compare,run key=$(compare.key))
plain selective:
	$(Q)mkdir -p $(OUT)
	$(Q)+$(MAKE) -f $($@.args)
selective: | $(if $(plain.stale),plain)

## plan: how many blocks of each stage would be made; costs nothing
plan:
	@+$(MAKE) -f $(mdq.file) $(call given,$(filter-out THREADS MDQ_BIN V,$(mdq.names))) OUT=$(OUT) -n all | $(mdq.plan)

## why: of each stage that is not there, how it differs from what is
## status: what is done, and what it takes on the disk
## times: how long the programs ran that made the models
## params: what the key of each stage is made of
why status times params:
	@+$(call both,$@)

## gc: list what is in WORK that neither model uses; REMOVE=1 removes it
gc:
	@comm -12 <($(MAKE) -f $(plain.args) gc | sort) <($(MAKE) -f $(selective.args) gc | sort) | { grep '^$(WORK)/' || true; } | \
	  while IFS=, read -r folder size; do echo "$(if $(filter 1,$(REMOVE)),removing )$$folder,$$size"; \
	    [ $(REMOVE) = 0 ] || rm -rf "$$folder"; done

## clean: remove from WORK all that was made there (never OUT)
clean:
	@$(mdq.here)/mdq-keys clean work=$(WORK)

.PHONY: all compare plain selective plan why status times params gc clean
