/* The canonical order of records (mdq1.md, section 4). */
#include <string.h>

#include "mdq_internal.h"

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Names by bytes, but runs of digits as numbers: block.2 before block.10. */
static int name_order(const char *a, const char *b)
{
    const char *x = a, *y = b;
    while (*x && *y) {
        if (digit(*x) && digit(*y)) {
            while (*x == '0' && digit(x[1]))
                x++;
            while (*y == '0' && digit(y[1]))
                y++;
            size_t n = strspn(x, "0123456789"), m = strspn(y, "0123456789");
            int c = n != m ? (n > m) - (n < m) : strncmp(x, y, n);
            if (c)
                return c;
            x += n;
            y += m;
        } else if (*x != *y) {
            return (unsigned char)*x - (unsigned char)*y;
        } else {
            x++;
            y++;
        }
    }
    if (*x || *y)
        return *x ? 1 : -1;
    return strcmp(a, b); /* names that differ in leading zeros only */
}

static int kind_rank(const char *kind)
{
    static const char *const first[] = {"layer", "hessian", "chart", "tile"};
    int n = sizeof first / sizeof *first;
    for (int i = 0; i < n; i++)
        if (strcmp(first[i], kind) == 0)
            return i;
    return n;
}

int mdq_order(const struct mdq_header *h, const struct mdq_id *a, const struct mdq_id *b)
{
    int c = strcmp(a->tensor, b->tensor);
    if (c) {
        int x = mdq_header_find_layer(h, a->tensor), y = mdq_header_find_layer(h, b->tensor);
        if (x >= 0 || y >= 0)
            return x < 0 ? 1 : y < 0 ? -1 : x - y;
        return name_order(a->tensor, b->tensor);
    }
    int x = kind_rank(a->kind), y = kind_rank(b->kind);
    if (x != y)
        return x - y;
    if ((c = strcmp(a->kind, b->kind)))
        return c;
    if (a->col != b->col)
        return a->col < b->col ? -1 : 1;
    return a->row == b->row ? 0 : a->row < b->row ? -1 : 1;
}
