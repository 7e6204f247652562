#include "eval_fills.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The first of a character's class, and how many it has; 1 where it stays. */
static int class_of(char c, char *first)
{
    *first = c;
    if (c >= '0' && c <= '9')
        return *first = '0', 10;
    if (c >= 'a' && c <= 'z')
        return *first = 'a', 26;
    if (c >= 'A' && c <= 'Z')
        return *first = 'A', 26;
    return 1;
}

int64_t eval_fills_space(const char *text, int64_t begin, int64_t end, int64_t most)
{
    int64_t space = 1;
    char first;
    for (int64_t i = begin; i < end && space < most; i++) {
        int64_t size = class_of(text[i], &first);
        space = space > most / size ? most : space * size;
    }
    return space < most ? space : most;
}

static void enumerate(const char *text, size_t bytes, int64_t begin, int64_t end, int64_t space, char *out)
{
    int64_t n = 0;
    for (int64_t number = 0; number < space; number++) {
        char *to = out + n * (int64_t)bytes, first;
        memcpy(to, text, bytes);
        int64_t rest = number;
        for (int64_t i = begin; i < end; i++) {
            int64_t size = class_of(text[i], &first);
            to[i] = (char)(first + rest % size);
            rest /= size;
        }
        if (memcmp(to, text, bytes) != 0)
            n++;
    }
}

/* Whether the text at `place` is new among the `slots` of a table (0: empty, otherwise 1 + place). */
static int is_new(const char *all, size_t bytes, int64_t place, int64_t *table, int64_t slots)
{
    const char *text = all + place * (int64_t)bytes;
    for (int64_t s = (int64_t)(XXH3_64bits(text, bytes) % (uint64_t)slots);; s = (s + 1) % slots) {
        if (table[s] == 0) {
            table[s] = 1 + place;
            return 1;
        }
        if (memcmp(all + (table[s] - 1) * (int64_t)bytes, text, bytes) == 0)
            return 0;
    }
}

enum mdq_err eval_fills(const char *text, size_t bytes, int64_t begin, int64_t end, int64_t want, struct mdq_random *random, char **out,
                        int64_t *n)
{
    const int64_t space = eval_fills_space(text, begin, end, INT64_MAX);
    *n = space - 1 < want ? space - 1 : want;
    *out = mdq_alloc((size_t)*n + 1, bytes, "fill-ins");
    if (!*out)
        return MDQ_E_INTERNAL;
    if (space - 1 <= want) {
        enumerate(text, bytes, begin, end, space, *out);
        return MDQ_OK;
    }
    const int64_t slots = 2 * *n + 3;
    int64_t *table = mdq_calloc((size_t)slots, sizeof *table, "fill-ins");
    if (!table)
        return MDQ_E_INTERNAL;
    memcpy(*out + *n * (int64_t)bytes, text, bytes); /* so that it is never drawn */
    is_new(*out, bytes, *n, table, slots);
    for (int64_t k = 0; k < *n;) {
        char *to = *out + k * (int64_t)bytes, first;
        memcpy(to, text, bytes);
        for (int64_t i = begin; i < end; i++) {
            int size = class_of(text[i], &first);
            if (size > 1)
                to[i] = (char)(first + mdq_random_below(random, size));
        }
        k += is_new(*out, bytes, k, table, slots);
    }
    free(table);
    return MDQ_OK;
}

struct eval_exposure eval_exposure(double truth, const double *others, int64_t n)
{
    double rank = 1;
    for (int64_t i = 0; i < n; i++)
        rank += others[i] < truth ? 1 : others[i] == truth ? 0.5 : 0;
    const double most = log2((double)(n + 1));
    return (struct eval_exposure){.rank = rank, .bits = most - log2(rank), .most = most,
                                  .chance = most - lgamma((double)n + 2) / M_LN2 / (double)(n + 1)};
}
