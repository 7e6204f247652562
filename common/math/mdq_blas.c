#include "mdq_blas.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "mdq_log.h"

/* Which vector width each x86-64 kernel set of OpenBLAS uses; what is not listed is older than AVX2. */
static const struct {
    const char *name;
    unsigned has;
} cores[] = {
    {"Haswell", MDQ_CPU_AVX2_FMA},
    {"Zen", MDQ_CPU_AVX2_FMA},
    {"Excavator", MDQ_CPU_AVX2_FMA},
    {"SkylakeX", MDQ_CPU_AVX2_FMA | MDQ_CPU_AVX512},
    {"Cooperlake", MDQ_CPU_AVX2_FMA | MDQ_CPU_AVX512},
    {"Sapphirerapids", MDQ_CPU_AVX2_FMA | MDQ_CPU_AVX512},
};

const char *mdq_blas_better_core(const char *corename, unsigned features)
{
    unsigned has = 0;
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (strcasecmp(cores[i].name, corename) == 0)
            has = cores[i].has;
    unsigned want = features & (MDQ_CPU_AVX2_FMA | MDQ_CPU_AVX512);
    if ((want & ~has) == 0)
        return NULL;
    if (want & MDQ_CPU_AVX512)
        return "SkylakeX";
    return features & MDQ_CPU_AMD ? "Zen" : "Haswell";
}

static unsigned cpu_features(void)
{
    unsigned f = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        f |= MDQ_CPU_AVX2_FMA;
    if (f && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        f |= MDQ_CPU_AVX512;
    if (__builtin_cpu_is("amd"))
        f |= MDQ_CPU_AMD;
#endif
    return f;
}

enum mdq_err mdq_blas_start(const struct mdq_cli *cli, char **argv)
{
    (void)cli;
    static const char guard[] = "MDQ_BLAS_RESTARTED";
    openblas_set_num_threads(1);
    const char *core = openblas_get_corename();
    const char *chosen = getenv("OPENBLAS_CORETYPE");
    bool restarted = getenv(guard) != NULL;
    unsetenv(guard);
    if (chosen || restarted) {
        mdq_log(MDQ_LOG_INFO, "OpenBLAS kernels: %s%s", core, restarted ? "" : " (OPENBLAS_CORETYPE as given)");
        return MDQ_OK;
    }
    const char *better = mdq_blas_better_core(core, cpu_features());
    if (!better) {
        mdq_log(MDQ_LOG_INFO, "OpenBLAS kernels: %s", core);
        return MDQ_OK;
    }
    mdq_log(MDQ_LOG_INFO, "OpenBLAS took this CPU for %s; starting again with OPENBLAS_CORETYPE=%s", core, better);
    /* the pool of BLAS threads that the library starts by itself is not wanted either */
    if (setenv("OPENBLAS_CORETYPE", better, 1) == 0 && setenv(guard, "1", 1) == 0)
        execv("/proc/self/exe", argv);
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv(guard);
    mdq_log(MDQ_LOG_WARNING, "OpenBLAS runs with slow kernels (%s): set OPENBLAS_CORETYPE=%s", core, better);
    return MDQ_OK;
}
