/* Eigen-decomposition of a symmetric matrix in doubles: Householder's reduction to a tridiagonal matrix, then QL with
   implicit shifts (Wilkinson and Reinsch, 1971, "Linear algebra", II/2 and II/4; EISPACK's tred2 and imtql2).

   All loops run along rows. A sum along a row takes 32 virtual lanes (element k joins lane k mod 32, ascending, by fma)
   and a fixed tree; everything else is elementwise. Hence neither the vector width nor the blocking changes a bit. */
#include "doubles.h"
#include "ops.h"

enum { FOUR = 4, WIDTH = FOUR * EIGHT };
enum { REFLECTORS = 32 }; /* applied to a row while the first cache holds it; 32 rows of 24 KB fit the second */
enum { ROTATIONS = 128 }; /* times d are collected before the vectors are rotated */
enum { TRIALS = 60 };     /* shifts for an eigenvalue; fewer than two are usual */
static const double EPSILON = 0x1p-52;

INLINE void dot_piece(D *sum, const double *a, const double *b, long left)
{
    UNROLLED for (int v = 0; v < FOUR; v++)
        sum[v] = d_fma(d_load_some(a + EIGHT * v, left - EIGHT * v), d_load_some(b + EIGHT * v, left - EIGHT * v), sum[v]);
}

static double dot(long count, const double *a, const double *b)
{
    D sum[FOUR] = {d_set(0), d_set(0), d_set(0), d_set(0)};
    long k = 0;
    for (; k + WIDTH <= count; k += WIDTH)
        dot_piece(sum, a + k, b + k, WIDTH);
    dot_piece(sum, a + k, b + k, count - k);
    return d_total(sum);
}

/* y += factor x. */
static void add_multiple(long count, double factor, const double *x, double *y)
{
    for (long k = 0; k < count; k += EIGHT)
        d_store_some(y + k, d_fma(d_set(factor), d_load_some(x + k, count - k), d_load_some(y + k, count - k)), count - k);
}

/* sqrt(a^2 + b^2): the larger times sqrt(1 + ratio^2), which cannot overflow sooner than the result. */
static double length(double a, double b)
{
    const double x = fabs(a), y = fabs(b), most = x < y ? y : x, least = x < y ? x : y;
    if (most == 0)
        return 0;
    return most * sqrt(1 + least / most * (least / most));
}

/* --- reduction: A = Q T Q^T ---------------------------------------------------------------------------------------- */

/* Turn x into u such that I - u u^T / h maps x to (0, ..., 0, last); return h. u and h are 0 if x has that form already. */
static double reflector(long count, double *x, double *last)
{
    double scale = 0;
    for (long k = 0; k < count - 1; k++)
        scale = scale < fabs(x[k]) ? fabs(x[k]) : scale;
    *last = x[count - 1];
    if (scale == 0) {
        memset(x, 0, count * sizeof(double));
        return 0;
    }
    scale = scale < fabs(*last) ? fabs(*last) : scale;
    for (long k = 0; k < count; k++)
        x[k] /= scale;
    const double square = dot(count, x, x), f = x[count - 1], g = f < 0 ? sqrt(square) : -sqrt(square);
    *last = scale * g;
    x[count - 1] = f - g;
    return square - f * g;
}

typedef struct {
    const double *u, *q; /* of the last reflection, with which A is still to be updated */
    const double *v;     /* of the next */
    double *p;           /* A v, so far */
} Vectors;

INLINE void row_piece(D *sum, double *row, Vectors of, const D factors[3], long left)
{
    UNROLLED for (int i = 0; i < FOUR; i++) {
        const long at = EIGHT * i, some = left - at;
        D x = d_fma(factors[0], d_load_some(of.q + at, some), d_load_some(row + at, some));
        x = d_fma(factors[1], d_load_some(of.u + at, some), x);
        d_store_some(row + at, x, some);
        sum[i] = d_fma(x, d_load_some(of.v + at, some), sum[i]);
        d_store_some(of.p + at, d_fma(x, factors[2], d_load_some(of.p + at, some)), some);
    }
}

/* One pass over row j of the lower triangle: A_jk = fma(-q_j, u_k, fma(-u_j, q_k, A_jk)); then p_k += A_jk v_j for k < j,
   and p_j = the sum of A_jk v_k over k <= j. */
static void update_and_multiply(long j, double *row, Vectors of)
{
    const D factors[3] = {d_set(-of.u[j]), d_set(-of.q[j]), d_set(of.v[j])};
    D sum[FOUR] = {d_set(0), d_set(0), d_set(0), d_set(0)};
    long k = 0;
    for (; k + WIDTH <= j + 1; k += WIDTH)
        row_piece(sum, row + k, (Vectors){of.u + k, of.q + k, of.v + k, of.p + k}, factors, WIDTH);
    row_piece(sum, row + k, (Vectors){of.u + k, of.q + k, of.v + k, of.p + k}, factors, j + 1 - k);
    of.p[j] = d_total(sum);
}

/* Reflections for rows d - 1 to 1. Row i of a becomes u_i; h_i; diagonal_i = T_ii and beside_i = T_i,i-1.
   `work`: 3 d zeros. */
static void reduce(long d, double *a, double *diagonal, double *beside, double *h, double *work)
{
    const double *u = work;
    double *q = work + d, *p = work + 2 * d;
    for (long i = d - 1; i >= 0; i--) {
        double *row = a + i * d;
        add_multiple(i + 1, -u[i], q, row);
        add_multiple(i + 1, -q[i], u, row);
        diagonal[i] = row[i];
        beside[0] = h[0] = 0;
        if (i == 0)
            break;
        h[i] = reflector(i, row, beside + i);
        row[i] = 0;
        for (long j = 0; j < i; j++)
            update_and_multiply(j, a + j * d, (Vectors){u, q, row, p});
        const double share = h[i] == 0 ? 0 : 1 / h[i];
        for (long k = 0; k < i; k++)
            q[k] = p[k] * share;
        add_multiple(i, -dot(i, row, q) * share / 2, row, q);
        u = row;
    }
}

/* Row j of z = column j of Q: unit vector j after the reflections j + 1, j + 2, ... */
static void accumulate(long d, const double *a, const double *h, double *z)
{
    memset(z, 0, d * d * sizeof(double));
    for (long j = 0; j < d; j++)
        z[j * d + j] = 1;
    for (long block = 0; block < d; block += REFLECTORS)
        for (long j = 0; j < d && j < block + REFLECTORS; j++)
            for (long i = block < j + 1 ? j + 1 : block; i < d && i < block + REFLECTORS; i++)
                if (h[i] != 0)
                    add_multiple(i, -dot(i, a + i * d, z + j * d) / h[i], a + i * d, z + j * d);
}

/* --- QL: T = S diag S^T -------------------------------------------------------------------------------------------- */

/* Rows `at` and `at` + 1 of z become c z_at - s z_at+1 and s z_at + c z_at+1. */
typedef struct { double at, c, s; } Rotation;

/* Rotate all rows, in strips of columns that stay in the second cache. */
static void rotate(long d, double *z, const Rotation *list, long count, double *strip)
{
    for (long k = 0; k < d; k += WIDTH) {
        const long columns = d - k < WIDTH ? d - k : WIDTH;
        for (long j = 0; j < d; j++)
            memcpy(strip + j * WIDTH, z + j * d + k, columns * sizeof(double));
        D carried[FOUR];
        long at = -1; /* the row that is carried in registers */
        for (const Rotation *r = list; r < list + count; r++) {
            double *row = strip + (long)r->at * WIDTH;
            const D c = d_set(r->c), s = d_set(r->s), minus_s = d_set(-r->s);
            const int same = (long)r->at + 1 == at;
            UNROLLED for (int v = 0; v < FOUR; v++) {
                if (!same) {
                    if (at >= 0)
                        d_store(strip + at * WIDTH + EIGHT * v, carried[v]);
                    carried[v] = d_load(row + WIDTH + EIGHT * v);
                }
                const D x = d_load(row + EIGHT * v);
                d_store(row + WIDTH + EIGHT * v, d_fma(s, x, d_mul(c, carried[v])));
                carried[v] = d_fma(c, x, d_mul(minus_s, carried[v]));
            }
            at = (long)r->at;
        }
        for (int v = 0; v < FOUR && at >= 0; v++)
            d_store(strip + at * WIDTH + EIGHT * v, carried[v]);
        for (long j = 0; j < d; j++)
            memcpy(z + j * d + k, strip + j * WIDTH, columns * sizeof(double));
    }
}

/* One QL step with Wilkinson's shift on rows l to m; return the number of rotations, which are appended to `to`. */
static long step(long l, long m, double *diagonal, double *beside, Rotation *to)
{
    double g = (diagonal[l + 1] - diagonal[l]) / (2 * beside[l]), r = length(g, 1);
    g = diagonal[m] - diagonal[l] + beside[l] / (g < 0 ? g - r : g + r);
    double s = 1, c = 1, shift = 0;
    for (long i = m - 1; i >= l; i--) {
        const double f = s * beside[i], b = c * beside[i];
        beside[i + 1] = r = length(f, g);
        if (r == 0) { /* the matrix has fallen apart here */
            diagonal[i + 1] -= shift;
            beside[m] = 0;
            return m - 1 - i;
        }
        s = f / r;
        c = g / r;
        g = diagonal[i + 1] - shift;
        r = (diagonal[i] - g) * s + 2 * c * b;
        shift = s * r;
        diagonal[i + 1] = g + shift;
        g = c * r - b;
        to[m - 1 - i] = (Rotation){i, c, s};
    }
    diagonal[l] -= shift;
    beside[l] = g;
    beside[m] = 0;
    return m - l;
}

/* Eigenvalues of the symmetric a_DD (its lower triangle is read, and a is overwritten), in no order, with eigenvector i in
   row i of z_DD. An element beside the diagonal counts as 0 up to 2^-52 of the largest |T_ii| + |T_i,i-1|, and up to
   2^-1022. The values are NaN if they do not converge, as with NaN in a. n: D. p: a, values_D, z, work of 422 D (doubles). */
OP(op_eigen)
{
    (void)f;
    const long d = n[0];
    double *a = (double *)p[0], *values = (double *)p[1], *z = (double *)p[2], *beside = (double *)p[3], *h = beside + d;
    double *strip = h + d /* of 32 d */, tiny = 0x1p-1022;
    Rotation *list = (Rotation *)(strip + WIDTH * d);
    memset(strip, 0, WIDTH * d * sizeof(double));
    reduce(d, a, values, beside, h, strip);
    accumulate(d, a, h, z);
    for (long i = 0; i < d; i++) {
        const double size = EPSILON * (fabs(values[i]) + fabs(beside[i]));
        tiny = tiny < size ? size : tiny;
    }
    memmove(beside, beside + 1, (d - 1) * sizeof(double)); /* now of rows i and i + 1 */
    beside[d - 1] = 0;
    long count = 0, trials = 0;
    for (long l = 0; l < d;) {
        long m = l;
        while (m < d - 1 && !(fabs(beside[m]) <= tiny))
            m++;
        if (m == l) {
            l++;
            trials = 0;
        } else if (trials++ == TRIALS) {
            for (long i = 0; i < d; i++)
                values[i] = NAN;
            return;
        } else {
            count += step(l, m, values, beside, list + count);
            if (count > (ROTATIONS - 1) * d) {
                rotate(d, z, list, count, strip);
                count = 0;
            }
        }
    }
    rotate(d, z, list, count, strip);
}
