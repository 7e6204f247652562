#include "mdq_random.h"

#include <math.h>

/* One step of splitmix64 (Steele, Lea and Flood 2014): a mixer of 64 bits. */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mdq_random_seed(struct mdq_random *r, uint64_t seed, const char *text, uint64_t a, uint64_t b)
{
    uint64_t h = mix(seed);
    for (const unsigned char *p = (const unsigned char *)(text ? text : ""); *p; p++)
        h = mix(h ^ *p);
    h = mix(h ^ 0x100); /* ends the text: no byte has this value */
    h = mix(h ^ a);
    h = mix(h ^ b);
    r->s[0] = mix(h);
    r->s[1] = mix(r->s[0] ^ h);
    if (!(r->s[0] | r->s[1]))
        r->s[0] = 1;
}

static inline uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t mdq_random_next(struct mdq_random *r)
{
    uint64_t a = r->s[0], b = r->s[1], out = rotate(a + b, 17) + a;
    b ^= a;
    r->s[0] = rotate(a, 49) ^ b ^ (b << 21);
    r->s[1] = rotate(b, 28);
    return out;
}

double mdq_random_uniform(struct mdq_random *r)
{
    return (double)(mdq_random_next(r) >> 11) * 0x1p-53;
}

int64_t mdq_random_below(struct mdq_random *r, int64_t n)
{
    uint64_t range = (uint64_t)n, low, threshold = -range % range;
    __extension__ typedef unsigned __int128 wide;
    wide product;
    do {
        product = (wide)mdq_random_next(r) * range;
        low = (uint64_t)product;
    } while (low < threshold);
    return (int64_t)(product >> 64);
}

double mdq_random_normal(struct mdq_random *r)
{
    double u, v, s;
    do {
        u = 2 * mdq_random_uniform(r) - 1;
        v = 2 * mdq_random_uniform(r) - 1;
        s = u * u + v * v;
    } while (s >= 1 || s == 0);
    return u * sqrt(-2 * log(s) / s);
}
