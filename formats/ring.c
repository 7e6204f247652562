/* See mdq_ring.h. One lock; slots are claimed, finished and given back by ever rising numbers. */
#include "mdq_ring.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

enum { MOST_THREADS = 16, MOST_BYTES = 64 << 20, STACK = 1 << 20 };

struct mdq_ring {
    struct mdq_ring_ops ops;
    void *arg;
    int threads, running, n;
    size_t slot_size;
    uint8_t *slots;
    bool *done;
    size_t *bytes;       /* of each slot, while it is filled */
    size_t in_flight;
    uint64_t filled;     /* slots that hold a frame so far: fetched or put */
    uint64_t claimed;    /* of these, taken up by a worker */
    uint64_t given_back; /* of these, free again */
    bool fetching, ended, stop, holding;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t *thread;
};

static void *slot_at(struct mdq_ring *r, uint64_t number)
{
    return r->slots + (size_t)(number % (uint64_t)r->n) * r->slot_size;
}

static bool room(const struct mdq_ring *r)
{
    return r->filled - r->given_back < (uint64_t)r->n && (r->in_flight < MOST_BYTES || r->filled == r->given_back);
}

static void count_in(struct mdq_ring *r, uint64_t number)
{
    size_t b = r->ops.bytes(r->arg, slot_at(r, number));
    r->bytes[number % (uint64_t)r->n] = b;
    r->in_flight += b;
}

/* With the lock held: fetches the next slot if that is due. */
static void fetch(struct mdq_ring *r)
{
    uint64_t number = r->filled;
    r->fetching = true;
    pthread_mutex_unlock(&r->lock);
    bool more = r->ops.fetch(r->arg, slot_at(r, number));
    pthread_mutex_lock(&r->lock);
    r->fetching = false;
    r->ended = !more;
    count_in(r, number);
    r->filled++;
    pthread_cond_broadcast(&r->changed);
}

struct start {
    struct mdq_ring *ring;
    int worker;
};

static void *worker(void *arg)
{
    struct start s = *(struct start *)arg;
    struct mdq_ring *r = s.ring;
    free(arg);
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (r->claimed < r->filled) {
            uint64_t number = r->claimed++;
            pthread_mutex_unlock(&r->lock);
            r->ops.work(r->arg, slot_at(r, number), s.worker);
            pthread_mutex_lock(&r->lock);
            r->done[number % (uint64_t)r->n] = true;
            pthread_cond_broadcast(&r->changed);
        } else if (r->ops.fetch && !r->fetching && !r->ended && room(r)) {
            fetch(r);
        } else {
            pthread_cond_wait(&r->changed, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Signals are for the main thread. A ring with fewer threads than wanted works, with none it is the caller's. */
static void start_threads(struct mdq_ring *r)
{
    sigset_t all, old;
    pthread_attr_t attr;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    for (; r->running < r->threads; r->running++) {
        struct start *s = mdq_alloc(1, sizeof *s, "thread");
        if (!s)
            break;
        *s = (struct start){r, r->running};
        if (pthread_create(&r->thread[r->running], &attr, worker, s) != 0) {
            free(s);
            break;
        }
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

enum mdq_err mdq_ring_open(struct mdq_ring **out, int threads, size_t slot_size, const struct mdq_ring_ops *ops, void *arg)
{
    *out = NULL;
    struct mdq_ring *r = mdq_calloc(1, sizeof *r, "threads");
    if (!r)
        return MDQ_E_INTERNAL;
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    r->ops = *ops;
    r->arg = arg;
    r->threads = threads > 1 ? threads : 0;
    r->n = threads > 1 ? threads + 2 : 1;
    r->slot_size = slot_size;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->slots = mdq_calloc((size_t)r->n, slot_size, "frames");
    r->done = mdq_calloc((size_t)r->n, sizeof *r->done, "frames");
    r->bytes = mdq_calloc((size_t)r->n, sizeof *r->bytes, "frames");
    r->thread = mdq_calloc((size_t)threads, sizeof *r->thread, "threads");
    if (!r->slots || !r->done || !r->bytes || !r->thread) {
        mdq_ring_close(&r);
        return MDQ_E_INTERNAL;
    }
    start_threads(r);
    *out = r;
    return MDQ_OK;
}

void mdq_ring_stop(struct mdq_ring *r)
{
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    while (r->running > 0)
        pthread_join(r->thread[--r->running], NULL);
}

void mdq_ring_close(struct mdq_ring **rp)
{
    struct mdq_ring *r = *rp;
    if (!r)
        return;
    mdq_ring_stop(r);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    free(r->slots);
    free(r->done);
    free(r->bytes);
    free(r->thread);
    free(r);
    *rp = NULL;
}

int mdq_ring_slots(const struct mdq_ring *r)
{
    return r->n;
}

void *mdq_ring_slot(struct mdq_ring *r, int i)
{
    return slot_at(r, (uint64_t)i);
}

/* With the lock held: waits until the oldest slot is finished, in the caller's own thread when there are no others. */
static void finish_oldest(struct mdq_ring *r)
{
    uint64_t number = r->given_back;
    if (r->running == 0) {
        if (r->filled == number)
            fetch(r);
        if (r->claimed == number) {
            r->claimed++;
            r->ops.work(r->arg, slot_at(r, number), 0);
            r->done[number % (uint64_t)r->n] = true;
        }
        return;
    }
    while (r->filled == number || !r->done[number % (uint64_t)r->n])
        pthread_cond_wait(&r->changed, &r->lock);
}

static void give_back(struct mdq_ring *r)
{
    size_t i = (size_t)(r->given_back % (uint64_t)r->n);
    r->done[i] = false;
    r->in_flight -= r->bytes[i];
    r->given_back++;
    r->holding = false;
    pthread_cond_broadcast(&r->changed);
}

void *mdq_ring_next(struct mdq_ring *r)
{
    pthread_mutex_lock(&r->lock);
    if (r->holding)
        give_back(r);
    finish_oldest(r);
    r->holding = true;
    void *slot = slot_at(r, r->given_back);
    pthread_mutex_unlock(&r->lock);
    return slot;
}

void *mdq_ring_free_slot(struct mdq_ring *r)
{
    pthread_mutex_lock(&r->lock);
    void *slot = room(r) ? slot_at(r, r->filled) : NULL;
    pthread_mutex_unlock(&r->lock);
    return slot;
}

void mdq_ring_put(struct mdq_ring *r)
{
    pthread_mutex_lock(&r->lock);
    count_in(r, r->filled);
    r->filled++;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void *mdq_ring_take(struct mdq_ring *r, bool wait)
{
    pthread_mutex_lock(&r->lock);
    uint64_t number = r->given_back;
    bool have = r->filled > number && (wait || r->running == 0 || r->done[number % (uint64_t)r->n]);
    if (have)
        finish_oldest(r);
    pthread_mutex_unlock(&r->lock);
    return have ? slot_at(r, number) : NULL;
}

void mdq_ring_give_back(struct mdq_ring *r)
{
    pthread_mutex_lock(&r->lock);
    give_back(r);
    pthread_mutex_unlock(&r->lock);
}
