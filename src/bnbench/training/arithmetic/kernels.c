/* Loops of a training step that read memory once or twice, where torch's operations do so many times: see kernels.py.

   Each rounds as torch's sequence of operations does, so that its numbers are the same, bit for bit: no product is
   fused with a sum (-ffp-contract=off), and a column is summed in torch's order. All arrays are fp32 and contiguous.
   G groups with statistics of their own; M values per channel; C channels; R runs. */

#include <math.h>
#include <string.h>

typedef float eight __attribute__((vector_size(32), aligned(4)));
typedef float four __attribute__((vector_size(16), aligned(4)));
typedef float one;

#define INLINE static inline __attribute__((always_inline))
#define LEVELS 4
#define EACH for (int k = 0; k < 4; k++)
#define AT(p, type, i) (*(const type *)((p) + (i) * stride + k * offset))
#define TERM(type, i) (b ? AT(a, type, i) * AT(b, type, i) : AT(a, type, i))

/* Sums of columns of a, or of a * b if there is b, in torch's order (ATen/native/cpu/SumKernel.cpp): four sums at a
   time, `offset` apart, each a vector of neighbouring columns, over M rows, `stride` apart, by sums of sums. */
#define SUMS(type)                                                                                                   \
    INLINE void sums_of_##type(long M, long stride, long offset, const float *a, const float *b, type sum[4])        \
    {                                                                                                                \
        type part[LEVELS][4];                                                                                        \
        memset(part, 0, sizeof part);                                                                                \
        long bits = 0, i = 0;                                                                                        \
        while ((1L << bits) < M)                                                                                     \
            bits++;                                                                                                  \
        long power = bits / LEVELS > 4 ? bits / LEVELS : 4, step = 1L << power;                                      \
        while (i + step <= M) {                                                                                      \
            type now[4] = {part[0][0], part[0][1], part[0][2], part[0][3]};                                          \
            for (long end = i + step; i < end; i++)                                                                  \
                EACH now[k] += TERM(type, i);                                                                        \
            EACH part[0][k] = now[k];                                                                                \
            for (long level = 1; level < LEVELS; level++) {                                                          \
                EACH part[level][k] += part[level - 1][k];                                                           \
                EACH part[level - 1][k] = (type){0};                                                                 \
                if (i & ((step - 1) << (level * power)))                                                             \
                    break;                                                                                           \
            }                                                                                                        \
        }                                                                                                            \
        for (; i < M; i++)                                                                                           \
            EACH part[0][k] += TERM(type, i);                                                                        \
        EACH sum[k] = part[0][k] + part[1][k] + part[2][k] + part[3][k];                                             \
    }                                                                                                                \
    /* of columns beyond torch's blocks: the four sums are of every fourth row; remaining rows go to the first */     \
    INLINE void rest_of_##type(long M, long stride, const float *a, const float *b, float *total)                    \
    {                                                                                                                \
        type sum[4];                                                                                                 \
        sums_of_##type(M / 4, 4 * stride, stride, a, b, sum);                                                        \
        long offset = 0, k = 0;                                                                                      \
        for (long i = M / 4 * 4; i < M; i++)                                                                         \
            sum[0] += TERM(type, i);                                                                                 \
        *(type *)total = sum[0] + sum[1] + sum[2] + sum[3];                                                          \
    }
SUMS(eight)
SUMS(four)
SUMS(one)

/* total = the sums of the C columns of a, or of a * b. */
INLINE void sums(long M, long C, const float *a, const float *b, float *total)
{
    long c = 0;
    for (; c + 32 <= C; c += 32)
        sums_of_eight(M, C, 8, a + c, b ? b + c : b, (eight *)(total + c));
    for (; C < 8 && c + 4 <= C; c += 4)
        sums_of_one(M, C, 1, a + c, b ? b + c : b, total + c);
    for (; c + 8 <= C; c += 8)
        rest_of_eight(M, C, a + c, b ? b + c : b, total + c);
    for (; c + 4 <= C; c += 4)
        rest_of_four(M, C, a + c, b ? b + c : b, total + c);
    for (; c < C; c++)
        rest_of_one(M, C, a + c, b ? b + c : b, total + c);
}

void column_sums(long M, long C, const float *a, const float *b, float *total)
{
    sums(M, C, a, b, total);
}

/* The sum of a row of a * b, in torch's order: eight sums over its vectors, after the remainder. */
float row_sum(long count, const float *a, const float *b)
{
    float lanes[8], sum = 0;
    rest_of_eight(count / 8, 8, a, b, lanes);
    for (long i = count / 8 * 8; i < count; i++)
        sum += a[i] * b[i];
    for (int k = 0; k < 8; k++)
        sum += lanes[k];
    return sum;
}

/* The mean and the variance of each column of x_GMC; centred_MC is temporary. */
void moments(long G, long M, long C, const float *restrict x, float *restrict mean,
             float *restrict variance, float *restrict centred)
{
    for (long g = 0; g < G; g++, x += M * C, mean += C, variance += C) {
        sums(M, C, x, NULL, mean);
        for (long c = 0; c < C; c++)
            mean[c] /= M;
        for (long i = 0; i < M; i++)
            for (long c = 0; c < C; c++)
                centred[i * C + c] = x[i * C + c] - mean[c];
        sums(M, C, centred, centred, variance);
        for (long c = 0; c < C; c++)
            variance[c] /= M;
    }
}

/* normal = (x - mean) scale, y = normal gamma + beta. */
void normalise(long G, long M, long C, const float *restrict x, const float *restrict mean,
               const float *restrict scale, const float *restrict gamma, const float *restrict beta,
               float *restrict normal, float *restrict y)
{
    for (long g = 0; g < G; g++, mean += C, scale += C, gamma += C, beta += C)
        for (long i = 0; i < M; i++, x += C, normal += C, y += C)
            for (long c = 0; c < C; c++) {
                float value = (x[c] - mean[c]) * scale[c];
                normal[c] = value;
                y[c] = value * gamma[c] + beta[c];
            }
}

/* y = (x - mean) scale gamma + beta. */
void normalised(long G, long M, long C, const float *restrict x, const float *restrict mean,
                const float *restrict scale, const float *restrict gamma, const float *restrict beta,
                float *restrict y)
{
    for (long g = 0; g < G; g++, mean += C, scale += C, gamma += C, beta += C)
        for (long i = 0; i < M; i++, x += C, y += C)
            for (long c = 0; c < C; c++)
                y[c] = (x[c] - mean[c]) * scale[c] * gamma[c] + beta[c];
}

/* means_2C is temporary; total = sum dy, along = sum dy normal, dx = (dy - total / M - normal along / M) factor. */
void normalise_back(long G, long M, long C, const float *restrict dy, const float *restrict normal,
                    const float *restrict factor, float *restrict total, float *restrict along, float *restrict dx,
                    float *restrict means)
{
    float share = 1.0 / M, *products = means + C;
    for (long g = 0; g < G; g++, factor += C, total += C, along += C) {
        sums(M, C, dy, NULL, total);
        sums(M, C, dy, normal, along);
        for (long c = 0; c < C; c++) {
            means[c] = total[c] * share;
            products[c] = along[c] * share;
        }
        for (long i = 0; i < M; i++, dy += C, normal += C, dx += C)
            for (long c = 0; c < C; c++)
                dx[c] = (dy[c] - means[c] - normal[c] * products[c]) * factor[c];
    }
}

/* Channels of one window of `size` rows, `row` floats apart, each of `size` pixels of C channels: the maximum and its
   position, the first of equal ones; as in torch, NaN wins. */
#define CHOSEN_whole(mask, a, b) (((a) & (mask)) | ((b) & ~(mask)))
#define CHOSEN_eight(mask, a, b) ((eight)CHOSEN_whole(mask, (eight_whole)(a), (eight_whole)(b)))
#define CHOSEN_one(mask, a, b) ((mask) ? (a) : (b))
#define SQUARES(type, whole)                                                                                         \
    INLINE type maximum_of_##type(long size, long row, long C, const float *x, whole *place)                         \
    {                                                                                                                \
        type best = *(const type *)x;                                                                                \
        *place = (whole){0};                                                                                         \
        for (long i = 0; i < size; i++)                                                                              \
            for (long j = 0; j < size; j++) {                                                                        \
                type v = *(const type *)(x + i * row + j * C);                                                       \
                whole larger = ALL((v > best) | (v != v));                                                              \
                best = CHOSEN_##type(larger, v, best);                                                               \
                *place = CHOSEN_whole(larger, (whole){0} + (int)(i * size + j), *place);                             \
            }                                                                                                        \
        return best;                                                                                                 \
    }                                                                                                                \
    INLINE void spread_##type(long size, long row, long C, const float *x, const float *dy, float *dx)               \
    {                                                                                                                \
        whole place;                                                                                                 \
        maximum_of_##type(size, row, C, x, &place);                                                                  \
        for (long i = 0; i < size; i++)                                                                              \
            for (long j = 0; j < size; j++) /* torch adds to 0, -0 too */                                            \
                *(type *)(dx + i * row + j * C) =                                                                    \
                    CHOSEN_##type(ALL(place == (whole){0} + (int)(i * size + j)), *(const type *)dy, (type){0}) +    \
                    (type){0};                                                                                       \
    }
typedef int eight_whole __attribute__((vector_size(32), aligned(4)));
typedef int one_whole;
#define ALL(mask) (mask) /* of a vector: all bits of each number for which it is true */
SQUARES(eight, eight_whole)
#undef ALL
#define ALL(mask) (-(mask))
SQUARES(one, one_whole)

INLINE void pool_by(long B, long H, long W, long C, long size, const float *restrict x, float *restrict y)
{
    for (long b = 0; b < B; b++, x += H * W * C)
        for (long i = 0; i < H / size; i++)
            for (long j = 0; j < W / size; j++, y += C) {
                const float *square = x + (i * W + j) * size * C;
                long c = 0;
                for (eight_whole place; c + 8 <= C; c += 8)
                    *(eight *)(y + c) = maximum_of_eight(size, W * C, C, square + c, &place);
                for (one_whole place; c < C; c++)
                    y[c] = maximum_of_one(size, W * C, C, square + c, &place);
            }
}

INLINE void pool_back_by(long B, long H, long W, long C, long size, const float *restrict dy, const float *restrict x,
               float *restrict dx)
{
    if (H % size || W % size)
        memset(dx, 0, B * H * W * C * sizeof(float));
    for (long b = 0; b < B; b++, x += H * W * C, dx += H * W * C)
        for (long i = 0; i < H / size; i++)
            for (long j = 0; j < W / size; j++, dy += C) {
                long at = (i * W + j) * size * C, c = 0;
                for (; c + 8 <= C; c += 8)
                    spread_eight(size, W * C, C, x + at + c, dy + c, dx + at + c);
                for (; c < C; c++)
                    spread_one(size, W * C, C, x + at + c, dy + c, dx + at + c);
            }
}

/* Maxima over windows of x_BHWC with stride `size`; loops over windows of 2, the usual ones, are unrolled. */
void pool(long B, long H, long W, long C, long size, const float *x, float *y)
{
    size == 2 ? pool_by(B, H, W, C, 2, x, y) : pool_by(B, H, W, C, size, x, y);
}

/* dx: each output's gradient at the position of its maximum. */
void pool_back(long B, long H, long W, long C, long size, const float *dy, const float *x, float *dx)
{
    size == 2 ? pool_back_by(B, H, W, C, 2, dy, x, dx) : pool_back_by(B, H, W, C, size, dy, x, dx);
}

void relu_back(long count, const float *restrict dy, const float *restrict y, float *restrict dx)
{
    for (long i = 0; i < count; i++)
        dx[i] = dy[i] * (y[i] > 0 ? 1.0f : 0.0f);
}

void sigmoid_back(long count, const float *restrict dy, const float *restrict y, float *restrict dx)
{
    for (long i = 0; i < count; i++)
        dx[i] = dy[i] * y[i] * (1 - y[i]);
}

void tanh_back(long count, const float *restrict dy, const float *restrict y, float *restrict dx)
{
    for (long i = 0; i < count; i++)
        dx[i] = dy[i] * (1 - y[i] * y[i]);
}

/* v = momentum v + g if there is v; w = w - rate v. */
void sgd(long R, long row, const float *restrict rate, float momentum, float *restrict w, const float *restrict g,
         float *restrict v)
{
    for (long r = 0; r < R; r++, w += row, g += row) {
        if (!v)
            for (long i = 0; i < row; i++)
                w[i] -= g[i] * rate[r];
        else {
            for (long i = 0; i < row; i++) {
                v[i] = v[i] * momentum + g[i];
                w[i] -= v[i] * rate[r];
            }
            v += row;
        }
    }
}

/* Adam: mean = beta1 mean + (1 - beta1) g; square = beta2 square + (1 - beta2) g g; ratio = square / corrected, whose
   square root is taken by torch's function, which is not always correctly rounded. torch fuses the last of the two sums. */
void adam_moments(long count, float keep1, float new1, float keep2, float new2, float corrected,
                  const float *restrict g, float *restrict mean, float *restrict square, float *restrict ratio)
{
    for (long i = 0; i < count; i++) {
        mean[i] = mean[i] * keep1 + g[i] * new1;
        square[i] = __builtin_fmaf(new2 * g[i], g[i], square[i] * keep2);
        ratio[i] = square[i] / corrected;
    }
}

/* w = w - rate mean / (root + epsilon). */
void adam_step(long count, float rate, float epsilon, const float *restrict mean, const float *restrict root,
               float *restrict w)
{
    for (long i = 0; i < count; i++)
        w[i] -= mean[i] / (root[i] + epsilon) * rate;
}
