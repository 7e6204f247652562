/*
 * compressed-tensors, format "pack-quantized".
 *
 *   weight_packed     I32 [out, ceil(in b / 32)]      lines along the inputs, one per row
 *   weight_scale      F16 or BF16 [out, groups]
 *   weight_shape      I64 [2]
 *   weight_zero_point I32 [ceil(out b / 32), groups]  only when asymmetric; lines along the outputs, in columns
 *
 * Its codes are signed and stored plus 2^(b-1): the stored field is our unsigned code, for zero points alike.
 */
#include <jansson.h>
#include <stdlib.h>

#include "pack_format.h"
#include "pack_words.h"

/* Readers only record it: the layout of 2, 4 and 8 bits is the same in every version. */
#define LAYOUT_VERSION "0.12.0"

static enum mdq_err check(const struct pack_plan *p)
{
    if (p->bits == 3)
        return mdq_fail(MDQ_E_DATA, "%s: 3 bits: compressed-tensors readers disagree about how they are packed: use "
                        "--format gptq, gptq_v2 or dense", p->source);
    if (p->scale_type != MDQ_F16 && p->scale_type != MDQ_BF16)
        return mdq_fail(MDQ_E_DATA, "%s: scales of type %s: compressed-tensors stores f16 or bf16: run mdq-gptq with "
                        "--scale f16", p->source, mdq_dtype_name(p->scale_type));
    return MDQ_OK;
}

/* Scales of 16 bits before the next layer's 32-bit words: their number must be even. */
static enum mdq_err refuse(const struct pack_plan *p, const struct pack_entry *e, char **why)
{
    const int64_t groups = e->cols / pack_plan_group(p, e);
    *why = NULL;
    if (e->rows % 2 == 0 || groups % 2 == 0)
        return MDQ_OK;
    *why = mdq_asprintf("%lld rows of %lld groups are an odd number of scales, which would misalign the file",
                        (long long)e->rows, (long long)groups);
    return *why ? MDQ_OK : MDQ_E_INTERNAL;
}

enum { PACKED, SCALE, SHAPE, ZERO_POINT };

static int tensors(const struct pack_plan *p, const struct pack_entry *e, struct pack_tensor out[PACK_TENSORS])
{
    const int64_t groups = e->cols / pack_plan_group(p, e);
    out[PACKED] = (struct pack_tensor){".weight_packed", MDQ_I32, 2, {e->rows, pack_words(e->cols, p->bits)}, false};
    out[SCALE] = (struct pack_tensor){".weight_scale", p->scale_type, 2, {e->rows, groups}, false};
    out[SHAPE] = (struct pack_tensor){".weight_shape", MDQ_I64, 1, {2, 0}, true};
    out[ZERO_POINT] = (struct pack_tensor){".weight_zero_point", MDQ_I32, 2, {pack_words(e->rows, p->bits), groups}, false};
    return p->sym ? 3 : 4;
}

static enum mdq_err fill_zero_point(const struct mdq_qlayer *l, void *dst)
{
    const int64_t words = pack_words(l->rows, (unsigned)l->bits);
    uint8_t *turned = mdq_alloc((size_t)l->rows, (size_t)l->groups, "zero points");
    uint32_t *lines = mdq_alloc((size_t)(words * l->groups), sizeof *lines, "packed zero points");
    if (turned && lines) {
        pack_transpose(l->zeros, l->rows, l->groups, 1, turned);
        pack_lines(turned, l->groups, l->rows, (unsigned)l->bits, lines);
        pack_transpose(lines, l->groups, words, sizeof *lines, dst);
    }
    enum mdq_err err = turned && lines ? MDQ_OK : MDQ_E_INTERNAL;
    free(turned);
    free(lines);
    return err;
}

static enum mdq_err fill(const struct pack_plan *p, const struct pack_entry *e, const struct mdq_qlayer *l, int which,
                         void *dst)
{
    (void)p;
    switch (which) {
    case PACKED: pack_lines(l->codes, l->rows, l->cols, (unsigned)l->bits, dst); return MDQ_OK;
    case SCALE: pack_f64_to_16(l->scale_type, l->scales, l->rows * l->groups, dst); return MDQ_OK;
    case SHAPE:
        ((int64_t *)dst)[0] = e->rows;
        ((int64_t *)dst)[1] = e->cols;
        return MDQ_OK;
    default: return fill_zero_point(l, dst);
    }
}

/* One scheme; its readers forbid keys that they do not know. group -1: one group per row, "channel". */
static json_t *scheme(const struct pack_plan *p, int64_t group, json_t *targets)
{
    return json_pack("{s:o, s:s, s:n, s:n, s:{s:i, s:s, s:b, s:s, s:o, s:b, s:o, s:n, s:s, s:{}}}", "targets", targets,
                     "format", "pack-quantized", "input_activations", "output_activations", "weights", "num_bits",
                     (int)p->bits, "type", "int", "symmetric", (int)p->sym, "strategy", group < 0 ? "channel" : "group",
                     "group_size", group < 0 ? json_null() : json_integer(group), "dynamic", 0, "actorder",
                     p->act ? json_string("static") : json_null(), "block_structure", "observer", "minmax",
                     "observer_kwargs");
}

static enum mdq_err config(const struct pack_plan *p, char **text)
{
    *text = NULL;
    json_t *ignore = json_pack("[s]", "lm_head"), *ragged = json_array(), *groups = json_object(), *o = NULL;
    for (int i = 0; i < p->n; i++) {
        const struct pack_entry *e = &p->entries[i];
        json_t *name = json_stringn(e->name, (size_t)pack_module_length(e->name));
        if (e->kept)
            json_array_append(ignore, name);
        else if (pack_plan_ragged(p, e))
            json_array_append(ragged, name);
        json_decref(name);
    }
    /* Exact names win over the class name wherever they stand; first, they spare the library a warning. */
    const bool exceptions = json_array_size(ragged) > 0;
    if (exceptions)
        json_object_set_new(groups, "group_0", scheme(p, -1, json_incref(ragged)));
    json_object_set_new(groups, exceptions ? "group_1" : "group_0", scheme(p, p->group, json_pack("[s]", "Linear")));
    o = json_pack("{s:s, s:s, s:s, s:s, s:n, s:n, s:O, s:{}, s:{}, s:O}", "quant_method", "compressed-tensors", "format",
                  "pack-quantized", "quantization_status", "compressed", "version", LAYOUT_VERSION,
                  "global_compression_ratio", "kv_cache_scheme", "ignore", ignore, "sparsity_config",
                  "transform_config", "config_groups", groups);
    if (o)
        *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    json_decref(groups);
    json_decref(ragged);
    json_decref(ignore);
    return *text ? MDQ_OK : mdq_fail_nomem("quantization_config", 0);
}

const struct pack_format pack_format_compressed = {
    .name = "compressed-tensors", .uniform = true, .check = check, .refuse = refuse, .tensors = tensors, .fill = fill, .config = config,
};
