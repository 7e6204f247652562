#include "score_probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mdq_log.h"
#include "score_cache.h"
#include "score_layer.h"

const char *const score_set_names[SCORE_SETS] = {"sensitive", "matched", "heldout", "valid", "tasks"};

enum { BATCH_TOKENS = 1 << 13 };

struct score_prober {
    const struct mdq_model *model;
    const struct score_texts *texts;
    const char *folder;
    int64_t run, found;
    struct mdq_outer outer;
    struct mdq_rotary rotary;
    struct mdq_workspace *ws;
    struct mdq_block *blocks; /* all of them, or one that is reused */
    bool resident, loaded;
    struct mdq_batches batches[SCORE_SETS];
    int64_t tokens;           /* of all batches, padding included */
    struct mdq_scratch kept;  /* [boundaries, tokens, hidden]: what enters the blocks 0, stride, 2 stride ... */
    int stride;
    bool have_kept;
    struct mdq_scratch x;     /* [tokens, hidden] of the probe at work */
    int32_t *ids, *targets;   /* of one batch */
    double *nll;
    struct score_losses base; /* the unmoved model */
    double spike;
    struct score_spike *spikes;
    int64_t n_spikes;
    /* of one block's down_proj, while the unmoved model runs */
    float *in_max, *at_max;
    float in_top;
};

/* ---- texts and losses ---- */

void score_losses_free(struct score_losses *l)
{
    for (int s = 0; s < SCORE_SETS; s++)
        free(l->values[s]);
    *l = (struct score_losses){0};
}

void score_texts_free(struct score_texts *t)
{
    for (int s = 0; s < SCORE_SETS; s++)
        mdq_examples_free(&t->examples[s]);
    mdq_tasks_free(&t->tasks);
}

const struct mdq_examples *score_texts_of(const struct score_texts *t, enum score_set s)
{
    return s == SCORE_TASKS ? &t->tasks.examples : &t->examples[s];
}

int64_t score_scored(const struct mdq_examples *e, int64_t i)
{
    return e->to[i] - e->from[i];
}

static int64_t values_of(const struct score_texts *t, enum score_set s)
{
    return s == SCORE_TASKS ? t->tasks.n : t->examples[s].n;
}

/* ---- setting up ---- */

static size_t block_bytes(const struct mdq_config *c)
{
    size_t n = 0;
    for (int l = 0; l < MDQ_LINEARS; l++) {
        int64_t rows, cols;
        mdq_linear_shape(c, (enum mdq_linear)l, &rows, &cols);
        n += (size_t)(rows * cols) * sizeof(float);
    }
    return n;
}

enum mdq_err score_prober_new(struct score_prober **out, const struct mdq_model *m, const struct score_texts *t, const char *folder,
                              size_t max_bytes)
{
    const struct mdq_config *c = &m->config;
    struct score_prober *p = *out = mdq_calloc(1, sizeof *p, "prober");
    int64_t most = 0, most_ctx = 1;
    if (!p)
        return MDQ_E_INTERNAL;
    *p = (struct score_prober){.model = m, .texts = t, .folder = folder, .spike = 100};
    for (int s = 0; s < SCORE_SETS; s++) {
        const struct mdq_examples *e = score_texts_of(t, (enum score_set)s);
        if (e->n == 0)
            continue;
        MDQ_TRY(mdq_batches_new(&p->batches[s], e, 0, e->n, BATCH_TOKENS));
        most = p->batches[s].most_tokens > most ? p->batches[s].most_tokens : most;
        most_ctx = p->batches[s].most_ctx > most_ctx ? p->batches[s].most_ctx : most_ctx;
        for (int64_t i = 0; i < p->batches[s].n; i++)
            p->tokens += p->batches[s].v[i].count * p->batches[s].v[i].ctx;
    }
    max_bytes = max_bytes ? max_bytes : (size_t)1 << 30;
    const size_t boundary = (size_t)p->tokens * (size_t)c->hidden * sizeof(float);
    const size_t fit = boundary ? max_bytes / boundary : (size_t)c->layers;
    p->stride = fit >= (size_t)c->layers ? 1 : fit <= 1 ? c->layers : (int)(((size_t)c->layers + fit - 1) / fit);
    p->resident = block_bytes(c) * (size_t)c->layers <= max_bytes;
    MDQ_TRY(mdq_scratch_map(&p->kept, (size_t)((c->layers + p->stride - 1) / p->stride), boundary, "activations"));
    MDQ_TRY(mdq_scratch_map(&p->x, 1, boundary, "activations"));
    p->ids = mdq_alloc((size_t)most, sizeof *p->ids, "token ids");
    p->targets = mdq_alloc((size_t)most, sizeof *p->targets, "targets");
    p->nll = mdq_alloc((size_t)most, sizeof *p->nll, "losses");
    p->in_max = mdq_alloc((size_t)c->intermediate, sizeof *p->in_max, "inputs");
    p->at_max = mdq_alloc((size_t)c->intermediate, sizeof *p->at_max, "inputs");
    p->blocks = mdq_calloc(p->resident ? (size_t)c->layers : 1, sizeof *p->blocks, "blocks");
    if (!p->ids || !p->targets || !p->nll || !p->in_max || !p->at_max || !p->blocks || !(p->ws = mdq_workspace_new(c)))
        return MDQ_E_INTERNAL;
    MDQ_TRY(mdq_rotary_init(&p->rotary, c, (int)most_ctx));
    MDQ_TRY(mdq_model_load_outer(m, &p->outer));
    return folder ? score_cache_open(folder) : MDQ_OK;
}

void score_prober_free(struct score_prober **out)
{
    struct score_prober *p = out ? *out : NULL;
    if (!p)
        return;
    for (int i = 0; p->blocks && i < (p->resident ? p->model->config.layers : 1); i++)
        mdq_block_free(&p->blocks[i]);
    for (int s = 0; s < SCORE_SETS; s++)
        mdq_batches_free(&p->batches[s]);
    free(p->blocks);
    free(p->ids);
    free(p->targets);
    free(p->nll);
    free(p->in_max);
    free(p->at_max);
    free(p->spikes);
    mdq_scratch_unmap(&p->kept);
    mdq_scratch_unmap(&p->x);
    mdq_workspace_free(&p->ws);
    mdq_rotary_free(&p->rotary);
    mdq_outer_free(&p->outer);
    score_losses_free(&p->base);
    free(p);
    *out = NULL;
}

void score_prober_counts(const struct score_prober *p, int64_t *run, int64_t *found)
{
    *run = p->run;
    *found = p->found;
}

void score_prober_set_spike(struct score_prober *p, double times)
{
    p->spike = times;
}

const struct score_spike *score_prober_spikes(const struct score_prober *p, int64_t *n)
{
    *n = p->n_spikes;
    return p->spikes;
}

/* ---- super weights ---- */

static enum mdq_err watch(void *arg, enum mdq_input which, const float *x, int64_t tokens, int64_t columns)
{
    struct score_prober *p = arg;
    if (which != MDQ_IN_DOWN)
        return MDQ_OK;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < columns; i++) {
            const float v = fabsf(x[t * columns + i]);
            p->in_max[i] = fmaxf(p->in_max[i], v);
            if (v > p->in_top) {
                p->in_top = v;
                memcpy(p->at_max, x + t * columns, (size_t)columns * sizeof *x);
            }
        }
    return MDQ_OK;
}

/* The largest of v [n] and how many times the median it is. */
static double peak(const float *v, int64_t n, float *some, int64_t *at)
{
    double median, deviation;
    *at = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[*at])
            *at = i;
    score_robust(v, n, some, &median, &deviation);
    return median > 0 ? v[*at] / median : 0;
}

/* One coordinate per block at most: the output is that of the token with the largest input. */
static enum mdq_err find_spike(struct score_prober *p, int block, const struct mdq_block *b)
{
    int64_t out, in;
    mdq_linear_shape(&p->model->config, MDQ_DOWN_PROJ, &out, &in);
    float *y = mdq_alloc((size_t)out, sizeof *y, "outputs"), *some = mdq_alloc((size_t)(out > in ? out : in), sizeof *some, "outputs");
    enum mdq_err err = y && some ? MDQ_OK : MDQ_E_INTERNAL;
    if (err == MDQ_OK) {
        struct score_spike s = {.block = block};
        for (int64_t r = 0; r < out; r++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)b->linear[MDQ_DOWN_PROJ][r * in + i] * p->at_max[i];
            y[r] = (float)fabs(sum);
        }
        s.input = peak(p->in_max, in, some, &s.column);
        s.output = peak(y, out, some, &s.row);
        if (s.input >= p->spike && s.output >= p->spike) {
            struct score_spike *v = mdq_realloc(p->spikes, (size_t)p->n_spikes + 1, sizeof *v, "super weights");
            if (v) {
                p->spikes = v;
                v[p->n_spikes++] = s;
            } else
                err = MDQ_E_INTERNAL;
        }
    }
    free(y);
    free(some);
    return err;
}

/* ---- one probe ---- */

static int by_place(const void *a, const void *b)
{
    const struct score_move *p = a, *q = b;
    if (p->block != q->block)
        return p->block < q->block ? -1 : 1;
    if (p->linear != q->linear)
        return p->linear < q->linear ? -1 : 1;
    if (p->row != q->row)
        return p->row < q->row ? -1 : 1;
    return p->column < q->column ? -1 : p->column > q->column;
}

/* The moved model's identity: a chain over the model's and all moves. */
static void hash_moves(const struct mdq_model *m, const struct score_move *moves, int64_t n, char hash[33])
{
    XXH128_hash_t h = XXH3_128bits(m->hash, sizeof m->hash);
    for (int64_t i = 0; i < n; i++) {
        const struct score_move *v = &moves[i];
        const int64_t place[8] = {(int64_t)h.low64, (int64_t)h.high64, v->block, v->linear, v->row, v->column, v->D, v->d != NULL};
        h = XXH3_128bits(place, sizeof place);
        if (v->d)
            h = XXH3_128bits_withSeed(&v->scale, sizeof v->scale, h.low64 ^ h.high64);
        if (v->d)
            h = XXH3_128bits_withSeed(v->d, (size_t)v->D * sizeof *v->d, h.low64 ^ h.high64);
    }
    if (n > 0)
        snprintf(hash, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
    else
        memcpy(hash, m->hash, 33);
}

/* The block with its points moved; what stood there goes to `saved`. */
static void apply(const struct mdq_config *c, struct mdq_block *b, const struct score_move *v, int64_t n, float *saved)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t out, in;
        mdq_linear_shape(c, v[i].linear, &out, &in);
        float *w = b->linear[v[i].linear] + v[i].row * in + v[i].column;
        memcpy(saved, w, (size_t)v[i].D * sizeof *w);
        saved += v[i].D;
        for (int64_t k = 0; k < v[i].D; k++)
            w[k] = v[i].d ? w[k] + v[i].scale * v[i].d[k] : 0;
    }
}

static void restore(const struct mdq_config *c, struct mdq_block *b, const struct score_move *v, int64_t n, const float *saved)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t out, in;
        mdq_linear_shape(c, v[i].linear, &out, &in);
        memcpy(b->linear[v[i].linear] + v[i].row * in + v[i].column, saved, (size_t)v[i].D * sizeof *saved);
        saved += v[i].D;
    }
}

/* All batches through one block. */
static enum mdq_err forward(struct score_prober *p, int block, const struct mdq_block *b, mdq_capture *capture)
{
    const struct mdq_config *c = &p->model->config;
    float *x = p->x.p;
    for (int s = 0; s < SCORE_SETS; s++)
        for (int64_t i = 0; i < p->batches[s].n; i++) {
            const struct mdq_batch *m = &p->batches[s].v[i];
            MDQ_TRY(mdq_block_forward(c, b, block, &p->rotary, x, (int)m->count, (int)m->ctx, p->ws, false, capture, p));
            x += m->count * m->ctx * c->hidden;
        }
    return MDQ_OK;
}

static enum mdq_err embed(struct score_prober *p)
{
    const struct mdq_config *c = &p->model->config;
    float *x = p->x.p;
    for (int s = 0; s < SCORE_SETS; s++)
        for (int64_t i = 0; i < p->batches[s].n; i++) {
            const int64_t tokens = p->batches[s].v[i].count * p->batches[s].v[i].ctx;
            mdq_batch_fill(&p->batches[s], i, score_texts_of(p->texts, (enum score_set)s), 1, p->ids, p->targets);
            MDQ_TRY(mdq_embed(c, &p->outer, p->ids, tokens, x));
            x += tokens * c->hidden;
        }
    return MDQ_OK;
}

static enum mdq_err blocks(struct score_prober *p, int first, const struct score_move *moves, int64_t n)
{
    const struct mdq_config *c = &p->model->config;
    const bool base = n == 0;
    const size_t boundary = (size_t)p->tokens * (size_t)c->hidden;
    int64_t done = 0;
    for (int i = first; i < c->layers; i++) {
        struct mdq_block *b = &p->blocks[p->resident ? i : 0];
        if (!p->resident || !p->loaded)
            MDQ_TRY(mdq_model_load_block(p->model, i, b));
        if (base && i % p->stride == 0)
            memcpy((float *)p->kept.p + (size_t)(i / p->stride) * boundary, p->x.p, boundary * sizeof(float));
        if (base) {
            memset(p->in_max, 0, (size_t)c->intermediate * sizeof *p->in_max);
            memset(p->at_max, 0, (size_t)c->intermediate * sizeof *p->at_max);
            p->in_top = 0;
            p->n_spikes = i == 0 ? 0 : p->n_spikes; /* asked again */
        }
        int64_t here = done, size = 0;
        while (here < n && moves[here].block == i)
            size += moves[here++].D;
        float *saved = mdq_alloc((size_t)size, sizeof *saved, "moved points");
        if (!saved)
            return MDQ_E_INTERNAL;
        apply(c, b, moves + done, here - done, saved);
        enum mdq_err err = forward(p, i, b, base ? watch : NULL);
        restore(c, b, moves + done, here - done, saved);
        free(saved);
        if (err == MDQ_OK && base)
            err = find_spike(p, i, b);
        MDQ_TRY(err);
        done = here;
    }
    p->loaded = p->loaded || (p->resident && first == 0);
    return MDQ_OK;
}

static enum mdq_err head(struct score_prober *p, struct score_losses *out)
{
    const struct mdq_config *c = &p->model->config;
    const float *x = p->x.p;
    double *tasks = mdq_calloc((size_t)p->texts->tasks.examples.ids.n + 1, sizeof *tasks, "losses of tasks");
    enum mdq_err err = tasks ? MDQ_OK : MDQ_E_INTERNAL;
    for (int s = 0; s < SCORE_SETS && err == MDQ_OK; s++) {
        const struct mdq_examples *e = score_texts_of(p->texts, (enum score_set)s);
        for (int64_t i = 0; i < p->batches[s].n && err == MDQ_OK; i++) {
            const struct mdq_batch *m = &p->batches[s].v[i];
            mdq_batch_fill(&p->batches[s], i, e, 1, p->ids, p->targets);
            err = mdq_head_forward(c, &p->outer, x, m->count * m->ctx, p->targets, p->nll, NULL, NULL);
            x += m->count * m->ctx * c->hidden;
            for (int64_t k = 0; k < m->count && err == MDQ_OK; k++) {
                const int64_t example = p->batches[s].order[m->first + k], n = mdq_examples_length(e, example);
                double sum = 0;
                for (int64_t t = 0; t + 1 < n; t++) {
                    sum += p->nll[k * m->ctx + t];
                    if (s == SCORE_TASKS)
                        tasks[e->first[example] + t + 1] = p->nll[k * m->ctx + t];
                }
                if (s != SCORE_TASKS)
                    out->values[s][example] = sum;
            }
        }
    }
    if (err == MDQ_OK && out->n[SCORE_TASKS] > 0)
        mdq_tasks_judge(&p->texts->tasks, tasks, out->values[SCORE_TASKS]);
    free(tasks);
    return err;
}

/* What is not finite is no answer, and is not kept. */
static enum mdq_err check(const struct score_losses *l)
{
    for (int s = 0; s < SCORE_SETS; s++)
        for (int64_t i = 0; i < l->n[s]; i++)
            if (!isfinite(l->values[s][i]))
                return mdq_fail(MDQ_E_DATA, "the loss of %s text %lld is not finite", score_set_names[s], (long long)i + 1);
    return MDQ_OK;
}

static enum mdq_err run(struct score_prober *p, struct score_move *moves, int64_t n, struct score_losses *out)
{
    const size_t boundary = (size_t)p->tokens * (size_t)p->model->config.hidden;
    int first = 0;
    if (n == 0)
        MDQ_TRY(embed(p));
    else {
        if (!p->have_kept) { /* what was asked so far was in the folder */
            MDQ_TRY(embed(p));
            MDQ_TRY(blocks(p, 0, NULL, 0));
            p->have_kept = true;
        }
        const int at = moves[0].block / p->stride;
        first = at * p->stride;
        memcpy(p->x.p, (float *)p->kept.p + (size_t)at * boundary, boundary * sizeof(float));
    }
    MDQ_TRY(blocks(p, first, moves, n));
    p->have_kept = true;
    p->run++;
    MDQ_TRY(head(p, out));
    return check(out);
}

enum mdq_err score_probe(struct score_prober *p, struct score_move *moves, int64_t n, struct score_losses *out)
{
    char key[33];
    bool found = false;
    *out = (struct score_losses){0};
    if (n > 0)
        qsort(moves, (size_t)n, sizeof *moves, by_place);
    for (int s = 0; s < SCORE_SETS; s++) {
        out->n[s] = values_of(p->texts, (enum score_set)s);
        if (!(out->values[s] = mdq_calloc((size_t)out->n[s] + 1, sizeof *out->values[s], "losses")))
            return MDQ_E_INTERNAL;
    }
    hash_moves(p->model, moves, n, out->model);
    score_cache_key(out->model, p->texts, key);
    /* the unmoved model is run in any case: it fills what the others start from, and shows its spikes */
    if (p->folder && n > 0)
        MDQ_TRY(score_cache_get(p->folder, key, out, &found));
    if (found) {
        p->found++;
        return MDQ_OK;
    }
    enum mdq_err err = run(p, moves, n, out);
    if (err != MDQ_OK)
        return n > 0 ? mdq_fail_in(err, "%s, %lld points moved", p->model->dir, (long long)n) : mdq_fail_in(err, "%s", p->model->dir);
    return p->folder && n > 0 ? score_cache_put(p->folder, key, out) : MDQ_OK;
}
