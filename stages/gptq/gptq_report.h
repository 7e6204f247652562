/*
 * What is told of every quantized layer: as a map in its record and in a report file, as a table, as a summary.
 */
#ifndef GPTQ_REPORT_H
#define GPTQ_REPORT_H

#include <jansson.h>

#include "gptq_core.h"

struct gptq_report {
    char *tensor;
    int64_t rows, cols, group;
    int bits;
    bool ragged;      /* the group asked for does not divide cols: whole rows */
    bool gptq;        /* done by GPTQ; else by rounding */
    const char *fallback; /* why GPTQ was given up, NULL when it was not */
    struct quant_outcome outcome;
    int64_t bumped;   /* scales that would have been zero */
    /* with a Hessian */
    bool has_hessian;
    int64_t tokens, dead;
    double whw, ehe;  /* tr(W H W^T), tr(E H E^T), H undamped */
    double damp;
    double tried[GPTQ_MAX_TRIES];
    int tries;
    json_t *md;       /* distortions, all misses in it; owned, NULL once told */
    int64_t met, missed; /* constraints on it */
};

/* ||X(W-Q)|| / ||XW||, or -1 when there was no Hessian (or XW is 0). */
double gptq_report_output_error(const struct gptq_report *r);
/* ||W-Q|| / ||W||; 0 for a zero matrix. */
double gptq_report_weight_error(const struct gptq_report *r);
/* Error in the damped H over Babai's bound; 1/3 of the bound is its expectation. -1 when not done by GPTQ. */
double gptq_report_bound_ratio(const struct gptq_report *r);
double gptq_report_clipped(const struct gptq_report *r);

/* One line of JSON, keys sorted; with the tensor's name and every missed constraint when `named`, else at most GPTQ_REPORT_MISSES of
 * these. NULL: out of memory. Released with free(). */
enum { GPTQ_REPORT_MISSES = 64 };
char *gptq_report_json(const struct gptq_report *r, bool named);

/* Table of n reports on standard error. */
void gptq_report_table(const struct gptq_report *r, int n);
/* "7 layers: 6 by gptq, 1 by rtn (1 fell back); ..."; free(). */
char *gptq_report_summary(const struct gptq_report *r, int n);

#endif
