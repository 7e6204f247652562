/*
 * Element types of arrays, in files and in memory, and their conversion. Names are those of safetensors in lower
 * case, plus bit-packed unsigned integers (u2, u3, u4): code i occupies bits [i*b, i*b+b) of one little-endian bit
 * stream over the row-major elements, the last byte padded with zero bits.
 */
#ifndef MDQ_DTYPE_H
#define MDQ_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* Values are internal; files carry names. */
enum mdq_dtype {
    MDQ_F32, MDQ_F16, MDQ_BF16, MDQ_F64,
    MDQ_I8, MDQ_U8, MDQ_I16, MDQ_U16, MDQ_I32, MDQ_U32, MDQ_I64, MDQ_U64, MDQ_BOOL,
    MDQ_U2, MDQ_U3, MDQ_U4,
    MDQ_DTYPE_COUNT
};

/* "f32" ...; NULL-free. */
const char *mdq_dtype_name(enum mdq_dtype t);
/* -1 when unknown. Accepts upper case (safetensors). */
int mdq_dtype_parse(const char *name);
/* Bits of one element. */
unsigned mdq_dtype_bits(enum mdq_dtype t);
/* Bytes of n elements, bit-packed ones rounded up; SIZE_MAX on overflow or n < 0. */
size_t mdq_dtype_bytes(enum mdq_dtype t, int64_t n);

float mdq_f16_to_f32(uint16_t h);
uint16_t mdq_f32_to_f16(float f); /* round to nearest even; overflow gives infinity */
static inline float mdq_bf16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = {.u = (uint32_t)h << 16};
    return v.f;
}
uint16_t mdq_f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */

/* n floats from elements of type t (f32 f16 bf16 f64) at src, which may be unaligned. -1 for another type. */
int mdq_dtype_to_f32(enum mdq_dtype t, const void *src, int64_t n, float *dst);
int mdq_dtype_from_f32(enum mdq_dtype t, const float *src, int64_t n, void *dst);

/* Bit packing of n codes of `bits` (1..8) bits into dst / out of src, by the bit stream rule above. Bits of a code
 * above `bits` are ignored. dst has (n * bits + 7) / 8 bytes. */
void mdq_bits_pack(const uint8_t *codes, int64_t n, unsigned bits, uint8_t *dst);
void mdq_bits_unpack(const uint8_t *src, int64_t n, unsigned bits, uint8_t *codes);

#endif
