/* AVX2. Sums of two products must fit in 16 bits: those of 4-bit codes do; those of 8-bit codes do when the sign of the
   inputs is moved to the weights, which are then within 127. */
#if defined(__x86_64__)
#define PATH avx2
#define ROWS 2
#define COLUMNS 1
#include <immintrin.h>
#include "vectors.h"

typedef union {
    vi whole;
    __m256i half[2];
} Halves;

static inline vi dot(vi sum, vb weights, int32_t inputs, int bits) {
    Halves s = {sum}, w = {(vi)weights};
    const __m256i x = _mm256_set1_epi32(inputs), ones = _mm256_set1_epi16(1);
    for (int h = 0; h < 2; h++) {
        __m256i pairs;
        if (bits == 8) {
            const __m256i centred = _mm256_xor_si256(w.half[h], _mm256_set1_epi8(-128));
            pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(centred, x));
        } else {
            pairs = _mm256_maddubs_epi16(w.half[h], x);
        }
        s.half[h] = _mm256_add_epi32(s.half[h], _mm256_madd_epi16(pairs, ones));
    }
    return s.whole;
}

#include "fma.h"
#define CENTRED 128 /* 8-bit codes are less by this in `dot` */
#include "linear.h"
#include "blocks.h"
#include "path.h"
#endif
