#include "mdq_dtype.h"

#include <string.h>
#include <strings.h>

#ifdef __F16C__
#include <immintrin.h>
#endif

static const struct {
    const char *name;
    unsigned bits;
} types[MDQ_DTYPE_COUNT] = {
    [MDQ_F32] = {"f32", 32}, [MDQ_F16] = {"f16", 16}, [MDQ_BF16] = {"bf16", 16}, [MDQ_F64] = {"f64", 64},
    [MDQ_I8] = {"i8", 8},    [MDQ_U8] = {"u8", 8},    [MDQ_I16] = {"i16", 16},   [MDQ_U16] = {"u16", 16},
    [MDQ_I32] = {"i32", 32}, [MDQ_U32] = {"u32", 32}, [MDQ_I64] = {"i64", 64},   [MDQ_U64] = {"u64", 64},
    [MDQ_BOOL] = {"bool", 8}, [MDQ_U2] = {"u2", 2},   [MDQ_U3] = {"u3", 3},      [MDQ_U4] = {"u4", 4},
};

const char *mdq_dtype_name(enum mdq_dtype t)
{
    return (unsigned)t < MDQ_DTYPE_COUNT ? types[t].name : "?";
}

int mdq_dtype_parse(const char *name)
{
    for (int i = 0; i < MDQ_DTYPE_COUNT; i++)
        if (strcasecmp(types[i].name, name) == 0)
            return i;
    return -1;
}

unsigned mdq_dtype_bits(enum mdq_dtype t)
{
    return types[t].bits;
}

size_t mdq_dtype_bytes(enum mdq_dtype t, int64_t n)
{
    size_t bits;
    if (n < 0 || __builtin_mul_overflow((size_t)n, (size_t)types[t].bits, &bits))
        return SIZE_MAX;
    return bits / 8 + (bits % 8 != 0);
}

static float bits_to_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t float_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float mdq_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31)
        return bits_to_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) /* subnormal: mantissa * 2^-24, exact in float32 */
        return bits_to_float(sign | float_to_bits((float)mantissa * 0x1p-24f));
    return bits_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t mdq_f32_to_f16(float f)
{
    uint32_t u = float_to_bits(f), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds to a multiple of 2^-24 */
        float shifted = bits_to_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(shifted) - 0x3f000000));
    }
    uint32_t odd = (magnitude >> 13) & 1;
    return (uint16_t)(sign | ((magnitude + 0xfff + odd - (112u << 23)) >> 13));
}

uint16_t mdq_f32_to_bf16(float f)
{
    uint32_t u = float_to_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* Float16 in bulk: eight at a time where the CPU converts them itself; a NaN keeps its sign and some of its payload. */
static void f16_to_f32(const unsigned char *p, int64_t n, float *dst)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i))));
#endif
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        dst[i] = mdq_f16_to_f32(h);
    }
}

static void f32_to_f16(const float *src, int64_t n, unsigned char *p)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(p + 2 * i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
    for (; i < n; i++) {
        uint16_t h = mdq_f32_to_f16(src[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

int mdq_dtype_to_f32(enum mdq_dtype t, const void *src, int64_t n, float *dst)
{
    const unsigned char *p = src;
    switch (t) {
    case MDQ_F32:
        memcpy(dst, src, (size_t)n * 4);
        return 0;
    case MDQ_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            dst[i] = mdq_bf16_to_f32(h);
        }
        return 0;
    case MDQ_F16:
        f16_to_f32(p, n, dst);
        return 0;
    case MDQ_F64:
        for (int64_t i = 0; i < n; i++) {
            double d;
            memcpy(&d, p + 8 * i, 8);
            dst[i] = (float)d;
        }
        return 0;
    default:
        return -1;
    }
}

int mdq_dtype_from_f32(enum mdq_dtype t, const float *src, int64_t n, void *dst)
{
    unsigned char *p = dst;
    switch (t) {
    case MDQ_F32:
        memcpy(dst, src, (size_t)n * 4);
        return 0;
    case MDQ_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = mdq_f32_to_bf16(src[i]);
            memcpy(p + 2 * i, &h, 2);
        }
        return 0;
    case MDQ_F16:
        f32_to_f16(src, n, p);
        return 0;
    case MDQ_F64:
        for (int64_t i = 0; i < n; i++) {
            double d = src[i];
            memcpy(p + 8 * i, &d, 8);
        }
        return 0;
    default:
        return -1;
    }
}

void mdq_bits_pack(const uint8_t *codes, int64_t n, unsigned bits, uint8_t *dst)
{
    uint64_t acc = 0;
    unsigned held = 0;
    const uint64_t mask = (1u << bits) - 1;
    for (int64_t i = 0; i < n; i++) {
        acc |= (codes[i] & mask) << held;
        held += bits;
        if (held >= 32) {
            uint32_t word = (uint32_t)acc;
            memcpy(dst, &word, 4);
            dst += 4;
            acc >>= 32;
            held -= 32;
        }
    }
    for (; held > 0; held = held > 8 ? held - 8 : 0, acc >>= 8)
        *dst++ = (uint8_t)acc;
}

void mdq_bits_unpack(const uint8_t *src, int64_t n, unsigned bits, uint8_t *codes)
{
    uint32_t acc = 0;
    unsigned held = 0;
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t i = 0; i < n; i++) {
        if (held < bits) {
            acc |= (uint32_t)*src++ << held;
            held += 8;
        }
        codes[i] = (uint8_t)(acc & mask);
        acc >>= bits;
        held -= bits;
    }
}
