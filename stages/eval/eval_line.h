/* A result: one JSON object on a line of its own, its members in the order in which they are given. */
#ifndef EVAL_LINE_H
#define EVAL_LINE_H

#include <stdint.h>
#include <stdio.h>

#include "mdq_output.h"
#include "mdq_stats.h"

struct eval_line {
    FILE *f; /* NULL: out of memory, which eval_line_end reports */
    char *text;
    size_t size;
    int members;
};

void eval_line_begin(struct eval_line *l);
void eval_line_text(struct eval_line *l, const char *key, const char *value);
void eval_line_int(struct eval_line *l, const char *key, int64_t value);
/* Nine digits; null where it is not finite (JSON has no NaN): a standard error of one window. */
void eval_line_number(struct eval_line *l, const char *key, double value);
/* All digits, so that what is computed from it agrees. */
void eval_line_exact(struct eval_line *l, const char *key, double value);
void eval_line_exact_list(struct eval_line *l, const char *key, const double *v, int64_t n);
/* [low, high], or null. */
void eval_line_interval(struct eval_line *l, const char *key, struct mdq_interval i);
/* Writes the line (or fails) and releases it. */
enum mdq_err eval_line_end(struct eval_line *l, struct mdq_output *out);
/* Releases it unwritten. */
void eval_line_drop(struct eval_line *l);

#endif
