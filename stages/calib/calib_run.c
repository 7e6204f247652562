/*
 * The runs of mdq-calib: the whole model with the activations of the whole text at hand, or one block with them in files.
 * Gradients come before the Hessians: the backward pass ends at the first block, and records are in the order of layers.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "calib.h"
#include "calib_stream.h"
#include "mdq_layers.h"
#include "mdq_log.h"
#include "mdq_run.h"

/* ---- what comes out ---- */

static enum mdq_err open_output(const struct state *s, const char *path, const char *kind, int first, int last,
                                const struct mdq_header *quantized, struct mdq_writer **out)
{
    struct mdq_header *h = NULL;
    const struct mdq_writer_options wo = {.level = s->o->cli.level, .threads = s->o->cli.jobs};
    const struct calib_origin origin = {.calib = s->calib,
                                        .gradients = s->about_gradients,
                                        .before = s->sequential ? mdq_reader_header(s->acts_in) : NULL,
                                        .quantized = quantized,
                                        .provenance = !s->o->cli.no_pg};
    enum mdq_err err = calib_header(&h, s->model, first, last, kind, &origin);
    if (err == MDQ_OK)
        err = mdq_writer_open(out, path, h, &wo);
    mdq_header_free(&h);
    return err;
}

/* The records of a block: of each layer the Hessian of its input, if it is the first with that input, and the gradients. */
static enum mdq_err put_block(struct state *s, int block)
{
    bool done[MDQ_INPUTS] = {false};
    for (int l = 0; l < MDQ_LINEARS; l++) {
        const enum mdq_input in = mdq_linear_input((enum mdq_linear)l);
        if (!s->o->no_hessian && !done[in]) {
            MDQ_TRY(calib_put_hessian(s->stats, s->model, block, in, &s->h[in]));
            hessian_reset(&s->h[in]);
            done[in] = true;
        }
        if (s->o->gradients) {
            const struct gradient_result r = gradients_of(&s->gradients, block, (enum mdq_linear)l);
            MDQ_TRY(calib_put_gradients(s->stats, block, (enum mdq_linear)l, &r));
        }
    }
    return MDQ_OK;
}

/* ---- the work ---- */

static enum mdq_err capture(void *arg, enum mdq_input which, const float *x, int64_t tokens, int64_t columns)
{
    struct state *s = arg;
    struct hessian *h = &s->h[which];
    if (!h->part)
        MDQ_TRY(hessian_init(h, columns));
    hessian_add(h, x, tokens);
    return MDQ_OK;
}

static int batch_windows(const struct state *s)
{
    return s->ctx >= BATCH_TOKENS ? 1 : BATCH_TOKENS / s->ctx;
}

static enum mdq_err forward(struct state *s, int block, float *x, int windows)
{
    MDQ_TRY(mdq_block_forward(&s->model->config, &s->block, block, &s->rotary, x, windows, s->ctx, s->ws, false,
                              s->o->no_stats ? NULL : capture, s));
    mdq_progress_add((double)windows * s->ctx);
    return MDQ_OK;
}

static enum mdq_err make_gradients(struct state *s)
{
    const struct mdq_config *c = &s->model->config;
    struct gradients *g = &s->gradients;
    struct mdq_outer outer = {0};
    MDQ_TRY(gradients_new(g, c, &s->rotary, &s->texts));
    MDQ_TRY(mdq_model_embed(s->model, s->texts.ids, s->texts.tokens, gradients_input(g)));
    mdq_progress_start("gradients", 4.0 * (double)s->texts.tokens * c->layers, "token-blocks");
    for (int i = 0; i < c->layers; i++) {
        MDQ_TRY(mdq_model_load_block(s->model, i, &s->block));
        MDQ_TRY(gradients_forward(g, i, &s->block));
    }
    enum mdq_err err = mdq_model_load_outer(s->model, &outer);
    if (err == MDQ_OK)
        err = gradients_head(g, &outer);
    mdq_outer_free(&outer);
    for (int i = c->layers - 1; err == MDQ_OK && i >= 0; i--) {
        if (i < c->layers - 1) /* the last one is still here */
            err = mdq_model_load_block(s->model, i, &s->block);
        if (err == MDQ_OK)
            err = gradients_backward(g, i, &s->block);
    }
    gradients_finish(g);
    mdq_progress_end();
    return err;
}

static enum mdq_err make_hessians(struct state *s)
{
    const struct mdq_config *c = &s->model->config;
    const int64_t tokens = s->n_windows * s->ctx;
    MDQ_TRY(mdq_scratch_map(&s->all, (size_t)tokens * (size_t)c->hidden, sizeof *s->x, "activations"));
    s->x = s->all.p;
    MDQ_TRY(mdq_model_embed(s->model, s->windows.ids, tokens, s->x));
    mdq_progress_start("calibration", (double)tokens * c->layers, "token-blocks");
    for (int i = 0; i < c->layers; i++) {
        MDQ_TRY(mdq_model_load_block(s->model, i, &s->block));
        int batch = batch_windows(s);
        for (int64_t w = 0; w < s->n_windows; w += batch)
            MDQ_TRY(forward(s, i, s->x + w * s->ctx * c->hidden,
                            (int)(s->n_windows - w < batch ? s->n_windows - w : batch)));
        MDQ_TRY(put_block(s, i));
    }
    mdq_progress_end();
    return MDQ_OK;
}

enum mdq_err calib_run_all(struct state *s)
{
    const int layers = s->model->config.layers;
    MDQ_TRY(open_output(s, s->o->cli.output, s->o->no_hessian ? NULL : "hessian", 0, layers - 1, NULL, &s->stats));
    if (s->o->gradients)
        MDQ_TRY(make_gradients(s));
    if (!s->o->no_hessian)
        return make_hessians(s);
    for (int i = 0; i < layers; i++)
        MDQ_TRY(put_block(s, i));
    return MDQ_OK;
}

/* ---- one block ---- */

/* The windows [first, first + n) as they enter the block, into s->x. */
static enum mdq_err fetch(struct state *s, int64_t first, int n)
{
    const struct mdq_config *c = &s->model->config;
    if (!s->acts_in)
        return mdq_model_embed(s->model, s->windows.ids + first * s->ctx, (int64_t)n * s->ctx, s->x);
    struct mdq_record *rec;
    char name[96];
    MDQ_TRY(mdq_reader_next(s->acts_in, &rec));
    if (!rec)
        return mdq_fail(MDQ_E_DATA, "%s: ends after %" PRId64 " of %" PRId64 " windows", s->o->acts_in, first,
                        s->n_windows);
    struct mdq_id id = mdq_record_id(rec);
    if (strcmp(id.kind, "activations") != 0 ||
        strcmp(id.tensor, mdq_linear_name(name, s->o->block, MDQ_Q_PROJ)) != 0)
        return mdq_fail(MDQ_E_DATA, "%s: holds %s of %s: block %d needs the activations that leave block %d",
                        s->o->acts_in, id.kind, id.tensor, s->o->block, s->o->block - 1);
    return mdq_record_copy_f32(rec, "x", (int64_t)n * s->ctx * c->hidden, s->x);
}

static enum mdq_err prepare_block(struct state *s)
{
    const struct opts *o = s->o;
    const struct mdq_header *qh = NULL;
    struct mdq_reader *q = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_load_block(s->model, o->block, &s->block), out);
    if (o->quantized) {
        char *path = (char *)o->quantized;
        MDQ_GOTO(err, mdq_reader_open(&q, &path, 1, NULL), out);
        qh = mdq_reader_header(q);
        MDQ_GOTO(err, mdq_layers_same_model(qh, o->quantized, s->model), out);
        MDQ_GOTO(err, calib_load_quantized(q, o->quantized, o->block, &s->block), out);
    }
    if (o->acts_out)
        MDQ_GOTO(err, open_output(s, o->acts_out, "activations", o->block + 1, o->block + 1, qh, &s->acts_out), out);
    if (!o->no_stats)
        err = open_output(s, o->cli.output, "hessian", o->block, o->block, NULL, &s->stats);
out:
    mdq_reader_close(&q);
    return err;
}

enum mdq_err calib_run_block(struct state *s)
{
    const struct mdq_config *c = &s->model->config;
    int batch = batch_windows(s), block = s->o->block;
    MDQ_TRY(prepare_block(s));
    if (!(s->x = mdq_alloc_aligned((size_t)batch * (size_t)s->ctx * (size_t)c->hidden, sizeof *s->x, "activations")))
        return MDQ_E_INTERNAL;
    mdq_progress_start("calibration", (double)s->n_windows * s->ctx, "tokens");
    int64_t index = 0;
    for (int64_t w = 0; w < s->n_windows; w += batch, index++) {
        int n = (int)(s->n_windows - w < batch ? s->n_windows - w : batch);
        MDQ_TRY(fetch(s, w, n));
        MDQ_TRY(forward(s, block, s->x, n));
        if (s->acts_out)
            MDQ_TRY(calib_put_activations(s->acts_out, block + 1, index, s->x, n, s->ctx, c->hidden));
    }
    if (!s->o->no_stats)
        MDQ_TRY(put_block(s, block));
    mdq_progress_end();
    if (s->acts_in) { /* the end record has to be seen */
        struct mdq_record *rec;
        MDQ_TRY(mdq_reader_next(s->acts_in, &rec));
        if (rec)
            return mdq_fail(MDQ_E_DATA, "%s: holds more than the %" PRId64 " windows of its header", s->o->acts_in,
                            s->n_windows);
    }
    return MDQ_OK;
}
