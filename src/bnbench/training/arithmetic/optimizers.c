/* Updates of weights by their gradients, with the bits of torch's operations. */

#include <float.h>
#include <math.h>
#include <string.h>

#include "program.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define SAMPLE (1 << 16)
#define CHUNK 2048 /* weights whose arrays fit a core's first cache */
#define LINE 16 /* floats of a cache line */

void sgd(long, long, const float *, float, float *, const float *, float *);
void adam_moments(long, float, float, float, float, float, const float *, float *, float *, float *);
void adam_step(long, float, float, const float *, const float *, float *);

/* Methods for a square root, each that of one of the library's kernels for a kind of processor: the nearest number; two
   Newton steps from an estimate of 12 bits; one from an estimate of 14 bits. */
enum { LIBRARY, NEAREST, TWICE, ONCE, METHODS };
int root_method;
static Many *roots_of;

/* Square roots by torch's library, which treats each 0 separately (4.5 ns instead of 0.6). Second moments of many weights
   are 0: those of pixels that are always black. */
static void by_library(long count, const float *restrict x, float *restrict y)
{
    for (long i = 0; i < count; i++)
        y[i] = x[i] == 0 ? 1 : x[i];
    roots_of(count, y, y, MODE);
    for (long i = 0; i < count; i++)
        y[i] = x[i] == 0 ? 0 : y[i];
}

#if defined __AVX2__ && defined __FMA__
#define ALIKE _mm256_set1_ps

INLINE __m256 root(int way, __m256 a)
{
    const __m256 half = ALIKE(0.5f);
    if (way == TWICE) { /* the nearest number near the ends of the range */
        const __m256 least = ALIKE(FLT_MIN), most = ALIKE(0x1.ffep127f);
        __m256 r = _mm256_rsqrt_ps(a), s = a * r, h = r * half, e = half - s * h;
        s = s * e + s;
        h = h * e + h;
        s = (a - s * s) * h + s;
        __m256 normal = _mm256_and_ps(_mm256_cmp_ps(a, least, _CMP_GE_OQ), _mm256_cmp_ps(a, most, _CMP_LE_OQ));
        return _mm256_movemask_ps(normal) == 0xFF ? s : _mm256_blendv_ps(_mm256_sqrt_ps(a), s, normal);
    }
#ifdef __AVX512VL__
    if (way == ONCE) { /* small numbers are scaled by 2^64 */
        __mmask8 small = _mm256_cmp_ps_mask(a, ALIKE(0x1p-60f), _CMP_LT_OQ);
        __mmask8 usual = _mm256_cmp_ps_mask(a, ALIKE(FLT_MAX), _CMP_LE_OQ) & _mm256_cmp_ps_mask(a, ALIKE(0), _CMP_GT_OQ);
        __m256 of = _mm256_mask_mul_ps(a, small, a, ALIKE(0x1p64f)), r = _mm256_rsqrt14_ps(of), s = of * r;
        s = _mm256_fmadd_ps(_mm256_fnmadd_ps(s, s, of), r * half, s);
        s = _mm256_mask_mul_ps(s, small, s, ALIKE(0x1p-32f));
        return usual == 0xFF ? s : _mm256_mask_blend_ps(usual, _mm256_sqrt_ps(a), s);
    }
#endif
    return _mm256_sqrt_ps(a);
}

/* As op_adam, for `count` weights from `first` on, in one pass. */
INLINE void adam_part(int way, long first, long count, const float *f, float **p)
{
    const __m256 keep1 = ALIKE(f[0]), new1 = ALIKE(f[1]), keep2 = ALIKE(f[2]), new2 = ALIKE(f[3]), epsilon = ALIKE(f[4]);
    const __m256 rate = ALIKE(*p[0]), corrected = ALIKE(*p[1]);
    float *w = p[2] + first, *g = p[3] + first, *mean = p[4] + first, *square = p[5] + first;
#define STEP(LOAD, STORE)                                                                                            \
    __m256 d = LOAD(g + i), m = LOAD(mean + i) * keep1 + d * new1;                                                   \
    __m256 s = _mm256_fmadd_ps(new2 * d, d, LOAD(square + i) * keep2);                                               \
    STORE(mean + i, m);                                                                                              \
    STORE(square + i, s);                                                                                            \
    STORE(w + i, LOAD(w + i) - m / (root(way, s / corrected) + epsilon) * rate);
#define SOME_LOAD(from) _mm256_maskload_ps(from, some)
#define SOME_STORE(to, x) _mm256_maskstore_ps(to, some, x)
    long i = 0;
    for (; i + 8 <= count; i += 8) {
        STEP(_mm256_loadu_ps, _mm256_storeu_ps)
    }
    if (i < count) {
        __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        STEP(SOME_LOAD, SOME_STORE)
    }
}
#define BY(way) case way: adam_part(way, first, count, f, p); break;
#else
#define BY(way)
#endif

/* n: count, method; arrays: x, its roots */
void op_roots(ARGUMENTS)
{
    long i = 0;
#if defined __AVX2__ && defined __FMA__
    for (; n[1] != LIBRARY && i + 8 <= n[0]; i += 8) {
        __m256 x = _mm256_loadu_ps(p[0] + i);
        _mm256_storeu_ps(p[1] + i, n[1] == ONCE ? root(ONCE, x) : n[1] == TWICE ? root(TWICE, x) : root(NEAREST, x));
    }
#endif
    by_library(n[0] - i, p[0] + i, p[1] + i);
}

/* Store the library's function, and find the method that gives its bits. */
void use_roots(Many *library)
{
    static float x[SAMPLE], expected[SAMPLE], found[SAMPLE];
    for (unsigned i = 2; i < SAMPLE; i++) { /* numbers of all sizes */
        union { unsigned bits; float number; } some = {i * 2654435761u >> 1};
        x[i] = some.number <= FLT_MAX ? some.number : 0;
    }
    x[0] = FLT_MAX, x[1] = INFINITY;
    roots_of = library;
    library(SAMPLE, x, expected, MODE);
    for (root_method = METHODS - 1; root_method != LIBRARY; root_method--) {
        op_roots((long[]){SAMPLE, root_method}, NULL, (float *[]){x, found});
        if (!memcmp(expected, found, sizeof found))
            break;
    }
}

void op_decay(ARGUMENTS)
{
    for (long i = 0; i < n[0]; i++)
        p[1][i] += p[0][i] * f[0];
}

/* rate, w, g, velocity if n1 */
void op_sgd(ARGUMENTS)
{
    sgd(1, n[0], p[0], f[0], p[1], p[2], n[1] ? p[3] : NULL);
}

/* rate of this step, bias correction of the square, w, g, mean, square; f: beta1, 1 - beta1, beta2, 1 - beta2, epsilon */
void op_adam(ARGUMENTS)
{
    float ratio[CHUNK], root[CHUNK];
    for (long first = 0; first < n[0]; first += CHUNK) {
        long count = n[0] - first < CHUNK ? n[0] - first : CHUNK;
        for (int k = 2; k < 6; k++)
            for (long i = first + CHUNK; i < n[0] && i < first + 2 * CHUNK; i += LINE)
                __builtin_prefetch(p[k] + i, 1);
        switch (root_method) {
            BY(NEAREST) BY(TWICE) BY(ONCE)
        default:
            adam_moments(count, f[0], f[1], f[2], f[3], *p[1], p[3] + first, p[4] + first, p[5] + first, ratio);
            by_library(count, ratio, root);
            adam_step(count, *p[0], f[4], p[4] + first, root, p[2] + first);
        }
    }
}

/* Update the rows of R runs, each with its own learning rate. */
void adam(long R, long row, float *rate, float corrected, float keep1, float new1, float keep2, float new2, float epsilon,
          float *w, float *g, float *mean, float *square)
{
    for (long r = 0; r < R; r++) {
        float *p[] = {rate + r, &corrected, w + r * row, g + r * row, mean + r * row, square + r * row};
        op_adam(&row, (float[]){keep1, new1, keep2, new2, epsilon}, p);
    }
}

/* As op_adam, accurate to a few units in the last place. */
void op_quick_adam(ARGUMENTS)
{
    float rate = *p[0], share = 1 / *p[1], *restrict w = p[2], *restrict mean = p[4], *restrict square = p[5];
    for (long i = 0; i < n[0]; i++) {
        float g = p[3][i];
        mean[i] = mean[i] * f[0] + g * f[1];
        square[i] = square[i] * f[2] + g * g * f[3];
        w[i] -= mean[i] / (sqrtf(square[i] * share) + f[4]) * rate;
    }
}
