/* Sums in float64 of fp32 and float64 matrices, square roots, and the losses of images: what evaluation, history and
   probes reduce outside training steps.

   Orders of summation, as in ops.h:
   - along rows: element k joins lane k mod 16, ascending from +0; the lanes are added by a tree (8 and 8, 4 and 4, ...);
   - down columns: blocks of COLUMN_BLOCK rows, rows ascending within a block from +0, blocks ascending from +0.
   Each term is rounded to float64 before it is added: nothing is fused. */
#include "ops.h"

#include "lanes.h"

/* What is added of an element x with its centre c: x - c, |x - c| or (x - c)^2. */
enum { PLAIN, ABSOLUTE, SQUARE, TERMS };

INLINE double term(int of, double x, double centre)
{
    double d = x - centre;
    return of == PLAIN ? d : of == ABSOLUTE ? fabs(d) : d * d;
}

INLINE double at(int wide, const void *x, long i) { return wide ? ((const double *)x)[i] : (double)((const float *)x)[i]; }

INLINE void along(int of, int wide, const long *n, const void *x, const double *centre, double *to)
{
    for (long i = 0; i < n[0]; i++) {
        double lane[LANES] = {0};
        for (long k = 0; k < n[1]; k += LANES) {
            const long some = n[1] - k < LANES ? n[1] - k : LANES;
            for (long j = 0; j < some; j++)
                lane[j] += term(of, at(wide, x, i * n[1] + k + j), centre[i]);
        }
        for (int half = LANES / 2; half; half /= 2)
            for (int j = 0; j < half; j++)
                lane[j] += lane[j + half];
        to[i] = lane[0];
    }
}

INLINE void down(int of, int wide, const long *n, const void *x, const double *centre, double *to)
{
    for (long c = 0; c < n[1]; c += LANES) {
        const long some = n[1] - c < LANES ? n[1] - c : LANES;
        double sum[LANES] = {0};
        for (long i = 0; i < n[0]; i += COLUMN_BLOCK) {
            double block[LANES] = {0};
            for (long r = i; r < n[0] && r < i + COLUMN_BLOCK; r++)
                for (long j = 0; j < some; j++)
                    block[j] += term(of, at(wide, x, r * n[1] + c + j), centre[c + j]);
            for (long j = 0; j < some; j++)
                sum[j] += block[j];
        }
        memcpy(to + c, sum, some * sizeof(double));
    }
}

/* n: rows, columns, what is added, whether x is float64. p: x, centre (of each row or column, float64), sums (float64). */
#define SUMS(name, direction)                                                                                        \
    OP(name)                                                                                                         \
    {                                                                                                                \
        (void)f;                                                                                                     \
        const double *centre = (const double *)p[1];                                                                 \
        double *to = (double *)p[2];                                                                                 \
        switch (TERMS * (n[3] != 0) + n[2]) { /* the loops know what they add */                                     \
        case PLAIN: direction(PLAIN, 0, n, p[0], centre, to); break;                                                 \
        case ABSOLUTE: direction(ABSOLUTE, 0, n, p[0], centre, to); break;                                           \
        case SQUARE: direction(SQUARE, 0, n, p[0], centre, to); break;                                               \
        case TERMS + PLAIN: direction(PLAIN, 1, n, p[0], centre, to); break;                                         \
        case TERMS + ABSOLUTE: direction(ABSOLUTE, 1, n, p[0], centre, to); break;                                   \
        case TERMS + SQUARE: direction(SQUARE, 1, n, p[0], centre, to); break;                                       \
        }                                                                                                            \
    }
SUMS(op_sums_along_rows, along)
SUMS(op_sums_down_columns, down)

/* n: count. p: x, its square roots; float64. */
OP(op_square_roots)
{
    (void)f;
    for (long i = 0; i < n[0]; i++)
        ((double *)p[1])[i] = sqrt(((const double *)p[0])[i]);
}

/* Softmax cross-entropy of each image, log(sum of exp(x - max)) - (x of the label - max), as op_cross_entropy has it.
   n: images, classes. p: logits_NK, labels (int64), losses_N. */
OP(op_image_losses)
{
    (void)f;
    const long *labels = (const long *)p[1];
    for (long i = 0; i < n[0]; i++) {
        const float *x = p[0] + i * n[1];
        float most = x[0], logs[LANES];
        for (long k = 1; k < n[1]; k++)
            most = most < x[k] ? x[k] : most;
        V sum = set(0.f);
        for (long k = 0; k < n[1]; k += LANES) {
            B some = first(n[1] - k);
            V each = exp_(sub(load_some(x + k, some), set(most)));
            sum = add(sum, where_(some, each, set(0.f)));
        }
        store(logs, log_(set(total(sum))));
        p[2][i] = logs[0] - (x[labels[i]] - most);
    }
}
