/*
 * Writes a statistics stream of a model with Hessians of made-up inputs (correlated, channels of different strength),
 * with what a test wants wrong in it: mdq-gptq can then be tested without a calibration run.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_cli.h"
#include "mdq_layers.h"
#include "mdq_linalg.h"
#include "mdq_tiling.h"

static const char *const fault_names[] = {"none", "missing", "panel",      "order",      "count", "dim",     "shape",
                                          "dead", "no-input", "indefinite", "needs-damp", "for",   "no-kind", NULL};
enum fault { NONE, MISSING, PANEL, ORDER, COUNT, DIM, SHAPE, DEAD, NO_INPUT, INDEFINITE, NEEDS_DAMP, FOR, NO_KIND };

struct opts {
    struct mdq_cli cli;
    const char *model, *at;
    int fault, tokens, panel, first, last;
    bool identity;
};

enum { KEY_TOKENS = 1, KEY_PANEL, KEY_FAULT, KEY_AT, KEY_BLOCK, KEY_IDENTITY };

static const struct argp_option options[] = {
    {"tokens", KEY_TOKENS, "N", 0, "inputs per layer (default 600)", 1},
    {"panel", KEY_PANEL, "N", 0, "rows per panel (default 50)", 1},
    {"fault", KEY_FAULT, "WHAT", 0, "what is wrong, see the source", 1},
    {"at", KEY_AT, "TENSOR", 0, "the first layer of the input that has the fault", 1},
    {"block", KEY_BLOCK, "N", 0, "only this block", 1},
    {"identity", KEY_IDENTITY, 0, 0, "every Hessian is the identity", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_TOKENS: o->tokens = (int)mdq_arg_int(state, "--tokens", arg, 1, 1 << 20); break;
    case KEY_PANEL: o->panel = (int)mdq_arg_int(state, "--panel", arg, 1, 1 << 20); break;
    case KEY_FAULT: o->fault = mdq_arg_choice(state, "--fault", arg, fault_names); break;
    case KEY_AT: o->at = arg; break;
    case KEY_BLOCK: o->first = o->last = (int)mdq_arg_int(state, "--block", arg, 0, 4096); break;
    case KEY_IDENTITY: o->identity = true; break;
    case ARGP_KEY_ARG: o->model = arg; break;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the model is missing"); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53 * 2 - 1;
}

/* lower triangle of h [n, n] */
static void fill(const struct opts *o, int64_t n, float *h, float *x, enum fault fault)
{
    double mean = 0;
    memset(h, 0, sizeof *h * (size_t)(n * n));
    for (int64_t i = 0; o->identity && i < n; i++)
        h[i * n + i] = 1;
    for (int t = 0; !o->identity && t < o->tokens; t++) {
        double common = uniform();
        for (int64_t c = 0; c < n; c++)
            x[t * n + c] = fault == NO_INPUT || (fault == DEAD && c == 3)
                               ? 0 : (float)((uniform() + 0.6 * common) * (c % 13 == 5 ? 5 : 0.5 + (double)(c % 3)));
    }
    if (!o->identity)
        mdq_syrk_add(o->tokens, n, x, n, h, n);
    for (int64_t i = 0; i < n; i++)
        mean += h[i * n + i] / (double)n;
    for (int64_t i = 0; i < n && fault == INDEFINITE; i++)
        h[i * n + i] -= (float)(0.9 * mean);
    if (fault == NEEDS_DAMP) { /* two inputs that are one, and a little more than that */
        for (int64_t c = 0; c < n; c++)
            h[n + c] = 0;
        for (int64_t r = 2; r < n; r++)
            h[r * n + 1] = 0;
        h[n + 1] = (float)(-0.05 * mean);
    }
}

static enum mdq_err put_panel(struct mdq_writer *out, const char *tensor, const char *sharing, int64_t index, int64_t first,
                              int64_t rows, int64_t n, int64_t count, const float *h, enum fault fault)
{
    struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = tensor, .kind = "hessian", .row = index});
    int64_t width = first + rows - (fault == SHAPE);
    float *flat = malloc(sizeof *flat * (size_t)(rows * (first + rows)));
    if (!rec || !flat)
        return mdq_fail_nomem("panel", 0);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++)
            flat[r * width + c] = c <= first + r ? h[(first + r) * n + c] : h[c * n + first + r];
    const struct mdq_array a = {.dtype = MDQ_F32, .ndim = 2, .shape = {rows, width}, .data = flat,
                                .bytes = sizeof *flat * (size_t)(rows * width)};
    MDQ_TRY(mdq_record_set_array(rec, "h", &a));
    MDQ_TRY(mdq_record_set_int(rec, "first", first + (fault == ORDER && index == 1)));
    MDQ_TRY(mdq_record_set_int(rec, "dim", n + (fault == DIM)));
    MDQ_TRY(mdq_record_set_int(rec, "count", count + (fault == COUNT && index == 1)));
    MDQ_TRY(mdq_record_set_json(rec, "for", fault == FOR ? "{\"a\":1}" : sharing));
    free(flat);
    enum mdq_err err = mdq_writer_put(out, rec);
    mdq_record_free(&rec);
    return err;
}

static enum mdq_err put_input(const struct opts *o, struct mdq_writer *out, int block, enum mdq_linear l, int64_t n)
{
    char tensor[96], name[96], sharing[512] = "[";
    mdq_linear_name(tensor, block, l);
    enum fault fault = o->at && strcmp(o->at, tensor) == 0 ? (enum fault)o->fault : NONE;
    if (fault == MISSING)
        return MDQ_OK;
    for (int k = l; k < MDQ_LINEARS && mdq_linear_input((enum mdq_linear)k) == mdq_linear_input(l); k++) {
        size_t used = strlen(sharing);
        snprintf(sharing + used, sizeof sharing - used, "%s\"%s\"", k > (int)l ? "," : "",
                 mdq_linear_name(name, block, (enum mdq_linear)k));
    }
    strcat(sharing, "]");
    float *h = malloc(sizeof *h * (size_t)(n * n)), *x = malloc(sizeof *x * (size_t)(n * o->tokens));
    if (!h || !x)
        return mdq_fail_nomem("Hessian", 0);
    fill(o, n, h, x, fault);
    for (int64_t first = 0, index = 0; first < n; first += o->panel, index++) {
        int64_t rows = first + o->panel < n ? o->panel : n - first;
        if (!(fault == PANEL && first + rows == n))
            MDQ_TRY(put_panel(out, tensor, sharing, index, first, rows, n, o->tokens, h, fault));
    }
    free(h);
    free(x);
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_model *m = NULL;
    struct mdq_header *h = NULL;
    struct mdq_writer *out = NULL;
    MDQ_TRY(mdq_model_open(&m, o->model));
    MDQ_TRY(mdq_model_hash(m, NULL));
    if (o->last < 0)
        o->last = m->config.layers - 1;
    MDQ_TRY(mdq_layers_header(&h, m, o->first, o->last, MDQ_TILE));
    if (o->fault != NO_KIND)
        MDQ_TRY(mdq_header_add_kind(h, "hessian"));
    MDQ_TRY(mdq_writer_open(&out, o->cli.output, h, &(struct mdq_writer_options){.level = o->cli.level}));
    for (int b = o->first; b <= o->last && o->fault != NO_KIND; b++)
        for (int l = 0; l < MDQ_LINEARS; l++) {
            int64_t rows, cols;
            mdq_linear_shape(&m->config, (enum mdq_linear)l, &rows, &cols);
            if (l == 0 || mdq_linear_input((enum mdq_linear)l) != mdq_linear_input((enum mdq_linear)(l - 1)))
                MDQ_TRY(put_input(o, out, b, (enum mdq_linear)l, cols));
        }
    mdq_header_free(&h);
    mdq_model_close(&m);
    return mdq_writer_finish(&out);
}

int main(int argc, char **argv)
{
    static const struct mdq_program program = {
        .name = "make-hessians",
        .args = "MODEL",
        .doc = "Write Hessians of made-up inputs, for tests.",
        .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
        .options = options,
        .parse = parse,
    };
    struct opts o = {.tokens = 600, .panel = 50, .last = -1};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
