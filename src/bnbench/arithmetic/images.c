/* What is done to images before they are fed: sums of pixels for the covariance, projection, resampling.

   Pixels are whole numbers, so their sums of products are exact, in any order. */
#include "doubles.h"
#include "ops.h"

#define UNUSED (void)n, (void)f, (void)p


/* --- sums of products of pixels ------------------------------------------------------------------------------------ */

enum { IMAGES = 1024, ROWS = 8 }; /* 1024 products of two bytes fit 32 bits; 8 rows of 2 KB fit the first cache */

/* sums_DD += x_ND^T x_ND for bytes x; the lower triangle alone. n: N, D. p: x (bytes), sums (int64), work (int16, 1024 D). */
OP(op_pixel_products)
{
    UNUSED;
    const long N = n[0], D_ = n[1];
    const uint8_t *x = (const uint8_t *)p[0];
    int64_t *sums = (int64_t *)p[1];
    int16_t *columns = (int16_t *)p[2];
    for (long first_one = 0; first_one < N; first_one += IMAGES, x += IMAGES * D_) {
        const long some = N - first_one < IMAGES ? N - first_one : IMAGES;
        for (long i = 0; i < some; i++)
            for (long k = 0; k < D_; k++)
                columns[k * IMAGES + i] = x[i * D_ + k];
        for (long block = 0; block < D_; block += ROWS)
            for (long j = block; j < D_; j++)
                for (long k = block; k < block + ROWS && k <= j; k++) {
                    const int16_t *a = columns + j * IMAGES, *b = columns + k * IMAGES;
                    int32_t sum = 0;
                    for (long i = 0; i < some; i++)
                        sum += a[i] * b[i];
                    sums[j * D_ + k] += sum;
                }
    }
}

/* --- product of doubles ------------------------------------------------------------------------------------------- */

#ifdef __AVX512F__
enum { HEIGHT = 12, WIDE = 2 }; /* of a tile: 32 registers hold it */
#else
enum { HEIGHT = 6, WIDE = 1 }; /* 16 registers of half a vector */
#endif
#define COLUMNS (WIDE * EIGHT)

/* c_MN = a_MK b_KN in doubles: each element one chain of fma over k, ascending, from +0. n: M, N, K. p: a, b, c, work of
   K (M + 28) doubles. */
OP(op_product64)
{
    UNUSED;
    const long M = n[0], N = n[1], K = n[2];
    const double *a = (const double *)p[0], *b = (const double *)p[1];
    double *c = (double *)p[2], *of_b = (double *)p[3], *of_a = of_b + K * COLUMNS;
    for (long i = 0; i < M; i += HEIGHT)
        for (long k = 0; k < K; k++)
            for (long r = 0; r < HEIGHT; r++)
                of_a[i * K + k * HEIGHT + r] = i + r < M ? a[(i + r) * K + k] : 0;
    for (long j = 0; j < N; j += COLUMNS) {
        const long columns = N - j < COLUMNS ? N - j : COLUMNS;
        for (long k = 0; k < K; k++)
            for (long t = 0; t < COLUMNS; t++)
                of_b[k * COLUMNS + t] = t < columns ? b[k * N + j + t] : 0;
        for (long i = 0; i < M; i += HEIGHT) {
            const double *left = of_a + i * K, *right = of_b;
            D sum[HEIGHT][WIDE], row[WIDE];
            UNROLLED for (int r = 0; r < HEIGHT; r++)
                UNROLLED for (int v = 0; v < WIDE; v++)
                    sum[r][v] = d_set(0);
            for (long k = 0; k < K; k++, left += HEIGHT, right += COLUMNS) {
                UNROLLED for (int v = 0; v < WIDE; v++)
                    row[v] = d_load(right + EIGHT * v);
                UNROLLED for (int r = 0; r < HEIGHT; r++)
                    UNROLLED for (int v = 0; v < WIDE; v++)
                        sum[r][v] = d_fma(d_set(left[r]), row[v], sum[r][v]);
            }
            double tile[HEIGHT][COLUMNS];
            UNROLLED for (int r = 0; r < HEIGHT; r++)
                UNROLLED for (int v = 0; v < WIDE; v++)
                    d_store(&tile[r][EIGHT * v], sum[r][v]);
            for (long r = 0; r < HEIGHT && i + r < M; r++)
                memcpy(c + (i + r) * N + j, tile[r], columns * sizeof(double));
        }
    }
}

/* --- resampling --------------------------------------------------------------------------------------------------- */

/* Coordinates within 0..most; NaN becomes 0. */
INLINE V clamped(V x, float most)
{
    x = where_(less(set(0.f), x), x, set(0.f));
    return where_(less(x, set(most)), x, set(most));
}

/* Images to_NHWC: output pixel (row h, column w) of image i is sampled from x_NHWC at

       column = fma(a, u, fma(b, v, c) + (W - 1) / 2),  row = fma(d, u, fma(e, v, f) + (H - 1) / 2),
       u = w - (W - 1) / 2,  v = h - (H - 1) / 2,

   clamped to the image, by bilinear interpolation: between the two columns in each of the two rows, then between the rows,
   each as fma(weight, second - first, first). n: N, H, W, C. p: x, transforms_N6 (a, b, c, d, e, f), to. */
OP(op_sample)
{
    UNUSED;
    const long H = n[1], W = n[2], C = n[3];
    const float middle_h = (H - 1) / 2.f, middle_w = (W - 1) / 2.f;
    float lane[LANES], at_h[LANES], at_w[LANES], *to = p[2];
    for (int k = 0; k < LANES; k++)
        lane[k] = k;
    for (long i = 0; i < n[0]; i++) {
        const float *x = p[0] + i * H * W * C, *t = p[1] + 6 * i;
        for (long h = 0; h < H; h++) {
            const V v = set(h - middle_h);
            const V from_w = add(fma_(set(t[1]), v, set(t[2])), set(middle_w));
            const V from_h = add(fma_(set(t[4]), v, set(t[5])), set(middle_h));
            for (long w = 0; w < W; w += LANES) {
                const V u = add(load(lane), set(w - middle_w));
                store(at_w, clamped(fma_(set(t[0]), u, from_w), W - 1));
                store(at_h, clamped(fma_(set(t[3]), u, from_h), H - 1));
                for (long k = 0; k < LANES && w + k < W; k++) {
                    const long left = (long)at_w[k], top = (long)at_h[k];
                    const long right = left + (left < W - 1) , bottom = top + (top < H - 1);
                    const float across = at_w[k] - left, down = at_h[k] - top;
                    const float *upper = x + top * W * C, *lower = x + bottom * W * C;
                    for (long c = 0; c < C; c++) {
                        const float *l = upper + c, *m = lower + c;
                        float one = fmaf(across, l[right * C] - l[left * C], l[left * C]);
                        float two = fmaf(across, m[right * C] - m[left * C], m[left * C]);
                        *to++ = fmaf(down, two - one, one);
                    }
                }
            }
        }
    }
}
