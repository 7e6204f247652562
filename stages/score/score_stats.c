#include "score_stats.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct score_stats {
    struct mdq_hessians *hessians;
    struct mdq_reader *gradients;
    const char *path;           /* of the gradients */
    bool ended;
    struct score_gradient g;
    size_t weights, rows, dots; /* room in g */
};

static enum mdq_err take(struct score_stats *s, const char *path, const struct mdq_header *tiles)
{
    struct mdq_reader *in = NULL, *again = NULL;
    char *one = (char *)path;
    enum mdq_err err = mdq_reader_open(&in, &one, 1, &(struct mdq_reader_options){.threads = 1});
    if (err != MDQ_OK)
        goto done;
    const struct mdq_header *h = mdq_reader_header(in);
    const bool hessian = mdq_header_has_kind(h, "hessian"), gradient = mdq_header_has_kind(h, "gradient");
    if (strcmp(mdq_header_model(h), mdq_header_model(tiles)) != 0)
        err = mdq_fail(MDQ_E_DATA, "%s: statistics of model %s, but the tiles are of model %s", path, mdq_header_model(h),
                       mdq_header_model(tiles));
    else if (!hessian && !gradient)
        err = mdq_fail(MDQ_E_DATA, "%s: holds neither Hessians nor gradients: --stats wants what mdq-calib writes", path);
    else if ((hessian && s->hessians) || (gradient && s->gradients))
        err = mdq_fail(MDQ_E_DATA, "%s: %s came from another stream already", path, hessian && s->hessians ? "Hessians" : "gradients");
    struct stat st;
    if (err == MDQ_OK && hessian && gradient && (strcmp(path, "-") == 0 || stat(path, &st) != 0 || !S_ISREG(st.st_mode)))
        err = mdq_fail(MDQ_E_USAGE, "--stats %s: holds Hessians and gradients and is read twice: it has to be a file", path);
    if (err == MDQ_OK && hessian && gradient)
        err = mdq_reader_open(&again, &one, 1, &(struct mdq_reader_options){.threads = 1});
    if (err == MDQ_OK && gradient) {
        s->gradients = hessian ? again : in;
        s->path = path;
        if (hessian)
            again = NULL;
        else
            in = NULL;
    }
    if (err == MDQ_OK && hessian)
        err = mdq_hessians_take(&s->hessians, &in, path, tiles);
done:
    mdq_reader_close(&in);
    mdq_reader_close(&again);
    return err;
}

enum mdq_err score_stats_open(struct score_stats **out, char *const *paths, int n, const struct mdq_header *tiles)
{
    struct score_stats *s = *out = mdq_calloc(1, sizeof *s, "statistics");
    if (!s)
        return MDQ_E_INTERNAL;
    for (int i = 0; i < n; i++)
        MDQ_TRY(take(s, paths[i], tiles));
    if (!s->hessians)
        return mdq_fail(MDQ_E_DATA, "--stats: no Hessians in %s: `mdq-calib --model M --text F` makes them", n > 0 ? paths[0] : "it");
    if (!s->gradients)
        return mdq_fail(MDQ_E_DATA, "--stats: no gradients in %s: `mdq-calib --gradients` makes them", n > 0 ? paths[0] : "it");
    return MDQ_OK;
}

void score_stats_close(struct score_stats **out)
{
    struct score_stats *s = out ? *out : NULL;
    if (!s)
        return;
    mdq_hessians_close(&s->hessians);
    mdq_reader_close(&s->gradients);
    free(s->g.contrast);
    free(s->g.fisher);
    free(s->g.dot);
    free(s->g.output);
    free(s);
    *out = NULL;
}

const struct mdq_header *score_stats_hessian_header(const struct score_stats *s)
{
    return mdq_hessians_header(s->hessians);
}

const struct mdq_header *score_stats_gradient_header(const struct score_stats *s)
{
    return mdq_reader_header(s->gradients);
}

static enum mdq_err reserve(struct score_stats *s, const struct mdq_layer_entry *e)
{
    struct score_gradient *g = &s->g;
    const size_t weights = (size_t)(e->rows * e->cols), rows = (size_t)e->rows, dots = (size_t)(e->rows * e->tile_cols);
    *g = (struct score_gradient){.rows = e->rows, .cols = e->cols, .blocks = e->tile_cols, .contrast = g->contrast, .fisher = g->fisher,
                                 .dot = g->dot, .output = g->output};
    if (weights > s->weights) {
        free(g->contrast);
        free(g->fisher);
        g->contrast = mdq_alloc_aligned(weights, sizeof *g->contrast, "contrast gradient");
        g->fisher = mdq_alloc_aligned(weights, sizeof *g->fisher, "Fisher diagonal");
        s->weights = g->contrast && g->fisher ? weights : 0;
    }
    if (dots > s->dots) {
        free(g->dot);
        g->dot = mdq_alloc(dots, sizeof *g->dot, "gradients of points");
        s->dots = g->dot ? dots : 0;
    }
    if (rows > s->rows) {
        free(g->output);
        g->output = mdq_alloc(rows, sizeof *g->output, "output gradients");
        s->rows = g->output ? rows : 0;
    }
    return g->contrast && g->fisher && g->dot && g->output ? MDQ_OK : MDQ_E_INTERNAL;
}

/* One panel; *done rows are in. */
static enum mdq_err take_panel(struct score_gradient *g, struct mdq_record *rec, int64_t *done)
{
    int64_t first;
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_int(rec, "first", &first));
    MDQ_TRY(mdq_record_get_array(rec, "contrast", &a));
    if (first != *done || a.ndim != 2 || a.shape[1] != g->cols || a.shape[0] < 1 || a.shape[0] > g->rows - first)
        return mdq_fail(MDQ_E_DATA, "panel at row %lld of shape [%lld, %lld]: expected row %lld of [%lld, %lld]", (long long)first,
                        a.ndim > 0 ? (long long)a.shape[0] : 0, a.ndim > 1 ? (long long)a.shape[1] : 0, (long long)*done,
                        (long long)g->rows, (long long)g->cols);
    const int64_t rows = a.shape[0];
    MDQ_TRY(mdq_record_copy_f32(rec, "contrast", rows * g->cols, g->contrast + first * g->cols));
    MDQ_TRY(mdq_record_copy_f32(rec, "fisher", rows * g->cols, g->fisher + first * g->cols));
    MDQ_TRY(mdq_record_copy_f32(rec, "gradient_dot", rows * g->blocks, g->dot + first * g->blocks));
    MDQ_TRY(mdq_record_copy_f32(rec, "output_gradient", rows, g->output + first));
    *done = first + rows;
    return MDQ_OK;
}

static enum mdq_err next(struct score_stats *s, struct mdq_record **rec)
{
    *rec = NULL;
    while (!*rec && !s->ended) {
        MDQ_TRY(mdq_reader_next(s->gradients, rec));
        if (!*rec)
            s->ended = true;
        else if (strcmp(mdq_record_id(*rec).kind, "gradient") != 0)
            *rec = NULL;
    }
    return MDQ_OK;
}

enum mdq_err score_stats_layer(struct score_stats *s, const struct mdq_layer_entry *e, const struct mdq_hessian **h,
                               const struct score_gradient **g)
{
    const struct mdq_header *head = mdq_reader_header(s->gradients);
    const int at = mdq_header_find_layer(head, e->tensor);
    bool fresh;
    if (at >= 0 && mdq_header_layer(head, at)->tile_cols != e->tile_cols)
        return mdq_fail(MDQ_E_DATA, "%s: gradients of %s: of %lld column blocks, but the tiles have %lld: mdq-calib cuts as mdq-tile "
                        "does by default", s->path, e->tensor, (long long)mdq_header_layer(head, at)->tile_cols, (long long)e->tile_cols);
    MDQ_TRY(mdq_hessians_find(s->hessians, e, h, &fresh));
    MDQ_TRY(reserve(s, e));
    int64_t done = 0;
    while (done < e->rows) {
        struct mdq_record *rec;
        MDQ_TRY(next(s, &rec));
        if (!rec || (done > 0 && strcmp(mdq_record_id(rec).tensor, e->tensor) != 0))
            return mdq_fail(MDQ_E_DATA, "%s: gradients of %s end at row %lld of %lld", s->path, e->tensor, (long long)done,
                            (long long)e->rows);
        if (strcmp(mdq_record_id(rec).tensor, e->tensor) != 0)
            continue; /* of a layer that the tiles leave out */
        enum mdq_err err = take_panel(&s->g, rec, &done);
        if (err != MDQ_OK)
            return mdq_fail_in(err, "%s: gradient of %s", s->path, e->tensor);
    }
    *g = &s->g;
    return MDQ_OK;
}

enum mdq_err score_stats_drain(struct score_stats *s)
{
    struct mdq_record *rec;
    MDQ_TRY(mdq_hessians_drain(s->hessians));
    do
        MDQ_TRY(next(s, &rec));
    while (rec);
    return MDQ_OK;
}
