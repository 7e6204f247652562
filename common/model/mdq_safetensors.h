/*
 * Safetensors: a model folder's tensors, memory-mapped, every offset and shape checked when the folder is opened;
 * and the writer. Layout: u64 header length, JSON header, data (see docs and the format's own specification).
 */
#ifndef MDQ_SAFETENSORS_H
#define MDQ_SAFETENSORS_H

#include <stdint.h>

#include "mdq_dtype.h"
#include "mdq_error.h"

enum { MDQ_TENSOR_DIMS = 8 };

/* One tensor of an open folder; owned by it. `data` is read-only, possibly unaligned, valid until close. */
struct mdq_tensor {
    const char *name;
    enum mdq_dtype dtype;
    int ndim;
    int64_t shape[MDQ_TENSOR_DIMS];
    const void *data;
    size_t bytes;
    const char *file; /* base name of the file that holds it */
};

struct mdq_safetensors;

/*
 * Opens dir/model.safetensors, or dir/model.safetensors.index.json with its shards. MDQ_E_IO when a file is
 * missing or unreadable; MDQ_E_DATA for a header that is no JSON, lengths or offsets outside the file, overlaps,
 * holes, sizes that differ from the shape, duplicate names, an unknown dtype, an index that names a tensor its
 * shard does not hold (or the reverse).
 */
enum mdq_err mdq_safetensors_open(struct mdq_safetensors **out, const char *dir);
void mdq_safetensors_close(struct mdq_safetensors **st);

int mdq_safetensors_count(const struct mdq_safetensors *st);
const struct mdq_tensor *mdq_safetensors_at(const struct mdq_safetensors *st, int i); /* in file order */
const struct mdq_tensor *mdq_safetensors_find(const struct mdq_safetensors *st, const char *name); /* or NULL */
/* The files, base names in order: for hashing and carrying over. */
int mdq_safetensors_files(const struct mdq_safetensors *st);
const char *mdq_safetensors_file(const struct mdq_safetensors *st, int i);
/*
 * The same list without opening the weights: "model.safetensors", or what the index names, sorted. *names is one
 * allocation, released with free().
 */
enum mdq_err mdq_safetensors_list(char ***names, int *n, const char *dir);
/* Tells the kernel that the pages of this tensor are no longer needed (streaming over a large model). */
void mdq_tensor_release(const struct mdq_tensor *t);

/*
 * Writer of a folder: tensors are announced first (the header comes first in the file), then written in that order.
 * Files: model.safetensors, or shards of at most max_shard bytes with their index when there is more than one.
 */
struct mdq_safetensors_writer;
enum mdq_err mdq_safetensors_writer_new(struct mdq_safetensors_writer **out, const char *dir, size_t max_shard);
enum mdq_err mdq_safetensors_writer_announce(struct mdq_safetensors_writer *w, const char *name,
                                             enum mdq_dtype dtype, int ndim, const int64_t *shape);
/* The next announced tensor's bytes, in any number of pieces. `name` is checked against the announced one. */
enum mdq_err mdq_safetensors_writer_data(struct mdq_safetensors_writer *w, const char *name, const void *data,
                                         size_t bytes);
/* Fails when an announced tensor is missing bytes. Always releases *w. */
enum mdq_err mdq_safetensors_writer_finish(struct mdq_safetensors_writer **w);
void mdq_safetensors_writer_abort(struct mdq_safetensors_writer **w);

#endif
