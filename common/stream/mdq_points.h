/*
 * The points of a layer as the stream tells of them: geometry, constraints, and manifold distortion (formats/charts.md).
 *
 * A point is row r of column block j, number r * blocks + j. The basis of its tangent comes from charts (mdq-vae), from the local PCA of
 * its neighbours (mdq-lle), or there is none: then MD is the relative error of the point.
 */
#ifndef MDQ_POINTS_H
#define MDQ_POINTS_H

#include "mdq_chart.h"
#include "mdq_layer_tiles.h"

enum mdq_basis { MDQ_BASIS_NONE, MDQ_BASIS_LLE, MDQ_BASIS_CHART };
enum { MDQ_FREE, MDQ_FUNCTIONAL, MDQ_SENSITIVE, MDQ_OVERLAP, MDQ_CLASSES };
/* How near an overlap point has to come to its target. */
#define MDQ_OVERLAP_WIDTH 0.03

struct mdq_points {
    enum mdq_basis basis;
    int64_t rows, cols, blocks, tile_rows, points;
    int64_t *first;       /* [blocks + 1] first column of each block */
    int64_t *tile_first;  /* [tile_rows + 1] first row of each tile row */
    double *norm;         /* [points] ||n_j|| with its floor, in units of the weights */
    int64_t floored, zero; /* points whose norm is the floor; points with neither normal nor floor, for which it is ||w|| */
    /* charts */
    struct mdq_chart *charts; /* [blocks, most_charts] */
    int64_t most_charts, most_dim;
    uint8_t *chart;       /* [points] */
    double *foot;         /* [points, most_dim] */
    double *scale;        /* [tile_rows, blocks] row_scale */
    /* neighbours */
    int64_t k;            /* 0: none; the same for all tiles, smaller tiles padded */
    uint16_t *neighbours; /* [points, k] */
    int64_t *tile_k;      /* [tile_rows, blocks] */
    double variance;
    /* constraints */
    bool labelled;
    uint8_t *label;       /* [points] */
    float *target;        /* [points] */
    int64_t shifts;       /* protective shifts (mdq-score); 0: none in the stream */
    float *shift;         /* [shifts, first_most], a row's first D entries */
    int64_t *shift_at;    /* [points] which of them is the point's, -1: none; NULL without shifts */
    int64_t first_most;   /* columns of the widest block */
};

/* From the records held of a layer whose weights are assembled. MDQ_E_DATA, naming the tile, when keys contradict each other. */
enum mdq_err mdq_points_read(struct mdq_points *g, const struct mdq_layer_tiles *l);
void mdq_points_free(struct mdq_points *g);

/* off [rows] = ||(I - U U^T) e|| of the errors e [rows, D] of tile (i, j), in units of the weights; w [rows, cols] of the layer. */
enum mdq_err mdq_points_off(const struct mdq_points *g, const float *w, int64_t i, int64_t j, const float *e, double *off);

/* ||(I - U U^T) e|| of one point for an error e [D], and the distortion that this means for point number `at`. */
enum mdq_err mdq_point_off(const struct mdq_points *g, const float *w, int64_t row, int64_t block, const float *e, double *off);
float mdq_point_md(const struct mdq_points *g, int64_t at, double off);

/* U [D, *rank] of one point, row-major with stride *rank; u has room for D * MDQ_CHART_MAX_DIM. */
enum mdq_err mdq_point_tangent(const struct mdq_points *g, const float *w, int64_t row, int64_t block, double *u, int64_t *rank);

/* Whether a distortion meets a constraint; true for free points. */
bool mdq_md_met(int label, double target, double md);

#endif
