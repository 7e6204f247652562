/*
 * Tasks that are answered by likelihood: multiple choice and minimal pairs. A file has one JSON object per line,
 *
 *   {"query": "...", "choices": ["...", ...], "gold": 0}
 *   {"sentence_good": "...", "sentence_bad": "..."}
 *
 * other members are ignored. An item is answered with the choice of largest total log-likelihood: of a choice's tokens given the
 * query, of a whole sentence given BOS.
 */
#ifndef MDQ_TASKS_H
#define MDQ_TASKS_H

#include "mdq_examples.h"

enum { MDQ_CHOICES_MAX = 256 };

struct mdq_task_item {
    int64_t first; /* its choices are the examples first ... first + choices - 1 */
    int32_t choices, gold;
    int32_t file;  /* the how many-th file it came from */
    int64_t line;  /* of that file, from 1 */
};

struct mdq_tasks {
    int64_t n, capacity;
    struct mdq_task_item *items;
    struct mdq_examples examples; /* one per choice; its span is what is scored */
    int32_t files;
    int64_t cut;      /* choices whose query lost its beginning to the context */
    int64_t left_out; /* items with a choice or a sentence that is longer than the context */
};

/*
 * Appends the items of a file ("-": standard input), of its first `limit` (0: all). Zero-initialise for the first file.
 *
 * Query and choice become one text: the query, `delimiter` (NULL: one space) unless the query ends in white space, the choice. White
 * space at the end of the query counts to the choice. The text is tokenized as a whole, BOS in front; the choice's tokens are those
 * from the first on in which it differs from the tokens of the query alone, so that a token that holds the end of the query and the
 * beginning of the choice is the choice's.
 *
 * ctx > 0: where both together are longer, tokens of the query are left out behind BOS; an item of which a choice or a sentence alone
 * is longer is left out. Warnings say how many. MDQ_E_DATA with file and line: no task of either kind, fewer than two choices, gold that
 * is none of them, an empty text; no item at all. Released with mdq_tasks_free, on failure too.
 */
enum mdq_err mdq_tasks_read(struct mdq_tasks *t, const struct mdq_tokenizer *tokenizer, const char *path, const char *delimiter,
                            int64_t limit, int64_t ctx, int32_t vocab);
void mdq_tasks_free(struct mdq_tasks *t);

/*
 * correct[i] for every item, from the losses of `examples` (mdq_example_losses, with or without spans): 1 where the right choice is
 * the likeliest, 1/k where it shares that with k - 1 others (what guessing among them gets right), 0 otherwise. Sums within 1e-6 of each
 * other, relative, count as the same.
 */
void mdq_tasks_judge(const struct mdq_tasks *t, const double *nll, double *correct);
/* The mean of what mdq_tasks_judge finds; NaN with no item. */
double mdq_tasks_accuracy(const struct mdq_tasks *t, const double *nll);

#endif
