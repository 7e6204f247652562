/*
 * The rotary embedding and its published scalings: position interpolation (linear), NTK by length (dynamic),
 * Llama 3.1's three bands, YaRN (arXiv:2309.00071), LongRoPE (arXiv:2402.13753). Frequencies and angles in double.
 */
#include <math.h>
#include <stdlib.h>

#include "mdq_transformer.h"

static double frequency(double theta, int i, int dim)
{
    return pow(theta, -2.0 * i / dim);
}

/* Above which index of the spectrum a wave turns fewer than `turns` times within the original context (YaRN). */
static double yarn_index(const struct mdq_rope *r, int dim, double original, double turns)
{
    return dim * log(original / (turns * 2 * M_PI)) / (2 * log(r->theta));
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static double yarn(const struct mdq_rope *r, int dim, double original, double *freq)
{
    double low = yarn_index(r, dim, original, r->beta_fast > 0 ? r->beta_fast : 32);
    double high = yarn_index(r, dim, original, r->beta_slow > 0 ? r->beta_slow : 1);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < dim / 2; i++) {
        double slow = fmin(fmax((i - low) / (high - low), 0), 1), f = frequency(r->theta, i, dim);
        freq[i] = f / r->factor * slow + f * (1 - slow);
    }
    if (r->attention_factor > 0)
        return r->attention_factor;
    if (r->mscale > 0 && r->mscale_all_dim > 0)
        return yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
    return yarn_mscale(r->factor, 1);
}

static double longrope(const struct mdq_rope *r, int dim, double original, int ctx, double *freq)
{
    const double *stretch = ctx > original ? r->long_factor : r->short_factor;
    for (int i = 0; i < dim / 2; i++)
        freq[i] = frequency(r->theta, i, dim) / stretch[i];
    if (r->attention_factor > 0)
        return r->attention_factor;
    return r->factor <= 1 ? 1 : sqrt(1 + log(r->factor) / log(original));
}

static void llama3(const struct mdq_rope *r, int dim, double original, double *freq)
{
    for (int i = 0; i < dim / 2; i++) {
        double f = frequency(r->theta, i, dim), turns = original * f / (2 * M_PI);
        double fast = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        if (turns < r->low_freq_factor)
            f /= r->factor;
        else if (turns <= r->high_freq_factor)
            f *= (1 - fast) / r->factor + fast;
        freq[i] = f;
    }
}

enum mdq_err mdq_rotary_init(struct mdq_rotary *out, const struct mdq_config *c, int ctx)
{
    struct mdq_rope r = c->rope;
    int dim = c->head_dim, half = dim / 2;
    double original = r.original_max_position > 0 ? r.original_max_position : c->max_position, attention = 1;
    *out = (struct mdq_rotary){.ctx = ctx, .half = half};
    if (ctx < 1 || half < 1 || dim % 2)
        return mdq_fail(MDQ_E_DATA, "rotary embedding: %d positions of head dimension %d", ctx, dim);
    if (r.type == MDQ_ROPE_LONGROPE && (!r.short_factor || !r.long_factor))
        return mdq_fail(MDQ_E_DATA, "rotary embedding: longrope without its two lists of factors");
    if (!(r.factor > 0)) /* the length the model is made for over the one it was trained on first */
        r.factor = c->max_position / original;
    double *freq = mdq_alloc((size_t)half, sizeof *freq, "rotary frequencies");
    out->cos = mdq_alloc_aligned((size_t)ctx * (size_t)half, sizeof *out->cos, "rotary table");
    out->sin = mdq_alloc_aligned((size_t)ctx * (size_t)half, sizeof *out->sin, "rotary table");
    if (!freq || !out->cos || !out->sin) {
        free(freq);
        mdq_rotary_free(out);
        return MDQ_E_INTERNAL;
    }
    double theta = r.theta, stretch = 1;
    if (r.type == MDQ_ROPE_LINEAR)
        stretch = r.factor;
    if (r.type == MDQ_ROPE_DYNAMIC && ctx > c->max_position && dim > 2)
        theta *= pow(r.factor * ctx / c->max_position - (r.factor - 1), dim / (dim - 2.0));
    for (int i = 0; i < half; i++)
        freq[i] = frequency(theta, i, dim) / stretch;
    if (r.type == MDQ_ROPE_LLAMA3)
        llama3(&r, dim, original, freq);
    else if (r.type == MDQ_ROPE_YARN)
        attention = yarn(&r, dim, original, freq);
    else if (r.type == MDQ_ROPE_LONGROPE)
        attention = longrope(&r, dim, original, ctx, freq);
    for (int p = 0; p < ctx; p++)
        for (int i = 0; i < half; i++) {
            out->cos[(size_t)p * (size_t)half + (size_t)i] = (float)(attention * cos(p * freq[i]));
            out->sin[(size_t)p * (size_t)half + (size_t)i] = (float)(attention * sin(p * freq[i]));
        }
    free(freq);
    return MDQ_OK;
}

void mdq_rotary_free(struct mdq_rotary *r)
{
    free(r->cos);
    free(r->sin);
    *r = (struct mdq_rotary){0};
}
