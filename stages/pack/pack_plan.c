#include "pack_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pack_plan_ragged(const struct pack_plan *p, const struct pack_entry *e)
{
    return p->group > 0 && e->cols % p->group != 0;
}

int64_t pack_plan_group(const struct pack_plan *p, const struct pack_entry *e)
{
    return p->group < 0 || pack_plan_ragged(p, e) ? e->cols : p->group;
}

int pack_module_length(const char *tensor)
{
    const size_t n = strlen(tensor), suffix = strlen(".weight");
    return (int)(n > suffix && strcmp(tensor + n - suffix, ".weight") == 0 ? n - suffix : n);
}

void pack_plan_free(struct pack_plan *p)
{
    for (int i = 0; i < p->n; i++) {
        free(p->entries[i].name);
        free(p->entries[i].kept);
        free(p->entries[i].report);
    }
    free(p->entries);
    p->entries = NULL;
    p->n = 0;
}

static enum mdq_err list_layers(struct pack_plan *p, const struct mdq_model *m)
{
    const int n = m->config.layers * MDQ_LINEARS;
    if (!(p->entries = mdq_calloc((size_t)n, sizeof *p->entries, "layers")))
        return MDQ_E_INTERNAL;
    for (; p->n < n; p->n++) {
        struct pack_entry *e = &p->entries[p->n];
        const enum mdq_linear l = (enum mdq_linear)(p->n % MDQ_LINEARS);
        char name[96];
        mdq_linear_shape(&m->config, l, &e->rows, &e->cols);
        if (!(e->name = mdq_strdup(mdq_linear_name(name, p->n / MDQ_LINEARS, l))))
            return MDQ_E_INTERNAL;
    }
    return MDQ_OK;
}

/* One number for the whole model, from a layer that may be an exception to it. */
static int64_t choose_group(const struct pack_plan *p, const struct mdq_qlayer *first, int64_t asked)
{
    if (first->group < first->cols)
        return first->group;
    bool whole = true; /* would every layer have whole rows under what was asked for? */
    for (int i = 0; i < p->n; i++)
        whole &= asked <= 0 || p->entries[i].cols % asked != 0 || p->entries[i].cols == asked;
    const bool first_fits = asked > 0 && (first->cols % asked != 0 || first->cols == asked);
    return whole || !first_fits ? -1 : asked;
}

static enum mdq_err refuse_layers(struct pack_plan *p)
{
    char list[512] = "";
    int n = 0;
    for (int i = 0; p->format->refuse && i < p->n; i++) {
        struct pack_entry *e = &p->entries[i];
        MDQ_TRY(p->format->refuse(p, e, &e->kept));
        if (!e->kept)
            continue;
        const size_t used = strlen(list);
        if (used < sizeof list - 200)
            snprintf(list + used, sizeof list - used, "%s%s (%s)", n ? ", " : "", e->name, e->kept);
        else if (used < sizeof list - 4 && strcmp(list + used - 3, "...") != 0)
            strcat(list, " ...");
        n++;
    }
    p->n_kept = n;
    if (n && !p->keep)
        return mdq_fail(MDQ_E_DATA, "%s: format %s cannot hold %d of the %d layers: %s: use --unpackable keep, which leaves "
                        "them in full precision, or --format dense", p->source, p->format->name, n, p->n, list);
    if (n == p->n)
        return mdq_fail(MDQ_E_DATA, "%s: format %s can hold none of the layers: %s", p->source, p->format->name, list);
    return MDQ_OK;
}

enum mdq_err pack_plan_make(struct pack_plan *p, const struct mdq_model *m, const struct mdq_qlayer *first,
                            int64_t asked_group)
{
    MDQ_TRY(list_layers(p, m));
    p->bits = (unsigned)first->bits;
    p->sym = first->sym;
    p->scale_type = first->scale_type;
    p->group = choose_group(p, first, asked_group);
    if (p->format->check)
        MDQ_TRY(p->format->check(p));
    return refuse_layers(p);
}

static enum mdq_err differs(const struct pack_plan *p, const char *tensor, const char *what, const char *is,
                            const char *others)
{
    return mdq_fail(MDQ_E_DATA, "%s: %s: %s %s but the layers before have %s: format %s needs one for all: use --format dense",
                    p->source, tensor, what, is, others, p->format->name);
}

static enum mdq_err check_uniform(const struct pack_plan *p, const struct pack_entry *e, const struct mdq_qlayer *l)
{
    char is[32], others[32];
    if (l->bits != (int)p->bits) {
        snprintf(is, sizeof is, "%d", l->bits);
        snprintf(others, sizeof others, "%u", p->bits);
        return differs(p, l->tensor, "bits:", is, others);
    }
    if (l->group != pack_plan_group(p, e)) {
        snprintf(is, sizeof is, "%" PRId64, l->group);
        snprintf(others, sizeof others, "%" PRId64, p->group);
        return differs(p, l->tensor, "groups of", is, p->group < 0 ? "whole rows" : others);
    }
    if (l->sym != p->sym)
        return differs(p, l->tensor, "is", l->sym ? "symmetric" : "asymmetric", p->sym ? "symmetric ones" : "zero points");
    if (l->scale_type != p->scale_type)
        return differs(p, l->tensor, "scales of type", mdq_dtype_name(l->scale_type), mdq_dtype_name(p->scale_type));
    return MDQ_OK;
}

enum mdq_err pack_plan_arrived(struct pack_plan *p, struct pack_entry *e, struct mdq_qlayer *l)
{
    if (p->format->uniform && !e->kept)
        MDQ_TRY(check_uniform(p, e, l));
    e->bits = l->bits;
    e->group = l->group;
    e->sym = l->sym;
    e->scale_type = l->scale_type;
    snprintf(e->method, sizeof e->method, "%s", l->method);
    snprintf(e->order, sizeof e->order, "%s", l->order);
    e->report = l->report;
    l->report = NULL;
    if (!e->kept && strcmp(l->method, "gptq") == 0 && strcmp(l->order, "act") == 0)
        p->act = true;
    return MDQ_OK;
}
