/* Which path this processor can take, found out when the program runs. */
#include <stddef.h>
#include "danlu.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const struct {
    const char *name;
    const Path *path;
} PATHS[] = {
    {"portable", &portable},
#if defined(__x86_64__)
    {"avx2", &avx2},
    {"avxvnni", &avxvnni},
    {"avx512vnni", &avx512vnni},
#endif
};
enum { COUNT = sizeof PATHS / sizeof PATHS[0] };

static int runs(int path) {
#if defined(__x86_64__)
    unsigned a = 0, b, c, d;
    __builtin_cpu_init();
    const int two = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    switch (path) {
    case 1:
        return two;
    case 2:  /* leaf 7, part 1, bit 4 of a: AVX-VNNI */
        return two && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
    case 3:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    }
#endif
    return path == 0;
}

int danlu_paths(void) { return COUNT; }

const char *danlu_path_name(int path) { return PATHS[path].name; }

int danlu_path_runs(int path) { return path >= 0 && path < COUNT && runs(path); }

int danlu_linear(int path, const Layer *layer, const float *x, int64_t rows, float *y, int threads) {
    return PATHS[path].path->linear(layer, x, rows, y, threads);
}

void danlu_dense(int path, const Layer *layer, const float *levels, float *weights, int threads) {
    PATHS[path].path->dense(layer, levels, weights, threads);
}

int danlu_blocks(
    int path, const Shape *shape, const Block *blocks, int64_t depth, const Rows *rows, int threads) {
    return PATHS[path].path->blocks(shape, blocks, depth, rows, threads);
}

/* So that Python and C cannot disagree in silence about what crosses. */
int64_t danlu_sizes(int which) {
    const int64_t sizes[] = {sizeof(Layer), sizeof(Norm), sizeof(Block), sizeof(Shape), sizeof(Rows)};
    return which >= 0 && which < 5 ? sizes[which] : -1;
}
