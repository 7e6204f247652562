# quantize.mk: a model folder becomes a quantized one, by rounding or by GPTQ. `make -f quantize.mk help`

usage = make -f $(mdq.file) MODEL=dir CALIB=text.txt OUT=dir BITS=4 GROUP=128 [NAME=value...]

var.CACHE = text stages to store that otherwise go through a pipe: tile

between =

include $(dir $(lastword $(MAKEFILE_LIST)))quantize-stages.mk

tile.cache = $(if $(filter tile,$(CACHE)),yes,no)

include $(dir $(lastword $(MAKEFILE_LIST)))mdq.mk
