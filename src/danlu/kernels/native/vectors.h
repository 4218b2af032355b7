/* Sixteen numbers at a time, in the compiler's own vectors: one source for every path. Multiplications and additions are
   not contracted (see build.py), so that codes are the same on every path, to the bit. */
#ifndef VECTORS_H
#define VECTORS_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "danlu.h"
#if defined(_OPENMP)
int omp_get_thread_num(void);
int omp_get_num_threads(void);
#else
static inline int omp_get_thread_num(void) { return 0; }
static inline int omp_get_num_threads(void) { return 1; }
#endif

enum { LANES = 16 };
typedef int32_t vi __attribute__((vector_size(64)));
typedef float vf __attribute__((vector_size(64)));
typedef uint8_t vb __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(64)));
typedef int8_t vq __attribute__((vector_size(16)));
typedef uint8_t vz __attribute__((vector_size(16)));
/* The same, wherever they stand in memory. */
typedef float vf_at __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint8_t vb_at __attribute__((vector_size(64), aligned(1), may_alias));
typedef uint8_t vz_at __attribute__((vector_size(16), aligned(1), may_alias));

#define FLOATS(v) __builtin_convertvector((v), vf)
#define INTS(v) __builtin_convertvector((v), vi)
#define ALL(x) ((vf){0} + (float)(x))
#define SPLAT(x) ((vi){0} + (int32_t)(x))

static inline vf load(const float *x) { return (vf) * (const vf_at *)x; }
static inline void store(float *x, vf v) { *(vf_at *)x = v; }

/* The first n of sixteen, the others zero. */
static inline vf load_some(const float *x, int64_t n) {
    vf v = {0};
    memcpy(&v, x, (size_t)n * sizeof(float));
    return v;
}

static inline vf where(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }
static inline vf larger(vf a, vf b) { return where(a > b, a, b); }
static inline vf smaller(vf a, vf b) { return where(a < b, a, b); }
static inline vf magnitude(vf a) { return (vf)((vi)a & 0x7fffffff); }

static inline float sum_of(vf v) {
    v += __builtin_shuffle(v, (vi){8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
    v += __builtin_shuffle(v, (vi){4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11});
    v += __builtin_shuffle(v, (vi){2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13});
    return v[0] + v[1];
}

static inline float largest_of(vf v) {
    float m = v[0];
    for (int i = 1; i < LANES; i++) m = v[i] > m ? v[i] : m;
    return m;
}

/* To the nearest whole number, ties to even, for magnitudes below 2^22: adding 1.5 * 2^23 leaves no room for fractions. */
static inline vi nearest(vf v) {
    const float magic = 12582912.0f;
    return (vi)(v + magic) - (vi)ALL(magic);
}

/* e^x to 2e-7: 2^n times a polynomial in what is left (Cephes' expf). */
static inline vf exponential(vf x) {
    x = larger(smaller(x, ALL(88.0f)), ALL(-87.3f));
    const vi n = nearest(x * 1.44269504f);
    const vf r = x - FLOATS(n) * 0.693359375f + FLOATS(n) * 2.12194440e-4f;
    vf p = ALL(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vf)((n + 127) << 23);
}

static inline vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }

/* The error function to 2e-7 (Abramowitz and Stegun 1964, 7.1.26). */
static inline vf error_function(vf x) {
    const vf a = magnitude(x), t = 1.0f / (1.0f + 0.3275911f * a);
    vf p = ALL(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const vf y = 1.0f - p * t * exponential(-a * a);
    return where(x < 0.0f, -y, y);
}

static inline vf hyperbolic_tangent(vf x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

static inline vf activate(vf x, int32_t activation) {
    switch (activation) {
    case GELU:
        return 0.5f * x * (1.0f + error_function(x * 0.70710678f));
    case GELU_TANH:
        return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x));
    case QUICK_GELU:
        return x * sigmoid(1.702f * x);
    case RELU:
        return larger(x, ALL(0));
    case SILU:
        return x * sigmoid(x);
    case TANH:
        return hyperbolic_tangent(x);
    }
    return x;
}

/* Memory that the calling thread keeps for its next call, unless it is much. */
typedef struct {
    void *memory;
    size_t size;
} Scratch;

enum { KEPT = 1 << 26 };

static inline Scratch *own_scratch(void) {
    static _Thread_local Scratch scratch;
    return &scratch;
}

static inline void *scratch(size_t bytes) {
    Scratch *own = own_scratch();
    if (own->size < bytes) {
        free(own->memory);
        own->size = (bytes + 4095) & ~(size_t)4095;
        own->memory = aligned_alloc(4096, own->size);
        if (!own->memory) own->size = 0;
    }
    return own->memory;
}

static inline void give_back(void) {
    Scratch *own = own_scratch();
    if (own->size <= KEPT) return;
    free(own->memory);
    *own = (Scratch){0};
}

/* The share of thread t of n in `count` things: from *start to the returned end. */
static inline int64_t share(int64_t count, int t, int n, int64_t *start) {
    *start = count * t / n;
    return count * (t + 1) / n;
}
#endif
