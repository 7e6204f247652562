#include "score_control.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const score_control_names[] = {"found", "random-points", "random-direction", "random-signs", NULL};

static enum mdq_err other_points(struct score_case *c, struct score_search *s, struct mdq_random *random)
{
    int64_t n = s->sensitive, found;
    int64_t *others = mdq_alloc((size_t)n + 1, sizeof *others, "random points");
    if (!others)
        return MDQ_E_INTERNAL;
    enum mdq_err err = score_random_points(c, c->privacy, n, true, random, others, &found);
    if (err == MDQ_OK && found < n)
        err = mdq_fail(MDQ_E_DATA, "--write random-points: %lld points are too few to leave %lld others", (long long)c->points,
                       (long long)n);
    for (int64_t i = 0; i < n && err == MDQ_OK && s->stays; i++)
        s->stays[c->privacy[i]] = 0;
    for (int64_t i = 0; i < n && err == MDQ_OK; i++) {
        c->privacy[i] = others[i]; /* the rank is not looked at any more */
        if (s->stays)
            s->stays[others[i]] = 1;
    }
    for (int64_t i = 0; i < s->functional && err == MDQ_OK && s->stays; i++)
        s->stays[c->functional[i]] = 1; /* one of them may have been sensitive too */
    free(others);
    return err;
}

static enum mdq_err other_directions(struct score_case *c, bool signs, struct mdq_random *random)
{
    float *shift = c->shift.p;
    for (int64_t i = 0; i < c->points; i++) {
        struct score_place at;
        MDQ_TRY(score_place_of(c, i, &at));
        float *d = shift + at.weight;
        double before = 0, after = 0;
        const float sign = mdq_random_below(random, 2) ? 1 : -1;
        for (int64_t k = 0; k < at.D; k++) {
            before += (double)d[k] * d[k];
            d[k] = signs ? sign * d[k] : (float)mdq_random_normal(random);
            after += (double)d[k] * d[k];
        }
        for (int64_t k = 0; k < at.D && after > 0 && !signs; k++)
            d[k] = (float)(d[k] * sqrt(before / after));
    }
    return MDQ_OK;
}

enum mdq_err score_control(struct score_case *c, struct score_search *s, enum score_control which, uint64_t seed)
{
    struct mdq_random random;
    mdq_random_seed(&random, seed, score_control_names[which], 0, 0);
    switch (which) {
    case SCORE_RANDOM_POINTS: return other_points(c, s, &random);
    case SCORE_RANDOM_DIRECTION: return other_directions(c, false, &random);
    case SCORE_RANDOM_SIGNS: return other_directions(c, true, &random);
    default: return MDQ_OK;
    }
}
