/* A model folder: which tensors an architecture has, and their values as float32. */
#include "mdq_model.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_log.h"
#include "mdq_quantized.h"

/* Pages of tensors at least this large are given back after loading: the copy in memory is what is used. */
enum { RELEASE_FROM = 1 << 20 };
static const char embedding_name[] = "model.embed_tokens.weight";
static const char norm_name[] = "model.norm.weight";
static const char head_name[] = "lm_head.weight";

/* ---- names and shapes ---- */

static const char *const suffixes[MDQ_LINEARS] = {
    [MDQ_Q_PROJ] = "self_attn.q_proj", [MDQ_K_PROJ] = "self_attn.k_proj",   [MDQ_V_PROJ] = "self_attn.v_proj",
    [MDQ_O_PROJ] = "self_attn.o_proj", [MDQ_GATE_PROJ] = "mlp.gate_proj",   [MDQ_UP_PROJ] = "mlp.up_proj",
    [MDQ_DOWN_PROJ] = "mlp.down_proj",
};

const char *mdq_linear_suffix(enum mdq_linear l)
{
    return suffixes[l];
}

enum mdq_input mdq_linear_input(enum mdq_linear l)
{
    switch (l) {
    case MDQ_O_PROJ: return MDQ_IN_O;
    case MDQ_GATE_PROJ:
    case MDQ_UP_PROJ: return MDQ_IN_GATE_UP;
    case MDQ_DOWN_PROJ: return MDQ_IN_DOWN;
    default: return MDQ_IN_QKV;
    }
}

enum { NAME_MAX_BYTES = 96 }; /* what mdq_linear_name may write */

/* "model.layers.3.<middle><end>" */
static char *block_name(char *buf, int block, const char *middle, const char *end)
{
    snprintf(buf, NAME_MAX_BYTES, "model.layers.%d.%s%s", block, middle, end);
    return buf;
}

char *mdq_linear_name(char *buf, int block, enum mdq_linear l)
{
    return block_name(buf, block, suffixes[l], ".weight");
}

void mdq_linear_shape(const struct mdq_config *c, enum mdq_linear l, int64_t *out, int64_t *in)
{
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    switch (l) {
    case MDQ_Q_PROJ: *out = q, *in = c->hidden; break;
    case MDQ_K_PROJ:
    case MDQ_V_PROJ: *out = kv, *in = c->hidden; break;
    case MDQ_O_PROJ: *out = c->hidden, *in = q; break;
    case MDQ_GATE_PROJ:
    case MDQ_UP_PROJ: *out = c->intermediate, *in = c->hidden; break;
    default: *out = c->hidden, *in = c->intermediate; break;
    }
}

/* The number at *p without sign or leading zeros, *p moved behind it; -1 when there is none or it is too large. */
static int parse_index(const char **p)
{
    int n = 0;
    const char *s = *p;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] >= '0' && s[1] <= '9'))
        return -1;
    for (; *s >= '0' && *s <= '9'; s++)
        if ((n = 10 * n + (*s - '0')) > 1000000)
            return -1;
    *p = s;
    return n;
}

/* The block of "model.layers.N.", or -1; *rest is what follows. */
static int parse_block(const char *tensor, const char **rest)
{
    static const char start[] = "model.layers.";
    if (strncmp(tensor, start, sizeof start - 1) != 0)
        return -1;
    const char *p = tensor + sizeof start - 1;
    int n = parse_index(&p);
    if (n < 0 || *p != '.')
        return -1;
    *rest = p + 1;
    return n;
}

int mdq_linear_parse(const char *tensor, int *block, enum mdq_linear *l)
{
    const char *rest;
    int n = parse_block(tensor, &rest);
    if (n < 0)
        return -1;
    for (int i = 0; i < MDQ_LINEARS; i++) {
        size_t length = strlen(suffixes[i]);
        if (strncmp(rest, suffixes[i], length) == 0 && strcmp(rest + length, ".weight") == 0) {
            *block = n;
            *l = (enum mdq_linear)i;
            return 0;
        }
    }
    return -1;
}

const struct mdq_tensor *mdq_model_linear(const struct mdq_model *m, int block, enum mdq_linear l)
{
    char name[NAME_MAX_BYTES];
    return mdq_safetensors_find(m->tensors, mdq_linear_name(name, block, l));
}

static bool has_bias(const struct mdq_config *c, enum mdq_linear l)
{
    switch (l) {
    case MDQ_Q_PROJ:
    case MDQ_K_PROJ:
    case MDQ_V_PROJ: return c->qkv_bias;
    case MDQ_O_PROJ: return c->o_bias;
    default: return c->mlp_bias;
    }
}

/* ---- opening ---- */

/* One tensor that must be there, floating point, [rows, cols] or (cols 0) [rows]. */
static enum mdq_err check_tensor(const struct mdq_model *m, const char *name, int64_t rows, int64_t cols)
{
    const struct mdq_tensor *t = mdq_safetensors_find(m->tensors, name);
    if (!t)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: missing from the weight files", m->dir, name);
    if (t->dtype != MDQ_F32 && t->dtype != MDQ_F16 && t->dtype != MDQ_BF16)
        return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: dtype %s is not supported for weights (f32, f16 and bf16 are)",
                        m->dir, t->file, name, mdq_dtype_name(t->dtype));
    if (t->ndim == (cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols))
        return MDQ_OK;
    char got[128] = "", want[64];
    for (int d = 0; d < t->ndim; d++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%lld", d ? ", " : "", (long long)t->shape[d]);
    if (cols)
        snprintf(want, sizeof want, "%lld, %lld", (long long)rows, (long long)cols);
    else
        snprintf(want, sizeof want, "%lld", (long long)rows);
    return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: shape [%s], but config.json asks for [%s]", m->dir, t->file, name,
                    got, want);
}

static enum mdq_err check_block(const struct mdq_model *m, int block)
{
    const struct mdq_config *c = &m->config;
    char name[NAME_MAX_BYTES];
    MDQ_TRY(check_tensor(m, block_name(name, block, "input_layernorm", ".weight"), c->hidden, 0));
    MDQ_TRY(check_tensor(m, block_name(name, block, "post_attention_layernorm", ".weight"), c->hidden, 0));
    if (c->qk_norm) {
        MDQ_TRY(check_tensor(m, block_name(name, block, "self_attn.q_norm", ".weight"), c->head_dim, 0));
        MDQ_TRY(check_tensor(m, block_name(name, block, "self_attn.k_norm", ".weight"), c->head_dim, 0));
    }
    for (int i = 0; i < MDQ_LINEARS; i++) {
        enum mdq_linear l = (enum mdq_linear)i;
        int64_t out, in;
        mdq_linear_shape(c, l, &out, &in);
        struct mdq_quantized q;
        bool packed = false;
        MDQ_TRY(mdq_quantized_find(&q, &packed, m, block_name(name, block, suffixes[i], ""), out, in));
        if (!packed)
            MDQ_TRY(check_tensor(m, mdq_linear_name(name, block, l), out, in));
        if (has_bias(c, l))
            MDQ_TRY(check_tensor(m, block_name(name, block, suffixes[i], ".bias"), out, 0));
    }
    return MDQ_OK;
}

static bool all_zero(const struct mdq_tensor *t)
{
    const unsigned char *p = t->data;
    for (size_t i = 0; i < t->bytes; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/*
 * Tensors that would change the result if they were used, and that config.json does not speak of. Biases of
 * nothing but zeros are left behind by old GPTQ tools.
 */
static enum mdq_err check_unused(const struct mdq_model *m)
{
    for (int i = 0; i < mdq_safetensors_count(m->tensors); i++) {
        const struct mdq_tensor *t = mdq_safetensors_at(m->tensors, i);
        const char *rest;
        int block = parse_block(t->name, &rest);
        if (block < 0)
            continue;
        if (block >= m->config.layers)
            return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: but num_hidden_layers in config.json is %d", m->dir,
                            t->file, t->name, m->config.layers);
        for (int l = 0; l < MDQ_LINEARS; l++) {
            size_t length = strlen(suffixes[l]);
            if (strncmp(rest, suffixes[l], length) == 0 && strcmp(rest + length, ".bias") == 0 &&
                !has_bias(&m->config, (enum mdq_linear)l) && !all_zero(t))
                return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: a bias, but config.json says there is none", m->dir,
                                t->file, t->name);
        }
    }
    return MDQ_OK;
}

/* A tied model's files may hold the head once more; then it must be the same. */
static enum mdq_err check_tied(const struct mdq_model *m)
{
    const struct mdq_tensor *e = mdq_safetensors_find(m->tensors, embedding_name);
    const struct mdq_tensor *h = mdq_safetensors_find(m->tensors, head_name);
    if (!m->config.tied || !h || (h->dtype == e->dtype && h->bytes == e->bytes && !memcmp(h->data, e->data, e->bytes)))
        return MDQ_OK;
    return mdq_fail(MDQ_E_DATA, "%s/%s: tensor %s: differs from the embedding, but config.json says "
                    "tie_word_embeddings", m->dir, h->file, head_name);
}

enum mdq_err mdq_model_open(struct mdq_model **out, const char *dir)
{
    struct mdq_model *m = *out = mdq_calloc(1, sizeof *m, "model");
    if (!m)
        return MDQ_E_INTERNAL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!(m->dir = mdq_strdup(dir)))
        goto out;
    for (size_t n = strlen(m->dir); n > 1 && m->dir[n - 1] == '/'; n--)
        m->dir[n - 1] = 0;
    MDQ_GOTO(err, mdq_config_read(&m->config, m->dir), out);
    MDQ_GOTO(err, mdq_safetensors_open(&m->tensors, m->dir), out);
    MDQ_GOTO(err, check_tensor(m, embedding_name, m->config.vocab, m->config.hidden), out);
    MDQ_GOTO(err, check_tensor(m, norm_name, m->config.hidden, 0), out);
    if (!m->config.tied) {
        if (mdq_safetensors_find(m->tensors, "lm_head.qweight") ||
            mdq_safetensors_find(m->tensors, "lm_head.weight_packed")) {
            err = mdq_fail(MDQ_E_DATA, "%s: lm_head: a quantized head is not supported", m->dir);
            goto out;
        }
        MDQ_GOTO(err, check_tensor(m, head_name, m->config.vocab, m->config.hidden), out);
    }
    MDQ_GOTO(err, check_tied(m), out);
    for (int i = 0; i < m->config.layers; i++)
        MDQ_GOTO(err, check_block(m, i), out);
    MDQ_GOTO(err, check_unused(m), out);
    err = mdq_quantized_check_zeros(m);
out:
    if (err != MDQ_OK)
        mdq_model_close(out);
    return err;
}

void mdq_model_close(struct mdq_model **out)
{
    if (!out || !*out)
        return;
    struct mdq_model *m = *out;
    mdq_safetensors_close(&m->tensors);
    mdq_config_free(&m->config);
    free(m->dir);
    free(m);
    *out = NULL;
}

/* ---- loading ---- */

/* Column of the first value that is not finite, or -1. */
static int64_t first_non_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, 4);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    if (!bad)
        return -1;
    int64_t i = 0;
    while (isfinite(x[i]))
        i++;
    return i;
}

enum mdq_err mdq_check_finite(const char *dir, const char *tensor, const float *x, int64_t rows, int64_t cols)
{
    int64_t bad_row = INT64_MAX;
#pragma omp parallel for schedule(static) reduction(min : bad_row)
    for (int64_t r = 0; r < rows; r++)
        if (first_non_finite(x + r * cols, cols) >= 0 && r < bad_row)
            bad_row = r;
    if (bad_row == INT64_MAX)
        return MDQ_OK;
    int64_t col = first_non_finite(x + bad_row * cols, cols);
    float v = x[bad_row * cols + col];
    return mdq_fail(MDQ_E_DATA, "%s: tensor %s: row %lld, column %lld: weight is %s", dir, tensor, (long long)bad_row,
                    (long long)col, isnan(v) ? "not a number" : v > 0 ? "infinite" : "minus infinite");
}

/* *dst (allocated when NULL) = the tensor as float32. */
static enum mdq_err load_tensor(const struct mdq_model *m, const char *name, int64_t rows, int64_t cols, float **dst)
{
    const struct mdq_tensor *t = mdq_safetensors_find(m->tensors, name);
    if (!t)
        return mdq_fail(MDQ_E_INTERNAL, "%s: tensor %s: not there any more", m->dir, name);
    if (!*dst && !(*dst = mdq_alloc_aligned((size_t)rows * (size_t)cols, sizeof **dst, name)))
        return MDQ_E_INTERNAL;
    float *to = *dst;
    const char *from = t->data;
    size_t row_bytes = mdq_dtype_bytes(t->dtype, cols);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        mdq_dtype_to_f32(t->dtype, from + (size_t)r * row_bytes, cols, to + r * cols);
    if (t->bytes >= RELEASE_FROM)
        mdq_tensor_release(t);
    return mdq_check_finite(m->dir, name, to, rows, cols);
}

static enum mdq_err load_linear(const struct mdq_model *m, int block, enum mdq_linear l, struct mdq_block *b)
{
    char name[NAME_MAX_BYTES];
    int64_t out, in;
    mdq_linear_shape(&m->config, l, &out, &in);
    if (has_bias(&m->config, l))
        MDQ_TRY(load_tensor(m, block_name(name, block, suffixes[l], ".bias"), 1, out, &b->bias[l]));
    struct mdq_quantized q;
    bool packed = false;
    MDQ_TRY(mdq_quantized_find(&q, &packed, m, block_name(name, block, suffixes[l], ""), out, in));
    if (!packed)
        return load_tensor(m, mdq_linear_name(name, block, l), out, in, &b->linear[l]);
    if (!b->linear[l] && !(b->linear[l] = mdq_alloc_aligned((size_t)out * (size_t)in, sizeof(float), name)))
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_quantized_load(&q, m, name, b->linear[l]));
    return mdq_check_finite(m->dir, mdq_linear_name(name, block, l), b->linear[l], out, in);
}

enum mdq_err mdq_model_load_block(const struct mdq_model *m, int i, struct mdq_block *b)
{
    const struct mdq_config *c = &m->config;
    if (i < 0 || i >= c->layers)
        return mdq_fail(MDQ_E_INTERNAL, "%s: block %d: the model has %d", m->dir, i, c->layers);
    char name[NAME_MAX_BYTES];
    MDQ_TRY(load_tensor(m, block_name(name, i, "input_layernorm", ".weight"), 1, c->hidden, &b->attn_norm));
    MDQ_TRY(load_tensor(m, block_name(name, i, "post_attention_layernorm", ".weight"), 1, c->hidden, &b->mlp_norm));
    if (c->qk_norm) {
        MDQ_TRY(load_tensor(m, block_name(name, i, "self_attn.q_norm", ".weight"), 1, c->head_dim, &b->q_norm));
        MDQ_TRY(load_tensor(m, block_name(name, i, "self_attn.k_norm", ".weight"), 1, c->head_dim, &b->k_norm));
    }
    for (int l = 0; l < MDQ_LINEARS; l++)
        MDQ_TRY(load_linear(m, i, (enum mdq_linear)l, b));
    return MDQ_OK;
}

void mdq_block_free(struct mdq_block *b)
{
    for (int l = 0; l < MDQ_LINEARS; l++) {
        free(b->linear[l]);
        free(b->bias[l]);
    }
    free(b->attn_norm);
    free(b->mlp_norm);
    free(b->q_norm);
    free(b->k_norm);
    memset(b, 0, sizeof *b);
}

enum mdq_err mdq_model_load_outer(const struct mdq_model *m, struct mdq_outer *o)
{
    const struct mdq_config *c = &m->config;
    enum mdq_err err;
    memset(o, 0, sizeof *o);
    MDQ_GOTO(err, load_tensor(m, embedding_name, c->vocab, c->hidden, &o->embedding), out);
    MDQ_GOTO(err, load_tensor(m, norm_name, 1, c->hidden, &o->norm), out);
    o->tied = c->tied;
    if (o->tied)
        o->head = o->embedding;
    else
        err = load_tensor(m, head_name, c->vocab, c->hidden, &o->head);
out:
    if (err != MDQ_OK)
        mdq_outer_free(o);
    return err;
}

void mdq_outer_free(struct mdq_outer *o)
{
    if (o->head != o->embedding)
        free(o->head);
    free(o->embedding);
    free(o->norm);
    memset(o, 0, sizeof *o);
}
