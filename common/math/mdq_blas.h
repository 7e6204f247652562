/*
 * OpenBLAS as mdq uses it: single-threaded (our own loops are the parallel ones, over fixed blocks, so that results
 * do not depend on the number of threads), and with the kernels that this CPU deserves.
 */
#ifndef MDQ_BLAS_H
#define MDQ_BLAS_H

#include "mdq_cli.h"

/*
 * The `start` of every program that uses OpenBLAS: sets one BLAS thread, and where OpenBLAS has taken the CPU for
 * an older one (Debian 12's 0.3.21 takes those newer than itself for Prescott, and is then 5 times slower), runs the
 * program again with OPENBLAS_CORETYPE set. A choice that the user made in the environment is left alone.
 */
enum mdq_err mdq_blas_start(const struct mdq_cli *cli, char **argv);

/*
 * The core name that a CPU with these features should run, or NULL when `corename` (as OpenBLAS reports it) is good
 * enough. Pure, for the tests. features: MDQ_CPU_* or-ed.
 */
enum { MDQ_CPU_AVX2_FMA = 1, MDQ_CPU_AVX512 = 2, MDQ_CPU_AMD = 4 };
const char *mdq_blas_better_core(const char *corename, unsigned features);

#endif
