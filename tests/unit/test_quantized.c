/* GPTQ and compressed-tensors modules against the weights that NumPy computed (fixtures/weights/make.py). */
#include "model_fixture.h"

#include "mdq_quantized.h"

static const char module[] = "model.layers.0.self_attn.k_proj";
enum { OUT = 32, IN = 64 };

/* A model of one module: what mdq_model_open does, but for the tensors that are not there. */
static enum mdq_err open_module(struct mdq_model *m, const char *dir)
{
    memset(m, 0, sizeof *m);
    m->dir = (char *)dir;
    MDQ_TRY(mdq_config_read(&m->config, dir));
    return mdq_safetensors_open(&m->tensors, dir);
}

static void close_module(struct mdq_model *m)
{
    mdq_safetensors_close(&m->tensors);
    mdq_config_free(&m->config);
}

static enum mdq_err load_module(const struct mdq_model *m, float *w)
{
    struct mdq_quantized q;
    bool found;
    MDQ_TRY(mdq_quantized_find(&q, &found, m, module, OUT, IN));
    assert_true(found);
    return mdq_quantized_load(&q, m, module, w);
}

/* The one tensor of expected.safetensors: little-endian float32 at the end of the file. */
static void read_expected(const char *dir, float *w)
{
    char path[600];
    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, -(long)(OUT * IN * sizeof *w), SEEK_END), 0);
    assert_int_equal(fread(w, sizeof *w, OUT * IN, f), OUT * IN);
    fclose(f);
}

static void numpy_weights_are_met(void **state)
{
    (void)state;
    static const char *const names[] = {"gptq4", "gptq3-act", "gptq2-wrap", "gptq8-row", "gptq4-v2-called-v1",
                                        "ct4",   "ct3",       "ct3-old",    "ct8-channel", "ct2-act"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char dir[512];
        snprintf(dir, sizeof dir, "%s", fixture(names[i]));
        struct mdq_model m;
        float got[OUT * IN], want[OUT * IN];
        OK(open_module(&m, dir));
        OK(mdq_quantized_check_zeros(&m));
        OK(load_module(&m, got));
        read_expected(dir, want);
        for (int k = 0; k < OUT * IN; k++)
            if (got[k] != want[k])
                fail_msg("%s: row %d, column %d: %.9g, want %.9g", names[i], k / IN, k % IN, got[k], want[k]);
        close_module(&m);
    }
}

static void v2_zeros_under_a_v1_name_are_noticed(void **state)
{
    (void)state;
    struct mdq_model m;
    OK(open_module(&m, fixture("gptq4-v2-called-v1")));
    assert_true(m.config.zero_minus_one);
    OK(mdq_quantized_check_zeros(&m));
    assert_false(m.config.zero_minus_one);
    close_module(&m);
    OK(open_module(&m, fixture("gptq4")));
    OK(mdq_quantized_check_zeros(&m));
    assert_true(m.config.zero_minus_one);
    close_module(&m);
}

/* Loading the fixture after `change` to its configuration fails. */
static void changed(const char *name, void (*change)(struct mdq_config *), const char *texts)
{
    struct mdq_model m;
    float w[OUT * IN];
    char dir[512];
    snprintf(dir, sizeof dir, "%s", fixture(name));
    OK(open_module(&m, dir));
    change(&m.config);
    FAILS(MDQ_E_DATA, texts, load_module(&m, w));
    close_module(&m);
}

static void three_bits(struct mdq_config *c)
{
    c->schemes[0].bits = 3;
}
static void groups_of_16(struct mdq_config *c)
{
    c->schemes[0].group = 16;
}
static void says_v2(struct mdq_config *c)
{
    c->zero_minus_one = false;
}
static void says_dense(struct mdq_config *c)
{
    c->storage = MDQ_STORED_DENSE;
}
static void says_act_order(struct mdq_config *c)
{
    c->desc_act = true;
}
static void says_asymmetric(struct mdq_config *c)
{
    c->schemes[0].sym = false;
}
static void ignores_it(struct mdq_config *c)
{
    free(c->ignore[0]);
    c->ignore[0] = mdq_strdup(module);
}
static void two_that_fit(struct mdq_config *c)
{
    c->schemes[1] = c->schemes[0];
    c->schemes[1].group = 33; /* two groups per row as well */
    c->n_schemes = 2;
}

static void contradictions_fail(void **state)
{
    (void)state;
    changed("gptq4", three_bits, "model.safetensors|qweight|shape [8, 32]|3 bits|[6, 32]");
    changed("gptq4", groups_of_16, "qzeros|shape [2, 4]|group size 16|[4, 4]");
    changed("gptq4", says_v2, "qzeros|group 0, output 0|zero point 7|sym|gptq_v2");
    changed("gptq4", says_dense, "qweight|quantization_config|gptq");
    changed("gptq4", says_act_order, "g_idx: missing|desc_act");
    changed("ct4", three_bits, "weight_packed|fit no config_groups");
    changed("ct4", groups_of_16, "weight_packed|fit no config_groups");
    changed("ct4", says_asymmetric, "weight_packed|fit no config_groups");
    changed("ct4", says_dense, "weight_packed|compressed-tensors");
    changed("ct4", ignores_it, "weight_packed|ignore");
    changed("ct4", two_that_fit, "more than one");
}

/* Writes one module's tensors into the temporary folder, beside a fixture's config.json. */
struct stored {
    const char *name;
    enum mdq_dtype dtype;
    int ndim;
    int64_t shape[2];
    const void *data;
};

static void copy_config(const char *name)
{
    char path[600], text[4096];
    snprintf(path, sizeof path, "%s/config.json", fixture(name));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    put_file("config.json", text, n);
}

/* The fixture's tensors with one of them replaced (data NULL: left out). */
static void with_replaced(const char *name, const struct stored *other, const char *texts)
{
    struct mdq_safetensors *from;
    struct mdq_safetensors_writer *w;
    copy_config(name);
    OK(mdq_safetensors_open(&from, fixture(name)));
    OK(mdq_safetensors_writer_new(&w, folder, 0));
    char full[128];
    snprintf(full, sizeof full, "%s.%s", module, other->name);
    for (int pass = 0; pass < 2; pass++) {
        bool replaced = false;
        for (int i = 0; i <= mdq_safetensors_count(from); i++) {
            const struct mdq_tensor *t = i < mdq_safetensors_count(from) ? mdq_safetensors_at(from, i) : NULL;
            bool this = t ? strcmp(t->name, full) == 0 : !replaced;
            if (this) {
                replaced = true;
                if (!other->data)
                    continue;
                int64_t count = other->shape[0] * (other->ndim == 2 ? other->shape[1] : 1);
                if (pass == 0)
                    OK(mdq_safetensors_writer_announce(w, full, other->dtype, other->ndim, other->shape));
                else
                    OK(mdq_safetensors_writer_data(w, full, other->data, mdq_dtype_bytes(other->dtype, count)));
            } else if (t) {
                if (pass == 0)
                    OK(mdq_safetensors_writer_announce(w, t->name, t->dtype, t->ndim, t->shape));
                else
                    OK(mdq_safetensors_writer_data(w, t->name, t->data, t->bytes));
            }
        }
    }
    OK(mdq_safetensors_writer_finish(&w));
    mdq_safetensors_close(&from);
    struct mdq_model m;
    float weights[OUT * IN];
    OK(open_module(&m, folder));
    FAILS(MDQ_E_DATA, texts, load_module(&m, weights));
    close_module(&m);
}

static void bad_tensors_fail(void **state)
{
    (void)state;
    static int32_t ints[4096];
    static float floats[OUT * 2];
    static const int64_t wrong_shape[2] = {32, 65};
    floats[37] = 1.0f / 0.0f; /* [2, 32]: row 1, column 5 */
    with_replaced("gptq4", &(struct stored){"scales", MDQ_F32, 2, {2, 32}, floats}, "scales|row 1, column 5|infinite");
    with_replaced("gptq4", &(struct stored){"scales", MDQ_I32, 2, {2, 32}, ints}, "scales|dtype i32");
    with_replaced("gptq4", &(struct stored){"scales", MDQ_F32, 2, {32, 2}, floats}, "scales|shape [32, 2]|[2, 32]");
    with_replaced("gptq4", &(struct stored){"scales", MDQ_F32, 2, {0}, NULL}, "scales: missing");
    with_replaced("gptq4", &(struct stored){"qzeros", MDQ_I32, 2, {0}, NULL}, "qzeros: missing");
    with_replaced("gptq4", &(struct stored){"qweight", MDQ_U32, 2, {8, 32}, ints}, "qweight|dtype u32");
    with_replaced("gptq4", &(struct stored){"weight", MDQ_F32, 2, {2, 32}, floats}, "qweight|beside|k_proj.weight");
    with_replaced("gptq3-act", &(struct stored){"g_idx", MDQ_I32, 1, {63}, ints}, "g_idx|shape [63]|[64]");
    with_replaced("gptq3-act", &(struct stored){"g_idx", MDQ_F32, 1, {64}, floats}, "g_idx|dtype f32");
    ints[9] = 4;
    with_replaced("gptq3-act", &(struct stored){"g_idx", MDQ_I32, 1, {64}, ints}, "g_idx|column 9 is in group 4|there are 4");
    ints[9] = -1;
    with_replaced("gptq3-act", &(struct stored){"g_idx", MDQ_I32, 1, {64}, ints}, "g_idx|column 9 is in group -1");
    with_replaced("ct3", &(struct stored){"weight_zero_point", MDQ_I32, 2, {0}, NULL}, "fit no config_groups|without");
    with_replaced("ct3", &(struct stored){"weight_zero_point", MDQ_I32, 2, {4, 4}, ints},
                  "weight_zero_point|shape [4, 4]|[3, 4]");
    with_replaced("ct3", &(struct stored){"weight_packed", MDQ_I32, 2, {31, 6}, ints}, "weight_packed|shape [31, 6]");
    with_replaced("ct3", &(struct stored){"weight_packed", MDQ_I32, 2, {32, 8}, ints}, "weight_packed|8 words for 64 columns");
    with_replaced("ct3", &(struct stored){"weight_scale", MDQ_F32, 1, {64}, floats}, "weight_scale|shape [64]");
    with_replaced("ct3", &(struct stored){"weight_scale", MDQ_F32, 2, {0}, NULL}, "weight_scale: missing");
    with_replaced("ct3", &(struct stored){"weight_shape", MDQ_I64, 1, {2}, wrong_shape}, "weight_shape|[32, 64]");
    with_replaced("ct2-act", &(struct stored){"weight_g_idx", MDQ_I32, 1, {64}, ints}, "weight_g_idx|column 9");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpy_weights_are_met),
        cmocka_unit_test(v2_zeros_under_a_v1_name_are_noticed),
        cmocka_unit_test(contradictions_fail),
        TEST(bad_tensors_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
