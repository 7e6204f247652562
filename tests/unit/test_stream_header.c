/* Headers: provenance, merging, what is refused; canonical order. */
#include "mdq_internal.h"
#include "stream_fixture.h"

static const char *const tiles_only[] = {"tile", NULL};

static struct mdq_header *with(const char *const *progs)
{
    struct mdq_header *h = new_header(tiles_only);
    for (; *progs; progs++)
        OK(mdq_header_add_provenance(h, NULL, *progs, "{}"));
    return h;
}

static void expect_chain(const struct mdq_header *h, const char *want) /* "a b(a) c(a,b)" */
{
    char got[1024] = "";
    for (int i = 0; i < h->n_prov; i++) {
        strcat(strcat(got, i ? " " : ""), h->prov[i].id);
        for (int k = 0; k < h->prov[i].n_prev; k++)
            strcat(strcat(got, k ? "," : "("), h->prov[i].prev[k]);
        strcat(got, h->prov[i].n_prev ? ")" : "");
    }
    assert_string_equal(got, want);
}

static void ids_are_unique_by_suffix(void **state)
{
    (void)state;
    struct mdq_header *h = with((const char *const[]){"a", "a", "b", "a", NULL});
    expect_chain(h, "a a.1(a) b(a.1) a.2(b)");
    mdq_header_free(&h);
}

/* What two chains share is there once; what differs under one id gets another. */
static void chains_are_united(void **state)
{
    (void)state;
    struct mdq_header *x = with((const char *const[]){"tile", "lle", NULL});
    struct mdq_header *y = with((const char *const[]){"tile", NULL});
    OK(mdq_header_add_provenance(y, NULL, "lle", "{\"k\":3}"));
    OK(mdq_header_add_provenance(y, NULL, "vae", NULL));
    OK(mdq_header_add_provenance(x, y, "gptq", NULL));
    expect_chain(x, "tile lle(tile) lle.1(tile) vae(lle.1) gptq(lle,vae)");
    /* and united with itself a chain stays what it is */
    OK(mdq_header_unite(x, y, false));
    expect_chain(x, "tile lle(tile) lle.1(tile) vae(lle.1) gptq(lle,vae)");
    mdq_header_free(&x);
    mdq_header_free(&y);
}

static void no_program_no_entry(void **state)
{
    (void)state;
    struct mdq_header *x = with((const char *const[]){"tile", NULL}), *y;
    OK(mdq_header_derive(&y, x, NULL, NULL));
    OK(mdq_header_add_provenance(y, x, NULL, NULL));
    expect_chain(y, "tile");
    mdq_header_free(&x);
    mdq_header_free(&y);
}

static void other_keys(void **state)
{
    (void)state;
    struct mdq_header *x = new_header(tiles_only), *y = new_header(tiles_only);
    OK(mdq_header_set_json(x, "calib", "{\"tokens\": 5, \"ctx\": 1.5}"));
    OK(mdq_header_set_json(x, "calib", "{\"ctx\":1.5,\"tokens\":5}")); /* the same value */
    FAILS(MDQ_E_DATA, "another value", mdq_header_set_json(x, "calib", "{\"ctx\":1.5,\"tokens\":6}"));
    FAILS(MDQ_E_DATA, "no JSON", mdq_header_set_json(x, "x-y", "{"));
    FAILS(MDQ_E_INTERNAL, "function of its own", mdq_header_set_json(x, "layers", "[]"));
    char *json = mdq_header_get_json(x, "calib");
    assert_string_equal(json, "{\"ctx\":1.5,\"tokens\":5}");
    free(json);
    assert_null(mdq_header_get_json(x, "nothing"));
    OK(mdq_header_unite(y, x, false));
    json = mdq_header_get_json(y, "calib");
    assert_string_equal(json, "{\"ctx\":1.5,\"tokens\":5}");
    free(json);
    struct mdq_header *z = new_header(tiles_only);
    OK(mdq_header_set_json(z, "calib", "1"));
    FAILS(MDQ_E_DATA, "header key calib: has another value", mdq_header_unite(z, x, false));
    mdq_header_free(&x);
    mdq_header_free(&y);
    mdq_header_free(&z);
}

static void models_and_tables_must_agree(void **state)
{
    (void)state;
    struct mdq_header *a = new_header(tiles_only), *b, *c, *d;
    OK(mdq_header_new(&b, "ffffffffffffffffffffffffffffffff", two_layers, 2));
    OK(mdq_header_new(&c, model_id, two_layers + 1, 1));
    struct mdq_layer_entry other = two_layers[0];
    other.tile_rows = 3;
    OK(mdq_header_new(&d, model_id, &other, 1));
    FAILS(MDQ_E_DATA, "another model", mdq_header_unite(a, b, true));
    FAILS(MDQ_E_DATA, "another table", mdq_header_unite(a, c, false));
    FAILS(MDQ_E_DATA, "another shape or tiling", mdq_header_unite(a, d, true));
    /* tables united: in the order of blocks */
    struct mdq_header *e;
    OK(mdq_header_new(&e, model_id, two_layers, 1));
    OK(mdq_header_unite(c, e, true));
    assert_int_equal(mdq_header_layers(c), 2);
    assert_string_equal(mdq_header_layer(c, 0)->tensor, two_layers[0].tensor);
    assert_int_equal(mdq_header_find_layer(c, two_layers[1].tensor), 1);
    struct mdq_header *f;
    FAILS(MDQ_E_INTERNAL, "32 hex digits", mdq_header_new(&f, "abc", two_layers, 1));
    struct mdq_layer_entry twice[] = {two_layers[0], two_layers[0]};
    FAILS(MDQ_E_DATA, "twice", mdq_header_new(&f, model_id, twice, 2));
    mdq_header_free(&a);
    mdq_header_free(&b);
    mdq_header_free(&c);
    mdq_header_free(&d);
    mdq_header_free(&e);
}

/* The list is in canonical order, so each pair must compare so. */
static void canonical_order(void **state)
{
    (void)state;
    static const struct mdq_id ids[] = {
        {"z.second", "layer", 0, 0}, {"z.second", "hessian", 0, 0}, {"z.second", "hessian", 1, 0},
        {"z.second", "chart", 5, 0}, {"z.second", "tile", 0, 0}, {"z.second", "tile", 1, 0},
        {"z.second", "tile", 0, 1}, {"z.second", "a-kind", 0, 0}, {"z.second", "b-kind", 0, 0},
        {"a.first", "layer", 0, 0}, {"a.first", "tile", 0, 0},
        {"block.1", "activations", 0, 0}, {"block.02", "activations", 0, 0}, {"block.2", "activations", 0, 0},
        {"block.10", "activations", 0, 0}, {"block.10.x", "activations", 0, 0}, {"blocks", "activations", 0, 0},
    };
    enum { COUNT = sizeof ids / sizeof *ids };
    static const struct mdq_layer_entry layers[] = {{"z.second", 9, 9, 9, 9, 0}, {"a.first", 9, 9, 9, 9, 0}};
    struct mdq_header *h;
    OK(mdq_header_new(&h, model_id, layers, 2));
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < COUNT; k++) {
            int c = mdq_order(h, &ids[i], &ids[k]);
            if ((c > 0) - (c < 0) != (i > k) - (i < k))
                fail_msg("%d against %d: %d", i, k, c);
        }
    mdq_header_free(&h);
}

/* What the registry calls finite is what the library checks. */
static void the_registry_and_the_library_agree(void **state)
{
    (void)state;
    FILE *f = fopen("formats/keys.md", "r");
    if (!f)
        skip(); /* not run from the repository's root */
    char line[2048], kind[64] = "", key[64];
    int finite = 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "## ", 3) == 0 && sscanf(line, "## `%63[a-z]`", kind) != 1)
            kind[0] = 0;
        if (!kind[0] || strncmp(line, "| `", 3) != 0)
            continue;
        const bool says = strstr(line, "finite |") != NULL;
        const char *end = strstr(line + 1, " |"), *at = line + 2; /* all keys of the first cell */
        for (; end && at < end && sscanf(at, "`%63[^`]`", key) == 1; at += strlen(key) + 4) {
            finite += says;
            if (mdq_key_finite(kind, key, strlen(key)) != says)
                fail_msg("%s %s", kind, key);
        }
    }
    fclose(f);
    assert_true(finite >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_unique_by_suffix), cmocka_unit_test(chains_are_united),
        cmocka_unit_test(no_program_no_entry),      cmocka_unit_test(other_keys),
        cmocka_unit_test(models_and_tables_must_agree), cmocka_unit_test(canonical_order),
        cmocka_unit_test(the_registry_and_the_library_agree),
    };
    return cmocka_run_group_tests_name("stream header", tests, NULL, NULL);
}
