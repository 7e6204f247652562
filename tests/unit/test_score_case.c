/* Points of a whole model: where they lie, how they are ranked, why they are candidates, and how sets of them are moved. */
#include "score_control.h"
#include "score_fixture.h"

static void places(void **state)
{
    (void)state;
    struct score_case c;
    int64_t point = 0, weight = 0;
    case_new(&c);
    for (int l = 0; l < LAYERS; l++) {
        for (int64_t row = 0; row < entries[l].rows; row++)
            for (int64_t j = 0; j < entries[l].tile_cols; j++, point++) {
                struct score_place at;
                assert_ok(score_place_of(&c, point, &at));
                assert_true(at.layer == l && at.row == row && at.tile_col == j && at.block == entries[l].block);
                assert_true(at.linear == (l ? MDQ_DOWN_PROJ : MDQ_Q_PROJ));
                assert_true(at.column == block_first[l][j] && at.D == block_first[l][j + 1] - block_first[l][j]);
                assert_true(at.weight == weight + row * entries[l].cols + block_first[l][j]);
            }
        weight += entries[l].rows * entries[l].cols;
    }
    score_case_free(&c);
}

static void a_layer_of_another_name_is_named(void **state)
{
    (void)state;
    const struct mdq_layer_entry odd = {"lm_head.weight", 4, 7, 1, 1, 0}, *const one[] = {&odd};
    struct score_case c;
    struct score_place at;
    assert_ok(score_case_new(&c, one, 1));
    assert_int_equal(score_place_of(&c, 0, &at), MDQ_E_DATA);
    assert_non_null(strstr(mdq_error_message(), "lm_head.weight"));
    score_case_free(&c);
}

/* Five points of gain with costs 4, 2, 8, 2, 6: the median is 4. Ranks are gain / (cost + 0.004). */
static void ranks_fall_and_equal_ones_stand_by_their_number(void **state)
{
    (void)state;
    struct score_case c;
    case_new(&c);
    for (int64_t i = 0; i < c.points; i++)
        c.p[i].gain = i % 3 ? 0 : -1, c.p[i].functional = 1;
    static const struct { int at; float gain, cost; } some[] = {{3, 8.008f, 4}, {7, 1, 2}, {9, 1, 8}, {12, 1, 2}, {20, 60, 6}};
    for (int i = 0; i < 5; i++)
        c.p[some[i].at].gain = some[i].gain, c.p[some[i].at].cost = some[i].cost;
    c.p[2].functional = 7, c.p[19].functional = 7, c.p[10].functional = 3, c.p[0].functional = 0;
    assert_ok(score_case_rank(&c));
    assert_true(c.median_cost == 4 && c.with_gain == 5);
    /* 20: 9.99, 3: 2.0 exactly, 7 and 12: 0.499, 9: 0.125 */
    static const int64_t want[] = {20, 3, 7, 12, 9};
    assert_memory_equal(c.privacy, want, sizeof want);
    assert_true(fabs(score_privacy_rank(&c, 3) - 2) < 1e-6);
    assert_true(fabs(score_privacy_rank(&c, 7) - 1 / 2.004) < 1e-9);
    assert_true(score_privacy_rank(&c, 0) == 0 && score_privacy_rank(&c, 1) == 0);
    assert_true(c.functional[0] == 2 && c.functional[1] == 19 && c.functional[2] == 10);
    for (int64_t i = 4; i < c.points - 1; i++)
        assert_true(c.functional[i] > c.functional[i - 1]); /* all equal */
    assert_true(c.functional[c.points - 1] == 0);
    /* costs of nothing at all: the ranks are infinite, and still fall by number */
    for (int64_t i = 0; i < c.points; i++)
        c.p[i].cost = 0;
    assert_ok(score_case_rank(&c));
    assert_true(c.median_cost == 0 && isinf(score_privacy_rank(&c, 3)) && c.privacy[0] == 3 && c.privacy[4] == 20);
    for (int64_t i = 0; i < c.points; i++)
        c.p[i].gain = 0;
    assert_ok(score_case_rank(&c));
    assert_true(c.with_gain == 0 && c.median_cost == 0);
    score_case_free(&c);
}

static void the_median_of_even_many_costs(void **state)
{
    (void)state;
    struct score_case c;
    case_new(&c);
    for (int64_t i = 0; i < c.points; i++)
        c.p[i].gain = i < 4, c.p[i].cost = (float)(10 - 3 * i); /* 10, 7, 4, 1 */
    assert_ok(score_case_rank(&c));
    assert_true(c.median_cost == 5.5);
    score_case_free(&c);
}

static void reasons(void **state)
{
    (void)state;
    struct score_case c;
    int64_t candidates, n = 0;
    case_new(&c);
    for (int64_t i = 0; i < c.points; i++)
        c.p[i].fisher = i == 4 ? 2 : i == 16 ? 3 : 1;
    c.p[6].reasons = SCORE_MAGNITUDE;
    assert_ok(score_case_rank(&c));
    const struct score_spike spikes[] = {{.block = 0, .row = 2, .column = 6}, {.block = 2, .row = 4, .column = 5}, {.block = 1, .row = 0}};
    /* 22 points: 2 of the Fisher entries (6 % rounded up), 3 of the privacy rank */
    assert_ok(score_case_reasons(&c, 0.06, 0.1, spikes, 3, &candidates));
    for (int64_t i = 0; i < c.points; i++) {
        bool privacy = i == c.privacy[0] || i == c.privacy[1] || i == c.privacy[2];
        bool super = i == 8 + 2 * 3 + 1 || i == 8 + 9 + 4; /* row 2, second block of layer 1; row 4 of layer 2 */
        int want = (i == 6 ? SCORE_MAGNITUDE : 0) | (i == 4 || i == 16 ? SCORE_FISHER : 0) | (privacy ? SCORE_PRIVACY : 0) |
                   (super ? SCORE_SUPER : 0);
        assert_int_equal(c.p[i].reasons, want);
        n += want != 0;
    }
    assert_int_equal(candidates, n);
    score_case_free(&c);
}

static void nothing_is_a_reason_where_all_is_zero(void **state)
{
    (void)state;
    struct score_case c;
    int64_t candidates;
    case_new(&c);
    for (int64_t i = 0; i < c.points; i++)
        c.p[i] = (struct score_point){0};
    assert_ok(score_case_rank(&c));
    assert_ok(score_case_reasons(&c, 1, 1, NULL, 0, &candidates));
    assert_int_equal(candidates, 0);
    score_case_free(&c);
}

/* How far a move goes. */
static double reach_of(const struct score_move *m, const struct score_case *c, int64_t point)
{
    return m->d ? fabs(m->scale) * length(m->d, m->D) : c->p[point].length;
}

static void moves_go_where_and_as_far_as_they_say(void **state)
{
    (void)state;
    struct score_case c;
    struct mdq_random r;
    static const int64_t points[] = {1, 9, 10, 18}, others[] = {0, 4, 17, 21};
    case_new(&c);
    const float *shift = c.shift.p;
    for (int way = SCORE_ZERO; way <= SCORE_RANDOM; way++)
        for (int control = 0; control < 2; control++) {
            struct score_moves m;
            double sum = 0;
            mdq_random_seed(&r, 1, "moves", 0, 0);
            const int64_t *which = control ? others : points;
            assert_ok(score_moves_new(&m, &c, which, points, 4, (enum score_way)way, &r));
            assert_int_equal(m.n, 4);
            for (int i = 0; i < 4; i++) {
                struct score_place at, like;
                const struct score_move *v = &m.v[i];
                assert_ok(score_place_of(&c, which[i], &at));
                assert_ok(score_place_of(&c, points[i], &like));
                assert_true(v->block == at.block && v->linear == at.linear && v->row == at.row && v->column == at.column && v->D == at.D);
                const bool zero = way == SCORE_ZERO || way == SCORE_RANDOM_AS_ZERO;
                const double want = zero ? c.p[points[i]].length : length(shift + like.weight, like.D);
                sum += want * want;
                if (way == SCORE_ZERO)
                    assert_null(v->d);
                else if (!(fabs(reach_of(v, &c, which[i]) - want) < 1e-6 * want))
                    fail_msg("way %d, point %d: moved by %g, want %g", way, i, reach_of(v, &c, which[i]), want);
                if (way == SCORE_SHIFT)
                    assert_ptr_equal(v->d, shift + at.weight);
                if (way == SCORE_SHIFT && !control)
                    assert_true(fabsf(v->scale - 1) < 1e-6);
                for (int k = 0; way != SCORE_SHIFT && way != SCORE_ZERO && k < i; k++)
                    assert_true(m.v[k].d != v->d && m.v[k].d[0] != v->d[0]);
            }
            assert_true(fabs(m.norm - sqrt(sum)) < 1e-9 * m.norm);
            score_moves_free(&m);
        }
    struct score_moves none;
    assert_ok(score_moves_new(&none, &c, points, points, 0, SCORE_SHIFT, NULL));
    assert_true(none.n == 0 && none.norm == 0);
    score_moves_free(&none);
    score_case_free(&c);
}

/* Every point drifts along its shift by md = step x reach, so that the root mean square over all points is what was asked. */
static void the_drift_has_the_distortion_asked_for(void **state)
{
    (void)state;
    struct score_case c;
    case_new(&c);
    uint8_t stays[POINTS] = {0};
    for (int k = 0; k < 6; k++) { /* free; one capped; two stay; by the reach alone and over the output's gradient */
        struct score_moves m;
        const int round = k % 3;
        const bool by_row = k >= 3;
        double sum = 0, squares = 0, most = round == 1 ? 0.11 : 10;
        const double step = score_drift_step(&c, by_row, 0.1);
        const struct score_drift drift = {.step = step, .most = most, .by_row = by_row};
        int64_t n = 0, capped = 0;
        stays[2] = stays[13] = round == 2;
        assert_ok(score_moves_new(&m, &c, NULL, NULL, 0, SCORE_SHIFT, NULL));
        assert_ok(score_moves_drift(&m, &c, stays, &drift));
        for (int64_t i = 0; i < c.points; i++) {
            struct score_place at;
            if (stays[i] || i == 5)
                continue;
            assert_ok(score_place_of(&c, i, &at));
            const struct score_move *v = &m.v[n++];
            const double moved = v->scale * length(v->d, v->D), md = moved / c.p[i].norm;
            assert_true(v->row == at.row && v->column == at.column && v->D == at.D && v->block == at.block);
            assert_ptr_equal(v->d, (const float *)c.shift.p + at.weight);
            const double want = fmin(most, step * c.p[i].reach / (by_row ? c.p[i].output : 1));
            assert_true(fabs(md - want) < 1e-5 && fabs(md - score_drift_md(&c, i, &drift)) < 1e-5);
            assert_true(fabs(v->scale - score_drift_scale(&c, i, &drift)) < 1e-6);
            assert_true(md <= most + 1e-6);
            capped += md > most - 1e-6;
            sum += md * md;
            squares += moved * moved;
        }
        assert_int_equal(m.n, n);
        assert_true(fabs(m.norm - sqrt(squares)) < 1e-5 * m.norm);
        if (round == 0)
            assert_true(fabs(sqrt(sum / POINTS) - 0.1) < 1e-5 && capped == 0);
        else
            assert_true(sqrt(sum / POINTS) < 0.0999 && (round == 2 || capped > 0));
        score_moves_free(&m);
    }
    const struct score_drift one = {.step = 1, .most = 1, .by_row = true};
    assert_true(score_drift_scale(&c, 5, &one) == 0);
    c.p[3].output = 0; /* no gradient ever came through: nothing is known of what it costs, and it stays */
    assert_true(score_drift_scale(&c, 3, &one) == 0);
    for (int64_t i = 0; i < c.points; i++)
        c.p[i].reach = 0;
    assert_true(score_drift_step(&c, false, 0.1) == 0 && score_drift_step(&c, true, 0.1) == 0);
    score_case_free(&c);
}

static void random_points_are_others(void **state)
{
    (void)state;
    struct score_case c;
    int64_t found, out[POINTS];
    case_new(&c);
    assert_ok(score_case_rank(&c));
    assert_int_equal(c.with_gain, POINTS - 1);
    int often[POINTS] = {0};
    for (int round = 0; round < 400; round++)
        for (int shift = 0; shift < 2; shift++)
            for (int64_t n = 1; n <= 10; n += 3) {
                struct mdq_random r;
                mdq_random_seed(&r, 9, "others", (uint64_t)round, (uint64_t)(n + shift));
                assert_ok(score_random_points(&c, c.privacy, n, shift, &r, out, &found));
                assert_int_equal(found, n);
                for (int64_t i = 0; i < n; i++) {
                    assert_true(out[i] >= 0 && out[i] < POINTS && (i == 0 || out[i] > out[i - 1]));
                    assert_true(!shift || c.p[out[i]].gain > 0);
                    for (int64_t k = 0; k < n; k++)
                        assert_true(out[i] != c.privacy[k]);
                    often[out[i]] += n == 1;
                }
            }
    for (int64_t i = 0; i < POINTS; i++) /* 800 draws: each of 20 or 21 about 39 times, 6 standard deviations are 37 */
        assert_true(i == c.privacy[0] ? often[i] == 0 : i == 5 ? often[i] > 0 && often[i] < 45 : often[i] > 1 && often[i] < 77);
    /* half of those with a direction are chosen, and all the others are taken; of more there are not as many */
    struct mdq_random r;
    mdq_random_seed(&r, 9, "others", 0, 0);
    assert_ok(score_random_points(&c, c.privacy, 10, true, &r, out, &found));
    assert_int_equal(found, 10);
    assert_ok(score_random_points(&c, c.privacy, 15, true, &r, out, &found));
    assert_int_equal(found, 6);
    for (int64_t i = 0; i < found; i++)
        assert_true(out[i] != 5);
    assert_ok(score_random_points(&c, c.functional, 15, false, &r, out, &found));
    assert_int_equal(found, 7);
    score_case_free(&c);
}

/* What --write puts in the place of what was found: as many points, as far. */
static void controls_in_the_place_of_what_was_found(void **state)
{
    (void)state;
    struct score_case before;
    case_new(&before);
    assert_ok(score_case_rank(&before));
    for (int which = SCORE_FOUND; which <= SCORE_RANDOM_SIGNS; which++) {
        struct score_case c;
        uint8_t stays[POINTS] = {0};
        case_new(&c);
        assert_ok(score_case_rank(&c));
        /* two functional points, the second of which is the first sensitive one as well */
        c.functional[1] = c.privacy[0];
        c.functional[0] = c.privacy[5];
        struct score_search s = {.c = &c, .stays = stays, .functional = 2, .sensitive = 3};
        for (int i = 0; i < 3; i++)
            stays[c.privacy[i]] = 1, stays[c.functional[i % 2]] = 1;
        assert_ok(score_control(&c, &s, (enum score_control)which, 4));
        int staying = 0;
        bool other = false;
        for (int64_t i = 0; i < POINTS; i++) {
            struct score_place at;
            assert_ok(score_place_of(&c, i, &at));
            const float *d = (const float *)c.shift.p + at.weight, *was = (const float *)before.shift.p + at.weight;
            const double long_is = length(was, at.D);
            staying += stays[i];
            assert_true(fabs(length(d, at.D) - long_is) < 1e-6 * (1 + long_is));
            bool same = true, turned = true;
            for (int64_t k = 0; k < at.D; k++)
                same = same && d[k] == was[k], turned = turned && d[k] == -was[k];
            other = other || !same;
            if (which == SCORE_RANDOM_DIRECTION)
                assert_true(i == 5 || (!same && !turned));
            else
                assert_true(same || (turned && which == SCORE_RANDOM_SIGNS));
        }
        assert_true(other == (which >= SCORE_RANDOM_DIRECTION));
        for (int i = 0; i < 3; i++) {
            bool found = false;
            for (int k = 0; k < 3; k++)
                found = found || c.privacy[i] == before.privacy[k];
            assert_true(found == (which != SCORE_RANDOM_POINTS) && stays[c.privacy[i]]);
        }
        assert_true(stays[c.functional[0]] && stays[c.functional[1]]);
        assert_true(staying == 4 || (which == SCORE_RANDOM_POINTS && (staying == 5 || staying == 4)));
        score_case_free(&c);
    }
    score_case_free(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places), cmocka_unit_test(a_layer_of_another_name_is_named),
        cmocka_unit_test(ranks_fall_and_equal_ones_stand_by_their_number), cmocka_unit_test(the_median_of_even_many_costs),
        cmocka_unit_test(reasons), cmocka_unit_test(nothing_is_a_reason_where_all_is_zero),
        cmocka_unit_test(moves_go_where_and_as_far_as_they_say), cmocka_unit_test(the_drift_has_the_distortion_asked_for),
        cmocka_unit_test(random_points_are_others), cmocka_unit_test(controls_in_the_place_of_what_was_found),
    };
    return cmocka_run_group_tests_name("points of a model", tests, NULL, NULL);
}
