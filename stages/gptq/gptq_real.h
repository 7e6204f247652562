/*
 * The arithmetic of gptq_core.h for one element type. Included by gptq_core.c once for float and once for double,
 * with REAL, FN(name), BLAS(name), CHOLESKY defined; no include guard.
 *
 * Rows are independent of each other: a thread takes ROWS of them, transposed so that the inner loops run over rows
 * (contiguous, without dependence), and goes through all columns alone. Columns go in blocks of WIDE, and inside in blocks of
 * COLS: what the columns rounded before feed back into a block is one matrix product for the wide block and a small one
 * for the narrow; within that, SUB rows at a time stay in cache.
 */

/* L and D of M = h in the order of f->column + lambda I. Returns the bad pivot or -1. */
static int64_t FN(make_factor)(struct gptq_factor *f, const float *h, double lambda)
{
    int64_t n = f->n, bad;
    REAL *l = f->l;
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t p = 0; p < n; p++) {
        const float *from = h + f->column[p] * n;
        for (int64_t c = 0; c < p; c++)
            l[p * n + c] = from[f->column[c]];
        double diagonal = (double)from[f->column[p]] + lambda;
        l[p * n + p] = (REAL)(diagonal == 0 ? 1 : diagonal); /* a dead input without damping */
    }
    CHOLESKY(n, l, n, &bad);
    if (bad >= 0)
        return bad;
    for (int64_t p = 0; p < n; p++) {
        double d = l[p * n + p];
        f->d[p] = (double)h[f->column[p] * n + f->column[p]] + lambda == 0 ? 0 : d * d;
    }
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t p = n - 1; p >= 0; p--) {
        /* the diagonal is needed by the rows below until the end: it is set to 1 afterwards */
        for (int64_t c = 0; c < p; c++)
            l[p * n + c] = (REAL)(l[p * n + c] / l[c * n + c]);
    }
    for (int64_t p = 0; p < n; p++)
        l[p * n + p] = 1;
    return -1;
}

struct FN(scratch) {
    REAL *t;        /* [n, ROWS]: weights by position, then their errors */
    REAL *feedback; /* [WIDE, ROWS] */
    uint8_t *codes; /* [n, ROWS] */
    double *scales; /* [groups, ROWS] */
    double *zeros;  /* [groups, ROWS] */
};

/* One block of positions [p0, p1) for rows [r0, r0 + SUB) of the chunk; feedback [p1 - p0, ROWS]. */
static void FN(round_block)(const struct gptq_factor *f, const struct quant_grid *g, struct FN(scratch) *s,
                            const REAL *feedback, int64_t p0, int64_t p1, int64_t r0, struct lanes *lanes)
{
    int64_t n = f->n, width = p1 - p0;
    double top = quant_max_code(g);
    REAL near[COLS][SUB];
    for (int64_t c = 0; c < width; c++)
        memcpy(near[c], feedback + c * ROWS + r0, sizeof near[c]);
    for (int64_t p = p1 - 1; p >= p0; p--) {
        const REAL *fed = near[p - p0];
        REAL *w = s->t + p * ROWS + r0;
        uint8_t *codes = s->codes + p * ROWS + r0;
        int64_t group = f->column[p] / g->group;
        const double *scales = s->scales + group * ROWS + r0, *zeros = s->zeros + group * ROWS + r0;
        double d = f->d[p];
        REAL e[SUB];
        for (int i = 0; i < SUB; i++) {
            double v = w[i], target = (double)(w[i] + fed[i]), t = rint(target / scales[i]) + zeros[i];
            double c = t < 0 ? 0 : t > top ? top : t;
            double q = (c - zeros[i]) * scales[i], error = v - q, left = target - q, size = fabs(error);
            lanes->clipped[r0 + i] += c != t;
            lanes->max_abs[r0 + i] = size > lanes->max_abs[r0 + i] ? size : lanes->max_abs[r0 + i];
            lanes->sq_error[r0 + i] += error * error;
            lanes->sq_weight[r0 + i] += v * v;
            lanes->residual[r0 + i] += d * left * left;
            lanes->bound[r0 + i] += d * scales[i] * scales[i];
            codes[i] = (uint8_t)c;
            e[i] = (REAL)error;
        }
        memcpy(w, e, sizeof e);
        const REAL *l = (const REAL *)f->l + p * n + p0;
        for (int64_t c = 0; c < p - p0; c++)
            for (int i = 0; i < SUB; i++)
                near[c][i] += l[c] * e[i];
    }
}

/* What the errors of positions [from, to) feed back into [p0, p1), added to beta times feedback [p1 - p0, ROWS]. */
static void FN(feed)(const struct gptq_factor *f, const REAL *errors, int64_t p0, int64_t p1, int64_t from, int64_t to,
                     REAL beta, REAL *feedback)
{
    BLAS(gemm)(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(p1 - p0), ROWS, (int)(to - from), 1,
               (const REAL *)f->l + from * f->n + p0, (int)f->n, errors + from * ROWS, ROWS, beta, feedback, ROWS);
}

/* Rows [first, first + count) of the layer. */
static void FN(quantize_rows)(const float *w, const struct quant_grid *g, const struct gptq_factor *f,
                              const int64_t *position, struct FN(scratch) *s, int64_t first, int64_t count,
                              uint8_t *codes, struct lanes *lanes)
{
    int64_t n = f->n;
    /* rows beyond the last are zeros: they cost a little and change nothing */
    for (int64_t c = 0; c < n; c += 16)
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t i = c; i < c + 16 && i < n; i++)
                s->t[position[i] * ROWS + r] = r < count ? w[(first + r) * n + i] : 0;
    for (int64_t k = 0; k < g->groups; k++)
        for (int64_t r = 0; r < ROWS; r++) {
            int64_t at = (first + r) * g->groups + k;
            s->scales[k * ROWS + r] = r < count ? g->scales[at] : 1;
            s->zeros[k * ROWS + r] = r < count ? g->zeros[at] : 0;
        }
    for (int64_t q1 = n; q1 > 0; q1 -= WIDE) {
        int64_t q0 = q1 > WIDE ? q1 - WIDE : 0;
        if (q1 == n)
            memset(s->feedback, 0, sizeof(REAL) * WIDE * ROWS);
        else
            FN(feed)(f, s->t, q0, q1, q1, n, 0, s->feedback);
        for (int64_t p1 = q1; p1 > q0; p1 -= COLS) {
            int64_t p0 = p1 > q0 + COLS ? p1 - COLS : q0;
            REAL *feedback = s->feedback + (p0 - q0) * ROWS;
            if (p1 < q1)
                FN(feed)(f, s->t, p0, p1, p1, q1, 1, feedback);
            for (int64_t r = 0; r < count; r += SUB)
                FN(round_block)(f, g, s, feedback, p0, p1, r, lanes);
        }
    }
    for (int64_t c = 0; c < n; c += 64)
        for (int64_t r = 0; r < count; r++)
            for (int64_t i = c; i < c + 64 && i < n; i++)
                codes[(first + r) * n + i] = s->codes[position[i] * ROWS + r];
}

static enum mdq_err FN(quantize)(const float *w, const struct quant_grid *g, const struct gptq_factor *f,
                                 const int64_t *position, uint8_t *codes, struct lanes *lanes, int64_t chunks)
{
    bool starved = false;
    size_t n = (size_t)f->n;
#pragma omp parallel reduction(|| : starved)
    {
        struct FN(scratch) s = {
            .t = mdq_alloc_aligned(n * ROWS, sizeof(REAL), "weights of a chunk"),
            .feedback = mdq_alloc_aligned(WIDE * ROWS, sizeof(REAL), "feedback"),
            .codes = mdq_alloc_aligned(n * ROWS, 1, "codes of a chunk"),
            .scales = mdq_alloc_aligned((size_t)g->groups * ROWS, sizeof(double), "scales of a chunk"),
            .zeros = mdq_alloc_aligned((size_t)g->groups * ROWS, sizeof(double), "zero points of a chunk"),
        };
        bool ready = s.t && s.feedback && s.codes && s.scales && s.zeros;
        starved = !ready;
#pragma omp for schedule(dynamic, 1)
        for (int64_t k = 0; k < chunks; k++)
            if (ready)
                FN(quantize_rows)(w, g, f, position, &s, k * ROWS, min64(ROWS, g->rows - k * ROWS), codes, lanes + k);
        free(s.t);
        free(s.feedback);
        free(s.codes);
        free(s.scales);
        free(s.zeros);
    }
    return starved ? mdq_fail(MDQ_E_INTERNAL, "out of memory: scratch of GPTQ for %zu columns", n) : MDQ_OK;
}

/* x^T H x summed over the rows of xt [n, ROWS], by row blocks of H; y and panel are scratch. */
static double FN(quadratic)(int64_t n, const float *h, const REAL *xt, REAL *y, REAL *panel)
{
    double lane[ROWS] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i += WIDE) {
        int64_t m = min64(WIDE, n - i), width = i + m;
        const REAL *rows = FN(panel)(h + i * n, n, m, width, panel);
        int64_t stride = (const void *)rows == (const void *)(h + i * n) ? n : width;
        /* once for the diagonal block, twice for what is left of it */
        BLAS(gemm)(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, ROWS, (int)m, 1, rows + i, (int)stride,
                   xt + i * ROWS, ROWS, 0, y, ROWS);
        if (i > 0)
            BLAS(gemm)(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, ROWS, (int)i, 2, rows, (int)stride, xt,
                       ROWS, 1, y, ROWS);
        for (int64_t p = 0; p < m; p++)
            for (int64_t r = 0; r < ROWS; r++)
                lane[r] += (double)y[p * ROWS + r] * xt[(i + p) * ROWS + r];
    }
    for (int64_t r = 0; r < ROWS; r++)
        sum += lane[r];
    return sum;
}

static enum mdq_err FN(output_norm)(const float *w, const struct quant_grid *g, const uint8_t *codes, const float *h,
                                    double *sums, int64_t chunks)
{
    bool starved = false;
    int64_t n = g->cols;
#pragma omp parallel reduction(|| : starved)
    {
        REAL *xt = mdq_alloc_aligned((size_t)n * ROWS, sizeof *xt, "rows of a chunk");
        REAL *y = mdq_alloc_aligned(WIDE * ROWS, sizeof *y, "products");
        REAL *panel = FN(panel_alloc)(n);
        bool ready = xt && y && panel;
        starved = !ready;
#pragma omp for schedule(dynamic, 1)
        for (int64_t k = 0; k < chunks; k++) {
            int64_t first = k * ROWS, count = min64(ROWS, g->rows - first);
            for (int64_t c = 0; ready && c < n; c += 16)
                for (int64_t r = 0; r < ROWS; r++)
                    for (int64_t i = c; i < c + 16 && i < n; i++) {
                        int64_t at = (first + r) * n + i, s = (first + r) * g->groups + i / g->group;
                        double v = r < count ? w[at] : 0;
                        if (codes && r < count)
                            v -= g->scales[s] * (codes[at] - g->zeros[s]);
                        xt[i * ROWS + r] = (REAL)v;
                    }
            if (ready)
                sums[k] = FN(quadratic)(n, h, xt, y, panel);
        }
        free(xt);
        free(y);
        free(panel);
    }
    return starved ? mdq_fail(MDQ_E_INTERNAL, "out of memory: scratch of the output error") : MDQ_OK;
}
