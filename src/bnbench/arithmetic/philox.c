/* Random numbers by counter: Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").

   A word depends on a key (the run's seed; purpose and layer) and a counter (step, epoch or nothing; index) alone, so
   any word is computed by itself, on any machine, without state. */
#include "lanes.h"
#include "ops.h"

enum { ROUNDS = 10 };
#define M0 0xD2511F53u
#define M1 0xCD9E8D57u
#define W0 0x9E3779B9u
#define W1 0xBB67AE85u

INLINE void four(const uint32_t key[2], const uint32_t counter[4], uint32_t word[4])
{
    uint32_t k0 = key[0], k1 = key[1], c[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int round = 0; round < ROUNDS; round++, k0 += W0, k1 += W1) {
        uint64_t a = (uint64_t)M0 * c[0], b = (uint64_t)M1 * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof c);
    }
    memcpy(word, c, sizeof c);
}

/* Words `from`, `from` + 1, ... of the stream of a key and two numbers: word i is one of the four of counter i / 4. */
void words(uint32_t seed, uint32_t purpose, uint32_t step, uint32_t other, uint64_t from, uint64_t count, uint32_t *to)
{
    const uint32_t key[2] = {seed, purpose};
    for (uint64_t i = from; i < from + count;) {
        const uint64_t block = i / 4;
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), step, other};
        uint32_t word[4];
        four(key, counter, word);
        for (; i < from + count && i / 4 == block; i++)
            *to++ = word[i % 4];
    }
}

/* Uniform on [0, 1): the upper 24 bits of a word over 2^24. */
void uniform(const uint32_t *word, uint64_t count, float *to)
{
    for (uint64_t i = 0; i < count; i++)
        to[i] = (float)(word[i] >> 8) * 0x1p-24f;
}

/* sin and cos of t pi / 4, 0 <= t < 1: Taylor's terms to the 11th power, within 1 ulp. */
INLINE V sine(V t)
{
    V x = mul(t, set(0.785398163397448279f)), z = mul(x, x);
    V p = set(2.7557319e-6f);
    p = fma_(p, z, set(-1.9841270e-4f));
    p = fma_(p, z, set(8.3333333e-3f));
    p = fma_(p, z, set(-1.6666667e-1f));
    return fma_(mul(p, z), x, x);
}

INLINE V cosine(V t)
{
    V x = mul(t, set(0.785398163397448279f)), z = mul(x, x);
    V p = set(2.4801587e-5f);
    p = fma_(p, z, set(-1.3888889e-3f));
    p = fma_(p, z, set(4.1666667e-2f));
    p = fma_(p, z, set(-0.5f));
    return fma_(p, z, set(1.f));
}

/* Standard normal numbers by Box and Muller: words 2i and 2i + 1 give numbers 2i and 2i + 1. count: even. The radius is
   sqrt(-2 log u), u in (0, 1] of 24 bits; the angle's octant is the upper three bits of the other word, so that nothing has
   to be reduced. */
void normal(const uint32_t *word, uint64_t count, float *to)
{
    for (uint64_t i = 0; i < count; i += 2 * LANES) {
        float u[LANES], t[LANES], s[LANES], c[LANES], r[LANES];
        uint32_t octant[LANES];
        const uint64_t some = count - i < 2 * LANES ? (count - i) / 2 : LANES;
        for (uint64_t k = 0; k < LANES; k++) {
            const uint32_t a = k < some ? word[i + 2 * k] : 0, b = k < some ? word[i + 2 * k + 1] : 0;
            u[k] = (float)((a >> 8) + 1) * 0x1p-24f;
            octant[k] = b >> 29;
            t[k] = (float)(b >> 5 & 0xFFFFFF) * 0x1p-24f;
            if (octant[k] & 1)
                t[k] = 1 - t[k]; /* exact: 24 bits */
        }
        store(s, sine(load(t)));
        store(c, cosine(load(t)));
        store(r, root(mul(set(-2.f), log_(load(u)))));
        for (uint64_t k = 0; k < some; k++) {
            const uint32_t o = octant[k];
            const int swap = (o + 1) & 2; /* octants 1, 2, 5, 6 */
            float sin_ = swap ? c[k] : s[k], cos_ = swap ? s[k] : c[k];
            sin_ = o & 4 ? -sin_ : sin_;
            cos_ = (o + 2) & 4 ? -cos_ : cos_;
            to[i + 2 * k] = r[k] * cos_;
            to[i + 2 * k + 1] = r[k] * sin_;
        }
    }
}
