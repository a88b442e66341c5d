#include "ops.h"

#include "lanes.h"
#include "matrix.h"

#define UNUSED (void)n, (void)f, (void)p

void replay(const Call *calls, long count, long steps)
{
    float *p[MOST];
    for (long step = 0; step < steps; step++)
        for (const Call *call = calls; call < calls + count; call++) {
            for (int k = 0; k < MOST; k++)
                p[k] = (float *)((char *)call->p[k] + step * call->by[k]);
            call->op(call->n, call->f, p);
        }
}

/* --- products ------------------------------------------------------------------------------------------------- */

/* c_MN (+)= op(a) op(b). n: a transposed, b transposed, M, N, K, lda, ldb, ldc. f0: whether it is added to c. p: a, b, c,
   work of 64 (K + 1). */
OP(op_product) { product(n[0], n[1], n[2], n[3], n[4], p[0], n[5], p[1], n[6], p[2], n[7], f[0] != 0, p[3]); }

/* y_NO = x_NK W_KO, beginning with the bias_O. n: N, O, K. p: x, W, bias, y, work of 64 (K + 1). */
OP(op_linear)
{
    UNUSED;
    for (long i = 0; i < n[0]; i++)
        memcpy(p[3] + i * n[1], p[2], n[1] * sizeof(float));
    product(0, 0, n[0], n[1], n[2], p[0], n[2], p[1], n[1], p[3], n[1], 1, p[4]);
}

/* Images with a border of zeros: to_N,H+2b,W+2b,C of x_NHWC. n: N, H, W, C, b. p: x, to. */
OP(op_pad)
{
    UNUSED;
    const long H = n[1], W = n[2], C = n[3], b = n[4], row = (W + 2 * b) * C;
    float *to = p[1];
    for (long i = 0; i < n[0]; i++) {
        memset(to, 0, b * row * sizeof(float));
        to += b * row;
        for (long h = 0; h < H; h++, to += row) {
            memset(to, 0, b * C * sizeof(float));
            memcpy(to + b * C, p[0] + (i * H + h) * W * C, W * C * sizeof(float));
            memset(to + (b + W) * C, 0, b * C * sizeof(float));
        }
        memset(to, 0, b * row * sizeof(float));
        to += b * row;
    }
}

enum { POSITIONS = 240 }; /* output positions whose beginnings are listed at once */

/* y_NHWO (+)= convolution of padded x with filters w_SSCO, S odd, stride 1: the chain of an output goes over filter row,
   filter column, channel; the border's zeros take part. n: N, H, W, C, S, O. f0: whether y is added to; f1: whether factors
   are rounded to bf16. p: padded x, w, y, work of 64 (S S C + 1), or as `product_fast` of POSITIONS rows. */
OP(op_conv)
{
    const long H = n[1], W = n[2], C = n[3], S = n[4], O = n[5], row = (W + S - 1) * C, image = (H + S - 1) * row;
    const float *rows[POSITIONS];
    long offsets[64];
    for (long s = 0; s < S; s++)
        offsets[s] = s * row;
    const long all = n[0] * H * W;
    for (long first_one = 0; first_one < all; first_one += POSITIONS) {
        long some = all - first_one < POSITIONS ? all - first_one : POSITIONS;
        for (long r = 0; r < some; r++) {
            long at = first_one + r, w = at % W, h = at / W % H, i = at / W / H;
            rows[r] = p[0] + i * image + h * row + w * C;
        }
        Rows a = {rows, offsets, S, S * C, 1};
        (f[1] ? product_of_rows_fast : product_of_rows)(&a, some, O, p[1], O, p[2] + first_one * O, O, f[0] != 0, p[3]);
    }
}

/* Filters for the gradient of the input: to_SSOC, turned by half a circle, of w_SSCO. n: S, C, O. p: w, to. */
OP(op_turn)
{
    UNUSED;
    const long S = n[0], C = n[1], O = n[2];
    for (long s = 0; s < S * S; s++)
        for (long c = 0; c < C; c++)
            for (long o = 0; o < O; o++)
                p[1][((S * S - 1 - s) * O + o) * C + c] = p[0][(s * C + c) * O + o];
}

/* dw_SSCO = padded x against dy_NHWO: the chain of a weight goes over image, row, column. n: N, H, W, C, S, O. p: padded
   x, dy, dw, work of 2 N H numbers of 4 bytes, then of 64 (N H W + 1), or as `product_fast` of POSITIONS rows. f1: whether
   factors are rounded to bf16. */
OP(op_conv_weights)
{
    const long N = n[0], H = n[1], W = n[2], C = n[3], S = n[4], O = n[5], row = (W + S - 1) * C, image = (H + S - 1) * row;
    long *offsets = (long *)p[3];
    float *work = p[3] + 2 * N * H;
    for (long i = 0; i < N; i++)
        for (long h = 0; h < H; h++)
            offsets[i * H + h] = i * image + h * row;
    const float *rows[POSITIONS];
    for (long s = 0; s < S; s++)
        for (long j = 0; j < S * C; j += POSITIONS) {
            long some = S * C - j < POSITIONS ? S * C - j : POSITIONS;
            for (long r = 0; r < some; r++)
                rows[r] = p[0] + s * row + j + r;
            Rows a = {rows, offsets, N * H, W, C};
            (f[1] ? product_of_rows_fast : product_of_rows)(&a, some, O, p[1], O, p[2] + (s * S * C + j) * O, O, 0, work);
        }
}

/* --- activations: n: count --------------------------------------------------------------------------------------- */

#define ELEMENTWISE(name, inputs, value)                                                                             \
    OP(name)                                                                                                         \
    {                                                                                                                \
        UNUSED;                                                                                                      \
        const V zero = set(0.f), one = set(1.f);                                                                     \
        (void)zero, (void)one;                                                                                       \
        for (long i = 0; i < n[0]; i += LANES) {                                                                     \
            B some = first(n[0] - i);                                                                                \
            V x = load_some(p[0] + i, some), y = inputs > 1 ? load_some(p[1] + i, some) : zero;                      \
            (void)y;                                                                                                 \
            store_some(p[inputs] + i, value, some);                                                                  \
        }                                                                                                            \
    }
ELEMENTWISE(op_relu, 1, where_(less(x, zero), zero, x)) /* NaN stays NaN */
ELEMENTWISE(op_relu_back, 2, where_(less(zero, y), x, zero)) /* dy, y */
ELEMENTWISE(op_leaky, 1, where_(less(zero, x), x, mul(x, set(f[0]))))
ELEMENTWISE(op_leaky_back, 2, where_(less(zero, y), x, mul(x, set(f[0])))) /* dy, x */
ELEMENTWISE(op_sigmoid, 1, sigmoid_(x))
ELEMENTWISE(op_sigmoid_back, 2, mul(mul(x, y), sub(one, y)))
ELEMENTWISE(op_tanh, 1, tanh_(x))
ELEMENTWISE(op_tanh_back, 2, mul(x, sub(one, mul(y, y))))
ELEMENTWISE(op_exp, 1, exp_(x))
ELEMENTWISE(op_log, 1, log_(x))
ELEMENTWISE(op_multiply, 2, mul(x, y))
ELEMENTWISE(op_add, 2, add(x, y))

/* Parametric ReLU: y = x where x > 0, else x a_C. n: N, C. p: x, a, y. */
OP(op_prelu)
{
    UNUSED;
    for (long r = 0; r < n[0]; r++)
        for (long c = 0; c < n[1]; c += LANES) {
            const B some = first(n[1] - c);
            V x = load_some(p[0] + r * n[1] + c, some);
            store_some(p[2] + r * n[1] + c, where_(less(set(0.f), x), x, mul(x, load_some(p[1] + c, some))), some);
        }
}

/* dx = dy where x > 0, else dy a_C; of_a = dy x where x is not positive, else 0, to be summed. n: N, C. p: dy, x, a, dx, of_a. */
OP(op_prelu_back)
{
    UNUSED;
    for (long r = 0; r < n[0]; r++)
        for (long c = 0; c < n[1]; c += LANES) {
            const B some = first(n[1] - c);
            const long at = r * n[1] + c;
            V dy = load_some(p[0] + at, some), x = load_some(p[1] + at, some);
            B above = less(set(0.f), x);
            store_some(p[3] + at, where_(above, dy, mul(dy, load_some(p[2] + c, some))), some);
            store_some(p[4] + at, where_(above, set(0.f), mul(dy, x)), some);
        }
}

/* y_NC = row_C in every row. n: N, C. p: row, y. */
OP(op_repeat)
{
    UNUSED;
    for (long r = 0; r < n[0]; r++)
        memcpy(p[1] + r * n[1], p[0], n[1] * sizeof(float));
}

/* --- pooling ------------------------------------------------------------------------------------------------------ */

/* Maxima of squares of s x s, stride s; what fills no square is left out; NaN is larger than all. n: N, H, W, C, s. p: x, y. */
OP(op_pool)
{
    UNUSED;
    const long H = n[1], W = n[2], C = n[3], s = n[4], h = H / s, w = W / s;
    for (long i = 0; i < n[0]; i++)
        for (long a = 0; a < h; a++)
            for (long b = 0; b < w; b++)
                for (long c = 0; c < C; c += LANES) {
                    B some = first(C - c);
                    const float *from = p[0] + ((i * H + a * s) * W + b * s) * C + c;
                    V best = load_some(from, some);
                    for (long k = 1; k < s * s; k++) {
                        V one = load_some(from + (k / s * W + k % s) * C, some);
                        best = where_(less(one, best), best, where_(less(best, one), one, add(best, sub(one, one))));
                    }
                    store_some(p[1] + ((i * h + a) * w + b) * C + c, best, some);
                }
}

/* The gradient at the first largest element of each square, 0 elsewhere. n as op_pool. p: dy, x, y, dx. */
OP(op_pool_back)
{
    UNUSED;
    const long H = n[1], W = n[2], C = n[3], s = n[4], h = H / s, w = W / s;
    memset(p[3], 0, n[0] * H * W * C * sizeof(float));
    for (long i = 0; i < n[0]; i++)
        for (long a = 0; a < h; a++)
            for (long b = 0; b < w; b++) {
                const long out = ((i * h + a) * w + b) * C, in = ((i * H + a * s) * W + b * s) * C;
                for (long c = 0; c < C; c++) {
                    long best = in + c;
                    for (long k = 0; k < s * s; k++) {
                        long at = in + (k / s * W + k % s) * C + c;
                        if (p[1][at] == p[2][out + c]) {
                            best = at;
                            break;
                        }
                    }
                    p[3][best] = p[0][out + c];
                }
            }
}

/* --- loss ---------------------------------------------------------------------------------------------------------- */

/* Softmax cross-entropy of logits_NK with labels (whole numbers as floats). n: N, K. f0: what loss and gradient are divided
   by. p: logits, labels_N, gradient_NK, loss, right answers. The loss sums rows by lanes: row i to lane i mod 16. */
OP(op_cross_entropy)
{
    const long N = n[0], K = n[1];
    float lanes[LANES] = {0}, right = 0;
    for (long i = 0; i < N; i++) {
        const float *x = p[0] + i * K;
        float *to = p[2] + i * K;
        long label = (long)p[1][i], best = 0;
        for (long k = 1; k < K; k++)
            best = x[best] < x[k] ? k : best;
        right += best == label;
        V sum = set(0.f), most = set(x[best]);
        for (long k = 0; k < K; k += LANES) {
            B some = first(K - k);
            store_some(to + k, exp_(sub(load_some(x + k, some), most)), some);
            sum = add(sum, load_some(to + k, some));
        }
        float all = total(sum), logs[LANES];
        store(logs, log_(set(all)));
        lanes[i % LANES] += logs[0] - (x[label] - x[best]);
        for (long k = 0; k < K; k += LANES) {
            B some = first(K - k);
            store_some(to + k, quotient(load_some(to + k, some), set(all)), some);
        }
        to[label] -= 1;
        for (long k = 0; k < K; k += LANES) {
            B some = first(K - k);
            store_some(to + k, quotient(load_some(to + k, some), set(f[0])), some);
        }
    }
    *p[3] = total(load(lanes)) / f[0];
    *p[4] = right;
}
