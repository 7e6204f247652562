/*
 * mdq-score: which points carry what a model can do, and which what it memorised (design 1.3). Reads the tiles of a whole model (with
 * the geometry of mdq-lle and mdq-vae where it is there) and the statistics of mdq-calib, ranks all points, and probes the model
 * itself with points moved. Adds reasons, ranks, scores, label, md_target and shift to every tile; writes a record for every probe.
 *
 * One pass over the streams, layer by layer. Memory: a layer with its Hessian and gradients, 110 bytes a point, the texts' activations
 * that are kept for probes (--memory), all blocks when they fit into the same, and a float for every weight for the protective shifts
 * (a temporary file above 1 GiB). With --thin inputs are read once; otherwise they are read a second time and have to be files.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mdq.h"
#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_layers.h"
#include "mdq_log.h"
#include "mdq_output.h"
#include "score_input.h"
#include "score_options.h"
#include "score_records.h"
#include "score_report.h"
#include "score_stats.h"

struct state {
    const struct opts *o;
    struct mdq_model *model;
    struct mdq_reader *in;
    struct score_stats *stats;
    struct mdq_header *head;
    const struct mdq_layer_entry **layer; /* [layers] */
    int layers;
    struct score_case points;
    struct score_texts texts;
    struct score_prober *prober;
    struct score_search search;
    struct score_labels labels;
    struct mdq_writer *out;
    struct mdq_output *report;
};

/* ---- first pass: what the statistics say ---- */

static enum mdq_err score_one(struct state *s, int i, struct mdq_layer_tiles *tiles)
{
    const struct mdq_layer_entry *e = s->layer[i];
    const struct mdq_hessian *h;
    const struct score_gradient *g;
    struct mdq_points points = {0};
    enum mdq_err err = mdq_layer_tiles_assemble(tiles);
    if (err == MDQ_OK)
        err = mdq_points_read(&points, tiles);
    if (err == MDQ_OK)
        err = score_stats_layer(s->stats, e, &h, &g);
    if (err == MDQ_OK) {
        const struct score_layer l = {.points = &points, .w = tiles->w, .h = h->h, .count = h->count, .contrast = g->contrast,
                                      .fisher = g->fisher, .dot = g->dot, .output = g->output};
        const struct score_options how = {.deviations = s->o->deviations, .md = s->o->t.md_sensitive};
        err = score_layer(&l, &how, s->points.p + s->points.first_point[i], (float *)s->points.shift.p + s->points.first_weight[i]);
    }
    mdq_points_free(&points);
    mdq_layer_tiles_clear(tiles);
    return err;
}

static enum mdq_err read_layers(struct state *s)
{
    struct mdq_layer_tiles tiles = {0};
    struct mdq_record *rec;
    const struct mdq_header *h = mdq_reader_header(s->in);
    int at = -1;
    enum mdq_err err;
    mdq_progress_start("statistics", (double)s->points.first_weight[s->layers] / 1e6, "M weights");
    do {
        MDQ_GOTO(err, mdq_reader_next(s->in, &rec), out);
        int of = rec ? mdq_header_find_layer(h, mdq_record_id(rec).tensor) : -2;
        if (of == -1) {
            err = mdq_fail(MDQ_E_DATA, "record of %s: not in the header's table of layers", mdq_record_id(rec).tensor);
            goto out;
        }
        if (of != at && at >= 0) {
            MDQ_GOTO(err, score_one(s, at, &tiles), out);
            mdq_progress_add((double)(s->points.first_weight[at + 1] - s->points.first_weight[at]) / 1e6);
        }
        if (rec && of != at + 1 && of != at) {
            err = mdq_fail(MDQ_E_DATA, "%s: its tiles are missing", s->layer[at + 1]->tensor);
            goto out;
        }
        if (rec && of != at) {
            tiles.entry = *s->layer[of];
            at = of;
        }
        if (rec)
            MDQ_GOTO(err, mdq_layer_tiles_hold(&tiles, rec), out);
    } while (rec);
    if (at + 1 < s->layers) {
        err = mdq_fail(MDQ_E_DATA, "%s: its tiles are missing", s->layer[at + 1]->tensor);
        goto out;
    }
    MDQ_GOTO(err, score_stats_drain(s->stats), out);
    mdq_progress_end();
out:
    mdq_layer_tiles_free(&tiles);
    return err;
}

/* ---- second pass: writing ---- */

static enum mdq_err derive_header(struct state *s)
{
    const struct opts *o = s->o;
    const struct mdq_header *in = mdq_reader_header(s->in), *h = score_stats_hessian_header(s->stats),
                            *g = score_stats_gradient_header(s->stats);
    char *args = score_provenance(o, &s->texts);
    enum mdq_err err = args ? MDQ_OK : MDQ_E_INTERNAL;
    struct mdq_layer_entry *table = NULL;
    if (err == MDQ_OK && o->cli.thin) { /* its own kinds only, so that it can be merged with any part of the stream */
        table = mdq_alloc((size_t)s->layers, sizeof *table, "layers");
        for (int i = 0; table && i < s->layers; i++)
            table[i] = *s->layer[i];
        err = table ? mdq_header_new(&s->head, mdq_header_model(in), table, s->layers) : MDQ_E_INTERNAL;
        if (err == MDQ_OK)
            err = mdq_header_add_kind(s->head, "tile");
        if (err == MDQ_OK && !o->cli.no_pg)
            err = mdq_header_add_provenance(s->head, in, NULL, NULL);
    } else if (err == MDQ_OK)
        err = mdq_header_derive(&s->head, in, NULL, NULL);
    if (err == MDQ_OK && !o->cli.no_pg && h != g)
        err = mdq_header_add_provenance(s->head, h, NULL, NULL);
    if (err == MDQ_OK && !o->cli.no_pg)
        err = mdq_header_add_provenance(s->head, g, "mdq-score", args);
    if (err == MDQ_OK)
        err = mdq_header_add_kind(s->head, "probe");
    free(table);
    free(args);
    return err;
}

static enum mdq_err put_probes(struct state *s)
{
    for (int64_t i = 0; i < s->search.n; i++) {
        struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = s->layer[0]->tensor, .kind = "probe", .row = i});
        enum mdq_err err = rec ? score_put_probe(rec, &s->search, i) : MDQ_E_INTERNAL;
        if (err == MDQ_OK)
            err = mdq_writer_put(s->out, rec);
        mdq_record_free(&rec);
        MDQ_TRY(err);
    }
    return MDQ_OK;
}

static enum mdq_err write_thin(struct state *s)
{
    for (int i = 0; i < s->layers; i++) {
        const struct mdq_layer_entry *e = s->layer[i];
        for (int64_t col = 0; col < e->tile_cols; col++)
            for (int64_t row = 0; row < e->tile_rows; row++) {
                struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = e->tensor, .kind = "tile", .row = row, .col = col});
                enum mdq_err err = rec ? score_put_tile(rec, &s->search, &s->labels, i, row, col) : MDQ_E_INTERNAL;
                if (err == MDQ_OK)
                    err = mdq_writer_put(s->out, rec);
                mdq_record_free(&rec);
                MDQ_TRY(err);
            }
        if (i == 0)
            MDQ_TRY(put_probes(s));
    }
    return MDQ_OK;
}

/* The order of kinds within a layer: these first, all others by name (formats/mdq1.md). */
static bool is_behind_probes(const char *kind)
{
    static const char *const first[] = {"layer", "hessian", "chart", "tile"};
    for (int i = 0; i < 4; i++)
        if (strcmp(kind, first[i]) == 0)
            return false;
    return strcmp(kind, "probe") > 0;
}

/* The inputs as they were read before: the second pass trusts what the first one found. */
static enum mdq_err read_again(struct state *s, struct mdq_reader **again)
{
    MDQ_TRY(mdq_reader_open(again, s->o->inputs.v, s->o->inputs.n, &(struct mdq_reader_options){.threads = s->o->cli.jobs}));
    char *before = mdq_header_json(mdq_reader_header(s->in)), *now = mdq_header_json(mdq_reader_header(*again));
    enum mdq_err err = !before || !now ? MDQ_E_INTERNAL
                       : strcmp(before, now) != 0 ? mdq_fail(MDQ_E_DATA, "input: changed while it was read") : MDQ_OK;
    free(before);
    free(now);
    return err;
}

/* The inputs once more, with the keys added. Probes stand after the first layer's tiles. */
static enum mdq_err write_full(struct state *s)
{
    struct mdq_reader *again = NULL;
    bool put = false;
    enum mdq_err err = read_again(s, &again);
    for (struct mdq_record *rec = NULL; err == MDQ_OK;) {
        MDQ_GOTO(err, mdq_reader_next(again, &rec), out);
        struct mdq_id id = rec ? mdq_record_id(rec) : (struct mdq_id){0};
        int of = rec ? mdq_header_find_layer(mdq_reader_header(again), id.tensor) : 0;
        if (of < 0 || of >= s->layers) {
            err = mdq_fail(MDQ_E_DATA, "record of %s: not in the header's table of layers", id.tensor);
            goto out;
        }
        if (!put && (!rec || of != 0 || is_behind_probes(id.kind)) && (put = true))
            MDQ_GOTO(err, put_probes(s), out);
        if (!rec)
            break;
        if (strcmp(id.kind, "tile") == 0)
            MDQ_GOTO(err, score_put_tile(rec, &s->search, &s->labels, of, id.row, id.col), out);
        MDQ_GOTO(err, mdq_writer_put(s->out, rec), out);
    }
out:
    mdq_reader_close(&again);
    return err;
}

/* ---- the whole ---- */

/* A stream is believed to be about this model when every layer of its table is one, of the model's own shape. */
static enum mdq_err check_layers(struct state *s, const struct mdq_header *h)
{
    const struct mdq_config *c = &s->model->config;
    for (int i = 0; i < s->layers; i++) {
        const struct mdq_layer_entry *e = s->layer[i] = mdq_header_layer(h, i);
        enum mdq_linear linear;
        int64_t rows = 0, cols = 0;
        int block;
        if (mdq_linear_parse(e->tensor, &block, &linear) == 0 && block >= 0 && block < c->layers)
            mdq_linear_shape(c, linear, &rows, &cols);
        if (e->rows != rows || e->cols != cols)
            return mdq_fail(MDQ_E_DATA, "input: layer %s [%lld, %lld]: %s has none like it", e->tensor, (long long)e->rows,
                            (long long)e->cols, s->model->dir);
    }
    return MDQ_OK;
}

/* Whether a second look at the inputs finds what the first one found. */
static enum mdq_err check_files(const struct opts *o)
{
    struct stat st;
    for (int i = 0; i < o->inputs.n && !o->cli.thin; i++)
        if (stat(o->inputs.v[i], &st) == 0 && !S_ISREG(st.st_mode))
            return mdq_fail(MDQ_E_USAGE, "%s: is no file and cannot be read twice: give --thin (new keys only), or files", o->inputs.v[i]);
    return MDQ_OK;
}

static enum mdq_err init(struct state *s)
{
    const struct opts *o = s->o;
    MDQ_TRY(check_files(o));
    MDQ_TRY(mdq_model_open(&s->model, o->model));
    MDQ_TRY(mdq_model_hash(s->model, o->memo));
    MDQ_TRY(mdq_reader_open(&s->in, o->inputs.v, o->inputs.n, &(struct mdq_reader_options){.threads = o->cli.jobs}));
    const struct mdq_header *h = mdq_reader_header(s->in);
    if (!mdq_header_has_kind(h, "tile"))
        return mdq_fail(MDQ_E_DATA, "input: holds no tiles: mdq-score reads what mdq-tile writes");
    MDQ_TRY(mdq_layers_same_model(h, "input", s->model));
    if (mdq_header_layers(h) != s->model->config.layers * MDQ_LINEARS)
        mdq_log(MDQ_LOG_WARNING, "input: %d of the model's %d layers: ranks and shares are of these alone", mdq_header_layers(h),
                s->model->config.layers * MDQ_LINEARS);
    s->layers = mdq_header_layers(h);
    s->layer = mdq_alloc((size_t)s->layers + 1, sizeof *s->layer, "layers");
    if (!s->layer)
        return MDQ_E_INTERNAL;
    if (s->layers == 0)
        return mdq_fail(MDQ_E_DATA, "input: holds no layers");
    MDQ_TRY(check_layers(s, h));
    MDQ_TRY(score_case_new(&s->points, s->layer, s->layers));
    MDQ_TRY(score_stats_open(&s->stats, o->stats.v, o->stats.n, h));
    MDQ_TRY(score_read_texts(&s->texts, s->model, &o->files, score_stats_gradient_header(s->stats)));
    MDQ_TRY(score_prober_new(&s->prober, s->model, &s->texts, o->probes, o->memory));
    score_prober_set_spike(s->prober, o->spike);
    /* before the long work: what cannot be written is known by now */
    MDQ_TRY(derive_header(s));
    if (o->report)
        MDQ_TRY(mdq_output_open(&s->report, o->report, false));
    return mdq_writer_open(&s->out, o->cli.output, s->head, &(struct mdq_writer_options){.level = o->cli.level, .threads = o->cli.jobs});
}

static enum mdq_err report(struct state *s, struct score_report *r)
{
    char line[400], *text = NULL;
    size_t size = 0;
    score_report_line(r, line, sizeof line);
    int64_t run, found;
    score_prober_counts(s->prober, &run, &found);
    mdq_log(MDQ_LOG_NOTE, "%s (%lld probes, %lld of them known)", line, (long long)s->search.n, (long long)found);
    if (!s->report)
        return MDQ_OK;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return mdq_fail_nomem("report", 0);
    score_report_print(f, r);
    enum mdq_err err = fclose(f) == 0 ? mdq_output_write(s->report, text, size) : mdq_fail_nomem("report", size);
    if (err == MDQ_OK)
        err = mdq_output_commit(&s->report);
    free(text);
    return err;
}

static enum mdq_err work(struct state *s)
{
    const struct opts *o = s->o;
    struct score_report r = {.s = &s->search, .l = &s->labels, .model = s->model->hash};
    const double start = mdq_seconds();
    MDQ_TRY(read_layers(s));
    MDQ_TRY(score_case_rank(&s->points));
    const double ranked = mdq_seconds();
    MDQ_TRY(score_search_run(&s->search, &s->points, &s->texts, s->prober, &o->t));
    mdq_log(MDQ_LOG_INFO, "statistics %.3f s, probes %.3f s", ranked - start, mdq_seconds() - ranked);
    r.spikes = score_prober_spikes(s->prober, &r.n_spikes);
    MDQ_TRY(score_case_reasons(&s->points, o->fisher_share, o->privacy_share, r.spikes, r.n_spikes, &r.candidates));
    MDQ_TRY(score_control(&s->points, &s->search, o->write, o->cli.seed));
    MDQ_TRY(score_labels_make(&s->labels, &s->search));
    MDQ_TRY(o->cli.thin ? write_thin(s) : write_full(s));
    MDQ_TRY(mdq_writer_finish(&s->out));
    return report(s, &r);
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct state s = {.o = o};
    enum mdq_err err = init(&s);
    if (err == MDQ_OK)
        err = work(&s);
    mdq_writer_abort(&s.out);
    mdq_output_abort(&s.report);
    score_labels_free(&s.labels);
    score_search_free(&s.search);
    score_prober_free(&s.prober);
    score_texts_free(&s.texts);
    score_stats_close(&s.stats);
    score_case_free(&s.points);
    mdq_header_free(&s.head);
    mdq_reader_close(&s.in);
    mdq_model_close(&s.model);
    free(s.layer);
    score_options_free(o);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-score",
    .args = "STREAM...",
    .doc = "Find the points of a model that carry what it can do and those that carry what it memorised."
           "\vReads the tiles of a whole model, with what mdq-lle and mdq-vae say of them, and the statistics of mdq-calib --gradients; "
           "measures on the model itself, with points moved, what they do. Adds reasons, ranks, scores, label, md_target and shift to "
           "every tile. e.g.:\n"
           "  mdq-score --model my-model --stats stats.mdq --sensitive members.jsonl --matched others.jsonl --valid text.txt "
           "--thin -o labels.mdq tiles.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = score_option_table,
    .parse = score_parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o;
    score_options_default(&o);
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
