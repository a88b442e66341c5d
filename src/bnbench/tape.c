/* A training step of one dense net as a list of calls, replayed: see tape.py.

   Each call gives the numbers of the torch operations that it stands for, bit for bit. N images, C channels,
   K classes. Matrix products and functions of many numbers at once are those of torch's own library. */

#include <math.h>
#include <string.h>

void moments(long, long, long, const float *, float *, float *, float *);
void normalise(long, long, long, const float *, const float *, const float *, const float *, const float *, float *,
               float *);
void normalise_back(long, long, long, const float *, const float *, const float *, float *, float *, float *, float *);
void column_sums(long, long, const float *, const float *, float *);
float row_sum(long, const float *, const float *);
void relu_back(long, const float *, const float *, float *);
void sigmoid_back(long, const float *, const float *, float *);
void tanh_back(long, const float *, const float *, float *);
void sgd(long, long, const float *, float, float *, const float *, float *);
void adam_moments(long, float, float, float, float, float, const float *, float *, float *, float *);
void adam_step(long, float, float, const float *, const float *, float *);

#define INLINE static inline __attribute__((always_inline))

typedef float eight __attribute__((vector_size(32), aligned(4)));
typedef void Gemm(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                  const int *, const float *, const int *, const float *, float *, const int *);
typedef void Many(int, const float *, float *, long);
typedef eight Eight(eight);

/* n: sizes; f: constants; p: arrays, each moved on by so many floats with each step. */
#define WIDTH 8
#define ARGUMENTS const long *n, const float *f, float **p
typedef struct {
    void (*op)(ARGUMENTS);
    long n[WIDTH];
    float f[WIDTH];
    float *p[WIDTH];
    long by[WIDTH];
} Call;

/* as torch calls them: high accuracy, denormals kept, errors ignored (ATen/cpu/vml.h) */
#define MODE (0x2 | 0x140000 | 0x100)
#define PART 8192 /* weights whose arrays stay in a core's first caches */

static Gemm *gemm;
static Many *tanh_of, *exp_of, *root_of;
static Eight *exp_of_eight, *log_of_eight;

void use(void *const *library)
{
    gemm = (Gemm *)library[0];
    tanh_of = (Many *)library[1];
    exp_of = (Many *)library[2];
    root_of = (Many *)library[3];
    exp_of_eight = (Eight *)library[4];
    log_of_eight = (Eight *)library[5];
}

void replay(const Call *calls, long count, long steps)
{
    float *p[WIDTH];
    for (long step = 0; step < steps; step++)
        for (const Call *call = calls; call < calls + count; call++) {
            for (int k = 0; k < WIDTH; k++)
                p[k] = call->p[k] + step * call->by[k];
            call->op(call->n, call->f, p);
        }
}

/* c_MN = op(a) op(b) + f0 c; n: a transposed, b transposed, M, N, inner size, and the length of a row of each array;
   f1: whether it is so small that torch makes it by plain loops. */
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

#ifdef __AVX512BF16__
#include <immintrin.h>

/* Rows of factors rounded to bf16, two neighbouring ones of the inner axis as one number of 32 bits. */
#define ROWS 6

/* The first so many of 16 numbers. */
INLINE __mmask16 first_of(long count)
{
    return count >= 16 ? 0xFFFF : count > 0 ? (1 << count) - 1 : 0;
}

/* Pairs of rows: to_K/2,C of x_KC. */
static void pair_rows(long K, long C, const float *x, long row, unsigned *to, long to_row)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                           5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (long k = 0; k < K; k += 2, x += 2 * row, to += to_row)
        for (long c = 0; c < C; c += 16) {
            __mmask16 some = first_of(C - c);
            __m512 low = _mm512_maskz_loadu_ps(some, x + c);
            __m512 high = k + 1 < K ? _mm512_maskz_loadu_ps(some, x + row + c) : _mm512_setzero_ps();
            __m512i both = _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_epi32(to + c, some, both);
        }
}

/* Pairs of columns: to_R,K/2 of x_RK. */
static void pair_columns(long R, long K, const float *x, long row, unsigned *to)
{
    for (long r = 0; r < R; r++, x += row, to += (K + 1) / 2)
        for (long k = 0; k < K; k += 32) {
            long left = K - k;
            __m512 low = _mm512_maskz_loadu_ps(first_of(left), x + k);
            __m512 high = _mm512_maskz_loadu_ps(first_of(left - 16), x + k + 16);
            _mm512_mask_storeu_epi32(to + k / 2, first_of((left + 1) / 2), (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
}

/* Pairs of columns, turned: to_K/2,R; by way of `flat`, of R (K + 1) / 2. */
static void pair_columns_turned(long R, long K, const float *x, long row, unsigned *flat, unsigned *to, long to_row)
{
    long K2 = (K + 1) / 2;
    pair_columns(R, K, x, row, flat);
    for (long k = 0; k < K2; k++)
        for (long r = 0; r < R; r++)
            to[k * to_row + r] = flat[r * K2 + k];
}

/* `rows` rows of c, `vectors` vectors of 16 columns, the last with `some` of them; added to what is there, or not. */
INLINE void block(int add, int rows, int vectors, long K2, const unsigned *a, long a_row, long a_inner, const unsigned *b,
                  long b_inner, float *c, long c_row, __mmask16 some)
{
    __m512 sum[ROWS][4];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] = add ? _mm512_maskz_loadu_ps(v + 1 < vectors ? 0xFFFF : some, c + r * c_row + 16 * v)
                            : _mm512_setzero_ps();
    for (long k = 0; k < K2; k++, a += a_inner, b += b_inner) {
        __m512bh of_b[4];
        for (int v = 0; v < vectors; v++)
            of_b[v] = (__m512bh)_mm512_loadu_si512(b + 16 * v);
        for (int r = 0; r < rows; r++) {
            __m512bh of_a = (__m512bh)_mm512_set1_epi32(a[r * a_row]);
            for (int v = 0; v < vectors; v++)
                sum[r][v] = _mm512_dpbf16_ps(sum[r][v], of_a, of_b[v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            _mm512_mask_storeu_ps(c + r * c_row + 16 * v, v + 1 < vectors ? 0xFFFF : some, sum[r][v]);
}

#define BLOCK(rows, vectors)                                                                                         \
    case vectors:                                                                                                    \
        block(f[0] != 0, rows, vectors, K2, a + r * a_row, a_row, a_inner, b + c, b_inner, to + r * to_row + c, to_row, some);  \
        break;
#define BLOCKS(rows)                                                                                                 \
    switch (vectors) {                                                                                               \
        BLOCK(rows, 1) BLOCK(rows, 2) BLOCK(rows, 3) BLOCK(rows, 4)                                                  \
    }

/* As op_product with f0 0 or 1, of factors rounded to bf16, by sums in fp32; arrays for work: a's and b's pairs, the latter's
   rows of whole vectors, and b's before they are turned. */
void op_rounded_product(ARGUMENTS)
{
    long M = n[2], C = n[3], K = n[4], K2 = (K + 1) / 2, wide = (C + 15) / 16 * 16, to_row = n[7];
    long a_row = n[0] ? 1 : K2, a_inner = n[0] ? M : 1, b_inner = wide;
    unsigned *a = (unsigned *)p[3], *b = (unsigned *)p[4];
    float *to = p[2];
    if (n[0])
        pair_rows(K, M, p[0], n[5], a, M);
    else
        pair_columns(M, K, p[0], n[5], a);
    if (n[1])
        pair_columns_turned(C, K, p[1], n[6], (unsigned *)p[5], b, wide);
    else
        pair_rows(K, C, p[1], n[6], b, wide);
    for (long c = 0; c < C; c += 64) {
        int vectors = C - c < 64 ? (C - c + 15) / 16 : 4;
        __mmask16 some = first_of(C - c - 16 * (vectors - 1));
        long r = 0;
        for (; r + ROWS <= M; r += ROWS)
            BLOCKS(ROWS)
        for (; r < M; r++)
            BLOCKS(1)
    }
}
#endif

void op_spread(ARGUMENTS)
{
    for (long i = 0; i < n[0]; i++)
        memcpy(p[1] + i * n[1], p[0], n[1] * sizeof(float));
}

void op_column_sums(ARGUMENTS)
{
    column_sums(n[0], n[1], p[0], NULL, p[1]);
}

/* x, gamma, beta, moving mean, moving variance, normal, y, work: scale_C, mean_C, variance_C, centred_NC */
void op_batch_norm(ARGUMENTS)
{
    long N = n[0], C = n[1];
    float epsilon = f[0], keep = f[1], new = f[2], unbiased = f[3];
    float *scale = p[7], *mean = scale + C, *variance = mean + C;
    moments(1, N, C, p[0], mean, variance, variance + C);
    for (long c = 0; c < C; c++)
        scale[c] = variance[c] + epsilon;
    root_of(C, scale, scale, MODE);
    for (long c = 0; c < C; c++) {
        scale[c] = 1 / scale[c];
        p[3][c] = p[3][c] * keep + mean[c] * new;
        p[4][c] = p[4][c] * keep + variance[c] * unbiased * new;
    }
    normalise(1, N, C, p[0], mean, scale, p[1], p[2], p[5], p[6]);
}

/* dy, normal, the work of op_batch_norm, gamma, d beta, d gamma, dx, work: factor_C, means_2C */
void op_batch_norm_back(ARGUMENTS)
{
    long C = n[1];
    for (long c = 0; c < C; c++)
        p[7][c] = p[2][c] * p[3][c];
    normalise_back(1, n[0], C, p[0], p[1], p[7], p[4], p[5], p[6], p[7] + C);
}

void op_relu(ARGUMENTS)
{
    for (long i = 0; i < n[0]; i++)
        p[1][i] = p[0][i] < 0 ? 0 : p[0][i];
}

void op_relu_back(ARGUMENTS)
{
    relu_back(n[0], p[0], p[1], p[2]);
}

void op_leaky_relu(ARGUMENTS)
{
    for (long i = 0; i < n[0]; i++)
        p[1][i] = p[0][i] * (p[0][i] > 0 ? f[0] : f[1]);
}

void op_leaky_relu_back(ARGUMENTS)
{
    for (long i = 0; i < n[0]; i++)
        p[2][i] = p[0][i] * (p[1][i] > 0 ? f[0] : f[1]);
}

void op_sigmoid(ARGUMENTS)
{
    float *restrict y = p[1];
    for (long i = 0; i < n[0]; i++)
        y[i] = p[0][i] * 0.5f;
    tanh_of(n[0], y, y, MODE);
    for (long i = 0; i < n[0]; i++)
        y[i] = y[i] * 0.5f + 0.5f;
}

void op_sigmoid_back(ARGUMENTS)
{
    sigmoid_back(n[0], p[0], p[1], p[2]);
}

void op_tanh(ARGUMENTS)
{
    tanh_of(n[0], p[0], p[1], MODE);
}

void op_tanh_back(ARGUMENTS)
{
    tanh_back(n[0], p[0], p[1], p[2]);
}

static long largest(long K, const float *x)
{
    long best = 0;
    for (long k = 1; k < K; k++)
        if (x[k] > x[best])
            best = k;
    return best;
}

static void by_eights(Eight *function, long count, float *x)
{
    for (long i = 0; i < count; i += 8)
        *(eight *)(x + i) = function(*(eight *)(x + i));
}

/* The sum of a row as torch's vectors of `width` give it (ATen/cpu/vec/functional_base.h, reduce_all). */
static float row_of_vectors(long K, long width, const float *x)
{
    float lanes[16];
    long k = K < width ? K : width;
    memcpy(lanes, x, k * sizeof(float));
    if (K < width) {
        for (long i = 1; i < K; i++)
            lanes[0] += lanes[i];
        return lanes[0];
    }
    for (; k < K; k++)
        lanes[k % width] += x[k];
    for (long half = width / 2; half; half /= 2)
        for (long i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* Softmax cross-entropy: logits_NK, one-hot target_NK, its gradient, loss, right answers, an epoch's loss (a double),
   work: (N + 8)(2 K + 1). n: N, K, lanes of torch's vectors; f0: what loss and gradient are divided by. */
void op_cross_entropy(ARGUMENTS)
{
    long N = n[0], K = n[1], padded = (N + 7) / 8 * 8;
    float *chances = p[6], *work = chances + padded * K, *sum = work + padded * K, right = 0;
    for (long i = 0; i < N; i++) {
        const float *x = p[0] + i * K;
        long best = largest(K, x);
        right += best == largest(K, p[1] + i * K);
        for (long k = 0; k < K; k++)
            chances[i * K + k] = x[k] - x[best];
    }
    memcpy(work, chances, N * K * sizeof(float));
    by_eights(exp_of_eight, N * K, work);
    for (long i = 0; i < N; i++)
        sum[i] = row_of_vectors(K, n[2], work + i * K);
    by_eights(log_of_eight, N, sum);
    for (long i = 0; i < N; i++)
        for (long k = 0; k < K; k++)
            chances[i * K + k] -= sum[i];
    exp_of(N * K, chances, p[2], MODE);
    for (long i = 0; i < N * K; i++)
        p[2][i] = (p[2][i] - p[1][i]) / f[0];
    float loss = -row_sum(N * K, chances, p[1]) / f[0];
    *p[3] = loss;
    *p[4] = right;
    *(double *)p[5] += loss;
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

/* rate of this step, correction of the square, w, g, mean, square, work; f: beta1, 1 - beta1, beta2, 1 - beta2, epsilon */
void op_adam(ARGUMENTS)
{
    for (long first = 0; first < n[0]; first += PART) {
        long count = n[0] - first < PART ? n[0] - first : PART;
        adam_moments(count, f[0], f[1], f[2], f[3], *p[1], p[3] + first, p[4] + first, p[5] + first, p[6]);
        root_of(count, p[6], p[6], MODE);
        adam_step(count, *p[0], f[4], p[4] + first, p[6], p[2] + first);
    }
}
