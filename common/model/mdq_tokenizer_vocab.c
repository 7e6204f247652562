/* The vocabulary: spelling -> id and id -> spelling. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mdq_tokenizer_impl.h"

/* The slot where s is, or the free one where it would go. */
static uint32_t find_slot(const struct mdq_vocab *v, const char *s, size_t n)
{
    uint32_t i = (uint32_t)XXH3_64bits(s, n) & v->mask;
    for (; v->slots[i]; i = (i + 1) & v->mask) {
        uint32_t id = v->slots[i] - 1;
        if (v->tokens[id].size == n && !memcmp(v->pool + v->tokens[id].offset, s, n))
            break;
    }
    return i;
}

int32_t mdq_vocab_id(const struct mdq_vocab *v, const char *s, size_t n)
{
    uint32_t slot = v->slots[find_slot(v, s, n)];
    return (int32_t)slot - 1;
}

void mdq_vocab_free(struct mdq_vocab *v)
{
    free(v->pool);
    free(v->tokens);
    free(v->slots);
    *v = (struct mdq_vocab){0};
}

enum mdq_err mdq_vocab_parse(struct mdq_vocab *v, const json_t *spec)
{
    if (!json_is_object(spec))
        return mdq_fail(MDQ_E_DATA, "model: vocab: %s", spec ? "no object" : "missing");
    json_t *object = (json_t *)spec; /* jansson iterates over non-const objects only; nothing is changed */
    const size_t count = json_object_size(spec);
    const int64_t limit = 4 * (int64_t)count + 65536; /* ids may have gaps, but no file makes us reserve gigabytes */
    size_t bytes = 0;
    int64_t top = -1;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= limit || id >= INT32_MAX / 2)
            return mdq_fail(MDQ_E_DATA, "model: vocab: '%s': its id is no integer from 0 to %lld", key,
                            (long long)limit - 1);
        bytes += strlen(key);
        if (id > top)
            top = id;
    }
    if (bytes > UINT32_MAX)
        return mdq_fail(MDQ_E_DATA, "model: vocab: %zu bytes of spellings", bytes);
    v->n = (int32_t)(top + 1);
    v->mask = 15;
    while (v->mask < 2 * count)
        v->mask = v->mask * 2 + 1;
    v->pool = mdq_alloc(bytes, 1, "vocabulary");
    v->tokens = mdq_calloc((size_t)v->n, sizeof *v->tokens, "vocabulary");
    v->slots = mdq_calloc((size_t)v->mask + 1, sizeof *v->slots, "vocabulary");
    if (!v->pool || !v->tokens || !v->slots)
        return MDQ_E_INTERNAL;
    uint32_t offset = 0;
    json_object_foreach(object, key, value) {
        int32_t id = (int32_t)json_integer_value(value);
        uint32_t n = (uint32_t)strlen(key);
        if (v->tokens[id].present)
            return mdq_fail(MDQ_E_DATA, "model: vocab: '%.*s' and '%s' have the same id %d", (int)v->tokens[id].size,
                            v->pool + v->tokens[id].offset, key, id);
        memcpy(v->pool + offset, key, n);
        v->tokens[id].offset = offset;
        v->tokens[id].size = n;
        v->tokens[id].present = true;
        v->slots[find_slot(v, key, n)] = (uint32_t)id + 1;
        offset += n;
    }
    return MDQ_OK;
}
