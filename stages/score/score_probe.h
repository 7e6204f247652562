/*
 * Probes: the model with some of its points moved, on the texts that scoring looks at. A probe takes up the forward pass at the first
 * block that holds a moved point, from activations of the unmoved model that were kept; what it finds is kept in a folder under the
 * hash of what was evaluated, so that the same question is answered once.
 */
#ifndef SCORE_PROBE_H
#define SCORE_PROBE_H

#include "mdq_run.h"
#include "mdq_scratch.h"
#include "mdq_tasks.h"

/* The texts: members given, matched records that gradients did not see, members not given, windows of general text, tasks. */
enum score_set { SCORE_SENSITIVE, SCORE_MATCHED, SCORE_HELDOUT, SCORE_VALID, SCORE_TASKS, SCORE_SETS };
extern const char *const score_set_names[SCORE_SETS];

/* A point that is moved: its D weights from `column` of row `row` on get `scale` d added, or become zero (d NULL). */
struct score_move {
    int block;
    enum mdq_linear linear;
    int64_t row, column, D;
    const float *d;
    float scale;
};

/* What a model says to the texts. */
struct score_losses {
    char model[33];             /* hash of the model that was run */
    double *values[SCORE_SETS]; /* per example the sum of its scored tokens' losses in nats; of tasks per item how right it is */
    int64_t n[SCORE_SETS];
};
void score_losses_free(struct score_losses *l);

struct score_texts {
    struct mdq_examples examples[SCORE_SETS]; /* of tasks: unused, they are in tasks.examples */
    struct mdq_tasks tasks;
    char hash[SCORE_SETS][33];                /* "" where there is none */
};
void score_texts_free(struct score_texts *t);
/* The examples of a set. */
const struct mdq_examples *score_texts_of(const struct score_texts *t, enum score_set s);
/* Tokens of example i that are scored. */
int64_t score_scored(const struct mdq_examples *e, int64_t i);

struct score_prober;

/*
 * `m` (whose hash is known) and `t` must outlive it. folder (NULL: nothing is kept) is made where it is missing. max_bytes bounds the
 * activations that are kept (0: 1 GiB); at least those that enter the first block are.
 */
enum mdq_err score_prober_new(struct score_prober **out, const struct mdq_model *m, const struct score_texts *t, const char *folder,
                              size_t max_bytes);
void score_prober_free(struct score_prober **p);
/*
 * The model with n points moved (0: as it is, which must be asked first). Moves are sorted in place. Released with score_losses_free,
 * on failure too.
 */
enum mdq_err score_probe(struct score_prober *p, struct score_move *moves, int64_t n, struct score_losses *out);
/* How many were run and how many were found in the folder. */
void score_prober_counts(const struct score_prober *p, int64_t *run, int64_t *found);
/* Blocks whose down_proj a single input channel and a single output channel dominate (super weights, Yu et al. 2024): called for each
 * such entry, found during the first probe. */
struct score_spike {
    int block;
    int64_t row, column;
    double input, output; /* largest absolute value over its median channel's */
};
const struct score_spike *score_prober_spikes(const struct score_prober *p, int64_t *n);
/* An input or output channel is a spike when its largest value is so many times the median channel's. Before the first probe. */
void score_prober_set_spike(struct score_prober *p, double times);

#endif
