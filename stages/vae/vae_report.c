#include "vae_report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static json_t *real(double v)
{
    return json_real(isfinite(v) ? v : 0);
}

static char *dump(json_t *o, int bad)
{
    char *text = bad ? NULL : json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    json_decref(o);
    if (!text)
        mdq_fail_nomem("report", 0);
    return text;
}

static json_t *list_of(const double *v, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, real(v[i]));
    return list;
}

static json_t *tried(const struct vae_selection *s)
{
    json_t *list = json_array();
    for (int i = 0; i < s->n; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "charts", json_integer(s->tried[i].k));
        json_object_set_new(o, "loglik", real(s->tried[i].loglik));
        json_object_set_new(o, "bic", real(s->tried[i].bic));
        if (isfinite(s->tried[i].heldout))
            json_object_set_new(o, "heldout", real(s->tried[i].heldout));
        json_array_append_new(list, o);
    }
    return list;
}

char *vae_report_layer(const struct vae_block *blocks, int64_t n)
{
    json_t *list = json_array();
    int bad = 0;
    for (int64_t i = 0; i < n; i++) {
        const struct vae_block *b = blocks + i;
        json_t *o = json_object(), *dims = json_array();
        int missed = 0;
        for (int c = 0; c < b->k; c++) {
            bad |= json_array_append_new(dims, json_integer(b->chart[c].dim));
            missed += b->report[c].missed;
        }
        bad |= json_object_set_new(o, "charts", json_integer(b->k));
        bad |= json_object_set_new(o, "dims", dims);
        bad |= json_object_set_new(o, "elbo", list_of(b->elbo, b->sweeps + 1));
        bad |= json_object_set_new(o, "floored", real((double)b->floored / (double)b->n));
        bad |= json_object_set_new(o, "halved", json_integer(b->fewer));
        bad |= json_object_set_new(o, "held_out", json_integer(b->held));
        bad |= json_object_set_new(o, "merged", json_integer(b->selection.merged));
        bad |= json_object_set_new(o, "missed", json_integer(missed));
        bad |= json_object_set_new(o, "tried", tried(&b->selection));
        bad |= json_array_append_new(list, o);
    }
    json_t *all = json_object();
    bad |= json_object_set_new(all, "blocks", list);
    return dump(all, bad);
}

char *vae_report_chart(const struct vae_block *b, int chart)
{
    const struct vae_chart_report *r = &b->report[chart];
    json_t *o = json_object();
    int bad = json_object_set_new(o, "rows", json_integer(r->rows));
    bad |= json_object_set_new(o, "dim95", json_integer(r->dim95));
    bad |= json_object_set_new(o, "dim_parallel", json_integer(r->dim_parallel));
    bad |= json_object_set_new(o, "elbo", list_of(r->elbo, b->sweeps + 1));
    bad |= json_object_set_new(o, "mse_linear", real(r->mse_linear));
    bad |= json_object_set_new(o, "mse", real(r->mse));
    bad |= json_object_set_new(o, "sweeps", json_integer(r->sweeps));
    bad |= json_object_set_new(o, "nonlinear", json_boolean(r->nonlinear));
    bad |= json_object_set_new(o, "missed", json_boolean(r->missed));
    return dump(o, bad);
}

void vae_totals_add(struct vae_totals *t, const struct vae_block *b)
{
    t->blocks++;
    t->charts += b->k;
    t->rows += b->n;
    t->floored += b->floored;
    for (int c = 0; c < b->k; c++) {
        t->nonlinear += b->report[c].nonlinear;
        t->missed += b->report[c].missed;
        t->dims += b->chart[c].dim;
    }
}

char *vae_totals_text(const struct vae_totals *t)
{
    if (t->charts == 0)
        return mdq_asprintf("no layers");
    return mdq_asprintf("%lld column blocks: %lld charts (%lld non-linear), %.1f dimensions on average; %lld of them above the "
                        "target error; %.2f %% of %lld points have a floored normal",
                        (long long)t->blocks, (long long)t->charts, (long long)t->nonlinear, (double)t->dims / (double)t->charts,
                        (long long)t->missed, 100 * (double)t->floored / (double)t->rows, (long long)t->rows);
}
