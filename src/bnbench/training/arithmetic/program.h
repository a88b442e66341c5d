/* A call of a compiled program, as calls.py records it. */

#define INLINE static inline __attribute__((always_inline))

/* n: sizes; f: constants; p: arrays, each advanced by `by` floats with each step. */
#define WIDTH 8
#define ARGUMENTS const long *n, const float *f, float **p
typedef struct {
    void (*op)(ARGUMENTS);
    long n[WIDTH];
    float f[WIDTH];
    float *p[WIDTH];
    long by[WIDTH];
} Call;

typedef void Gemm(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                  const int *, const float *, const int *, const float *, float *, const int *);
extern Gemm *gemm;

/* Functions of many numbers, as torch calls them: high accuracy, denormals kept, errors ignored (ATen/cpu/vml.h). */
typedef void Many(int, const float *, float *, long);
#define MODE (0x2 | 0x140000 | 0x100)
