/* The text report: what was found, with its evidence. */
#ifndef SCORE_REPORT_H
#define SCORE_REPORT_H

#include <stdio.h>

#include "score_label.h"

struct score_report {
    const struct score_search *s;
    const struct score_labels *l;
    const char *model;   /* hash */
    int64_t candidates;
    const struct score_spike *spikes;
    int64_t n_spikes;
};
void score_report_print(FILE *f, const struct score_report *r);
/* One line that says the same in short, for the log; into buf [size]. */
void score_report_line(const struct score_report *r, char *buf, size_t size);

#endif
