/* The options of mdq-score. */
#ifndef SCORE_OPTIONS_H
#define SCORE_OPTIONS_H

#include "mdq_cli.h"
#include "score_control.h"
#include "score_input.h"
#include "score_search.h"

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs, stats, tasks;
    const char *model, *memo, *probes, *report;
    struct score_files files;
    struct score_thresholds t;
    double deviations, fisher_share, privacy_share, spike;
    size_t memory;
    enum score_control write;
};

extern const struct argp_option score_option_table[];
error_t score_parse(int key, char *arg, struct argp_state *state);
void score_options_default(struct opts *o);
void score_options_free(struct opts *o);
/* The arguments and texts that change results, as canonical JSON; free(). NULL: out of memory. */
char *score_provenance(const struct opts *o, const struct score_texts *t);

#endif
