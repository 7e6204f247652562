#include "gptq_descent.h"

#include <math.h>
#include <string.h>

static double value_of(const struct gptq_row *r, int64_t i, int code)
{
    return r->scales[i / r->group] * (code - r->zeros[i / r->group]);
}

static struct gptq_segment *segment_at(const struct gptq_row *r, int64_t i)
{
    for (int s = 0; s < r->segments; s++)
        if (i >= r->segment[s].first && i < r->segment[s].first + r->segment[s].D)
            return &r->segment[s];
    return NULL;
}

void gptq_row_reset(struct gptq_row *r)
{
    for (int64_t i = 0; i < r->n; i++)
        r->e[i] = r->target[i] - value_of(r, i, r->codes[i]);
    for (int64_t i = 0; i < r->n; i++) {
        const float *h = r->h + i * r->n;
        double t = r->lambda * r->e[i];
        for (int64_t j = 0; j < r->n; j++)
            t += h[j] * r->e[j];
        r->he[i] = t;
    }
    for (int k = 0; k < r->segments; k++) {
        struct gptq_segment *s = &r->segment[k];
        memset(s->ue, 0, (size_t)s->rank * sizeof *s->ue);
        for (int64_t i = 0; i < s->D; i++)
            for (int64_t a = 0; a < s->rank; a++)
                s->ue[a] += s->u[i * s->rank + a] * r->e[s->first + i];
    }
}

void gptq_row_move(struct gptq_row *r, int64_t i, int code)
{
    const double delta = value_of(r, i, r->codes[i]) - value_of(r, i, code);
    const float *h = r->h + i * r->n;
    struct gptq_segment *s = segment_at(r, i);
    r->codes[i] = (uint8_t)code;
    r->e[i] += delta;
    for (int64_t j = 0; j < r->n; j++)
        r->he[j] += delta * h[j];
    r->he[i] += delta * r->lambda;
    for (int64_t a = 0; s && a < s->rank; a++)
        s->ue[a] += delta * s->u[(i - s->first) * s->rank + a];
}

double gptq_row_cost(const struct gptq_row *r)
{
    double sum = 0;
    for (int64_t i = 0; i < r->n; i++)
        sum += r->e[i] * r->he[i];
    return sum;
}

double gptq_segment_off(const struct gptq_row *r, const struct gptq_segment *s)
{
    double sum = 0;
    for (int64_t i = 0; i < s->D; i++)
        sum += r->e[s->first + i] * r->e[s->first + i];
    for (int64_t a = 0; a < s->rank; a++)
        sum -= s->ue[a] * s->ue[a];
    return fmax(sum, 0);
}

double gptq_row_objective(const struct gptq_row *r)
{
    double sum = gptq_row_cost(r);
    for (int k = 0; k < r->segments; k++)
        if (r->segment[k].mu > 0)
            sum += r->segment[k].mu * gptq_segment_off(r, &r->segment[k]);
    return sum;
}

void gptq_row_descend(struct gptq_row *r, int sweeps, int64_t first, int64_t count)
{
    for (int sweep = 0; sweep < sweeps; sweep++) {
        bool moved = false;
        const struct gptq_segment *s = NULL;
        for (int64_t i = first; i < first + count; i++) {
            if (!s || i >= s->first + s->D || i < s->first)
                s = segment_at(r, i);
            if (s && s->frozen)
                continue;
            const double scale = r->scales[i / r->group];
            double slope = r->he[i], curve = (double)r->h[i * r->n + i] + r->lambda;
            if (s && s->mu > 0) {
                double inside = 0, size = 0;
                for (int64_t a = 0; a < s->rank; a++) {
                    double u = s->u[(i - s->first) * s->rank + a];
                    inside += u * s->ue[a];
                    size += u * u;
                }
                slope += s->mu * (r->e[i] - inside);
                curve += s->mu * fmax(1 - size, 0);
            }
            if (!(curve > 0))
                continue;
            double step = rint(slope / (curve * scale)), code = r->codes[i] + step;
            code = code < 0 ? 0 : code > r->top ? r->top : code;
            double delta = scale * (code - r->codes[i]); /* e_i falls by it */
            if (delta == 0 || !(delta * (curve * delta - 2 * slope) < -1e-12 * fabs(delta * slope)))
                continue;
            gptq_row_move(r, i, (int)code);
            moved = true;
        }
        if (!moved)
            return;
    }
}
