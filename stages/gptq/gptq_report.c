#include "gptq_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double gptq_report_output_error(const struct gptq_report *r)
{
    if (!r->has_hessian || !(r->whw > 0))
        return -1;
    return sqrt(fmax(r->ehe, 0) / r->whw);
}

double gptq_report_weight_error(const struct gptq_report *r)
{
    return r->outcome.sq_weight > 0 ? sqrt(r->outcome.sq_error / r->outcome.sq_weight) : 0;
}

double gptq_report_bound_ratio(const struct gptq_report *r)
{
    return r->gptq && r->outcome.bound > 0 ? r->outcome.residual / r->outcome.bound : -1;
}

double gptq_report_clipped(const struct gptq_report *r)
{
    return (double)r->outcome.clipped / ((double)r->rows * (double)r->cols);
}

static int add_real(json_t *o, const char *key, double v)
{
    return json_object_set_new(o, key, json_real(isfinite(v) ? v : 0));
}

char *gptq_report_json(const struct gptq_report *r, bool named)
{
    json_t *o = json_object();
    int bad = !o;
    if (named)
        bad |= json_object_set_new(o, "tensor", json_string(r->tensor));
    bad |= json_object_set_new(o, "method", json_string(r->gptq ? "gptq" : "rtn"));
    bad |= json_object_set_new(o, "rows", json_integer(r->rows));
    bad |= json_object_set_new(o, "cols", json_integer(r->cols));
    bad |= json_object_set_new(o, "bits", json_integer(r->bits));
    bad |= json_object_set_new(o, "group", json_integer(r->group));
    bad |= add_real(o, "clipped", gptq_report_clipped(r));
    bad |= add_real(o, "max_abs_error", r->outcome.max_abs);
    bad |= add_real(o, "weight_error", gptq_report_weight_error(r));
    if (r->ragged)
        bad |= json_object_set_new(o, "ragged", json_true());
    if (r->fallback)
        bad |= json_object_set_new(o, "fallback", json_string(r->fallback));
    if (r->bumped)
        bad |= json_object_set_new(o, "tiny_scales", json_integer(r->bumped));
    if (r->has_hessian) {
        bad |= json_object_set_new(o, "tokens", json_integer(r->tokens));
        bad |= add_real(o, "tokens_per_input", (double)r->tokens / (double)r->cols);
        bad |= json_object_set_new(o, "dead_inputs", json_integer(r->dead));
        if (gptq_report_output_error(r) >= 0)
            bad |= add_real(o, "output_error", gptq_report_output_error(r));
    }
    if (r->tries > 0) {
        json_t *tried = json_array();
        for (int i = 0; i < r->tries; i++)
            bad |= json_array_append_new(tried, json_real(r->tried[i]));
        bad |= json_object_set_new(o, "damp_tried", tried);
    }
    if (r->gptq) {
        bad |= add_real(o, "damp", r->damp);
        if (gptq_report_bound_ratio(r) >= 0) {
            bad |= add_real(o, "error_over_bound", gptq_report_bound_ratio(r));
            bad |= add_real(o, "error_over_expected", 3 * gptq_report_bound_ratio(r));
        }
    }
    if (r->md) {
        json_t *md = named ? json_incref(r->md) : json_deep_copy(r->md), *list = json_object_get(md, "list");
        while (!named && json_array_size(list) > GPTQ_REPORT_MISSES)
            bad |= json_array_remove(list, json_array_size(list) - 1);
        bad |= json_object_set_new(o, "md", md);
    }
    char *text = bad ? NULL : json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    json_decref(o);
    if (!text)
        mdq_fail_nomem("report", 0);
    return text;
}

/* A cell that may have nothing to say. */
static const char *cell(char *buffer, size_t size, const char *format, double v)
{
    if (v < 0)
        return "-";
    snprintf(buffer, size, format, v);
    return buffer;
}

void gptq_report_table(const struct gptq_report *r, int n)
{
    int width = 5;
    for (int i = 0; i < n; i++)
        width = (int)strlen(r[i].tensor) > width ? (int)strlen(r[i].tensor) : width;
    fprintf(stderr, "%-*s  method  bits  group  output err  weight err   /bound  /expect  clipped %%  max |w-q|"
                    "     damp  tokens/input\n", width, "layer");
    for (int i = 0; i < n; i++) {
        const struct gptq_report *p = r + i;
        double bound = gptq_report_bound_ratio(p);
        char b[5][32];
        fprintf(stderr, "%-*s  %-6s  %4d  %5lld  %10s  %10.5f  %7s  %7s  %9.4f  %9.2g  %7s  %12s\n", width, p->tensor,
                p->gptq ? "gptq" : "rtn", p->bits, (long long)p->group,
                cell(b[0], sizeof b[0], "%.5f", gptq_report_output_error(p)), gptq_report_weight_error(p),
                cell(b[1], sizeof b[1], "%.4f", bound), cell(b[2], sizeof b[2], "%.4f", bound < 0 ? bound : 3 * bound),
                100 * gptq_report_clipped(p), p->outcome.max_abs,
                cell(b[3], sizeof b[3], "%.2g", p->gptq ? p->damp : -1),
                cell(b[4], sizeof b[4], "%.1f", p->has_hessian ? (double)p->tokens / (double)p->cols : -1));
    }
}

char *gptq_report_summary(const struct gptq_report *r, int n)
{
    long long met = 0, missed = 0;
    int by_gptq = 0, fell_back = 0, ragged = 0, raised = 0, worst = -1;
    double clipped = 0, weights = 0, worst_error = -1;
    for (int i = 0; i < n; i++) {
        by_gptq += r[i].gptq;
        fell_back += r[i].fallback != NULL;
        met += r[i].met;
        missed += r[i].missed;
        ragged += r[i].ragged;
        raised += r[i].gptq && r[i].tries > 1;
        clipped += (double)r[i].outcome.clipped;
        weights += (double)r[i].rows * (double)r[i].cols;
        /* by output where it is known, by weight otherwise */
        double error = gptq_report_output_error(r + i);
        error = error < 0 ? gptq_report_weight_error(r + i) : error;
        if (error > worst_error) {
            worst_error = error;
            worst = i;
        }
    }
    char extra[4][80] = {"", "", "", ""};
    if (fell_back)
        snprintf(extra[0], sizeof extra[0], " (%d fell back)", fell_back);
    if (ragged)
        snprintf(extra[1], sizeof extra[1], ", %d with whole-row groups for want of a divisor", ragged);
    if (raised)
        snprintf(extra[2], sizeof extra[2], ", damping raised in %d", raised);
    if (met + missed > 0)
        snprintf(extra[3], sizeof extra[3], "; %lld distortion constraints met, %lld missed", met, missed);
    if (worst < 0)
        return mdq_asprintf("no layers");
    return mdq_asprintf("%d layers: %d by gptq, %d by rtn%s%s%s; %.3f %% of codes clipped; worst: %s, relative %s error %.4g%s",
                        n, by_gptq, n - by_gptq, extra[0], extra[1], extra[2], 100 * clipped / weights, r[worst].tensor,
                        gptq_report_output_error(r + worst) < 0 ? "weight" : "output", worst_error, extra[3]);
}
