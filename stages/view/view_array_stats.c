/* Minimum, maximum and mean of an array: a pass in pieces of 1024 elements, sums in double. */
#include "view_array_stats.h"

#include <math.h>
#include <string.h>

#include "mdq_dtype.h"

enum { CHUNK = 1024 }; /* a multiple of 8, so that bit-packed chunks begin at a byte */

#define CONVERT(type)                                                                                        \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        type v;                                                                                              \
        memcpy(&v, src + (size_t)i * sizeof v, sizeof v);                                                    \
        out[i] = (double)v;                                                                                  \
    }                                                                                                        \
    break

/* n <= CHUNK elements at src as double. */
static void to_double(enum mdq_dtype t, const uint8_t *src, int64_t n, double *out)
{
    uint8_t codes[CHUNK];
    float f[CHUNK];
    switch (t) {
    case MDQ_F64: CONVERT(double);
    case MDQ_I8: CONVERT(int8_t);
    case MDQ_BOOL:
    case MDQ_U8: CONVERT(uint8_t);
    case MDQ_I16: CONVERT(int16_t);
    case MDQ_U16: CONVERT(uint16_t);
    case MDQ_I32: CONVERT(int32_t);
    case MDQ_U32: CONVERT(uint32_t);
    case MDQ_I64: CONVERT(int64_t);
    case MDQ_U64: CONVERT(uint64_t);
    case MDQ_U2: case MDQ_U3: case MDQ_U4:
        mdq_bits_unpack(src, n, mdq_dtype_bits(t), codes);
        for (int64_t i = 0; i < n; i++)
            out[i] = codes[i];
        break;
    default:
        mdq_dtype_to_f32(t, src, n, f);
        for (int64_t i = 0; i < n; i++)
            out[i] = f[i];
    }
}

struct view_array_stats view_array_stats(const struct mdq_array *a)
{
    struct view_array_stats s = {.count = mdq_array_count(a)};
    double sum = 0, v[CHUNK];
    for (int64_t at = 0; at < s.count; at += CHUNK) {
        int64_t n = s.count - at < CHUNK ? s.count - at : CHUNK;
        const uint8_t *src = (const uint8_t *)a->data + (size_t)at / 8 * mdq_dtype_bits(a->dtype);
        to_double(a->dtype, src, n, v);
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(v[i]))
                continue;
            s.min = s.finite == 0 || v[i] < s.min ? v[i] : s.min;
            s.max = s.finite == 0 || v[i] > s.max ? v[i] : s.max;
            sum += v[i];
            s.finite++;
        }
    }
    s.mean = s.finite ? sum / (double)s.finite : 0;
    return s;
}
