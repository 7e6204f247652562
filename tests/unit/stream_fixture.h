/* What the tests of the stream library share: a header of two layers, tile records, files in a temporary folder. */
#ifndef STREAM_FIXTURE_H
#define STREAM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mdq.h"
#include "mdq_cli.h"

static const char model_id[] = "0123456789abcdef0123456789abcdef";
static const struct mdq_layer_entry two_layers[] = {
    {"model.layers.0.mlp.up_proj.weight", 512, 300, 2, 2, 0},
    {"model.layers.1.mlp.up_proj.weight", 512, 300, 2, 2, 1},
};

#define OK(call)                                                                                             \
    do {                                                                                                     \
        if ((call) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #call, mdq_error_message());                                                  \
    } while (0)
#define FAILS(err, text, call)                                                                               \
    do {                                                                                                     \
        assert_int_equal((call), (err));                                                                     \
        if (!strstr(mdq_error_message(), (text)))                                                            \
            fail_msg("message is: %s", mdq_error_message());                                                 \
    } while (0)

__attribute__((unused)) static struct mdq_header *new_header(const char *const *kinds)
{
    struct mdq_header *h;
    OK(mdq_header_new(&h, model_id, two_layers, 2));
    for (; *kinds; kinds++)
        OK(mdq_header_add_kind(h, *kinds));
    return h;
}

__attribute__((unused)) static struct mdq_record *new_tile(int layer, int64_t row, int64_t col)
{
    struct mdq_id id = {two_layers[layer].tensor, "tile", row, col};
    struct mdq_record *r = mdq_record_new(&id);
    assert_non_null(r);
    return r;
}

/* A pseudo-random tile: bf16 bits whose exponents are like those of weights. */
__attribute__((unused)) static void fill_bf16(uint16_t *w, size_t n, uint64_t seed)
{
    uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        unsigned r = (unsigned)(s >> 33);
        unsigned exponent = 120 - (unsigned)__builtin_ctz((r >> 8) | 0x10000);
        w[i] = (uint16_t)((r & 0x80) << 8 | exponent << 7 | (r & 0x7f));
    }
}

__attribute__((unused)) static const char *temp_path(const char *name)
{
    static char dir[64], path[8][256];
    static int k;
    if (!dir[0]) {
        strcpy(dir, "/tmp/mdq-unit-XXXXXX");
        assert_non_null(mkdtemp(dir));
    }
    k = (k + 1) % 8;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

__attribute__((unused)) static int remove_temp(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", temp_path(""));
    return system(command);
}

__attribute__((unused)) static uint8_t *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*size + 1);
    assert_int_equal(fread(p, 1, *size, f), *size);
    fclose(f);
    return p;
}

#endif
