/* Random numbers by counter: Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").

   A word of 32 bits depends on a key of two words, a step and its own index alone: word i of a stream is number i mod 4 of
   the four that the counter (i / 4, its upper 32 bits, step, 0) gives. So any word is computed by itself, on any machine,
   without state. Sizes of the operations that draw: count, key, key, step. */
#include "lanes.h"
#include "ops.h"

enum { ROUNDS = 10, BLOCKS = 64, BATCH = 4 * BLOCKS }; /* words computed at once: a loop over fewer is not vectorised */
#define M0 0xD2511F53u
#define M1 0xCD9E8D57u
#define W0 0x9E3779B9u
#define W1 0xBB67AE85u

/* Words `from` to `from` + BATCH - 1; `from` is a multiple of BATCH. */
INLINE void words(const long *key, uint32_t step, uint64_t from, uint32_t to[BATCH])
{
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS], k0 = (uint32_t)key[0], k1 = (uint32_t)key[1];
    for (int i = 0; i < BLOCKS; i++) {
        const uint64_t block = from / 4 + i;
        c0[i] = (uint32_t)block, c1[i] = (uint32_t)(block >> 32), c2[i] = step, c3[i] = 0;
    }
    for (int round = 0; round < ROUNDS; round++, k0 += W0, k1 += W1)
        for (int i = 0; i < BLOCKS; i++) {
            const uint64_t a = (uint64_t)M0 * c0[i], b = (uint64_t)M1 * c2[i];
            c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0, c1[i] = (uint32_t)b;
            c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1, c3[i] = (uint32_t)a;
        }
    for (int i = 0; i < BLOCKS; i++)
        to[4 * i] = c0[i], to[4 * i + 1] = c1[i], to[4 * i + 2] = c2[i], to[4 * i + 3] = c3[i];
}

/* Uniform on [0, 1): the upper 24 bits of a word over 2^24, exact. */
INLINE void uniform(const uint32_t word[BATCH], float to[BATCH])
{
    for (int i = 0; i < BATCH; i++)
        to[i] = (float)(int32_t)(word[i] >> 8) * 0x1p-24f;
}

/* sin and cos of t pi / 4, 0 <= t <= 1: Taylor's terms to the 9th and 8th power. */
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

/* Standard normal numbers by Box and Muller: words 2i and 2i + 1 give numbers 2i and 2i + 1, of one lane. The radius is
   sqrt(-2 log u), u in (0, 1] of 24 bits of the first; the angle's octant is the upper three bits of the second, so that
   nothing has to be reduced, and its place in the octant the next 24. */
INLINE void normal(const uint32_t word[2 * LANES], float to[2 * LANES])
{
    float u[LANES], t[LANES], s[LANES], c[LANES], r[LANES];
    for (int k = 0; k < LANES; k++) {
        const uint32_t a = word[2 * k], b = word[2 * k + 1];
        u[k] = (float)(int32_t)((a >> 8) + 1) * 0x1p-24f;
        t[k] = (float)(int32_t)(b >> 5 & 0xFFFFFF) * 0x1p-24f;
        t[k] = b >> 29 & 1 ? 1 - t[k] : t[k]; /* exact: 24 bits */
    }
    store(s, sine(load(t)));
    store(c, cosine(load(t)));
    store(r, root(mul(set(-2.f), log_(load(u)))));
    for (int k = 0; k < LANES; k++) {
        const uint32_t octant = word[2 * k + 1] >> 29;
        const int swap = (octant + 1) & 2; /* octants 1, 2, 5, 6 */
        const float sin_ = swap ? c[k] : s[k], cos_ = swap ? s[k] : c[k];
        to[2 * k] = r[k] * ((octant + 2) & 4 ? -cos_ : cos_);
        to[2 * k + 1] = r[k] * (octant & 4 ? -sin_ : sin_);
    }
}

#define BATCHES(step)                                                                                                 \
    for (long i = 0, some; i < n[0]; i += BATCH)                                                                      \
        if (words(n + 1, step, i, word), some = n[0] - i < BATCH ? n[0] - i : BATCH, 1)

/* The words as they are. p: to. */
OP(op_words)
{
    (void)f;
    uint32_t word[BATCH];
    BATCHES((uint32_t)n[3]) memcpy(p[0] + i, word, some * sizeof(uint32_t));
}

/* Uniform numbers, one of each word. p: to. */
OP(op_uniform)
{
    (void)f;
    uint32_t word[BATCH];
    float drawn[BATCH];
    BATCHES((uint32_t)n[3])
    {
        uniform(word, drawn);
        memcpy(p[0] + i, drawn, some * sizeof(float));
    }
}

/* Standard normal numbers, two of each two words. p: to. */
OP(op_normal)
{
    (void)f;
    uint32_t word[BATCH];
    float drawn[BATCH];
    BATCHES((uint32_t)n[3])
    {
        for (int k = 0; k < BATCH && k < some; k += 2 * LANES)
            normal(word + k, drawn + k);
        memcpy(p[0] + i, drawn, some * sizeof(float));
    }
}

/* Inverted dropout: factor = 0 where a uniform number is below the rate, else f1; y = x factor. The gradient is dy factor
   (op_multiply). n: count, key, key. f: rate, 1 / (1 - rate). p: x, y, factor, step (one int32). */
OP(op_dropout)
{
    uint32_t word[BATCH], step;
    float drawn[BATCH];
    memcpy(&step, p[3], sizeof step);
    BATCHES(step)
    {
        uniform(word, drawn);
        for (long k = 0; k < some; k++) {
            p[2][i + k] = drawn[k] < f[0] ? 0 : f[1];
            p[1][i + k] = p[0][i + k] * p[2][i + k];
        }
    }
}
