/*
 * Products of rows with weights. A large model's go to mdq_gemm. In a small model's block of rows sgemm spends a fifth
 * of its time packing its operands, so where OpenBLAS has kernels for small matrices (with AVX-512) the products are
 * cut into tiles that those take: they read both operands where they stand, and the weights stand in panels, packed
 * once per call for all blocks. Measured on one core, GFLOP/s, 256 rows, 256 -> 512 / 256 -> 1280 / 640 -> 256: whole
 * 203 / 205 / 201, tiles 238 / 230 / 240, against 230 for a product of 2048^3.
 */
#include <string.h>
#include <strings.h>

#include <cblas.h>

#include "mdq_linalg.h"
#include "mdq_transformer_impl.h"

enum {
    SMALL_WIDTH = 4096, /* hidden + intermediate up to which a model is small: blocks then fit a core's cache */
    WHOLE_ROWS = 256,   /* rows of a small model's block: sgemm is within 10 % of its best */
    TILED_ROWS = 128,   /* with tiles fewer rows do, and leave more of the cache to the weights */
    PANEL_ROWS = 2048,  /* rows of a large model's panel */
    ROWS_WANTED = 16,   /* blocks */
    WORTH_ROWS = 1024,  /* rows from which arranging the weights in panels pays */
    INNER = 320,        /* a tile's inner dimension, at most */
    UNIT = 6,           /* rows that the kernel takes at a time */
};

static bool has_small_kernels(void)
{
    static const char *const cores[] = {"SkylakeX", "Cooperlake", "Sapphirerapids"};
    const char *core = openblas_get_corename();
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (strcasecmp(core, cores[i]) == 0)
            return true;
    return false;
}

struct mdq_rows mdq_rows_of(const struct mdq_config *c, int64_t rows)
{
    if (c->hidden + c->intermediate > SMALL_WIDTH)
        return (struct mdq_rows){false, false, PANEL_ROWS};
    bool tiles = rows >= WORTH_ROWS && has_small_kernels();
    int64_t most = tiles ? TILED_ROWS : WHOLE_ROWS, block = (rows + ROWS_WANTED - 1) / ROWS_WANTED;
    block = (block + MDQ_SUM_ROWS - 1) / MDQ_SUM_ROWS * MDQ_SUM_ROWS;
    return (struct mdq_rows){true, tiles, block > most ? most : block};
}

void mdq_one_blas_thread(void)
{
    if (openblas_get_num_threads() != 1)
        openblas_set_num_threads(1);
}

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

size_t mdq_panels_floats(int64_t out, int64_t in, bool transposed)
{
    return (size_t)(transposed ? round_up(out, MDQ_PANEL) * in : round_up(in, MDQ_PANEL) * out);
}

void mdq_panels_fill(int64_t out, int64_t in, const float *w, bool transposed, float *panels)
{
    int64_t columns = transposed ? out : in, rows = transposed ? in : out;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < columns; j += MDQ_PANEL) {
        int64_t n = columns - j < MDQ_PANEL ? columns - j : MDQ_PANEL;
        float *to = panels + j * rows;
        if (transposed)
            mdq_transpose(n, rows, w + j * in, in, to, MDQ_PANEL);
        else
            for (int64_t i = 0; i < rows; i++)
                memcpy(to + i * MDQ_PANEL, w + i * in + j, (size_t)n * sizeof *to);
    }
}

/* c [m, n] (+)= a [m, k] b, b's panel number j at b + j step, its rows ldb apart. */
static void tiled(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t step,
                  int64_t ldb, bool add, float *c, int64_t ldc)
{
    int64_t kt = round_up((k + (k + INNER - 1) / INNER - 1) / ((k + INNER - 1) / INNER), 16);
    int64_t most = MDQ_SMALL_PRODUCT / (MDQ_PANEL * kt), parts = (m + most - 1) / most;
    int64_t mt = round_up((m + parts - 1) / parts, UNIT);
    if (mt > most)
        mt -= UNIT;
    for (int64_t j = 0; j < n; j += MDQ_PANEL, b += step)
        for (int64_t p = 0; p < k; p += kt)
            for (int64_t i = 0; i < m; i += mt) {
                int64_t mm = m - i < mt ? m - i : mt, nn = n - j < MDQ_PANEL ? n - j : MDQ_PANEL, kk = k - p < kt ? k - p : kt;
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)mm, (int)nn, (int)kk, 1, a + i * lda + p,
                            (int)lda, b + p * ldb, (int)ldb, add || p > 0 ? 1 : 0, c + i * ldc + j, (int)ldc);
            }
}

static void whole(const struct mdq_rows *r, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  const float *b, int64_t ldb, bool add, float *c, int64_t ldc)
{
    if (r->small)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)lda, b,
                    (int)ldb, add ? 1 : 0, c, (int)ldc);
    else
        mdq_gemm(0, tb, m, n, k, 1, a, lda, b, ldb, add ? 1 : 0, c, ldc);
}

void mdq_rows_linear(const struct mdq_rows *r, const float *x, int64_t ldx, const float *w, const float *panels,
                     const float *bias, int64_t rows, int64_t in, int64_t out, bool add, float *y, int64_t ldy)
{
    if (bias)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < out; j++)
                y[i * ldy + j] = bias[j] + (add ? y[i * ldy + j] : 0);
    if (panels)
        tiled(rows, out, in, x, ldx, panels, in * MDQ_PANEL, MDQ_PANEL, add || bias, y, ldy);
    else
        whole(r, 1, rows, out, in, x, ldx, w, in, add || bias, y, ldy);
}

void mdq_rows_linear_back(const struct mdq_rows *r, const float *dy, int64_t ldy, const float *w, const float *panels,
                          int64_t rows, int64_t out, int64_t in, bool add, float *dx)
{
    if (panels)
        tiled(rows, in, out, dy, ldy, panels, out * MDQ_PANEL, MDQ_PANEL, add, dx, in);
    else if (r->tiles)
        tiled(rows, in, out, dy, ldy, w, MDQ_PANEL, in, add, dx, in);
    else
        whole(r, 0, rows, in, out, dy, ldy, w, in, add, dx, in);
}
