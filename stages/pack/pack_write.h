/* The weights of the result: quantized layers in their export form, all other tensors as they were. */
#ifndef PACK_WRITE_H
#define PACK_WRITE_H

#include "pack_input.h"
#include "pack_plan.h"

struct pack_totals {
    double bytes, source_bytes;           /* all tensors of the result and of the source */
    double quantized_bytes, quantized_weights; /* of the quantized layers */
    int carried;                          /* tensors carried over, layers in full precision not counted */
};

/*
 * Writes the weight files into dir. `first` holds the first layer already, the others come from `in`; it is reused.
 * Memory: one layer, its codes and one packed tensor.
 */
enum mdq_err pack_write(const char *dir, size_t max_shard, const struct mdq_model *m, struct pack_plan *p,
                        struct pack_input *in, struct mdq_qlayer *first, struct pack_totals *totals);

#endif
