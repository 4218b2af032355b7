/* AVX-512 with VNNI: four products a lane in one instruction. */
#if defined(__x86_64__)
#define PATH avx512vnni
#define ROWS 6
#define COLUMNS 4
#include <immintrin.h>
#include "vectors.h"

static inline vi dot(vi sum, vb weights, int32_t inputs, int bits) {
    (void)bits;
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, _mm512_set1_epi32(inputs));
}

static inline vf add_product(vf sum, vf a, vf b) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum); }

#include "linear.h"
#include "blocks.h"
#include "path.h"
#endif
