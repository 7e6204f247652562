/*
 * The arithmetic of the export formats, as pure functions on plain arrays.
 *
 * Both packed formats store codes by one rule: within a line, code i occupies bits [i b, i b + b) of a little-endian
 * bit stream cut into 32-bit words. GPTQ's lines run along the inputs and lie in columns, compressed-tensors' lie in
 * rows; so one packer and a transposition serve both.
 */
#ifndef PACK_WORDS_H
#define PACK_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "mdq_dtype.h"

/* Words of a line of n codes: ceil(n bits / 32). */
int64_t pack_words(int64_t n, unsigned bits);

/* codes [lines, n] to words [lines, pack_words(n, bits)], little-endian, unused bits zero. */
void pack_lines(const uint8_t *codes, int64_t lines, int64_t n, unsigned bits, void *words);

/* src [rows, cols] of elements of 1, 2 or 4 bytes to dst [cols, rows]; both aligned to the element. */
void pack_transpose(const void *src, int64_t rows, int64_t cols, size_t element, void *dst);

/*
 * w = scale * (code - zero), computed in double and rounded once to `dtype` (f32, f16, bf16).
 * codes [rows, cols]; scales and zeros [rows, groups]; column k belongs to group k / group. dst [rows, cols], aligned
 * to its element. Returns -1 for another type, else 0.
 */
int pack_dequantize(const uint8_t *codes, int64_t rows, int64_t cols, int64_t group, const double *scales,
                    const uint8_t *zeros, enum mdq_dtype dtype, void *dst);

/* Rounding a double once to 16 bits (through float32 it would be rounded twice). */
uint16_t pack_f64_to_f16(double d);
uint16_t pack_f64_to_bf16(double d);
/* n of them to f16 or bf16. */
void pack_f64_to_16(enum mdq_dtype dtype, const double *src, int64_t n, uint16_t *dst);

#endif
