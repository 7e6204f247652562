/*
 * Hashes of what files hold (XXH3-128, 32 hex digits), remembered by path, size and modification time, so that a
 * model of many gigabytes is read once.
 *
 * The memo is a text file, one line per file: `HASH SIZE SECONDS.NANOSECONDS PATH`, the path absolute. A line that
 * does not read so is passed over: the worst that a lost memo costs is reading the files again.
 */
#ifndef MDQ_CONTENT_H
#define MDQ_CONTENT_H

#include "mdq_error.h"

enum { MDQ_HASH_SIZE = 33 }; /* 32 hex digits and NUL */

struct mdq_memo;
/* path NULL: remembers nothing. A file that does not exist yet is an empty memo. */
enum mdq_err mdq_memo_open(struct mdq_memo **out, const char *path);
/* Writes what is new (atomically, keeping what others wrote meanwhile; failing is a warning), releases *memo. */
void mdq_memo_close(struct mdq_memo **memo);

/* Of a regular file's content. */
enum mdq_err mdq_hash_file(struct mdq_memo *memo, const char *path, char hex[MDQ_HASH_SIZE]);
/*
 * Of base names, lengths and contents of the regular files in a folder, in the order of their names; names that
 * start with a dot and folders within it are left out.
 */
enum mdq_err mdq_hash_folder(struct mdq_memo *memo, const char *dir, char hex[MDQ_HASH_SIZE]);
/* The model's identity, see mdq_model_hash: the same over config.json and the weight files. */
enum mdq_err mdq_hash_model(struct mdq_memo *memo, const char *dir, char hex[MDQ_HASH_SIZE]);

#endif
