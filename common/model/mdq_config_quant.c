/* How quantized folders describe themselves: GPTQ (AutoGPTQ, GPTQModel) and compressed-tensors pack-quantized. */
#include "mdq_config_quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_json.h"

static bool supported_bits(int bits)
{
    return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

static enum mdq_err check_bits(const struct mdq_json_at *at, const char *key, int bits)
{
    if (!supported_bits(bits))
        return mdq_fail(MDQ_E_DATA, "%s: %s%s: %d: only 2, 3, 4 and 8 are supported", at->file, at->prefix, key, bits);
    return MDQ_OK;
}

static enum mdq_err check_group(const struct mdq_json_at *at, int group)
{
    if (group == 0)
        return mdq_fail(MDQ_E_DATA, "%s: %sgroup_size: 0: must be positive, or -1 for a whole row", at->file, at->prefix);
    return MDQ_OK;
}

/* GPTQModel's per-module overrides: "-:regex" leaves modules alone, which the tensors show by themselves. */
static enum mdq_err check_dynamic(const struct mdq_json_at *at)
{
    const json_t *dynamic = json_object_get(at->object, "dynamic");
    if (json_is_object(dynamic)) {
        const char *pattern;
        json_t *value;
        json_object_foreach((json_t *)dynamic, pattern, value)
            if (strncmp(pattern, "-:", 2) != 0)
                return mdq_fail(MDQ_E_DATA, "%s: %sdynamic: '%s': other settings for some modules are not supported",
                                at->file, at->prefix, pattern);
    }
    return MDQ_OK;
}

static enum mdq_err read_gptq(struct mdq_config *c, const struct mdq_json_at *at)
{
    struct mdq_scheme s = {.sym = true}; /* readers take a missing sym for true */
    bool marlin = false;
    const char *format = NULL, *checkpoint = NULL, *pack = "int32";
    MDQ_TRY(mdq_json_need(at, "bits"));
    MDQ_TRY(mdq_json_need(at, "group_size"));
    MDQ_TRY(mdq_json_int(at, "bits", 1, 32, &s.bits));
    MDQ_TRY(mdq_json_int(at, "group_size", -1, 1 << 24, &s.group));
    MDQ_TRY(mdq_json_bool(at, "sym", &s.sym));
    MDQ_TRY(mdq_json_bool(at, "desc_act", &c->desc_act));
    MDQ_TRY(mdq_json_bool(at, "is_marlin_format", &marlin));
    MDQ_TRY(mdq_json_string(at, "checkpoint_format", &checkpoint));
    MDQ_TRY(mdq_json_string(at, "format", &format));
    MDQ_TRY(mdq_json_string(at, "pack_dtype", &pack));
    MDQ_TRY(check_bits(at, "bits", s.bits));
    MDQ_TRY(check_group(at, s.group));
    MDQ_TRY(check_dynamic(at));
    if (format && checkpoint && strcmp(format, checkpoint) != 0)
        return mdq_fail(MDQ_E_DATA, "%s: %sformat: %s contradicts checkpoint_format %s", at->file, at->prefix, format,
                        checkpoint);
    if (!checkpoint)
        checkpoint = format ? format : "gptq";
    bool v1 = strcmp(checkpoint, "gptq") == 0;
    if (marlin || (!v1 && strcmp(checkpoint, "gptq_v2") != 0))
        return mdq_fail(MDQ_E_DATA, "%s: %scheckpoint_format: %s is not supported (gptq and gptq_v2 are)", at->file,
                        at->prefix, marlin ? "marlin" : checkpoint);
    if (strcmp(pack, "int32") != 0)
        return mdq_fail(MDQ_E_DATA, "%s: %spack_dtype: %s is not supported (int32 is)", at->file, at->prefix, pack);
    c->storage = MDQ_STORED_GPTQ;
    c->zero_minus_one = v1;
    c->sym_stated = json_is_boolean(json_object_get(at->object, "sym"));
    c->schemes[0] = s;
    c->n_schemes = 1;
    return MDQ_OK;
}

/* A member that would change the forward pass in ways that weights alone do not hold. */
static enum mdq_err refuse_member(const struct mdq_json_at *at, const char *key)
{
    const json_t *v = json_object_get(at->object, key);
    bool nothing = !v || json_is_null(v) || (json_is_object(v) && json_object_size(v) == 0);
    return nothing ? MDQ_OK : mdq_fail(MDQ_E_DATA, "%s: %s%s: is not supported", at->file, at->prefix, key);
}

/* {"format": "dense"} and {} mean no sparsity. */
static enum mdq_err check_sparsity(const struct mdq_json_at *at)
{
    const char *format = json_string_value(json_object_get(json_object_get(at->object, "sparsity_config"), "format"));
    return format && strcmp(format, "dense") == 0 ? MDQ_OK : refuse_member(at, "sparsity_config");
}

static enum mdq_err read_ct_weights(struct mdq_scheme *s, const struct mdq_json_at *at)
{
    const char *type = "int", *strategy = NULL;
    bool dynamic = false;
    *s = (struct mdq_scheme){.group = -1, .sym = true};
    MDQ_TRY(mdq_json_need(at, "num_bits"));
    MDQ_TRY(mdq_json_int(at, "num_bits", 1, 32, &s->bits));
    MDQ_TRY(mdq_json_int(at, "group_size", -1, 1 << 24, &s->group));
    MDQ_TRY(mdq_json_bool(at, "symmetric", &s->sym));
    MDQ_TRY(mdq_json_string(at, "type", &type));
    MDQ_TRY(mdq_json_string(at, "strategy", &strategy));
    if (json_is_boolean(json_object_get(at->object, "dynamic")))
        MDQ_TRY(mdq_json_bool(at, "dynamic", &dynamic));
    MDQ_TRY(check_bits(at, "num_bits", s->bits));
    MDQ_TRY(check_group(at, s->group));
    if (strcmp(type, "int") != 0)
        return mdq_fail(MDQ_E_DATA, "%s: %stype: %s is not supported (int is)", at->file, at->prefix, type);
    if (dynamic)
        return mdq_fail(MDQ_E_DATA, "%s: %sdynamic: weights cannot be quantized on the fly", at->file, at->prefix);
    if (!strategy) /* the schema's own default */
        strategy = s->group > 0 ? "group" : "channel";
    if (strcmp(strategy, "group") == 0 && s->group < 0)
        return mdq_fail(MDQ_E_DATA, "%s: %sgroup_size: missing, but strategy is group", at->file, at->prefix);
    if (strcmp(strategy, "channel") == 0 && s->group > 0)
        return mdq_fail(MDQ_E_DATA, "%s: %sgroup_size: %d contradicts strategy channel", at->file, at->prefix, s->group);
    if (strcmp(strategy, "group") != 0 && strcmp(strategy, "channel") != 0)
        return mdq_fail(MDQ_E_DATA, "%s: %sstrategy: %s is not supported (group and channel are)", at->file,
                        at->prefix, strategy);
    return MDQ_OK;
}

static enum mdq_err check_ct_format(const struct mdq_json_at *at, bool required)
{
    const char *format = required ? "absent" : "pack-quantized";
    MDQ_TRY(mdq_json_string(at, "format", &format));
    if (strcmp(format, "pack-quantized") != 0 && !(required && strcmp(format, "mixed-precision") == 0))
        return mdq_fail(MDQ_E_DATA, "%s: %sformat: %s is not supported (pack-quantized is)", at->file, at->prefix, format);
    return MDQ_OK;
}

static enum mdq_err read_ct_groups(struct mdq_config *c, const struct mdq_json_at *at)
{
    const json_t *groups = json_object_get(at->object, "config_groups");
    if (!json_is_object(groups) || json_object_size(groups) == 0)
        return mdq_fail(MDQ_E_DATA, "%s: %sconfig_groups: missing", at->file, at->prefix);
    if (json_object_size(groups) > MDQ_SCHEMES)
        return mdq_fail(MDQ_E_DATA, "%s: %sconfig_groups: %zu of them, at most %d are supported", at->file, at->prefix,
                        json_object_size(groups), MDQ_SCHEMES);
    const char *name;
    json_t *group;
    json_object_foreach((json_t *)groups, name, group)
    {
        char prefix[128], inner[160];
        snprintf(prefix, sizeof prefix, "%sconfig_groups.%s.", at->prefix, name);
        snprintf(inner, sizeof inner, "%sweights.", prefix);
        const struct mdq_json_at in_group = {.file = at->file, .prefix = prefix, .object = group};
        const struct mdq_json_at in_weights = {
            .file = at->file, .prefix = inner, .object = json_object_get(group, "weights")};
        if (!json_is_object(in_weights.object))
            return mdq_fail(MDQ_E_DATA, "%s: %sweights: missing", at->file, prefix);
        MDQ_TRY(refuse_member(&in_group, "input_activations"));
        MDQ_TRY(refuse_member(&in_group, "output_activations"));
        MDQ_TRY(check_ct_format(&in_group, false));
        MDQ_TRY(read_ct_weights(&c->schemes[c->n_schemes++], &in_weights));
    }
    return MDQ_OK;
}

static enum mdq_err read_compressed_tensors(struct mdq_config *c, const struct mdq_json_at *at)
{
    MDQ_TRY(check_ct_format(at, true));
    MDQ_TRY(refuse_member(at, "kv_cache_scheme"));
    MDQ_TRY(refuse_member(at, "transform_config"));
    MDQ_TRY(check_sparsity(at));
    MDQ_TRY(read_ct_groups(c, at));
    c->storage = MDQ_STORED_COMPRESSED_TENSORS;

    const json_t *ignore = json_object_get(at->object, "ignore");
    if (!ignore || json_is_null(ignore))
        return MDQ_OK;
    if (!json_is_array(ignore))
        return mdq_fail(MDQ_E_DATA, "%s: %signore: not a list", at->file, at->prefix);
    size_t n = json_array_size(ignore);
    if (n > 1 << 20 || !(c->ignore = mdq_calloc(n, sizeof *c->ignore, "ignored modules")))
        return n > 1 << 20 ? mdq_fail(MDQ_E_DATA, "%s: %signore: too long", at->file, at->prefix) : MDQ_E_INTERNAL;
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(ignore, i));
        if (!s)
            return mdq_fail(MDQ_E_DATA, "%s: %signore: entry %zu is no string", at->file, at->prefix, i);
        if (!(c->ignore[i] = mdq_strdup(s)))
            return MDQ_E_INTERNAL;
        c->n_ignore++;
    }
    return MDQ_OK;
}

enum mdq_err mdq_config_read_quant(struct mdq_config *c, const json_t *object, const char *file)
{
    const struct mdq_json_at at = {.file = file, .prefix = "quantization_config.", .object = object};
    const char *method = NULL, *other = NULL;
    MDQ_TRY(mdq_json_string(&at, "quant_method", &method));
    MDQ_TRY(mdq_json_string(&at, "method", &other));
    if (!method)
        method = other;
    if (!method)
        return mdq_fail(MDQ_E_DATA, "%s: quantization_config.quant_method: missing", file);
    if (strcmp(method, "gptq") == 0)
        MDQ_TRY(read_gptq(c, &at));
    else if (strcmp(method, "compressed-tensors") == 0)
        MDQ_TRY(read_compressed_tensors(c, &at));
    else
        return mdq_fail(MDQ_E_DATA, "%s: quantization_config.quant_method: %s is not supported (gptq and "
                        "compressed-tensors are)", file, method);
    c->bits = c->schemes[0].bits;
    c->group = c->schemes[0].group;
    c->sym = c->schemes[0].sym;
    return MDQ_OK;
}
