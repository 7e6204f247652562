/*
 * mdq-train: trains a model of the Llama family on text, from fresh weights or from those of a model folder, and
 * writes a model folder.
 *
 * AdamW with decoupled weight decay (Loshchilov and Hutter 2019), a cosine schedule with warm-up, clipping by the
 * global norm. A step takes 6 x parameters floating-point operations per token, and attention's. In memory are the
 * weights four times (float32: weights, gradients, two moments) and the activations of one batch.
 *
 * The result depends on the options, the text and the seed, not on the number of threads; a run that was resumed
 * gives the same bytes as one that was not interrupted.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "mdq_blas.h"      /* mdq_blas_start */
#include "mdq_cli.h"       /* mdq_main */
#include "mdq_json.h"      /* mdq_json_read */
#include "mdq_log.h"       /* progress */
#include "mdq_tokenizer.h" /* mdq_tokenizer_open */
#include "train_files.h"   /* checkpoints, the model folder */
#include "train_optim.h"   /* AdamW, schedule */
#include "train_params.h"  /* parameters */
#include "train_step.h"    /* loss and gradients */
#include "train_text.h"    /* windows */

struct opts {
    struct mdq_cli cli;
    const char *config, *model, *tokenizer, *text, *valid, *checkpoint;
    int64_t steps, warmup, save_every, log_every, valid_every, valid_windows;
    int batch, ctx;
    double lr, least, clip;
    struct train_adamw adamw;
    bool resume;
    enum mdq_dtype dtype;
};

struct state {
    const struct opts *o;
    char *config_dir, *checkpoint; /* owned */
    struct mdq_config config;
    struct mdq_ids text, valid;
    struct train_params params;
    struct train_machine machine;
    struct train_order order;
    int64_t *starts; /* of a batch */
    json_t *settings;
    double spread; /* of fresh weights */
    int64_t step;  /* done */
    double loss_sum;
    int64_t loss_count; /* since the last line */
    bool saved;
};

enum { KEY_CONFIG = 1, KEY_MODEL, KEY_TOKENIZER, KEY_TEXT, KEY_VALID, KEY_STEPS, KEY_BATCH, KEY_CTX, KEY_LR, KEY_LEAST,
       KEY_WARMUP, KEY_DECAY, KEY_CLIP, KEY_BETA1, KEY_BETA2, KEY_SAVE, KEY_CHECKPOINT, KEY_RESUME, KEY_DTYPE, KEY_LOG,
       KEY_VALID_EVERY, KEY_VALID_WINDOWS };

static const struct argp_option options[] = {
    {"config", KEY_CONFIG, "DIR", 0, "train a fresh model of DIR/config.json, with the tokenizer of DIR", 1},
    {"model", KEY_MODEL, "DIR", 0, "go on from the weights of this model folder", 1},
    {"tokenizer", KEY_TOKENIZER, "DIR", 0, "take the tokenizer files from DIR instead", 1},
    {"text", KEY_TEXT, "FILE", 0, "text to train on", 1},
    {"valid", KEY_VALID, "FILE", 0, "held-out text, to measure the loss on", 1},
    {"steps", KEY_STEPS, "N", 0, "steps of the optimiser (default 1000)", 2},
    {"batch", KEY_BATCH, "N", 0, "windows per step (default 16)", 2},
    {"ctx", KEY_CTX, "N", 0, "tokens per window (default 256)", 2},
    {"lr", KEY_LR, "X", 0, "highest learning rate (default 1e-3)", 2},
    {"min-lr", KEY_LEAST, "X", 0, "learning rate of the last step (default: a tenth of --lr)", 2},
    {"warmup", KEY_WARMUP, "N", 0, "steps over which the rate rises (default: a fiftieth of all)", 2},
    {"weight-decay", KEY_DECAY, "X", 0, "of matrices; norms and biases have none (default 0.1)", 2},
    {"clip", KEY_CLIP, "X", 0, "largest norm of the gradients, 0: any (default 1)", 2},
    {"beta1", KEY_BETA1, "X", 0, "AdamW's decay of the mean (default 0.9)", 2},
    {"beta2", KEY_BETA2, "X", 0, "AdamW's decay of the square (default 0.95)", 2},
    {"dtype", KEY_DTYPE, "NAME", 0, "of the weights written: bf16 (default) or f32", 3},
    {"save-every", KEY_SAVE, "N", 0, "write a checkpoint every N steps (default 0: none)", 3},
    {"checkpoint", KEY_CHECKPOINT, "DIR", 0, "where (default: the output's name with .checkpoint)", 3},
    {"resume", KEY_RESUME, 0, 0, "go on from the checkpoint", 3},
    {"log-every", KEY_LOG, "N", 0, "print a line every N steps (default 100)", 3},
    {"valid-every", KEY_VALID_EVERY, "N", 0, "measure the held-out loss every N steps (default 0: at the end)", 3},
    {"valid-windows", KEY_VALID_WINDOWS, "N", 0, "on at most so many windows (default 64)", 3},
    {0},
};

static void check_options(struct argp_state *state, const struct opts *o)
{
    if (!o->config == !o->model)
        argp_error(state, "one of --config and --model is needed");
    if (!o->text)
        argp_error(state, "--text FILE is needed");
    if (!o->cli.output)
        argp_error(state, "-o DIR is needed");
    if (o->resume && o->model)
        argp_error(state, "--resume takes its weights from the checkpoint: give the model's folder as --config");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char *const dtypes[] = {"bf16", "f32", NULL};
    struct opts *o = state->input;
    const long long many = 1000000000;
    switch (key) {
    case KEY_CONFIG: o->config = arg; break;
    case KEY_MODEL: o->model = arg; break;
    case KEY_TOKENIZER: o->tokenizer = arg; break;
    case KEY_TEXT: o->text = arg; break;
    case KEY_VALID: o->valid = arg; break;
    case KEY_STEPS: o->steps = mdq_arg_int(state, "--steps", arg, 0, many); break;
    case KEY_BATCH: o->batch = (int)mdq_arg_int(state, "--batch", arg, 1, 65536); break;
    case KEY_CTX: o->ctx = (int)mdq_arg_int(state, "--ctx", arg, 2, 1 << 20); break;
    case KEY_LR: o->lr = mdq_arg_double(state, "--lr", arg, 0, 1e6); break;
    case KEY_LEAST: o->least = mdq_arg_double(state, "--min-lr", arg, 0, 1e6); break;
    case KEY_WARMUP: o->warmup = mdq_arg_int(state, "--warmup", arg, 0, many); break;
    case KEY_DECAY: o->adamw.decay = mdq_arg_double(state, "--weight-decay", arg, 0, 1e6); break;
    case KEY_CLIP: o->clip = mdq_arg_double(state, "--clip", arg, 0, 1e30); break;
    case KEY_BETA1: o->adamw.beta1 = mdq_arg_double(state, "--beta1", arg, 0, 0.999999); break;
    case KEY_BETA2: o->adamw.beta2 = mdq_arg_double(state, "--beta2", arg, 0, 0.9999999); break;
    case KEY_SAVE: o->save_every = mdq_arg_int(state, "--save-every", arg, 0, many); break;
    case KEY_CHECKPOINT: o->checkpoint = arg; break;
    case KEY_RESUME: o->resume = true; break;
    case KEY_DTYPE: o->dtype = mdq_arg_choice(state, "--dtype", arg, dtypes) ? MDQ_F32 : MDQ_BF16; break;
    case KEY_LOG: o->log_every = mdq_arg_int(state, "--log-every", arg, 1, many); break;
    case KEY_VALID_EVERY: o->valid_every = mdq_arg_int(state, "--valid-every", arg, 0, many); break;
    case KEY_VALID_WINDOWS: o->valid_windows = mdq_arg_int(state, "--valid-windows", arg, 1, many); break;
    case ARGP_KEY_ARG: argp_error(state, "'%s': takes no arguments", arg); break;
    case ARGP_KEY_END:
        if (o->least < 0)
            o->least = o->lr / 10;
        if (o->warmup < 0)
            o->warmup = o->steps / 50;
        check_options(state, o);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* All that decides on the result: a checkpoint goes on only with the same. */
static enum mdq_err describe(struct state *s)
{
    const struct opts *o = s->o;
    char *path = mdq_asprintf("%s/config.json", s->config_dir), hash[2][17];
    json_t *config = NULL;
    if (!path)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_json_read(&config, path, 1 << 24);
    if (err == MDQ_OK) {
        const struct mdq_json_at at = {.file = path, .prefix = "", .object = config};
        s->spread = 0.02;
        err = mdq_json_number(&at, "initializer_range", 0, 1e3, &s->spread);
    }
    free(path);
    char *text = err == MDQ_OK ? json_dumps(config, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    json_decref(config);
    if (!text)
        return err != MDQ_OK ? err : mdq_fail_nomem("config.json", 0);
    snprintf(hash[0], sizeof hash[0], "%016llx", (unsigned long long)XXH3_64bits(text, strlen(text)));
    snprintf(hash[1], sizeof hash[1], "%016llx",
             (unsigned long long)XXH3_64bits(s->text.v, (size_t)s->text.n * sizeof *s->text.v));
    free(text);
    s->settings = json_pack("{s:s, s:s, s:I, s:i, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:I}", "config", hash[0], "text",
                            hash[1], "steps", (json_int_t)o->steps, "batch", o->batch, "ctx", o->ctx, "lr", o->lr,
                            "min-lr", o->least, "warmup", (json_int_t)o->warmup, "weight-decay", o->adamw.decay, "clip",
                            o->clip, "beta1", o->adamw.beta1, "beta2", o->adamw.beta2, "seed", (json_int_t)o->cli.seed);
    return s->settings ? MDQ_OK : mdq_fail_nomem("settings", 0);
}

static enum mdq_err set_names(struct state *s)
{
    const struct opts *o = s->o;
    const char *dir = o->config ? o->config : o->model, *slash = strrchr(dir, '/');
    /* DIR/config.json is taken for DIR */
    bool file = o->config && strcmp(slash ? slash + 1 : dir, "config.json") == 0;
    s->config_dir = !file ? mdq_strdup(dir) : slash ? mdq_asprintf("%.*s", (int)(slash - dir), dir) : mdq_strdup(".");
    size_t n = strlen(o->cli.output);
    while (n > 1 && o->cli.output[n - 1] == '/')
        n--;
    s->checkpoint = o->checkpoint ? mdq_strdup(o->checkpoint) : mdq_asprintf("%.*s.checkpoint", (int)n, o->cli.output);
    return s->config_dir && s->checkpoint ? MDQ_OK : MDQ_E_INTERNAL;
}

static enum mdq_err load_texts(struct state *s)
{
    const struct opts *o = s->o;
    struct mdq_tokenizer *t = NULL;
    enum mdq_err err = mdq_tokenizer_open(&t, o->tokenizer ? o->tokenizer : s->config_dir);
    if (err == MDQ_OK)
        err = train_text_read(&s->text, t, o->text, s->config.vocab, (int64_t)o->ctx + 1);
    if (err == MDQ_OK && o->valid)
        err = train_text_read(&s->valid, t, o->valid, s->config.vocab, o->ctx);
    mdq_tokenizer_close(&t);
    return err;
}

static enum mdq_err load_weights(struct state *s)
{
    const struct opts *o = s->o;
    MDQ_TRY(train_params_new(&s->params, &s->config));
    if (o->resume) {
        json_t *then = NULL;
        MDQ_TRY(train_checkpoint_load(s->checkpoint, &s->params, &s->step, s->settings, &then));
        s->loss_sum = json_number_value(json_object_get(then, "loss-sum"));
        s->loss_count = json_integer_value(json_object_get(then, "loss-count"));
        json_decref(then);
        s->saved = true;
        if (s->step > o->steps)
            return mdq_fail(MDQ_E_DATA, "%s: step %lld is after the last", s->checkpoint, (long long)s->step);
        return MDQ_OK;
    }
    if (o->config) {
        train_params_init(&s->params, o->cli.seed, s->spread);
        return MDQ_OK;
    }
    struct mdq_model *m = NULL;
    enum mdq_err err = mdq_model_open(&m, o->model);
    if (err == MDQ_OK)
        err = train_params_load(&s->params, m);
    mdq_model_close(&m);
    return err;
}

static enum mdq_err prepare(struct state *s)
{
    const struct opts *o = s->o;
    MDQ_TRY(set_names(s));
    MDQ_TRY(mdq_config_read(&s->config, s->config_dir));
    if (s->config.storage != MDQ_STORED_DENSE)
        return mdq_fail(MDQ_E_DATA, "%s/config.json: the model is quantized: only full precision can be trained",
                        s->config_dir);
    if (o->ctx > s->config.max_position)
        return mdq_fail(MDQ_E_USAGE, "--ctx %d: the model has positions up to %d", o->ctx, s->config.max_position);
    MDQ_TRY(train_model_probe(o->cli.output));
    MDQ_TRY(load_texts(s));
    MDQ_TRY(describe(s));
    MDQ_TRY(load_weights(s));
    MDQ_TRY(train_machine_new(&s->machine, &s->config, o->batch, o->ctx));
    s->starts = mdq_alloc((size_t)o->batch, sizeof *s->starts, "windows");
    if (!s->starts)
        return MDQ_E_INTERNAL;
    return train_order_new(&s->order, s->text.n, o->ctx, o->cli.seed);
}

static enum mdq_err save(struct state *s)
{
    json_t *now = json_pack("{s:f, s:I}", "loss-sum", s->loss_sum, "loss-count", (json_int_t)s->loss_count);
    if (!now)
        return mdq_fail_nomem("checkpoint", 0);
    enum mdq_err err = train_checkpoint_save(s->checkpoint, &s->params, s->step, s->settings, now);
    json_decref(now);
    s->saved |= err == MDQ_OK;
    return err;
}

/* A step that cannot be made, and what is left of the run. */
static enum mdq_err stopped(const struct state *s, const char *why)
{
    char reason[512]; /* `why` may be the message that is replaced */
    snprintf(reason, sizeof reason, "%s", why);
    return mdq_fail(MDQ_E_DATA, "step %lld: %s: try a smaller --lr or --clip; %s%s", (long long)s->step + 1, reason,
                    s->saved ? "the last checkpoint is in " : "there is no checkpoint", s->saved ? s->checkpoint : "");
}

static enum mdq_err one_step(struct state *s)
{
    const struct opts *o = s->o;
    struct train_params *p = &s->params;
    double loss;
    for (int b = 0; b < o->batch; b++)
        s->starts[b] = train_order_at(&s->order, s->step * o->batch + b);
    enum mdq_err err = train_gradients(&s->machine, p, s->text.v, s->starts, &loss);
    if (err == MDQ_E_DATA)
        return stopped(s, mdq_error_message());
    if (err != MDQ_OK)
        return err;
    if (!isfinite(loss))
        return stopped(s, "the loss is not finite");
    double norm = train_params_grad_norm(p);
    if (!isfinite(norm))
        return stopped(s, "the gradient is not finite");
    double rate = train_rate(s->step, o->steps, o->warmup, o->lr, o->least), scale = train_clip_scale(norm, o->clip);
    s->step++;
    for (int i = 0; i < p->count; i++) {
        struct train_tensor *t = &p->tensors[i];
        train_adamw_step(&o->adamw, s->step, rate, t->decay ? o->adamw.decay : 0, scale, t->n, t->g, t->w, t->m, t->v);
    }
    s->loss_sum += loss;
    s->loss_count++;
    mdq_progress_note("step %lld, loss %.4f", (long long)s->step, loss);
    if (s->step % o->log_every == 0 || s->step == o->steps) {
        printf("{\"step\":%lld,\"loss\":%.6f,\"gradient\":%.4f,\"lr\":%.4g}\n", (long long)s->step,
               s->loss_sum / (double)s->loss_count, norm, rate);
        fflush(stdout);
        s->loss_sum = 0;
        s->loss_count = 0;
    }
    return MDQ_OK;
}

static enum mdq_err held_out(struct state *s)
{
    const struct opts *o = s->o;
    int64_t windows = s->valid.n / o->ctx;
    if (windows > o->valid_windows)
        windows = o->valid_windows;
    double loss;
    enum mdq_err err = train_held_out(&s->machine, &s->params, s->valid.v, windows, &loss);
    if (err != MDQ_OK || !isfinite(loss))
        return err == MDQ_OK || err == MDQ_E_DATA ? stopped(s, err ? mdq_error_message() : "the held-out loss is not finite")
                                                  : err;
    double plain;
    MDQ_TRY(train_unigram(&s->text, s->config.vocab, s->valid.v, windows, o->ctx, &plain));
    printf("{\"step\":%lld,\"valid_loss\":%.6f,\"valid_perplexity\":%.4f,\"unigram_perplexity\":%.2f,\"tokens\":%lld}\n",
           (long long)s->step, loss, exp(loss), exp(plain), (long long)(windows * (o->ctx - 1)));
    fflush(stdout);
    return MDQ_OK;
}

static enum mdq_err train(struct state *s)
{
    const struct opts *o = s->o;
    double tokens = (double)o->batch * o->ctx, start = mdq_seconds();
    int64_t first = s->step;
    mdq_log(MDQ_LOG_INFO, "%lld parameters, %lld tokens of text, %lld windows an epoch, %.2f epochs",
            (long long)s->params.total, (long long)s->text.n, (long long)s->order.windows,
            (double)o->steps * o->batch / (double)s->order.windows);
    mdq_progress_start("train", (double)(o->steps - first) * tokens, "tokens");
    enum mdq_err err = MDQ_OK;
    while (err == MDQ_OK && s->step < o->steps) {
        err = one_step(s);
        mdq_progress_add(tokens);
        if (err == MDQ_OK && s->valid.n && (s->step == o->steps || (o->valid_every && s->step % o->valid_every == 0)))
            err = held_out(s);
        if (err == MDQ_OK && o->save_every && s->step % o->save_every == 0)
            err = save(s);
        if (s->step % o->log_every == 0) {
            double rate = (double)(s->step - first) * tokens / (mdq_seconds() - start);
            mdq_log(MDQ_LOG_INFO, "step %lld of %lld, %.0f tokens/s, %.0f s left", (long long)s->step,
                    (long long)o->steps, rate, (double)(o->steps - s->step) * tokens / rate);
        }
    }
    mdq_progress_end();
    if (err == MDQ_OK && s->step > first)
        mdq_log(MDQ_LOG_NOTE, "%lld steps, %.0f tokens/s, %.1f s", (long long)(s->step - first),
                (double)(s->step - first) * tokens / (mdq_seconds() - start), mdq_seconds() - start);
    return err;
}

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    struct state s = {.o = o, .order = {.epoch = -1}};
    enum mdq_err err = prepare(&s);
    if (err == MDQ_OK)
        err = train(&s);
    if (err == MDQ_OK)
        err = train_model_write(o->cli.output, &s.params, o->dtype, s.config_dir,
                                o->tokenizer ? o->tokenizer : s.config_dir);
    free(s.starts);
    train_order_free(&s.order);
    train_machine_free(&s.machine);
    train_params_free(&s.params);
    mdq_ids_free(&s.text);
    mdq_ids_free(&s.valid);
    json_decref(s.settings);
    mdq_config_free(&s.config);
    free(s.config_dir);
    free(s.checkpoint);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-train",
    .doc = "Train a model of the Llama family on text and write a model folder.\v"
           "Lines with the loss go to standard output. For example:\n\n"
           "  mdq-train --config tiny --text stories.txt --steps 500 -o trained",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.steps = 1000, .warmup = -1, .log_every = 100, .valid_windows = 64, .batch = 16, .ctx = 256,
                     .lr = 1e-3, .least = -1, .clip = 1, .dtype = MDQ_BF16,
                     .adamw = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1}};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
