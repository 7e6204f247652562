/*
 * The measures of mdq-eval on token ids: no text, no output. Protocol (docs/evaluation.md): windows of ctx tokens,
 * the tokens 2..ctx of each are scored, standard errors treat a window as the unit.
 */
#ifndef EVAL_H
#define EVAL_H

#include "mdq_run.h"
#include "mdq_stats.h"

struct eval_ppl {
    double perplexity, se; /* se: perplexity times the standard error of the mean negative log-likelihood */
    struct mdq_mean nll;   /* nats per token, over windows */
    int64_t tokens;        /* scored */
};

/* ids [windows * ctx]. MDQ_E_DATA when activations become non-finite or an id is outside the vocabulary. */
enum mdq_err eval_ppl(const struct mdq_model *m, const int32_t *ids, int64_t windows, int ctx, struct eval_ppl *out);

struct eval_kld {
    struct mdq_mean kl;   /* KL(reference || model), nats per token */
    double kl_median, kl_p99, kl_max;
    struct mdq_mean top1; /* share of positions where both rank the same token first */
    int64_t tokens;
};

/* Both models must have the same vocabulary size (MDQ_E_DATA). */
enum mdq_err eval_kld(const struct mdq_model *m, const struct mdq_model *reference, const int32_t *ids,
                      int64_t windows, int ctx, struct eval_kld *out);

/*
 * KL(p || q) in nats from the logits a (of p) and b (of q), both [n]; *same: whether their largest entries are at
 * the same place (the first among equals).
 */
double eval_kl_of(const float *a, const float *b, int64_t n, int *same);

#endif
