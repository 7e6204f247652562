/*
 * Safetensors, reading. The file: u64 length of the header, the header (a JSON object: name -> dtype, shape,
 * data_offsets [begin, end) from the start of the data; "__metadata__" is left alone), the data, without holes.
 */
#include "mdq_safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mdq_json.h"

enum { HEADER_MAX = 100 << 20, INDEX_MAX = 100 << 20, SHARDS_MAX = 4096 };

struct mapped_file {
    char *name; /* base name */
    unsigned char *map;
    size_t size;
    json_t *header; /* owns the tensors' names */
};

struct mdq_safetensors {
    struct mapped_file *files;
    int n_files;
    struct mdq_tensor *tensors; /* in file order */
    const struct mdq_tensor **by_name;
    int n_tensors;
};

static uint64_t little64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* Maps dir/name; the size is what the file has now, so that nothing outside is read while it is checked. */
static enum mdq_err map_file(struct mapped_file *f, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot open", path);
    struct stat st;
    enum mdq_err err = MDQ_OK;
    if (fstat(fd, &st) != 0)
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot read", path);
    else if (!S_ISREG(st.st_mode))
        err = mdq_fail(MDQ_E_IO, "%s: not a regular file", path);
    else if (st.st_size == 0)
        err = mdq_fail(MDQ_E_DATA, "%s: the file is empty", path);
    else if (st.st_size < 8)
        err = mdq_fail(MDQ_E_DATA, "%s: only %jd bytes: no safetensors file", path, (intmax_t)st.st_size);
    else {
        f->size = (size_t)st.st_size;
        void *map = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            err = mdq_fail_errno(MDQ_E_IO, "%s: cannot map %zu bytes", path, f->size);
        else
            f->map = map;
    }
    close(fd);
    return err;
}

/* Safetensors spells its types in upper case and has no bit-packed ones. */
static int parse_dtype(const char *name)
{
    for (const char *p = name; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            return -1;
    int t = mdq_dtype_parse(name);
    return t < 0 || t >= MDQ_U2 ? -1 : t;
}

/* One entry of the header. `data` bytes follow the header. */
static enum mdq_err parse_tensor(struct mdq_tensor *t, const char *path, const char *name, const json_t *entry,
                                 const unsigned char *start, size_t data)
{
    const json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: the header entry lacks dtype, shape or data_offsets", path, name);
    int type = parse_dtype(json_string_value(dtype));
    if (type < 0)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: unknown dtype %s", path, name, json_string_value(dtype));
    t->dtype = (enum mdq_dtype)type;
    t->name = name;
    if (json_array_size(shape) > MDQ_TENSOR_DIMS)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: %zu dimensions, at most %d are supported", path, name,
                        json_array_size(shape), MDQ_TENSOR_DIMS);
    t->ndim = (int)json_array_size(shape);
    int64_t count = 1;
    bool zero = false;
    for (int d = 0; d < t->ndim; d++) {
        const json_t *v = json_array_get(shape, (size_t)d);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return mdq_fail(MDQ_E_DATA, "%s: tensor %s: dimension %d is not a whole number", path, name, d);
        t->shape[d] = json_integer_value(v);
        zero |= t->shape[d] == 0;
        if (!zero && __builtin_mul_overflow(count, t->shape[d], &count))
            return mdq_fail(MDQ_E_DATA, "%s: tensor %s: the shape is impossibly large", path, name);
    }
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    json_int_t begin = json_is_integer(b) ? json_integer_value(b) : -1, end = json_is_integer(e) ? json_integer_value(e) : -1;
    if (begin < 0 || end < begin)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: data_offsets are not two rising whole numbers", path, name);
    if ((uint64_t)end > data)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: ends at byte %lld of the data, but the file has only %zu (truncated?)",
                        path, name, (long long)end, data);
    size_t want = zero ? 0 : mdq_dtype_bytes(t->dtype, count);
    t->bytes = (size_t)(end - begin);
    if (t->bytes != want)
        return mdq_fail(MDQ_E_DATA, "%s: tensor %s: has %zu bytes, but its shape and dtype need %zu", path, name,
                        t->bytes, want);
    t->data = start + begin;
    return MDQ_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct mdq_tensor *x = a, *y = b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    if (x->bytes != y->bytes) /* empty tensors before the one that starts there */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Parses the header of f and appends its tensors to st, sorted by offset, after checking that they fill the data. */
static enum mdq_err read_header(struct mdq_safetensors *st, struct mapped_file *f, const char *path)
{
    uint64_t length = little64(f->map);
    if (length > f->size - 8)
        return mdq_fail(MDQ_E_DATA, "%s: the header claims %llu bytes, the file has %zu (truncated, or no safetensors)",
                        path, (unsigned long long)length, f->size);
    if (length > HEADER_MAX)
        return mdq_fail(MDQ_E_DATA, "%s: the header claims %llu bytes, at most %d are allowed", path,
                        (unsigned long long)length, HEADER_MAX);
    MDQ_TRY(mdq_json_parse(&f->header, (const char *)f->map + 8, (size_t)length, path));
    const unsigned char *start = f->map + 8 + length;
    size_t data = f->size - 8 - (size_t)length;

    size_t n = json_object_size(f->header);
    if (n > INT32_MAX / 2 - (size_t)st->n_tensors)
        return mdq_fail(MDQ_E_DATA, "%s: too many tensors", path);
    struct mdq_tensor *tensors = mdq_realloc(st->tensors, (size_t)st->n_tensors + n, sizeof *tensors, "tensor table");
    if (!tensors)
        return MDQ_E_INTERNAL;
    st->tensors = tensors;
    int first = st->n_tensors, at = first;
    const char *name;
    json_t *entry;
    json_object_foreach(f->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct mdq_tensor t = {.file = f->name};
        MDQ_TRY(parse_tensor(&t, path, name, entry, start, data));
        tensors[at++] = t;
    }
    st->n_tensors = at;
    if (at > first)
        qsort(tensors + first, (size_t)(at - first), sizeof *tensors, by_offset);
    const unsigned char *end = start;
    for (int i = first; i < at; i++) {
        const unsigned char *p = tensors[i].data;
        if (p != end)
            return mdq_fail(MDQ_E_DATA, "%s: tensor %s: %s", path, tensors[i].name,
                            p < end ? "its data overlap another tensor's" : "there is a hole before its data");
        end = p + tensors[i].bytes;
    }
    if (end != start + data)
        return mdq_fail(MDQ_E_DATA, "%s: %zu bytes after the last tensor belong to none", path,
                        (size_t)(start + data - end));
    return MDQ_OK;
}

/* Takes `name` into st->files. */
static enum mdq_err add_file(struct mdq_safetensors *st, const char *dir, const char *name)
{
    struct mapped_file *f = &st->files[st->n_files];
    memset(f, 0, sizeof *f);
    if (!(f->name = mdq_strdup(name)))
        return MDQ_E_INTERNAL;
    st->n_files++;
    char *path = mdq_asprintf("%s/%s", dir, name);
    if (!path)
        return MDQ_E_INTERNAL;
    enum mdq_err err = map_file(f, path);
    if (err == MDQ_OK)
        err = read_header(st, f, path);
    free(path);
    return err;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of a weight_map, sorted; *names is released with free, the strings belong to the map. */
static enum mdq_err shard_names(const json_t *map, const char *path, const char ***names, int *n)
{
    size_t count = json_object_size(map);
    const char **v = mdq_alloc(count, sizeof *v, "shard names");
    if (!v)
        return MDQ_E_INTERNAL;
    *names = v;
    size_t at = 0;
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        const char *s = json_string_value(file);
        if (!s || !*s || strchr(s, '/') || s[0] == '.')
            return mdq_fail(MDQ_E_DATA, "%s: weight_map: tensor %s: no plain file name", path, tensor);
        v[at++] = s;
    }
    if (at > 0)
        qsort(v, at, sizeof *v, compare_names);
    size_t kept = 0;
    for (size_t i = 0; i < at; i++)
        if (kept == 0 || strcmp(v[kept - 1], v[i]) != 0)
            v[kept++] = v[i];
    if (kept == 0 || kept > SHARDS_MAX)
        return mdq_fail(MDQ_E_DATA, "%s: weight_map: names %zu files", path, kept);
    *n = (int)kept;
    return MDQ_OK;
}

/* What the index says and what the shards hold must be the same. */
static enum mdq_err check_index(const struct mdq_safetensors *st, const json_t *map, const char *path)
{
    for (int i = 0; i < st->n_tensors; i++) {
        const struct mdq_tensor *t = &st->tensors[i];
        const char *file = json_string_value(json_object_get(map, t->name));
        if (!file)
            return mdq_fail(MDQ_E_DATA, "%s: %s holds tensor %s, which the index does not list", path, t->file, t->name);
        if (strcmp(file, t->file) != 0)
            return mdq_fail(MDQ_E_DATA, "%s: tensor %s: is in %s, but the index says %s", path, t->name, t->file, file);
    }
    if ((size_t)st->n_tensors == json_object_size(map))
        return MDQ_OK;
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        bool found = false;
        for (int i = 0; i < st->n_tensors && !found; i++)
            found = strcmp(st->tensors[i].name, tensor) == 0;
        if (!found)
            return mdq_fail(MDQ_E_DATA, "%s: tensor %s: the index says %s, which does not hold it", path, tensor,
                            json_string_value(file));
    }
    return MDQ_OK;
}

/* Either the single file is there (*index NULL), or the index, which is read. */
static enum mdq_err find_files(const char *dir, json_t **index, char **index_path)
{
    enum mdq_err err = MDQ_E_INTERNAL;
    *index = NULL;
    char *single = mdq_asprintf("%s/model.safetensors", dir);
    *index_path = mdq_asprintf("%s/model.safetensors.index.json", dir);
    struct stat s;
    if (!single || !*index_path)
        goto out;
    if (stat(dir, &s) != 0)
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot open the model folder", dir);
    else if (!S_ISDIR(s.st_mode))
        err = mdq_fail(MDQ_E_IO, "%s: is no folder: a model is a folder with config.json and model.safetensors", dir);
    else if (access(single, F_OK) == 0)
        err = MDQ_OK;
    else if (access(*index_path, F_OK) == 0)
        err = mdq_json_read(index, *index_path, INDEX_MAX);
    else
        err = mdq_fail(MDQ_E_IO, "%s: holds neither model.safetensors nor model.safetensors.index.json", dir);
    if (err == MDQ_OK && *index && !json_is_object(json_object_get(*index, "weight_map")))
        err = mdq_fail(MDQ_E_DATA, "%s: weight_map: missing", *index_path);
out:
    free(single);
    return err;
}

enum mdq_err mdq_safetensors_list(char ***names, int *n, const char *dir)
{
    static const char *one[] = {"model.safetensors"};
    json_t *index = NULL;
    char *path = NULL;
    const char **shards = NULL;
    enum mdq_err err;
    *names = NULL;
    *n = 1;
    MDQ_GOTO(err, find_files(dir, &index, &path), out);
    if (index)
        MDQ_GOTO(err, shard_names(json_object_get(index, "weight_map"), path, &shards, n), out);
    const char **from = index ? shards : one;
    size_t pointers = (size_t)*n * sizeof *from, bytes = pointers;
    for (int i = 0; i < *n; i++)
        bytes += strlen(from[i]) + 1;
    if (!(*names = mdq_alloc(bytes, 1, "file names"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    char *text = (char *)*names + pointers;
    for (int i = 0; i < *n; i++) {
        (*names)[i] = text;
        text = stpcpy(text, from[i]) + 1;
    }
out:
    free(shards);
    free(path);
    json_decref(index);
    return err;
}

static enum mdq_err open_sharded(struct mdq_safetensors *st, const char *dir, const json_t *index, const char *path)
{
    const json_t *map = json_object_get(index, "weight_map");
    const char **names = NULL;
    int n = 0;
    enum mdq_err err;
    MDQ_GOTO(err, shard_names(map, path, &names, &n), out);
    if (!(st->files = mdq_calloc((size_t)n, sizeof *st->files, "shards"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    for (int i = 0; i < n; i++)
        if ((err = add_file(st, dir, names[i])) != MDQ_OK) {
            if (err == MDQ_E_IO)
                mdq_fail_in(err, "%s: names a shard that cannot be read", path);
            goto out;
        }
    err = check_index(st, map, path);
out:
    free(names);
    return err;
}

static int tensor_name_order(const void *a, const void *b)
{
    const struct mdq_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

enum mdq_err mdq_safetensors_open(struct mdq_safetensors **out, const char *dir)
{
    enum mdq_err err = MDQ_E_INTERNAL;
    char *index_path = NULL;
    json_t *index = NULL;
    struct mdq_safetensors *st = *out = mdq_calloc(1, sizeof *st, "safetensors");
    if (!st)
        goto out;
    MDQ_GOTO(err, find_files(dir, &index, &index_path), out);
    if (index) {
        err = open_sharded(st, dir, index, index_path);
    } else {
        err = MDQ_E_INTERNAL;
        if (!(st->files = mdq_calloc(1, sizeof *st->files, "files")))
            goto out;
        err = add_file(st, dir, "model.safetensors");
    }
    if (err != MDQ_OK)
        goto out;
    err = MDQ_E_INTERNAL;
    if (!(st->by_name = mdq_alloc((size_t)st->n_tensors, sizeof *st->by_name, "tensor index")))
        goto out;
    for (int i = 0; i < st->n_tensors; i++)
        st->by_name[i] = &st->tensors[i];
    if (st->n_tensors > 0)
        qsort(st->by_name, (size_t)st->n_tensors, sizeof *st->by_name, tensor_name_order);
    err = MDQ_OK;
out:
    free(index_path);
    json_decref(index);
    if (err != MDQ_OK)
        mdq_safetensors_close(out);
    return err;
}

void mdq_safetensors_close(struct mdq_safetensors **out)
{
    if (!out || !*out)
        return;
    struct mdq_safetensors *st = *out;
    for (int i = 0; i < st->n_files; i++) {
        if (st->files[i].map)
            munmap(st->files[i].map, st->files[i].size);
        json_decref(st->files[i].header);
        free(st->files[i].name);
    }
    free(st->files);
    free(st->tensors);
    free(st->by_name);
    free(st);
    *out = NULL;
}

int mdq_safetensors_count(const struct mdq_safetensors *st)
{
    return st->n_tensors;
}

const struct mdq_tensor *mdq_safetensors_at(const struct mdq_safetensors *st, int i)
{
    return &st->tensors[i];
}

const struct mdq_tensor *mdq_safetensors_find(const struct mdq_safetensors *st, const char *name)
{
    int low = 0, high = st->n_tensors;
    while (low < high) {
        int mid = low + (high - low) / 2, c = strcmp(st->by_name[mid]->name, name);
        if (c == 0)
            return st->by_name[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

int mdq_safetensors_files(const struct mdq_safetensors *st)
{
    return st->n_files;
}

const char *mdq_safetensors_file(const struct mdq_safetensors *st, int i)
{
    return st->files[i].name;
}

void mdq_tensor_release(const struct mdq_tensor *t)
{
    /* Only whole pages: the first and the last may belong to a neighbour as well. Advice, so failure is no error. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)t->data + page - 1) / page * page, end = ((uintptr_t)t->data + t->bytes) / page * page;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
