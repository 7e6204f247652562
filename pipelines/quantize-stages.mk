# quantize-stages.mk: variables and stages that all pipelines share which end in mdq-gptq and mdq-pack. They include it,
# add their own, and include mdq.mk last.

var.MODEL      = path required the model: a Hugging Face folder
var.CALIB      = path $(if $(calibrated),required) text to calibrate on (not needed by METHOD=rtn)
var.OUT        = path required the folder to make
var.BITS       = 2|3|4|8 default=4 bits of a weight
var.GROUP      = number|row default=128 columns that share a scale, 16 to 1024, or the whole row
var.SYM        = 0|1 default=1 symmetric codes
var.METHOD     = gptq|rtn default=gptq GPTQ, or round to nearest
var.ORDER      = act|natural default=act columns by falling activation, or as they stand
var.RAGGED     = error|row default=error a row that GROUP does not divide: an error, or one group of its own
var.SCALE      = f16|bf16|f32|f64 type of the scales
var.PRECISION  = float|double type of the arithmetic
var.DAMP       = number damping of the Hessian, as a share of its mean diagonal
var.FALLBACK   = error|rtn where GPTQ fails: stop, or round and record it
var.TOKENS     = number tokens of CALIB to use
var.CTX        = number tokens of a calibration window
var.SEQUENTIAL = 0|1 calibrate each block behind the blocks already quantized
var.EXPORT     = gptq|gptq_v2|compressed-tensors|dense default=gptq format of OUT
var.UNPACKABLE = error|keep default=error what EXPORT cannot hold: an error, or left in full precision
var.DTYPE      = f32|f16|bf16 element type of EXPORT=dense
var.TILE       = program default=mdq-tile the program of stage tile; the next three likewise
var.CALIBRATE  = program default=mdq-calib
var.GPTQ       = program default=mdq-gptq
var.PACK       = program default=mdq-pack
var.TILE_ARGS  = text more arguments for the program; the next three likewise
var.CALIBRATE_ARGS = text
var.GPTQ_ARGS  = text
var.PACK_ARGS  = text

calibrated = $(filter gptq,$(METHOD))
option     = $(if $($(2)),$(1) $($(2)))
mdq.refuse = $(if $(calibrated),,$(if $(filter 1,$(SEQUENTIAL)),SEQUENTIAL=1 needs METHOD=gptq: rounding looks at no activations))

# $(between): the including file's stages between tile and gptq. $(given): those of them whose thin streams gptq reads
# beside the tiles. They stand before calib, which may be fed by what gptq made of them, unless calib is one of them.
given  = $(between)
stages = tile $(between) $(if $(calibrated),$(filter-out $(between),calib)) gptq
final  = pack

tile.program = $(TILE)
tile.args    = $(TILE_ARGS)
tile.inputs  = model
tile.command = $(call program,tile) $(MODEL) --block $(n) --memo $(memo)$(if $(call piped,tile),, -o $(out))

calib.program = $(CALIBRATE)
calib.args    = $(call option,--tokens,TOKENS) $(call option,--ctx,CTX) $(CALIBRATE_ARGS)
calib.inputs  = model tokenizer CALIB
calib.chain   = yes
calib.with    = $(if $(filter 1,$(SEQUENTIAL)),gptq)
calib.command = $(mdq.here)/mdq-chain $(@:.part=) $(n) $(last) $(or $(if $(calib.with),$(gptq.dir)),-) $(call program,calib) --model $(MODEL) --text $(CALIB) --memo $(memo)

gptq.program = $(GPTQ)
gptq.args    = --method $(METHOD) --bits $(BITS) --group $(GROUP) $(if $(filter 1,$(SYM)),--sym) --ragged $(RAGGED) \
               $(if $(calibrated),--order $(ORDER) $(call option,--damp,DAMP) $(call option,--fallback,FALLBACK)) \
               $(call option,--scale,SCALE) $(call option,--precision,PRECISION) $(GPTQ_ARGS)
gptq.from    = tile $(given) $(if $(calibrated),calib)
gptq.command = $(call program,gptq) --thin $(if $(calibrated),--stats $(call in,calib)) -o $(out) $(foreach s,tile $(given),$(call in,$(s)))

pack.program = $(PACK)
pack.args    = --format $(EXPORT) --unpackable $(UNPACKABLE) $(call option,--dtype,DTYPE) $(PACK_ARGS)
pack.inputs  = model rest
pack.from    = gptq
pack.command = $(call program,pack) --model $(MODEL) -o $(OUT) $(parts) $(pack.also)
