/*
 * The prober against models that were really changed: folders written with the moved weights, opened anew and run by
 * mdq_example_losses. Whatever it keeps (every boundary, few of them, blocks or not, answers in a folder), the losses are those.
 */
#include "model_fixture.h"

#include <math.h>

#include "mdq_example_losses.h"
#include "random_model.h"
#include "score_cache.h"
#include "score_probe.h"

enum { BLOCKS = 3, HIDDEN = 16, INNER = 24, VOCAB = 20, DELTAS = 4 };

static struct random_model base;
static struct mdq_model *model;
static struct score_texts texts;
static float delta[DELTAS][32];

/* ---- a model folder ---- */

static void put_tensor(struct mdq_safetensors_writer *w, bool announce, const char *name, const float *v, int64_t rows, int64_t cols)
{
    const int64_t shape[2] = {rows, cols};
    if (announce)
        OK(mdq_safetensors_writer_announce(w, name, MDQ_F32, cols ? 2 : 1, shape));
    else
        OK(mdq_safetensors_writer_data(w, name, v, (size_t)(rows * (cols ? cols : 1)) * sizeof *v));
}

static void put_model(const struct random_model *m, const char *dir)
{
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":16,"
        "\"intermediate_size\":24,\"num_hidden_layers\":3,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"
        "\"vocab_size\":20,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":false}";
    char path[200], name[96];
    snprintf(path, sizeof path, "mkdir -p '%s'", dir);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(config, f);
    fclose(f);
    struct mdq_safetensors_writer *w;
    OK(mdq_safetensors_writer_new(&w, dir, 0));
    for (int announce = 1; announce >= 0; announce--) {
        put_tensor(w, announce, "model.embed_tokens.weight", m->outer.embedding, VOCAB, HIDDEN);
        for (int b = 0; b < BLOCKS; b++) {
            for (int l = 0; l < MDQ_LINEARS; l++) {
                int64_t out, in;
                mdq_linear_shape(&m->c, (enum mdq_linear)l, &out, &in);
                put_tensor(w, announce, mdq_linear_name(name, b, (enum mdq_linear)l), m->blocks[b].linear[l], out, in);
            }
            snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", b);
            put_tensor(w, announce, name, m->blocks[b].attn_norm, HIDDEN, 0);
            snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", b);
            put_tensor(w, announce, name, m->blocks[b].mlp_norm, HIDDEN, 0);
        }
        put_tensor(w, announce, "model.norm.weight", m->outer.norm, HIDDEN, 0);
        put_tensor(w, announce, "lm_head.weight", m->outer.head, VOCAB, HIDDEN);
    }
    OK(mdq_safetensors_writer_finish(&w));
}

static void open_model(struct mdq_model **m, const char *dir)
{
    OK(mdq_model_open(m, dir));
    OK(mdq_model_hash(*m, NULL));
}

/* ---- texts ---- */

static void add_texts(struct mdq_examples *e, int n, uint64_t seed, bool spans)
{
    for (int i = 0; i < n; i++) {
        int32_t ids[32];
        const int length = 5 + (i * 7) % 23;
        for (int k = 0; k < length; k++)
            ids[k] = (int32_t)((random_unit(&seed) + 1) / 2 * (VOCAB - 1));
        const int32_t from = spans && i % 2 ? length / 2 : 1, to = spans && i % 3 == 1 ? from + 1 : length;
        OK(mdq_examples_add_ids(e, ids, length, from, to));
    }
}

static void make_texts(void)
{
    static const int choices[] = {2, 3, 2};
    int64_t first = 0;
    add_texts(&texts.examples[SCORE_SENSITIVE], 5, 1, true);
    add_texts(&texts.examples[SCORE_MATCHED], 4, 2, false);
    for (int i = 0; i < 3; i++) {
        int32_t ids[24];
        uint64_t seed = 10 + (uint64_t)i;
        for (int k = 0; k < 24; k++)
            ids[k] = (int32_t)((random_unit(&seed) + 1) / 2 * (VOCAB - 1));
        OK(mdq_examples_add_ids(&texts.examples[SCORE_VALID], ids, 24, 1, 24));
    }
    texts.tasks.items = calloc(3, sizeof *texts.tasks.items);
    texts.tasks.n = 3;
    add_texts(&texts.tasks.examples, 7, 4, true);
    for (int i = 0; i < 3; i++) {
        texts.tasks.items[i] = (struct mdq_task_item){.first = first, .choices = choices[i], .gold = i % 2};
        first += choices[i];
    }
    for (int s = 0; s < SCORE_SETS; s++)
        if (score_texts_of(&texts, (enum score_set)s)->n > 0)
            mdq_examples_hash(score_texts_of(&texts, (enum score_set)s), 0, score_texts_of(&texts, (enum score_set)s)->n, texts.hash[s]);
}

/* What a model folder says, by the way of mdq-eval. */
static void losses_of(const char *dir, struct score_losses *l)
{
    struct mdq_model *m;
    struct mdq_run *run;
    open_model(&m, dir);
    OK(mdq_example_run(&run, m));
    *l = (struct score_losses){0};
    for (int s = 0; s < SCORE_SETS; s++) {
        const struct mdq_examples *e = score_texts_of(&texts, (enum score_set)s);
        if (e->n == 0)
            continue;
        double *nll = calloc((size_t)e->ids.n, sizeof *nll);
        OK(mdq_example_losses(run, e, 0, e->n, true, nll, NULL, NULL));
        l->n[s] = s == SCORE_TASKS ? texts.tasks.n : e->n;
        l->values[s] = calloc((size_t)l->n[s], sizeof(double));
        for (int64_t i = 0; s != SCORE_TASKS && i < e->n; i++)
            l->values[s][i] = mdq_example_sum(e, i, true, nll);
        if (s == SCORE_TASKS)
            mdq_tasks_judge(&texts.tasks, nll, l->values[s]);
        free(nll);
    }
    mdq_run_free(&run);
    mdq_model_close(&m);
}

static void near(const struct score_losses *got, const struct score_losses *want)
{
    for (int s = 0; s < SCORE_SETS; s++) {
        assert_int_equal(got->n[s], want->n[s]);
        for (int64_t i = 0; i < got->n[s]; i++)
            if (!(fabs(got->values[s][i] - want->values[s][i]) <= 2e-5 * (1 + fabs(want->values[s][i]))))
                fail_msg("%s %lld: %.9g, want %.9g", score_set_names[s], (long long)i, got->values[s][i], want->values[s][i]);
    }
}

static bool same(const struct score_losses *a, const struct score_losses *b)
{
    bool yes = strcmp(a->model, b->model) == 0;
    for (int s = 0; s < SCORE_SETS; s++)
        yes = yes && a->n[s] == b->n[s] && memcmp(a->values[s], b->values[s], (size_t)a->n[s] * sizeof(double)) == 0;
    return yes;
}

/* ---- questions ---- */

enum { FIRST, LAST, MIDDLE_TO_ZERO, ALL, QUESTIONS };

static int question(int which, struct score_move *m)
{
    const struct score_move all[] = {
        {.block = 2, .linear = MDQ_DOWN_PROJ, .row = 3, .column = 12, .D = 12, .d = delta[0], .scale = 0.7f},
        {.block = 0, .linear = MDQ_Q_PROJ, .row = 5, .column = 0, .D = 16, .d = delta[1], .scale = -1},
        {.block = 0, .linear = MDQ_DOWN_PROJ, .row = 15, .column = 0, .D = 24, .d = delta[2], .scale = 1},
        {.block = 1, .linear = MDQ_UP_PROJ, .row = 23, .column = 8, .D = 8},
        {.block = 1, .linear = MDQ_V_PROJ, .row = 0, .column = 0, .D = 16},
    };
    switch (which) {
    case FIRST: memcpy(m, all + 1, 2 * sizeof *m); return 2;
    case LAST: memcpy(m, all, sizeof *m); return 1;
    case MIDDLE_TO_ZERO: memcpy(m, all + 3, 2 * sizeof *m); return 2;
    default: memcpy(m, all, sizeof all); return 5;
    }
}

static char changed[QUESTIONS][100];
static struct score_losses want[QUESTIONS], want_base;

static int setup(void **state)
{
    uint64_t seed = 99;
    if (folder_setup(state) != 0)
        return -1;
    random_model_new(&base, random_config(HIDDEN, INNER, 2, 1, 8, VOCAB, BLOCKS), 64);
    for (int i = 0; i < DELTAS; i++)
        random_fill(&seed, delta[i], 32, 0, 0.5f);
    make_texts();
    char dir[80];
    snprintf(dir, sizeof dir, "%s/base", folder);
    put_model(&base, dir);
    open_model(&model, dir);
    losses_of(dir, &want_base);
    for (int q = 0; q < QUESTIONS; q++) {
        struct score_move m[8];
        float saved[8][32];
        const int n = question(q, m);
        for (int i = 0; i < n; i++) {
            int64_t out, in;
            mdq_linear_shape(&base.c, m[i].linear, &out, &in);
            float *w = base.blocks[m[i].block].linear[m[i].linear] + m[i].row * in + m[i].column;
            memcpy(saved[i], w, (size_t)m[i].D * sizeof *w);
            for (int64_t k = 0; k < m[i].D; k++)
                w[k] = m[i].d ? w[k] + m[i].scale * m[i].d[k] : 0;
        }
        snprintf(changed[q], sizeof changed[q], "%s/changed%d", folder, q);
        put_model(&base, changed[q]);
        losses_of(changed[q], &want[q]);
        for (int i = 0; i < n; i++) {
            int64_t out, in;
            mdq_linear_shape(&base.c, m[i].linear, &out, &in);
            memcpy(base.blocks[m[i].block].linear[m[i].linear] + m[i].row * in + m[i].column, saved[i], (size_t)m[i].D * sizeof(float));
        }
    }
    return 0;
}

static int teardown(void **state)
{
    for (int q = 0; q < QUESTIONS; q++)
        score_losses_free(&want[q]);
    score_losses_free(&want_base);
    score_texts_free(&texts);
    mdq_model_close(&model);
    random_model_free(&base);
    return folder_teardown(state);
}

static void ask(struct score_prober *p, int q, struct score_losses *l)
{
    struct score_move m[8];
    OK(score_probe(p, m, question(q, m), l));
}

/* One block of this model is 16 * (16 + 8 + 8 + 16) + 3 * 16 * 24 floats, 7680 bytes; a boundary is 64 bytes a token. */
static size_t boundary_bytes(void)
{
    size_t tokens = 0;
    for (int s = 0; s < SCORE_SETS; s++) {
        struct mdq_batches b;
        const struct mdq_examples *e = score_texts_of(&texts, (enum score_set)s);
        if (e->n == 0)
            continue;
        OK(mdq_batches_new(&b, e, 0, e->n, 1 << 13));
        for (int64_t i = 0; i < b.n; i++)
            tokens += (size_t)(b.v[i].count * b.v[i].ctx);
        mdq_batches_free(&b);
    }
    return tokens * HIDDEN * sizeof(float);
}

static void a_probe_is_the_changed_model(void **state)
{
    (void)state;
    /* every boundary and all blocks; two boundaries and all blocks; one of each at a time */
    const size_t boundary = boundary_bytes(), memory[] = {0, 2 * boundary, 1};
    assert_true(2 * boundary > 3 * 7680u); /* the second has room for all blocks too */
    struct score_losses first[QUESTIONS];
    for (int k = 0; k < 3; k++) {
        struct score_prober *p;
        struct score_losses l;
        int64_t run, found;
        OK(score_prober_new(&p, model, &texts, NULL, memory[k]));
        OK(score_probe(p, NULL, 0, &l));
        near(&l, &want_base);
        assert_string_equal(l.model, model->hash);
        score_losses_free(&l);
        for (int round = 0; round < 2; round++)
            for (int q = 0; q < QUESTIONS; q++) { /* in turn, so that one could leave traces for the next */
                ask(p, q, &l);
                near(&l, &want[q]);
                assert_string_not_equal(l.model, model->hash);
                if (k == 0 && round == 0)
                    first[q] = l;
                else {
                    assert_true(same(&l, &first[q])); /* to the bit, whatever was kept */
                    score_losses_free(&l);
                }
            }
        OK(score_probe(p, NULL, 0, &l));
        near(&l, &want_base);
        score_losses_free(&l);
        score_prober_counts(p, &run, &found);
        assert_int_equal(run, 2 + 2 * QUESTIONS);
        assert_int_equal(found, 0);
        score_prober_free(&p);
    }
    for (int q = 0; q < QUESTIONS; q++) {
        for (int o = 0; o < q; o++)
            assert_string_not_equal(first[q].model, first[o].model);
        assert_true(fabs(want[q].values[SCORE_SENSITIVE][0] - want_base.values[SCORE_SENSITIVE][0]) > 1e-3);
    }
    for (int q = 0; q < QUESTIONS; q++)
        score_losses_free(&first[q]);
}

static void moves_of_other_lengths_are_other_questions(void **state)
{
    (void)state;
    struct score_prober *p;
    struct score_losses a, b, c;
    struct score_move m[8];
    OK(score_prober_new(&p, model, &texts, NULL, 0));
    int n = question(LAST, m);
    OK(score_probe(p, m, n, &a)); /* without the model as it is having been asked for */
    near(&a, &want[LAST]);
    m[0].scale *= 1.5f;
    OK(score_probe(p, m, n, &b));
    assert_string_not_equal(a.model, b.model);
    assert_true(a.values[SCORE_VALID][0] != b.values[SCORE_VALID][0]);
    n = question(ALL, m);
    struct score_move turned = m[0];
    m[0] = m[4], m[4] = turned; /* the order in which they are given is nothing */
    OK(score_probe(p, m, n, &c));
    near(&c, &want[ALL]);
    score_losses_free(&a);
    score_losses_free(&b);
    score_losses_free(&c);
    score_prober_free(&p);
}

static int64_t files_in(const char *dir, char *first, size_t size)
{
    char command[300];
    long n = -1;
    snprintf(command, sizeof command, "ls '%s' | wc -l; ls -d '%s'/*.json | head -n 1", dir, dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld\n", &n), 1);
    assert_non_null(fgets(first, (int)size, f));
    first[strcspn(first, "\n")] = 0;
    pclose(f);
    return n;
}

/* Standard error into a file, and back; how many lines of it warn of a file in the folder. */
static int kept_stderr = -1;

static void catch_warnings(void)
{
    fflush(stderr);
    kept_stderr = dup(2);
    assert_non_null(freopen(in_folder("stderr"), "w", stderr));
}

static int warnings_caught(void)
{
    char line[400];
    int n = 0;
    fflush(stderr);
    assert_true(dup2(kept_stderr, 2) == 2);
    close(kept_stderr);
    FILE *f = fopen(in_folder("stderr"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, "warning") && strstr(line, ".json: is not what was kept there");
    fclose(f);
    return n;
}

static void the_folder_answers_to_the_bit(void **state)
{
    (void)state;
    char dir[100], file[200], command[260];
    struct score_losses first[QUESTIONS], l;
    struct score_prober *p;
    int64_t run, found;
    snprintf(dir, sizeof dir, "%s/probes", folder);
    OK(score_prober_new(&p, model, &texts, dir, 0));
    OK(score_probe(p, NULL, 0, &l));
    score_losses_free(&l);
    for (int q = 0; q < QUESTIONS; q++)
        ask(p, q, &first[q]);
    score_prober_counts(p, &run, &found);
    assert_true(run == 1 + QUESTIONS && found == 0);
    for (int q = 0; q < QUESTIONS; q++) { /* the same prober, asked again */
        ask(p, q, &l);
        assert_true(same(&l, &first[q]));
        score_losses_free(&l);
    }
    score_prober_counts(p, &run, &found);
    assert_true(run == 1 + QUESTIONS && found == QUESTIONS);
    score_prober_free(&p);
    assert_int_equal(files_in(dir, file, sizeof file), QUESTIONS);
    /* damage: cut off; other counts; no number; an answer of another model; no JSON at all */
    static const char *const harm[] = {"truncate -s 40 '%s'", "sed -i 's/\\[/[1.5,/' '%s'", "sed -i 's/\\[[^,]*,/[null,/' '%s'",
                                       "sed -i 's/\"model\":\"./\"model\":\"x/' '%s'", "echo damaged >'%s'",
                                       "sed -i 's/\\[[^,]*,/[1e999,/' '%s'"};
    for (int h = 0; h < 6; h++) {
        assert_int_equal(files_in(dir, file, sizeof file), QUESTIONS);
        snprintf(command, sizeof command, harm[h], file);
        assert_int_equal(system(command), 0);
        OK(score_prober_new(&p, model, &texts, dir, 1));
        catch_warnings();
        for (int q = 0; q < QUESTIONS; q++) {
            ask(p, q, &l);
            assert_true(same(&l, &first[q]));
            score_losses_free(&l);
        }
        score_prober_counts(p, &run, &found);
        assert_int_equal(warnings_caught(), 1);
        assert_true(run == 1 && found == QUESTIONS - 1);
        score_prober_free(&p);
    }
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
    OK(score_prober_new(&p, model, &texts, dir, 0));
    for (int q = 0; q < QUESTIONS; q++) {
        ask(p, q, &l);
        assert_true(same(&l, &first[q]));
        score_losses_free(&l);
        score_losses_free(&first[q]);
    }
    score_prober_free(&p);
}

static void other_texts_are_other_questions(void **state)
{
    (void)state;
    char a[33], b[33];
    score_cache_key(model->hash, &texts, a);
    texts.hash[SCORE_VALID][0] ^= 1;
    score_cache_key(model->hash, &texts, b);
    texts.hash[SCORE_VALID][0] ^= 1;
    assert_string_not_equal(a, b);
    score_cache_key("00000000000000000000000000000000", &texts, b);
    assert_string_not_equal(a, b);
}

static void a_folder_that_is_a_file_is_refused(void **state)
{
    (void)state;
    struct score_prober *p;
    put_file("file", "x", 1);
    FAILS(MDQ_E_USAGE, "file|--probes", score_prober_new(&p, model, &texts, in_folder("file"), 0));
    score_prober_free(&p);
    FAILS(MDQ_E_IO, "absent/probes", score_prober_new(&p, model, &texts, in_folder("absent/probes"), 0));
    score_prober_free(&p);
}

static void a_model_that_breaks_is_said_and_not_kept(void **state)
{
    (void)state;
    struct score_prober *p;
    struct score_losses l;
    struct score_move m[8];
    char dir[100], command[200];
    snprintf(dir, sizeof dir, "%s/broken", folder);
    OK(score_prober_new(&p, model, &texts, dir, 0));
    const int n = question(LAST, m);
    m[0].scale = 1e38f;
    delta[0][0] = 1e30f;
    FAILS(MDQ_E_DATA, "base, 1 points moved: |not finite", score_probe(p, m, n, &l));
    delta[0][0] = 0.1f;
    score_losses_free(&l);
    score_prober_free(&p);
    snprintf(command, sizeof command, "[ -z \"$(ls '%s')\" ]", dir);
    assert_int_equal(system(command), 0);
}

/* One weight that makes one input channel and one output channel of a down_proj stand out. */
static void a_super_weight_is_found_once(void **state)
{
    (void)state;
    struct score_prober *p;
    struct score_losses l;
    struct mdq_model *m;
    int64_t n;
    char dir[100];
    OK(score_prober_new(&p, model, &texts, NULL, 0));
    score_prober_set_spike(p, 100);
    OK(score_probe(p, NULL, 0, &l));
    score_losses_free(&l);
    (void)score_prober_spikes(p, &n);
    assert_int_equal(n, 0);
    score_prober_free(&p);
    for (int i = 0; i < HIDDEN; i++) { /* channel 7 of the MLP answers 2,000 times as loud, and only row 11 listens */
        base.blocks[1].linear[MDQ_UP_PROJ][7 * HIDDEN + i] *= 2000;
        base.blocks[1].linear[MDQ_DOWN_PROJ][i * INNER + 7] = i == 11 ? 2 : 1e-6f;
    }
    snprintf(dir, sizeof dir, "%s/spike", folder);
    put_model(&base, dir);
    open_model(&m, dir);
    OK(score_prober_new(&p, m, &texts, NULL, 0));
    score_prober_set_spike(p, 20);
    for (int k = 0; k < 2; k++) {
        OK(score_probe(p, NULL, 0, &l));
        score_losses_free(&l);
    }
    const struct score_spike *s = score_prober_spikes(p, &n);
    assert_int_equal(n, 1);
    assert_true(s[0].block == 1 && s[0].row == 11 && s[0].column == 7 && s[0].input > 100 && s[0].output > 20);
    score_prober_free(&p);
    mdq_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_probe_is_the_changed_model), cmocka_unit_test(moves_of_other_lengths_are_other_questions),
        cmocka_unit_test(the_folder_answers_to_the_bit), cmocka_unit_test(other_texts_are_other_questions),
        cmocka_unit_test(a_folder_that_is_a_file_is_refused), cmocka_unit_test(a_model_that_breaks_is_said_and_not_kept),
        cmocka_unit_test(a_super_weight_is_found_once),
    };
    return cmocka_run_group_tests_name("probes", tests, setup, teardown);
}
