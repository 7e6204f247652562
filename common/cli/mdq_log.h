/*
 * Log lines and progress, all on standard error. Levels: warnings always unless -q, notes by default, details with
 * -v, more with -vv. `mdq-tile[1234] warning: ...`
 */
#ifndef MDQ_LOG_H
#define MDQ_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum mdq_log_level { MDQ_LOG_WARNING = 0, MDQ_LOG_NOTE = 1, MDQ_LOG_INFO = 2, MDQ_LOG_DEBUG = 3 };

void mdq_log(enum mdq_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool mdq_log_on(enum mdq_log_level level);
/* Set by mdq_main: verbosity -1 shows nothing but errors, 0 warnings and notes, 1 info, 2 debug. */
void mdq_log_set(int verbosity, bool force_progress);

/*
 * Progress: `label 45 % (12.3 / 27.0 MB), 8.1 MB/s, 2 s left`, at most four times a second, on a terminal or with
 * --progress; silent under -q. Safe to call from several threads. Several may not be open at once.
 */
void mdq_progress_start(const char *label, double total, const char *unit);
void mdq_progress_add(double amount);
/* A short text shown at the end of the line (the loss, the layer), copied. */
void mdq_progress_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mdq_progress_end(void);

/* Seconds of a monotonic clock. */
double mdq_seconds(void);

#endif
