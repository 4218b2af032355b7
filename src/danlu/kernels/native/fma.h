/* sum + a * b in one rounding, for paths of 256 bits. */
static inline vf add_product(vf sum, vf a, vf b) {
    typedef union {
        vf whole;
        __m256 half[2];
    } Pair;
    Pair s = {sum}, l = {a}, r = {b};
    for (int h = 0; h < 2; h++) s.half[h] = _mm256_fmadd_ps(l.half[h], r.half[h], s.half[h]);
    return s.whole;
}
