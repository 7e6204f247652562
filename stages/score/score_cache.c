#include "score_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "mdq_json.h"
#include "mdq_log.h"
#include "mdq_output.h"

/* Raised when the same question would be answered otherwise. */
#define PROTOCOL "mdq-score probe 1"
enum { MOST_BYTES = 1 << 28 };

enum mdq_err score_cache_open(const char *folder)
{
    struct stat st;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return mdq_fail_errno(MDQ_E_IO, "%s: the folder for probes cannot be made", folder);
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        return mdq_fail(MDQ_E_USAGE, "%s: is no folder: --probes wants one to keep what was measured", folder);
    return MDQ_OK;
}

void score_cache_key(const char model[33], const struct score_texts *t, char key[33])
{
    char text[64 + 33 * (SCORE_SETS + 1)];
    int n = snprintf(text, sizeof text, "%s %s", PROTOCOL, model);
    for (int s = 0; s < SCORE_SETS; s++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %s", t->hash[s]);
    XXH128_hash_t h = XXH3_128bits(text, (size_t)n);
    snprintf(key, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}

static bool fill(const json_t *j, struct score_losses *l)
{
    const char *model = json_string_value(json_object_get(j, "model"));
    if (!model || strcmp(model, l->model) != 0)
        return false;
    for (int s = 0; s < SCORE_SETS; s++) {
        const json_t *list = json_object_get(j, score_set_names[s]);
        if ((int64_t)json_array_size(list) != l->n[s])
            return false;
        for (int64_t i = 0; i < l->n[s]; i++) {
            const json_t *v = json_array_get(list, (size_t)i);
            if (!json_is_number(v) || !isfinite(json_number_value(v)))
                return false;
            l->values[s][i] = json_number_value(v);
        }
    }
    return true;
}

enum mdq_err score_cache_get(const char *folder, const char key[33], struct score_losses *l, bool *found)
{
    char *path = mdq_asprintf("%s/%s.json", folder, key);
    json_t *j = NULL;
    *found = false;
    if (!path)
        return MDQ_E_INTERNAL;
    if (access(path, F_OK) == 0) {
        enum mdq_err err = mdq_json_read(&j, path, MOST_BYTES);
        *found = err == MDQ_OK && fill(j, l);
        if (!*found)
            mdq_log(MDQ_LOG_WARNING, "%s: is not what was kept there: measured again", path);
    }
    json_decref(j);
    free(path);
    return MDQ_OK;
}

enum mdq_err score_cache_put(const char *folder, const char key[33], const struct score_losses *l)
{
    char *path = mdq_asprintf("%s/%s.json", folder, key), *text = NULL;
    json_t *j = json_object();
    struct mdq_output *out = NULL;
    bool bad = !path || !j || json_object_set_new(j, "model", json_string(l->model)) != 0;
    for (int s = 0; s < SCORE_SETS && !bad; s++) {
        json_t *list = json_array();
        for (int64_t i = 0; i < l->n[s] && !bad; i++)
            bad = json_array_append_new(list, json_real(l->values[s][i])) != 0;
        bad = json_object_set_new(j, score_set_names[s], list) != 0 || bad;
    }
    if (!bad)
        text = json_dumps(j, JSON_COMPACT); /* 17 digits: the same bits come back */
    enum mdq_err err = text ? mdq_output_open(&out, path, false) : mdq_fail_nomem("probe", 0);
    if (err == MDQ_OK)
        err = mdq_output_write(out, text, strlen(text));
    if (err == MDQ_OK)
        err = mdq_output_commit(&out);
    mdq_output_abort(&out);
    json_decref(j);
    free(text);
    free(path);
    return err;
}
