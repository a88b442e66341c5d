/* Operations of a training step on fp32 arrays, one run at a time. Each has one signature: sizes n, constants f, arrays p.

   Sums that IEEE 754 leaves open have a stated order:
   - down columns: blocks of COLUMN_BLOCK rows, rows ascending within a block from +0, blocks ascending from +0;
   - along rows: element i joins lane i mod 16, ascending; the lanes are added by a fixed tree (`total`).
   Everything else is elementwise. Names of sizes: N rows, C columns (channels), G groups. */
#ifndef OPS_H
#define OPS_H
#define MOST 12
typedef struct {
    void (*op)(const long *n, const float *f, float *const *p);
    long n[MOST];
    float f[MOST];
    float *p[MOST];
    long by[MOST]; /* by how many bytes each array moves on with each step */
} Call;
#define OP(name) void name(const long *n, const float *f, float *const *p)
void replay(const Call *calls, long count, long steps);
#endif
