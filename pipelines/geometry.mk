# geometry.mk: as quantize.mk, with the manifold of each layer fitted, points marked, and the manifold distortion of every
# point measured and held where the marks want it. `make -f geometry.mk help`

usage = make -f $(mdq.file) MODEL=dir CALIB=text.txt OUT=dir BITS=4 LABELS='--functional REGEX --sensitive REGEX' [NAME=value...]

var.LABELS     = text arguments of stage label (mdq-label); without them no point is marked
var.LABEL      = program default=mdq-label the program of stage label
var.LABEL_ARGS = text more arguments for the program

between = $(geometry) $(if $(strip $(LABELS)),label)

include $(dir $(lastword $(MAKEFILE_LIST)))quantize-stages.mk
include $(dir $(lastword $(MAKEFILE_LIST)))geometry-stages.mk

label.program = $(LABEL)
label.args    = $(LABELS) $(LABEL_ARGS)
label.from    = tile
label.command = $(call program,label) --thin -o $(out) $(call in,tile)

include $(dir $(lastword $(MAKEFILE_LIST)))mdq.mk
