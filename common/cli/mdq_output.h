/*
 * Atomic output. A file or folder is written beside its final name and takes it only when it is complete; a
 * failure, an interrupt (INT, TERM, HUP) or a crash never leaves something half-written under the final name.
 */
#ifndef MDQ_OUTPUT_H
#define MDQ_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "mdq_error.h"

struct mdq_output;

/*
 * Opens `path` for writing; NULL or "-" is standard output. With `binary`, a terminal is refused (MDQ_E_USAGE).
 * What exists and is no regular file (a FIFO, /dev/null) is written in place. *out is owned by the caller and
 * released by commit or abort.
 */
enum mdq_err mdq_output_open(struct mdq_output **out, const char *path, bool binary);
/* Writes all `size` bytes or fails (MDQ_E_IO). No buffering: callers hand over large pieces. */
enum mdq_err mdq_output_write(struct mdq_output *out, const void *data, size_t size);
/* The name for messages: the final path, or "standard output". */
const char *mdq_output_name(const struct mdq_output *out);
/* Completes: fsync, close, rename. Always releases *out; on an error nothing is left under the final name. */
enum mdq_err mdq_output_commit(struct mdq_output **out);
/* Gives up: removes what was written. NULL or *out == NULL is fine. */
void mdq_output_abort(struct mdq_output **out);

struct mdq_output_dir;

/*
 * A folder written the same way. `path` must not exist, be an empty folder, or hold a file named `marker` (an
 * earlier result of the same kind, which commit replaces); anything else is refused (MDQ_E_USAGE).
 */
enum mdq_err mdq_output_dir_open(struct mdq_output_dir **out, const char *path, const char *marker);
/* The folder to write into, until commit. */
const char *mdq_output_dir_path(const struct mdq_output_dir *out);
/* Takes the final name (exchanging with the old folder, which is then removed). Releases *out. */
enum mdq_err mdq_output_dir_commit(struct mdq_output_dir **out);
void mdq_output_dir_abort(struct mdq_output_dir **out);

/* Called by mdq_main: INT, TERM and HUP remove unfinished files before the process ends by the signal. */
void mdq_output_catch_signals(void);

#endif
