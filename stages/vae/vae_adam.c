#include "vae_adam.h"

#include <math.h>
#include <stdlib.h>

enum { ARRAYS = 7 };

static void sizes_of(const struct mdq_chart *c, int64_t *size)
{
    const int64_t D = c->dim_in, d = c->dim, h = c->hidden;
    const int64_t all[ARRAYS] = {h * d, h, d * D, h * D, h, d * h, d};
    for (int i = 0; i < ARRAYS; i++)
        size[i] = all[i];
}

enum mdq_err vae_adam_new(struct vae_adam *a, const struct mdq_chart *c)
{
    int64_t size[ARRAYS];
    *a = (struct vae_adam){0};
    sizes_of(c, size);
    for (int i = 0; i < ARRAYS; i++)
        a->count += size[i];
    a->g = mdq_calloc((size_t)a->count, sizeof *a->g, "gradients");
    a->first = mdq_calloc((size_t)a->count, sizeof *a->g, "moments");
    a->second = mdq_calloc((size_t)a->count, sizeof *a->g, "moments");
    if (!a->g || !a->first || !a->second)
        return MDQ_E_INTERNAL;
    float **const parts[ARRAYS] = {&a->gradient.dec_in, &a->gradient.dec_bias, &a->gradient.enc_lin, &a->gradient.enc_in,
                                   &a->gradient.enc_bias, &a->gradient.enc_out, &a->gradient.log_sd};
    float *at = a->g;
    for (int i = 0; i < ARRAYS; at += size[i++])
        *parts[i] = at;
    return MDQ_OK;
}

void vae_adam_free(struct vae_adam *a)
{
    free(a->g);
    free(a->first);
    free(a->second);
    *a = (struct vae_adam){0};
}

void vae_adam_step(struct vae_adam *a, struct mdq_chart *c, double rate)
{
    /* inputs have many columns and small entries: their weights take smaller steps */
    static const double steps[ARRAYS] = {4e-3, 4e-3, 5e-4, 5e-4, 4e-3, 4e-3, 4e-3};
    const double decay1 = 0.9, decay2 = 0.99;
    float *const values[ARRAYS] = {c->dec_in, c->dec_bias, c->enc_lin, c->enc_in, c->enc_bias, c->enc_out, NULL};
    int64_t size[ARRAYS], at = 0;
    sizes_of(c, size);
    a->steps++;
    const double fix1 = 1 / (1 - pow(decay1, (double)a->steps)), fix2 = 1 / (1 - pow(decay2, (double)a->steps));
    for (int i = 0; i < ARRAYS; at += size[i++]) {
        const float step = (float)(rate * steps[i] * fix1), root = (float)fix2;
        for (int64_t k = 0; k < size[i]; k++) {
            float g = a->g[at + k];
            float m = a->first[at + k] = (float)decay1 * a->first[at + k] + (float)(1 - decay1) * g;
            float v = a->second[at + k] = (float)decay2 * a->second[at + k] + (float)(1 - decay2) * g * g;
            float move = step * m / (sqrtf(v * root) + 1e-12f);
            if (values[i])
                values[i][k] -= move;
            else
                c->post_sd[k] *= expf(-move);
        }
    }
}
