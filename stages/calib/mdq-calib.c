/*
 * mdq-calib: calibration statistics. Runs a text through the model, block by block, and writes the Hessian
 * H = sum x x^T of every distinct input of the linear layers (q, k, v share one; gate, up share one) as panels.
 *
 * Whole model in one call (one block's weights in memory, activations in memory or, when they are large, in a
 * temporary file), or one block per call with the activations at the block boundaries in files (--block, --acts-in,
 * --acts-out), which is how the pipelines resume. With --quantized the outgoing activations of a block are those of
 * its quantized weights: sequential calibration, as in GPTQ (Frantar et al. 2022, section 4).
 *
 * Memory: one block in float32, its Hessians (dim^2 x 8 bytes each), one batch of activations.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "calib_stream.h"
#include "hessian.h"
#include "mdq.h"
#include "mdq_blas.h"
#include "mdq_cli.h"
#include "mdq_layers.h"
#include "mdq_log.h"
#include "mdq_run.h"
#include "mdq_text.h"
#include "mdq_tiling.h"
#include "mdq_transformer.h"

enum { DEFAULT_TOKENS = 262144, BATCH_TOKENS = 8192, DEFAULT_CTX = 2048 };
enum { KEY_MODEL = 0x2001, KEY_TEXT, KEY_TOKENS, KEY_CTX, KEY_MEMO, KEY_BLOCK, KEY_ACTS_IN, KEY_ACTS_OUT,
       KEY_QUANTIZED, KEY_NO_STATS };

struct opts {
    struct mdq_cli cli;
    const char *model, *text, *memo, *acts_in, *acts_out, *quantized;
    int64_t tokens;
    int ctx, block; /* block -1: all */
    bool no_stats;
};

struct state {
    const struct opts *o;
    struct mdq_model *model;
    struct mdq_windows windows; /* ids, unless the activations come from a file */
    int ctx;
    int64_t n_windows;
    char *calib; /* JSON: what was run through the model */
    bool sequential;
    struct mdq_rotary rotary;
    struct mdq_workspace *ws;
    struct mdq_block block;
    struct hessian h[MDQ_INPUTS];
    struct mdq_writer *stats, *acts_out;
    struct mdq_reader *acts_in;
    float *x; /* all activations of the whole-model run, or one batch */
    size_t mapped;
};

static const struct argp_option options[] = {
    {"model", KEY_MODEL, "DIR", 0, "the model folder", 1},
    {"text", KEY_TEXT, "FILE", 0, "UTF-8 calibration text; - is standard input", 1},
    {"tokens", KEY_TOKENS, "N", 0, "use the first N tokens (default 262144)", 1},
    {"ctx", KEY_CTX, "N", 0, "tokens per window (default: the smaller of 2048 and the model's context)", 1},
    {"memo", KEY_MEMO, "FILE", 0, "keep content hashes of the model's files in FILE", 1},
    {"block", KEY_BLOCK, "I", 0, "this transformer block only", 2},
    {"acts-in", KEY_ACTS_IN, "FILE", 0, "the activations that enter the block (made by --acts-out; not for block 0)", 2},
    {"acts-out", KEY_ACTS_OUT, "FILE", 0, "write the activations that leave the block", 2},
    {"quantized", KEY_QUANTIZED, "FILE", 0,
     "the block as mdq-gptq wrote it: --acts-out is computed with these weights, and no statistics are made", 2},
    {"no-stats", KEY_NO_STATS, 0, 0, "make --acts-out only", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_MODEL: o->model = arg; return 0;
    case KEY_TEXT: o->text = arg; return 0;
    case KEY_TOKENS: o->tokens = mdq_arg_int(state, "--tokens", arg, 1, INT64_MAX); return 0;
    case KEY_CTX: o->ctx = (int)mdq_arg_int(state, "--ctx", arg, 1, 1 << 20); return 0;
    case KEY_MEMO: o->memo = arg; return 0;
    case KEY_BLOCK: o->block = (int)mdq_arg_int(state, "--block", arg, 0, 1 << 20); return 0;
    case KEY_ACTS_IN: o->acts_in = arg; return 0;
    case KEY_ACTS_OUT: o->acts_out = arg; return 0;
    case KEY_QUANTIZED: o->quantized = arg; o->no_stats = true; return 0;
    case KEY_NO_STATS: o->no_stats = true; return 0;
    case ARGP_KEY_ARG: argp_error(state, "no positional arguments: '%s'", arg); return EINVAL;
    case ARGP_KEY_END:
        if (!o->model)
            argp_error(state, "--model is missing");
        if (!o->text && !o->acts_in)
            argp_error(state, "--text is missing");
        if (o->block < 0 && (o->acts_in || o->acts_out || o->no_stats))
            argp_error(state, "--acts-in, --acts-out, --quantized and --no-stats go with --block");
        if (o->block > 0 && !o->acts_in)
            argp_error(state, "--block %d needs --acts-in: the activations that leave block %d", o->block, o->block - 1);
        if (o->block == 0 && o->acts_in)
            argp_error(state, "--block 0 starts from --text, not from --acts-in");
        if (o->no_stats && !o->acts_out)
            argp_error(state, "nothing to do: --no-stats or --quantized without --acts-out");
        if (o->no_stats && o->cli.output)
            argp_error(state, "-o is for statistics, and none are made");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what goes in ---- */

static enum mdq_err open_text(struct state *s)
{
    const struct opts *o = s->o;
    const struct mdq_config *c = &s->model->config;
    s->ctx = o->ctx ? o->ctx : c->max_position < DEFAULT_CTX ? c->max_position : DEFAULT_CTX;
    struct mdq_tokenizer *t = NULL;
    enum mdq_err err = mdq_tokenizer_open(&t, o->model);
    if (err == MDQ_OK)
        err = mdq_text_windows(&s->windows, t, o->text, s->ctx, o->tokens, c->vocab);
    mdq_tokenizer_close(&t);
    if (err != MDQ_OK)
        return err;
    s->n_windows = s->windows.count;
    XXH128_hash_t h = XXH3_128bits(s->windows.ids, (size_t)(s->n_windows * s->ctx) * sizeof *s->windows.ids);
    if (s->windows.tokens < o->tokens && o->tokens != DEFAULT_TOKENS)
        mdq_log(MDQ_LOG_WARNING, "%s: has %" PRId64 " tokens, fewer than the %" PRId64 " asked for", o->text,
                s->windows.tokens, o->tokens);
    s->calib = mdq_asprintf("{\"ctx\":%d,\"sequential\":false,\"text\":\"%016" PRIx64 "%016" PRIx64 "\",\"tokens\":%" PRId64
                            ",\"windows\":%" PRId64 "}",
                            s->ctx, (uint64_t)h.high64, (uint64_t)h.low64, s->n_windows * s->ctx, s->n_windows);
    return s->calib ? MDQ_OK : MDQ_E_INTERNAL;
}

static enum mdq_err open_acts(struct state *s)
{
    const struct opts *o = s->o;
    char *path = (char *)o->acts_in;
    MDQ_TRY(mdq_reader_open(&s->acts_in, &path, 1, NULL));
    const struct mdq_header *h = mdq_reader_header(s->acts_in);
    MDQ_TRY(mdq_layers_same_model(h, o->acts_in, s->model));
    if (!mdq_header_has_kind(h, "activations") || !(s->calib = mdq_header_get_json(h, "calib")))
        return mdq_fail(MDQ_E_DATA, "%s: holds no activations", o->acts_in);
    json_t *j = json_loads(s->calib, 0, NULL);
    s->ctx = (int)json_integer_value(json_object_get(j, "ctx"));
    s->n_windows = json_integer_value(json_object_get(j, "windows"));
    s->sequential = json_is_true(json_object_get(j, "sequential"));
    json_decref(j);
    if (s->ctx < 1 || s->ctx > 1 << 20 || s->n_windows < 1)
        return mdq_fail(MDQ_E_DATA, "%s: header: calib: no windows in it", o->acts_in);
    return MDQ_OK;
}

/* ---- what comes out ---- */

static enum mdq_err open_output(const struct state *s, const char *path, const char *kind, int first, int last,
                                const struct mdq_header *quantized, struct mdq_writer **out)
{
    struct mdq_header *h = NULL;
    const struct mdq_writer_options wo = {.level = s->o->cli.level, .threads = s->o->cli.jobs};
    const struct calib_origin origin = {.calib = s->calib,
                                        .before = s->sequential ? mdq_reader_header(s->acts_in) : NULL,
                                        .quantized = quantized,
                                        .provenance = !s->o->cli.no_pg};
    enum mdq_err err = calib_header(&h, s->model, first, last, kind, &origin);
    if (err == MDQ_OK)
        err = mdq_writer_open(out, path, h, &wo);
    mdq_header_free(&h);
    return err;
}

static enum mdq_err put_hessians(struct state *s, int block)
{
    for (int in = 0; in < MDQ_INPUTS; in++) {
        MDQ_TRY(calib_put_hessian(s->stats, s->model, block, (enum mdq_input)in, &s->h[in]));
        hessian_reset(&s->h[in]);
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

/*
 * Activations of the whole run: memory, or an unlinked temporary file that is mapped where they are large (262,144
 * tokens of a model with hidden size 4096 take 4.3 GB).
 */
static enum mdq_err map_activations(struct state *s)
{
    const size_t in_memory = (size_t)1 << 30;
    s->mapped = (size_t)s->n_windows * (size_t)s->ctx * (size_t)s->model->config.hidden * sizeof(float);
    int fd = -1;
    if (s->mapped > in_memory) {
        const char *dir = getenv("TMPDIR");
        char *path = mdq_asprintf("%s/mdq-calib.XXXXXX", dir && *dir ? dir : "/tmp");
        if (!path)
            return MDQ_E_INTERNAL;
        fd = mkstemp(path);
        if (fd < 0 || unlink(path) != 0 || posix_fallocate(fd, 0, (off_t)s->mapped) != 0) {
            enum mdq_err err = mdq_fail_errno(MDQ_E_IO, "%s: no room for %zu bytes of activations: set TMPDIR", path,
                                              s->mapped);
            if (fd >= 0)
                close(fd);
            free(path);
            s->mapped = 0;
            return err;
        }
        free(path);
    }
    s->x = mmap(NULL, s->mapped, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (s->x == MAP_FAILED) {
        s->x = NULL;
        return mdq_fail_nomem("activations", s->mapped);
    }
    return MDQ_OK;
}

static enum mdq_err run_all(struct state *s)
{
    const struct mdq_config *c = &s->model->config;
    MDQ_TRY(map_activations(s));
    MDQ_TRY(mdq_model_embed(s->model, s->windows.ids, s->n_windows * s->ctx, s->x));
    mdq_progress_start("calibration", (double)s->n_windows * s->ctx * c->layers, "token-blocks");
    for (int i = 0; i < c->layers; i++) {
        MDQ_TRY(mdq_model_load_block(s->model, i, &s->block));
        int batch = batch_windows(s);
        for (int64_t w = 0; w < s->n_windows; w += batch)
            MDQ_TRY(forward(s, i, s->x + w * s->ctx * c->hidden,
                            (int)(s->n_windows - w < batch ? s->n_windows - w : batch)));
        MDQ_TRY(put_hessians(s, i));
    }
    mdq_progress_end();
    return MDQ_OK;
}

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

static enum mdq_err run_block(struct state *s)
{
    const struct mdq_config *c = &s->model->config;
    int batch = batch_windows(s), block = s->o->block;
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
        MDQ_TRY(put_hessians(s, block));
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

static enum mdq_err run(void *opts)
{
    const struct opts *o = opts;
    struct state s = {.o = o};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&s.model, o->model), out);
    if (o->block >= s.model->config.layers - (o->acts_out != NULL)) {
        err = mdq_fail(MDQ_E_USAGE, "--block %d: %s has blocks 0 to %d%s", o->block, o->model,
                       s.model->config.layers - 1, o->acts_out ? ", and nothing follows the last" : "");
        goto out;
    }
    MDQ_GOTO(err, mdq_model_hash(s.model, o->memo), out);
    MDQ_GOTO(err, o->acts_in ? open_acts(&s) : open_text(&s), out);
    MDQ_GOTO(err, mdq_rotary_init(&s.rotary, &s.model->config, s.ctx), out);
    if (!(s.ws = mdq_workspace_new(&s.model->config))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    if (o->block >= 0) {
        MDQ_GOTO(err, prepare_block(&s), out);
        MDQ_GOTO(err, run_block(&s), out);
    } else {
        MDQ_GOTO(err, open_output(&s, o->cli.output, "hessian", 0, s.model->config.layers - 1, NULL, &s.stats), out);
        MDQ_GOTO(err, run_all(&s), out);
    }
    if (s.acts_out)
        MDQ_GOTO(err, mdq_writer_finish(&s.acts_out), out);
    if (s.stats)
        err = mdq_writer_finish(&s.stats);
    if (err == MDQ_OK)
        mdq_log(MDQ_LOG_INFO, "%s: %" PRId64 " windows of %d tokens", o->model, s.n_windows, s.ctx);
out:
    mdq_writer_abort(&s.stats);
    mdq_writer_abort(&s.acts_out);
    mdq_reader_close(&s.acts_in);
    if (s.mapped)
        munmap(s.x, s.mapped);
    else
        free(s.x);
    for (int i = 0; i < MDQ_INPUTS; i++)
        hessian_free(&s.h[i]);
    mdq_block_free(&s.block);
    mdq_workspace_free(&s.ws);
    mdq_rotary_free(&s.rotary);
    mdq_windows_free(&s.windows);
    free(s.calib);
    mdq_model_close(&s.model);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-calib",
    .doc = "Run a text through a model and write the Hessians of its linear layers."
           "\vOne Hessian, the sum of x x^T over the tokens, for every distinct input: q, k and v share one, gate and "
           "up share one. Windows start at the beginning of the text; a last short one is dropped.\n\n"
           "e.g.: mdq-calib --model my-model --text wiki.txt --tokens 262144 -o stats.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.block = -1, .tokens = DEFAULT_TOKENS};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
