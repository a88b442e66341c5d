/* Products of factors rounded to bf16 with sums in fp32: `precision: fast`. The same arguments as the exact products, and
   more work.

   A block of the inner axis is rounded and its elements are paired, one pair to each 32 bits; then either the tiles of
   matrix.c multiply pairs (AVX512-BF16), or AMX does. Which one, `fast_use` says; at first none, and then the exact product
   is computed. An element of the result depends on its row of A, its column of B and the inner size alone. */
#include "lanes.h"
#include "matrix.h"
#include "ops.h"

#if defined __linux__ && defined __x86_64__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Only the functions of this file may use these instructions; processors without them load the rest. */
#if defined __AVX512F__ && defined __clang__ && __clang_major__ >= 12
#pragma clang attribute push(__attribute__((target("avx512bf16,amx-tile,amx-bf16"))), apply_to = function)
#define PAIRS
#elif defined __AVX512F__ && !defined __clang__ && defined __GNUC__ && __GNUC__ >= 11
#pragma GCC target("avx512bf16,amx-tile,amx-bf16")
#define PAIRS
#endif

static void rounded_block(const Rows *a, long M, long N, const float *b, long b_row, int turned, float *c, long c_row,
                          int add_to, float *work);
#define ON_BLOCK rounded_block
#define product product_rounded
#define product_of_rows product_of_rows_rounded
#include "matrix.c"
#undef product
#undef product_of_rows

enum { NONE, AVX512BF16, AMX, EMULATED }; /* as in fast.py; EMULATED: the operations of AMX in plain C, for tests */
static int used = NONE;
enum { PAIRS_OF_BLOCK = BLOCK / 2 };

/* --- rounding and pairs ---------------------------------------------------------------------------------------- */

INLINE uint32_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40;
}

/* to_P of the K numbers of x, P = K / 2 rounded up to whole sixteens, the rest zeros. */
static void pair_row(long K, const float *x, float *to)
{
    for (long k = 0; k < K; k += 32, to += 16) {
#ifdef PAIRS
        if (used != EMULATED) {
            V low = load_some(x + k, first(K - k)), high = load_some(x + k + 16, first(K - k - 16));
            store(to, (V)_mm512_cvtne2ps_pbh(high, low));
            continue;
        }
#endif
        for (long i = 0; i < 16; i++) {
            long at = k + 2 * i;
            uint32_t pair = (at < K ? rounded(x[at]) : 0) | (at + 1 < K ? rounded(x[at + 1]) : 0) << 16;
            memcpy(to + i, &pair, sizeof pair);
        }
    }
}

/* to_C, whole sixteens: pairs of a number of x and the number of y, or of zero, in the same place. */
static void pair_columns(long C, const float *x, const float *y, float *to)
{
    for (long c = 0; c < C; c += 16) {
#ifdef PAIRS
        if (used != EMULATED) {
            V low = load_some(x + c, first(C - c)), high = y ? load_some(y + c, first(C - c)) : set(0.f);
            I l = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low));
            I h = _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high)), 16);
            store(to + c, from_bits(or_integer(l, h)));
            continue;
        }
#endif
        for (long i = c; i < c + 16; i++) {
            uint32_t pair = i < C ? rounded(x[i]) | (y ? rounded(y[i]) : 0) << 16 : 0;
            memcpy(to + i, &pair, sizeof pair);
        }
    }
}

/* Pairs of a factor: `lines` lines, each at equal distances of `row`. */
typedef struct {
    float *pairs;
    long row;
    int by_line; /* whether a line is one of the factor's rows (A) or columns (B), or else one pair of the inner axis */
} Pairs;

INLINE long sixteens(long count) { return (count + 15) / 16 * 16; }

/* Of A: by rows if the numbers of a row are neighbours; otherwise the rows are. */
static Pairs pairs_of_a(const Rows *a, long M, float *to)
{
    const long K = a->segments * a->length;
    if (a->step == 1) {
        float all[BLOCK];
        const long P = sixteens((K + 1) / 2);
        for (long i = 0; i < M; i++) {
            const float *row = row_of(a, i) + a->offsets[0];
            for (long s = 0; a->segments > 1 && s < a->segments; s++)
                memcpy(all + s * a->length, row_of(a, i) + a->offsets[s], a->length * sizeof(float));
            pair_row(K, a->segments > 1 ? all : row, to + i * P);
        }
        return (Pairs){to, P, 1};
    }
    const float *const begin = row_of(a, 0);
    for (long k = 0; k < K; k += 2) {
        const float *x = begin + a->offsets[k / a->length] + k % a->length * a->step;
        const float *y = begin + a->offsets[(k + 1) % K / a->length] + (k + 1) % a->length * a->step;
        pair_columns(M, x, k + 1 < K ? y : 0, to + k / 2 * sixteens(M));
    }
    return (Pairs){to, sixteens(M), 0};
}

static Pairs pairs_of_b(long N, long K, const float *b, long b_row, int turned, float *to)
{
    const long row = sixteens(turned ? (K + 1) / 2 : N);
    if (turned)
        for (long j = 0; j < N; j++)
            pair_row(K, b + j * b_row, to + j * row);
    else
        for (long k = 0; k < K; k += 2)
            pair_columns(N, b + k * b_row, k + 1 < K ? b + (k + 1) * b_row : 0, to + k / 2 * row);
    return (Pairs){to, row, turned};
}

/* to_CR of from_RC, both with whole sixteens in a row; rows from R on become zeros. */
static Pairs transposed(Pairs from, long R, long C, float *to)
{
    const long row = sixteens(R);
    for (long r = 0; r < row; r += WIDTH) {
        const float *rows[WIDTH];
        if (r >= R) {
            for (long c = 0; c < C; c++)
                memset(to + c * row + r, 0, WIDTH * sizeof(float));
            continue;
        }
        for (long i = 0; i < WIDTH && r + i < R; i++)
            rows[i] = from.pairs + (r + i) * from.row;
        turn(rows, R - r, C, 1, to + r, row);
        for (long i = R - r; i < WIDTH; i++)
            for (long c = 0; c < C; c++)
                to[c * row + r + i] = 0;
    }
    return (Pairs){to, row, !from.by_line};
}

/* --- AMX --------------------------------------------------------------------------------------------------------- */

/* c_MN += a_MP b_PN in tiles of 16 x 16, four sums at once; a and b have whole tiles on the inner axis, their last rows and
   columns need not be there as only those of c are read. Order: TDPBF16PS, 16 pairs at a time, ascending. */
#define PRODUCT_OF_TILES(name, ZERO, LOAD, STORE, DOT)                                                                 \
    static void name(long M, long N, long P, Pairs a, Pairs b, float *c, long c_row, int add_to)                       \
    {                                                                                                                  \
        float edge[256] = {0};                                                                                         \
        for (long i = 0; i < M; i += 32)                                                                               \
            for (long j = 0; j < N; j += 32) {                                                                         \
                const int low = i + 16 < M, right = j + 16 < N;                                                        \
                SUM_BEGINS(0, 0, 0, ZERO, LOAD)                                                                        \
                if (right) { SUM_BEGINS(1, 0, 16, ZERO, LOAD) }                                                        \
                if (low) { SUM_BEGINS(2, 16, 0, ZERO, LOAD) }                                                          \
                if (low && right) { SUM_BEGINS(3, 16, 16, ZERO, LOAD) }                                                \
                for (long p = 0; p < P; p += 16) {                                                                     \
                    LOAD(4, a.pairs + i * a.row + p, 4 * a.row);                                                       \
                    LOAD(6, b.pairs + p * b.row + j, 4 * b.row);                                                       \
                    DOT(0, 4, 6);                                                                                      \
                    if (right) {                                                                                       \
                        LOAD(7, b.pairs + p * b.row + j + 16, 4 * b.row);                                              \
                        DOT(1, 4, 7);                                                                                  \
                    }                                                                                                  \
                    if (low) {                                                                                         \
                        LOAD(5, a.pairs + (i + 16) * a.row + p, 4 * a.row);                                            \
                        DOT(2, 5, 6);                                                                                  \
                    }                                                                                                  \
                    if (low && right)                                                                                  \
                        DOT(3, 5, 7);                                                                                  \
                }                                                                                                      \
                SUM_ENDS(0, 0, 0, STORE)                                                                               \
                if (right) { SUM_ENDS(1, 0, 16, STORE) }                                                               \
                if (low) { SUM_ENDS(2, 16, 0, STORE) }                                                                 \
                if (low && right) { SUM_ENDS(3, 16, 16, STORE) }                                                       \
            }                                                                                                          \
    }
#define SUM_BEGINS(tile, down, across, ZERO, LOAD)                                                                     \
    if (!add_to) {                                                                                                     \
        ZERO(tile);                                                                                                    \
    } else if (i + down + 16 <= M && j + across + 16 <= N) {                                                           \
        LOAD(tile, c + (i + down) * c_row + j + across, 4 * c_row);                                                    \
    } else {                                                                                                           \
        edges(M - i - down, N - j - across, c + (i + down) * c_row + j + across, c_row, edge, 16);                     \
        LOAD(tile, edge, 64);                                                                                          \
    }
#define SUM_ENDS(tile, down, across, STORE)                                                                            \
    if (i + down + 16 <= M && j + across + 16 <= N) {                                                                  \
        STORE(tile, c + (i + down) * c_row + j + across, 4 * c_row);                                                   \
    } else {                                                                                                           \
        STORE(tile, edge, 64);                                                                                         \
        edges(M - i - down, N - j - across, edge, 16, c + (i + down) * c_row + j + across, c_row);                     \
    }

/* Copy the part of a tile that is within the result. */
static void edges(long rows, long columns, const float *from, long from_row, float *to, long to_row)
{
    for (long r = 0; r < rows && r < 16; r++)
        memcpy(to + r * to_row, from + r * from_row, (columns < 16 ? columns : 16) * sizeof(float));
}

/* The operations in plain C, after Intel's Software Developer's Manual; `row` in bytes. Subnormal numbers are kept. */
static _Thread_local float emulated[8][16][16];
static void emulated_load(int tile, const float *from, long row)
{
    for (int r = 0; r < 16; r++)
        memcpy(emulated[tile][r], (const char *)from + r * row, 64);
}
static void emulated_store(int tile, float *to, long row)
{
    for (int r = 0; r < 16; r++)
        memcpy((char *)to + r * row, emulated[tile][r], 64);
}
static void emulated_dot(int c, int a, int b)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            float sum[2] = {0, 0};
            for (int k = 0; k < 16; k++) {
                uint32_t x, y;
                memcpy(&x, &emulated[a][m][k], 4), memcpy(&y, &emulated[b][k][n], 4);
                for (int half = 0; half < 2; half++) {
                    uint32_t of_x = half ? x & 0xffff0000 : x << 16, of_y = half ? y & 0xffff0000 : y << 16;
                    float f, g;
                    memcpy(&f, &of_x, 4), memcpy(&g, &of_y, 4);
                    sum[half] = fmaf(f, g, sum[half]);
                }
            }
            emulated[c][m][n] += sum[0] + sum[1];
        }
}
#define EMULATED_ZERO(tile) memset(emulated[tile], 0, sizeof emulated[tile])
PRODUCT_OF_TILES(product_of_emulated_tiles, EMULATED_ZERO, emulated_load, emulated_store, emulated_dot)

#ifdef PAIRS
/* Layout of LDTILECFG's operand: palette 1, eight tiles of 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_of_row[16];
    uint8_t rows[16];
} EIGHT_TILES __attribute__((aligned(64))) = {
    1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
PRODUCT_OF_TILES(product_of_amx_tiles, _tile_zero, _tile_loadd, _tile_stored, _tile_dpbf16ps)
#endif

/* --- products ---------------------------------------------------------------------------------------------------- */

static void rounded_block(const Rows *a, long M, long N, const float *b, long b_row, int turned, float *c, long c_row,
                          int add_to, float *work)
{
    const long K = a->segments * a->length, P = (K + 1) / 2;
    float *const to_a = work + 64 * (BLOCK + 1), *const to_b = to_a + PAIRS_OF_BLOCK * sixteens(M);
    float *const turned_a = to_b + PAIRS_OF_BLOCK * sixteens(N), *const turned_b = turned_a + PAIRS_OF_BLOCK * sixteens(M);
    Pairs x = pairs_of_a(a, M, to_a), y = pairs_of_b(N, K, b, b_row, turned, to_b);
    if (used == AVX512BF16) {
        const long none = 0;
        Rows of_x = {0, &none, 1, P, x.by_line ? 1 : x.row, x.pairs, x.by_line ? x.row : 1};
        block(&of_x, M, N, y.pairs, y.row, y.by_line, c, c_row, add_to, work);
        return;
    }
    const long whole = sixteens(P);
    for (long p = P; !x.by_line && p < whole; p++)
        memset(x.pairs + p * x.row, 0, x.row * sizeof(float));
    for (long p = P; !y.by_line && p < whole; p++)
        memset(y.pairs + p * y.row, 0, y.row * sizeof(float));
    if (!x.by_line)
        x = transposed(x, whole, M, turned_a);
    if (y.by_line)
        y = transposed(y, N, whole, turned_b);
#ifdef PAIRS
    if (used == AMX) {
        _tile_loadconfig(&EIGHT_TILES);
        product_of_amx_tiles(M, N, whole, x, y, c, c_row, add_to);
        _tile_release();
        return;
    }
#endif
    product_of_emulated_tiles(M, N, whole, x, y, c, c_row, add_to);
}

/* Choose what the fast products use; return whether it can be used here. AMX needs the kernel's permission, once a process. */
int fast_use(int kind)
{
    int can = kind == NONE || kind == EMULATED;
#ifdef PAIRS
    can = can || kind == AVX512BF16;
#if defined __linux__ && defined __x86_64__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    can = can || (kind == AMX && !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA));
#endif
#endif
    if (can)
        used = kind;
    return can;
}

void product_of_rows_fast(const Rows *a, long M, long N, const float *b, long b_row, float *c, long c_row, int add_to,
                          float *work)
{
    const int neighbours = M == 1 || (alike(a, 0, M) == M && row_of(a, 1) - row_of(a, 0) == 1);
    (used && (a->step == 1 || neighbours) ? product_of_rows_rounded : product_of_rows)(a, M, N, b, b_row, c, c_row,
                                                                                      add_to, work);
}

void product_fast(int a_transposed, int b_transposed, long M, long N, long K, const float *a, long lda, const float *b,
                  long ldb, float *c, long ldc, int add_to, float *work)
{
    (used ? product_rounded : product)(a_transposed, b_transposed, M, N, K, a, lda, b, ldb, c, ldc, add_to, work);
}

/* As op_product. Work: 64 x 385 + 384 (M + N + 32) numbers. */
OP(op_product_fast)
{
    product_fast(n[0], n[1], n[2], n[3], n[4], p[0], n[5], p[1], n[6], p[2], n[7], f[0] != 0, p[3]);
}

/* As op_linear; work as op_product_fast. */
OP(op_linear_fast)
{
    (void)f;
    for (long i = 0; i < n[0]; i++)
        memcpy(p[3] + i * n[1], p[2], n[1] * sizeof(float));
    product_fast(0, 0, n[0], n[1], n[2], p[0], n[2], p[1], n[1], p[3], n[1], 1, p[4]);
}

#if defined PAIRS && defined __clang__
#pragma clang attribute pop
#endif
