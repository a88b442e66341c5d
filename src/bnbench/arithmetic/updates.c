/* Updates of weights by their gradients, elementwise, fused where it says fma. n: count. */
#include "lanes.h"
#include "ops.h"

/* Weight decay: g = fma(w, decay, g). f0: decay. p: w, g. */
OP(op_decay)
{
    const V decay = set(f[0]);
    for (long i = 0; i < n[0]; i += LANES) {
        B some = first(n[0] - i);
        store_some(p[1] + i, fma_(load_some(p[0] + i, some), decay, load_some(p[1] + i, some)), some);
    }
}

/* v = fma(v, momentum, g); w = fma(v, -rate, w). With momentum 0, v is g and neither read nor written. f0: momentum.
   p: w, g, v, rate. */
OP(op_sgd)
{
    const V momentum = set(f[0]), rate = set(-*p[3]);
    const int velocity = f[0] != 0;
    for (long i = 0; i < n[0]; i += LANES) {
        B some = first(n[0] - i);
        V v = load_some(p[1] + i, some);
        if (velocity) {
            v = fma_(load_some(p[2] + i, some), momentum, v);
            store_some(p[2] + i, v, some);
        }
        store_some(p[0] + i, fma_(v, rate, load_some(p[0] + i, some)), some);
    }
}

/* Adam (arXiv 1412.6980, algorithm 1): m = fma(g, 1 - beta1, m beta1); v = fma(g g, 1 - beta2, v beta2);
   w = fma(m / (sqrt(v / second) + epsilon), -rate, w). f: beta1, 1 - beta1, beta2, 1 - beta2, epsilon. p: w, g, m, v; rate
   over the first correction 1 - beta1^t; the second correction 1 - beta2^t. */
OP(op_adam)
{
    const V b1 = set(f[0]), a1 = set(f[1]), b2 = set(f[2]), a2 = set(f[3]), epsilon = set(f[4]);
    const V rate = set(-*p[4]), second = set(*p[5]);
    for (long i = 0; i < n[0]; i += LANES) {
        B some = first(n[0] - i);
        V g = load_some(p[1] + i, some);
        V m = fma_(g, a1, mul(load_some(p[2] + i, some), b1));
        V v = fma_(mul(g, g), a2, mul(load_some(p[3] + i, some), b2));
        store_some(p[2] + i, m, some);
        store_some(p[3] + i, v, some);
        V step = quotient(m, add(root(quotient(v, second)), epsilon));
        store_some(p[0] + i, fma_(step, rate, load_some(p[0] + i, some)), some);
    }
}
