#include "pack_report.h"

#include <jansson.h>
#include <stdlib.h>

/* Groups as they are told to people: a number, or "row". */
static json_t *group_value(int64_t group, int64_t cols)
{
    return group < 0 || group == cols ? json_string("row") : json_integer(group);
}

static json_t *quantized_entry(const struct pack_entry *e)
{
    json_t *o = json_pack("{s:s, s:[I,I], s:i, s:o, s:b, s:s, s:s, s:s, s:I}", "tensor", e->name, "shape",
                          (json_int_t)e->rows, (json_int_t)e->cols, "bits", e->bits, "group",
                          group_value(e->group, e->cols), "symmetric", (int)e->sym, "method", e->method, "order", e->order,
                          "scales", mdq_dtype_name(e->scale_type), "bytes", (json_int_t)e->bytes);
    json_t *report = e->report ? json_loads(e->report, JSON_DECODE_ANY, NULL) : NULL;
    if (o && report)
        json_object_set(o, "report", report);
    json_decref(report);
    return o;
}

/* The bits per weight that each layer's part takes, over all quantized weights, with its scales and zero points. */
static double bits_per_weight(const struct pack_totals *t)
{
    return t->quantized_weights > 0 ? 8 * t->quantized_bytes / t->quantized_weights : 0;
}

enum mdq_err pack_report_make(char **text, const struct mdq_model *m, const struct pack_plan *p,
                              const struct pack_totals *t, const char *provenance)
{
    json_t *layers = json_array(), *kept = json_array(), *chain = json_loads(provenance, 0, NULL);
    for (int i = 0; i < p->n; i++) {
        const struct pack_entry *e = &p->entries[i];
        if (e->kept)
            json_array_append_new(kept, json_pack("{s:s, s:[I,I], s:s, s:I}", "tensor", e->name, "shape",
                                                  (json_int_t)e->rows, (json_int_t)e->cols, "why", e->kept, "bytes",
                                                  (json_int_t)e->bytes));
        else
            json_array_append_new(layers, quantized_entry(e));
    }
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "program", "mdq-pack",
                          "version", MDQ_VERSION, "format", p->format->name, "model", m->hash, "quantized",
                          p->n - p->n_kept, "kept", p->n_kept, "carried", t->carried, "bytes", (json_int_t)t->bytes,
                          "source_bytes", (json_int_t)t->source_bytes, "quantized_bytes", (json_int_t)t->quantized_bytes,
                          "bits_per_weight", bits_per_weight(t), "kept_layers", kept, "layers", layers, "provenance",
                          chain ? chain : json_array());
    char *json = o ? json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(o);
    *text = json ? mdq_asprintf("%s\n", json) : NULL;
    free(json);
    return *text ? MDQ_OK : mdq_fail_nomem("the report", 0);
}
