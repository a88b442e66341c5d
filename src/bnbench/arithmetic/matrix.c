#include "matrix.h"

#include "lanes.h"

#define UNROLLED _Pragma("GCC unroll 16")
#define WIDE 4 /* vectors of columns of a panel */
#define PANEL (WIDE * LANES)
#ifdef __AVX512F__
enum { ROWS_1 = 14, ROWS_2 = 12, ROWS_3 = 8, ROWS_4 = 6 }; /* rows of a tile of so many vectors: 32 registers hold it */
#else
enum { ROWS_1 = 6, ROWS_2 = 3, ROWS_3 = 2, ROWS_4 = 1 }; /* 16 registers of half a vector */
#endif

/* A tile of `height` rows and `vectors` vectors of columns, the last with `some` of them. */
INLINE void tile(int height, int vectors, const Rows *a, long i, const float *b, long b_row, float *c, long c_row, B some,
                 int add_to)
{
    V sum[16][WIDE], of_b[WIDE];
    const B all = first(LANES);
    const float *row[16];
    UNROLLED for (int r = 0; r < height; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            sum[r][v] = add_to ? load_some(c + r * c_row + LANES * v, v + 1 < vectors ? all : some) : set(0.f);
    for (long s = 0; s < a->segments; s++) {
        UNROLLED for (int r = 0; r < height; r++)
            row[r] = a->rows[i + r] + a->offsets[s];
        const long step = a->step;
        for (long k = 0; k < a->length; k++, b += b_row) {
            UNROLLED for (int v = 0; v < vectors; v++)
                of_b[v] = load_some(b + LANES * v, v + 1 < vectors ? all : some);
            UNROLLED for (int r = 0; r < height; r++) {
                V of_a = set(row[r][k * step]);
                UNROLLED for (int v = 0; v < vectors; v++)
                    sum[r][v] = fma_(of_a, of_b[v], sum[r][v]);
            }
        }
    }
    UNROLLED for (int r = 0; r < height; r++)
        UNROLLED for (int v = 0; v < vectors; v++)
            store_some(c + r * c_row + LANES * v, sum[r][v], v + 1 < vectors ? all : some);
}

#define TILE(height, vectors)                                                                                        \
    case height:                                                                                                     \
        tile(height, vectors, a, i, b, b_row, c + i * c_row, c_row, some, add_to);                                   \
        break;
#define COLUMN(vectors, most, ...)                                                                                   \
    static void column_##vectors(const Rows *a, long M, const float *b, long b_row, float *c, long c_row, B some,    \
                                 int add_to)                                                                         \
    {                                                                                                                \
        for (long i = 0, height; i < M; i += height) {                                                               \
            height = M - i < most ? M - i : most;                                                                    \
            switch (height) { __VA_ARGS__ }                                                                          \
        }                                                                                                            \
    }
#ifdef __AVX512F__
COLUMN(1, ROWS_1, TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1) TILE(7, 1) TILE(8, 1) TILE(9, 1)
       TILE(10, 1) TILE(11, 1) TILE(12, 1) TILE(13, 1) TILE(14, 1))
COLUMN(2, ROWS_2, TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2) TILE(7, 2) TILE(8, 2) TILE(9, 2)
       TILE(10, 2) TILE(11, 2) TILE(12, 2))
COLUMN(3, ROWS_3, TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3) TILE(5, 3) TILE(6, 3) TILE(7, 3) TILE(8, 3))
COLUMN(4, ROWS_4, TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4))
#else
COLUMN(1, ROWS_1, TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1))
COLUMN(2, ROWS_2, TILE(1, 2) TILE(2, 2) TILE(3, 2))
COLUMN(3, ROWS_3, TILE(1, 3) TILE(2, 3))
COLUMN(4, ROWS_4, TILE(1, 4))
#endif
typedef void Column(const Rows *, long, const float *, long, float *, long, B, int);
static Column *const COLUMNS[] = {column_1, column_2, column_3, column_4};
#ifdef __AVX512F__
enum { MOST = WIDE };
#else
enum { MOST = 1 }; /* a tile of 6 x 16 numbers fits the registers, a wider one has fewer rows */
#endif

/* Copy `vectors` vectors of columns of b, so that its rows are next to each other. */
static void packed(long K, int vectors, const float *b, long b_row, B some, float *to)
{
    for (long k = 0; k < K; k++, b += b_row, to += LANES * vectors)
        for (int v = 0; v < vectors; v++)
            store(to + LANES * v, load_some(b + LANES * v, v + 1 < vectors ? first(LANES) : some));
}

/* The same of b transposed: column j of b is row j in memory. */
static void packed_turned(long K, int vectors, long columns, const float *b, long ldb, float *to)
{
    for (long j = 0; j < LANES * vectors; j++)
        if (j < columns)
            for (long k = 0; k < K; k++)
                to[k * LANES * vectors + j] = b[j * ldb + k];
        else
            for (long k = 0; k < K; k++)
                to[k * LANES * vectors + j] = 0;
}

enum { FEW = 24 }; /* rows of A below which packing b takes longer than it saves */

static void panels(const Rows *a, long M, long N, const float *b, long b_row, int turned, float *c, long c_row,
                   int add_to, float *work)
{
    const long K = a->segments * a->length;
    for (long j = 0; j < N; j += MOST * LANES) {
        long columns = N - j < MOST * LANES ? N - j : MOST * LANES;
        int vectors = (columns + LANES - 1) / LANES;
        B some = first(columns - LANES * (vectors - 1));
        const float *panel = turned ? b + j * b_row : b + j;
        long row = b_row;
        if (turned || (M >= FEW && b_row > MOST * LANES)) {
            if (turned)
                packed_turned(K, vectors, columns, panel, b_row, work);
            else
                packed(K, vectors, panel, b_row, some, work);
            panel = work;
            row = LANES * vectors;
        }
        COLUMNS[vectors - 1](a, M, panel, row, c + j, c_row, some, add_to);
    }
}

void product_of_rows(const Rows *a, long M, long N, const float *b, long b_row, float *c, long c_row, int add_to,
                     float *work)
{
    panels(a, M, N, b, b_row, 0, c, c_row, add_to, work);
}

void product(int a_transposed, int b_transposed, long M, long N, long K, const float *a, long lda, const float *b,
             long ldb, float *c, long ldc, int add_to, float *work)
{
    enum { BLOCK = 256 }; /* rows of A whose beginnings are listed at once */
    const float *rows[BLOCK];
    const long none = 0;
    for (long i = 0; i < M; i += BLOCK) {
        long some = M - i < BLOCK ? M - i : BLOCK;
        for (long r = 0; r < some; r++)
            rows[r] = a_transposed ? a + i + r : a + (i + r) * lda;
        Rows all = {rows, &none, 1, K, a_transposed ? lda : 1};
        panels(&all, some, N, b, ldb, b_transposed, c + i * ldc, ldc, add_to, work);
    }
}
