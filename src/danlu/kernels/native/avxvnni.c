/* VNNI without AVX-512, as in small cores. */
#if defined(__x86_64__)
#define PATH avxvnni
#define ROWS 3
#define COLUMNS 1
#include <immintrin.h>
#include "vectors.h"

typedef union {
    vi whole;
    __m256i half[2];
} Halves;

static inline vi dot(vi sum, vb weights, int32_t inputs, int bits) {
    (void)bits;
    Halves s = {sum}, w = {(vi)weights};
    const __m256i x = _mm256_set1_epi32(inputs);
    for (int h = 0; h < 2; h++) s.half[h] = _mm256_dpbusd_avx_epi32(s.half[h], w.half[h], x);
    return s.whole;
}

#include "fma.h"
#include "linear.h"
#include "blocks.h"
#include "path.h"
#endif
