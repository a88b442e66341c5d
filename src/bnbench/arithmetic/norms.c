/* Norms, forward and backward, of one run: over the rows of a column (batch norms), over a sample (group and layer norm)
   and over neighbouring channels (local response). Names of sizes: G groups of N rows and C channels. */
#include "columns.h"
#include "ops.h"

#define UNUSED (void)n, (void)f, (void)p
#define EACH_VECTOR(count)                                                                                           \
    for (long i = 0; i < (count); i += LANES)                                                                        \
        for (B some = first((count) - i), *once = &some; once; once = 0)

/* to_C = sum of x_NC down columns. n: N, C. p: x, to. */
OP(op_column_sums) { UNUSED; down(PLAIN, n[0], n[1], p[0], 0, p[1]); }

/* to_C = sum of x_NC y_NC down columns. n: N, C. p: x, y, to. */
OP(op_column_sums_of_products) { UNUSED; down(TIMES, n[0], n[1], p[0], p[1], p[2]); }

/* to_C = mean of the rows of x_NC. n: N, C. p: x, to. */
OP(op_column_means)
{
    UNUSED;
    down(PLAIN, n[0], n[1], p[0], 0, p[1]);
    EACH_VECTOR(n[1])
        store_some(p[1] + i, quotient(load_some(p[1] + i, some), set((float)n[0])), some);
}

/* --- over columns ------------------------------------------------------------------------------------------------ */

/* Mean_GC and biased variance_GC of x_GNC. n: G, N, C. p: x, mean, variance. */
OP(op_moments)
{
    UNUSED;
    const long N = n[1], C = n[2], one_group[2] = {N, C};
    for (long g = 0; g < n[0]; g++) {
        float *mean = p[1] + g * C, *variance = p[2] + g * C, *const arrays[2] = {p[0] + g * N * C, mean};
        op_column_means(one_group, f, arrays);
        down(SQUARE_OF_DIFFERENCE, N, C, p[0] + g * N * C, mean, variance);
        EACH_VECTOR(C)
            store_some(variance + i, quotient(load_some(variance + i, some), set((float)N)), some);
    }
}

/* scale = 1 / sqrt(variance + f0). n: count. p: variance, scale. */
OP(op_scale)
{
    EACH_VECTOR(n[0])
        store_some(p[1] + i, quotient(set(1.f), root(add(load_some(p[0] + i, some), set(f[0])))), some);
}

/* normal = (x - mean) scale; y = normal gamma + beta, fused. n: G, N, C, whether normal is stored, channels of gamma and
   beta of each group (C or, where all groups share them, 0). p: x_GNC, mean_GC, scale_GC, gamma, beta, normal, y. */
OP(op_normalise)
{
    UNUSED;
    const long N = n[1], C = n[2];
    for (long g = 0; g < n[0]; g++)
        for (long c = 0; c < C; c += LANES) {
            B some = first(C - c);
            V mean = load_some(p[1] + g * C + c, some), scale = load_some(p[2] + g * C + c, some);
            V gamma = load_some(p[3] + g * n[4] + c, some), beta = load_some(p[4] + g * n[4] + c, some);
            for (long i = 0; i < N; i++) {
                long at = (g * N + i) * C + c;
                V normal = mul(sub(load_some(p[0] + at, some), mean), scale);
                if (n[3])
                    store_some(p[5] + at, normal, some);
                store_some(p[6] + at, fma_(normal, gamma, beta), some);
            }
        }
}

/* Sums of dy and of dy normal, and dx = (dy - sum/N - normal along/N) factor; without the last term where n3 is 0 (only a
   mean was subtracted). n: G, N, C, n3. p: dy, normal, factor_GC, sum_GC, along_GC, dx. */
OP(op_normalise_back)
{
    UNUSED;
    const long N = n[1], C = n[2];
    const V share = set((float)N), zero = set(0.f);
    for (long g = 0; g < n[0]; g++) {
        const float *dy = p[0] + g * N * C, *normal = p[1] + g * N * C;
        float *sum = p[3] + g * C, *along = p[4] + g * C, *dx = p[5] + g * N * C;
        down(PLAIN, N, C, dy, 0, sum);
        down(TIMES, N, C, dy, normal, along);
        for (long c = 0; c < C; c += LANES) {
            B some = first(C - c);
            V mean = quotient(load_some(sum + c, some), share), factor = load_some(p[2] + g * C + c, some);
            V minus = sub(zero, quotient(load_some(along + c, some), share));
            for (long i = 0; i < N; i++) {
                V d = sub(load_some(dy + i * C + c, some), mean);
                if (n[3])
                    d = fma_(load_some(normal + i * C + c, some), minus, d);
                store_some(dx + i * C + c, mul(d, factor), some);
            }
        }
    }
}

/* Running average: old = old f0 + (new f2) f1. n: count. f: keep, 1 - keep, factor of the new value. p: new, old. */
OP(op_running)
{
    const V keep = set(f[0]), rest = set(f[1]), factor = set(f[2]);
    EACH_VECTOR(n[0])
    {
        V fresh = mul(load_some(p[0] + i, some), factor);
        store_some(p[1] + i, fma_(fresh, rest, mul(load_some(p[1] + i, some), keep)), some);
    }
}

/* Mean over the epoch so far, copied to `last` where numbers_2 is not 0. n: count. f0: factor of the new value. p: new,
   epoch's mean, last, numbers (keep, 1 - keep, copy). */
OP(op_running_of_epoch)
{
    const float constants[3] = {p[3][0], p[3][1], f[0]};
    op_running(n, constants, p);
    if (p[3][2] != 0)
        memcpy(p[2], p[1], n[0] * sizeof(float));
}

/* Corrections of batch renormalisation: r = sqrt(variance + f0) / sigma within [1 / rmax, rmax], d = (mean - running mean) /
   sigma within [-dmax, dmax], sigma = sqrt(running variance + f0). n: C. p: mean, variance, running mean, running variance,
   limits (1 / rmax, rmax, dmax), r, d. */
INLINE V within(V x, V low, V high) { return where_(less(x, low), low, where_(less(high, x), high, x)); }
OP(op_renorm_corrections)
{
    const V epsilon = set(f[0]), low = set(p[4][0]), high = set(p[4][1]), most = set(p[4][2]);
    EACH_VECTOR(n[0])
    {
        V sigma = root(add(load_some(p[3] + i, some), epsilon));
        V r = quotient(root(add(load_some(p[1] + i, some), epsilon)), sigma);
        V d = quotient(sub(load_some(p[0] + i, some), load_some(p[2] + i, some)), sigma);
        store_some(p[5] + i, within(r, low, high), some);
        store_some(p[6] + i, within(d, sub(set(0.f), most), most), some);
    }
}

/* y_NC = x_NC gamma_C + beta_C, fused. n: N, C. p: x, gamma, beta, y. */
OP(op_scale_shift)
{
    UNUSED;
    const long N = n[0], C = n[1];
    for (long r = 0; r < N; r++)
        EACH_VECTOR(C)
            store_some(p[3] + r * C + i,
                       fma_(load_some(p[0] + r * C + i, some), load_some(p[1] + i, some), load_some(p[2] + i, some)), some);
}

/* to = a b + c d: the second product rounded, the first fused. n: count. p: a, b, c, d, to. */
OP(op_sum_of_products)
{
    UNUSED;
    EACH_VECTOR(n[0])
    {
        V second = mul(load_some(p[2] + i, some), load_some(p[3] + i, some));
        store_some(p[4] + i, fma_(load_some(p[0] + i, some), load_some(p[1] + i, some), second), some);
    }
}

/* --- over a sample ----------------------------------------------------------------------------------------------- */

/* Each channel's sum becomes the mean of its group: channels by lane, a fixed tree, over `values`. */
INLINE void group_means(long C, long G, float values, float *sums)
{
    const long K = C / G;
    for (long g = 0; g < G; g++) {
        V sum = set(0.f);
        for (long k = 0; k < K; k += LANES)
            sum = add(sum, load_some(sums + g * K + k, first(K - k)));
        const float mean = total(sum) / values;
        for (long k = 0; k < K; k++)
            sums[g * K + k] = mean;
    }
}

/* Group norm: mean and variance over S positions and the C / G channels of a group, of one sample. n: N, S, C, G. f0:
   epsilon. p: x_NSC, gamma_C, beta_C, normal_NSC, y_NSC, scale_NC, work of 2 C. */
OP(op_group_norm)
{
    const long S = n[1], C = n[2], G = n[3], one[5] = {1, S, C, 1, 0};
    const float values = (float)(S * (C / G));
    for (long r = 0; r < n[0]; r++) {
        float *x = p[0] + r * S * C, *mean = p[6], *variance = p[6] + C, *scale = p[5] + r * C;
        down(PLAIN, S, C, x, 0, mean);
        group_means(C, G, values, mean);
        down(SQUARE_OF_DIFFERENCE, S, C, x, mean, variance);
        group_means(C, G, values, variance);
        float *const of_scale[2] = {variance, scale};
        op_scale(&C, f, of_scale);
        float *const of_normal[7] = {x, mean, scale, p[1], p[2], p[3] + r * S * C, p[4] + r * S * C};
        op_normalise(one, f, of_normal);
    }
}

/* dx = (g - mean(g) - normal mean(g normal)) scale with g = gamma dy, means over a group. n: N, S, C, G. p: dy_NSC,
   normal_NSC, gamma_C, scale_NC, dx_NSC, work of 2 C. */
OP(op_group_norm_back)
{
    UNUSED;
    const long S = n[1], C = n[2], G = n[3];
    const float values = (float)(S * (C / G));
    for (long r = 0; r < n[0]; r++) {
        const float *dy = p[0] + r * S * C, *normal = p[1] + r * S * C, *scale = p[3] + r * C;
        float *g = p[4] + r * S * C, *mean = p[5], *along = p[5] + C;
        for (long s = 0; s < S; s++)
            EACH_VECTOR(C)
                store_some(g + s * C + i, mul(load_some(dy + s * C + i, some), load_some(p[2] + i, some)), some);
        down(PLAIN, S, C, g, 0, mean);
        down(TIMES, S, C, g, normal, along);
        group_means(C, G, values, mean);
        group_means(C, G, values, along);
        for (long s = 0; s < S; s++)
            EACH_VECTOR(C)
            {
                const long at = s * C + i;
                V d = sub(load_some(g + at, some), load_some(mean + i, some));
                V minus = sub(set(0.f), load_some(along + i, some));
                d = fma_(load_some(normal + at, some), minus, d);
                store_some(g + at, mul(d, load_some(scale + i, some)), some);
            }
    }
}

/* --- over neighbouring channels ---------------------------------------------------------------------------------- */

/* Sums of `size` neighbours, ascending: to_c = x_{c - before} + ... + x_{c - before + size - 1}, 0 beyond the ends. `padded`:
   C + size + LANES floats, whose first `before` and last ones are 0. */
INLINE V neighbours(const float *padded, long size, long c, B some)
{
    V sum = load_some(padded + c, some);
    for (long k = 1; k < size; k++)
        sum = add(sum, load_some(padded + c + k, some));
    return sum;
}

/* Local response: y = x factor, factor = base^-f1, base = f2 + f0 (sum of x^2 over neighbours). n: N, C, size. f: alpha / size,
   beta, k. p: x_NC, y, base, factor, work of C + size. */
OP(op_local_response)
{
    const long C = n[1], size = n[2], before = size / 2;
    const V share = set(f[0]), exponent = set(-f[1]), k = set(f[2]);
    memset(p[4], 0, (C + size) * sizeof(float));
    for (long r = 0; r < n[0]; r++) {
        const float *x = p[0] + r * C;
        EACH_VECTOR(C)
        {
            V one = load_some(x + i, some);
            store_some(p[4] + before + i, mul(one, one), some);
        }
        EACH_VECTOR(C)
        {
            V base = fma_(neighbours(p[4], size, i, some), share, k);
            V factor = exp_(mul(log_(base), exponent));
            store_some(p[2] + r * C + i, base, some);
            store_some(p[3] + r * C + i, factor, some);
            store_some(p[1] + r * C + i, mul(load_some(x + i, some), factor), some);
        }
    }
}

/* dx = dy factor - x (f0 sum of dy x factor / base over the channels whose sums have x). n: N, C, size. f0: 2 alpha beta /
   size. p: dy, x, base, factor, dx, work of C + size. */
OP(op_local_response_back)
{
    const long C = n[1], size = n[2], before = (size - 1) / 2;
    const V share = set(f[0]), zero = set(0.f);
    memset(p[5], 0, (C + size) * sizeof(float));
    for (long r = 0; r < n[0]; r++) {
        const long at = r * C;
        EACH_VECTOR(C)
        {
            V y = mul(mul(load_some(p[0] + at + i, some), load_some(p[1] + at + i, some)), load_some(p[3] + at + i, some));
            store_some(p[5] + before + i, quotient(y, load_some(p[2] + at + i, some)), some);
        }
        EACH_VECTOR(C)
        {
            V sums = mul(neighbours(p[5], size, i, some), share);
            V back = mul(load_some(p[0] + at + i, some), load_some(p[3] + at + i, some));
            store_some(p[4] + at + i, fma_(sub(zero, load_some(p[1] + at + i, some)), sums, back), some);
        }
    }
}
