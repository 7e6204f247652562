#include "mdq_local_pca.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_local_lanes.h"

void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
            const int *lwork, int *info);

struct scratch {
    mdq_lanes *c, *work;
    double *rows;   /* k * D of differences, k * k more for mdq_local_gram */
    double *vector; /* k * k: eigenvectors of the neighbourhood's Gram matrix */
    double *lapack;
};

static void scratch_free(struct scratch *s)
{
    free(s->c);
    free(s->work);
    free(s->rows);
    free(s->vector);
    free(s->lapack);
}

/* The leading `dim` principal directions of point i's neighbours as the first columns of u [D, k]. */
static enum mdq_err directions(int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours, int64_t dim,
                               struct scratch *s, double *u)
{
    double *y = s->rows, value[MDQ_LOCAL_MAX_K];
    memset(u, 0, (size_t)(D * k) * sizeof *u);
    if (dim == 0)
        return MDQ_OK;
    for (int64_t p = 0; p < D; p++) {
        double mean = 0;
        for (int64_t a = 0; a < k; a++)
            mean += (double)x[neighbours[a] * ldx + p];
        mean /= (double)k;
        for (int64_t a = 0; a < k; a++)
            y[a * D + p] = (double)x[neighbours[a] * ldx + p] - mean;
    }
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, (int)k, (int)D, 1, y, (int)D, 0, s->vector, (int)k);
    /* row-major upper is LAPACK's lower; vector a comes as row a, values rise */
    int n = (int)k, room = 34 * MDQ_LOCAL_MAX_K, info = 0;
    dsyev_("V", "L", &n, s->vector, &n, value, s->lapack, &room, &info);
    if (info != 0)
        return mdq_fail(MDQ_E_INTERNAL, "local PCA: the eigenvectors of a neighbourhood were not found");
    for (int64_t j = 0; j < dim; j++) {
        const double *v = s->vector + (k - 1 - j) * k;
        double scale = value[k - 1 - j] > 0 ? 1 / sqrt(value[k - 1 - j]) : 0;
        for (int64_t a = 0; a < k; a++) {
            double weight = v[a] * scale;
            for (int64_t p = 0; p < D; p++)
                u[p * k + j] += weight * y[a * D + p];
        }
    }
    return MDQ_OK;
}

enum mdq_err mdq_local_pca(int64_t n, int64_t D, const float *x, int64_t ldx, int64_t k, const uint16_t *neighbours,
                           double variance, int64_t cap, int64_t first, int64_t count, uint8_t *dim, double *normal,
                           double *basis)
{
    if (k < 0 || k > MDQ_LOCAL_MAX_K || first < 0 || count < 0 || first + count > n)
        return mdq_fail(MDQ_E_INTERNAL, "local PCA: %lld neighbours of points %lld to %lld of %lld", (long long)k,
                        (long long)first, (long long)(first + count), (long long)n);
    if (k == 0) {
        for (int64_t i = 0; i < count; i++) {
            if (dim)
                dim[i] = 0;
            if (normal)
                normal[i] = 0;
        }
        return MDQ_OK;
    }
    struct scratch s = {.c = mdq_alloc_aligned((size_t)(k * (k + 1) / 2), sizeof *s.c, "neighbourhoods"),
                        .work = mdq_alloc_aligned((size_t)(4 * k), sizeof *s.work, "neighbourhoods"),
                        .rows = mdq_alloc_aligned((size_t)(k * D + k * k), sizeof *s.rows, "a neighbourhood"),
                        .vector = mdq_alloc_aligned((size_t)(k * k), sizeof *s.vector, "a neighbourhood"),
                        .lapack = mdq_alloc_aligned(34 * MDQ_LOCAL_MAX_K, sizeof *s.lapack, "a neighbourhood")};
    enum mdq_err err = s.c && s.work && s.rows && s.vector && s.lapack ? MDQ_OK : MDQ_E_INTERNAL;
    for (int64_t i = 0; i < count && err == MDQ_OK; i += MDQ_LANES) {
        int64_t points = count - i < MDQ_LANES ? count - i : MDQ_LANES;
        uint8_t dims[MDQ_LANES];
        double normals[MDQ_LANES];
        for (int lane = 0; lane < MDQ_LANES; lane++) { /* lanes too many repeat the last point */
            int64_t at = first + i + (lane < points ? lane : points - 1);
            mdq_local_gram(D, x, ldx, at, k, neighbours + at * k, s.rows, lane, s.c);
        }
        mdq_local_spectrum(k, s.c, variance, cap, s.work, dims, normals);
        for (int64_t l = 0; l < points && err == MDQ_OK; l++) {
            if (dim)
                dim[i + l] = dims[l];
            if (normal)
                normal[i + l] = normals[l];
            if (basis)
                err = directions(D, x, ldx, k, neighbours + (first + i + l) * k, dims[l], &s, basis + (i + l) * D * k);
        }
    }
    scratch_free(&s);
    return err;
}
