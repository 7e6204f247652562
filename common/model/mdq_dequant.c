/*
 * Weights of a quantized module as float32. Both formats come down to the same: scale and zero per (row, group),
 * and a row of packed codes, which GPTQ stores as a column.
 */
#include <stdlib.h>
#include <string.h>

#include "mdq_quantized.h"

enum { BLOCK = 16 }; /* rows dequantized together: 16 GPTQ columns share each cache line */

/* Of all rows, [out, groups]; group of each column, or NULL when columns are in order. */
struct grid {
    float *scale, *zero;
    int32_t *g_idx;
};

static void grid_free(struct grid *g)
{
    free(g->scale);
    free(g->zero);
    free(g->g_idx);
}

/* Ten codes of 3 bits in each 32-bit word, the two highest bits unused. */
static void unpack_ten(const uint8_t *src, int64_t n, uint8_t *codes)
{
    for (int64_t i = 0; i < n; i += 10) {
        uint32_t word;
        memcpy(&word, src + i / 10 * 4, 4);
        for (int64_t k = i; k < n && k < i + 10; k++, word >>= 3)
            codes[k] = word & 7;
    }
}

static void unpack(const struct mdq_quantized *q, const uint8_t *src, int64_t n, uint8_t *codes)
{
    if (q->ten_per_word) {
        unpack_ten(src, n, codes);
    } else if (q->bits == 8) {
        memcpy(codes, src, (size_t)n);
    } else if (q->bits == 4) {
        for (int64_t i = 0; i < n / 2; i++) {
            codes[2 * i] = src[i] & 15;
            codes[2 * i + 1] = src[i] >> 4;
        }
        if (n % 2)
            codes[n - 1] = src[n / 2] & 15;
    } else {
        mdq_bits_unpack(src, n, (unsigned)q->bits, codes);
    }
}

static enum mdq_err load_g_idx(const struct mdq_quantized *q, const struct mdq_model *m, struct grid *g)
{
    if (!q->g_idx)
        return MDQ_OK;
    if (!(g->g_idx = mdq_alloc((size_t)q->in, sizeof *g->g_idx, "g_idx")))
        return MDQ_E_INTERNAL;
    memcpy(g->g_idx, q->g_idx->data, (size_t)q->in * sizeof *g->g_idx);
    bool ordered = true;
    for (int64_t k = 0; k < q->in; k++) {
        if (g->g_idx[k] < 0 || g->g_idx[k] >= q->groups)
            return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: column %lld is in group %d, but there are %lld", m->dir,
                            q->g_idx->file, q->g_idx->name, (long long)k, g->g_idx[k], (long long)q->groups);
        ordered &= g->g_idx[k] == k / q->group;
    }
    if (ordered) {
        free(g->g_idx);
        g->g_idx = NULL;
    }
    return MDQ_OK;
}

/* [rows, cols] -> [cols, rows] */
static void transpose(const float *src, int64_t rows, int64_t cols, float *dst)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            dst[c * rows + r] = src[r * cols + c];
}

static enum mdq_err load_scales(const struct mdq_quantized *q, const struct mdq_model *m, bool gptq, struct grid *g)
{
    int64_t n = q->out * q->groups;
    if (!(g->scale = mdq_alloc((size_t)n, sizeof(float), "scales")))
        return MDQ_E_INTERNAL;
    mdq_dtype_to_f32(q->scales->dtype, q->scales->data, n, g->scale);
    MDQ_TRY(mdq_check_finite(m->dir, q->scales->name, g->scale, q->scales->shape[0], q->scales->shape[1]));
    if (gptq) {
        float *turned = mdq_alloc((size_t)n, sizeof(float), "scales");
        if (!turned)
            return MDQ_E_INTERNAL;
        transpose(g->scale, q->groups, q->out, turned);
        free(g->scale);
        g->scale = turned;
    }
    return MDQ_OK;
}

/* Words of the bit stream that is column `col` of a [words, cols] I32 tensor. */
static void gather_column(const struct mdq_tensor *t, int64_t col, uint8_t *dst)
{
    const uint8_t *src = t->data;
    for (int64_t w = 0; w < t->shape[0]; w++)
        memcpy(dst + 4 * w, src + 4 * (w * t->shape[1] + col), 4);
}

static enum mdq_err load_zeros(const struct mdq_quantized *q, const struct mdq_model *m, bool gptq, struct grid *g)
{
    int64_t n = q->out * q->groups;
    int middle = 1 << (q->bits - 1), mask = (1 << q->bits) - 1, add = gptq && m->config.zero_minus_one;
    if (!(g->zero = mdq_alloc((size_t)n, sizeof(float), "zeros")))
        return MDQ_E_INTERNAL;
    if (!q->zeros) {
        for (int64_t i = 0; i < n; i++)
            g->zero[i] = (float)middle;
        return MDQ_OK;
    }
    uint8_t *codes = mdq_alloc((size_t)q->out, 1, "zeros");
    uint8_t *column = gptq ? NULL : mdq_alloc((size_t)q->zeros->shape[0], 4, "zeros");
    enum mdq_err err = codes && (gptq || column) ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t k = 0; k < q->groups && err == MDQ_OK; k++) {
        if (column)
            gather_column(q->zeros, k, column);
        unpack(q, column ? column : (const uint8_t *)q->zeros->data + k * q->out * q->bits / 8, q->out, codes);
        for (int64_t r = 0; r < q->out; r++) {
            int zero = (codes[r] + add) & mask;
            g->zero[r * q->groups + k] = (float)zero;
            if (gptq && m->config.sym_stated && m->config.sym && zero != middle && err == MDQ_OK)
                err = mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: group %lld, output %lld: zero point %d, but config.json "
                               "says sym (and checkpoint_format %s): the two contradict each other", m->dir,
                               q->zeros->file, q->zeros->name, (long long)k, (long long)r, zero,
                               add ? "gptq" : "gptq_v2");
        }
    }
    free(codes);
    free(column);
    return err;
}

/* dst[k] = scale * (code - zero) of one row. */
static void dequantize_row(const struct mdq_quantized *q, const struct grid *g, int64_t row, const uint8_t *codes,
                           float *dst)
{
    const float *scale = g->scale + row * q->groups, *zero = g->zero + row * q->groups;
    if (g->g_idx) {
        for (int64_t k = 0; k < q->in; k++)
            dst[k] = scale[g->g_idx[k]] * ((float)codes[k] - zero[g->g_idx[k]]);
        return;
    }
    for (int64_t i = 0; i < q->groups; i++) {
        int64_t end = (i + 1) * q->group < q->in ? (i + 1) * q->group : q->in;
        float s = scale[i], z = zero[i];
        for (int64_t k = i * q->group; k < end; k++)
            dst[k] = s * ((float)codes[k] - z);
    }
}

/* Rows [first, first + n): `words` holds n rows of packed codes afterwards (GPTQ), `codes` one row's. */
static void dequantize_rows(const struct mdq_quantized *q, const struct grid *g, bool gptq, int64_t first, int64_t n,
                            uint8_t *words, uint8_t *codes, float *dst)
{
    const uint8_t *src = q->codes->data;
    int64_t row_words = q->codes->shape[gptq ? 0 : 1], stride = q->codes->shape[1];
    if (gptq) {
        for (int64_t w = 0; w < row_words; w++)
            for (int64_t r = 0; r < n; r++)
                memcpy(words + 4 * (r * row_words + w), src + 4 * (w * stride + first + r), 4);
    }
    for (int64_t r = 0; r < n; r++) {
        unpack(q, gptq ? words + 4 * r * row_words : src + 4 * (first + r) * row_words, q->in, codes);
        dequantize_row(q, g, first + r, codes, dst + (first + r) * q->in);
    }
}

enum mdq_err mdq_quantized_load(const struct mdq_quantized *q, const struct mdq_model *m, const char *module,
                                float *dst)
{
    bool gptq = m->config.storage == MDQ_STORED_GPTQ, failed = false;
    struct grid g = {0};
    enum mdq_err err;
    MDQ_GOTO(err, load_g_idx(q, m, &g), out);
    MDQ_GOTO(err, load_scales(q, m, gptq, &g), out);
    MDQ_GOTO(err, load_zeros(q, m, gptq, &g), out);
#pragma omp parallel reduction(|| : failed)
    {
        size_t words_size = gptq ? (size_t)BLOCK * (size_t)q->codes->shape[0] * 4 : 0;
        uint8_t *words = malloc(words_size + 1), *codes = malloc((size_t)q->in);
        failed = !words || !codes;
#pragma omp for schedule(static)
        for (int64_t first = 0; first < q->out; first += BLOCK)
            if (words && codes)
                dequantize_rows(q, &g, gptq, first, q->out - first < BLOCK ? q->out - first : BLOCK, words, codes, dst);
        free(words);
        free(codes);
    }
    if (failed)
        err = mdq_fail_nomem(module, (size_t)q->in);
    if (q->codes->bytes >= 1 << 20)
        mdq_tensor_release(q->codes);
out:
    grid_free(&g);
    return err;
}
