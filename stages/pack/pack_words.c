#include "pack_words.h"

#include <math.h>
#include <string.h>

int64_t pack_words(int64_t n, unsigned bits)
{
    return (n * (int64_t)bits + 31) / 32;
}

void pack_lines(const uint8_t *codes, int64_t lines, int64_t n, unsigned bits, void *words)
{
    const size_t width = (size_t)pack_words(n, bits) * 4, used = ((size_t)n * bits + 7) / 8;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < lines; i++) {
        uint8_t *line = (uint8_t *)words + (size_t)i * width;
        mdq_bits_pack(codes + (size_t)i * (size_t)n, n, bits, line);
        memset(line + used, 0, width - used);
    }
}

/* Squares small enough for both sides to stay in the first-level cache. */
enum { SQUARE = 32 };

#define DEFINE_TRANSPOSE(name, type)                                                                         \
    static void name(const type *src, int64_t rows, int64_t cols, type *dst)                                 \
    {                                                                                                        \
        _Pragma("omp parallel for schedule(static)") for (int64_t c0 = 0; c0 < cols; c0 += SQUARE)           \
            for (int64_t r0 = 0; r0 < rows; r0 += SQUARE) {                                                  \
                int64_t c1 = c0 + SQUARE < cols ? c0 + SQUARE : cols;                                        \
                int64_t r1 = r0 + SQUARE < rows ? r0 + SQUARE : rows;                                        \
                for (int64_t c = c0; c < c1; c++)                                                            \
                    for (int64_t r = r0; r < r1; r++)                                                        \
                        dst[c * rows + r] = src[r * cols + c];                                               \
            }                                                                                                \
    }

DEFINE_TRANSPOSE(transpose8, uint8_t)
DEFINE_TRANSPOSE(transpose16, uint16_t)
DEFINE_TRANSPOSE(transpose32, uint32_t)

void pack_transpose(const void *src, int64_t rows, int64_t cols, size_t element, void *dst)
{
    if (element == 1)
        transpose8(src, rows, cols, dst);
    else if (element == 2)
        transpose16(src, rows, cols, dst);
    else
        transpose32(src, rows, cols, dst);
}

/* To float32 by rounding to odd: truncated, and the last bit set when anything was cut off. A later rounding to fewer
 * bits then gives what rounding the double at once would have given. */
static float round_to_odd(double d)
{
    float f = (float)d;
    if (isnan(d) || isinf(d) || (double)f == d)
        return f;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (fabs((double)f) > fabs(d)) /* infinity steps down to the largest finite number */
        u--;
    u |= 1;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t pack_f64_to_f16(double d)
{
    return mdq_f32_to_f16(round_to_odd(d));
}

uint16_t pack_f64_to_bf16(double d)
{
    return mdq_f32_to_bf16(round_to_odd(d));
}

void pack_f64_to_16(enum mdq_dtype dtype, const double *src, int64_t n, uint16_t *dst)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = dtype == MDQ_F16 ? pack_f64_to_f16(src[i]) : pack_f64_to_bf16(src[i]);
}

int pack_dequantize(const uint8_t *codes, int64_t rows, int64_t cols, int64_t group, const double *scales,
                    const uint8_t *zeros, enum mdq_dtype dtype, void *dst)
{
    if (dtype != MDQ_F32 && dtype != MDQ_F16 && dtype != MDQ_BF16)
        return -1;
    const int64_t groups = (cols + group - 1) / group;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t g = 0; g < groups; g++) {
            const double scale = scales[r * groups + g];
            const int zero = zeros[r * groups + g];
            const int64_t end = (g + 1) * group < cols ? (g + 1) * group : cols;
            for (int64_t k = g * group; k < end; k++) {
                const int64_t i = r * cols + k;
                const double w = scale * (codes[i] - zero);
                if (dtype == MDQ_F32)
                    ((float *)dst)[i] = (float)w;
                else
                    ((uint16_t *)dst)[i] = dtype == MDQ_F16 ? pack_f64_to_f16(w) : pack_f64_to_bf16(w);
            }
        }
    return 0;
}
