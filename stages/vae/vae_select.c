#include "vae_select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_random.h"

enum { SHORT = 3, LLOYD = 4 };

/* Two seeds by k-means++ among the rows of one component (D^2 sampling, Arthur and Vassilvitskii 2007). */
static void pick_seeds(const struct vae_rows *rows, const int64_t *of, int64_t n, struct mdq_random *random, double *dist,
                       int64_t seed[2])
{
    const int64_t D = rows->D;
    double sum = 0;
    seed[0] = of[mdq_random_below(random, n)];
    for (int64_t i = 0; i < n; i++) {
        dist[i] = 0;
        for (int64_t j = 0; j < D; j++) {
            double t = rows->x[of[i] * D + j] - rows->x[seed[0] * D + j];
            dist[i] += t * t;
        }
        sum += dist[i];
    }
    double at = mdq_random_uniform(random) * sum;
    int64_t i = 0;
    while (i + 1 < n && at >= dist[i])
        at -= dist[i++];
    seed[1] = of[i];
}

/* side [n] = 0 or 1 by Lloyd's iterations from two seeds. */
static enum mdq_err two_means(const struct vae_rows *rows, const int64_t *of, int64_t n, const int64_t seed[2], uint8_t *side)
{
    const int64_t D = rows->D;
    double *centre = mdq_calloc(2 * (size_t)D, sizeof *centre, "centres"), *sum = mdq_alloc(2 * (size_t)D, sizeof *sum, "centres");
    if (!centre || !sum) {
        free(centre);
        free(sum);
        return MDQ_E_INTERNAL;
    }
    for (int s = 0; s < 2; s++)
        for (int64_t j = 0; j < D; j++)
            centre[s * D + j] = rows->x[seed[s] * D + j];
    for (int it = 0; it < LLOYD; it++) {
        int64_t count[2] = {0, 0};
        memset(sum, 0, 2 * (size_t)D * sizeof *sum);
        for (int64_t i = 0; i < n; i++) {
            const float *x = rows->x + of[i] * D;
            double d0 = 0, d1 = 0;
            for (int64_t j = 0; j < D; j++) {
                d0 += (x[j] - centre[j]) * (x[j] - centre[j]);
                d1 += (x[j] - centre[D + j]) * (x[j] - centre[D + j]);
            }
            side[i] = d1 < d0;
            count[side[i]]++;
            for (int64_t j = 0; j < D; j++)
                sum[side[i] * D + j] += x[j];
        }
        for (int s = 0; s < 2; s++)
            for (int64_t j = 0; j < D && count[s] > 0; j++)
                centre[s * D + j] = sum[s * D + j] / (double)count[s];
    }
    free(centre);
    free(sum);
    return MDQ_OK;
}

struct near {
    double distance;
    int64_t row;
};

static int by_distance(const void *a, const void *b)
{
    const struct near *x = a, *y = b;
    return x->distance != y->distance ? (x->distance < y->distance ? -1 : 1) : (x->row > y->row) - (x->row < y->row);
}

/*
 * side [n]: the nearest rows of each seed in angle are its own, the others undecided (2). Planes that cross have no
 * centres to cluster around, but a row and its neighbours in angle mostly lie in one of them.
 */
static enum mdq_err two_patches(const struct vae_rows *rows, const int64_t *of, int64_t n, const int64_t seed[2], int64_t d,
                                uint8_t *side)
{
    const int64_t D = rows->D;
    struct near *v = mdq_alloc((size_t)n, sizeof *v, "neighbours");
    if (!v)
        return MDQ_E_INTERNAL;
    int64_t patch = 4 * (d + 1) > 24 ? 4 * (d + 1) : 24;
    if (patch > n / 2)
        patch = n / 2;
    memset(side, 2, (size_t)n);
    for (int s = 0; s < 2; s++) {
        const float *y = rows->x + seed[s] * D;
        for (int64_t i = 0; i < n; i++) {
            const float *x = rows->x + of[i] * D;
            double dot = 0, size = 0;
            for (int64_t j = 0; j < D; j++) {
                dot += (double)x[j] * y[j];
                size += (double)x[j] * x[j];
            }
            v[i] = (struct near){size > 0 ? -dot * fabs(dot) / size : INFINITY, i};
        }
        qsort(v, (size_t)n, sizeof *v, by_distance);
        for (int64_t i = 0, left = patch; i < n && left > 0; i++)
            if (side[v[i].row] == 2) {
                side[v[i].row] = (uint8_t)s;
                left--;
            }
    }
    free(v);
    return MDQ_OK;
}

/* Every component of `from` (responsibilities old [n, from->k]) becomes two: hard assignments in resp [n, 2 from->k]; in
 * a patch start undecided rows belong to nobody at first. */
static enum mdq_err split_all(const struct vae_mixture *from, const struct vae_rows *rows, const double *old,
                              struct mdq_random *random, bool patches, double *resp)
{
    const int64_t n = rows->n;
    const int k2 = 2 * from->k;
    int64_t *of = mdq_alloc((size_t)n, sizeof *of, "rows of a component"), seed[2];
    double *dist = mdq_alloc((size_t)n, sizeof *dist, "distances");
    uint8_t *side = mdq_alloc((size_t)n, 1, "sides");
    enum mdq_err err = of && dist && side ? MDQ_OK : MDQ_E_INTERNAL;
    memset(resp, 0, (size_t)(n * k2) * sizeof *resp);
    for (int k = 0; k < from->k && err == MDQ_OK; k++) {
        int64_t count = 0;
        for (int64_t r = 0; r < n; r++) {
            int best = 0;
            for (int j = 1; j < from->k; j++)
                best = old[r * from->k + j] > old[r * from->k + best] ? j : best;
            if (best == k)
                of[count++] = r;
        }
        if (count == 0)
            continue;
        pick_seeds(rows, of, count, random, dist, seed);
        err = patches ? two_patches(rows, of, count, seed, from->c[k].d, side) : two_means(rows, of, count, seed, side);
        for (int64_t i = 0; i < count && err == MDQ_OK; i++)
            if (side[i] < 2)
                resp[of[i] * k2 + 2 * k + side[i]] = 1;
    }
    free(of);
    free(dist);
    free(side);
    return err;
}

/* dims NULL: dimensions stay. */
static enum mdq_err fit_all(struct vae_mixture *m, const struct vae_rows *rows, const double *resp, const struct vae_dims *dims,
                            double floor)
{
    struct vae_dims d = dims ? *dims : (struct vae_dims){0};
    for (int k = 0; k < m->k; k++) {
        d.block = dims ? dims->block + k : 0;
        MDQ_TRY(vae_component_fit(m, k, rows, resp + k, m->k, dims ? &d : NULL, floor));
    }
    double sum = 0;
    for (int k = 0; k < m->k; k++)
        sum += m->c[k].weight;
    for (int k = 0; k < m->k; k++)
        m->c[k].weight = sum > 0 ? fmax(m->c[k].weight / sum, 1e-300) : 1.0 / m->k;
    return MDQ_OK;
}

/* EM, dimensions chosen anew from what it found, EM again when they changed. */
static enum mdq_err settle(struct vae_mixture *m, const struct vae_rows *rows, double *resp, const struct vae_select_options *o,
                           double floor)
{
    MDQ_TRY(vae_mixture_em(m, rows, resp, o->iterations, floor, NULL, NULL));
    int64_t dims[VAE_MAX_CHARTS];
    bool changed = false;
    for (int k = 0; k < m->k; k++)
        dims[k] = m->c[k].d;
    MDQ_TRY(fit_all(m, rows, resp, &o->dims, floor));
    for (int k = 0; k < m->k; k++)
        changed |= m->c[k].d != dims[k];
    MDQ_TRY(vae_mixture_expect(m, rows, resp, NULL, &m->loglik));
    return changed ? vae_mixture_em(m, rows, resp, o->iterations, floor, NULL, NULL) : MDQ_OK;
}

/* The mixture for twice as many components, into `to`. */
static enum mdq_err try_double(struct vae_mixture *to, struct vae_mixture *spare, const struct vae_mixture *from,
                               const struct vae_rows *rows, const double *old, const struct vae_select_options *o, double floor,
                               double *resp, double *scratch)
{
    double best = -INFINITY;
    for (int r = 0; r < o->restarts; r++) {
        struct mdq_random random;
        mdq_random_seed(&random, o->dims.seed, o->dims.name, o->dims.block, 1000 + 100 * from->k + r);
        spare->k = 2 * from->k;
        MDQ_TRY(split_all(from, rows, old, &random, r % 2 == 1, scratch));
        for (int k = 0; k < spare->k; k++) /* the dimensions of what was split, until more is known */
            spare->c[k].d = from->c[k / 2].d;
        MDQ_TRY(fit_all(spare, rows, scratch, NULL, floor));
        MDQ_TRY(vae_mixture_expect(spare, rows, scratch, NULL, &spare->loglik));
        MDQ_TRY(vae_mixture_em(spare, rows, scratch, SHORT, floor, NULL, NULL));
        if (spare->loglik > best) {
            best = spare->loglik;
            MDQ_TRY(vae_mixture_copy(to, spare));
            memcpy(resp, scratch, (size_t)(rows->n * spare->k) * sizeof *resp);
        }
    }
    /* Even if the gain so far came twice more, would it pay for the parameters? */
    double hope = vae_hierarchical_bic(to, rows->n) + 2 * fmax(to->loglik - from->loglik, 0);
    if (o->charts == 0 && hope < vae_hierarchical_bic(from, rows->n))
        return MDQ_OK;
    return settle(to, rows, resp, o, floor);
}

static enum mdq_err note(struct vae_selection *s, const struct vae_mixture *m, const struct vae_rows *train,
                         const struct vae_rows *held, double *scratch)
{
    double heldout = NAN;
    if (held->n > 0) {
        MDQ_TRY(vae_mixture_expect(m, held, scratch, NULL, &heldout));
        heldout /= (double)held->n;
    }
    if (s->n < (int)(sizeof s->tried / sizeof *s->tried))
        s->tried[s->n++] = (struct vae_tried){m->k, m->loglik / (double)train->n, vae_hierarchical_bic(m, train->n) / (double)train->n,
                                              heldout};
    return MDQ_OK;
}

/* Union of components a and b as hard as their responsibilities are; tried when planes and means are alike. */
static enum mdq_err try_merges(struct vae_mixture *m, struct vae_mixture *spare, const struct vae_rows *rows, double *resp,
                               double *scratch, const struct vae_select_options *o, double floor, int *merged)
{
    bool again = true;
    while (again && m->k > 1) {
        again = false;
        for (int a = 0; a < m->k && !again; a++)
            for (int b = a + 1; b < m->k && !again; b++) {
                /* cheap: the union fitted alone against both, everything else as it was */
                int k = m->k - 1;
                for (int64_t r = 0; r < rows->n; r++)
                    for (int j = 0, to = 0; j < m->k; j++) {
                        if (j == b)
                            continue;
                        scratch[r * k + to++] = resp[r * m->k + j] + (j == a ? resp[r * m->k + b] : 0);
                    }
                MDQ_TRY(vae_mixture_copy(spare, m));
                spare->k = k;
                for (int j = b; j < k; j++) { /* buffers stay where they are: contents move */
                    struct vae_ppca t = spare->c[j];
                    spare->c[j] = spare->c[j + 1];
                    spare->c[j + 1] = t;
                }
                struct vae_dims dims = o->dims;
                dims.block = o->dims.block + a;
                dims.permutations = 1;
                MDQ_TRY(vae_component_fit(spare, a, rows, scratch + a, k, &dims, floor));
                MDQ_TRY(vae_mixture_expect(spare, rows, scratch, NULL, &spare->loglik));
                if (vae_hierarchical_bic(spare, rows->n) <= vae_hierarchical_bic(m, rows->n))
                    continue;
                MDQ_TRY(vae_mixture_copy(m, spare));
                memcpy(resp, scratch, (size_t)(rows->n * k) * sizeof *resp);
                ++*merged;
                again = true;
            }
    }
    return MDQ_OK;
}

enum mdq_err vae_select(struct vae_mixture *m, const struct vae_rows *train, const struct vae_rows *held,
                        const struct vae_select_options *o, double *resp, struct vae_selection *s)
{
    const double floor = fmax(1e-6 * vae_total_variance(train), 1e-30);
    const size_t size = (size_t)(train->n > held->n ? train->n : held->n) * VAE_MAX_CHARTS;
    struct vae_mixture next = {0}, spare = {0};
    double *other = mdq_alloc_aligned(size, sizeof *other, "responsibilities");
    double *scratch = mdq_alloc_aligned(size, sizeof *scratch, "responsibilities");
    enum mdq_err err = MDQ_E_INTERNAL;
    *s = (struct vae_selection){0};
    if (!other || !scratch)
        goto done;
    MDQ_GOTO(err, vae_mixture_new(&next, m->D, m->cap), done);
    MDQ_GOTO(err, vae_mixture_new(&spare, m->D, m->cap), done);
    m->k = 1;
    for (int64_t r = 0; r < train->n; r++)
        resp[r] = 1;
    MDQ_GOTO(err, fit_all(m, train, resp, &o->dims, floor), done);
    MDQ_GOTO(err, vae_mixture_expect(m, train, resp, NULL, &m->loglik), done);
    MDQ_GOTO(err, note(s, m, train, held, scratch), done);
    const int most = o->charts > 0 ? o->charts : o->max_charts;
    while (2 * m->k <= most && train->n >= 8 * m->k && (o->charts > 0 || held->n > 0)) {
        MDQ_GOTO(err, try_double(&next, &spare, m, train, resp, o, floor, other, scratch), done);
        MDQ_GOTO(err, note(s, &next, train, held, scratch), done);
        const struct vae_tried *now = &s->tried[s->n - 1], *before = &s->tried[s->n - 2];
        /* without held-out rows nothing speaks for more than one */
        if (o->charts == 0 && (now->bic <= before->bic || !(now->heldout > before->heldout) || next.k <= m->k))
            break;
        if (next.k <= m->k)
            break;
        MDQ_GOTO(err, vae_mixture_copy(m, &next), done);
        memcpy(resp, other, (size_t)(train->n * m->k) * sizeof *resp);
    }
    if (o->charts == 0 && m->k > 1) {
        MDQ_GOTO(err, try_merges(m, &spare, train, resp, scratch, o, floor, &s->merged), done);
        if (s->merged > 0) {
            MDQ_GOTO(err, settle(m, train, resp, o, floor), done);
            MDQ_GOTO(err, note(s, m, train, held, scratch), done);
        }
    }
    MDQ_GOTO(err, vae_mixture_expect(m, train, resp, NULL, &m->loglik), done);
done:
    vae_mixture_free(&next);
    vae_mixture_free(&spare);
    free(other);
    free(scratch);
    return err;
}
