# selective.mk: as quantize.mk, with points chosen by what they are worth to the model and to what it memorised: functional
# ones keep their place, sensitive ones lose it. `make -f selective.mk help`

usage = make -f $(mdq.file) MODEL=dir CALIB=text.txt SENSITIVE=s.jsonl MATCHED=r.jsonl OUT=dir BITS=4 GROUP=128 LAMBDA=0.5 [NAME=value...]

include $(dir $(lastword $(MAKEFILE_LIST)))selective-stages.mk
include $(dir $(lastword $(MAKEFILE_LIST)))mdq.mk
