/* Which tensors a quantized module has, and whether they agree with each other and with config.json. */
#include "mdq_quantized.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"

enum { NAME_SIZE = 160 };

static const struct mdq_tensor *find(const struct mdq_model *m, const char *module, const char *suffix)
{
    char name[NAME_SIZE];
    int n = snprintf(name, sizeof name, "%s%s", module, suffix);
    return n < (int)sizeof name ? mdq_safetensors_find(m->tensors, name) : NULL;
}

static enum mdq_err need(const struct mdq_tensor **t, const struct mdq_model *m, const char *module,
                         const char *suffix)
{
    *t = find(m, module, suffix);
    return *t ? MDQ_OK : mdq_fail(MDQ_E_DATA, "%s: tensor %s%s: missing from the weight files", m->dir, module, suffix);
}

static enum mdq_err check_dtype(const struct mdq_model *m, const struct mdq_tensor *t, bool integer)
{
    if (integer ? t->dtype == MDQ_I32 : t->dtype == MDQ_F16 || t->dtype == MDQ_BF16 || t->dtype == MDQ_F32)
        return MDQ_OK;
    return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: dtype %s, but %s needed", m->dir, t->file, t->name,
                    mdq_dtype_name(t->dtype), integer ? "i32 is" : "f16, bf16 or f32 is");
}

/* [rows, cols], or [rows] when cols is 0. */
static enum mdq_err check_shape(const struct mdq_model *m, const struct mdq_tensor *t, int64_t rows, int64_t cols,
                                const char *why)
{
    if (t->ndim == (cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols))
        return MDQ_OK;
    char want[64], got[64] = "other than two dimensions";
    if (cols)
        snprintf(want, sizeof want, "%lld, %lld", (long long)rows, (long long)cols);
    else
        snprintf(want, sizeof want, "%lld", (long long)rows);
    if (t->ndim == 2)
        snprintf(got, sizeof got, "%lld, %lld", (long long)t->shape[0], (long long)t->shape[1]);
    else if (t->ndim == 1)
        snprintf(got, sizeof got, "%lld", (long long)t->shape[0]);
    return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: shape [%s], but %s need [%s]", m->dir, t->file, t->name, got, why,
                    want);
}

static int64_t up(int64_t n, int64_t d)
{
    return n / d + (n % d != 0);
}

/* Columns per group and groups of a row under a scheme. */
static void group_of(const struct mdq_scheme *s, int64_t in, int64_t *group, int64_t *groups)
{
    *group = s->group < 0 || s->group > in ? in : s->group;
    *groups = up(in, *group);
}

static enum mdq_err find_gptq(struct mdq_quantized *q, const struct mdq_model *m, const char *module)
{
    const struct mdq_config *c = &m->config;
    char why[96];
    q->bits = c->schemes[0].bits;
    group_of(&c->schemes[0], q->in, &q->group, &q->groups);
    MDQ_TRY(need(&q->zeros, m, module, ".qzeros"));
    MDQ_TRY(need(&q->scales, m, module, ".scales"));
    q->g_idx = find(m, module, ".g_idx");
    if (q->in * q->bits % 32 != 0 || q->out * q->bits % 32 != 0)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s.qweight: %lld x %lld weights of %d bits do not fill 32-bit words",
                        m->dir, module, (long long)q->out, (long long)q->in, q->bits);
    snprintf(why, sizeof why, "%d bits and group size %d in config.json", q->bits, c->schemes[0].group);
    MDQ_TRY(check_dtype(m, q->codes, true));
    MDQ_TRY(check_dtype(m, q->zeros, true));
    MDQ_TRY(check_dtype(m, q->scales, false));
    MDQ_TRY(check_shape(m, q->codes, q->in * q->bits / 32, q->out, why));
    MDQ_TRY(check_shape(m, q->zeros, q->groups, q->out * q->bits / 32, why));
    MDQ_TRY(check_shape(m, q->scales, q->groups, q->out, why));
    if (q->g_idx) {
        MDQ_TRY(check_dtype(m, q->g_idx, true));
        MDQ_TRY(check_shape(m, q->g_idx, q->in, 0, "the columns of the weight"));
    } else if (c->desc_act && q->groups > 1) {
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s.g_idx: missing, but config.json says desc_act", m->dir, module);
    }
    return MDQ_OK;
}

/* Whether the tensors have the shapes that the scheme gives them; sets q's numbers when they do. */
static bool fits(struct mdq_quantized *q, const struct mdq_scheme *s)
{
    int64_t group, groups, words = q->codes->shape[1], dense = up(q->in * s->bits, 32);
    bool old = s->bits == 3 && words != dense && words == up(q->in, 10);
    group_of(s, q->in, &group, &groups);
    if ((words != dense && !old) || q->scales->shape[1] != groups || s->sym != !q->zeros)
        return false;
    q->bits = s->bits;
    q->group = group;
    q->groups = groups;
    q->ten_per_word = old;
    return true;
}

static enum mdq_err choose_scheme(struct mdq_quantized *q, const struct mdq_model *m, const char *module)
{
    const struct mdq_config *c = &m->config;
    struct mdq_quantized chosen = {0};
    for (int i = 0; i < c->n_schemes; i++) {
        struct mdq_quantized next = *q;
        if (!fits(&next, &c->schemes[i]))
            continue;
        if (chosen.bits && (chosen.bits != next.bits || chosen.group != next.group))
            return mdq_fail(MDQ_E_DATA, "%s: tensor %s.weight_packed: more than one of config.json's config_groups "
                            "would fit its shape", m->dir, module);
        chosen = next;
    }
    if (!chosen.bits)
        return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: %lld words for %lld columns, %lld scales per row and %s zero "
                        "points fit no config_groups of config.json", m->dir, q->codes->file, q->codes->name,
                        (long long)q->codes->shape[1], (long long)q->in, (long long)q->scales->shape[1],
                        q->zeros ? "with" : "without");
    /* up to 10 columns both 3-bit packings are the same; in some other short rows the widths agree, but not the bits */
    if (chosen.bits == 3 && q->in > 10 && up(q->in * 3, 32) == up(q->in, 10))
        return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: the old and the new packing of 3 bits have the same width for "
                        "%lld columns: which one it is cannot be told", m->dir, q->codes->file, q->codes->name,
                        (long long)q->in);
    *q = chosen;
    return MDQ_OK;
}

/* weight_shape, where it is there, must repeat the shape. */
static enum mdq_err check_stored_shape(const struct mdq_quantized *q, const struct mdq_model *m, const char *module)
{
    const struct mdq_tensor *t = find(m, module, ".weight_shape");
    if (!t)
        return MDQ_OK;
    int64_t v[2] = {-1, -1};
    if (t->ndim == 1 && t->shape[0] == 2 && t->dtype == MDQ_I64) {
        memcpy(v, t->data, sizeof v);
    } else if (t->ndim == 1 && t->shape[0] == 2 && t->dtype == MDQ_I32) {
        int32_t w[2];
        memcpy(w, t->data, sizeof w);
        v[0] = w[0];
        v[1] = w[1];
    }
    if (v[0] == q->out && v[1] == q->in)
        return MDQ_OK;
    return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: does not say [%lld, %lld] as config.json does", m->dir, t->file,
                    t->name, (long long)q->out, (long long)q->in);
}

static enum mdq_err find_compressed(struct mdq_quantized *q, const struct mdq_model *m, const char *module)
{
    MDQ_TRY(need(&q->scales, m, module, ".weight_scale"));
    q->zeros = find(m, module, ".weight_zero_point");
    q->g_idx = find(m, module, ".weight_g_idx");
    for (int i = 0; i < m->config.n_ignore; i++)
        if (strcmp(m->config.ignore[i], module) == 0)
            return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: quantized, but config.json lists the module under ignore",
                            m->dir, q->codes->file, q->codes->name);
    MDQ_TRY(check_dtype(m, q->codes, true));
    MDQ_TRY(check_dtype(m, q->scales, false));
    if (q->codes->ndim != 2 || q->codes->shape[0] != q->out)
        return check_shape(m, q->codes, q->out, up(q->in * m->config.bits, 32), "config.json's sizes");
    if (q->scales->ndim != 2 || q->scales->shape[0] != q->out)
        return check_shape(m, q->scales, q->out, 1, "config.json's sizes");
    MDQ_TRY(choose_scheme(q, m, module));
    MDQ_TRY(check_stored_shape(q, m, module));
    if (q->zeros) {
        int64_t words = q->ten_per_word ? up(q->out, 10) : up(q->out * q->bits, 32);
        MDQ_TRY(check_dtype(m, q->zeros, true));
        MDQ_TRY(check_shape(m, q->zeros, words, q->groups, "the packed zero points"));
    }
    if (q->g_idx) {
        MDQ_TRY(check_dtype(m, q->g_idx, true));
        MDQ_TRY(check_shape(m, q->g_idx, q->in, 0, "the columns of the weight"));
    }
    return MDQ_OK;
}

enum mdq_err mdq_quantized_find(struct mdq_quantized *q, bool *found, const struct mdq_model *m, const char *module,
                                int64_t out, int64_t in)
{
    const struct mdq_tensor *gptq = find(m, module, ".qweight"), *packed = find(m, module, ".weight_packed");
    *q = (struct mdq_quantized){.out = out, .in = in, .codes = gptq ? gptq : packed};
    *found = q->codes != NULL;
    if (!*found)
        return MDQ_OK;
    enum mdq_storage storage = gptq ? MDQ_STORED_GPTQ : MDQ_STORED_COMPRESSED_TENSORS;
    if ((gptq && packed) || m->config.storage != storage)
        return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: is there, but quantization_config in config.json does not say %s",
                        m->dir, q->codes->file, q->codes->name, gptq ? "gptq" : "compressed-tensors");
    if (find(m, module, ".weight"))
        return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: is there beside %s.weight: which one counts?", m->dir,
                        q->codes->file, q->codes->name, module);
    return gptq ? find_gptq(q, m, module) : find_compressed(q, m, module);
}

/* 1: every stored zero of the module is 2^(bits-1), 0: another occurs, -1: out of memory */
static int all_middle(const struct mdq_quantized *q)
{
    uint8_t *codes = mdq_alloc((size_t)q->out, 1, "zeros");
    if (!codes)
        return -1;
    int same = 1;
    const uint8_t *packed = q->zeros->data;
    size_t row = (size_t)(q->out * q->bits / 8);
    for (int64_t g = 0; g < q->groups && same; g++) {
        mdq_bits_unpack(packed + (size_t)g * row, q->out, (unsigned)q->bits, codes);
        for (int64_t n = 0; n < q->out; n++)
            same &= codes[n] == 1 << (q->bits - 1);
    }
    free(codes);
    return same;
}

enum mdq_err mdq_quantized_check_zeros(struct mdq_model *m)
{
    struct mdq_config *c = &m->config;
    if (c->storage != MDQ_STORED_GPTQ || !c->zero_minus_one || !c->sym)
        return MDQ_OK;
    bool any = false;
    for (int b = 0; b < c->layers; b++)
        for (int l = 0; l < MDQ_LINEARS; l++) {
            char module[NAME_SIZE];
            int64_t out, in;
            struct mdq_quantized q;
            bool found;
            mdq_linear_shape(c, (enum mdq_linear)l, &out, &in);
            snprintf(module, sizeof module, "model.layers.%d.%s", b, mdq_linear_suffix((enum mdq_linear)l));
            MDQ_TRY(mdq_quantized_find(&q, &found, m, module, out, in));
            int same = found ? all_middle(&q) : 1;
            if (same < 0)
                return MDQ_E_INTERNAL;
            if (!same)
                return MDQ_OK;
            any |= found;
        }
    if (any) {
        mdq_log(MDQ_LOG_WARNING, "%s: config.json says GPTQ v1 and symmetric, but every stored zero is %d, as in v2: "
                "read as gptq_v2", m->dir, 1 << (c->bits - 1));
        c->zero_minus_one = false;
    }
    return MDQ_OK;
}
