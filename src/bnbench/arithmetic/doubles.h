/* Eight fp64 lanes: the same results on every instruction set (see lanes.h). `..._some`: the first `count` of the lanes, if
   there are so many; the others are 0, and nothing is stored there. */
#ifndef DOUBLES_H
#define DOUBLES_H

#include "lanes.h"

#define EIGHT 8
#define UNROLLED _Pragma("GCC unroll 16")

#if defined __AVX512F__
typedef __m512d D;
INLINE D d_set(double x) { return _mm512_set1_pd(x); }
INLINE D d_load(const double *p) { return _mm512_loadu_pd(p); }
INLINE void d_store(double *p, D x) { _mm512_storeu_pd(p, x); }
INLINE D d_fma(D a, D b, D c) { return _mm512_fmadd_pd(a, b, c); }
INLINE D d_mul(D a, D b) { return _mm512_mul_pd(a, b); }
INLINE __mmask8 d_first(long count) { return count >= EIGHT ? 0xFF : count > 0 ? (1u << count) - 1 : 0; }
INLINE D d_load_some(const double *p, long count) { return _mm512_maskz_loadu_pd(d_first(count), p); }
INLINE void d_store_some(double *p, D x, long count) { _mm512_mask_storeu_pd(p, d_first(count), x); }

#elif defined __AVX2__ && defined __FMA__
typedef struct { __m256d a, b; } D;
INLINE D d_set(double x) { D r = {_mm256_set1_pd(x), _mm256_set1_pd(x)}; return r; }
INLINE D d_load(const double *p) { D r = {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; return r; }
INLINE void d_store(double *p, D x) { _mm256_storeu_pd(p, x.a); _mm256_storeu_pd(p + 4, x.b); }
INLINE D d_fma(D x, D y, D z) { D r = {_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b)}; return r; }
INLINE D d_mul(D x, D y) { D r = {_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b)}; return r; }
INLINE __m256i d_mask(long count, long from) /* lanes from .. from + 3 that are below count */
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count - from), _mm256_setr_epi64x(0, 1, 2, 3));
}
INLINE D d_load_some(const double *p, long count)
{
    if (__builtin_constant_p(count) && count >= EIGHT)
        return d_load(p);
    D r = {_mm256_maskload_pd(p, d_mask(count, 0)), _mm256_maskload_pd(p + 4, d_mask(count, 4))};
    return r;
}
INLINE void d_store_some(double *p, D x, long count)
{
    if (__builtin_constant_p(count) && count >= EIGHT) {
        d_store(p, x);
        return;
    }
    _mm256_maskstore_pd(p, d_mask(count, 0), x.a);
    _mm256_maskstore_pd(p + 4, d_mask(count, 4), x.b);
}

#else
typedef struct { double x[EIGHT]; } D;
#define EACH_D(value) D r; for (int i = 0; i < EIGHT; i++) r.x[i] = value; return r
INLINE D d_set(double x) { EACH_D(x); }
INLINE D d_load(const double *p) { EACH_D(p[i]); }
INLINE void d_store(double *p, D x) { for (int i = 0; i < EIGHT; i++) p[i] = x.x[i]; }
INLINE D d_fma(D a, D b, D c) { EACH_D(fma(a.x[i], b.x[i], c.x[i])); }
INLINE D d_mul(D a, D b) { EACH_D(a.x[i] * b.x[i]); }
INLINE D d_load_some(const double *p, long count) { EACH_D(i < count ? p[i] : 0); }
INLINE void d_store_some(double *p, D x, long count)
{
    for (int i = 0; i < EIGHT && i < count; i++)
        p[i] = x.x[i];
}
#endif

/* Sum of 32 virtual lanes by a fixed tree: 16 and 16, 8 and 8, 4 and 4, 2 and 2, 1 and 1. */
INLINE double d_total(const D x[4])
{
    double lane[4 * EIGHT];
    for (int v = 0; v < 4; v++)
        d_store(lane + EIGHT * v, x[v]);
    for (int half = 2 * EIGHT; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}
#endif
