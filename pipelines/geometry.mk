# geometry.mk: as quantize.mk, with the manifold of each layer fitted, points marked, and the manifold distortion of every
# point measured and held where the marks want it. `make -f geometry.mk help`

usage = make -f $(mdq.file) MODEL=dir CALIB=text.txt OUT=dir BITS=4 LABELS='--functional REGEX --sensitive REGEX' [NAME=value...]

var.LABELS     = text arguments of stage label (mdq-label); without them no point is marked
var.LLE        = program default=mdq-lle the program of stage lle (neighbourhoods), none to leave it out; the next likewise
var.VAE        = program default=mdq-vae
var.LABEL      = program default=mdq-label the program of stage label
var.LLE_ARGS   = text more arguments for the program; the next two likewise
var.VAE_ARGS   = text
var.LABEL_ARGS = text

between = $(if $(filter none,$(LLE)),,lle) $(if $(filter none,$(VAE)),,vae) $(if $(strip $(LABELS)),label)

include $(dir $(lastword $(MAKEFILE_LIST)))quantize-stages.mk

# Up to four stages read the tiles.
tile.cache = yes

# Thin: what a stage knows about a tile is stored, the tile is not stored again. Readers get both.
lle.program = $(LLE)
lle.args    = $(LLE_ARGS)
lle.from    = tile
lle.command = $(call program,lle) --thin -o $(out) $(call in,tile)

vae.program = $(VAE)
vae.args    = $(VAE_ARGS)
vae.from    = tile $(filter lle,$(between))
vae.command = $(call program,vae) --thin -o $(out) $(foreach s,$(vae.from),$(call in,$(s)))

label.program = $(LABEL)
label.args    = $(LABELS) $(LABEL_ARGS)
label.from    = tile
label.command = $(call program,label) --thin -o $(out) $(call in,tile)

include $(dir $(lastword $(MAKEFILE_LIST)))mdq.mk
