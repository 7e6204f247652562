#include "mdq_jansson.h"

#include <stdatomic.h>
#include <stdlib.h>

#include <jansson.h>

static atomic_size_t lost; /* bytes of the first allocation that failed, at least 1 */

static void *watched(size_t size)
{
    void *p = malloc(size ? size : 1);
    size_t none = 0;
    if (!p)
        atomic_compare_exchange_strong(&lost, &none, size ? size : 1);
    return p;
}

void mdq_jansson_watch(void)
{
    json_set_alloc_funcs(watched, free);
}

enum mdq_err mdq_jansson_check(void)
{
    size_t bytes = atomic_load(&lost);
    return bytes ? mdq_fail_nomem("JSON", bytes) : MDQ_OK;
}
