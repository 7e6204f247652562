#include "pack_folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mdq_output.h"

enum { DEEPEST = 16, PIECE = 1 << 20 };

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* What mdq-pack writes itself, or what belongs to the weights that it replaces. */
static bool is_ours(const char *name)
{
    return ends_with(name, ".safetensors") || strcmp(name, "model.safetensors.index.json") == 0 ||
           strcmp(name, "config.json") == 0 || strcmp(name, "quantize_config.json") == 0 ||
           strcmp(name, PACK_MARKER) == 0;
}

static enum mdq_err copy_file(const char *from, const char *to)
{
    struct mdq_output *out = NULL;
    char *buffer = NULL;
    enum mdq_err err;
    const int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot open", from);
    MDQ_GOTO(err, mdq_output_open(&out, to, false), out);
    if (!(buffer = mdq_alloc(PIECE, 1, "copy buffer"))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    for (ssize_t n; (n = read(fd, buffer, PIECE)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err = mdq_fail_errno(MDQ_E_IO, "%s: reading failed", from);
            goto out;
        }
        MDQ_GOTO(err, mdq_output_write(out, buffer, (size_t)n), out);
    }
    err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    free(buffer);
    close(fd);
    return err;
}

static enum mdq_err copy_folder(const char *from, const char *to, int depth);

static enum mdq_err copy_entry(const char *from, const char *to, const char *name, int depth)
{
    struct stat st;
    enum mdq_err err = MDQ_OK;
    char *source = mdq_asprintf("%s/%s", from, name), *target = mdq_asprintf("%s/%s", to, name);
    if (!source || !target)
        err = MDQ_E_INTERNAL;
    else if (stat(source, &st) != 0)
        err = mdq_fail_errno(MDQ_E_IO, "%s: cannot read", source);
    else if (S_ISREG(st.st_mode))
        err = copy_file(source, target);
    else if (S_ISDIR(st.st_mode) && name[0] != '.')
        err = mkdir(target, 0777) != 0 ? mdq_fail_errno(MDQ_E_IO, "%s: cannot create", target)
                                       : copy_folder(source, target, depth + 1);
    free(source);
    free(target);
    return err;
}

static enum mdq_err copy_folder(const char *from, const char *to, int depth)
{
    if (depth > DEEPEST)
        return mdq_fail(MDQ_E_DATA, "%s: folders nested deeper than %d", from, DEEPEST);
    DIR *d = opendir(from);
    if (!d)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot open", from);
    enum mdq_err err = MDQ_OK;
    for (struct dirent *e; err == MDQ_OK && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !(depth == 0 && is_ours(e->d_name)))
            err = copy_entry(from, to, e->d_name, depth);
    closedir(d);
    return err;
}

enum mdq_err pack_folder_copy(const char *from, const char *to)
{
    return copy_folder(from, to, 0);
}

enum mdq_err pack_folder_text(const char *dir, const char *name, const char *text)
{
    struct mdq_output *out = NULL;
    char *path = mdq_asprintf("%s/%s", dir, name);
    if (!path)
        return MDQ_E_INTERNAL;
    enum mdq_err err = mdq_output_open(&out, path, false);
    if (err == MDQ_OK)
        err = mdq_output_write(out, text, strlen(text));
    if (err == MDQ_OK)
        err = mdq_output_commit(&out);
    mdq_output_abort(&out);
    free(path);
    return err;
}

/* Every line of `text` but the first moved right by two. */
static char *indent(const char *text)
{
    size_t lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    char *out = mdq_alloc(strlen(text) + 2 * lines + 1, 1, "config.json"), *q = out;
    for (const char *p = text; q && *p; p++) {
        *q++ = *p;
        if (*p == '\n')
            *q++ = ' ', *q++ = ' ';
    }
    if (q)
        *q = 0;
    return out;
}

enum mdq_err pack_config_splice(const char *name, const char *config, const char *quantization, char **out)
{
    *out = NULL;
    json_error_t where;
    json_t *root = json_loads(config, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        json_decref(root);
        return mdq_fail(MDQ_E_DATA, "%s: not a JSON object: %s", name, where.text);
    }
    const bool there = json_object_get(root, "quantization_config") != NULL, empty = json_object_size(root) == 0;
    json_decref(root);
    if (there)
        return mdq_fail(MDQ_E_DATA, "%s: has a quantization_config already", name);
    size_t end = (size_t)(strrchr(config, '}') - config), at = end;
    while (at > 0 && isspace((unsigned char)config[at - 1]))
        at--;
    char *value = indent(quantization);
    if (value)
        *out = mdq_asprintf("%.*s%s\n  \"quantization_config\": %s\n%s", (int)at, config, empty ? "" : ",", value,
                            config + end);
    free(value);
    return *out ? MDQ_OK : MDQ_E_INTERNAL;
}

static enum mdq_err read_text(const char *path, char **out)
{
    enum { LARGEST = 16 << 20 };
    FILE *f = fopen(path, "rb");
    if (!f)
        return mdq_fail_errno(MDQ_E_IO, "%s: cannot open", path);
    char *text = mdq_alloc(LARGEST + 1, 1, "config.json");
    size_t n = text ? fread(text, 1, LARGEST + 1, f) : 0;
    enum mdq_err err = !text ? MDQ_E_INTERNAL : MDQ_OK;
    if (text && ferror(f))
        err = mdq_fail_errno(MDQ_E_IO, "%s: reading failed", path);
    else if (n > LARGEST)
        err = mdq_fail(MDQ_E_DATA, "%s: larger than %d bytes", path, LARGEST);
    fclose(f);
    if (err == MDQ_OK) {
        text[n] = 0;
        *out = text;
    } else {
        free(text);
    }
    return err;
}

enum mdq_err pack_folder_config(const char *from, const char *to, const char *quantization)
{
    char *path = mdq_asprintf("%s/config.json", from), *text = NULL, *spliced = NULL;
    enum mdq_err err = path ? read_text(path, &text) : MDQ_E_INTERNAL;
    if (err == MDQ_OK && quantization)
        err = pack_config_splice(path, text, quantization, &spliced);
    if (err == MDQ_OK)
        err = pack_folder_text(to, "config.json", spliced ? spliced : text);
    free(path);
    free(text);
    free(spliced);
    return err;
}

enum mdq_err pack_folder_apart(const char *model, const char *out)
{
    char *copy = NULL, *a = NULL, *b = NULL;
    enum mdq_err err = MDQ_E_INTERNAL;
    if (!(copy = mdq_strdup(out)))
        return err;
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = 0;
    a = realpath(model, NULL);
    b = realpath(copy, NULL);
    if (!b) /* not there yet: where it will be */
        b = realpath(dirname(copy), NULL);
    const size_t n = a ? strlen(a) : 0;
    err = MDQ_OK;
    if (a && b && strncmp(a, b, n) == 0 && (b[n] == 0 || b[n] == '/'))
        err = mdq_fail(MDQ_E_USAGE, "%s: lies in the model's own folder: give another one", out);
    free(copy);
    free(a);
    free(b);
    return err;
}
