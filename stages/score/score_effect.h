/*
 * What moving points did, from the losses before and after on the same texts: differences with 95 % intervals of a paired, stratified
 * bootstrap (design 1.3).
 */
#ifndef SCORE_EFFECT_H
#define SCORE_EFFECT_H

#include "score_probe.h"

struct score_value {
    double value, low, high; /* NaN: cannot be had */
};

enum score_measure {
    SCORE_PERPLEXITY,        /* on the general text, with the points moved */
    SCORE_DPPL,              /* its rise */
    SCORE_DPPL_SHARE,        /* its rise over the perplexity before */
    SCORE_ACCURACY,          /* of the key tasks */
    SCORE_DACC,              /* fall of the accuracy */
    SCORE_AUC,               /* loss attack, members given against matched records: the chance that a member has the lower loss */
    SCORE_DADVANTAGE,        /* fall of its advantage 2 |AUC - 1/2| */
    SCORE_HSENS,             /* bits per record, see below; the interval's lower end may be below 0 */
    SCORE_AUC_HELDOUT, SCORE_DADVANTAGE_HELDOUT, SCORE_HSENS_HELDOUT, /* the same for members not given */
    SCORE_MEASURES
};

/*
 * H_sens = mean_S[L_moved - L] - mean_R[L_moved - L], L summed over the record in bits: how much less likely members became than
 * equally hard unseen text did. `value` is not cut at 0 here. The loss attack's score is the mean loss per token.
 */
struct score_effect {
    struct score_value v[SCORE_MEASURES];
};

/* before, after: of the same texts. MDQ_E_DATA when losses are not finite. */
enum mdq_err score_effect(const struct score_texts *t, const struct score_losses *before, const struct score_losses *after, int resamples,
                          uint64_t seed, struct score_effect *out);

#endif
