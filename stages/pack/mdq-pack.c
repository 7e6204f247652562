/*
 * mdq-pack: a quantized stream and the model it was made from become a model folder that other tools load.
 *
 * Reads the layer and tile records of all linear layers (keys `qbits`, `qgroup`, `qsym`, `scales`, `zeros`, `codes`),
 * in layer order. Linear layers are replaced by their export form, every other tensor and every other file of the model
 * folder is carried over unchanged; config.json gets its quantization_config. The folder takes its name only when it
 * is complete; the report (mdq-report.json) in it tells what became of every layer.
 *
 * Time is that of reading and copying. Memory: one layer's codes and its largest packed tensor.
 */
#include <stdlib.h>
#include <string.h>

#include "mdq_cli.h"     /* options, main */
#include "mdq_log.h"     /* the summary */
#include "mdq_output.h"  /* the folder, atomically */
#include "pack_folder.h" /* files that are not weights */
#include "pack_input.h"  /* layers out of streams */
#include "pack_plan.h"   /* what goes where */
#include "pack_report.h"
#include "pack_write.h" /* the weights */

struct opts {
    struct mdq_cli cli;
    const char *model, *memo, *report;
    int format, dtype; /* of the tables below; -1: not given */
    bool keep;
    long long max_shard;
    struct mdq_strings inputs;
};

struct state {
    const struct opts *opts;
    struct mdq_model *model;
    struct pack_input *input;
    struct mdq_output_dir *out;
    struct mdq_output *report;
    struct pack_plan plan;
    struct pack_totals totals;
    struct mdq_qlayer layer;
};

static const char *const format_names[] = {"gptq", "gptq_v2", "compressed-tensors", "dense", NULL};
static const struct pack_format *const formats[] = {&pack_format_gptq, &pack_format_gptq_v2, &pack_format_compressed,
                                                    &pack_format_dense};
static const char *const dtype_names[] = {"f32", "f16", "bf16", NULL};
static const enum mdq_dtype dtypes[] = {MDQ_F32, MDQ_F16, MDQ_BF16};
static const char *const unpackable_names[] = {"error", "keep", NULL};

enum { KEY_MODEL = 1, KEY_FORMAT, KEY_UNPACKABLE, KEY_DTYPE, KEY_MAX_SHARD, KEY_REPORT, KEY_MEMO };

static const struct argp_option options[] = {
    {"model", KEY_MODEL, "DIR", 0, "the model folder that the stream was made from", 1},
    {"format", KEY_FORMAT, "NAME", 0, "gptq, gptq_v2, compressed-tensors or dense", 1},
    {"output", 'o', "DIR", 0, "the folder to make; an earlier result of mdq-pack is replaced", 1},
    {"unpackable", KEY_UNPACKABLE, "WHAT", 0,
     "layers that the format cannot hold: error (default), or keep them in full precision", 2},
    {"dtype", KEY_DTYPE, "NAME", 0, "element type of the layers of a dense export: f32 (default), f16 or bf16", 2},
    {"max-shard", KEY_MAX_SHARD, "BYTES", 0, "at most so many bytes per weight file (default 5000000000)", 2},
    {"report", KEY_REPORT, "FILE", 0, "write the report to FILE as well", 2},
    {"memo", KEY_MEMO, "FILE", 0, "keep content hashes of the model's weight files in FILE, by size and time", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_MODEL: o->model = arg; break;
    case KEY_FORMAT: o->format = mdq_arg_choice(state, "--format", arg, format_names); break;
    case 'o': o->cli.output = arg; break;
    case KEY_UNPACKABLE: o->keep = mdq_arg_choice(state, "--unpackable", arg, unpackable_names) == 1; break;
    case KEY_DTYPE: o->dtype = mdq_arg_choice(state, "--dtype", arg, dtype_names); break;
    case KEY_MAX_SHARD: o->max_shard = mdq_arg_int(state, "--max-shard", arg, 1, INT64_MAX); break;
    case KEY_REPORT: o->report = arg; break;
    case KEY_MEMO: o->memo = arg; break;
    case ARGP_KEY_ARG:
        if (mdq_strings_add(&o->inputs, arg) != MDQ_OK)
            return ENOMEM;
        break;
    case ARGP_KEY_END:
        if (!o->model)
            argp_error(state, "--model is missing");
        if (o->format < 0)
            argp_error(state, "--format is missing");
        if (!o->cli.output || strcmp(o->cli.output, "-") == 0)
            argp_error(state, "-o DIR is missing");
        if (o->dtype >= 0 && formats[o->format] != &pack_format_dense)
            argp_error(state, "--dtype: only a dense export has one");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct mdq_program program = {
    .name = "mdq-pack",
    .args = "[STREAM...]",
    .doc = "Make a model folder that other tools load, from a quantized stream.\v"
           "Without STREAM, standard input is read. Streams about the same layers are merged, streams about different "
           "blocks are read one after the other.\n\n"
           "Example: mdq-tile model | mdq-gptq --bits 4 --group 128 --sym --method rtn | "
           "mdq-pack --model model --format gptq -o model-4bit",
    .options = options,
    .parse = parse,
};

static enum mdq_err open_model(struct state *s)
{
    static const char *const stored[] = {"", "GPTQ", "compressed-tensors"};
    const struct opts *o = s->opts;
    MDQ_TRY(mdq_model_open(&s->model, o->model));
    if (s->model->config.storage != MDQ_STORED_DENSE)
        return mdq_fail(MDQ_E_DATA, "%s: stored quantized already (%s): give the model in full precision", o->model,
                        stored[s->model->config.storage]);
    MDQ_TRY(mdq_model_hash(s->model, o->memo));
    return pack_folder_apart(o->model, o->cli.output);
}

static enum mdq_err make_plan(struct state *s)
{
    const struct opts *o = s->opts;
    bool more;
    MDQ_TRY(pack_input_open(&s->input, s->model, o->inputs.v, o->inputs.n, o->cli.jobs));
    s->plan = (struct pack_plan){.format = formats[o->format],
                                 .source = pack_input_name(s->input),
                                 .dense_type = dtypes[o->dtype < 0 ? 0 : o->dtype],
                                 .keep = o->keep};
    MDQ_TRY(pack_input_next(s->input, &s->layer, &more));
    if (!more)
        return mdq_fail(MDQ_E_DATA, "%s: holds no layers", s->plan.source);
    return pack_plan_make(&s->plan, s->model, &s->layer, pack_input_asked_group(s->input));
}

static enum mdq_err write_config(struct state *s, const char *dir)
{
    char *text = NULL;
    enum mdq_err err = s->plan.format->config(&s->plan, &text);
    if (err == MDQ_OK)
        err = pack_folder_config(s->opts->model, dir, text);
    char *line = NULL;
    if (err == MDQ_OK && s->plan.format->quantize_config_json) {
        err = (line = mdq_asprintf("%s\n", text)) ? MDQ_OK : MDQ_E_INTERNAL;
        if (err == MDQ_OK)
            err = pack_folder_text(dir, "quantize_config.json", line);
    }
    free(line);
    free(text);
    return err;
}

static enum mdq_err write_report(struct state *s, const char *dir)
{
    char *chain = NULL, *text = NULL;
    enum mdq_err err = pack_input_provenance(s->input, &chain);
    if (err == MDQ_OK)
        err = pack_report_make(&text, s->model, &s->plan, &s->totals, chain);
    if (err == MDQ_OK)
        err = pack_folder_text(dir, PACK_MARKER, text);
    if (err == MDQ_OK && s->report)
        err = mdq_output_write(s->report, text, strlen(text));
    free(text);
    free(chain);
    return err;
}

static void say(const struct state *s)
{
    const struct pack_plan *p = &s->plan;
    enum { NAMED = 8 };
    int kept = 0;
    for (int i = 0; i < p->n; i++)
        if (p->entries[i].kept && kept++ < NAMED)
            mdq_log(MDQ_LOG_WARNING, "%s: kept in full precision: %s", p->entries[i].name, p->entries[i].kept);
    if (kept > NAMED)
        mdq_log(MDQ_LOG_WARNING, "and %d more layers, all named in %s/%s", kept - NAMED, s->opts->cli.output, PACK_MARKER);
    mdq_log(MDQ_LOG_NOTE, "%s: %s, %d layers quantized, %d kept in full precision, %d other tensors; %.1f MB of %.1f MB, %.2f "
            "bits per quantized weight", s->opts->cli.output, p->format->name, p->n - p->n_kept, p->n_kept,
            s->totals.carried, s->totals.bytes / 1e6, s->totals.source_bytes / 1e6,
            8 * s->totals.quantized_bytes / s->totals.quantized_weights);
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct state s = {.opts = o};
    enum mdq_err err;
    MDQ_GOTO(err, open_model(&s), out);
    MDQ_GOTO(err, make_plan(&s), out);
    MDQ_GOTO(err, mdq_output_dir_open(&s.out, o->cli.output, PACK_MARKER), out);
    if (o->report)
        MDQ_GOTO(err, mdq_output_open(&s.report, o->report, false), out);
    const char *dir = mdq_output_dir_path(s.out);
    MDQ_GOTO(err, pack_write(dir, (size_t)o->max_shard, s.model, &s.plan, s.input, &s.layer, &s.totals), out);
    MDQ_GOTO(err, pack_folder_copy(o->model, dir), out);
    MDQ_GOTO(err, write_config(&s, dir), out);
    MDQ_GOTO(err, write_report(&s, dir), out);
    MDQ_GOTO(err, mdq_output_dir_commit(&s.out), out);
    if (s.report)
        MDQ_GOTO(err, mdq_output_commit(&s.report), out);
    say(&s);
out:
    mdq_output_abort(&s.report);
    mdq_output_dir_abort(&s.out);
    mdq_qlayer_free(&s.layer);
    pack_plan_free(&s.plan);
    pack_input_close(&s.input);
    mdq_model_close(&s.model);
    mdq_strings_free(&o->inputs);
    return err;
}

int main(int argc, char **argv)
{
    struct opts o = {.format = -1, .dtype = -1, .max_shard = 5000000000};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
