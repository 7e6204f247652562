/*
 * Adds to a tile stream what the stages of the geometry find, with values that are easy to sum up by hand: a table of
 * mdq-view has known numbers then.
 *
 *     make-geometry [--status] IN OUT
 *
 * Row i of a tile gets md = i / 100; with --status and a label, md_status 1 where i is even, else 2. Tile (r, c) has the LLE
 * residual 0.1 (r + 1), null 0.8, dim95 13, dim_parallel 4 + r, manifold where r is even. Column block c has charts of
 * dimension 3 + c and 5 + c with weights 0.25 and 0.75, noise 0.2 and 0.4, 0 and 8 hidden units. Each layer reports the basis
 * "charts" and a quarter of its points floored. A report or lle that is there already stays.
 */
#include <stdio.h>
#include <string.h>

#include "mdq.h"

static enum mdq_err add_layer(struct mdq_writer *out, const struct mdq_header *h, struct mdq_record *r)
{
    struct mdq_id id = mdq_record_id(r);
    if (!mdq_record_has(r, "qreport"))
        MDQ_TRY(mdq_record_set_json(r, "qreport", "{\"md\":{\"basis\":\"charts\",\"floored\":0.25}}"));
    MDQ_TRY(mdq_writer_put(out, r));
    const struct mdq_layer_entry *e = mdq_header_layer(h, mdq_header_find_layer(h, id.tensor));
    for (int64_t c = 0; c < e->tile_cols; c++) {
        for (int k = 0; k < 2; k++) {
            struct mdq_record *chart = mdq_record_new(&(struct mdq_id){id.tensor, "chart", k, c});
            if (!chart)
                return MDQ_E_INTERNAL;
            MDQ_TRY(mdq_record_set_int(chart, "dim", 3 + 2 * k + c));
            MDQ_TRY(mdq_record_set_int(chart, "hidden", 8 * k));
            MDQ_TRY(mdq_record_set_f64(chart, "weight", k ? 0.75 : 0.25));
            MDQ_TRY(mdq_record_set_f64(chart, "noise", k ? 0.4 : 0.2));
            MDQ_TRY(mdq_writer_put(out, chart));
            mdq_record_free(&chart);
        }
    }
    return MDQ_OK;
}

static enum mdq_err add_tile(struct mdq_record *r, bool with_status)
{
    enum { MOST = 1024 };
    float md[MOST];
    uint8_t status[MOST];
    char lle[200];
    struct mdq_array a;
    struct mdq_id id = mdq_record_id(r);
    MDQ_TRY(mdq_record_get_array(r, "w", &a));
    int64_t n = a.shape[0] < MOST ? a.shape[0] : MOST;
    for (int64_t i = 0; i < n; i++) {
        md[i] = (float)i / 100;
        status[i] = (uint8_t)(1 + i % 2);
    }
    a = (struct mdq_array){.dtype = MDQ_F32, .ndim = 1, .shape = {n}, .data = md, .bytes = (size_t)n * sizeof *md};
    MDQ_TRY(mdq_record_set_array(r, "md", &a));
    a = (struct mdq_array){.dtype = MDQ_U8, .ndim = 1, .shape = {n}, .data = status, .bytes = (size_t)n};
    if (with_status && mdq_record_has(r, "label"))
        MDQ_TRY(mdq_record_set_array(r, "md_status", &a));
    snprintf(lle, sizeof lle, "{\"residual\":%.3f,\"null_residual\":0.8,\"dim95\":13,\"dim_parallel\":%d,\"manifold\":%s}",
             0.1 * (double)(id.row + 1), 4 + (int)id.row, id.row % 2 ? "false" : "true");
    return mdq_record_has(r, "lle") ? MDQ_OK : mdq_record_set_json(r, "lle", lle);
}

static enum mdq_err copy(char *from, const char *to, bool status)
{
    struct mdq_reader *in = NULL;
    struct mdq_writer *out = NULL;
    struct mdq_header *h = NULL;
    struct mdq_record *r;
    MDQ_TRY(mdq_reader_open(&in, &from, 1, NULL));
    MDQ_TRY(mdq_header_derive(&h, mdq_reader_header(in), "make-geometry", "{}"));
    MDQ_TRY(mdq_header_add_kind(h, "chart"));
    MDQ_TRY(mdq_writer_open(&out, to, h, NULL));
    for (;;) {
        MDQ_TRY(mdq_reader_next(in, &r));
        if (!r)
            break;
        if (strcmp(mdq_record_id(r).kind, "layer") == 0) {
            MDQ_TRY(add_layer(out, h, r));
            continue;
        }
        if (strcmp(mdq_record_id(r).kind, "tile") == 0)
            MDQ_TRY(add_tile(r, status));
        MDQ_TRY(mdq_writer_put(out, r));
    }
    mdq_reader_close(&in);
    mdq_header_free(&h);
    return mdq_writer_finish(&out);
}

int main(int argc, char **argv)
{
    bool status = argc > 1 && strcmp(argv[1], "--status") == 0;
    if (argc != 3 + status) {
        fprintf(stderr, "usage: make-geometry [--status] IN OUT\n");
        return MDQ_E_USAGE;
    }
    enum mdq_err err = copy(argv[1 + status], argv[2 + status], status);
    if (err)
        fprintf(stderr, "make-geometry: %s\n", mdq_error_message());
    return (int)err;
}
