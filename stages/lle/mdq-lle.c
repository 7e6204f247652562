/*
 * mdq-lle: tiles in, the same tiles with neighbours, reconstruction weights and tangents out.
 *
 * Per tile, whose rows are points: the k nearest neighbours, the weights of locally linear embedding, its embedding, the
 * dimension of the local PCA and the distance from its plane; for the whole tile the residual beside that of permuted copies
 * (lle_tile.h). Records are taken in batches; the tiles of a batch are worked on in parallel, one thread each, and
 * written in order. Random numbers depend on the seed and the tile's name only.
 *
 * Per tile of n rows of D: n^2 D operations for distances, 4/3 n^3 for the embedding, and again both for every permuted
 * copy. Memory: a batch of records, and per thread some n^2 doubles.
 */
#include <stdlib.h>
#include <string.h>

#include "lle_record.h" /* weights in, keys out */
#include "lle_tile.h"   /* lle_tile_run */
#include "mdq.h"        /* reader, writer */
#include "mdq_blas.h"   /* mdq_blas_start */
#include "mdq_cli.h"    /* mdq_main */
#include "mdq_local_pca.h"
#include "mdq_log.h" /* mdq_log, progress */

enum { BATCH = 64 }; /* records held at a time */

struct opts {
    struct mdq_cli cli;
    struct lle_options lle;
    struct mdq_strings inputs;
};

struct slot {
    struct mdq_record *rec;
    bool tile;
    int64_t cols;
    struct lle_tile found;
    enum mdq_err err;
    char *message;
};

/* Sums over tiles, in stream order. */
struct totals {
    int64_t tiles, evidence, duplicates, parted;
    double residual, null_residual, dim95, dim_parallel, normal_ratio;
};

struct state {
    const struct opts *o;
    struct mdq_reader *in;
    struct mdq_header *head;
    struct mdq_writer *out;
    struct slot slots[BATCH];
    int held;
    struct totals all;
};

enum { KEY_VARIANCE = 0x2001, KEY_REG, KEY_EMBEDDING, KEY_PERMUTATIONS, KEY_PARALLEL };

static const struct argp_option options[] = {
    {"neighbours", 'k', "K", 0, "nearest neighbours of each row (default 15, at most 64); a tile of n rows has n - 1 to give", 0},
    {"reg", KEY_REG, "R", 0, "added to the diagonal of the local Gram matrix, as a part of its trace (default 0.001)", 0},
    {"variance", KEY_VARIANCE, "V", 0, "part of the neighbours' variance that the tangent directions reach (default 0.95)", 0},
    {"embedding", KEY_EMBEDDING, "M", 0, "dimensions of the embedding (default 2; 0: none)", 0},
    {"permutations", KEY_PERMUTATIONS, "N", 0, "permuted copies that the residual is compared with (default 3; 0: none)", 0},
    {"parallel", KEY_PARALLEL, "P", 0, "permuted copies for the dimension by parallel analysis (default 3; 0: off)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case 'k': o->lle.k = mdq_arg_int(state, "--neighbours", arg, 1, MDQ_LOCAL_MAX_K); break;
    case KEY_REG: o->lle.reg = mdq_arg_double(state, "--reg", arg, 1e-9, 1); break;
    case KEY_VARIANCE: o->lle.variance = mdq_arg_double(state, "--variance", arg, 0, 1); break;
    case KEY_EMBEDDING: o->lle.embedding = mdq_arg_int(state, "--embedding", arg, 0, 64); break;
    case KEY_PERMUTATIONS: o->lle.permutations = mdq_arg_int(state, "--permutations", arg, 0, 1000); break;
    case KEY_PARALLEL: o->lle.parallel = mdq_arg_int(state, "--parallel", arg, 0, 1000); break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The arguments that change results, keys sorted. */
static char *provenance(const struct opts *o)
{
    const struct lle_options *l = &o->lle;
    return mdq_asprintf("{\"embedding\":%lld,\"neighbours\":%lld,\"parallel\":%lld,\"permutations\":%lld,\"reg\":%.17g,"
                        "\"seed\":%llu,\"variance\":%.17g}",
                        (long long)l->embedding, (long long)l->k, (long long)l->parallel, (long long)l->permutations, l->reg,
                        (unsigned long long)o->cli.seed, l->variance);
}

static enum mdq_err init(struct state *s)
{
    const struct opts *o = s->o;
    double weights = 0;
    MDQ_TRY(mdq_reader_open(&s->in, o->inputs.v, o->inputs.n, NULL));
    const struct mdq_header *h = mdq_reader_header(s->in);
    if (!mdq_header_has_kind(h, "tile"))
        return mdq_fail(MDQ_E_DATA, "input: holds no tiles: mdq-lle reads what mdq-tile writes");
    for (int i = 0; i < mdq_header_layers(h); i++)
        weights += (double)mdq_header_layer(h, i)->rows * (double)mdq_header_layer(h, i)->cols;
    char *args = provenance(o);
    if (!args)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_header_derive(&s->head, h, o->cli.no_pg ? NULL : "mdq-lle", args);
    free(args);
    MDQ_TRY(err);
    struct mdq_writer_options w = {.level = o->cli.level, .thin = o->cli.thin};
    MDQ_TRY(mdq_writer_open(&s->out, o->cli.output, s->head, &w));
    mdq_progress_start("neighbours", weights / 1e6, "M weights");
    return MDQ_OK;
}

static void work(const struct opts *o, struct slot *t)
{
    struct mdq_id id = mdq_record_id(t->rec);
    struct mdq_random random;
    float *w;
    int64_t rows, cols;
    t->err = lle_record_weights(t->rec, &w, &rows, &cols);
    if (t->err == MDQ_OK) {
        mdq_random_seed(&random, o->cli.seed, id.tensor, (uint64_t)id.row, (uint64_t)id.col);
        t->err = lle_tile_run(rows, cols, w, &o->lle, &random, &t->found);
        t->cols = cols;
    }
    if (t->err != MDQ_OK)
        t->message = mdq_strdup(mdq_error_message());
    free(w);
}

static void count(struct totals *a, const struct lle_tile *t)
{
    a->tiles++;
    a->evidence += t->manifold;
    a->duplicates += t->duplicates;
    a->parted += t->components > 1;
    a->residual += t->residual;
    a->null_residual += t->null_residual;
    a->dim95 += t->dim95;
    a->dim_parallel += (double)t->dim_parallel;
    a->normal_ratio += t->normal_ratio;
}

static void release(struct slot *t)
{
    lle_tile_free(&t->found);
    mdq_record_free(&t->rec);
    free(t->message);
    *t = (struct slot){0};
}

/* The held records: worked on, written in order, forgotten. The first that failed, in order, is the error. */
static enum mdq_err flush(struct state *s)
{
    enum mdq_err err = MDQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < s->held; i++)
        if (s->slots[i].tile)
            work(s->o, &s->slots[i]);
    for (int i = 0; i < s->held; i++) {
        struct slot *t = &s->slots[i];
        if (err == MDQ_OK && t->err != MDQ_OK)
            err = mdq_error_set(t->err, t->message ? t->message : "out of memory");
        if (err == MDQ_OK && t->tile) {
            err = lle_record_store(t->rec, &t->found, &s->o->lle);
            count(&s->all, &t->found);
            mdq_progress_add((double)t->found.n * (double)t->cols / 1e6);
        }
        if (err == MDQ_OK)
            err = mdq_writer_put(s->out, t->rec);
        release(t);
    }
    s->held = 0;
    return err;
}

static enum mdq_err hold(struct state *s, struct mdq_record *rec)
{
    struct mdq_record *own = mdq_record_take(rec);
    if (!own)
        return MDQ_E_INTERNAL;
    s->slots[s->held++] = (struct slot){.rec = own, .tile = strcmp(mdq_record_id(own).kind, "tile") == 0};
    return s->held == BATCH ? flush(s) : MDQ_OK;
}

static void summary(const struct state *s)
{
    const struct totals *a = &s->all;
    const struct lle_options *o = &s->o->lle;
    double n = a->tiles > 0 ? (double)a->tiles : 1;
    char null[128] = "no null", parallel[64] = "";
    if (o->permutations > 0)
        snprintf(null, sizeof null, "null %.4f, evidence of a manifold in %.1f %% of tiles", a->null_residual / n,
                 100 * (double)a->evidence / n);
    if (o->parallel > 0)
        snprintf(parallel, sizeof parallel, ", %.1f by parallel analysis", a->dim_parallel / n);
    mdq_log(MDQ_LOG_NOTE, "%lld tiles: residual %.4f, %s; dimension %.1f at %g %% of variance%s; normal %.3f of the weights",
            (long long)a->tiles, a->residual / n, null, a->dim95 / n, 100 * o->variance, parallel, a->normal_ratio / n);
    if (a->duplicates > 0 || a->parted > 0)
        mdq_log(MDQ_LOG_INFO, "%lld rows equal one before them; the neighbour graph is in parts in %lld tiles",
                (long long)a->duplicates, (long long)a->parted);
}

static enum mdq_err run(void *opts)
{
    struct state *s = mdq_calloc(1, sizeof *s, "state");
    struct mdq_record *rec;
    enum mdq_err err;
    if (!s)
        return MDQ_E_INTERNAL;
    s->o = opts;
    MDQ_GOTO(err, init(s), done);
    for (;;) {
        MDQ_GOTO(err, mdq_reader_next(s->in, &rec), done);
        if (!rec)
            break;
        MDQ_GOTO(err, hold(s, rec), done);
    }
    MDQ_GOTO(err, flush(s), done);
    MDQ_GOTO(err, mdq_writer_finish(&s->out), done);
    mdq_progress_end();
    summary(s);
done:
    mdq_progress_end();
    mdq_writer_abort(&s->out);
    for (int i = 0; i < s->held; i++)
        release(&s->slots[i]);
    mdq_header_free(&s->head);
    mdq_reader_close(&s->in);
    free(s);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-lle",
    .args = "[STREAM...]",
    .doc = "Neighbours, reconstruction weights and tangents of the rows of each tile.\v"
           "Reads the STREAMs that mdq-tile made (standard input when none is named). The rows of a tile are points: the size of "
           "tiles is chosen with mdq-tile --tile. --seed is for the permuted copies.\n\n"
           "  mdq-tile MODEL | mdq-lle -o lle.mdq",
    .grants = MDQ_CLI_OUTPUT | MDQ_CLI_STREAM,
    .options = options,
    .parse = parse,
    .start = mdq_blas_start,
};

int main(int argc, char **argv)
{
    struct opts o = {.lle = {.k = 15, .reg = 1e-3, .variance = 0.95, .embedding = 2, .permutations = 3, .parallel = 3}};
    int code = mdq_main(&program, argc, argv, &o.cli, &o, run);
    mdq_strings_free(&o.inputs);
    return code;
}
