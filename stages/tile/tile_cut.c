#include "tile_cut.h"

#include <string.h>

void tile_cut(const void *matrix, int64_t width, size_t element, int64_t row, int64_t col, int64_t rows,
              int64_t cols, void *dst)
{
    const unsigned char *from = (const unsigned char *)matrix + (size_t)(row * width + col) * element;
    unsigned char *to = dst;
    const size_t line = (size_t)cols * element, step = (size_t)width * element;
    for (int64_t i = 0; i < rows; i++)
        memcpy(to + (size_t)i * line, from + (size_t)i * step, line);
}

/* A number is finite unless all bits of its exponent are set. The block loop has no exit inside, so that it
 * vectorises; the element is looked for only in a block that holds one. */
enum { BLOCK = 4096 };

#define DEFINE_FIND(name, type, exponent)                                                                    \
    static int64_t name(const unsigned char *p, int64_t n)                                                   \
    {                                                                                                        \
        for (int64_t at = 0; at < n; at += BLOCK) {                                                          \
            int64_t end = n - at < BLOCK ? n : at + BLOCK;                                                   \
            unsigned bad = 0;                                                                                \
            for (int64_t i = at; i < end; i++) {                                                             \
                type v;                                                                                      \
                memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                              \
                bad |= (v & (type)(exponent)) == (type)(exponent);                                           \
            }                                                                                                \
            for (int64_t i = at; bad && i < end; i++) {                                                      \
                type v;                                                                                      \
                memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                              \
                if ((v & (type)(exponent)) == (type)(exponent))                                              \
                    return i;                                                                                \
            }                                                                                                \
        }                                                                                                    \
        return -1;                                                                                           \
    }

DEFINE_FIND(find_f16, uint16_t, 0x7C00u)
DEFINE_FIND(find_bf16, uint16_t, 0x7F80u)
DEFINE_FIND(find_f32, uint32_t, 0x7F800000u)
DEFINE_FIND(find_f64, uint64_t, 0x7FF0000000000000u)

int64_t tile_nonfinite(enum mdq_dtype dtype, const void *data, int64_t n)
{
    switch (dtype) {
    case MDQ_F16: return find_f16(data, n);
    case MDQ_BF16: return find_bf16(data, n);
    case MDQ_F32: return find_f32(data, n);
    case MDQ_F64: return find_f64(data, n);
    default: return -2;
    }
}
