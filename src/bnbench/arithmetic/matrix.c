/* Also included by bf16.c, with PAIRS: there a number is a pair of bf16, and `block` gets its factors from ON_BLOCK. */
#include "matrix.h"

#include "lanes.h"

/* R: one register of WIDTH numbers; with AVX2 half of the sixteen lanes, so that narrow results waste less. HEIGHT_v: rows
   of the largest tile of v registers in width: its sums, v registers of B and one of A fit the 32 (or 16) registers. H:
   half a register for a last one that is at most half full; some processors compute it in half the time. */
#if defined __AVX512F__
typedef V R;
typedef __m256 H;
typedef B Some;
enum { WIDTH = 16, WIDEST = 4, PADDED = 0, HALVES = 1, FEW = 256 };
enum { HEIGHT_1 = 14, HEIGHT_2 = 12, HEIGHT_3 = 8, HEIGHT_4 = 6 };
#define R_SET set
#define R_LOAD load
#define R_STORE store
#ifdef PAIRS
#define R_FMA(a, b, sum) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define H_FMA(a, b, sum) _mm256_dpbf16_ps(sum, (__m256bh)(a), (__m256bh)(b))
#else
#define R_FMA fma_
#define H_FMA _mm256_fmadd_ps
#endif
#define R_LOAD_SOME load_some
#define R_STORE_SOME store_some
#define SOME first
#define H_OF _mm512_castps512_ps256
#define H_LOAD_SOME(p, some) _mm256_maskz_loadu_ps((__mmask8)some, p)
#define H_STORE_SOME(p, x, some) _mm256_mask_storeu_ps(p, (__mmask8)some, x)
#define QUARTER(i, p) _mm_loadu_ps(p[i])
#define QUARTERS(p, i) /* four numbers of each of rows i, i + 4, i + 8, i + 12 */                                        \
    _mm512_insertf32x4(                                                                                                \
        _mm512_insertf32x4(                                                                                            \
            _mm512_insertf32x4(_mm512_castps128_ps512(QUARTER(i, p)), QUARTER(i + 4, p), 1), QUARTER(i + 8, p), 2),    \
        QUARTER(i + 12, p), 3)
#define R_LOW _mm512_unpacklo_ps
#define R_HIGH _mm512_unpackhi_ps
#define R_MIX _mm512_shuffle_ps
#elif defined __AVX2__ && defined __FMA__
typedef __m256 R;
typedef __m256i Some;
enum { WIDTH = 8, WIDEST = 2, PADDED = 1, HALVES = 0, FEW = 24 };
enum { HEIGHT_1 = 12, HEIGHT_2 = 6 };
#define R_SET _mm256_set1_ps
#define R_LOAD _mm256_loadu_ps
#define R_STORE _mm256_storeu_ps
#define R_FMA _mm256_fmadd_ps
#define R_LOAD_SOME _mm256_maskload_ps
#define R_STORE_SOME(p, x, some) _mm256_maskstore_ps(p, some, x)
#define SOME(count) first(count).a
#define QUARTERS(p, i) /* four numbers of each of rows i, i + 4 */                                                       \
    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p[i])), _mm_loadu_ps(p[i + 4]), 1)
#define R_LOW _mm256_unpacklo_ps
#define R_HIGH _mm256_unpackhi_ps
#define R_MIX _mm256_shuffle_ps
#else
typedef V R;
typedef B Some;
enum { WIDTH = 16, WIDEST = 1, PADDED = 0, HALVES = 0, FEW = 24 };
enum { HEIGHT_1 = 1 };
#define R_SET set
#define R_LOAD load
#define R_STORE store
#define R_FMA fma_
#define R_LOAD_SOME load_some
#define R_STORE_SOME store_some
#define SOME first
#endif
#ifndef H_OF
typedef R H;
#define H_OF(x) x
#define H_FMA R_FMA
#define H_LOAD_SOME R_LOAD_SOME
#define H_STORE_SOME R_STORE_SOME
#endif

/* HIGHEST: rows of any tile. BLOCK: of the inner axis, so that a panel of B and a tile of A stay in the cache. FEW: rows of A
   below which copying B takes longer than it saves. PADDED: B is copied rather than read by masks. */
enum { HIGHEST = HEIGHT_1, GROUP = 3, GROUPS = (HIGHEST + GROUP - 1) / GROUP, BLOCK = 384 };
#define UNROLLED _Pragma("GCC unroll 16")
#define EACH_ROW UNROLLED for (int r = 0; r < height; r++)
#define EACH_WHOLE UNROLLED for (int v = 0; v < whole; v++)
#define EACH_GROUP UNROLLED for (int g = 0; g < groups; g++)

/* Rows of A at equal distances. */
typedef struct {
    const float *first;
    long apart;
    const long *offsets;
    long segments, length, step;
} Part;

/* c (+)= A b for `height` rows and `whole` registers of columns, and one more with `last` of them, half a register if `half`.

   Rows are addressed in groups of three from one pointer each, so that no address is loaded in the loop. `adjacent`: rows
   are 1 apart (A transposed), and one pointer is enough; otherwise the inner step is 1. */
INLINE void tile(int height, int whole, int half, int adjacent, const Part *a, const float *b, long b_row, float *c,
                 long c_row, long last, int add_to)
{
    const int groups = adjacent ? 1 : (height + GROUP - 1) / GROUP;
    const long apart = adjacent ? 1 : a->apart, step = adjacent ? a->step : 1, at_last = WIDTH * whole;
    const Some some = SOME(last);
    R sum[HIGHEST][WIDEST], of_b[WIDEST];
    H half_sum[HIGHEST], half_of_b;
    EACH_ROW {
        const float *from = c + r * c_row;
        EACH_WHOLE sum[r][v] = add_to ? R_LOAD(from + WIDTH * v) : R_SET(0.f);
        if (half)
            half_sum[r] = add_to ? H_LOAD_SOME(from + at_last, some) : H_OF(R_SET(0.f));
        else
            sum[r][whole] = add_to ? R_LOAD_SOME(from + at_last, some) : R_SET(0.f);
    }
    for (long s = 0; s < a->segments; s++) {
        const float *row[GROUPS];
        EACH_GROUP row[g] = a->first + a->offsets[s] + g * GROUP * apart;
        for (long k = a->length; k; k--, b += b_row) {
            EACH_WHOLE of_b[v] = R_LOAD(b + WIDTH * v);
            if (half)
                half_of_b = H_LOAD_SOME(b + at_last, some);
            else
                of_b[whole] = PADDED ? R_LOAD(b + at_last) : R_LOAD_SOME(b + at_last, some);
            EACH_ROW {
                R of_a = R_SET(adjacent ? row[0][r] : row[r / GROUP][r % GROUP * apart]);
                EACH_WHOLE sum[r][v] = R_FMA(of_a, of_b[v], sum[r][v]);
                if (half)
                    half_sum[r] = H_FMA(H_OF(of_a), half_of_b, half_sum[r]);
                else
                    sum[r][whole] = R_FMA(of_a, of_b[whole], sum[r][whole]);
            }
            EACH_GROUP {
                row[g] += step;
                __asm__("" : "+r"(row[g])); /* otherwise the compiler makes a pointer of each row, and spills them */
            }
        }
    }
    EACH_ROW {
        float *to = c + r * c_row;
        EACH_WHOLE R_STORE(to + WIDTH * v, sum[r][v]);
        if (half)
            H_STORE_SOME(to + at_last, half_sum[r], some);
        else if (PADDED && last == WIDTH) /* AMD takes long to store half a register by a mask */
            R_STORE(to + at_last, sum[r][whole]);
        else
            R_STORE_SOME(to + at_last, sum[r][whole], some);
    }
}

typedef void Tile(const Part *, const float *, long, float *, long, long, int);
#define TILE(height, vectors)                                                                                          \
    static void tile_##height##_##vectors(const Part *a, const float *b, long b_row, float *c, long c_row, long last,   \
                                          int add_to)                                                                  \
    {                                                                                                                  \
        const int half = HALVES && last <= WIDTH / 2, whole = vectors - 1;                                             \
        switch (2 * half + (a->apart == 1)) {                                                                          \
        case 0: tile(height, whole, 0, 0, a, b, b_row, c, c_row, last, add_to); break;                                 \
        case 1: tile(height, whole, 0, 1, a, b, b_row, c, c_row, last, add_to); break;                                 \
        case 2: tile(height, whole, HALVES, 0, a, b, b_row, c, c_row, last, add_to); break;                            \
        case 3: tile(height, whole, HALVES, 1, a, b, b_row, c, c_row, last, add_to); break;                            \
        }                                                                                                              \
    }
#define FIRST_6(what, vectors)                                                                                         \
    what(1, vectors) what(2, vectors) what(3, vectors) what(4, vectors) what(5, vectors) what(6, vectors)
#define FIRST_8(what, vectors) FIRST_6(what, vectors) what(7, vectors) what(8, vectors)
#define FIRST_12(what, vectors)                                                                                        \
    FIRST_8(what, vectors) what(9, vectors) what(10, vectors) what(11, vectors) what(12, vectors)
#define FIRST_14(what, vectors) FIRST_12(what, vectors) what(13, vectors) what(14, vectors)
#define NAME(height, vectors) tile_##height##_##vectors,
#if defined __AVX512F__
FIRST_14(TILE, 1) FIRST_12(TILE, 2) FIRST_8(TILE, 3) FIRST_6(TILE, 4)
static Tile *const TILES[WIDEST][HIGHEST] = {{FIRST_14(NAME, 1)}, {FIRST_12(NAME, 2)}, {FIRST_8(NAME, 3)}, {FIRST_6(NAME, 4)}};
static const int HEIGHTS[WIDEST] = {HEIGHT_1, HEIGHT_2, HEIGHT_3, HEIGHT_4};
#elif defined __AVX2__ && defined __FMA__
FIRST_12(TILE, 1) FIRST_6(TILE, 2)
static Tile *const TILES[WIDEST][HIGHEST] = {{FIRST_12(NAME, 1)}, {FIRST_6(NAME, 2)}};
static const int HEIGHTS[WIDEST] = {HEIGHT_1, HEIGHT_2};
#else
TILE(1, 1)
static Tile *const TILES[WIDEST][HIGHEST] = {{NAME(1, 1)}};
static const int HEIGHTS[WIDEST] = {HEIGHT_1};
#endif

/* to[k][r] = row r of A at k, for WIDTH rows; those from `count` on repeat the first, their results are not stored. */
static void turn(const float *const *rows, long count, long length, long step, float *to, long to_row)
{
    const float *row[WIDTH];
    for (int r = 0; r < WIDTH; r++)
        row[r] = rows[r < count ? r : 0];
    long k = 0;
#ifdef QUARTERS
    for (; step == 1 && k + 4 <= length; k += 4, to += 4 * to_row) {
        R a = QUARTERS(row, 0), b = QUARTERS(row, 1), c = QUARTERS(row, 2), d = QUARTERS(row, 3);
        R low = R_LOW(a, b), high = R_HIGH(a, b), low_2 = R_LOW(c, d), high_2 = R_HIGH(c, d);
        R_STORE(to, R_MIX(low, low_2, 0x44));
        R_STORE(to + to_row, R_MIX(low, low_2, 0xEE));
        R_STORE(to + 2 * to_row, R_MIX(high, high_2, 0x44));
        R_STORE(to + 3 * to_row, R_MIX(high, high_2, 0xEE));
        for (int r = 0; r < WIDTH; r++)
            row[r] += 4;
    }
#endif
    for (long left = length - k, i = 0; i < left; i++, to += to_row)
        for (int r = 0; r < WIDTH; r++)
            to[r] = row[r][i * step];
}

/* Copy `vectors` registers of columns of b, so that its rows are next to each other. */
static void copy(long K, int vectors, const float *b, long b_row, Some some, float *to)
{
    for (long k = 0; k < K; k++, b += b_row, to += WIDTH * vectors) {
        for (int v = 0; v + 1 < vectors; v++)
            R_STORE(to + WIDTH * v, R_LOAD(b + WIDTH * v));
        R_STORE(to + WIDTH * (vectors - 1), R_LOAD_SOME(b + WIDTH * (vectors - 1), some));
    }
}

INLINE const float *row_of(const Rows *a, long i) { return a->rows ? a->rows[i] : a->first + i * a->apart; }

/* Number of rows from row i on that are at equal distances. */
static long alike(const Rows *a, long i, long M)
{
    long r = i + 1;
    if (!a->rows)
        return M - i;
    while (r < M && a->rows[r] - a->rows[r - 1] == a->rows[i + 1] - a->rows[i])
        r++;
    return r - i;
}

/* c (+)= A b for one panel of columns: as few tiles as possible, of nearly equal heights. Rows at unequal distances, as at
   the ends of small images, are copied. */
static void panel(const Rows *a, long M, int vectors, const float *b, long b_row, float *c, long c_row, long last,
                  int add_to)
{
    float copied[BLOCK * 16] __attribute__((aligned(64)));
    const long most = HEIGHTS[vectors - 1], none = 0;
    for (long i = 0; i < M;) {
        long count = alike(a, i, M);
        Part part = {row_of(a, i), count > 1 ? row_of(a, i + 1) - row_of(a, i) : 1, a->offsets, a->segments, a->length, a->step};
        if ((part.apart != 1 && a->step != 1) || (count * vectors < 4 && count < M - i)) {
            const float *rows[16];
            count = M - i < most ? M - i : most;
            for (long s = 0; s < a->segments; s++)
                for (long r = 0; r < count; r += WIDTH) {
                    for (long q = r; q < count && q < r + WIDTH; q++)
                        rows[q - r] = row_of(a, i + q) + a->offsets[s];
                    turn(rows, count - r, a->length, a->step, copied + s * a->length * 16 + r, 16);
                }
            part = (Part){copied, 1, &none, 1, a->segments * a->length, 16};
        }
        for (long tiles = (count + most - 1) / most; tiles; tiles--) {
            long height = (count + tiles - 1) / tiles;
            TILES[vectors - 1][height - 1](&part, b, b_row, c + i * c_row, c_row, last, add_to);
            i += height, count -= height, part.first += height * part.apart;
        }
    }
}

/* c (+)= A b, or A b transposed, for an inner axis of at most BLOCK. */
static void block(const Rows *a, long M, long N, const float *b, long b_row, int turned, float *c, long c_row, int add_to,
                  float *work)
{
    const long K = a->segments * a->length, registers = (N + WIDTH - 1) / WIDTH;
    long panels = (registers + WIDEST - 1) / WIDEST;
    for (long j = 0, v = 0; panels; panels--, j += WIDTH * v) {
        v = (registers - j / WIDTH + panels - 1) / panels;
        const long columns = N - j < WIDTH * v ? N - j : WIDTH * v, row = WIDTH * v;
        const long last = columns - WIDTH * (v - 1);
        if (turned) {
            for (long at = 0; at < columns; at += WIDTH) {
                const float *rows[WIDTH];
                for (long r = 0; r < WIDTH && at + r < columns; r++)
                    rows[r] = b + (j + at + r) * b_row;
                turn(rows, columns - at, K, 1, work + at, row);
            }
        } else if ((PADDED && columns < row) || (M >= FEW && b_row > row))
            copy(K, v, b + j, b_row, SOME(last), work);
        else {
            panel(a, M, v, b + j, b_row, c + j, c_row, last, add_to);
            continue;
        }
        panel(a, M, v, work, row, c + j, c_row, last, add_to);
    }
}

#ifndef ON_BLOCK
#define ON_BLOCK block
#endif

/* The whole inner axis: several segments at a time, or a segment in nearly equal parts. */
static void blocks(const Rows *a, long M, long N, const float *b, long b_row, int turned, float *c, long c_row,
                   int add_to, float *work)
{
    const long inner = turned ? 1 : b_row, together = a->length && a->length < BLOCK ? BLOCK / a->length : 1;
    for (long s = 0; s < a->segments; s += together) {
        long parts = (a->length + BLOCK - 1) / BLOCK, k = 0;
        do {
            Rows part = *a;
            long offsets[BLOCK];
            part.segments = a->segments - s < together ? a->segments - s : together;
            part.length = parts ? ((a->length - k + parts - 1) / parts + 31) / 32 * 32 : 0;
            part.length = part.length < a->length - k ? part.length : a->length - k;
            part.offsets = offsets;
            for (long i = 0; i < part.segments; i++)
                offsets[i] = a->offsets[s + i] + k * a->step;
            ON_BLOCK(&part, M, N, b + (s * a->length + k) * inner, b_row, turned, c, c_row, add_to || s || k, work);
            k += part.length;
        } while (--parts > 0);
    }
}

void product_of_rows(const Rows *a, long M, long N, const float *b, long b_row, float *c, long c_row, int add_to,
                     float *work)
{
    blocks(a, M, N, b, b_row, 0, c, c_row, add_to, work);
}

void product(int a_transposed, int b_transposed, long M, long N, long K, const float *a, long lda, const float *b,
             long ldb, float *c, long ldc, int add_to, float *work)
{
    const long none = 0;
    Rows all = {0, &none, 1, K, a_transposed ? lda : 1, a, a_transposed ? 1 : lda};
    blocks(&all, M, N, b, ldb, b_transposed, c, ldc, add_to, work);
}
