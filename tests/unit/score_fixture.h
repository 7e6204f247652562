/* What the tests of mdq-score share: a table of three layers with uneven column blocks, points and shifts made up for it. */
#ifndef SCORE_FIXTURE_H
#define SCORE_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mdq_random.h"
#include "score_case.h"

#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        if ((expr) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #expr, mdq_error_message());                                                  \
    } while (0)

enum { LAYERS = 3, POINTS = 4 * 2 + 3 * 3 + 5 * 1, WEIGHTS = 4 * 7 + 3 * 10 + 5 * 6 };

__attribute__((unused)) static const struct mdq_layer_entry entries[LAYERS] = {
    {"model.layers.0.self_attn.q_proj.weight", 4, 7, 2, 2, 0},  /* columns 4 + 3 */
    {"model.layers.0.mlp.down_proj.weight", 3, 10, 1, 3, 0},    /* columns 4 + 3 + 3 */
    {"model.layers.2.mlp.down_proj.weight", 5, 6, 1, 1, 2},
};
__attribute__((unused)) static const struct mdq_layer_entry *const table[LAYERS] = {&entries[0], &entries[1], &entries[2]};
/* Column blocks of each layer and how long they are, by hand. */
__attribute__((unused)) static const int block_first[LAYERS][4] = {{0, 4, 7}, {0, 4, 7, 10}, {0, 6}};

static inline double length(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    return sqrt(sum);
}

/* Every point has a shift of distortion 0.6 and a reach; point 5 has neither. */
__attribute__((unused)) static void case_new(struct score_case *c)
{
    struct mdq_random r;
    mdq_random_seed(&r, 3, "case", 0, 0);
    assert_ok(score_case_new(c, table, LAYERS));
    assert_int_equal(c->points, POINTS);
    float *shift = c->shift.p;
    int64_t point = 0, weight = 0;
    for (int l = 0; l < LAYERS; l++) {
        for (int64_t row = 0; row < entries[l].rows; row++)
            for (int64_t j = 0; j < entries[l].tile_cols; j++, point++) {
                struct score_point *p = &c->p[point];
                const int64_t first = weight + row * entries[l].cols + block_first[l][j], D = block_first[l][j + 1] - block_first[l][j];
                p->norm = (float)(0.5 + mdq_random_uniform(&r));
                p->length = (float)(1 + mdq_random_uniform(&r));
                p->functional = (float)mdq_random_uniform(&r);
                p->fisher = (float)mdq_random_uniform(&r);
                p->output = (float)(0.1 + mdq_random_uniform(&r));
                if (point == 5)
                    continue;
                p->gain = (float)(0.1 + mdq_random_uniform(&r));
                p->cost = (float)mdq_random_uniform(&r);
                p->reach = (float)(0.2 + mdq_random_uniform(&r));
                for (int64_t i = 0; i < D; i++)
                    shift[first + i] = (float)mdq_random_normal(&r);
                const double size = length(shift + first, D);
                for (int64_t i = 0; i < D; i++)
                    shift[first + i] *= (float)(0.6 * p->norm / size);
            }
        weight += entries[l].rows * entries[l].cols;
    }
    assert_int_equal(point, POINTS);
    assert_int_equal(weight, WEIGHTS);
}

#endif
