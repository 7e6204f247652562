/*
 * Integer coordinate descent on one row: codes that make e^T (H + lambda I) e + sum over segments of mu ||(I - U U^T) e_t||^2 small, e =
 * target - s (c - z) the whole row's error. A segment is a point of the row with a tangent basis of its own.
 */
#ifndef GPTQ_DESCENT_H
#define GPTQ_DESCENT_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

struct gptq_segment {
    int64_t block;        /* column block */
    int64_t first, D;     /* columns [first, first + D) */
    int64_t rank;
    double *u;            /* [D, rank] orthonormal */
    double mu;            /* weight of the normal term, 0: none */
    bool frozen;          /* its codes stay as they are */
    /* kept up to date */
    double *ue;           /* [rank] U^T e */
};

struct gptq_row {
    int64_t n, group;
    const float *h;       /* [n, n] symmetric */
    double lambda;
    const double *target; /* [n] */
    double *scales;       /* [n / group] */
    const uint8_t *zeros; /* [n / group] */
    int top;              /* largest code */
    uint8_t *codes;       /* [n] */
    struct gptq_segment *segment;
    int segments;
    /* kept up to date by the functions below */
    double *e;            /* [n] target - value */
    double *he;           /* [n] (H + lambda I) e */
};

/* e, he and the segments' ue from the codes. O(n^2). */
void gptq_row_reset(struct gptq_row *r);
/* Sets the code of column i and everything that depends on it. O(n). */
void gptq_row_move(struct gptq_row *r, int64_t i, int code);
/* e^T (H + lambda I) e. */
double gptq_row_cost(const struct gptq_row *r);
/* The objective above. */
double gptq_row_objective(const struct gptq_row *r);
/* ||(I - U U^T) e_t||^2 of a segment. */
double gptq_segment_off(const struct gptq_row *r, const struct gptq_segment *s);
/* Sweeps over the columns from the first to the last, each to its best code, until nothing moves or `sweeps` are done. The objective
 * never rises. Only columns [first, first + count) move. */
void gptq_row_descend(struct gptq_row *r, int sweeps, int64_t first, int64_t count);

#endif
