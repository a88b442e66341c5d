/* Matrix products and convolutions. Each element of a result is one chain of fma over the inner axis, ascending:

       sum = C or +0;  for k = 0, 1, ...: sum = fma(A[i,k], B[k,j], sum)

   Tiles, the order of tiles, packing and vector width do not change it. */
#ifndef MATRIX_H
#define MATRIX_H

/* Rows of A that a product reads. Row i begins at `rows[i]`, or, without a list, at `first` + i `apart`. Its inner axis is cut into `segments` pieces of `length`
   elements, `step` apart from each other; piece s begins `offsets[s]` after the row's beginning. */
typedef struct {
    const float *const *rows;
    const long *offsets;
    long segments, length, step;
    const float *first;
    long apart;
} Rows;

/* c_MN (+)= A b: M rows of A, b with `b_row` between its rows, c with `c_row`. `work`: 64 (inner + 1) floats. */
void product_of_rows(const Rows *a, long M, long N, const float *b, long b_row, float *c, long c_row, int add,
                     float *work);

/* c_MN (+)= op(a) op(b), with `lda`, `ldb`, `ldc` between rows. `work`: 64 (K + 1) floats. */
void product(int a_transposed, int b_transposed, long M, long N, long K, const float *a, long lda, const float *b,
             long ldb, float *c, long ldc, int add, float *work);

/* The same of factors rounded to bf16 (bf16.c), where `fast_use` chose a way that the processor has; otherwise exact. In
   a list of rows these are neighbours or the step is 1. `work`: 64 x 385 + 384 (M + N + 32) floats. */
void product_of_rows_fast(const Rows *a, long M, long N, const float *b, long b_row, float *c, long c_row, int add,
                          float *work);
void product_fast(int a_transposed, int b_transposed, long M, long N, long K, const float *a, long lda, const float *b,
                  long ldb, float *c, long ldc, int add, float *work);
#endif
