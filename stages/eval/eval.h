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

/* From the losses of the scored tokens, [windows * (ctx - 1)], nats. */
struct eval_ppl eval_ppl_of(const double *nll, int64_t windows, int ctx);

/* ids [windows * ctx]. MDQ_E_DATA when activations become non-finite or an id is outside the vocabulary. */
enum mdq_err eval_ppl(const struct mdq_model *m, const int32_t *ids, int64_t windows, int ctx, struct eval_ppl *out);

struct eval_kld {
    struct mdq_mean kl;   /* KL(reference || model), nats per token */
    double kl_median, kl_p99, kl_max;
    struct mdq_mean top1; /* share of positions where both rank the same token first */
    /* Mean difference of the losses, model minus reference, paired: both on the same tokens. Its standard error is far
     * smaller than that of either perplexity, because what makes a text hard is hard for both. */
    struct mdq_mean difference;
    struct eval_ppl ppl;         /* of the model, as eval_ppl gives it */
    double reference_perplexity;
    int64_t tokens;
};

/* Both models must have the same vocabulary size (MDQ_E_DATA). */
enum mdq_err eval_kld(const struct mdq_model *m, const struct mdq_model *reference, const int32_t *ids,
                      int64_t windows, int ctx, struct eval_kld *out);

/* One position: two distributions over n tokens and the token that came. */
struct eval_position {
    double kl;           /* KL(p || q), nats */
    double nll_p, nll_q; /* -ln p(target), -ln q(target) */
    int same;            /* both rank the same token first (the first among equals) */
};
/* From the logits a (of p) and b (of q), both [n], 0 <= target < n. */
struct eval_position eval_compare(const float *a, const float *b, int64_t n, int64_t target);

#endif
