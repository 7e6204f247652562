#include "mdq_chart_record.h"

#include <inttypes.h>
#include <math.h>

struct field {
    const char *key;
    float *data;
    int ndim;
    int64_t shape[2];
};
enum { FIELDS = 10 };

static void fields_of(const struct mdq_chart *c, struct field *f)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    const struct field all[FIELDS] = {
        {"mean", c->mean, 1, {D, 0}},         {"basis", c->basis, 2, {D, d}},       {"dec_in", c->dec_in, 2, {h, d}},
        {"dec_bias", c->dec_bias, 1, {h, 0}}, {"dec_out", c->dec_out, 2, {D, h}},   {"enc_lin", c->enc_lin, 2, {d, D}},
        {"enc_in", c->enc_in, 2, {h, D}},     {"enc_bias", c->enc_bias, 1, {h, 0}}, {"enc_out", c->enc_out, 2, {d, h}},
        {"post_sd", c->post_sd, 1, {d, 0}},
    };
    for (int i = 0; i < FIELDS; i++)
        f[i] = all[i];
}

static int64_t count_of(const struct field *f)
{
    return f->ndim == 1 ? f->shape[0] : f->shape[0] * f->shape[1];
}

static enum mdq_err read(struct mdq_record *rec, int64_t dim_in, struct mdq_chart *c)
{
    int64_t dim, hidden;
    struct field f[FIELDS];
    struct mdq_array a;
    MDQ_TRY(mdq_record_get_int(rec, "dim", &dim));
    MDQ_TRY(mdq_record_get_int(rec, "hidden", &hidden));
    MDQ_TRY(mdq_chart_new(c, dim_in, dim, hidden)); /* checks both against their limits */
    MDQ_TRY(mdq_record_get_f64(rec, "weight", &c->weight));
    MDQ_TRY(mdq_record_get_f64(rec, "noise", &c->noise));
    if (!(c->noise > 0) || !isfinite(c->noise))
        return mdq_fail(MDQ_E_DATA, "noise: %g is no variance", c->noise);
    fields_of(c, f);
    for (int i = 0; i < FIELDS; i++) {
        MDQ_TRY(mdq_record_get_array(rec, f[i].key, &a));
        if (a.ndim != f[i].ndim || a.shape[0] != f[i].shape[0] || (a.ndim == 2 && a.shape[1] != f[i].shape[1]))
            return mdq_fail(MDQ_E_DATA, "%s: another shape than columns, dim and hidden ask for", f[i].key);
        MDQ_TRY(mdq_record_copy_f32(rec, f[i].key, count_of(&f[i]), f[i].data));
        for (int64_t k = 0; k < count_of(&f[i]); k++)
            if (!isfinite(f[i].data[k]))
                return mdq_fail(MDQ_E_DATA, "%s: holds a number that is not finite", f[i].key);
    }
    mdq_chart_prepare(c);
    return MDQ_OK;
}

enum mdq_err mdq_chart_from_record(struct mdq_record *rec, int64_t dim_in, struct mdq_chart *c)
{
    enum mdq_err err = read(rec, dim_in, c);
    struct mdq_id id = mdq_record_id(rec);
    return err == MDQ_OK ? err : mdq_fail_in(err, "%s: chart %" PRId64 " of column block %" PRId64, id.tensor, id.row, id.col);
}

enum mdq_err mdq_chart_to_record(const struct mdq_chart *c, struct mdq_record *rec)
{
    struct field f[FIELDS];
    MDQ_TRY(mdq_record_set_int(rec, "dim", c->dim));
    MDQ_TRY(mdq_record_set_int(rec, "hidden", c->hidden));
    MDQ_TRY(mdq_record_set_f64(rec, "weight", c->weight));
    MDQ_TRY(mdq_record_set_f64(rec, "noise", c->noise));
    fields_of(c, f);
    for (int i = 0; i < FIELDS; i++) {
        struct mdq_array a = {.dtype = MDQ_F32, .ndim = f[i].ndim, .shape = {f[i].shape[0], f[i].shape[1]}, .data = f[i].data,
                              .bytes = (size_t)count_of(&f[i]) * sizeof(float)};
        MDQ_TRY(mdq_record_set_array(rec, f[i].key, &a));
    }
    return MDQ_OK;
}
