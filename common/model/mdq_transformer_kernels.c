/*
 * The transformer's loops over rows: norms, gated activation, rotation, exponentials. Everything is written so that
 * the compiler vectorises it; sums run in lanes whose number the compiler fixes, so they never depend on threads.
 */
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512") /* compilers prefer half of it, for code that is not all arithmetic */
#endif

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mdq_transformer_impl.h"

/*
 * Large buffers ask for huge pages: a block of rows lies on hundreds of small ones, and looking those up, on a virtual
 * machine above all, costs more than the arithmetic that is done on a row.
 */
enum mdq_err mdq_buffer_reserve(struct mdq_buffer *b, size_t n)
{
    const size_t huge = (size_t)2 << 20, floats = huge / sizeof *b->p;
    if (n <= b->n)
        return MDQ_OK;
    free(b->p);
    b->n = 0;
    if (n < floats) {
        b->p = mdq_alloc_aligned(n, sizeof *b->p, "transformer activations");
    } else {
        n = (n + floats - 1) / floats * floats;
        if (n > SIZE_MAX / sizeof *b->p || !(b->p = aligned_alloc(huge, n * sizeof *b->p)))
            return mdq_fail_nomem("transformer activations", n);
        madvise(b->p, n * sizeof *b->p, MADV_HUGEPAGE); /* refused: small pages do */
    }
    if (!b->p)
        return MDQ_E_INTERNAL;
    b->n = n;
    return MDQ_OK;
}

enum mdq_err mdq_scratch_reserve(struct mdq_workspace *ws, size_t n)
{
    ws->thread_stride = (n + 31) / 16 * 16; /* no two threads on one cache line */
    return mdq_buffer_reserve(&ws->thread, ws->thread_stride * (size_t)omp_get_max_threads());
}

float *mdq_scratch(const struct mdq_workspace *ws)
{
    return ws->thread.p + ws->thread_stride * (size_t)omp_get_thread_num();
}

/*
 * e^x for x in [-87, 88] (clamped to it), within 2 units in the last place: x = n ln 2 + r, |r| <= ln 2 / 2, the
 * Taylor polynomial of degree 6 in Horner form (its remainder is below 1.3e-7 relative), times 2^n by the exponent.
 */
static inline float exp_clamped(float x)
{
    const float shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float t = x * 1.44269504f + shifter;
    float n = t - shifter;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f; /* ln 2 in two parts, so that n ln 2 is exact */
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t e = (int32_t)n + 127;
    e = (int32_t)((uint32_t)e << 23);
    float two_n;
    memcpy(&two_n, &e, sizeof two_n);
    return p * two_n;
}

float mdq_exp_sum(int n, float scale, float shift, const float *s, float *p)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) {
        float e = exp_clamped(s[j] * scale - shift);
        p[j] = e;
        sum += e;
    }
    return sum;
}

float mdq_max(int n, const float *x)
{
    enum { LANES = 16 }; /* by hand: not every compiler takes a maximum for a reduction */
    float m[LANES], max = -INFINITY;
    int j = 0;
    for (int l = 0; l < LANES; l++)
        m[l] = -INFINITY;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++)
            m[l] = x[j + l] > m[l] ? x[j + l] : m[l];
    for (; j < n; j++)
        max = x[j] > max ? x[j] : max;
    for (int l = 0; l < LANES; l++)
        max = m[l] > max ? m[l] : max;
    return max;
}

bool mdq_all_finite(int64_t n, const float *x)
{
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (int64_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &x[j], sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

/* 8 x 8, three rounds of exchanging halves of pairs of rows. */
typedef float lanes __attribute__((vector_size(32)));
typedef int32_t lane_numbers __attribute__((vector_size(32)));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (lane_numbers){__VA_ARGS__})
#endif

static inline void transpose_8x8(const float *src, int64_t lds, float *dst, int64_t ldd)
{
    lanes a[8], b[8];
    for (int i = 0; i < 8; i++)
        memcpy(&a[i], src + i * lds, sizeof a[i]);
    for (int i = 0; i < 4; i++) {
        b[i] = SHUFFLE(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        b[i + 4] = SHUFFLE(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = i; j < i + 2; j++) {
            a[j] = SHUFFLE(b[j], b[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            a[j + 2] = SHUFFLE(b[j], b[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 8; i += 2) {
        b[i] = SHUFFLE(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        b[i + 1] = SHUFFLE(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i++)
        memcpy(dst + i * ldd, &b[i], sizeof b[i]);
}

void mdq_transpose(int64_t rows, int64_t n, const float *src, int64_t lds, float *dst, int64_t ldd)
{
    int64_t whole = n / 8 * 8, i0 = 0;
    for (; i0 + 8 <= rows; i0 += 8) {
        for (int64_t j0 = 0; j0 < whole; j0 += 8)
            transpose_8x8(src + i0 * lds + j0, lds, dst + j0 * ldd + i0, ldd);
        for (int64_t j = whole; j < n; j++)
            for (int64_t i = i0; i < i0 + 8; i++)
                dst[j * ldd + i] = src[i * lds + j];
    }
    for (; i0 < rows; i0++)
        for (int64_t j = 0; j < n; j++)
            dst[j * ldd + i0] = src[i0 * lds + j];
}

static inline float sum_of_squares(int n, const float *x)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++)
        sum += x[j] * x[j];
    return sum;
}

float mdq_rstd(int n, const float *x, double eps)
{
    return (float)(1 / sqrt((double)sum_of_squares(n, x) / n + eps));
}

void mdq_column_sums(int64_t rows, int n, const float *x, int64_t ldx, float *sum)
{
    for (int64_t i = 0; i < rows; i++)
#pragma omp simd
        for (int j = 0; j < n; j++)
            sum[j] += x[i * ldx + j];
}

bool mdq_rmsnorm(int64_t rows, int n, const float *x, int64_t ldx, const float *w, double eps, float *y, int64_t ldy,
                 float *rstd)
{
    int bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad) if (rows * n > 1 << 16)
    for (int64_t i = 0; i < rows; i++) {
        const float *xi = x + i * ldx;
        float *yi = y + i * ldy, sum = sum_of_squares(n, xi);
        float scale = (float)(1 / sqrt((double)sum / n + eps));
        bad |= !isfinite(sum);
        if (rstd)
            rstd[i] = scale;
#pragma omp simd
        for (int j = 0; j < n; j++)
            yi[j] = xi[j] * scale * w[j];
    }
    return !bad;
}

void mdq_rmsnorm_backward(int64_t rows, int n, const float *x, int64_t ldx, const float *w, const float *rstd,
                          const float *dy, int64_t lddy, const float *add, float *dx, int64_t lddx, float *dw)
{
    for (int64_t i = 0; i < rows; i++) {
        const float *xi = x + i * ldx, *gi = dy + i * lddy, *ai = add ? add + i * lddx : NULL;
        float *di = dx + i * lddx, r = rstd[i], dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int j = 0; j < n; j++)
            dot += gi[j] * w[j] * xi[j];
        float shrink = dot * r * r * r / (float)n;
        if (dw)
#pragma omp simd
            for (int j = 0; j < n; j++)
                dw[j] += gi[j] * xi[j] * r;
        if (ai)
#pragma omp simd
            for (int j = 0; j < n; j++)
                di[j] = ai[j] + gi[j] * w[j] * r - xi[j] * shrink;
        else
#pragma omp simd
            for (int j = 0; j < n; j++)
                di[j] = gi[j] * w[j] * r - xi[j] * shrink;
    }
}

void mdq_swiglu(int64_t rows, int n, const float *gu, float *act)
{
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t i = 0; i < rows; i++) {
        const float *g = gu + i * 2 * n, *u = g + n;
        float *a = act + i * n;
#pragma omp simd
        for (int j = 0; j < n; j++)
            a[j] = g[j] * u[j] / (1.0f + exp_clamped(-g[j]));
    }
}

void mdq_swiglu_backward(int64_t rows, int n, const float *dact, float *gu)
{
#pragma omp parallel for schedule(static) if (rows * n > 1 << 16)
    for (int64_t i = 0; i < rows; i++) {
        float *g = gu + i * 2 * n, *u = g + n;
        const float *d = dact + i * n;
#pragma omp simd
        for (int j = 0; j < n; j++) {
            float s = 1.0f / (1.0f + exp_clamped(-g[j])), silu = g[j] * s;
            float du = d[j] * silu;
            g[j] = d[j] * u[j] * (s + silu * (1.0f - s));
            u[j] = du;
        }
    }
}

void mdq_rotate(float *x, int heads, int half, const float *cosine, const float *sine, bool inverse)
{
    float sign = inverse ? -1.0f : 1.0f;
    for (int h = 0; h < heads; h++) {
        float *a = x + (int64_t)h * 2 * half, *b = a + half;
#pragma omp simd
        for (int j = 0; j < half; j++) {
            float s = sign * sine[j], first = a[j] * cosine[j] - b[j] * s;
            b[j] = b[j] * cosine[j] + a[j] * s;
            a[j] = first;
        }
    }
}
