/*
 * The two sets of design 1.3, found by probes: what the model cannot do without, and what can be moved to make it forget; and how far
 * all other points may drift the same way. (The drift is not in the design. A budget that is spread over all points makes the model
 * forget more than one spent on a few that move far: docs/scoring.md.)
 */
#ifndef SCORE_SEARCH_H
#define SCORE_SEARCH_H

#include "score_case.h"
#include "score_effect.h"

struct score_thresholds {
    double functional_ppl, functional_accuracy; /* a block is functional from such a rise and such a fall (a share) on */
    double functional_cap, sensitive_cap;       /* shares of all points */
    double sensitive_bits, sensitive_advantage; /* when the sensitive set's evidence is enough */
    double budget;                              /* rise of perplexity that forgetting may cost, at lambda = 1/2 */
    double drift_share, drift_cap;              /* of the budget, what is left to the drift; most distortion of a drifting point */
    double lambda;
    double md_functional, md_sensitive;
    double weight_functional, weight_sensitive; /* of perplexity in S_func, of H_sens in S_priv; the other measure has the rest */
    int controls;                               /* repetitions of each control */
    int resamples;
    uint64_t seed;
};

enum score_kind { SCORE_OF_MODEL, SCORE_OF_FUNCTIONAL, SCORE_OF_SENSITIVE, SCORE_OF_DRIFT };

struct score_probed {
    enum score_kind kind;
    const char *control; /* NULL: none; "random points", "random direction", "random signs" */
    double drift;        /* root mean square distortion of the drift, before it is cut at the cap */
    bool by_row;         /* see struct score_drift */
    int64_t first, points; /* of the rank's order; of a control the same as of what it stands beside */
    double norm;
    bool passed;         /* functional: the block is; sensitive: within the budget */
    struct score_losses losses;
    struct score_effect effect;
};

struct score_search {
    const struct score_case *c;
    const struct score_texts *texts;
    struct score_prober *prober;
    const struct score_thresholds *t;
    struct score_probed *probed; /* in the order they were asked; the first is the model as it is */
    int64_t n, capacity;
    int64_t functional, sensitive; /* how many points from the top of each rank */
    double drift;                  /* the drift's root mean square distortion, before it is cut at the cap; 0: none */
    struct score_drift how;        /* the same as a step for every point */
    int64_t functional_whole, sensitive_whole, drift_whole; /* the probes of the whole sets, of the sensitive one with drift; -1: none */
    bool prefers;    /* before anything is moved the loss attack's AUC is above 1/2, beyond chance */
    bool memorised;  /* that, and H_sens of what is moved is above 0, beyond chance */
    bool enough;     /* what is moved reaches the thresholds */
    bool by_budget;  /* the drift ended at the budget, not where the attack finds nothing more */
    bool capped;     /* the set ended at its cap, not at the budget */
    double spent;    /* share of the budget: upper end of the rise of perplexity over the budget */
    uint8_t *stays;  /* [points] what does not drift */
};

/* Everything; released with score_search_free, on failure too. Progress is opened and closed. */
enum mdq_err score_search_run(struct score_search *s, const struct score_case *c, const struct score_texts *texts,
                              struct score_prober *prober, const struct score_thresholds *t);
void score_search_free(struct score_search *s);
/* Rise of perplexity (a share) that the thresholds allow: budget lambda / (1 - lambda). */
double score_budget(const struct score_thresholds *t);
/* The probe of all that is moved: of the drift, else of the sensitive set; -1: nothing is. */
int64_t score_moved(const struct score_search *s);
/* Most probes that the two searches ask for, controls left out. */
int64_t score_most_probes(const struct score_case *c, const struct score_thresholds *t);

#endif
