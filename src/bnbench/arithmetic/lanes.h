/* Sixteen fp32 lanes: the same results on every instruction set.

   Each operation is fixed by IEEE 754 lane by lane (+ - * / sqrt fma, comparisons, conversions), so AVX-512 (one
   register), AVX2 with FMA (two) and plain C with fmaf (an array) give the same bits. Whatever is built on these
   operations needs no second version. */
#ifndef LANES_H
#define LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES 16

#if defined __AVX512F__
#include <immintrin.h>
typedef __m512 V;
typedef __m512i I;
typedef __mmask16 B; /* a truth value for each lane */
INLINE V set(float x) { return _mm512_set1_ps(x); }
INLINE V load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, V x) { _mm512_storeu_ps(p, x); }
INLINE B first(long count) { return count >= LANES ? 0xFFFF : count > 0 ? (1u << count) - 1 : 0; }
INLINE V load_some(const float *p, B some) { return _mm512_maskz_loadu_ps(some, p); }
INLINE void store_some(float *p, V x, B some) { _mm512_mask_storeu_ps(p, some, x); }
INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
INLINE V quotient(V a, V b) { return _mm512_div_ps(a, b); }
INLINE V root(V a) { return _mm512_sqrt_ps(a); }
INLINE V fma_(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
INLINE B less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE V where_(B where, V a, V b) { return _mm512_mask_blend_ps(where, b, a); }
INLINE V nearest(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE I integer(V a) { return _mm512_cvttps_epi32(a); } /* of whole numbers */
INLINE V number(I a) { return _mm512_cvtepi32_ps(a); }
INLINE I bits(V a) { return _mm512_castps_si512(a); }
INLINE V from_bits(I a) { return _mm512_castsi512_ps(a); }
INLINE I set_integer(int32_t x) { return _mm512_set1_epi32(x); }
INLINE I add_integer(I a, I b) { return _mm512_add_epi32(a, b); }
INLINE I sub_integer(I a, I b) { return _mm512_sub_epi32(a, b); }
INLINE I and_integer(I a, I b) { return _mm512_and_si512(a, b); }
INLINE I or_integer(I a, I b) { return _mm512_or_si512(a, b); }
#define SHIFT_LEFT(a, n) _mm512_slli_epi32(a, n)
#define SHIFT_RIGHT(a, n) _mm512_srai_epi32(a, n)

#elif defined __AVX2__ && defined __FMA__
#include <immintrin.h>
typedef struct { __m256 a, b; } V;
typedef struct { __m256i a, b; } I;
typedef I B;
#define BOTH(f, x, y) {f((x).a, (y).a), f((x).b, (y).b)}
INLINE V set(float x) { V r = {_mm256_set1_ps(x), _mm256_set1_ps(x)}; return r; }
INLINE V load(const float *p) { V r = {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; return r; }
INLINE void store(float *p, V x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
INLINE B first(long count)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), n = _mm256_set1_epi32(count > 16 ? 16 : (int)count);
    B r = {_mm256_cmpgt_epi32(n, lane), _mm256_cmpgt_epi32(n, _mm256_add_epi32(lane, _mm256_set1_epi32(8)))};
    return r;
}
INLINE V load_some(const float *p, B some)
{
    V r = {_mm256_maskload_ps(p, some.a), _mm256_maskload_ps(p + 8, some.b)};
    return r;
}
INLINE void store_some(float *p, V x, B some)
{
    _mm256_maskstore_ps(p, some.a, x.a);
    _mm256_maskstore_ps(p + 8, some.b, x.b);
}
INLINE V add(V x, V y) { V r = BOTH(_mm256_add_ps, x, y); return r; }
INLINE V sub(V x, V y) { V r = BOTH(_mm256_sub_ps, x, y); return r; }
INLINE V mul(V x, V y) { V r = BOTH(_mm256_mul_ps, x, y); return r; }
INLINE V quotient(V x, V y) { V r = BOTH(_mm256_div_ps, x, y); return r; }
INLINE V root(V x) { V r = {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; return r; }
INLINE V fma_(V x, V y, V z)
{
    V r = {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
    return r;
}
INLINE B less(V x, V y)
{
    B r = {_mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
           _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
    return r;
}
INLINE V where_(B where, V x, V y)
{
    V r = {_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(where.a)),
           _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(where.b))};
    return r;
}
INLINE V nearest(V x)
{
    V r = {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
           _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
    return r;
}
INLINE I integer(V x) { I r = {_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)}; return r; }
INLINE V number(I x) { V r = {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; return r; }
INLINE I bits(V x) { I r = {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; return r; }
INLINE V from_bits(I x) { V r = {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; return r; }
INLINE I set_integer(int32_t x) { I r = {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; return r; }
INLINE I add_integer(I x, I y) { I r = BOTH(_mm256_add_epi32, x, y); return r; }
INLINE I sub_integer(I x, I y) { I r = BOTH(_mm256_sub_epi32, x, y); return r; }
INLINE I and_integer(I x, I y) { I r = BOTH(_mm256_and_si256, x, y); return r; }
INLINE I or_integer(I x, I y) { I r = BOTH(_mm256_or_si256, x, y); return r; }
#define SHIFT_LEFT(x, n) ((I){_mm256_slli_epi32((x).a, n), _mm256_slli_epi32((x).b, n)})
#define SHIFT_RIGHT(x, n) ((I){_mm256_srai_epi32((x).a, n), _mm256_srai_epi32((x).b, n)})

#else
typedef struct { float x[LANES]; } V;
typedef struct { int32_t x[LANES]; } I;
typedef I B;
#define EACH(type, value) type r; for (int i = 0; i < LANES; i++) r.x[i] = value; return r
INLINE V set(float x) { EACH(V, x); }
INLINE V load(const float *p) { EACH(V, p[i]); }
INLINE void store(float *p, V x) { for (int i = 0; i < LANES; i++) p[i] = x.x[i]; }
INLINE B first(long count) { EACH(B, i < count); }
INLINE V load_some(const float *p, B some) { EACH(V, some.x[i] ? p[i] : 0); }
INLINE void store_some(float *p, V x, B some) { for (int i = 0; i < LANES; i++) if (some.x[i]) p[i] = x.x[i]; }
INLINE V add(V a, V b) { EACH(V, a.x[i] + b.x[i]); }
INLINE V sub(V a, V b) { EACH(V, a.x[i] - b.x[i]); }
INLINE V mul(V a, V b) { EACH(V, a.x[i] * b.x[i]); }
INLINE V quotient(V a, V b) { EACH(V, a.x[i] / b.x[i]); }
INLINE V root(V a) { EACH(V, sqrtf(a.x[i])); }
INLINE V fma_(V a, V b, V c) { EACH(V, fmaf(a.x[i], b.x[i], c.x[i])); }
INLINE B less(V a, V b) { EACH(B, a.x[i] < b.x[i]); }
INLINE V where_(B where, V a, V b) { EACH(V, where.x[i] ? a.x[i] : b.x[i]); }
INLINE V nearest(V a) { EACH(V, rintf(a.x[i])); }
INLINE I integer(V a) { EACH(I, a.x[i] >= -2147483648.f && a.x[i] < 2147483648.f ? (int32_t)a.x[i] : INT32_MIN); }
INLINE V number(I a) { EACH(V, (float)a.x[i]); }
INLINE I bits(V a) { I r; memcpy(&r, &a, sizeof r); return r; }
INLINE V from_bits(I a) { V r; memcpy(&r, &a, sizeof r); return r; }
INLINE I set_integer(int32_t x) { EACH(I, x); }
INLINE I add_integer(I a, I b) { EACH(I, (int32_t)((uint32_t)a.x[i] + (uint32_t)b.x[i])); }
INLINE I sub_integer(I a, I b) { EACH(I, (int32_t)((uint32_t)a.x[i] - (uint32_t)b.x[i])); }
INLINE I and_integer(I a, I b) { EACH(I, a.x[i] & b.x[i]); }
INLINE I or_integer(I a, I b) { EACH(I, a.x[i] | b.x[i]); }
INLINE I shift_left(I a, int n) { EACH(I, (int32_t)((uint32_t)a.x[i] << n)); }
INLINE I shift_right(I a, int n) { EACH(I, a.x[i] >> n); }
#define SHIFT_LEFT(a, n) shift_left(a, n)
#define SHIFT_RIGHT(a, n) shift_right(a, n)
#endif

/* Sum of the lanes by a fixed tree: 8 and 8, 4 and 4, 2 and 2, 1 and 1. */
INLINE float total(V x)
{
    float lane[LANES];
    store(lane, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

/* Largest lane; NaN counts as smaller than any number. */
INLINE float largest(V x)
{
    float lane[LANES], best = -INFINITY;
    store(lane, x);
    for (int i = 0; i < LANES; i++)
        best = best < lane[i] ? lane[i] : best;
    return best;
}

/* 2^n for whole n in [-126, 127]. */
INLINE V power_of_two(I n) { return from_bits(SHIFT_LEFT(add_integer(n, set_integer(127)), 23)); }

/* exp(x), within 1 ulp where the result is a normal number (2 steps of rounding where it is not).

   x = n ln 2 + r, |r| <= ln(2) / 2: n in fp32, r in two fused steps (ln 2 in two parts); exp(r) by a polynomial of
   degree 6 (minimax, Horner, fused); the factor 2^n in two halves, so that subnormal results are rounded once. NaN stays
   NaN, +inf gives +inf, -inf gives 0. */
INLINE V exp_(V x)
{
    const V low = set(-104.f), high = set(89.f);
    V y = where_(less(x, low), low, where_(less(high, x), high, x));
    V n = nearest(mul(y, set(1.44269502162933349609f)));
    V r = fma_(n, set(-0.693145751953125f), y);
    r = fma_(n, set(-1.42860682030941723212e-6f), r);
    V p = set(1.3976517e-3f);
    p = fma_(p, r, set(8.3720246e-3f));
    p = fma_(p, r, set(4.1665759e-2f));
    p = fma_(p, r, set(1.6666485e-1f));
    p = fma_(p, r, set(5.0000001e-1f));
    p = fma_(mul(p, r), r, r);
    p = add(p, set(1.f));
    I whole = integer(n), half = SHIFT_RIGHT(whole, 1);
    V e = mul(mul(p, power_of_two(half)), power_of_two(sub_integer(whole, half)));
    return where_(less(x, set(INFINITY)), e, x); /* +inf and NaN as they are */
}

/* log(x), within 1 ulp for positive normal x; -inf for 0, NaN below 0; +inf and NaN as they are. Subnormal x are scaled.

   x = 2^e m, sqrt(1/2) <= m < sqrt(2); log(m) = f - f^2/2 + f^3 P(f), f = m - 1 (Cephes logf); e ln 2 in two parts. */
INLINE V log_(V x)
{
    B tiny = less(x, set(1.17549435e-38f));
    V scaled = where_(tiny, mul(x, set(8388608.f)), x);
    I b = bits(scaled), offset = sub_integer(b, set_integer(0x3f3504f3));
    I e = SHIFT_RIGHT(offset, 23);
    V m = from_bits(add_integer(and_integer(offset, set_integer(0x007fffff)), set_integer(0x3f3504f3)));
    V n = sub(number(e), where_(tiny, set(23.f), set(0.f)));
    V f = sub(m, set(1.f)), z = mul(f, f);
    V p = set(7.0376836292e-2f);
    p = fma_(p, f, set(-1.1514610310e-1f));
    p = fma_(p, f, set(1.1676998740e-1f));
    p = fma_(p, f, set(-1.2420140846e-1f));
    p = fma_(p, f, set(1.4249322787e-1f));
    p = fma_(p, f, set(-1.6668057665e-1f));
    p = fma_(p, f, set(2.0000714765e-1f));
    p = fma_(p, f, set(-2.4999993993e-1f));
    p = fma_(p, f, set(3.3333331174e-1f));
    V y = mul(mul(p, f), z);
    y = fma_(n, set(-2.12194440e-4f), y);
    y = fma_(z, set(-0.5f), y);
    y = add(f, y);
    y = fma_(n, set(0.693359375f), y);
    y = where_(less(set(0.f), x), y, where_(less(x, set(0.f)), set(NAN), set(-INFINITY)));
    B finite = less(x, set(INFINITY));
    return where_(finite, y, x);
}

/* 1 / (1 + exp(-x)) */
INLINE V sigmoid_(V x)
{
    return quotient(set(1.f), add(set(1.f), exp_(sub(set(0.f), x))));
}

/* tanh(x): below 0.625 an odd polynomial (Cephes tanhf), beyond 1 - 2 / (exp(2 |x|) + 1) with the sign of x. */
INLINE V tanh_(V x)
{
    I sign = and_integer(bits(x), set_integer(INT32_MIN));
    V a = from_bits(and_integer(bits(x), set_integer(0x7fffffff))), z = mul(x, x);
    V p = set(-5.70498872745e-3f);
    p = fma_(p, z, set(2.06390887954e-2f));
    p = fma_(p, z, set(-5.37397155531e-2f));
    p = fma_(p, z, set(1.33314422036e-1f));
    p = fma_(p, z, set(-3.33332819422e-1f));
    V small = fma_(mul(p, z), x, x);
    V large = sub(set(1.f), quotient(set(2.f), add(exp_(add(a, a)), set(1.f))));
    V y = where_(less(a, set(0.625f)), small, large); /* NaN is not below, and stays NaN */
    return from_bits(or_integer(bits(y), sign)); /* of -0 too */
}
#endif
