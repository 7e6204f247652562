/*
 * A whole model over windows of tokens, with one block's weights in memory at a time (or all of them, where they
 * are small), a bounded group of windows after the other.
 */
#ifndef MDQ_RUN_H
#define MDQ_RUN_H

#include "mdq_transformer.h"

struct mdq_run;

/*
 * x[t] = the embedding of ids[t], x [tokens, hidden], straight from the mapped tensor (a vocabulary of 128,256 by 4096
 * takes 2 GB in float32). Ids outside the vocabulary and non-finite values are MDQ_E_DATA.
 */
enum mdq_err mdq_model_embed(const struct mdq_model *m, const int32_t *ids, int64_t tokens, float *x);

/*
 * `m` must outlive the run. ctx tokens per window. max_bytes bounds the activations of a group (0: 1 GiB); a group
 * has at least one window. All blocks stay loaded when their float32 weights are below the same bound.
 */
enum mdq_err mdq_run_new(struct mdq_run **out, const struct mdq_model *m, int ctx, size_t max_bytes);
void mdq_run_free(struct mdq_run **r);
/* Windows that one call of mdq_run_hidden may take at most. */
int mdq_run_group(const struct mdq_run *r);
const struct mdq_outer *mdq_run_outer(const struct mdq_run *r);
const struct mdq_model *mdq_run_model(const struct mdq_run *r);
/* Whether all blocks stay in memory; otherwise each call of mdq_run_hidden reads them again. */
bool mdq_run_resident(const struct mdq_run *r);
/* Another number of tokens per window from now on; mdq_run_group changes with it. */
enum mdq_err mdq_run_set_ctx(struct mdq_run *r, int ctx);

/*
 * ids [windows * ctx] through embedding and all blocks: x [windows * ctx, hidden], before the final norm. Progress
 * is advanced by one per token and block.
 */
enum mdq_err mdq_run_hidden(struct mdq_run *r, const int32_t *ids, int windows, float *x);

#endif
