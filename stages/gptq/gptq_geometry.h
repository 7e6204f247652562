/*
 * What the stream tells of a layer's geometry and constraints, and manifold distortion by it (formats/charts.md).
 *
 * A point is row r of column block j, number r * blocks + j. The basis of its tangent comes from charts (mdq-vae), from the local PCA of
 * its neighbours (mdq-lle), or there is none: then MD is the relative error of the point.
 */
#ifndef GPTQ_GEOMETRY_H
#define GPTQ_GEOMETRY_H

#include "mdq_chart.h"
#include "mdq_layer_tiles.h"
#include "quant_grid.h"

enum gptq_basis { GPTQ_BASIS_NONE, GPTQ_BASIS_LLE, GPTQ_BASIS_CHART };
enum { GPTQ_FREE, GPTQ_FUNCTIONAL, GPTQ_SENSITIVE, GPTQ_OVERLAP, GPTQ_CLASSES };
/* How near an overlap point has to come to its target. */
#define GPTQ_OVERLAP_WIDTH 0.03

struct gptq_geometry {
    enum gptq_basis basis;
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
};

/* From the records held of a layer whose weights are assembled. MDQ_E_DATA, naming the tile, when keys contradict each other. */
enum mdq_err gptq_geometry_read(struct gptq_geometry *g, const struct mdq_layer_tiles *l);
void gptq_geometry_free(struct gptq_geometry *g);

/* md [points] of w rounded to `codes` on `grid`. */
enum mdq_err gptq_distortion(const struct gptq_geometry *g, const float *w, const struct quant_grid *grid, const uint8_t *codes,
                             float *md);

/* ||(I - U U^T) e|| of one point for an error e [D], and the distortion that this means for point number `at`. */
enum mdq_err gptq_point_off(const struct gptq_geometry *g, const float *w, int64_t row, int64_t block, const float *e, double *off);
float gptq_md_of(const struct gptq_geometry *g, int64_t at, double off);

/* U [D, *rank] of one point, row-major with stride *rank; u has room for D * MDQ_CHART_MAX_DIM. */
enum mdq_err gptq_tangent(const struct gptq_geometry *g, const float *w, int64_t row, int64_t block, double *u, int64_t *rank);

/* Whether a distortion meets a constraint; true for free points. */
bool gptq_met(int label, double target, double md);

#endif
