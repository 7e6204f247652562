/* The texts of mdq-score, read and checked against each other and against what the gradients were made of. */
#ifndef SCORE_INPUT_H
#define SCORE_INPUT_H

#include "mdq.h"
#include "mdq_model.h"
#include "score_probe.h"

struct score_files {
    const char *sensitive, *matched, *heldout, *valid; /* heldout may be NULL */
    char *const *tasks;
    int n_tasks;
    int64_t valid_skip, valid_tokens, task_limit, records; /* records: of each file the first so many, 0: all */
    bool whole;                                            /* whole records, even where a span is marked */
    int ctx;                                               /* 0: as the model's, at most 2048 */
};

/*
 * gradients: header of the stream with them; it says which records they saw: all of the sensitive ones and the first half of the
 * matched ones, of which the second half is taken here. MDQ_E_DATA: files that share texts, other records than the gradients', none
 * left, too short a text. Few records are a warning that names the consequence.
 */
enum mdq_err score_read_texts(struct score_texts *t, const struct mdq_model *m, const struct score_files *f,
                              const struct mdq_header *gradients);

#endif
