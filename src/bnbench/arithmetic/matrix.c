#include "matrix.h"

#include "lanes.h"

/* R: one register of WIDTH numbers; with AVX2 half of the sixteen lanes, so that narrow results waste less. HEIGHT_v: rows of
   the largest tile of v registers in width, whose sums, v registers of B and one of A fit the 32 (or 16) registers. */
#if defined __AVX512F__
typedef V R;
typedef B Some;
enum { WIDTH = 16, WIDEST = 4, HEIGHT_1 = 14, HEIGHT_2 = 12, HEIGHT_3 = 8, HEIGHT_4 = 6, PADDED = 0 };
#define R_SET set
#define R_LOAD load
#define R_STORE store
#define R_FMA fma_
#define R_LOAD_SOME load_some
#define R_STORE_SOME store_some
#define SOME first
#define QUARTERS(p, at) /* four numbers of each of rows at, at + 4, at + 8, at + 12 */                                 \
    _mm512_insertf32x4(_mm512_insertf32x4(_mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(p[at])),              \
                                                             _mm_loadu_ps(p[at + 4]), 1),                              \
                                          _mm_loadu_ps(p[at + 8]), 2),                                                 \
                       _mm_loadu_ps(p[at + 12]), 3)
#define R_LOW _mm512_unpacklo_ps
#define R_HIGH _mm512_unpackhi_ps
#define R_MIX _mm512_shuffle_ps
#elif defined __AVX2__ && defined __FMA__
typedef __m256 R;
typedef __m256i Some;
enum { WIDTH = 8, WIDEST = 2, HEIGHT_1 = 12, HEIGHT_2 = 6, PADDED = 1 };
#define R_SET _mm256_set1_ps
#define R_LOAD _mm256_loadu_ps
#define R_STORE _mm256_storeu_ps
#define R_FMA _mm256_fmadd_ps
#define R_LOAD_SOME _mm256_maskload_ps
#define R_STORE_SOME(to, x, some) _mm256_maskstore_ps(to, some, x)
#define SOME(count) first(count).a
#define QUARTERS(p, at) /* four numbers of each of rows at, at + 4 */                                                  \
    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p[at])), _mm_loadu_ps(p[at + 4]), 1)
#define R_LOW _mm256_unpacklo_ps
#define R_HIGH _mm256_unpackhi_ps
#define R_MIX _mm256_shuffle_ps
#else
typedef V R;
typedef B Some;
enum { WIDTH = 16, WIDEST = 1, HEIGHT_1 = 1, PADDED = 0 };
#define R_SET set
#define R_LOAD load
#define R_STORE store
#define R_FMA fma_
#define R_LOAD_SOME load_some
#define R_STORE_SOME store_some
#define SOME first
#endif

#define UNROLLED _Pragma("GCC unroll 16")
enum { HIGHEST = HEIGHT_1, GROUP = 3, GROUPS = (HIGHEST + GROUP - 1) / GROUP };
enum { BLOCK = 384 }; /* of the inner axis: a panel of B and a tile of A stay in the cache */
enum { FEW = 24 };    /* rows of A below which copying B takes longer than it saves */

/* Rows of A at equal distances, a part of their inner axis. */
typedef struct {
    const float *first;
    long apart;
    const long *offsets;
    long segments, length, step;
} Part;

/* c (+)= A b for `height` rows and `vectors` registers of columns, the last with `some` of them.

   Rows are addressed in groups of three from one pointer each, so that no address is loaded in the loop. `adjacent`: rows
   are 1 apart (A transposed), and one pointer is enough; otherwise the inner step is 1. */
INLINE void tile(int height, int vectors, int adjacent, const Part *a, const float *b, long b_row, float *c, long c_row,
                 Some some, int add_to)
{
    R sum[HIGHEST][WIDEST], of_b[WIDEST];
    const long apart = adjacent ? 1 : a->apart, step = adjacent ? a->step : 1;
    UNROLLED for (int r = 0; r < height; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            sum[r][v] = !add_to ? R_SET(0.f)
                        : v + 1 < vectors ? R_LOAD(c + r * c_row + WIDTH * v)
                                          : R_LOAD_SOME(c + r * c_row + WIDTH * v, some);
    for (long s = 0; s < a->segments; s++) {
        const float *row[GROUPS];
        UNROLLED for (int g = 0; g < (adjacent ? 1 : (height + GROUP - 1) / GROUP); g++)
            row[g] = a->first + a->offsets[s] + g * GROUP * apart;
        for (long k = a->length; k; k--, b += b_row) {
            UNROLLED for (int v = 0; v < vectors; v++)
                of_b[v] = PADDED || v + 1 < vectors ? R_LOAD(b + WIDTH * v) : R_LOAD_SOME(b + WIDTH * v, some);
            UNROLLED for (int r = 0; r < height; r++) {
                R of_a = R_SET(adjacent ? row[0][r] : row[r / GROUP][r % GROUP * apart]);
                UNROLLED for (int v = 0; v < vectors; v++)
                    sum[r][v] = R_FMA(of_a, of_b[v], sum[r][v]);
            }
            UNROLLED for (int g = 0; g < (adjacent ? 1 : (height + GROUP - 1) / GROUP); g++) {
                row[g] += step;
                __asm__("" : "+r"(row[g])); /* otherwise the compiler makes a pointer of each row, and spills them */
            }
        }
    }
    UNROLLED for (int r = 0; r < height; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            if (v + 1 < vectors)
                R_STORE(c + r * c_row + WIDTH * v, sum[r][v]);
            else
                R_STORE_SOME(c + r * c_row + WIDTH * v, sum[r][v], some);
}

typedef void Tile(const Part *, const float *, long, float *, long, Some, int);
#define TILE(height, vectors)                                                                                          \
    static void tile_##height##_##vectors(const Part *a, const float *b, long b_row, float *c, long c_row, Some some,    \
                                          int add_to)                                                                  \
    {                                                                                                                  \
        if (a->apart == 1)                                                                                             \
            tile(height, vectors, 1, a, b, b_row, c, c_row, some, add_to);                                             \
        else                                                                                                           \
            tile(height, vectors, 0, a, b, b_row, c, c_row, some, add_to);                                             \
    }
#ifdef __AVX512F__
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(7, 1) TILE(8, 1) TILE(9, 1) TILE(10, 1)
TILE(11, 1) TILE(12, 1) TILE(13, 1) TILE(14, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2) TILE(7, 2) TILE(8, 2) TILE(9, 2) TILE(10, 2)
TILE(11, 2) TILE(12, 2)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3) TILE(5, 3) TILE(6, 3) TILE(7, 3) TILE(8, 3)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4)
static Tile *const TILES[WIDEST][HIGHEST] = {
    {tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1, tile_7_1, tile_8_1, tile_9_1, tile_10_1, tile_11_1,
     tile_12_1, tile_13_1, tile_14_1},
    {tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2, tile_7_2, tile_8_2, tile_9_2, tile_10_2, tile_11_2,
     tile_12_2},
    {tile_1_3, tile_2_3, tile_3_3, tile_4_3, tile_5_3, tile_6_3, tile_7_3, tile_8_3},
    {tile_1_4, tile_2_4, tile_3_4, tile_4_4, tile_5_4, tile_6_4}};
static const int HEIGHTS[WIDEST] = {HEIGHT_1, HEIGHT_2, HEIGHT_3, HEIGHT_4};
#elif defined __AVX2__ && defined __FMA__
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(7, 1) TILE(8, 1) TILE(9, 1) TILE(10, 1)
TILE(11, 1) TILE(12, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)
static Tile *const TILES[WIDEST][HIGHEST] = {
    {tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1, tile_7_1, tile_8_1, tile_9_1, tile_10_1, tile_11_1,
     tile_12_1},
    {tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2}};
static const int HEIGHTS[WIDEST] = {HEIGHT_1, HEIGHT_2};
#else
TILE(1, 1)
static Tile *const TILES[WIDEST][HIGHEST] = {{tile_1_1}};
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
static void panel(const Rows *a, long M, int vectors, const float *b, long b_row, float *c, long c_row, Some some,
                  int add_to)
{
    float copied[BLOCK * 16] __attribute__((aligned(64)));
    const long most = HEIGHTS[vectors - 1], none = 0;
    for (long i = 0; i < M;) {
        long count = alike(a, i, M);
        Part part = {row_of(a, i), count > 1 ? row_of(a, i + 1) - row_of(a, i) : 1, a->offsets, a->segments, a->length, a->step};
        if ((part.apart != 1 && a->step != 1) || (count * vectors < 8 && count < M - i)) {
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
            TILES[vectors - 1][height - 1](&part, b, b_row, c + i * c_row, c_row, some, add_to);
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
        const Some some = SOME(columns - WIDTH * (v - 1));
        if (turned) {
            for (long at = 0; at < columns; at += WIDTH) {
                const float *rows[WIDTH];
                for (long r = 0; r < WIDTH && at + r < columns; r++)
                    rows[r] = b + (j + at + r) * b_row;
                turn(rows, columns - at, K, 1, work + at, row);
            }
        } else if ((PADDED && columns < row) || (M >= FEW && b_row > row))
            copy(K, v, b + j, b_row, some, work);
        else {
            panel(a, M, v, b + j, b_row, c + j, c_row, some, add_to);
            continue;
        }
        panel(a, M, v, work, row, c + j, c_row, some, add_to);
    }
}

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
            part.length = parts ? (a->length - k + parts - 1) / parts : 0;
            part.offsets = offsets;
            for (long i = 0; i < part.segments; i++)
                offsets[i] = a->offsets[s + i] + k * a->step;
            block(&part, M, N, b + (s * a->length + k) * inner, b_row, turned, c, c_row, add_to || s || k, work);
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
