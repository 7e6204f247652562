/*
 * A stream that claims to be about another model: its layers and records under that model's identity. For tests of programs that
 * hold a stream against a model.
 *
 *     relabel-model IN MODEL OUT     MODEL is a stream whose header says the identity
 */
#include <stdio.h>
#include <stdlib.h>

#include "mdq.h"

static enum mdq_err copy(char **argv)
{
    struct mdq_reader *in = NULL, *other = NULL;
    struct mdq_header *head = NULL;
    struct mdq_writer *out = NULL;
    struct mdq_record *rec;
    struct mdq_layer_entry table[64];
    enum mdq_err err;
    MDQ_GOTO(err, mdq_reader_open(&in, &argv[1], 1, NULL), done);
    MDQ_GOTO(err, mdq_reader_open(&other, &argv[2], 1, NULL), done);
    const struct mdq_header *h = mdq_reader_header(in);
    int n = 0;
    for (; n < mdq_header_layers(h) && n < 64; n++)
        table[n] = *mdq_header_layer(h, n);
    MDQ_GOTO(err, mdq_header_new(&head, mdq_header_model(mdq_reader_header(other)), table, n), done);
    MDQ_GOTO(err, mdq_header_add_kind(head, "layer"), done);
    MDQ_GOTO(err, mdq_header_add_kind(head, "tile"), done);
    MDQ_GOTO(err, mdq_writer_open(&out, argv[3], head, NULL), done);
    for (;;) {
        MDQ_GOTO(err, mdq_reader_next(in, &rec), done);
        if (!rec)
            break;
        MDQ_GOTO(err, mdq_writer_put(out, rec), done);
    }
    err = mdq_writer_finish(&out);
done:
    mdq_writer_abort(&out);
    mdq_header_free(&head);
    mdq_reader_close(&in);
    mdq_reader_close(&other);
    return err;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: relabel-model IN MODEL OUT\n");
        return MDQ_E_USAGE;
    }
    enum mdq_err err = copy(argv);
    if (err != MDQ_OK)
        fprintf(stderr, "relabel-model: %s\n", mdq_error_message());
    return (int)err;
}
