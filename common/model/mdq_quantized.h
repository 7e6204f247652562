/*
 * Linear layers that a model folder stores quantized: GPTQ (v1, v2) and compressed-tensors pack-quantized, as
 * those formats lay them out. N = outputs (rows of W), K = inputs (columns), b = bits, G = groups of a row.
 *
 *   GPTQ                 qweight I32 [K*b/32, N], each column one bit stream over k; qzeros I32 [G, N*b/32], each row one
 *                        bit stream over n, of zero - 1 (v1) or zero (v2); scales [G, N]; g_idx I32 [K] (may be absent)
 *   compressed-tensors   weight_packed I32 [N, words], each row one bit stream over k; weight_scale [N, G];
 *                        weight_zero_point I32 [words, G], each column one bit stream over n, only when not symmetric
 *
 * A bit stream: code i has bits [i*b, i*b+b) of little-endian 32-bit words. compressed-tensors of before 2026 put
 * only 10 codes of 3 bits into a word; the number of words tells. W = scale * (code - zero), in float32.
 */
#ifndef MDQ_QUANTIZED_H
#define MDQ_QUANTIZED_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_model.h"

/*
 * A v1 reader adds 1 to each stored zero and keeps `bits` bits: a zero of 0, stored as -1, wraps to 2^bits - 1 and back.
 *
 * The tensors of one module, their dtypes and shapes checked against the configuration.
 */
struct mdq_quantized {
    int bits;
    int64_t out, in, groups, group; /* group: columns per group */
    bool ten_per_word;              /* the old 3-bit packing of compressed-tensors */
    const struct mdq_tensor *codes, *zeros, *scales, *g_idx; /* zeros, g_idx: NULL when absent */
};

/* *found = false when the module is not stored quantized. `module` is its name without ".weight". */
enum mdq_err mdq_quantized_find(struct mdq_quantized *q, bool *found, const struct mdq_model *m, const char *module,
                                int64_t out, int64_t in);
/* dst [out, in] = the weights. */
enum mdq_err mdq_quantized_load(const struct mdq_quantized *q, const struct mdq_model *m, const char *module,
                                float *dst);

/*
 * GPTQ folders that say v1 and sym and whose every stored zero is 2^(bits-1) hold v2 zeros (a v1 file would hold
 * 2^(bits-1) - 1): some tools wrote such. Says so in a warning and treats the folder as v2.
 */
enum mdq_err mdq_quantized_check_zeros(struct mdq_model *m);

/* MDQ_E_DATA with tensor, row and column of the first value of x [rows, cols] that is not finite. */
enum mdq_err mdq_check_finite(const char *dir, const char *tensor, const float *x, int64_t rows, int64_t cols);

#endif
