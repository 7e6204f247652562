# selective-stages.mk: variables and stages of selective.mk. compare.mk, which calls that, has the same variables.

between = $(geometry) $(hessians) gradients score

include $(dir $(lastword $(MAKEFILE_LIST)))quantize-stages.mk
# What quantize.mk knows of: compare.mk gives it these.
quantize.names := $(patsubst var.%,%,$(filter var.%,$(.VARIABLES)))
include $(dir $(lastword $(MAKEFILE_LIST)))geometry-stages.mk
given = $(geometry) score

var.CALIB     = path required text to calibrate on: general, none of it sensitive
var.SENSITIVE = path required records that should not leak: known or suspected members of the training data
var.MATCHED   = path required records of the same kind that the model was not trained on
var.HELDOUT   = path more records like SENSITIVE, to test on them what was found with those
var.VALID     = path text that probes measure perplexity on (default: what CALIB holds behind its first TOKENS tokens)
var.TASKS     = paths multiple choice that probes measure accuracy on; several files with spaces between
var.LAMBDA    = number default=0.5 privacy preference, between 0 and 1: what privacy is worth against function
var.GRADIENT_TOKENS = number tokens of CALIB for the functional gradients
var.GRADIENTS = program default=mdq-calib the program of stage gradients
var.SCORE     = program default=mdq-score the program of stage score
var.GRADIENTS_ARGS = text more arguments for the program; the next likewise
var.SCORE_ARGS = text

mdq.refuse += $(if $(and $(filter 0.% .%,$(LAMBDA)),$(subst 0,,$(subst .,,$(LAMBDA)))),,LAMBDA=$(LAMBDA): must lie between 0 and 1, as in 0.5)

# Score wants the Hessians of all blocks before one is quantized. Where calibration goes behind quantized blocks, that is
# another one.
hessians = $(if $(filter 1,$(SEQUENTIAL)),precalib,calib)
precalib.program = $(CALIBRATE)
precalib.args    = $(calib.args)
precalib.inputs  = $(calib.inputs)
precalib.chain   = yes
precalib.command = $(mdq.here)/mdq-chain $(@:.part=) $(n) $(last) - $(call program,precalib) --model $(MODEL) --text $(CALIB) --memo $(memo)

gradients.program = $(GRADIENTS)
gradients.args    = --gradients --no-hessian $(call option,--gradient-tokens,GRADIENT_TOKENS) $(call option,--ctx,CTX) $(GRADIENTS_ARGS)
gradients.inputs  = model tokenizer CALIB SENSITIVE MATCHED
gradients.whole   = yes
gradients.command = $(call program,gradients) --model $(MODEL) --text $(CALIB) --sensitive $(SENSITIVE) --matched $(MATCHED) --memo $(memo) -o $(out)

# Ranks and probes are of the whole model. Probes are kept in WORK/probes for other parameters.
score.program = $(SCORE)
score.args    = --lambda $(LAMBDA) $(if $(VALID),,--valid-skip $(or $(TOKENS),262144)) $(call option,--ctx,CTX) $(SCORE_ARGS)
score.inputs  = model tokenizer SENSITIVE MATCHED $(if $(HELDOUT),HELDOUT) $(if $(VALID),VALID,CALIB) $(if $(strip $(TASKS)),TASKS)
score.from    = tile $(geometry) $(hessians) gradients
score.whole   = yes
score.alone   = yes
score.command = $(call program,score) --model $(MODEL) --thin --stats $(call in,$(hessians)) --stats $(call in,gradients) \
                --sensitive $(SENSITIVE) --matched $(MATCHED) $(call option,--heldout,HELDOUT) --valid $(or $(VALID),$(CALIB)) \
                $(foreach t,$(TASKS),--tasks $(t)) --memo $(memo) --probes $(WORK)/probes --report $(score.report) -o $(out) \
                $(foreach s,tile $(geometry),$(call in,$(s)))
score.report  = $(score.dir)/mdq-score.txt

# The report of score stands in OUT beside that of the rounding. (A program put in its place may write none.)
pack.also = && { [ ! -f $(score.report) ] || { cp $(score.report) $(OUT)/.mdq-score.part && mv -f $(OUT)/.mdq-score.part $(OUT)/mdq-score.txt; }; }
