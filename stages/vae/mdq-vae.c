/*
 * mdq-vae: tiles in, the same with charts out: for each column block of a layer a mixture of small variational
 * autoencoders over its rows (vae_block.h), and for each row its chart, foot and normal.
 *
 * Reads a tile stream (what mdq-lle added passes through; nothing here needs it). Adds row_scale, chart, responsibilities,
 * foot and normal to each tile, the map vae to the layer record, and `chart` records before the layer's tiles. Column blocks
 * are fitted by the threads; memory: one layer's tiles and its weights in float32, and per thread about 60 bytes for each
 * weight of a column block.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq.h"
#include "mdq_blas.h"         /* mdq_blas_start */
#include "mdq_chart_record.h" /* charts to records */
#include "mdq_cli.h"
#include "mdq_layer_tiles.h"  /* records of a layer, its weights */
#include "mdq_log.h"
#include "mdq_tiling.h"
#include "vae_block.h"        /* the method */
#include "vae_report.h"

struct opts {
    struct mdq_cli cli;
    struct vae_options vae;
    struct mdq_strings inputs;
};

struct state {
    const struct opts *o;
    struct mdq_reader *in;
    struct mdq_header *head;
    struct mdq_writer *out;
    struct mdq_layer_tiles layer;
    struct vae_totals totals;
};

enum { KEY_CHARTS = 0x3001, KEY_MAX_CHARTS, KEY_DIM, KEY_MAX_DIM, KEY_VARIANCE, KEY_PARALLEL, KEY_RESTARTS, KEY_ITERATIONS,
       KEY_HIDDEN, KEY_EPOCHS, KEY_SWEEPS, KEY_TARGET, KEY_HOLDOUT };

static const struct argp_option options[] = {
    {"charts", KEY_CHARTS, "K", 0, "start with exactly K components, 1 to 16 (default: chosen from 1, 2, 4, 8, 16)", 0},
    {"max-charts", KEY_MAX_CHARTS, "K", 0, "choose among at most K components (default 16)", 0},
    {"dim", KEY_DIM, "D", 0, "dimensions of every chart, 0 to 64 (default: by parallel analysis)", 0},
    {"max-dim", KEY_MAX_DIM, "D", 0, "at most D dimensions (default 64)", 0},
    {"variance", KEY_VARIANCE, "V", 0, "at most as many dimensions as take this share of the variance (default 0.95)", 0},
    {"parallel", KEY_PARALLEL, "P", 0, "permuted copies for parallel analysis (default 3)", 0},
    {"restarts", KEY_RESTARTS, "N", 0, "starts tried for each number of components (default 4)", 0},
    {"iterations", KEY_ITERATIONS, "N", 0, "EM iterations of a run, at most (default 40)", 0},
    {"hidden", KEY_HIDDEN, "H", 0, "hidden units of encoder and decoder, 2 to 256 (default 24)", 0},
    {"epochs", KEY_EPOCHS, "N", 0, "epochs of a sweep; 0: linear charts (default 24)", 0},
    {"sweeps", KEY_SWEEPS, "N", 0, "optimisations after the first, 0 to 3 (default 3)", 0},
    {"target", KEY_TARGET, "E", 0, "squared error per entry above which a chart is optimised again (default 0.001)", 0},
    {"holdout", KEY_HOLDOUT, "S", 0, "share of the rows held out, where there are 64 (default 0.125)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    struct vae_options *v = &o->vae;
    switch (key) {
    case KEY_CHARTS: v->select.charts = (int)mdq_arg_int(state, "--charts", arg, 1, VAE_MAX_CHARTS); break;
    case KEY_MAX_CHARTS: v->select.max_charts = (int)mdq_arg_int(state, "--max-charts", arg, 1, VAE_MAX_CHARTS); break;
    case KEY_DIM: v->select.dims.fixed = mdq_arg_int(state, "--dim", arg, 0, MDQ_CHART_MAX_DIM); break;
    case KEY_MAX_DIM: v->select.dims.cap = mdq_arg_int(state, "--max-dim", arg, 0, MDQ_CHART_MAX_DIM); break;
    case KEY_VARIANCE: v->select.dims.variance = mdq_arg_double(state, "--variance", arg, 0, 1); break;
    case KEY_PARALLEL: v->select.dims.permutations = (int)mdq_arg_int(state, "--parallel", arg, 1, 100); break;
    case KEY_RESTARTS: v->select.restarts = (int)mdq_arg_int(state, "--restarts", arg, 1, 100); break;
    case KEY_ITERATIONS: v->select.iterations = (int)mdq_arg_int(state, "--iterations", arg, 1, 10000); break;
    case KEY_HIDDEN: v->train.hidden = (int)mdq_arg_int(state, "--hidden", arg, 2, MDQ_CHART_MAX_HIDDEN); break;
    case KEY_EPOCHS: v->train.epochs = (int)mdq_arg_int(state, "--epochs", arg, 0, 100000); break;
    case KEY_SWEEPS: v->sweeps = (int)mdq_arg_int(state, "--sweeps", arg, 0, VAE_MAX_SWEEPS - 1); break;
    case KEY_TARGET: v->target = mdq_arg_double(state, "--target", arg, 0, 1e9); break;
    case KEY_HOLDOUT: v->holdout = mdq_arg_double(state, "--holdout", arg, 0, 0.5); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static char *provenance(const struct opts *o)
{
    const struct vae_options *v = &o->vae;
    return mdq_asprintf("{\"charts\":%d,\"dim\":%lld,\"epochs\":%d,\"hidden\":%d,\"holdout\":%.17g,\"iterations\":%d,"
                        "\"max_charts\":%d,\"max_dim\":%lld,\"parallel\":%d,\"restarts\":%d,\"seed\":%llu,\"sweeps\":%d,"
                        "\"target\":%.17g,\"variance\":%.17g}",
                        v->select.charts, (long long)v->select.dims.fixed, v->train.epochs, v->train.hidden, v->holdout,
                        v->select.iterations, v->select.max_charts, (long long)v->select.dims.cap, v->select.dims.permutations,
                        v->select.restarts, (unsigned long long)o->cli.seed, v->sweeps, v->target, v->select.dims.variance);
}

static enum mdq_err init(struct state *s)
{
    const struct opts *o = s->o;
    double weights = 0;
    MDQ_TRY(mdq_reader_open(&s->in, o->inputs.v, o->inputs.n, NULL));
    const struct mdq_header *h = mdq_reader_header(s->in);
    if (!mdq_header_has_kind(h, "tile"))
        return mdq_fail(MDQ_E_DATA, "input: holds no tiles: mdq-vae reads what mdq-tile and mdq-lle write");
    if (mdq_header_has_kind(h, "chart"))
        return mdq_fail(MDQ_E_DATA, "input: has charts already");
    char *args = provenance(o);
    enum mdq_err err = args ? mdq_header_derive(&s->head, h, o->cli.no_pg ? NULL : "mdq-vae", args) : MDQ_E_INTERNAL;
    free(args);
    MDQ_TRY(err);
    MDQ_TRY(mdq_header_add_kind(s->head, "chart"));
    for (int i = 0; i < mdq_header_layers(h); i++)
        weights += (double)mdq_header_layer(h, i)->rows * (double)mdq_header_layer(h, i)->cols;
    struct mdq_writer_options w = {.level = o->cli.level, .thin = o->cli.thin};
    MDQ_TRY(mdq_writer_open(&s->out, o->cli.output, s->head, &w));
    mdq_progress_start("charts", weights / 1e6, "M weights");
    return MDQ_OK;
}

/* One column block: rows put together, divided by their tile's scale, and fitted. scales [tile_rows]. */
static enum mdq_err fit_block(const struct state *s, int64_t j, struct vae_block *b, double *scales)
{
    const struct mdq_layer_entry *e = &s->layer.entry;
    const int64_t col = mdq_tiling_first(e->cols, e->tile_cols, j), D = mdq_tiling_length(e->cols, e->tile_cols, j);
    float *x = mdq_alloc_aligned((size_t)(e->rows * D), sizeof *x, "rows of a column block");
    if (!x)
        return MDQ_E_INTERNAL;
    for (int64_t i = 0; i < e->tile_rows; i++) {
        const int64_t row = mdq_tiling_first(e->rows, e->tile_rows, i), rows = mdq_tiling_length(e->rows, e->tile_rows, i);
        double sum = 0;
        for (int64_t r = row; r < row + rows; r++)
            for (int64_t c = 0; c < D; c++)
                sum += (double)s->layer.w[r * e->cols + col + c] * s->layer.w[r * e->cols + col + c];
        scales[i] = sum > 0 ? sqrt(sum / (double)(rows * D)) : 1;
        for (int64_t r = row; r < row + rows; r++)
            for (int64_t c = 0; c < D; c++)
                x[r * D + c] = (float)(s->layer.w[r * e->cols + col + c] / scales[i]);
    }
    struct vae_options o = s->o->vae;
    o.seed = s->o->cli.seed;
    enum mdq_err err = vae_block_fit(b, e->rows, D, x, &o, e->tensor, j);
    free(x);
    return err;
}

static enum mdq_err put_charts(struct state *s, const struct vae_block *blocks)
{
    const struct mdq_layer_entry *e = &s->layer.entry;
    for (int64_t j = 0; j < e->tile_cols; j++)
        for (int c = 0; c < blocks[j].k; c++) {
            struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = e->tensor, .kind = "chart", .row = c, .col = j});
            char *fit = vae_report_chart(&blocks[j], c);
            enum mdq_err err = rec && fit ? mdq_chart_to_record(&blocks[j].chart[c], rec) : MDQ_E_INTERNAL;
            if (err == MDQ_OK)
                err = mdq_record_set_json(rec, "fit", fit);
            if (err == MDQ_OK)
                err = mdq_writer_put(s->out, rec);
            free(fit);
            mdq_record_free(&rec);
            MDQ_TRY(err);
        }
    return MDQ_OK;
}

static enum mdq_err set_rows(struct mdq_record *rec, const char *key, enum mdq_dtype t, int64_t rows, int64_t width, const void *data)
{
    struct mdq_array a = {.dtype = t, .ndim = width < 0 ? 1 : 2, .shape = {rows, width < 0 ? 0 : width}, .data = data};
    a.bytes = mdq_dtype_bytes(t, width < 0 ? rows : rows * width);
    return mdq_record_set_array(rec, key, &a);
}

static enum mdq_err mark_tile(struct state *s, struct mdq_record *rec, const struct vae_block *b, double scale)
{
    const struct mdq_layer_entry *e = &s->layer.entry;
    struct mdq_tile_place p;
    if (!mdq_tile_place(e, mdq_record_id(rec), &p))
        return mdq_fail(MDQ_E_INTERNAL, "%s: a tile outside of the table", e->tensor);
    float *normal = mdq_alloc((size_t)p.rows, sizeof *normal, "normals");
    if (!normal)
        return MDQ_E_INTERNAL;
    for (int64_t r = 0; r < p.rows; r++)
        normal[r] = (float)(b->normal[p.row + r] * scale);
    enum mdq_err err;
    MDQ_GOTO(err, mdq_record_set_f64(rec, "row_scale", scale), done);
    MDQ_GOTO(err, set_rows(rec, "chart", MDQ_U8, p.rows, -1, b->chart_of + p.row), done);
    MDQ_GOTO(err, set_rows(rec, "responsibilities", MDQ_F32, p.rows, b->k, b->resp + p.row * b->k), done);
    MDQ_GOTO(err, set_rows(rec, "foot", MDQ_F64, p.rows, b->most, b->foot + p.row * b->most), done);
    err = set_rows(rec, "normal", MDQ_F32, p.rows, -1, normal);
done:
    free(normal);
    return err;
}

static enum mdq_err put_layer(struct state *s, const struct vae_block *blocks, const double *scales)
{
    const struct mdq_layer_entry *e = &s->layer.entry;
    bool charts = false;
    for (int i = 0; i < s->layer.n; i++) {
        struct mdq_record *rec = s->layer.held[i];
        struct mdq_id id = mdq_record_id(rec);
        bool tile = strcmp(id.kind, "tile") == 0;
        if (tile && !charts) {
            MDQ_TRY(put_charts(s, blocks));
            charts = true;
        }
        if (tile) {
            MDQ_TRY(mark_tile(s, rec, &blocks[id.col], scales[id.col * e->tile_rows + id.row]));
        } else if (strcmp(id.kind, "layer") == 0) {
            char *report = vae_report_layer(blocks, e->tile_cols);
            enum mdq_err err = report ? mdq_record_set_json(rec, "vae", report) : MDQ_E_INTERNAL;
            free(report);
            MDQ_TRY(err);
        }
        MDQ_TRY(mdq_writer_put(s->out, rec));
    }
    return MDQ_OK;
}

static enum mdq_err flush(struct state *s)
{
    struct mdq_layer_tiles *l = &s->layer;
    const struct mdq_layer_entry *e = &l->entry;
    if (l->n == 0)
        return MDQ_OK;
    mdq_progress_note("%s", e->tensor);
    MDQ_TRY(mdq_layer_tiles_assemble(l));
    struct vae_block *blocks = mdq_calloc((size_t)e->tile_cols, sizeof *blocks, "charts");
    double *scales = mdq_alloc((size_t)(e->tile_rows * e->tile_cols), sizeof *scales, "scales");
    enum mdq_err err = blocks && scales ? MDQ_OK : MDQ_E_INTERNAL;
    char *message = NULL;
    if (err == MDQ_OK) {
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t j = 0; j < e->tile_cols; j++) {
            enum mdq_err one = fit_block(s, j, &blocks[j], scales + j * e->tile_rows);
#pragma omp critical
            if (one != MDQ_OK && err == MDQ_OK) {
                err = one;
                message = mdq_strdup(mdq_error_message());
            }
            mdq_progress_add((double)e->rows * (double)mdq_tiling_length(e->cols, e->tile_cols, j) / 1e6);
        }
        if (err != MDQ_OK) {
            mdq_error_set(err, message ? message : "out of memory");
            mdq_fail_in(err, "%s", e->tensor);
        }
    }
    if (err == MDQ_OK)
        err = put_layer(s, blocks, scales);
    for (int64_t j = 0; blocks && j < e->tile_cols; j++) {
        if (err == MDQ_OK)
            vae_totals_add(&s->totals, &blocks[j]);
        vae_block_free(&blocks[j]);
    }
    free(message);
    free(blocks);
    free(scales);
    mdq_layer_tiles_clear(l);
    return err;
}

static enum mdq_err process(struct state *s, struct mdq_record *rec)
{
    const struct mdq_header *h = mdq_reader_header(s->in);
    const char *tensor = mdq_record_id(rec).tensor;
    if (s->layer.n > 0 && strcmp(s->layer.entry.tensor, tensor) != 0)
        MDQ_TRY(flush(s));
    int at = mdq_header_find_layer(h, tensor);
    if (at < 0) /* of no layer: not ours */
        return mdq_writer_put(s->out, rec);
    s->layer.entry = *mdq_header_layer(h, at);
    return mdq_layer_tiles_hold(&s->layer, rec);
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
    MDQ_GOTO(err, flush(&s), done);
    mdq_progress_end();
    MDQ_GOTO(err, mdq_writer_finish(&s.out), done);
    char *summary = vae_totals_text(&s.totals);
    if (summary)
        mdq_log(MDQ_LOG_NOTE, "%s", summary);
    free(summary);
done:
    mdq_progress_end();
    mdq_writer_abort(&s.out);
    mdq_layer_tiles_free(&s.layer);
    mdq_header_free(&s.head);
    mdq_reader_close(&s.in);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-vae",
    .args = "[STREAM...]",
    .doc = "Find the charts that the rows of a layer lie on.\v"
           "Reads tiles; adds charts, and to each row its chart, foot and normal.\n\n"
           "Example: mdq-tile MODEL | mdq-lle | mdq-vae -o charts.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.vae = {.select = {.max_charts = VAE_MAX_CHARTS, .restarts = 4, .iterations = 40,
                                        .dims = {.fixed = -1, .cap = MDQ_CHART_MAX_DIM, .variance = 0.95, .permutations = 3}},
                             .train = {.hidden = 24, .epochs = 24},
                             .sweeps = 3, .target = 1e-3, .holdout = 0.125, .foot_steps = 10}};
    int code = mdq_main(&program, argc, argv, &o.cli, &o, run);
    mdq_strings_free(&o.inputs);
    return code;
}
