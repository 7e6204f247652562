/*
 * mdq-tile: the weights of a model folder as a stream of tiles.
 *
 * Reads a Hugging Face model folder whose weights are stored dense (f32, f16, bf16). For every linear layer of the
 * chosen blocks, in layer order, it writes one `layer` record (keys `shape`, `dtype`) and then the layer's tiles
 * (keys `w`, `at`), column block by column block, in the source element type. Weights that are no finite numbers
 * are an error.
 *
 * Time is that of copying; memory is some tiles (those waiting to be compressed): the weights are mapped, and a
 * tensor's pages are given back as soon as it is done.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mdq.h"        /* records, header, writer */
#include "mdq_cli.h"    /* options, main */
#include "mdq_layers.h" /* the layer table */
#include "mdq_log.h"    /* progress */
#include "mdq_model.h"  /* the folder, its linear layers, its identity */
#include "mdq_tiling.h" /* how a dimension is cut */
#include "tile_cut.h"   /* gather, finiteness */

struct opts {
    struct mdq_cli cli;
    const char *model, *memo;
    int64_t tile;
    int first, last; /* blocks; last -1: all */
};

struct state {
    const struct opts *opts;
    struct mdq_model *model;
    struct mdq_header *header;
    struct mdq_writer *out;
    unsigned char *buffer; /* one tile */
    double bytes;
};

enum { KEY_BLOCKS = 1, KEY_BLOCK, KEY_MEMO, KEY_TILE };

static const struct argp_option options[] = {
    {"blocks", KEY_BLOCKS, "A-B", 0, "only transformer blocks A to B, counted from 0 (default: all)", 1},
    {"block", KEY_BLOCK, "N", 0, "only transformer block N", 1},
    {"memo", KEY_MEMO, "FILE", 0, "keep content hashes of the weight files in FILE, by size and time", 1},
    {"tile", KEY_TILE, "N", 0, "cut into near-equal parts of at most N rows and columns (default 256)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_BLOCKS: {
        int a, b, end = 0;
        if (sscanf(arg, "%9d-%9d%n", &a, &b, &end) != 2 || arg[end] || a < 0 || b < a)
            argp_error(state, "--blocks: '%s' is not of the form A-B with A <= B", arg);
        o->first = a, o->last = b;
        break;
    }
    case KEY_BLOCK: o->first = o->last = (int)mdq_arg_int(state, "--block", arg, 0, 100000); break;
    case KEY_MEMO: o->memo = arg; break;
    case KEY_TILE: o->tile = mdq_arg_int(state, "--tile", arg, 8, 1024); break;
    case ARGP_KEY_ARG:
        if (o->model)
            argp_error(state, "one model folder, please: '%s' is one too many", arg);
        o->model = arg;
        break;
    case ARGP_KEY_END:
        if (!o->model)
            argp_error(state, "the model folder is missing");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct mdq_program program = {
    .name = "mdq-tile",
    .args = "MODEL",
    .doc = "Write the linear layers of a model folder as a stream of tiles.\v"
           "MODEL is a Hugging Face folder (config.json, model.safetensors or shards) of the Llama family.\n\n"
           "Example: mdq-tile model | mdq-gptq --bits 4 --group 128 --sym --method rtn -o codes.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
};

static enum mdq_err make_header(struct state *s)
{
    const struct opts *o = s->opts;
    struct mdq_header *plain = NULL;
    char args[48];
    enum mdq_err err;
    snprintf(args, sizeof args, "{\"tile\":%" PRId64 "}", o->tile);
    MDQ_GOTO(err, mdq_layers_header(&plain, s->model, o->first, o->last, o->tile), out);
    /* which blocks were chosen is in the layer table: a model done in parts has the provenance of one done whole */
    MDQ_GOTO(err, mdq_header_derive(&s->header, plain, o->cli.no_pg ? NULL : "mdq-tile", args), out);
    MDQ_GOTO(err, mdq_header_add_kind(s->header, "layer"), out);
    err = mdq_header_add_kind(s->header, "tile");
out:
    mdq_header_free(&plain);
    return err;
}

static enum mdq_err put_layer(struct state *s, const struct mdq_layer_entry *e, const struct mdq_tensor *t)
{
    struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = e->tensor, .kind = "layer"});
    if (!rec)
        return MDQ_E_INTERNAL;
    char shape[64];
    snprintf(shape, sizeof shape, "[%" PRId64 ",%" PRId64 "]", e->rows, e->cols);
    enum mdq_err err = mdq_record_set_json(rec, "shape", shape);
    if (err == MDQ_OK)
        err = mdq_record_set_str(rec, "dtype", mdq_dtype_name(t->dtype));
    if (err == MDQ_OK)
        err = mdq_writer_put(s->out, rec);
    mdq_record_free(&rec);
    return err;
}

static enum mdq_err put_tile(struct state *s, const struct mdq_layer_entry *e, const struct mdq_tensor *t,
                             int64_t i, int64_t j)
{
    const int64_t row = mdq_tiling_first(e->rows, e->tile_rows, i), col = mdq_tiling_first(e->cols, e->tile_cols, j);
    struct mdq_array w = {.dtype = t->dtype,
                          .ndim = 2,
                          .shape = {mdq_tiling_length(e->rows, e->tile_rows, i),
                                    mdq_tiling_length(e->cols, e->tile_cols, j)},
                          .data = s->buffer};
    const int64_t n = w.shape[0] * w.shape[1];
    w.bytes = mdq_dtype_bytes(t->dtype, n);
    tile_cut(t->data, e->cols, mdq_dtype_bits(t->dtype) / 8, row, col, w.shape[0], w.shape[1], s->buffer);
    int64_t bad = tile_nonfinite(t->dtype, s->buffer, n);
    if (bad >= 0)
        return mdq_fail(MDQ_E_DATA, "%s/%s: %s: row %" PRId64 ", column %" PRId64 ": the weight is not a finite number",
                        s->model->dir, t->file, e->tensor, row + bad / w.shape[1], col + bad % w.shape[1]);

    struct mdq_record *rec =
        mdq_record_new(&(struct mdq_id){.tensor = e->tensor, .kind = "tile", .row = i, .col = j});
    if (!rec)
        return MDQ_E_INTERNAL;
    char at[64];
    snprintf(at, sizeof at, "[%" PRId64 ",%" PRId64 "]", row, col);
    enum mdq_err err = mdq_record_set_json(rec, "at", at);
    if (err == MDQ_OK)
        err = mdq_record_set_array(rec, "w", &w);
    if (err == MDQ_OK)
        err = mdq_writer_put(s->out, rec);
    mdq_record_free(&rec);
    mdq_progress_add((double)w.bytes / 1e6);
    s->bytes += (double)w.bytes;
    return err;
}

static enum mdq_err find_weights(const struct state *s, const struct mdq_layer_entry *e, const struct mdq_tensor **out)
{
    int block;
    enum mdq_linear l;
    const struct mdq_tensor *t = NULL;
    if (mdq_linear_parse(e->tensor, &block, &l) == 0)
        t = mdq_model_linear(s->model, block, l);
    if (!t)
        return mdq_fail(MDQ_E_DATA, "%s: %s: stored quantized already: give the model in full precision",
                        s->model->dir, e->tensor);
    if (t->dtype != MDQ_F32 && t->dtype != MDQ_F16 && t->dtype != MDQ_BF16)
        return mdq_fail(MDQ_E_DATA, "%s/%s: %s: weights of type %s: only f32, f16 and bf16 can be tiled",
                        s->model->dir, t->file, e->tensor, mdq_dtype_name(t->dtype));
    *out = t;
    return MDQ_OK;
}

static enum mdq_err write_stream(struct state *s)
{
    const int n = mdq_header_layers(s->header);
    const struct mdq_tensor *t;
    double total = 0;
    for (int i = 0; i < n; i++) { /* what cannot be tiled is refused before anything is written */
        MDQ_TRY(find_weights(s, mdq_header_layer(s->header, i), &t));
        total += (double)t->bytes;
    }
    const struct mdq_writer_options wopts = {.level = s->opts->cli.level, .threads = s->opts->cli.jobs};
    MDQ_TRY(mdq_writer_open(&s->out, s->opts->cli.output, s->header, &wopts));
    mdq_progress_start("tiles", total / 1e6, "MB");
    for (int i = 0; i < n; i++) {
        const struct mdq_layer_entry *e = mdq_header_layer(s->header, i);
        MDQ_TRY(find_weights(s, e, &t));
        MDQ_TRY(put_layer(s, e, t));
        for (int64_t col = 0; col < e->tile_cols; col++)
            for (int64_t row = 0; row < e->tile_rows; row++)
                MDQ_TRY(put_tile(s, e, t, row, col));
        mdq_tensor_release(t);
    }
    const unsigned long long records = mdq_writer_records(s->out);
    MDQ_TRY(mdq_writer_finish(&s->out));
    mdq_progress_end();
    mdq_log(MDQ_LOG_INFO, "%s: %d layers, %llu records, %.1f MB of weights", s->opts->model, n, records, s->bytes / 1e6);
    return MDQ_OK;
}

static enum mdq_err check_choice(struct opts *o, const struct mdq_model *m)
{
    static const char *const stored[] = {"", "GPTQ", "compressed-tensors"};
    if (m->config.storage != MDQ_STORED_DENSE)
        return mdq_fail(MDQ_E_DATA, "%s: stored quantized already (%s): give the model in full precision", o->model,
                        stored[m->config.storage]);
    if (o->last < 0)
        o->last = m->config.layers - 1;
    if (o->last >= m->config.layers)
        return mdq_fail(MDQ_E_USAGE, "%s: block %d: the model has blocks 0 to %d", o->model, o->last,
                        m->config.layers - 1);
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct state s = {.opts = o};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&s.model, o->model), out);
    MDQ_GOTO(err, check_choice(o, s.model), out);
    MDQ_GOTO(err, mdq_model_hash(s.model, o->memo), out);
    if (!(s.buffer = mdq_alloc((size_t)(o->tile * o->tile), sizeof(float), "a tile"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    MDQ_GOTO(err, make_header(&s), out);
    err = write_stream(&s);
out:
    mdq_writer_abort(&s.out);
    mdq_header_free(&s.header);
    free(s.buffer);
    mdq_model_close(&s.model);
    return err;
}

int main(int argc, char **argv)
{
    struct opts o = {.tile = MDQ_TILE, .last = -1};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
