/*
 * Writes a quantized stream of a model, by plain rounding, with what a test wants wrong in it. It shares no code with
 * mdq-gptq, so that mdq-pack can be tested alone and with streams that mdq-gptq never writes.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_cli.h"
#include "mdq_layers.h"
#include "mdq_tiling.h"

static const char *const scale_names[] = {"f16", "bf16", "f32", "f64", NULL};
static const enum mdq_dtype scale_types[] = {MDQ_F16, MDQ_BF16, MDQ_F32, MDQ_F64};
static const char *const fault_names[] = {"none",   "drop-layer", "drop-tile", "drop-last", "no-codes", "bits", "scale-type",
                                          "group",  "zero",       NULL};
enum fault { NONE, DROP_LAYER, DROP_TILE, DROP_LAST, NO_CODES, BITS, SCALE_TYPE, GROUP, ZERO };

struct opts {
    struct mdq_cli cli;
    const char *model, *at;
    int bits, group, scale, fault, first, last, tile;
    bool asym;
};

enum { KEY_BITS = 1, KEY_GROUP, KEY_ASYM, KEY_SCALE, KEY_FAULT, KEY_AT, KEY_BLOCK, KEY_TILE };

static const struct argp_option options[] = {
    {"bits", KEY_BITS, "B", 0, "2, 3, 4 (default) or 8", 1},
    {"group", KEY_GROUP, "G", 0, "columns per group (default 32); rows that it does not divide are one group", 1},
    {"asym", KEY_ASYM, 0, 0, "with zero points", 1},
    {"scale", KEY_SCALE, "TYPE", 0, "f16 (default), bf16, f32 or f64", 1},
    {"fault", KEY_FAULT, "WHAT", 0, "drop-layer, drop-tile, drop-last, no-codes, bits, scale-type, group, zero", 1},
    {"at", KEY_AT, "TENSOR", 0, "the layer that has the fault", 1},
    {"block", KEY_BLOCK, "N", 0, "only this block", 1},
    {"tile", KEY_TILE, "N", 0, "tile size (default 256)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_BITS: o->bits = (int)mdq_arg_int(state, "--bits", arg, 2, 8); break;
    case KEY_GROUP: o->group = (int)mdq_arg_int(state, "--group", arg, 1, 1 << 20); break;
    case KEY_ASYM: o->asym = true; break;
    case KEY_SCALE: o->scale = mdq_arg_choice(state, "--scale", arg, scale_names); break;
    case KEY_FAULT: o->fault = mdq_arg_choice(state, "--fault", arg, fault_names); break;
    case KEY_AT: o->at = arg; break;
    case KEY_BLOCK: o->first = o->last = (int)mdq_arg_int(state, "--block", arg, 0, 4096); break;
    case KEY_TILE: o->tile = (int)mdq_arg_int(state, "--tile", arg, 8, 1024); break;
    case ARGP_KEY_ARG: o->model = arg; break;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the model is missing"); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

struct layer {
    const struct mdq_layer_entry *e;
    int bits;
    int64_t group, groups;
    enum mdq_dtype scale_type;
    uint8_t *codes, *zeros;
    float *scales;
};

static float narrow(enum mdq_dtype t, float x)
{
    return t == MDQ_F16 ? mdq_f16_to_f32(mdq_f32_to_f16(x)) : t == MDQ_BF16 ? mdq_bf16_to_f32(mdq_f32_to_bf16(x)) : x;
}

static void round_group(struct layer *l, const float *w, int64_t r, int64_t g, bool asym)
{
    const int levels = (1 << l->bits) - 1;
    float lo = 0, hi = 0, most = 0;
    for (int64_t k = g * l->group; k < (g + 1) * l->group; k++) {
        float x = w[r * l->e->cols + k];
        lo = fminf(lo, x);
        hi = fmaxf(hi, x);
        most = fmaxf(most, fabsf(x));
    }
    float scale = narrow(l->scale_type, fmaxf(asym ? (hi - lo) / (float)levels : 2 * most / (float)levels, 1e-4f));
    int zero = 1 << (l->bits - 1);
    if (asym) /* never 0, so that every format can hold it */
        zero = (int)fminf(fmaxf(rintf(-lo / scale), 1), (float)levels);
    l->scales[r * l->groups + g] = scale;
    l->zeros[r * l->groups + g] = (uint8_t)zero;
    for (int64_t k = g * l->group; k < (g + 1) * l->group; k++) {
        float q = rintf(w[r * l->e->cols + k] / scale) + (float)zero;
        l->codes[r * l->e->cols + k] = (uint8_t)fminf(fmaxf(q, 0), (float)levels);
    }
}

static enum mdq_err put_layer(struct mdq_writer *out, const struct layer *l, bool asym, bool act)
{
    struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = l->e->tensor, .kind = "layer"});
    const int64_t n = l->e->rows * l->groups;
    void *scales = malloc((size_t)n * sizeof(double));
    if (!rec || !scales)
        return MDQ_E_INTERNAL;
    mdq_dtype_from_f32(l->scale_type, l->scales, n, scales);
    const struct mdq_array s = {.dtype = l->scale_type, .ndim = 2, .shape = {l->e->rows, l->groups}, .data = scales,
                                .bytes = mdq_dtype_bytes(l->scale_type, n)};
    const struct mdq_array z = {.dtype = MDQ_U8, .ndim = 2, .shape = {l->e->rows, l->groups}, .data = l->zeros,
                                .bytes = (size_t)n};
    MDQ_TRY(mdq_record_set_int(rec, "qbits", l->bits));
    MDQ_TRY(mdq_record_set_int(rec, "qgroup", l->group));
    MDQ_TRY(mdq_record_set_bool(rec, "qsym", !asym));
    MDQ_TRY(mdq_record_set_str(rec, "qmethod", act ? "gptq" : "rtn"));
    MDQ_TRY(mdq_record_set_str(rec, "qorder", act ? "act" : "natural"));
    MDQ_TRY(mdq_record_set_array(rec, "scales", &s));
    if (asym)
        MDQ_TRY(mdq_record_set_array(rec, "zeros", &z));
    MDQ_TRY(mdq_record_set_json(rec, "qreport", "{\"note\":\"made for a test\"}"));
    free(scales);
    enum mdq_err err = mdq_writer_put(out, rec);
    mdq_record_free(&rec);
    return err;
}

static enum mdq_err put_tile(struct mdq_writer *out, const struct layer *l, int64_t i, int64_t j, bool codes)
{
    const struct mdq_layer_entry *e = l->e;
    const int64_t row = mdq_tiling_first(e->rows, e->tile_rows, i), rows = mdq_tiling_length(e->rows, e->tile_rows, i);
    const int64_t col = mdq_tiling_first(e->cols, e->tile_cols, j), cols = mdq_tiling_length(e->cols, e->tile_cols, j);
    struct mdq_record *rec = mdq_record_new(&(struct mdq_id){.tensor = e->tensor, .kind = "tile", .row = i, .col = j});
    uint8_t *flat = malloc((size_t)(rows * cols)), *packed = malloc((size_t)(rows * cols) + 8);
    if (!rec || !flat || !packed)
        return MDQ_E_INTERNAL;
    for (int64_t k = 0; k < rows; k++)
        memcpy(flat + k * cols, l->codes + (row + k) * e->cols + col, (size_t)cols);
    mdq_bits_pack(flat, rows * cols, (unsigned)l->bits, packed);
    const enum mdq_dtype t = l->bits == 2 ? MDQ_U2 : l->bits == 3 ? MDQ_U3 : l->bits == 4 ? MDQ_U4 : MDQ_U8;
    const struct mdq_array a = {.dtype = t, .ndim = 2, .shape = {rows, cols}, .data = packed,
                                .bytes = mdq_dtype_bytes(t, rows * cols)};
    if (codes)
        MDQ_TRY(mdq_record_set_array(rec, "codes", &a));
    free(flat);
    free(packed);
    enum mdq_err err = mdq_writer_put(out, rec);
    mdq_record_free(&rec);
    return err;
}

static enum mdq_err write_layer(const struct opts *o, struct mdq_writer *out, const struct mdq_layer_entry *e, const float *w)
{
    const enum fault fault = o->at && strcmp(o->at, e->tensor) == 0 ? (enum fault)o->fault : NONE;
    struct layer l = {.e = e, .bits = fault == BITS ? (o->bits == 4 ? 8 : 4) : o->bits,
                      .group = fault == GROUP || e->cols % o->group ? e->cols : o->group,
                      .scale_type = fault == SCALE_TYPE ? MDQ_F64 : scale_types[o->scale]};
    l.groups = e->cols / l.group;
    l.codes = malloc((size_t)(e->rows * e->cols));
    l.zeros = malloc((size_t)(e->rows * l.groups));
    l.scales = malloc((size_t)(e->rows * l.groups) * sizeof *l.scales);
    if (!l.codes || !l.zeros || !l.scales)
        return mdq_fail_nomem("codes", 0);
    for (int64_t r = 0; r < e->rows; r++)
        for (int64_t g = 0; g < l.groups; g++)
            round_group(&l, w, r, g, o->asym);
    if (fault == ZERO)
        l.zeros[l.groups] = 0; /* row 1, group 0 */
    if (fault != DROP_LAYER)
        MDQ_TRY(put_layer(out, &l, o->asym, o->cli.seed == 1));
    for (int64_t j = 0; j < e->tile_cols && fault != DROP_LAYER; j++)
        for (int64_t i = 0; i < e->tile_rows; i++) {
            bool last = i == e->tile_rows - 1 && j == e->tile_cols - 1;
            if (!(fault == DROP_TILE && i + j == 0) && !(fault == DROP_LAST && last))
                MDQ_TRY(put_tile(out, &l, i, j, fault != NO_CODES));
        }
    free(l.codes);
    free(l.zeros);
    free(l.scales);
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_model *m = NULL;
    struct mdq_header *plain = NULL, *h = NULL;
    struct mdq_writer *out = NULL;
    struct mdq_block b = {0};
    char args[64];
    MDQ_TRY(mdq_model_open(&m, o->model));
    MDQ_TRY(mdq_model_hash(m, NULL));
    if (o->last < 0)
        o->last = m->config.layers - 1;
    MDQ_TRY(mdq_layers_header(&plain, m, o->first, o->last, o->tile));
    snprintf(args, sizeof args, "{\"bits\":%d,\"group\":%d}", o->bits, o->group);
    MDQ_TRY(mdq_header_derive(&h, plain, "make-codes", args));
    MDQ_TRY(mdq_header_add_kind(h, "layer"));
    MDQ_TRY(mdq_header_add_kind(h, "tile"));
    MDQ_TRY(mdq_writer_open(&out, o->cli.output, h, &(struct mdq_writer_options){.level = o->cli.level}));
    for (int i = o->first; i <= o->last; i++) {
        MDQ_TRY(mdq_model_load_block(m, i, &b));
        for (int l = 0; l < MDQ_LINEARS; l++)
            MDQ_TRY(write_layer(o, out, mdq_header_layer(h, (i - o->first) * MDQ_LINEARS + l), b.linear[l]));
    }
    mdq_block_free(&b);
    mdq_header_free(&plain);
    mdq_header_free(&h);
    mdq_model_close(&m);
    return mdq_writer_finish(&out);
}

int main(int argc, char **argv)
{
    static const struct mdq_program program = {
        .name = "make-codes",
        .args = "MODEL",
        .doc = "Write a quantized stream, for tests; --seed 1 says that it was made by GPTQ in activation order.",
        .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
        .options = options,
        .parse = parse,
    };
    struct opts o = {.bits = 4, .group = 32, .tile = MDQ_TILE, .last = -1};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
