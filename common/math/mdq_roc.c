#include "mdq_roc.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"

struct scored {
    double score;
    int64_t unit;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *p = a, *q = b;
    return p->score < q->score ? -1 : p->score > q->score ? 1 : p->unit < q->unit ? -1 : p->unit > q->unit;
}

enum mdq_err mdq_roc_new(struct mdq_roc *r, const double *members, int64_t m, const double *nonmembers, int64_t n)
{
    *r = (struct mdq_roc){.members = m, .nonmembers = n};
    if (m < 1 || n < 1)
        return mdq_fail(MDQ_E_DATA, "%" PRId64 " members, %" PRId64 " non-members: nothing to tell apart", m, n);
    struct scored *s = mdq_alloc((size_t)(m + n), sizeof *s, "scores");
    r->order = mdq_alloc((size_t)(m + n), sizeof *r->order, "scores");
    r->differs = mdq_alloc((size_t)(m + n), sizeof *r->differs, "scores");
    if (!s || !r->order || !r->differs) {
        free(s);
        return MDQ_E_INTERNAL;
    }
    enum mdq_err err = MDQ_OK;
    for (int64_t i = 0; i < m + n && !err; i++) {
        s[i] = (struct scored){i < m ? members[i] : nonmembers[i - m], i};
        if (!isfinite(s[i].score))
            err = mdq_fail(MDQ_E_DATA, "%s %" PRId64 ": its score is not finite", i < m ? "member" : "non-member", i < m ? i : i - m);
    }
    if (!err) {
        qsort(s, (size_t)(m + n), sizeof *s, by_score);
        for (int64_t i = 0; i < m + n; i++) {
            r->order[i] = s[i].unit;
            r->differs[i] = i == 0 || s[i].score > s[i - 1].score;
        }
    }
    free(s);
    return err;
}

void mdq_roc_free(struct mdq_roc *r)
{
    free(r->order);
    free(r->differs);
    *r = (struct mdq_roc){0};
}

double mdq_advantage(double auc)
{
    return 2 * fabs(auc - 0.5);
}

struct mdq_roc_values mdq_roc_values(const struct mdq_roc *r, const int32_t *count)
{
    int64_t m = 0, n = 0;
    for (int64_t u = 0; u < r->members; u++)
        m += count ? count[u] : 1;
    for (int64_t u = r->members; u < r->members + r->nonmembers; u++)
        n += count ? count[u] : 1;
    struct mdq_roc_values v = {NAN, NAN, NAN, NAN};
    if (m < 1 || n < 1)
        return v;
    /* twice the pairs in which the member is lower, ties counted once: integers, so that the order of sums is no matter */
    __extension__ typedef __int128 wide;
    wide pairs = 0;
    int64_t tp = 0, fp = 0;
    v.tpr_1 = v.tpr_01 = 0;
    for (int64_t i = 0, end = r->members + r->nonmembers; i < end;) {
        int64_t a = 0, b = 0; /* members and others of one score */
        do {
            int64_t u = r->order[i], c = count ? count[u] : 1;
            *(u < r->members ? &a : &b) += c;
        } while (++i < end && !r->differs[i]);
        pairs += (wide)b * (2 * tp + a);
        tp += a;
        fp += b;
        double share = (double)fp / (double)n;
        if (share < 0.01)
            v.tpr_1 = (double)tp / (double)m;
        if (share < 0.001)
            v.tpr_01 = (double)tp / (double)m;
    }
    v.auc = (double)pairs / (2.0 * (double)m * (double)n);
    v.advantage = mdq_advantage(v.auc);
    return v;
}

double mdq_roc_auc_labelled(const struct mdq_roc *r, const uint8_t *member)
{
    int64_t tp = 0, fp = 0;
    __extension__ typedef __int128 wide;
    wide pairs = 0;
    for (int64_t i = 0, end = r->members + r->nonmembers; i < end;) {
        int64_t a = 0, b = 0;
        do
            *(member[r->order[i]] ? &a : &b) += 1;
        while (++i < end && !r->differs[i]);
        pairs += (wide)b * (2 * tp + a);
        tp += a;
        fp += b;
    }
    return tp < 1 || fp < 1 ? NAN : (double)pairs / (2.0 * (double)tp * (double)fp);
}

enum mdq_err mdq_roc_chance(const struct mdq_roc *attacks, int n, int permutations, uint64_t seed, double *mean, double *draws)
{
    const int64_t members = attacks[0].members, units = members + attacks[0].nonmembers;
    double *best = draws ? draws : mdq_alloc((size_t)permutations, sizeof *best, "permutations");
    enum mdq_err err = best ? MDQ_OK : MDQ_E_INTERNAL;
    bool failed = false;
#pragma omp parallel if (best != NULL)
    {
        uint8_t *label = mdq_alloc((size_t)units, 1, "permutations");
        if (!label) {
#pragma omp critical(chance_failed)
            failed = true;
        }
#pragma omp for schedule(static)
        for (int p = 0; p < permutations; p++) {
            if (!label || !best)
                continue;
            struct mdq_random random;
            mdq_random_seed(&random, seed, "permuted labels", (uint64_t)p, 0);
            for (int64_t u = 0; u < units; u++)
                label[u] = u < members;
            for (int64_t u = units - 1; u > 0; u--) { /* Fisher and Yates */
                int64_t w = mdq_random_below(&random, u + 1);
                uint8_t keep = label[u];
                label[u] = label[w];
                label[w] = keep;
            }
            best[p] = 0;
            for (int k = 0; k < n; k++)
                best[p] = fmax(best[p], mdq_advantage(mdq_roc_auc_labelled(&attacks[k], label)));
        }
        free(label);
    }
    if (!err && failed)
        err = mdq_fail(MDQ_E_INTERNAL, "permutations: out of memory");
    double sum = 0;
    for (int p = 0; p < permutations && !err; p++)
        sum += best[p];
    *mean = sum / permutations;
    if (!draws)
        free(best);
    return err;
}
