#include "score_records.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_jansson.h"
#include "mdq_tiling.h"

static const char *const measures[SCORE_MEASURES] = {
    "perplexity", "perplexity_rise", "perplexity_rise_share", "accuracy", "accuracy_fall", "auc", "advantage_fall", "h_sens",
    "auc_heldout", "advantage_fall_heldout", "h_sens_heldout",
};

const char *score_measure_name(int measure)
{
    return measure >= 0 && measure < SCORE_MEASURES ? measures[measure] : NULL;
}

static enum mdq_err put(struct mdq_record *rec, const char *key, enum mdq_dtype type, int64_t n, const void *data)
{
    struct mdq_array a = {.dtype = type, .ndim = 1, .shape = {n}, .data = data, .bytes = mdq_dtype_bytes(type, n)};
    return mdq_record_set_array(rec, key, &a);
}

static enum mdq_err put_shifts(struct mdq_record *rec, const struct score_case *c, const struct score_labels *l, int layer, int64_t row0,
                               int64_t rows, int64_t tile_col)
{
    const struct mdq_layer_entry *e = c->layer[layer];
    const int64_t column = mdq_tiling_first(e->cols, e->tile_cols, tile_col), D = mdq_tiling_length(e->cols, e->tile_cols, tile_col);
    const float *shift = c->shift.p;
    int64_t n = 0;
    float *d = mdq_alloc((size_t)(rows * D) + 1, sizeof *d, "shifts");
    if (!d)
        return MDQ_E_INTERNAL;
    for (int64_t r = row0; r < row0 + rows; r++) {
        const uint8_t label = l->label[c->first_point[layer] + r * e->tile_cols + tile_col];
        if (label == MDQ_SENSITIVE || label == MDQ_OVERLAP)
            memcpy(d + n++ * D, shift + c->first_weight[layer] + r * e->cols + column, sizeof *d * (size_t)D);
    }
    struct mdq_array a = {.dtype = MDQ_F32, .ndim = 2, .shape = {n, D}, .data = d, .bytes = mdq_dtype_bytes(MDQ_F32, n * D)};
    enum mdq_err err = n > 0 ? mdq_record_set_array(rec, "shift", &a) : MDQ_OK;
    free(d);
    return err;
}

/* bfloat16: a drift is small beside the weights, so that its own last digits are far below theirs. */
static enum mdq_err put_drift(struct mdq_record *rec, const struct score_search *s, int layer, int64_t row0, int64_t rows, int64_t tile_col)
{
    const struct score_case *c = s->c;
    const struct mdq_layer_entry *e = c->layer[layer];
    const int64_t column = mdq_tiling_first(e->cols, e->tile_cols, tile_col), D = mdq_tiling_length(e->cols, e->tile_cols, tile_col);
    float *d = mdq_calloc((size_t)(rows * D) + 1, sizeof *d, "drift");
    uint16_t *b = mdq_alloc((size_t)(rows * D) + 1, sizeof *b, "drift");
    enum mdq_err err = d && b ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t r = 0; r < rows && err == MDQ_OK; r++) {
        const int64_t at = c->first_point[layer] + (row0 + r) * e->tile_cols + tile_col;
        const double scale = s->stays[at] ? 0 : score_drift_scale(c, at, &s->how);
        const float *from = (const float *)c->shift.p + c->first_weight[layer] + (row0 + r) * e->cols + column;
        for (int64_t i = 0; i < D; i++)
            d[r * D + i] = (float)(scale * from[i]);
    }
    if (err == MDQ_OK) {
        mdq_dtype_from_f32(MDQ_BF16, d, rows * D, b);
        struct mdq_array a = {.dtype = MDQ_BF16, .ndim = 2, .shape = {rows, D}, .data = b, .bytes = mdq_dtype_bytes(MDQ_BF16, rows * D)};
        err = mdq_record_set_array(rec, "drift", &a);
    }
    free(d);
    free(b);
    return err;
}

enum mdq_err score_put_tile(struct mdq_record *rec, const struct score_search *s, const struct score_labels *l, int layer, int64_t tile_row,
                            int64_t tile_col)
{
    const struct score_case *c = s->c;
    const struct mdq_layer_entry *e = c->layer[layer];
    const int64_t row0 = mdq_tiling_first(e->rows, e->tile_rows, tile_row), rows = mdq_tiling_length(e->rows, e->tile_rows, tile_row);
    float *f = mdq_alloc((size_t)(5 * rows), sizeof *f, "scores of a tile");
    uint8_t *b = mdq_alloc((size_t)(2 * rows), 1, "labels of a tile");
    enum mdq_err err = f && b ? MDQ_OK : MDQ_E_INTERNAL;
    if (mdq_record_has(rec, "label") || mdq_record_has(rec, "md_target"))
        err = mdq_fail(MDQ_E_DATA, "%s: tile %lld, %lld: is labelled already", e->tensor, (long long)tile_row, (long long)tile_col);
    for (int64_t r = 0; r < rows && err == MDQ_OK; r++) {
        const int64_t at = c->first_point[layer] + (row0 + r) * e->tile_cols + tile_col;
        const double rank = score_privacy_rank(c, at);
        b[r] = l->label[at];
        b[rows + r] = c->p[at].reasons;
        f[r] = l->target[at];
        f[rows + r] = c->p[at].functional;
        f[2 * rows + r] = (float)fmin(rank, 1e30);
        f[3 * rows + r] = l->func[at];
        f[4 * rows + r] = l->priv[at];
    }
    if (err == MDQ_OK)
        err = put(rec, "label", MDQ_U8, rows, b);
    if (err == MDQ_OK)
        err = put(rec, "reasons", MDQ_U8, rows, b + rows);
    static const char *const keys[] = {"md_target", "functional_rank", "privacy_rank", "s_func", "s_priv"};
    for (int k = 0; k < 5 && err == MDQ_OK; k++)
        err = put(rec, keys[k], MDQ_F32, rows, f + k * rows);
    if (err == MDQ_OK)
        err = put_shifts(rec, c, l, layer, row0, rows, tile_col);
    if (err == MDQ_OK && s->drift > 0)
        err = put_drift(rec, s, layer, row0, rows, tile_col);
    free(f);
    free(b);
    return err;
}

static json_t *interval(const struct score_value *v)
{
    return isfinite(v->low) && isfinite(v->high) ? json_pack("[f,f,f]", v->value, v->low, v->high) : json_pack("[f]", v->value);
}

enum mdq_err score_put_probe(struct mdq_record *rec, const struct score_search *s, int64_t probe)
{
    static const char *const kinds[] = {"model", "functional", "sensitive", "drift"};
    const struct score_probed *p = &s->probed[probe];
    json_t *o = json_object(), *texts = json_object();
    bool bad = !o || !texts || json_object_set_new(o, "moved", json_string(kinds[p->kind])) != 0 ||
               json_object_set_new(o, "first", json_integer(p->first)) != 0 ||
               json_object_set_new(o, "points", json_integer(p->points)) != 0 || json_object_set_new(o, "norm", json_real(p->norm)) != 0 ||
               json_object_set_new(o, "drift", json_real(p->drift)) != 0 ||
               (p->kind == SCORE_OF_DRIFT && json_object_set_new(o, "by_row", json_boolean(p->by_row)) != 0) ||
               json_object_set_new(o, "model", json_string(p->losses.model)) != 0 ||
               (p->control && json_object_set_new(o, "control", json_string(p->control)) != 0) ||
               json_object_set_new(o, "passed", json_boolean(p->passed)) != 0;
    for (int k = 0; k < SCORE_SETS && !bad; k++)
        if (s->texts->hash[k][0])
            bad = json_object_set_new(texts, score_set_names[k], json_string(s->texts->hash[k])) != 0;
    for (int k = 0; k < SCORE_MEASURES && !bad; k++)
        if (isfinite(p->effect.v[k].value))
            bad = json_object_set_new(o, measures[k], interval(&p->effect.v[k])) != 0;
    bad = bad || json_object_set(o, "texts", texts) != 0;
    char *text = bad ? NULL : json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    enum mdq_err err = text ? mdq_record_set_json(rec, "probe", text) : mdq_fail_nomem("probe", 0);
    for (int k = 0; k < SCORE_SETS && err == MDQ_OK; k++) {
        char key[32];
        snprintf(key, sizeof key, "losses_%s", score_set_names[k]);
        if (p->losses.n[k] > 0)
            err = put(rec, key, MDQ_F64, p->losses.n[k], p->losses.values[k]);
    }
    json_decref(texts);
    json_decref(o);
    free(text);
    return err;
}
