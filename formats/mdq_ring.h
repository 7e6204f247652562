/*
 * Inside formats/: frames worked on by several threads and handed over in order.
 *
 * A ring has a number of slots, which hold one frame each. Slots are filled in turn, either by a thread of the ring
 * (fetch: readers) or by the caller (writers); threads of the ring do the work; the caller takes them out in the same
 * turn. With one thread there is none: everything happens in the caller, when a slot is taken out or put in.
 */
#ifndef MDQ_RING_H
#define MDQ_RING_H

#include <stdbool.h>
#include <stddef.h>

#include "mdq_error.h"

struct mdq_ring;
struct mdq_ring_ops {
    /* Fills a slot; one at a time, in turn. False: nothing comes after this slot. NULL: the caller fills them. */
    bool (*fetch)(void *arg, void *slot);
    /* Works on a filled slot; several at a time, each with its own `worker` in 0 .. threads - 1. */
    void (*work)(void *arg, void *slot, int worker);
    /* What a filled slot occupies: new slots are filled only while less than 64 MiB are. */
    size_t (*bytes)(void *arg, void *slot);
};

/* `slots` of `slot_size` zeroed bytes each. */
enum mdq_err mdq_ring_open(struct mdq_ring **out, int threads, size_t slot_size, const struct mdq_ring_ops *ops, void *arg);
/* Threads stop after what they are at; fetch must have been made to return. Slots' contents are the caller's to free. */
void mdq_ring_stop(struct mdq_ring *r);
void mdq_ring_close(struct mdq_ring **r);
int mdq_ring_slots(const struct mdq_ring *r);
void *mdq_ring_slot(struct mdq_ring *r, int i);

/* Readers: the next finished slot in turn, the one before being given back. It is an error to go on behind the last. */
void *mdq_ring_next(struct mdq_ring *r);

/* Writers: a slot to fill, NULL while there is none (then take one out). */
void *mdq_ring_free_slot(struct mdq_ring *r);
/* The slot of mdq_ring_free_slot is filled. */
void mdq_ring_put(struct mdq_ring *r);
/* The oldest slot that was put, once finished; give it back with mdq_ring_give_back. NULL: none was put, or, without
 * `wait`, it is not finished. */
void *mdq_ring_take(struct mdq_ring *r, bool wait);
void mdq_ring_give_back(struct mdq_ring *r);

#endif
