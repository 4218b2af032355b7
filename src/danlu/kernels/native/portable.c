/* Any processor, by the compiler's own vectors. */
#define PATH portable
#define ROWS 2
#define COLUMNS 1
#include "vectors.h"

static inline vi dot(vi sum, vb weights, int32_t inputs, int bits) {
    (void)bits;
    int8_t x[4];
    memcpy(x, &inputs, 4);
    for (int lane = 0; lane < LANES; lane++)
        sum[lane] += weights[4 * lane] * x[0] + weights[4 * lane + 1] * x[1] + weights[4 * lane + 2] * x[2] +
                     weights[4 * lane + 3] * x[3];
    return sum;
}

static inline vf add_product(vf sum, vf a, vf b) { return sum + a * b; }

#include "linear.h"
#include "blocks.h"
#include "path.h"
