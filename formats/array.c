/* Arrays: where their parts are, byte planes, non-finite elements. */
#include <string.h>

#include "mdq_internal.h"

const char *mdq_layout_read(const uint8_t *value, const uint8_t *end, struct mdq_layout *out, bool *is_array)
{
    struct mdq_mp v, k, e, data = {0}, shape = {0}, dtype = {0}, enc = {0};
    *is_array = false;
    const uint8_t *p = mdq_mp_get(value, end, &v);
    if (v.type != MDQ_MP_MAP)
        return NULL;
    for (uint32_t i = 0; i < v.size; i++) {
        mdq_mp_get(mdq_mp_get(p, end, &k), end, &e);
        if (mdq_mp_is(&k, "dtype"))
            dtype = e;
        else if (mdq_mp_is(&k, "shape"))
            shape = e;
        else if (mdq_mp_is(&k, "enc"))
            enc = e;
        else if (mdq_mp_is(&k, "data"))
            data = e;
        p = mdq_mp_skip(k.next, end);
    }
    if (dtype.type != MDQ_MP_STR || shape.type != MDQ_MP_LIST || data.type != MDQ_MP_BIN)
        return NULL;
    *is_array = true;
    char name[8] = "";
    if (dtype.size < sizeof name)
        memcpy(name, dtype.data, dtype.size);
    int t = -1;
    for (int i = 0; i < MDQ_DTYPE_COUNT; i++)
        if (strcmp(mdq_dtype_name((enum mdq_dtype)i), name) == 0)
            t = i;
    if (t < 0)
        return "an array of an unknown dtype";
    out->dtype = (enum mdq_dtype)t;
    if (!mdq_mp_is(&enc, "raw") && !mdq_mp_is(&enc, "planes"))
        return "an array of an unknown enc";
    out->planes = mdq_mp_is(&enc, "planes");
    if (shape.size > MDQ_ARRAY_DIMS)
        return "an array of more than 4 dimensions";
    out->ndim = (int)shape.size;
    out->count = 1;
    p = shape.next;
    for (int i = 0; i < out->ndim; i++) {
        p = mdq_mp_get(p, end, &e);
        if (!mdq_mp_int(&e, &out->shape[i]) || out->shape[i] < 0)
            return "an array whose shape is no list of sizes";
        if (__builtin_mul_overflow(out->count, out->shape[i], &out->count))
            return "an array whose shape is too large";
    }
    out->bytes = mdq_dtype_bytes(out->dtype, out->count);
    if (out->bytes != data.size)
        return "an array whose data is not as long as its shape and dtype say";
    if (out->planes && mdq_dtype_bits(out->dtype) < 16)
        return "an array in planes whose elements are no longer than a byte";
    out->offset = (size_t)(data.data - value);
    return NULL;
}

void mdq_planes_split(const void *elements, size_t count, unsigned size, void *planes)
{
    const uint8_t *e = elements;
    uint8_t *p = planes;
    if (size == 2) {
        uint8_t *restrict lo = p, *restrict hi = p + count;
        for (size_t i = 0; i < count; i++) {
            lo[i] = e[2 * i];
            hi[i] = e[2 * i + 1];
        }
    } else if (size == 4) {
        uint8_t *restrict a = p, *restrict b = p + count, *restrict c = b + count, *restrict d = c + count;
        for (size_t i = 0; i < count; i++) {
            a[i] = e[4 * i];
            b[i] = e[4 * i + 1];
            c[i] = e[4 * i + 2];
            d[i] = e[4 * i + 3];
        }
    } else {
        for (unsigned b = 0; b < size; b++)
            for (size_t i = 0; i < count; i++)
                p[b * count + i] = e[i * size + b];
    }
}

void mdq_planes_join(const void *planes, size_t count, unsigned size, void *elements)
{
    const uint8_t *p = planes;
    uint8_t *restrict e = elements;
    if (size == 2) {
        const uint8_t *restrict lo = p, *restrict hi = p + count;
        for (size_t i = 0; i < count; i++) {
            e[2 * i] = lo[i];
            e[2 * i + 1] = hi[i];
        }
    } else if (size == 4) {
        const uint8_t *restrict a = p, *restrict b = p + count, *restrict c = b + count, *restrict d = c + count;
        for (size_t i = 0; i < count; i++) {
            e[4 * i] = a[i];
            e[4 * i + 1] = b[i];
            e[4 * i + 2] = c[i];
            e[4 * i + 3] = d[i];
        }
    } else {
        for (unsigned b = 0; b < size; b++)
            for (size_t i = 0; i < count; i++)
                e[i * size + b] = p[b * count + i];
    }
}

/* All exponent bits set: infinity or NaN. Blocks, so that the common case is one vectorised pass. */
#define FIND(type, mask)                                                                                     \
    do {                                                                                                     \
        enum { BLOCK = 4096 };                                                                               \
        for (int64_t from = 0; from < count; from += BLOCK) {                                                \
            int64_t to = count - from < BLOCK ? count : from + BLOCK;                                        \
            unsigned bad = 0;                                                                                \
            for (int64_t i = from; i < to; i++) {                                                            \
                type v;                                                                                      \
                memcpy(&v, (const uint8_t *)data + (size_t)i * sizeof v, sizeof v);                          \
                bad |= (v & (mask)) == (mask);                                                               \
            }                                                                                                \
            for (int64_t i = from; bad && i < to; i++) {                                                     \
                type v;                                                                                      \
                memcpy(&v, (const uint8_t *)data + (size_t)i * sizeof v, sizeof v);                          \
                if ((v & (mask)) == (mask))                                                                  \
                    return i;                                                                                \
            }                                                                                                \
        }                                                                                                    \
        return -1;                                                                                           \
    } while (0)

int64_t mdq_find_nonfinite(enum mdq_dtype t, const void *data, int64_t count)
{
    switch (t) {
    case MDQ_F16: FIND(uint16_t, 0x7c00);
    case MDQ_BF16: FIND(uint16_t, 0x7f80);
    case MDQ_F32: FIND(uint32_t, 0x7f800000);
    case MDQ_F64: FIND(uint64_t, 0x7ff0000000000000);
    default: return -1;
    }
}
