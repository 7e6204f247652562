/*
 * A stream checked as a whole: unlike the reader it goes on behind a defect where that is possible (frames are the units
 * of recovery) and checks every array and every identity, looked at or not.
 */
#ifndef CHECK_STREAM_H
#define CHECK_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

/* What can be wrong; or-ed. The values are printed, so they are never renumbered. */
enum check_reason {
    CHECK_TRUNCATED = 1,  /* cut short, or no end record */
    CHECK_FRAME = 2,      /* no zstd frame, or one that breaks the rules or the limits */
    CHECK_DAMAGED = 4,    /* a frame's content is damaged */
    CHECK_HEADER = 8,     /* header missing, wrong, of another version, or requiring something unknown */
    CHECK_SYNTAX = 16,    /* msgpack, nesting, duplicate keys, text, or a record without identity */
    CHECK_ORDER = 32,     /* records out of canonical order, or twice */
    CHECK_COUNT = 64,     /* sequence numbers, or the counts of the end record */
    CHECK_HASH = 128,     /* the hash of the end record */
    CHECK_ARRAY = 256,    /* an array that contradicts itself */
    CHECK_FINITE = 512,   /* NaN or infinity where the registry forbids it */
    CHECK_TABLE = 1024,   /* a kind or a tile that the header does not have */
    CHECK_TRAILING = 2048, /* something behind the end record */
};
const char *check_reason_name(enum check_reason reason);

struct check_result {
    unsigned reasons;
    long long frames, records;
    uint64_t packed, decoded; /* bytes */
};

/* Called for every defect, `where` like "frame 3 at byte 4096: record 17: tile ... [0,1]: key w". */
typedef void check_report(void *arg, enum check_reason reason, const char *where, const char *why);

/* Defects go to report and result; an error is returned only when the check itself fails (no file, no memory). */
enum mdq_err check_stream(const char *path, bool quick, check_report *report, void *arg, struct check_result *result);

#endif
