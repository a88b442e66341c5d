/* Sums down the columns of an array: blocks of COLUMN_BLOCK rows, rows ascending within a block from +0, blocks ascending
   from +0. The block bounds the error, and vectors of columns do not change the order. */
#ifndef COLUMNS_H
#define COLUMNS_H
#include "lanes.h"

enum { COLUMN_BLOCK = 32 };
enum { PLAIN, TIMES, SQUARE_OF_DIFFERENCE }; /* what is added of an element: x, x y, or (x - y_C)^2 */

INLINE void down(int kind, long N, long C, const float *x, const float *y, float *to)
{
    for (long c = 0; c < C; c += LANES) {
        B some = first(C - c);
        V sum = set(0.f), mean = kind == SQUARE_OF_DIFFERENCE ? load_some(y + c, some) : set(0.f);
        for (long i = 0; i < N; i += COLUMN_BLOCK) {
            V block = set(0.f);
            for (long r = i; r < N && r < i + COLUMN_BLOCK; r++) {
                V one = load_some(x + r * C + c, some);
                if (kind == PLAIN)
                    block = add(block, one);
                else if (kind == TIMES)
                    block = fma_(one, load_some(y + r * C + c, some), block);
                else {
                    one = sub(one, mean);
                    block = fma_(one, one, block);
                }
            }
            sum = add(sum, block);
        }
        store_some(to + c, sum, some);
    }
}
#endif
