# geometry-stages.mk: what the pipelines share that fit the manifold of the weights: neighbourhoods and charts. They include
# it behind quantize-stages.mk and name $(geometry) among the stages between tile and gptq.

var.LLE      = program default=mdq-lle the program of stage lle (neighbourhoods), none to leave it out; the next likewise
var.VAE      = program default=mdq-vae
var.LLE_ARGS = text more arguments for the program; the next likewise
var.VAE_ARGS = text

geometry = $(if $(filter none,$(LLE)),,lle) $(if $(filter none,$(VAE)),,vae)

# Up to four stages read the tiles.
tile.cache = yes

# Thin: what a stage knows about a tile is stored, the tile is not stored again. Readers get both.
lle.program = $(LLE)
lle.args    = $(LLE_ARGS)
lle.from    = tile
lle.command = $(call program,lle) --thin -o $(out) $(call in,tile)

vae.program = $(VAE)
vae.args    = $(VAE_ARGS)
vae.from    = tile $(filter lle,$(geometry))
vae.command = $(call program,vae) --thin -o $(out) $(foreach s,$(vae.from),$(call in,$(s)))
