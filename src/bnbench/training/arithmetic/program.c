/* Functions of a compiled program: a training step or a forward pass of one dense net, as a list of calls; see
   engine/program.py.

   Each call gives the numbers of the torch operations that it replaces, bit for bit. N images, C channels,
   K classes. Matrix products and functions of many numbers at once are those of torch's own library. */

#include <math.h>
#include <string.h>

#include "program.h"

void moments(long, long, long, const float *, float *, float *, float *);
void normalise(long, long, long, const float *, const float *, const float *, const float *, const float *, float *,
               float *);
void normalise_back(long, long, long, const float *, const float *, const float *, float *, float *, float *, float *);
void column_sums(long, long, const float *, const float *, float *);
float row_sum(long, const float *, const float *);
void relu_back(long, const float *, const float *, float *);
void sigmoid_back(long, const float *, const float *, float *);
void tanh_back(long, const float *, const float *, float *);
void use_roots(Many *);

typedef float eight __attribute__((vector_size(32), aligned(4)));
typedef eight Eight(eight);

Gemm *gemm;
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
    use_roots(root_of);
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

void op_spread(ARGUMENTS)
{
    for (long i = 0; i < n[0]; i++)
        memcpy(p[1] + i * n[1], p[0], n[1] * sizeof(float));
}

void op_column_sums(ARGUMENTS)
{
    column_sums(n[0], n[1], p[0], NULL, p[1]);
}

/* scale_C = 1 / sqrt(variance + epsilon) */
static void scale_of(long C, float epsilon, const float *variance, float *scale)
{
    for (long c = 0; c < C; c++)
        scale[c] = variance[c] + epsilon;
    root_of(C, scale, scale, MODE);
    for (long c = 0; c < C; c++)
        scale[c] = 1 / scale[c];
}

/* x, gamma, beta, mean, variance, normal, y, temporary: scale_C */
void op_batch_norm_known(ARGUMENTS)
{
    scale_of(n[1], f[0], p[4], p[7]);
    normalise(1, n[0], n[1], p[0], p[3], p[7], p[1], p[2], p[5], p[6]);
}

/* x, gamma, beta, running mean, running variance, normal, y, temporary: scale_C, mean_C, variance_C, centred_NC */
void op_batch_norm(ARGUMENTS)
{
    long N = n[0], C = n[1];
    float epsilon = f[0], keep = f[1], new = f[2], unbiased = f[3];
    float *scale = p[7], *mean = scale + C, *variance = mean + C;
    moments(1, N, C, p[0], mean, variance, variance + C);
    scale_of(C, epsilon, variance, scale);
    for (long c = 0; c < C; c++) {
        p[3][c] = p[3][c] * keep + mean[c] * new;
        p[4][c] = p[4][c] * keep + variance[c] * unbiased * new;
    }
    normalise(1, N, C, p[0], mean, scale, p[1], p[2], p[5], p[6]);
}

/* dy, normal, the temporary array of op_batch_norm, gamma, d beta, d gamma, dx, temporary: factor_C, means_2C */
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

/* Accurate to a few units in the last place, in one pass: 1 / (1 + exp(-x)), exp(x) = 2^k exp(r), |r| <= ln(2) / 2, by the first terms
   of its series. */
void op_quick_sigmoid(ARGUMENTS)
{
    const float *restrict x = p[0];
    float *restrict y = p[1];
    for (long i = 0; i < n[0]; i++) {
        float power = x[i] < -87 ? 87 : x[i] > 87 ? -87 : -x[i];
        float k = rintf(power * 1.44269504f), r = power - k * 0.693359375f + k * 2.12194440e-4f;
        float series = 1 + r * (1 + r * (1.f / 2 + r * (1.f / 6 + r * (1.f / 24 + r * (1.f / 120 + r / 720)))));
        union { int bits; float number; } two = {((int)k + 127) << 23};
        y[i] = 1 / (1 + series * two.number);
    }
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

/* Softmax cross-entropy: logits_NK, one-hot target_NK, its gradient, loss, number of correct predictions, an
   epoch's loss (a double), temporary: (N + 8)(2 K + 1). n: N, K, lanes of torch's vectors; f0: divisor of loss and gradient. */
void op_cross_entropy(ARGUMENTS)
{
    long N = n[0], K = n[1], padded = (N + 7) / 8 * 8;
    float *log_softmax = p[6], *work = log_softmax + padded * K, *sum = work + padded * K, correct = 0;
    for (long i = 0; i < N; i++) {
        const float *x = p[0] + i * K;
        long best = largest(K, x);
        correct += best == largest(K, p[1] + i * K);
        for (long k = 0; k < K; k++)
            log_softmax[i * K + k] = x[k] - x[best];
    }
    memcpy(work, log_softmax, N * K * sizeof(float));
    by_eights(exp_of_eight, N * K, work);
    for (long i = 0; i < N; i++)
        sum[i] = row_of_vectors(K, n[2], work + i * K);
    by_eights(log_of_eight, N, sum);
    for (long i = 0; i < N; i++)
        for (long k = 0; k < K; k++)
            log_softmax[i * K + k] -= sum[i];
    exp_of(N * K, log_softmax, p[2], MODE);
    for (long i = 0; i < N * K; i++)
        p[2][i] = (p[2][i] - p[1][i]) / f[0];
    float loss = -row_sum(N * K, log_softmax, p[1]) / f[0];
    *p[3] = loss;
    *p[4] = correct;
    *(double *)p[5] += loss;
}
