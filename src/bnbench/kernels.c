/* The loops of a training step that torch makes in many passes over memory, in one or two: see kernels.py.

   Each rounds as torch's sequence of operations does, so that its numbers are the same, bit for bit: no product is
   fused with a sum (-ffp-contract=off), and a column is summed in torch's order. All arrays are fp32 and contiguous.
   G groups, each normalised by itself; M values of a channel; C channels; R runs. `work` holds WORK * C. */

#include <math.h>
#include <string.h>

#define LEVELS 4
#define WORK (LEVELS + 2)
#define INLINE static inline __attribute__((always_inline))

/* total = the sum over M rows, `stride` apart, of a, or of a * b if there is b, by partial sums of partial sums. */
INLINE void cascade(long M, long C, long stride, const float *restrict a, const float *b, float *restrict work,
                    float *restrict total)
{
    long bits = 0;
    while ((1L << bits) < M)
        bits++;
    long power = bits / LEVELS > 4 ? bits / LEVELS : 4, step = 1L << power, i = 0;
    memset(work, 0, sizeof(float) * LEVELS * C);
    while (i < M) {
        long end = i + step <= M ? i + step : M, whole = i + step <= M;
        for (; i < end; i++)
            for (long c = 0; c < C; c++)
                work[c] += b ? a[i * stride + c] * b[i * stride + c] : a[i * stride + c];
        for (long level = 1; whole && level < LEVELS; level++) {
            float *from = work + (level - 1) * C, *to = work + level * C;
            for (long c = 0; c < C; c++) {
                to[c] += from[c];
                from[c] = 0;
            }
            if (i & ((step - 1) << (level * power)))
                break;
        }
    }
    for (long level = 1; level < LEVELS; level++)
        for (long c = 0; c < C; c++)
            work[c] += work[level * C + c];
    memcpy(total, work, sizeof(float) * C);
}

/* Sums of the columns of a_MC, or of a * b, in torch's order (ATen/native/cpu/SumKernel.cpp): columns in blocks of
   four vectors of `lanes` row by row; each of the rest as four sums, of every fourth row. */
INLINE void sums(long M, long C, long lanes, const float *restrict a, const float *b, float *restrict work,
                 float *restrict total)
{
    long block = 4 * (C >= lanes ? lanes : 1), head = C - C % block, tail = C - head, rows = M / 4;
    if (head)
        cascade(M, head, C, a, b, work, total);
    float *part = work + LEVELS * C;
    for (long k = 0; tail && k < 4; k++) {
        long at = k * C + head;
        cascade(rows, tail, 4 * C, a + at, b ? b + at : b, work, part);
        for (long i = 4 * rows; k == 0 && i < M; i++)
            for (long c = 0; c < tail; c++)
                part[c] += b ? a[i * C + head + c] * b[i * C + head + c] : a[i * C + head + c];
        for (long c = 0; c < tail; c++)
            total[head + c] = k ? total[head + c] + part[c] : part[c];
    }
}

/* The mean and the variance of each column of x_GMC; work holds (M + WORK) * C. */
void moments(long G, long M, long C, long lanes, const float *restrict x, float *restrict mean,
             float *restrict variance, float *restrict work)
{
    float *centred = work + WORK * C;
    for (long g = 0; g < G; g++, x += M * C, mean += C, variance += C) {
        sums(M, C, lanes, x, NULL, work, mean);
        for (long c = 0; c < C; c++)
            mean[c] /= M;
        for (long i = 0; i < M; i++)
            for (long c = 0; c < C; c++)
                centred[i * C + c] = x[i * C + c] - mean[c];
        sums(M, C, lanes, centred, centred, work, variance);
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

/* total = sum dy, along = sum dy normal, dx = (dy - total / M - normal along / M) factor. */
void normalise_back(long G, long M, long C, long lanes, const float *restrict dy, const float *restrict normal,
                    const float *restrict factor, float *restrict total, float *restrict along, float *restrict dx,
                    float *restrict work)
{
    float share = 1.0 / M, *means = work + LEVELS * C, *slopes = means + C;
    for (long g = 0; g < G; g++, factor += C, total += C, along += C) {
        sums(M, C, lanes, dy, NULL, work, total);
        sums(M, C, lanes, dy, normal, work, along);
        for (long c = 0; c < C; c++) {
            means[c] = total[c] * share;
            slopes[c] = along[c] * share;
        }
        for (long i = 0; i < M; i++, dy += C, normal += C, dx += C)
            for (long c = 0; c < C; c++)
                dx[c] = (dy[c] - means[c] - normal[c] * slopes[c]) * factor[c];
    }
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
