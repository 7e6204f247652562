/* What a layer is rounded to: its weights, and what mdq-score adds to them; and records that contradict themselves. */
#include <math.h>

#include "gptq_layer.h"
#include "mdq_points.h"
#include "stream_fixture.h"

enum { ROWS = 5, COLS = 7, D0 = 4, D1 = 3 }; /* two tiles side by side */
static const char tensor[] = "model.layers.0.mlp.up_proj.weight";

static float weight(int r, int c)
{
    return (float)(r + 1) + 0.125f * (float)c;
}

static struct mdq_record *record(const char *kind, int64_t col)
{
    struct mdq_record *r = mdq_record_new(&(struct mdq_id){.tensor = tensor, .kind = kind, .row = 0, .col = col});
    assert_non_null(r);
    return r;
}

static void put(struct mdq_record *r, const char *key, enum mdq_dtype t, int ndim, int64_t a, int64_t b, const void *data)
{
    const struct mdq_array v = {.dtype = t, .ndim = ndim, .shape = {a, b}, .data = data,
                                .bytes = mdq_dtype_bytes(t, a * (ndim > 1 ? b : 1))};
    OK(mdq_record_set_array(r, key, &v));
}

/* Tiles with their weights; *second is the one that tests add to. */
static void layer_new(struct gptq_layer *l, struct mdq_record **second)
{
    *l = (struct gptq_layer){.tiles = {.entry = {.tensor = tensor, .rows = ROWS, .cols = COLS, .tile_rows = 1, .tile_cols = 2}}};
    OK(mdq_layer_tiles_hold(&l->tiles, record("layer", 0)));
    for (int j = 0; j < 2; j++) {
        float w[ROWS * D0];
        const int first = j ? D0 : 0, D = j ? D1 : D0;
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < D; c++)
                w[r * D + c] = weight(r, first + c);
        struct mdq_record *tile = record("tile", j);
        put(tile, "w", MDQ_F32, 2, ROWS, D, w);
        OK(mdq_layer_tiles_hold(&l->tiles, tile));
        *second = tile;
    }
}

static const uint8_t labels[ROWS] = {MDQ_FREE, MDQ_SENSITIVE, MDQ_FUNCTIONAL, MDQ_OVERLAP, MDQ_FREE};
static const float targets[ROWS] = {0, 0.6f, 0.4f, 0.5f, 0};
static const float shifts[2 * D1] = {1, 2, 3, -10, -20, -30};

static void without_keys_the_target_is_the_weights(void **state)
{
    (void)state;
    struct gptq_layer l;
    struct mdq_record *tile;
    layer_new(&l, &tile);
    put(tile, "label", MDQ_U8, 1, ROWS, 0, labels); /* labels alone move nothing here */
    put(tile, "md_target", MDQ_F32, 1, ROWS, 0, targets);
    OK(gptq_layer_assemble(&l));
    assert_false(l.moved);
    for (int i = 0; i < ROWS * COLS; i++)
        assert_true(l.target[i] == weight(i / COLS, i % COLS) && l.tiles.w[i] == l.target[i]);
    gptq_layer_free(&l);
}

static void drift_and_shift_move_the_target_and_nothing_else(void **state)
{
    (void)state;
    struct gptq_layer l;
    struct mdq_record *tile;
    struct mdq_points g;
    float drift[ROWS * D1];
    uint16_t narrow[ROWS * D1];
    for (int i = 0; i < ROWS * D1; i++)
        drift[i] = 0.25f * (float)(i % 5);
    mdq_dtype_from_f32(MDQ_BF16, drift, ROWS * D1, narrow); /* exact */
    layer_new(&l, &tile);
    put(tile, "label", MDQ_U8, 1, ROWS, 0, labels);
    put(tile, "md_target", MDQ_F32, 1, ROWS, 0, targets);
    put(tile, "shift", MDQ_F32, 2, 2, D1, shifts);
    put(tile, "drift", MDQ_BF16, 2, ROWS, D1, narrow);
    OK(gptq_layer_assemble(&l));
    assert_true(l.moved);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            float want = weight(r, c);
            if (c >= D0)
                want += drift[r * D1 + c - D0] + (r == 1 ? shifts[c - D0] : r == 3 ? shifts[D1 + c - D0] : 0);
            assert_true(l.target[r * COLS + c] == want);
            assert_true(l.tiles.w[r * COLS + c] == weight(r, c)); /* distortion is measured from here */
        }
    OK(mdq_points_read(&g, &l.tiles));
    assert_int_equal(g.shifts, 2);
    for (int at = 0; at < ROWS * 2; at++) {
        const int64_t k = g.shift_at[at];
        assert_true(at == 3 ? k == 0 : at == 7 ? k == 1 : k == -1);
        if (k >= 0)
            assert_memory_equal(g.shift + k * g.first_most, shifts + k * D1, D1 * sizeof(float));
    }
    mdq_points_free(&g);
    gptq_layer_free(&l);
}

/* What is put into the tile, and what the message says beside the tile's place. */
static void refused(const uint8_t *label, int64_t label_rows, const char *key, enum mdq_dtype t, int ndim, int64_t a, int64_t b,
                    const char *why)
{
    static const double zeros[64];
    struct gptq_layer l;
    struct mdq_record *tile;
    layer_new(&l, &tile);
    if (label)
        put(tile, "label", MDQ_U8, 1, label_rows, 0, label);
    put(tile, key, t, ndim, a, b, zeros);
    FAILS(MDQ_E_DATA, why, gptq_layer_assemble(&l));
    assert_non_null(strstr(mdq_error_message(), "model.layers.0.mlp.up_proj.weight: tile 0, 1: "));
    gptq_layer_free(&l);
}

static void shapes_that_do_not_fit_are_refused_with_their_tile(void **state)
{
    (void)state;
    static const uint8_t odd[ROWS] = {4, 7, 250, 0, 2}; /* one that is sensitive, three that are nothing */
    refused(NULL, 0, "drift", MDQ_BF16, 2, ROWS - 1, D1, "drift: want [5, 3]");
    refused(NULL, 0, "drift", MDQ_BF16, 2, ROWS, D1 + 1, "drift: want [5, 3]");
    refused(NULL, 0, "drift", MDQ_BF16, 2, D1, ROWS, "drift: want [5, 3]");
    refused(NULL, 0, "drift", MDQ_BF16, 1, ROWS * D1, 0, "drift: want [5, 3]");
    refused(NULL, 0, "drift", MDQ_U8, 2, ROWS, D1, "drift");
    refused(NULL, 0, "shift", MDQ_F32, 2, 2, D1, "shift: there is no label");
    refused(labels, ROWS, "shift", MDQ_F32, 2, 1, D1, "shift: want [2, 3]");
    refused(labels, ROWS, "shift", MDQ_F32, 2, 3, D1, "shift: want [2, 3]");
    refused(labels, ROWS, "shift", MDQ_F32, 2, 2, D1 - 1, "shift: want [2, 3]");
    refused(labels, ROWS, "shift", MDQ_F32, 2, D1, 2, "shift: want [2, 3]");
    refused(labels, ROWS, "shift", MDQ_F32, 1, 2 * D1, 0, "shift: want [2, 3]");
    refused(labels, ROWS, "shift", MDQ_U16, 2, 2, D1, "shift");
    refused(labels, ROWS - 1, "shift", MDQ_F32, 2, 2, D1, "label: want u8 with 5 rows");
    refused(odd, ROWS, "shift", MDQ_F32, 2, 2, D1, "shift: want [1, 3]");
}

/* Numbers that are not finite cannot be stored under these keys, and so are refused on reading. */
static void what_is_not_finite_cannot_be_written(void **state)
{
    (void)state;
    static const char *const keys[] = {"shift", "drift", "functional_rank", "privacy_rank", "s_func", "s_priv", "md_target"};
    const float bad[3] = {1, INFINITY, NAN};
    for (int i = 0; i < 7; i++) {
        struct mdq_record *tile = record("tile", 0);
        const struct mdq_array v = {.dtype = MDQ_F32, .ndim = 2, .shape = {1, 3}, .data = bad, .bytes = sizeof bad};
        FAILS(MDQ_E_DATA, "element 1 is not finite", mdq_record_set_array(tile, keys[i], &v));
        mdq_record_free(&tile);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_keys_the_target_is_the_weights), cmocka_unit_test(drift_and_shift_move_the_target_and_nothing_else),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused_with_their_tile), cmocka_unit_test(what_is_not_finite_cannot_be_written),
    };
    return cmocka_run_group_tests_name("target of a layer", tests, NULL, NULL);
}
