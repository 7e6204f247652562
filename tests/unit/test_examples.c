/* Records and their spans, batches of padded rows, losses of their tokens, tasks: against the reference forward pass and by hand. */
#include "text_model.h"

#include <math.h>

#include "mdq_example_losses.h"
#include "mdq_tasks.h"

static struct mdq_tokenizer *tokenizer(void)
{
    struct mdq_tokenizer *t;
    OK(mdq_tokenizer_open(&t, folder));
    return t;
}

static void close_to(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.17g differs from %.17g by more than %g", a, b, tolerance);
}

static void put_text(const char *name, const char *text)
{
    put_file(name, text, strlen(text));
}

static void records_of_a_file(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    struct mdq_examples e;
    put_text("records", "{\"text\":\"ab12 the\",\"span\":[2,4],\"repeats\":16,\"other\":[]}\n"
                        "\n  \nplain line.\r\n{\"text\":\"xyz\",\"span\":null}\n\"quoted\"");
    OK(mdq_examples_read(&e, t, in_folder("records"), 64, VOCAB));
    assert_int_equal(e.n, 4);
    /* BOS a b 1 2 space the */
    const int32_t want[] = {BOS, 2, 3, 29, 30, SPACE, THE};
    assert_int_equal(mdq_examples_length(&e, 0), 7);
    assert_memory_equal(e.ids.v, want, sizeof want);
    assert_int_equal(e.from[0], 3);
    assert_int_equal(e.to[0], 5);
    assert_int_equal(e.begin[0], 2);
    assert_int_equal(e.end[0], 4);
    assert_int_equal(e.repeats[0], 16);
    assert_int_equal(e.marked, 1);
    assert_int_equal(e.repeats[1], -1);
    assert_int_equal(e.begin[1], -1);
    assert_string_equal(e.text[1], "plain line.");
    assert_int_equal(e.bytes[1], 11);
    assert_int_equal(e.from[1], 1);
    assert_int_equal(e.to[1], mdq_examples_length(&e, 1));
    assert_string_equal(e.text[2], "xyz");
    assert_string_equal(e.text[3], "\"quoted\"");
    assert_int_equal(e.longest, 12); /* BOS, plain, a space, line, a full stop */
    mdq_examples_keep(&e, 2);
    assert_int_equal(e.n, 2);
    assert_int_equal(e.ids.n, e.first[2]);
    OK(mdq_examples_add(&e, t, "abc", 3, 0, VOCAB, -1, -1));
    assert_int_equal(e.n, 3);
    mdq_examples_free(&e);
    mdq_tokenizer_close(&t);
}

/* Characters, not bytes; a token that holds a part of the span belongs to it. */
static void spans(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    struct mdq_examples e = {0};
    OK(mdq_examples_add(&e, t, "bathe", 5, 0, VOCAB, 3, 5)); /* b a the: "he" lies in "the" */
    assert_int_equal(e.from[0], 3);
    assert_int_equal(e.to[0], 4);
    OK(mdq_examples_add(&e, t, "the", 3, 0, VOCAB, 0, 1));
    assert_int_equal(e.from[1], 1);
    FAILS(MDQ_E_DATA, "span|outside", mdq_examples_add(&e, t, "abc", 3, 0, VOCAB, 1, 4));
    FAILS(MDQ_E_DATA, "span|empty", mdq_examples_add(&e, t, "abc", 3, 0, VOCAB, 2, 2));
    FAILS(MDQ_E_DATA, "cut at 3", mdq_examples_add(&e, t, "abcdef", 6, 3, VOCAB, 4, 5));
    FAILS(MDQ_E_DATA, "nothing to predict", mdq_examples_add(&e, t, "", 0, 0, VOCAB, -1, -1));
    FAILS(MDQ_E_DATA, "vocabulary", mdq_examples_add(&e, t, "abc", 3, 0, 3, -1, -1));
    assert_int_equal(e.n, 2);
    const int32_t ids[] = {BOS, 5, 6};
    OK(mdq_examples_add_ids(&e, ids, 3, 2, 3));
    assert_int_equal(e.from[2], 2);
    assert_int_equal(e.bytes[2], 0);
    assert_memory_equal(e.ids.v + e.first[2], ids, sizeof ids);
    FAILS(MDQ_E_INTERNAL, "span", mdq_examples_add_ids(&e, ids, 3, 0, 3));
    FAILS(MDQ_E_INTERNAL, "span", mdq_examples_add_ids(&e, ids, 3, 2, 4));
    mdq_examples_free(&e);
    mdq_tokenizer_close(&t);
}

static void bad_files(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"\n \n", "holds no record"},
        {"abc\n{\"text\":5}\n", "line 2|text"},
        {"abc\n{\"text\":\"abc\",\"span\":[1]}\n", "line 2|span"},
        {"{\"text\":\"abc\",\"span\":[1,9]}\n", "line 1|span"},
        {"{\"text\":\"abc\",\"repeats\":-1}\n", "line 1|repeats"},
        {"{\"text\":\"abc\",\"repeats\":\"4\"}\n", "line 1|repeats"},
        {"{\"text\":\"abc\"\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mdq_examples e;
        put_text("bad", bad[i].text);
        FAILS(MDQ_E_DATA, bad[i].message, mdq_examples_read(&e, t, in_folder("bad"), 64, VOCAB));
        mdq_examples_free(&e);
    }
    mdq_tokenizer_close(&t);
}

static void texts_in_common(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    struct mdq_examples a, b;
    put_text("a", "one\ntwo\nthree\nthree\n");
    put_text("b", "four\nthree\ntwo\n");
    OK(mdq_examples_read(&a, t, in_folder("a"), 64, VOCAB));
    OK(mdq_examples_read(&b, t, in_folder("b"), 64, VOCAB));
    int64_t i = -1, j = -1;
    assert_int_equal(mdq_examples_common(&a, &b, &i, &j), 2);
    assert_string_equal(a.text[i], b.text[j]);
    mdq_examples_keep(&b, 1);
    assert_int_equal(mdq_examples_common(&a, &b, NULL, NULL), 0);
    char x[33], y[33];
    mdq_examples_hash(&a, 0, 4, x);
    mdq_examples_hash(&a, 0, 4, y);
    assert_string_equal(x, y);
    a.to[3]--;
    mdq_examples_hash(&a, 0, 4, y);
    assert_string_not_equal(x, y);
    mdq_examples_free(&a);
    mdq_examples_free(&b);
    mdq_tokenizer_close(&t);
}

/* Every token is in one row of one batch, with what comes after it as its target. */
static void batches_hold_every_example_once(void **state)
{
    (void)state;
    struct mdq_examples e = {0};
    int32_t ids[40];
    for (int k = 0; k < 30; k++) {
        int n = 2 + k * 7 % 31;
        for (int i = 0; i < n; i++)
            ids[i] = (k * 5 + i) % VOCAB;
        OK(mdq_examples_add_ids(&e, ids, n, 1 + n / 3, n - n / 4));
    }
    for (int whole = 0; whole < 2; whole++) {
        const int64_t first = whole ? 0 : 3, n = whole ? 30 : 20;
        struct mdq_batches b;
        OK(mdq_batches_new(&b, &e, first, n, 70));
        int seen[30] = {0};
        for (int64_t i = 0; i < b.n; i++) {
            const struct mdq_batch *m = &b.v[i];
            const int64_t tokens = m->count * m->ctx;
            assert_true(tokens <= 70);
            assert_true(tokens <= b.most_tokens && m->ctx <= b.most_ctx);
            int32_t rows[70], all[70], inside[70];
            mdq_batch_fill(&b, i, &e, 0, rows, all);
            mdq_batch_fill(&b, i, &e, 1, rows, inside);
            for (int64_t k = 0; k < m->count; k++) {
                const int64_t x = b.order[m->first + k], length = mdq_examples_length(&e, x);
                const int32_t *v = e.ids.v + e.first[x];
                seen[x]++;
                assert_true(length <= m->ctx);
                for (int64_t p = 0; p < m->ctx; p++) {
                    const int64_t at = k * m->ctx + p;
                    assert_true(rows[at] >= 0 && rows[at] < VOCAB);
                    if (p < length)
                        assert_int_equal(rows[at], v[p]);
                    assert_int_equal(all[at], p + 1 < length ? v[p + 1] : -1);
                    assert_int_equal(inside[at], p + 1 >= e.from[x] && p + 1 < e.to[x] ? v[p + 1] : -1);
                }
            }
        }
        for (int x = 0; x < 30; x++)
            assert_int_equal(seen[x], x >= first && x < first + n);
        mdq_batches_free(&b);
    }
    mdq_examples_free(&e);
}

/* The reference pass over one example alone, in double: nll[p] of token p. */
static void reference_losses(const struct mdq_model *m, const int32_t *ids, int n, double *nll, double *logits)
{
    const struct mdq_config *c = &m->config;
    struct mdq_rotary r;
    struct mdq_outer outer = {0};
    float *x32 = calloc((size_t)(n * c->hidden), sizeof *x32);
    double *x = calloc((size_t)(n * c->hidden), sizeof *x);
    int32_t targets[64];
    assert_true(x && x32 && n <= 64);
    OK(mdq_rotary_init(&r, c, n));
    OK(mdq_model_load_outer(m, &outer));
    OK(mdq_model_embed(m, ids, n, x32));
    for (int i = 0; i < n * c->hidden; i++)
        x[i] = (double)x32[i];
    for (int b = 0; b < c->layers; b++) {
        struct mdq_block block = {0};
        OK(mdq_model_load_block(m, b, &block));
        OK(mdq_block_forward_ref(c, &block, b, &r, x, 1, n));
        mdq_block_free(&block);
    }
    for (int i = 0; i < n; i++)
        targets[i] = i + 1 < n ? ids[i + 1] : -1;
    double here[64];
    OK(mdq_head_forward_ref(c, &outer, x, n, targets, here, logits));
    nll[0] = 0;
    for (int i = 1; i < n; i++)
        nll[i] = here[i - 1];
    mdq_rotary_free(&r);
    mdq_outer_free(&outer);
    free(x);
    free(x32);
}

struct seen {
    const struct mdq_examples *e;
    float *logits; /* [ids, VOCAB] */
    int32_t *target, *times;
};

static void see(void *arg, int64_t example, int64_t position, int32_t target, const float *logits)
{
    struct seen *s = arg;
    const int64_t at = s->e->first[example] + position;
    memcpy(s->logits + at * VOCAB, logits, VOCAB * sizeof *logits);
    s->target[at] = target;
    s->times[at]++;
}

static void losses_are_those_of_the_reference(void **state)
{
    (void)state;
    struct mdq_model *m;
    struct mdq_run *run;
    struct mdq_examples e = {0};
    int32_t ids[64];
    OK(mdq_model_open(&m, folder));
    OK(mdq_example_run(&run, m));
    for (int k = 0; k < 9; k++) {
        int n = 2 + k * 11 % 60;
        for (int i = 0; i < n; i++)
            ids[i] = (k * 17 + i * i * 5 + 1) % VOCAB;
        OK(mdq_examples_add_ids(&e, ids, n, 1 + n / 3, n - n / 4));
    }
    const size_t all = (size_t)e.ids.n;
    double *nll = malloc(all * sizeof *nll), *inside = malloc(all * sizeof *inside), want[64], logits[64 * VOCAB];
    struct seen s = {&e, malloc(all * VOCAB * sizeof(float)), malloc(all * sizeof(int32_t)), calloc(all, sizeof(int32_t))};
    for (size_t i = 0; i < all; i++)
        nll[i] = inside[i] = -7;
    OK(mdq_example_losses(run, &e, 0, e.n, false, nll, see, &s));
    OK(mdq_example_losses(run, &e, 1, 7, true, inside, NULL, NULL));
    for (int k = 0; k < 9; k++) {
        const int n = (int)mdq_examples_length(&e, k);
        const int64_t at = e.first[k];
        double sum = 0, span = 0;
        reference_losses(m, e.ids.v + at, n, want, logits);
        for (int p = 0; p < n; p++) {
            close_to(nll[at + p], want[p], 2e-4);
            assert_int_equal(s.times[at + p], p > 0);
            if (p > 0)
                assert_int_equal(s.target[at + p], e.ids.v[at + p]);
            for (int v = 0; p > 0 && v < VOCAB; v++)
                close_to((double)s.logits[(at + p) * VOCAB + v], logits[(p - 1) * VOCAB + v], 1e-3);
            const bool in = p >= e.from[k] && p < e.to[k];
            if (k < 1 || k >= 8)
                close_to(inside[at + p], -7, 0); /* not asked for */
            else
                close_to(inside[at + p], in ? want[p] : 0, 2e-4);
            sum += nll[at + p];
            span += in ? nll[at + p] : 0;
        }
        close_to(mdq_example_sum(&e, k, false, nll), sum, 1e-12);
        close_to(mdq_example_sum(&e, k, true, nll), span, 1e-12);
    }
    assert_true(mdq_example_work(run, &e, 0, e.n) >= (double)(all * 2));
    free(nll), free(inside), free(s.logits), free(s.target), free(s.times);
    mdq_examples_free(&e);
    mdq_run_free(&run);
    mdq_model_close(&m);
}

static void choices_and_pairs(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    struct mdq_tasks x = {0};
    put_text("tasks", "{\"query\":\"abc\",\"choices\":[\"the\",\"x1\"],\"gold\":1}\n\n"
                      "{\"query\":\"t\",\"choices\":[\"he\",\"x\"],\"gold\":0}\n"
                      "{\"query\":\"abc. \",\"choices\":[\"a\",\"the\",\"b\"],\"gold\":2}\n");
    put_text("pairs", "{\"sentence_good\":\"abc the\",\"sentence_bad\":\"the abc\",\"UID\":\"x\"}\n"
                      "{\"sentence_good\":\"a\",\"sentence_bad\":\"b\"}\n");
    OK(mdq_tasks_read(&x, t, in_folder("tasks"), NULL, 1, 64, VOCAB));
    assert_int_equal(x.n, 1);
    OK(mdq_tasks_read(&x, t, in_folder("pairs"), NULL, 0, 64, VOCAB));
    assert_int_equal(x.n, 3);
    assert_int_equal(x.items[0].file, 0);
    assert_int_equal(x.items[2].file, 1);
    assert_int_equal(x.items[2].line, 2);
    const struct mdq_examples *e = &x.examples;
    /* BOS a b c | space the */
    assert_string_equal(e->text[0], "abc the");
    assert_int_equal(e->from[0], 4);
    assert_int_equal(e->to[0], 6);
    assert_int_equal(x.items[0].gold, 1);
    /* a pair: the whole sentence */
    assert_int_equal(e->from[2], 1);
    assert_int_equal(e->to[2], 6);
    assert_int_equal(x.items[1].gold, 0);
    mdq_tasks_free(&x);
    /* without a delimiter query and choice grow together: the token that holds both is the choice's */
    OK(mdq_tasks_read(&x, t, in_folder("tasks"), "", 0, 64, VOCAB));
    assert_int_equal(x.n, 3);
    e = &x.examples;
    assert_string_equal(e->text[2], "the");
    assert_int_equal(mdq_examples_length(e, 2), 2);
    assert_int_equal(e->from[2], 1);
    assert_int_equal(e->from[3], 2);
    /* white space at the end of the query: no delimiter, and the choice's */
    assert_string_equal(e->text[4], "abc. a");
    assert_int_equal(e->from[4], 5);
    assert_int_equal(e->to[4], 6); /* space and a are one token */
    assert_int_equal(e->from[5], 5);
    assert_int_equal(e->to[5], 7);
    mdq_tasks_free(&x);
    mdq_tokenizer_close(&t);
}

static void ties_and_wrong_answers(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    struct mdq_tasks x = {0};
    put_text("tasks", "{\"query\":\"a\",\"choices\":[\"b\",\"c\",\"d\"],\"gold\":1}\n");
    OK(mdq_tasks_read(&x, t, in_folder("tasks"), NULL, 0, 64, VOCAB));
    static const struct {
        double loss[3], correct;
    } cases[] = {{{2, 1, 3}, 1}, {{1, 2, 3}, 0}, {{2, 2, 3}, 0.5}, {{2, 2, 2}, 1.0 / 3}, {{3, 2, 1}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double nll[64] = {0}, correct;
        for (int k = 0; k < 3; k++) { /* the query's loss must not count */
            nll[x.examples.first[k] + 1] = 100 * k;
            nll[x.examples.first[k] + x.examples.from[k]] = cases[i].loss[k];
        }
        mdq_tasks_judge(&x, nll, &correct);
        close_to(correct, cases[i].correct, 1e-15);
        close_to(mdq_tasks_accuracy(&x, nll), cases[i].correct, 1e-15);
    }
    mdq_tasks_free(&x);
    mdq_tokenizer_close(&t);
}

static void tasks_longer_than_the_context(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    struct mdq_tasks x = {0};
    /* BOS + 8 + space + 2 = 12 tokens; a choice of 7 with its space */
    put_text("tasks", "{\"query\":\"abcdefgh\",\"choices\":[\"xy\",\"z\"],\"gold\":0}\n"
                      "{\"query\":\"a\",\"choices\":[\"bcdxyz\",\"z\"],\"gold\":0}\n"
                      "{\"sentence_good\":\"abc\",\"sentence_bad\":\"abcdefghij\"}\n");
    OK(mdq_tasks_read(&x, t, in_folder("tasks"), NULL, 0, 7, VOCAB));
    assert_int_equal(x.n, 1);
    assert_int_equal(x.cut, 2);
    assert_int_equal(x.left_out, 2);
    assert_int_equal(x.examples.n, 2);
    const int32_t want[] = {BOS, 7, 8, 9, SPACE, 25, 26};
    assert_int_equal(mdq_examples_length(&x.examples, 0), 7);
    assert_memory_equal(x.examples.ids.v, want, sizeof want);
    assert_int_equal(x.examples.from[0], 4);
    assert_int_equal(x.examples.to[0], 7);
    mdq_tasks_free(&x);
    FAILS(MDQ_E_DATA, "tasks|fits|context of 2", mdq_tasks_read(&x, t, in_folder("tasks"), NULL, 0, 2, VOCAB));
    mdq_tasks_free(&x);
    mdq_tokenizer_close(&t);
}

static void bad_tasks(void **state)
{
    (void)state;
    struct mdq_tokenizer *t = tokenizer();
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"\n", "holds no task"},
        {"{\"text\":\"abc\"}\n", "line 1|neither"},
        {"{\"query\":\"a\",\"choices\":[\"b\",\"c\"],\"gold\":0}\n"
         "{\"query\":\"a\",\"choices\":[\"b\",\"c\"],\"gold\":2}\n", "line 2|gold 2"},
        {"{\"query\":\"a\",\"choices\":[\"b\",\"c\"],\"gold\":-1}\n", "gold -1"},
        {"{\"query\":\"a\",\"choices\":[\"b\"],\"gold\":0}\n", "1 choices"},
        {"{\"query\":\"a\",\"choices\":[\"b\",\"\"],\"gold\":0}\n", "choice 1"},
        {"{\"query\":\"a\",\"choices\":\"bc\",\"gold\":0}\n", "choices"},
        {"{\"sentence_good\":\"a\"}\n", "sentence_bad"},
        {"{\"sentence_good\":\"a\",\"sentence_bad\":\"\"}\n", "sentence_bad|nothing to predict"},
        {"abc\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct mdq_tasks x = {0};
        put_text("bad", bad[i].text);
        FAILS(MDQ_E_DATA, bad[i].message, mdq_tasks_read(&x, t, in_folder("bad"), NULL, 0, 64, VOCAB));
        mdq_tasks_free(&x);
    }
    mdq_tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_a_file),
        cmocka_unit_test(spans),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(texts_in_common),
        cmocka_unit_test(batches_hold_every_example_once),
        cmocka_unit_test(losses_are_those_of_the_reference),
        cmocka_unit_test(choices_and_pairs),
        cmocka_unit_test(ties_and_wrong_answers),
        cmocka_unit_test(tasks_longer_than_the_context),
        cmocka_unit_test(bad_tasks),
    };
    return cmocka_run_group_tests(tests, text_model_setup, folder_teardown);
}
