#include "mdq_layers.h"

#include <stdlib.h>
#include <string.h>

#include "mdq_tiling.h"

enum mdq_err mdq_layers_header(struct mdq_header **out, const struct mdq_model *m, int first, int last, int64_t tile)
{
    enum { NAME = 96 };
    size_t most = (size_t)(last - first + 1) * MDQ_LINEARS;
    struct mdq_layer_entry *layers = mdq_calloc(most, sizeof *layers, "layer table");
    char *names = mdq_alloc(most, NAME, "layer names");
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!layers || !names)
        goto out;
    int n = 0;
    for (int b = first; b <= last; b++)
        for (int l = 0; l < MDQ_LINEARS; l++, n++) {
            struct mdq_layer_entry *e = &layers[n];
            e->tensor = mdq_linear_name(names + (size_t)n * NAME, b, (enum mdq_linear)l);
            mdq_linear_shape(&m->config, (enum mdq_linear)l, &e->rows, &e->cols);
            e->tile_rows = mdq_tiling_parts(e->rows, tile);
            e->tile_cols = mdq_tiling_parts(e->cols, tile);
            e->block = b;
        }
    err = mdq_header_new(out, m->hash, layers, n);
out:
    free(names);
    free(layers);
    return err;
}

enum mdq_err mdq_layers_same_model(const struct mdq_header *h, const char *name, const struct mdq_model *m)
{
    if (strcmp(mdq_header_model(h), m->hash) == 0)
        return MDQ_OK;
    return mdq_fail(MDQ_E_DATA, "%s: made from another model (%s) than %s (%s)", name, mdq_header_model(h), m->dir,
                    m->hash);
}
