/*
 * Writes a folder whose model.safetensors holds every linear layer of a model as float32, whatever the model stores
 * them as: for comparing with what other readers make of the same folder.
 */
#include <stdio.h>

#include "mdq_cli.h"
#include "mdq_model.h"
#include "mdq_output.h"
#include "mdq_safetensors.h"

struct opts {
    struct mdq_cli cli;
    const char *model;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (o->model)
            argp_error(state, "'%s': one model only", arg);
        o->model = arg;
        break;
    case ARGP_KEY_END:
        if (!o->model || !o->cli.output)
            argp_error(state, "MODEL and -o DIR are needed");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static enum mdq_err write_block(const struct mdq_model *m, int block, struct mdq_block *b,
                                struct mdq_safetensors_writer *w, bool announce)
{
    if (!announce)
        MDQ_TRY(mdq_model_load_block(m, block, b));
    for (int i = 0; i < MDQ_LINEARS; i++) {
        char name[96];
        int64_t shape[2];
        mdq_linear_shape(&m->config, (enum mdq_linear)i, &shape[0], &shape[1]);
        mdq_linear_name(name, block, (enum mdq_linear)i);
        if (announce)
            MDQ_TRY(mdq_safetensors_writer_announce(w, name, MDQ_F32, 2, shape));
        else
            MDQ_TRY(mdq_safetensors_writer_data(w, name, b->linear[i], (size_t)(shape[0] * shape[1]) * sizeof(float)));
    }
    return MDQ_OK;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_model *m = NULL;
    struct mdq_block b = {0};
    struct mdq_output_dir *out = NULL;
    struct mdq_safetensors_writer *w = NULL;
    enum mdq_err err;
    MDQ_GOTO(err, mdq_model_open(&m, o->model), out);
    MDQ_GOTO(err, mdq_output_dir_open(&out, o->cli.output, "model.safetensors"), out);
    MDQ_GOTO(err, mdq_safetensors_writer_new(&w, mdq_output_dir_path(out), 0), out);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < m->config.layers; i++)
            MDQ_GOTO(err, write_block(m, i, &b, w, pass == 0), out);
    MDQ_GOTO(err, mdq_safetensors_writer_finish(&w), out);
    err = mdq_output_dir_commit(&out);
out:
    mdq_safetensors_writer_abort(&w);
    mdq_output_dir_abort(&out);
    mdq_block_free(&b);
    mdq_model_close(&m);
    return err;
}

static const struct mdq_program program = {
    .name = "dump-weights",
    .args = "MODEL",
    .doc = "Write the linear layers of a model as float32 safetensors.\vdump-weights -o dense model-gptq",
    .grants = MDQ_CLI_OUTPUT,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {0};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
