/*
 * mdq-gptq: tiles and statistics in, the same tiles with codes out.
 *
 * Reads a tile stream (layer records, each before its tiles) and, from --stats, the Hessians of the layers' inputs in
 * the same order. Adds qbits, qgroup, qsym, qmethod, qorder, scales, zeros and qreport to each layer record, codes, md and
 * md_status to each tile; every other key and record passes. Charts, neighbours and labels are used where they are there.
 *
 * GPTQ as Babai's nearest plane (gptq_core.h) or plain rounding (quant_grid.h), then the constraints of labelled points
 * (gptq_constrain.h). Per layer of r x c: c^3/3 + 2 r c^2 operations, half of the second term for the report; memory: one
 * layer's tiles, its weights in float32 with a byte of code each, H and its factor; twice the rows under constraint.
 */
#include <stdlib.h>
#include <string.h>

#include "gptq_core.h"    /* gptq_factor_make, gptq_quantize, gptq_output_error */
#include "mdq_hessians.h" /* mdq_hessians_find */
#include "gptq_layer.h"   /* gptq_layer_assemble, gptq_layer_store */
#include "gptq_md.h"      /* distortion and its constraints */
#include "gptq_report.h"  /* gptq_report_json */
#include "mdq.h"          /* reader, writer */
#include "mdq_blas.h"     /* mdq_blas_start */
#include "mdq_cli.h"      /* mdq_main */
#include "mdq_log.h"      /* mdq_log, progress */
#include "mdq_output.h"   /* mdq_output_open, for the report */

enum { BY_GPTQ, BY_RTN };
enum { ON_FAIL_ERROR, ON_FAIL_RTN };
enum { RAGGED_ERROR, RAGGED_ROW };

static const char *const methods[] = {"gptq", "rtn", NULL};
static const char *const orders[] = {"act", "natural", NULL};
static const char *const raggeds[] = {"error", "row", NULL};
static const char *const fallbacks[] = {"error", "rtn", NULL};
static const char *const switches[] = {"off", "on", NULL};
static const char *const precisions[] = {"float", "double", NULL};
static const char *const scale_names[] = {"f16", "bf16", "f32", "f64", NULL};
static const enum mdq_dtype scale_types[] = {MDQ_F16, MDQ_BF16, MDQ_F32, MDQ_F64};

struct opts {
    struct mdq_cli cli;
    int bits, method, order, ragged, fallback, precision, scale, constraints, restarts;
    int64_t group; /* 0: the whole row, -1: not given */
    bool sym;
    double damp;
    const char *stats, *report;
    struct mdq_strings inputs;
};

struct state {
    const struct opts *o;
    struct mdq_reader *in;
    struct mdq_header *head;
    struct mdq_writer *out;
    struct mdq_output *report;
    struct mdq_hessians *stats;
    struct gptq_factor factor; /* of the Hessian that is loaded; n = 0: none yet */
    struct gptq_layer layer;
    struct gptq_report *reports; /* one per layer done */
    int done, capacity;
};

enum { KEY_METHOD = 0x2001, KEY_STATS, KEY_ORDER, KEY_DAMP, KEY_SCALE, KEY_PRECISION, KEY_FALLBACK, KEY_RAGGED, KEY_REPORT,
       KEY_SYM, KEY_CONSTRAINTS, KEY_RESTARTS };

static const struct argp_option options[] = {
    {"bits", 'b', "B", 0, "bits of a code: 2, 3, 4 or 8", 0},
    {"group", 'g', "G", 0, "columns that share a scale: 16 to 1024, or row", 0},
    {"sym", KEY_SYM, 0, 0, "symmetric: the zero point is 2^(B-1) (default: asymmetric, a zero point per group)", 0},
    {"method", KEY_METHOD, "M", 0, "gptq (default; needs --stats) or rtn (plain rounding)", 0},
    {"stats", KEY_STATS, "FILE", 0, "statistics stream with the Hessians, from mdq-calib", 0},
    {"order", KEY_ORDER, "O", 0, "act (default): columns with the largest inputs are rounded first; or natural", 0},
    {"damp", KEY_DAMP, "D", 0, "added to the diagonal of H, as a part of its mean (default 0.01); raised tenfold, up to 1, "
                               "while H is not positive definite", 0},
    {"scale", KEY_SCALE, "T", 0, "type of the scales: f16 (default), bf16, f32, f64", 0},
    {"precision", KEY_PRECISION, "P", 0, "arithmetic of gptq: float (default) or double", 0},
    {"ragged", KEY_RAGGED, "R", 0, "a group that does not divide the row: error (default), or row: whole-row groups there", 0},
    {"fallback", KEY_FALLBACK, "F", 0, "a layer that gptq cannot do: error (default), or rtn: round it, with a warning", 0},
    {"md-constraints", KEY_CONSTRAINTS, "C", 0, "on (default): labelled points meet their md_target; off: only measured", 0},
    {"restarts", KEY_RESTARTS, "N", 0, "random starts for a functional point that still misses (default 20)", 0},
    {"report", KEY_REPORT, "FILE", 0, "write the report of each layer to FILE, one line of JSON each", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case 'b':
        o->bits = (int)mdq_arg_int(state, "--bits", arg, 2, 8);
        if (o->bits != 2 && o->bits != 3 && o->bits != 4 && o->bits != 8)
            argp_error(state, "--bits: '%s' is none of 2, 3, 4, 8", arg);
        break;
    case 'g': o->group = strcmp(arg, "row") == 0 ? 0 : mdq_arg_int(state, "--group", arg, 16, 1024); break;
    case KEY_SYM: o->sym = true; break;
    case KEY_METHOD: o->method = mdq_arg_choice(state, "--method", arg, methods); break;
    case KEY_STATS: o->stats = arg; break;
    case KEY_ORDER: o->order = mdq_arg_choice(state, "--order", arg, orders); break;
    case KEY_DAMP: o->damp = mdq_arg_double(state, "--damp", arg, 0, GPTQ_MAX_DAMP); break;
    case KEY_SCALE: o->scale = mdq_arg_choice(state, "--scale", arg, scale_names); break;
    case KEY_PRECISION: o->precision = mdq_arg_choice(state, "--precision", arg, precisions); break;
    case KEY_RAGGED: o->ragged = mdq_arg_choice(state, "--ragged", arg, raggeds); break;
    case KEY_FALLBACK: o->fallback = mdq_arg_choice(state, "--fallback", arg, fallbacks); break;
    case KEY_REPORT: o->report = arg; break;
    case KEY_CONSTRAINTS: o->constraints = mdq_arg_choice(state, "--md-constraints", arg, switches); break;
    case KEY_RESTARTS: o->restarts = (int)mdq_arg_int(state, "--restarts", arg, 0, 100000); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    case ARGP_KEY_END:
        if (o->bits == 0)
            argp_error(state, "--bits is needed");
        if (o->group < 0)
            argp_error(state, "--group is needed");
        if (o->method == BY_GPTQ && !o->stats)
            argp_error(state, "--method gptq needs --stats (or take --method rtn)");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The arguments that change results, keys sorted. Those that only gptq looks at are left out for rtn. */
static char *provenance(const struct opts *o)
{
    char *group = o->group ? mdq_asprintf("%lld", (long long)o->group) : mdq_strdup("\"row\"");
    if (!group)
        return NULL;
    char *text = o->method == BY_RTN
        ? mdq_asprintf("{\"bits\":%d,\"group\":%s,\"md_constraints\":\"%s\",\"method\":\"rtn\",\"ragged\":\"%s\","
                       "\"restarts\":%d,\"scale\":\"%s\",\"seed\":%llu,\"sym\":%s}",
                       o->bits, group, switches[o->constraints], raggeds[o->ragged], o->restarts, scale_names[o->scale],
                       (unsigned long long)o->cli.seed, o->sym ? "true" : "false")
        : mdq_asprintf("{\"bits\":%d,\"damp\":%.17g,\"fallback\":\"%s\",\"group\":%s,\"md_constraints\":\"%s\",\"method\":\"gptq\","
                       "\"order\":\"%s\",\"precision\":\"%s\",\"ragged\":\"%s\",\"restarts\":%d,\"scale\":\"%s\",\"seed\":%llu,\"sym\":%s}",
                       o->bits, o->damp, fallbacks[o->fallback], group, switches[o->constraints], orders[o->order],
                       precisions[o->precision], raggeds[o->ragged], o->restarts, scale_names[o->scale],
                       (unsigned long long)o->cli.seed, o->sym ? "true" : "false");
    free(group);
    return text;
}

/* Groups are checked for all layers before any work is done. */
static enum mdq_err check_groups(const struct mdq_header *h, const struct opts *o)
{
    for (int i = 0; o->group > 0 && o->ragged == RAGGED_ERROR && i < mdq_header_layers(h); i++) {
        const struct mdq_layer_entry *e = mdq_header_layer(h, i);
        if (e->cols % o->group != 0)
            return mdq_fail(MDQ_E_DATA,
                            "%s: %lld columns are not divided by groups of %lld: take another --group, or --ragged row "
                            "for whole-row groups there",
                            e->tensor, (long long)e->cols, (long long)o->group);
    }
    return MDQ_OK;
}

static enum mdq_err derive_header(struct state *s, const struct mdq_header *h)
{
    const struct opts *o = s->o;
    if (o->cli.no_pg)
        return mdq_header_derive(&s->head, h, NULL, NULL);
    char *args = provenance(o);
    if (!args)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_header_derive(&s->head, h, s->stats ? NULL : "mdq-gptq", args);
    if (err == MDQ_OK && s->stats)
        err = mdq_header_add_provenance(s->head, mdq_hessians_header(s->stats), "mdq-gptq", args);
    free(args);
    return err;
}

static enum mdq_err init(struct state *s)
{
    const struct opts *o = s->o;
    double weights = 0;
    MDQ_TRY(mdq_reader_open(&s->in, o->inputs.v, o->inputs.n, NULL));
    const struct mdq_header *h = mdq_reader_header(s->in);
    if (!mdq_header_has_kind(h, "tile"))
        return mdq_fail(MDQ_E_DATA, "input: holds no tiles: mdq-gptq reads what mdq-tile writes");
    MDQ_TRY(check_groups(h, o));
    if (o->stats)
        MDQ_TRY(mdq_hessians_open(&s->stats, o->stats, h));
    MDQ_TRY(derive_header(s, h));
    for (int i = 0; i < mdq_header_layers(h); i++)
        weights += (double)mdq_header_layer(h, i)->rows * (double)mdq_header_layer(h, i)->cols;
    if (o->report)
        MDQ_TRY(mdq_output_open(&s->report, o->report, false));
    struct mdq_writer_options w = {.level = o->cli.level, .thin = o->cli.thin};
    MDQ_TRY(mdq_writer_open(&s->out, o->cli.output, s->head, &w));
    mdq_progress_start("quantizing", weights / 1e6, "M weights");
    return MDQ_OK;
}

/* Rounds a layer that GPTQ cannot do, or fails with the reason that is this thread's message. */
static enum mdq_err give_up(const struct state *s, enum mdq_err err, struct gptq_report *r, const char *why)
{
    if (err != MDQ_E_DATA || s->o->fallback == ON_FAIL_ERROR)
        return mdq_fail_in(err, "%s", r->tensor);
    mdq_log(MDQ_LOG_WARNING, "%s: %s: falls back to rounding", r->tensor, mdq_error_message());
    r->fallback = why;
    return MDQ_OK;
}

/* The factor for the Hessian at hand; r->gptq tells whether there is one. */
static enum mdq_err prepare_factor(struct state *s, const struct mdq_hessian *h, bool fresh, struct gptq_report *r)
{
    struct gptq_factor *f = &s->factor;
    struct gptq_options how = {.order = (enum gptq_order)s->o->order, .damp = s->o->damp, .exact = s->o->precision == 1};
    enum mdq_err err = MDQ_OK;
    if (fresh || f->n == 0 || !f->l) {
        gptq_factor_free(f);
        err = gptq_factor_make(f, h->n, h->h, &how);
    }
    r->damp = f->damp;
    r->tries = f->tries;
    memcpy(r->tried, f->tried, sizeof r->tried);
    if (err != MDQ_OK)
        return give_up(s, err, r, f->dead == f->n ? "no input in calibration" : "Hessian not finite");
    if (f->failed)
        return give_up(s, mdq_fail(MDQ_E_DATA, "Hessian: not positive definite, even with %g of its mean diagonal added",
                                   f->damp), r, "Hessian not positive definite");
    if (f->tries > 1 && fresh)
        mdq_log(MDQ_LOG_WARNING, "%s: Hessian not positive definite with damping %g: raised to %g", r->tensor,
                f->tried[0], f->damp);
    r->gptq = true;
    return MDQ_OK;
}

/* Distortion of what was rounded; where points are labelled and it is wanted, rounding that meets their targets. */
static enum mdq_err obey(struct state *s, struct quant_grid *g, const struct mdq_hessian *h, struct gptq_report *r)
{
    const struct opts *o = s->o;
    const struct gptq_constraints how = {.restarts = o->restarts, .seed = o->cli.seed, .tensor = r->tensor};
    struct gptq_md m;
    enum mdq_err err = gptq_md_layer(&m, &s->layer, g, h ? h->h : NULL, r->gptq ? &s->factor : NULL,
                                     o->constraints && h ? &how : NULL, &r->outcome, &r->ehe);
    if (err == MDQ_OK && o->constraints && !h && m.geometry.labelled)
        err = mdq_fail(MDQ_E_DATA, "%s: has labels: their constraints need --stats (or --md-constraints off)", r->tensor);
    if (err == MDQ_OK)
        err = gptq_md_store(&m, &s->layer);
    if (err == MDQ_OK && !(r->md = gptq_md_json(&m)))
        err = MDQ_E_INTERNAL;
    r->met = m.met;
    r->missed = m.missed;
    gptq_md_free(&m);
    return err;
}

static enum mdq_err quantize(struct state *s, struct quant_grid *g, struct gptq_report *r)
{
    const struct opts *o = s->o;
    struct gptq_layer *l = &s->layer;
    const struct mdq_hessian *h = NULL;
    bool fresh = false;
    struct quant_spec spec = {.bits = o->bits, .group = r->ragged ? 0 : o->group, .symmetric = o->sym,
                              .scale = scale_types[o->scale]};
    enum mdq_err err = quant_grid_fit(g, l->target, l->tiles.entry.rows, l->tiles.entry.cols, &spec);
    if (err != MDQ_OK)
        return mdq_fail_in(err, "%s", r->tensor);
    r->group = g->group;
    r->bumped = g->bumped;
    if (g->bumped)
        mdq_log(MDQ_LOG_WARNING, "%s: %lld scales are too small for %s and took its smallest value", r->tensor,
                (long long)g->bumped, scale_names[o->scale]);
    if (s->stats) {
        if (!mdq_hessians_covers(s->stats, r->tensor))
            gptq_factor_free(&s->factor); /* before the next H needs the room */
        MDQ_TRY(mdq_hessians_find(s->stats, &l->tiles.entry, &h, &fresh));
        r->has_hessian = true;
        r->tokens = h->count;
        for (int64_t i = 0; i < h->n; i++)
            r->dead += h->h[i * h->n + i] == 0;
    }
    if (o->method == BY_GPTQ)
        MDQ_TRY(prepare_factor(s, h, fresh, r));
    MDQ_TRY(r->gptq ? gptq_quantize(l->target, g, &s->factor, l->codes, &r->outcome)
                    : quant_rtn(l->target, g, l->codes, &r->outcome));
    if (h) {
        MDQ_TRY(gptq_output_norm(l->target, g, NULL, h->h, o->precision == 1, &r->whw));
        if (r->gptq)
            r->ehe = gptq_output_error(&s->factor, &r->outcome);
        else
            MDQ_TRY(gptq_output_norm(l->target, g, l->codes, h->h, o->precision == 1, &r->ehe));
    }
    return obey(s, g, h, r);
}

static enum mdq_err new_report(struct state *s, struct gptq_report **r)
{
    if (s->done == s->capacity) {
        int more = s->capacity ? 2 * s->capacity : 64;
        struct gptq_report *v = mdq_realloc(s->reports, (size_t)more, sizeof *v, "reports");
        if (!v)
            return MDQ_E_INTERNAL;
        s->reports = v;
        s->capacity = more;
    }
    const struct mdq_layer_entry *e = &s->layer.tiles.entry;
    *r = s->reports + s->done;
    **r = (struct gptq_report){.tensor = mdq_strdup(e->tensor), .rows = e->rows, .cols = e->cols, .bits = s->o->bits,
                               .ragged = s->o->group > 0 && e->cols % s->o->group != 0};
    if (!(*r)->tensor)
        return MDQ_E_INTERNAL;
    s->done++;
    return MDQ_OK;
}

/* The layer whose records are held: quantized, written, forgotten. */
static enum mdq_err flush(struct state *s)
{
    struct gptq_layer *l = &s->layer;
    struct gptq_report *r;
    struct quant_grid g = {0};
    char *inner = NULL, *line = NULL;
    if (l->tiles.n == 0)
        return MDQ_OK;
    MDQ_TRY(new_report(s, &r));
    mdq_progress_note("%s", r->tensor);
    enum mdq_err err = gptq_layer_assemble(l);
    if (err == MDQ_OK)
        err = quantize(s, &g, r);
    if (err != MDQ_OK)
        goto done;
    err = MDQ_E_INTERNAL;
    if (!(inner = gptq_report_json(r, false)) || !(line = gptq_report_json(r, true)))
        goto done;
    MDQ_GOTO(err, gptq_layer_store(l, &g, r->gptq ? "gptq" : "rtn", r->gptq ? orders[s->o->order] : "natural", inner), done);
    for (int i = 0; i < l->tiles.n; i++)
        MDQ_GOTO(err, mdq_writer_put(s->out, l->tiles.held[i]), done);
    if (s->report) {
        MDQ_GOTO(err, mdq_output_write(s->report, line, strlen(line)), done);
        MDQ_GOTO(err, mdq_output_write(s->report, "\n", 1), done);
    }
    mdq_progress_add((double)r->rows * (double)r->cols / 1e6);
done:
    json_decref(r->md);
    r->md = NULL;
    free(inner);
    free(line);
    quant_grid_free(&g);
    gptq_layer_clear(l);
    return err;
}

static enum mdq_err process(struct state *s, struct mdq_record *rec)
{
    const struct mdq_header *h = mdq_reader_header(s->in);
    const char *tensor = mdq_record_id(rec).tensor;
    if (s->layer.tiles.n > 0 && strcmp(s->layer.tiles.entry.tensor, tensor) != 0)
        MDQ_TRY(flush(s));
    int at = mdq_header_find_layer(h, tensor);
    if (at < 0) /* of no layer: not ours */
        return mdq_writer_put(s->out, rec);
    s->layer.tiles.entry = *mdq_header_layer(h, at);
    return mdq_layer_tiles_hold(&s->layer.tiles, rec);
}

static enum mdq_err finish(struct state *s)
{
    MDQ_TRY(flush(s));
    mdq_progress_end();
    if (s->stats)
        MDQ_TRY(mdq_hessians_drain(s->stats));
    if (s->report)
        MDQ_TRY(mdq_output_commit(&s->report));
    MDQ_TRY(mdq_writer_finish(&s->out));
    if (mdq_log_on(MDQ_LOG_INFO))
        gptq_report_table(s->reports, s->done);
    char *summary = gptq_report_summary(s->reports, s->done);
    if (summary)
        mdq_log(MDQ_LOG_NOTE, "%s", summary);
    free(summary);
    return MDQ_OK;
}

static enum mdq_err run(void *opts)
{
    struct state s = {.o = opts};
    struct mdq_record *rec;
    enum mdq_err err;
    MDQ_GOTO(err, init(&s), done);
    for (;;) {
        MDQ_GOTO(err, mdq_reader_next(s.in, &rec), done);
        if (!rec)
            break;
        MDQ_GOTO(err, process(&s, rec), done);
    }
    err = finish(&s);
done:
    mdq_progress_end();
    mdq_writer_abort(&s.out);
    mdq_output_abort(&s.report);
    for (int i = 0; i < s.done; i++)
        free(s.reports[i].tensor);
    free(s.reports);
    gptq_layer_free(&s.layer);
    gptq_factor_free(&s.factor);
    mdq_hessians_close(&s.stats);
    mdq_header_free(&s.head);
    mdq_reader_close(&s.in);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-gptq",
    .args = "[STREAM...]",
    .doc = "Round the weights of a tile stream to few bits, by GPTQ or plainly.\v"
           "Reads the STREAMs that mdq-tile made (standard input when none is named), adds codes to each tile and scales, "
           "zero points and a report to each layer.\n\n"
           "  mdq-tile MODEL | mdq-gptq --bits 4 --group 128 --sym --stats h.mdq -o q.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.group = -1, .damp = 0.01, .constraints = 1, .restarts = 20};
    int code = mdq_main(&program, argc, argv, &o.cli, &o, run);
    mdq_strings_free(&o.inputs);
    return code;
}
