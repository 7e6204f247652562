#include "mdq_eigen.h"

#include <stdlib.h>

/* LAPACK, from OpenBLAS. Fortran: column-major, everything by reference. */
void dsyevr_(const char *jobz, const char *range, const char *uplo, const int *n, double *a, const int *lda,
             const double *vl, const double *vu, const int *il, const int *iu, const double *abstol, int *m, double *w,
             double *z, const int *ldz, int *isuppz, double *work, const int *lwork, int *iwork, const int *liwork,
             int *info);

enum mdq_err mdq_eigen(int64_t size, double *a, int64_t il, int64_t iu, double *w, double *z)
{
    int n = (int)size, first = (int)il, last = (int)iu, found = 0, info = 0, lwork = 48 * n, liwork = 10 * n;
    double none = 0, *work = mdq_alloc_aligned((size_t)lwork, sizeof *work, "eigenvalues");
    int *iwork = mdq_alloc((size_t)(liwork + 2 * n), sizeof *iwork, "eigenvalues");
    enum mdq_err err = work && iwork ? MDQ_OK : MDQ_E_INTERNAL;
    if (err == MDQ_OK) {
        dsyevr_(z ? "V" : "N", il == 1 && iu == size ? "A" : "I", "L", &n, a, &n, &none, &none, &first, &last, &none, &found, w,
                z, &n, iwork + liwork, work, &lwork, iwork, &liwork, &info);
        if (info != 0 || found != last - first + 1)
            err = mdq_fail(MDQ_E_INTERNAL, "eigenvalues %d to %d of %d were not found (dsyevr: %d)", first, last, n, info);
    }
    free(work);
    free(iwork);
    return err;
}
