/*
 * How well a score tells two classes apart: "members" (texts that a model was trained on) and others. A score is lower where
 * membership is likelier, as losses are.
 */
#ifndef MDQ_ROC_H
#define MDQ_ROC_H

#include <stdint.h>

#include "mdq_error.h"

/* The scores of both classes in order; made once, asked for every resample. */
struct mdq_roc {
    int64_t members, nonmembers;
    int64_t *order;   /* [members + nonmembers] units by rising score: members first, then others, as they came */
    uint8_t *differs; /* [members + nonmembers] whether the score at this place differs from the one before */
};

/* Both classes must hold a score, all finite (MDQ_E_DATA). Released with mdq_roc_free, on failure too. */
enum mdq_err mdq_roc_new(struct mdq_roc *r, const double *members, int64_t m, const double *nonmembers, int64_t n);
void mdq_roc_free(struct mdq_roc *r);

struct mdq_roc_values {
    /* The chance that a member scores lower than a non-member, ties half (Mann and Whitney). */
    double auc;
    /* 2 |auc - 1/2|: an AUC below one half tells as much as one above. */
    double advantage;
    /* The largest share of members found at a threshold where the share of non-members is *below* 1 % and 0.1 %. */
    double tpr_1, tpr_01;
};

/* count[u]: how often unit u occurs (NULL: once each). NaN where a class has nothing. */
struct mdq_roc_values mdq_roc_values(const struct mdq_roc *r, const int32_t *count);
/* The AUC if the units with member[u] != 0 were the members: for permuted labels. */
double mdq_roc_auc_labelled(const struct mdq_roc *r, const uint8_t *member);
/* 2 |auc - 1/2| */
double mdq_advantage(double auc);

/*
 * The advantage that chance gives to the best of `attacks` scores of the same units: the mean over `permutations` of the
 * labels of the largest advantage (the same permutation for all, because the attacks resemble each other). draws
 * [permutations] (may be NULL) receives the advantages.
 */
enum mdq_err mdq_roc_chance(const struct mdq_roc *attacks, int n, int permutations, uint64_t seed, double *mean, double *draws);

#endif
