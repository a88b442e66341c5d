/* Matrix products of compiled programs: by torch's BLAS, and by our own loop in the same order of sums. All arrays are
   fp32. */

#include "program.h"

/* c_MN = op(a) op(b) + f0 c; n: a transposed, b transposed, M, N, inner size, and the length of a row of each array;
   f1: whether it is so small that torch uses plain loops. */
void op_product(ARGUMENTS)
{
    if (f[1]) {
        long a_row = n[0] ? 1 : n[5], a_inner = n[0] ? n[5] : 1, b_inner = n[1] ? 1 : n[6], b_column = n[1] ? n[6] : 1;
        for (long i = 0; i < n[2]; i++)
            for (long j = 0; j < n[3]; j++) {
                float sum = 0;
                for (long k = 0; k < n[4]; k++)
                    sum += p[0][i * a_row + k * a_inner] * p[1][k * b_inner + j * b_column];
                p[2][i * n[7] + j] = f[0] ? p[2][i * n[7] + j] * f[0] + sum : sum;
            }
        return;
    }
    int m = n[2], columns = n[3], inner = n[4], lda = n[5], ldb = n[6], ldc = n[7];
    float one = 1;
    gemm(n[1] ? "T" : "N", n[0] ? "T" : "N", &columns, &m, &inner, &one, p[1], &ldb, p[0], &lda, f, p[2], &ldc);
}

#if defined __AVX512F__ || (defined __AVX2__ && defined __FMA__)
#include <immintrin.h>

#ifdef __AVX512F__
#define LANES 16
#define VECTORS 4 /* columns of a block, in vectors: 24 sums and their operands fit the registers */
typedef __m512 Vector;
typedef __mmask16 Some; /* the first few numbers of a vector */
#define LOAD(some, from) _mm512_maskz_loadu_ps(some, from)
#define STORE(some, to, x) _mm512_mask_storeu_ps(to, some, x)
#define ALIKE(x) _mm512_set1_ps(x)
#define FUSED_SUM(a, b, sum) _mm512_fmadd_ps(a, b, sum)
INLINE Some first_of(long count)
{
    return count >= 16 ? 0xFFFF : count > 0 ? (1 << count) - 1 : 0;
}
#else
#define LANES 8
#define VECTORS 2
typedef __m256 Vector;
typedef __m256i Some;
#define LOAD(some, from) _mm256_maskload_ps(from, some)
#define STORE(some, to, x) _mm256_maskstore_ps(to, some, x)
#define ALIKE(x) _mm256_set1_ps(x)
#define FUSED_SUM(a, b, sum) _mm256_fmadd_ps(a, b, sum)
INLINE Some first_of(long count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

#ifdef __AVX512BF16__
#define PAIRS_SUM(a, b, sum) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#else
#define PAIRS_SUM(a, b, sum) (sum)
#endif

#define ROWS 6
#define UNROLLED _Pragma("GCC unroll 8")

/* How a product is added to a sum: by a fused multiply-add; rounded first; as a pair of bf16 products of neighbours on the
   inner axis. */
enum { FUSED, SEPARATE, PAIRS };

/* How sums are combined with the values of C: they overwrite them; are added to them at the end; or start with them. */
enum { OVERWRITE, ADD_AFTER, ADD_FIRST };

/* `rows` rows of c, `vectors` vectors of columns, the last with `some` of them. */
INLINE void block(int kind, int rows, int vectors, int add, long inner, const float *a, long a_row, long a_inner,
                  const float *b, long b_inner, float *c, long c_row, Some some)
{
    Vector sum[ROWS][VECTORS], of_b[VECTORS];
    const Some all = first_of(LANES);
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            sum[r][v] = add == ADD_FIRST ? LOAD(v + 1 < vectors ? all : some, c + r * c_row + LANES * v) : ALIKE(0);
    for (long k = 0; k < inner; k++, a += a_inner, b += b_inner) {
        UNROLLED for (int v = 0; v < vectors; v++)
            of_b[v] = LOAD(v + 1 < vectors ? all : some, b + LANES * v);
        UNROLLED for (int r = 0; r < rows; r++) {
            Vector of_a = ALIKE(a[r * a_row]);
            UNROLLED for (int v = 0; v < vectors; v++)
                sum[r][v] = kind == FUSED   ? FUSED_SUM(of_a, of_b[v], sum[r][v])
                            : kind == SEPARATE ? (Vector)(sum[r][v] + of_a * of_b[v])
                                            : PAIRS_SUM(of_a, of_b[v], sum[r][v]);
        }
    }
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int v = 0; v < vectors; v++) {
            float *to = c + r * c_row + LANES * v;
            Some these = v + 1 < vectors ? all : some;
            STORE(these, to, add == ADD_AFTER ? (Vector)(LOAD(these, to) + sum[r][v]) : sum[r][v]);
        }
}

#define BLOCK(kind, rows, vectors)                                                                                   \
    case kind * VECTORS + vectors:                                                                                   \
        block(kind, rows, vectors, add, K, a + r * a_row, a_row, a_inner, b + j, b_inner, c + r * c_row + j, c_row,  \
              some);                                                                                                 \
        break;
#if VECTORS == 4
#define WIDTHS(kind, rows) BLOCK(kind, rows, 1) BLOCK(kind, rows, 2) BLOCK(kind, rows, 3) BLOCK(kind, rows, 4)
#else
#define WIDTHS(kind, rows) BLOCK(kind, rows, 1) BLOCK(kind, rows, 2)
#endif
#define BLOCKS(rows)                                                                                                 \
    switch (kind * VECTORS + vectors) {                                                                              \
        WIDTHS(FUSED, rows) WIDTHS(SEPARATE, rows) WIDTHS(PAIRS, rows)                                                  \
    }

/* c_MN = a_MK b_KN, or c + a b: each sum from the first to the last of the inner axis. */
static void multiply(int kind, int add, long M, long N, long K, const float *a, long a_row, long a_inner,
                     const float *b, long b_inner, float *c, long c_row)
{
    for (long j = 0; j < N; j += VECTORS * LANES) {
        int vectors = N - j < VECTORS * LANES ? (N - j + LANES - 1) / LANES : VECTORS;
        Some some = first_of(N - j - LANES * (vectors - 1));
        long r = 0;
        for (; r + ROWS <= M; r += ROWS)
            BLOCKS(ROWS)
        for (; r < M; r++)
            BLOCKS(1)
    }
}

/* As op_product, b not transposed; f0: OVERWRITE, ADD_AFTER or ADD_FIRST; f1: the kind, FUSED or SEPARATE; f2: length of the
   chunks of the inner axis whose sums are added to the sum so far. */
void op_ordered_product(ARGUMENTS)
{
    long part = f[2], a_row = n[0] ? 1 : n[5], a_inner = n[0] ? n[5] : 1;
    for (long k = 0; k < n[4]; k += part)
        multiply(f[1], k ? ADD_AFTER : f[0], n[2], n[3], n[4] - k < part ? n[4] - k : part, p[0] + k * a_inner, a_row, a_inner,
                 p[1] + k * n[6], n[6], p[2], n[7]);
}
#endif

#ifdef __AVX512BF16__
/* Pairs of rows of factors rounded to bf16, each as one number of 32 bits: to_K/2,C of x_KC. */
static void pair_rows(long K, long C, const float *x, long row, float *to, long to_row)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                           5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (long k = 0; k < K; k += 2, x += 2 * row, to += to_row)
        for (long c = 0; c < C; c += 16) {
            Some some = first_of(C - c);
            __m512 low = LOAD(some, x + c), high = k + 1 < K ? LOAD(some, x + row + c) : ALIKE(0);
            __m512i both = _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
            STORE(some, to + c, (__m512)both);
        }
}

/* Pairs of columns: to_R,K/2 of x_RK. */
static void pair_columns(long R, long K, const float *x, long row, float *to)
{
    for (long r = 0; r < R; r++, x += row, to += (K + 1) / 2)
        for (long k = 0; k < K; k += 32) {
            long left = K - k;
            __m512 low = LOAD(first_of(left), x + k), high = LOAD(first_of(left - 16), x + k + 16);
            STORE(first_of((left + 1) / 2), to + k / 2, (__m512)_mm512_cvtne2ps_pbh(high, low));
        }
}

/* Pairs of columns, transposed: to_K/2,R; through `flat`, of R (K + 1) / 2. */
static void pair_columns_transposed(long R, long K, const float *x, long row, float *flat, float *to, long to_row)
{
    long pairs = (K + 1) / 2;
    pair_columns(R, K, x, row, flat);
    for (long k = 0; k < pairs; k++)
        for (long r = 0; r < R; r++)
            to[k * to_row + r] = flat[r * pairs + k];
}

/* As op_product with f0 0 or 1, of factors rounded to bf16, by sums in fp32; temporary arrays: pairs of A and of B, the
   latter's rows of full vectors, and those of B before they are transposed. */
void op_rounded_product(ARGUMENTS)
{
    long M = n[2], N = n[3], K = n[4], pairs = (K + 1) / 2, wide = (N + 15) / 16 * 16;
    if (n[0])
        pair_rows(K, M, p[0], n[5], p[3], M);
    else
        pair_columns(M, K, p[0], n[5], p[3]);
    if (n[1])
        pair_columns_transposed(N, K, p[1], n[6], p[5], p[4], wide);
    else
        pair_rows(K, N, p[1], n[6], p[4], wide);
    multiply(PAIRS, f[0] ? ADD_AFTER : OVERWRITE, M, N, pairs, p[3], n[0] ? 1 : pairs, n[0] ? M : 1, p[4], wide, p[2], n[7]);
}
#endif
