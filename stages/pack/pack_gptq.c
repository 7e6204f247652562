/*
 * Hugging Face "GPTQ" folders, version 1 (stored zero = zero - 1) and version 2 (stored zero = zero).
 *
 *   qweight I32 [in b / 32, out]      lines along the inputs, one per output column
 *   qzeros  I32 [groups, out b / 32]  lines along the outputs
 *   scales  F16 [groups, out]
 *   g_idx   I32 [in]                  always k / group: activation order comes with static groups
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_model.h"
#include "pack_format.h"
#include "pack_words.h"

static enum mdq_err check(const struct pack_plan *p)
{
    if (p->scale_type != MDQ_F16)
        return mdq_fail(MDQ_E_DATA, "%s: scales of type %s: %s stores them as f16: run mdq-gptq with --scale f16",
                        p->source, mdq_dtype_name(p->scale_type), p->format->name);
    return MDQ_OK;
}

static enum mdq_err refuse(const struct pack_plan *p, const struct pack_entry *e, char **why)
{
    *why = NULL;
    if (e->cols % 32 != 0 || e->rows % 32 != 0)
        *why = mdq_asprintf("shape [%lld, %lld] is no multiple of 32 on both sides", (long long)e->rows,
                            (long long)e->cols);
    else if (pack_plan_ragged(p, e))
        *why = mdq_asprintf("whole-row groups (%lld columns) beside groups of %lld", (long long)e->cols,
                            (long long)p->group);
    else
        return MDQ_OK;
    return *why ? MDQ_OK : MDQ_E_INTERNAL;
}

enum { QWEIGHT, QZEROS, SCALES, G_IDX };

static int tensors(const struct pack_plan *p, const struct pack_entry *e, struct pack_tensor out[PACK_TENSORS])
{
    const int64_t groups = e->cols / pack_plan_group(p, e);
    out[QWEIGHT] = (struct pack_tensor){".qweight", MDQ_I32, 2, {pack_words(e->cols, p->bits), e->rows}, false};
    out[QZEROS] = (struct pack_tensor){".qzeros", MDQ_I32, 2, {groups, pack_words(e->rows, p->bits)}, false};
    out[SCALES] = (struct pack_tensor){".scales", MDQ_F16, 2, {groups, e->rows}, false};
    out[G_IDX] = (struct pack_tensor){".g_idx", MDQ_I32, 1, {e->cols, 0}, false};
    return 4;
}

static enum mdq_err fill_qweight(const struct mdq_qlayer *l, void *dst)
{
    const int64_t words = pack_words(l->cols, (unsigned)l->bits);
    uint32_t *rows = mdq_alloc((size_t)(l->rows * words), sizeof *rows, "packed codes");
    if (!rows)
        return MDQ_E_INTERNAL;
    pack_lines(l->codes, l->rows, l->cols, (unsigned)l->bits, rows);
    pack_transpose(rows, l->rows, words, sizeof *rows, dst);
    free(rows);
    return MDQ_OK;
}

static enum mdq_err fill_qzeros(const struct mdq_qlayer *l, int offset, void *dst)
{
    const int64_t n = l->rows * l->groups;
    uint8_t *stored = mdq_alloc((size_t)n, 2, "zero points");
    if (!stored)
        return MDQ_E_INTERNAL;
    uint8_t *turned = stored + n;
    for (int64_t i = 0; i < n; i++) {
        if (l->zeros[i] < offset) {
            free(stored);
            return mdq_fail(MDQ_E_DATA, "%s: row %lld, group %lld: zero point 0 cannot be stored in format gptq, which "
                            "keeps zero - 1: use --format gptq_v2", l->tensor, (long long)(i / l->groups),
                            (long long)(i % l->groups));
        }
        stored[i] = (uint8_t)(l->zeros[i] - offset);
    }
    pack_transpose(stored, l->rows, l->groups, 1, turned);
    pack_lines(turned, l->groups, l->rows, (unsigned)l->bits, dst);
    free(stored);
    return MDQ_OK;
}

static enum mdq_err fill_scales(const struct mdq_qlayer *l, void *dst)
{
    uint16_t *half = mdq_alloc((size_t)(l->rows * l->groups), sizeof *half, "scales");
    if (!half)
        return MDQ_E_INTERNAL;
    pack_f64_to_16(MDQ_F16, l->scales, l->rows * l->groups, half);
    pack_transpose(half, l->rows, l->groups, sizeof *half, dst);
    free(half);
    return MDQ_OK;
}

static enum mdq_err fill(const struct pack_plan *p, const struct pack_entry *e, const struct mdq_qlayer *l, int which,
                         void *dst)
{
    (void)e;
    switch (which) {
    case QWEIGHT: return fill_qweight(l, dst);
    case QZEROS: return fill_qzeros(l, p->format == &pack_format_gptq, dst);
    case SCALES: return fill_scales(l, dst);
    default:
        for (int64_t k = 0; k < l->cols; k++)
            ((int32_t *)dst)[k] = (int32_t)(k / l->group);
        return MDQ_OK;
    }
}

/* Layers left unquantized: "-:" before a regular expression leaves the modules that it matches unquantized. */
static json_t *dynamic(const struct pack_plan *p)
{
    json_t *rules = json_object();
    for (int i = 0; rules && i < p->n; i++) {
        const struct pack_entry *e = &p->entries[i];
        if (!e->kept)
            continue;
        char rule[256] = "-:^";
        size_t n = strlen(rule);
        for (int k = 0; k < pack_module_length(e->name) && n < sizeof rule - 4; k++) {
            if (e->name[k] == '.')
                rule[n++] = '\\';
            rule[n++] = e->name[k];
        }
        rule[n++] = '$';
        rule[n] = 0;
        if (json_object_set_new(rules, rule, json_object()) != 0) {
            json_decref(rules);
            return NULL;
        }
    }
    return rules;
}

/* The same as a list of what is quantized, by name within a block: the loader of transformers knows only that. Which
 * layers a format can hold is a matter of shapes, so block 0 speaks for all. */
static json_t *quantized_modules(const struct pack_plan *p)
{
    json_t *names = json_array();
    for (int i = 0; i < p->n; i++) {
        int block;
        enum mdq_linear l;
        if (!p->entries[i].kept && mdq_linear_parse(p->entries[i].name, &block, &l) == 0 && block == 0)
            json_array_append_new(names, json_string(mdq_linear_suffix(l)));
    }
    return json_pack("[o]", names);
}

static enum mdq_err config(const struct pack_plan *p, char **text)
{
    *text = NULL;
    json_t *o = json_pack("{s:s, s:i, s:I, s:b, s:b, s:b, s:b, s:s, s:s, s:{s:[s]}}", "quant_method", "gptq", "bits",
                          (int)p->bits, "group_size", (json_int_t)p->group, "desc_act", 0, "sym", (int)p->sym,
                          "static_groups", (int)p->act, "lm_head", 0, "checkpoint_format", p->format->name, "pack_dtype",
                          "int32", "meta", "quantizer", "mdq:" MDQ_VERSION);
    bool ok = o && (!p->n_kept || (json_object_set_new(o, "dynamic", dynamic(p)) == 0 &&
                                   json_object_set_new(o, "modules_in_block_to_quantize", quantized_modules(p)) == 0));
    if (ok)
        *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    return *text ? MDQ_OK : mdq_fail_nomem("quantization_config", 0);
}

const struct pack_format pack_format_gptq = {
    .name = "gptq", .uniform = true, .check = check, .refuse = refuse, .tensors = tensors, .fill = fill,
    .config = config, .quantize_config_json = true,
};
const struct pack_format pack_format_gptq_v2 = {
    .name = "gptq_v2", .uniform = true, .check = check, .refuse = refuse, .tensors = tensors, .fill = fill,
    .config = config, .quantize_config_json = true,
};
