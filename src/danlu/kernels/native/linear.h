/* Linear layers of codes: rows are made codes, multiplied as whole numbers a group at a time, and scaled. */
#ifndef CENTRED
#define CENTRED 0
#endif

/* Rows of inputs as codes: q (rows, P), and for each row and group a scale and the sum of its codes. */
typedef struct {
    int8_t *q;
    float *scales;
    int32_t *sums;
    int64_t padded, groups;
} Codes;

static inline int64_t groups_of(const Layer *l) { return (l->inputs + l->group - 1) / l->group; }
static inline int64_t blocks_of(const Layer *l) { return (l->outputs + BLOCK - 1) / BLOCK; }

static size_t codes_bytes(const Layer *l, int64_t rows) {
    const int64_t groups = groups_of(l);
    return (size_t)(rows * groups * (l->group + 8) + 256);
}

/* Room for the codes of `rows` in memory of `codes_bytes`. */
static Codes codes_in(void *memory, const Layer *l, int64_t rows) {
    const int64_t groups = groups_of(l), padded = groups * l->group;
    Codes c = {memory, NULL, NULL, padded, groups};
    c.scales = (float *)((char *)memory + (rows * padded + 63) / 64 * 64);
    c.sums = (int32_t *)(c.scales + rows * groups);
    return c;
}

static void quantize_group(const float *x, int64_t n, int64_t group, float fixed, int8_t *q, float *scale, int32_t *sum) {
    float s = fixed;
    if (s == 0) {
        vf most = {0}, odd = {0}; /* odd: zero, unless something is no number */
        for (int64_t i = 0; i < n; i += LANES) {
            const vf v = i + LANES <= n ? load(x + i) : load_some(x + i, n - i);
            most = larger(most, magnitude(v));
            odd += v - v;
        }
        s = largest_of(most) / 127.0f + sum_of(odd);
    }
    const float inverse = s > 0 ? 1.0f / s : 0.0f;
    vi total = {0};
    for (int64_t i = 0; i < group; i += LANES) {
        const vf v = i + LANES <= n ? load(x + i) : load_some(x + i, i < n ? n - i : 0);
        const vi code = nearest(larger(smaller(v * inverse, ALL(127)), ALL(-127)));
        total += code;
        const vq bytes = __builtin_convertvector(code, vq);
        memcpy(q + i, &bytes, (size_t)(i + LANES <= group ? LANES : group - i));
    }
    int32_t t = 0;
    for (int i = 0; i < LANES; i++) t += total[i];
    *scale = s, *sum = t;
}

static void quantize_rows(const Layer *l, const float *x, int64_t from, int64_t to, Codes c) {
    for (int64_t row = from; row < to; row++)
        for (int64_t g = 0; g < c.groups; g++) {
            const int64_t start = g * l->group, left = l->inputs - start, at = row * c.groups + g;
            quantize_group(
                x + row * l->inputs + start, left < l->group ? left : l->group, l->group, l->input_scale,
                c.q + row * c.padded + start, c.scales + at, c.sums + at);
        }
}

/* Where products go: y[row * stride + output], on top of what is there if `add`. */
typedef struct {
    float *y;
    int64_t stride;
    int add;
} Out;

static inline __attribute__((always_inline)) int32_t four(const int8_t *q) {
    int32_t x;
    memcpy(&x, q, 4);
    return x;
}

enum { AHEAD = 4096 }; /* bytes that a lone row asks memory for in advance; weights that are not in a cache come 1.2 times as fast */

/* R rows by COLUMNS vectors of one block, from column `first`. R and bits are known to the compiler. */
static inline __attribute__((always_inline)) void tile(
    const int R, const int bits, const Layer *l, Codes c, int64_t row, int64_t block, int first, Out out) {
    const int sets = R == 1 ? 2 : 1; /* a lone row waits less for its own sums */
    const int step = bits == 8 ? 4 : 8;
    const int64_t vectors = c.padded / step;
    const uint8_t *codes = l->codes + (block * vectors * 4 + first) * 64;
    vf total[R][COLUMNS];
    for (int r = 0; r < R; r++)
        for (int k = 0; k < COLUMNS; k++) total[r][k] = (vf){0};
    for (int64_t g = 0; g < c.groups; g++) {
        vi sum[2][R][COLUMNS];
        for (int s = 0; s < sets; s++)
            for (int r = 0; r < R; r++)
                for (int k = 0; k < COLUMNS; k++) sum[s][r][k] = (vi){0};
        const int8_t *q = c.q + row * c.padded + g * l->group;
        const int64_t steps = l->group / step;
        if (bits == 8) {
            for (int64_t i = 0; i < steps; i += sets)
#pragma GCC unroll 2
                for (int s = 0; s < sets; s++) {
                    if (R == 1)
                        for (int k = 0; k < COLUMNS; k++) __builtin_prefetch(codes + AHEAD + 64 * k);
                    vb w[COLUMNS];
                    for (int k = 0; k < COLUMNS; k++) w[k] = (vb) * (const vb_at *)(codes + 64 * k);
#pragma GCC unroll 8
                    for (int r = 0; r < R; r++) {
                        const int32_t x = four(q + r * c.padded);
                        for (int k = 0; k < COLUMNS; k++) sum[s][r][k] = dot(sum[s][r][k], w[k], x, 8);
                    }
                    codes += 256, q += 4;
                }
        } else {
            for (int64_t i = 0; i < steps; i++) {
                if (R == 1)
                    for (int k = 0; k < COLUMNS; k++) __builtin_prefetch(codes + AHEAD + 64 * k);
                vb low[COLUMNS], high[COLUMNS];
                for (int k = 0; k < COLUMNS; k++) {
                    const vb w = (vb) * (const vb_at *)(codes + 64 * k);
                    low[k] = w & 15;
                    high[k] = (vb)((vh)w >> 4) & 15;
                }
#pragma GCC unroll 8
                for (int r = 0; r < R; r++) {
                    const int32_t x = four(q + r * c.padded);
                    for (int k = 0; k < COLUMNS; k++) sum[0][r][k] = dot(sum[0][r][k], low[k], x, 4);
                }
#pragma GCC unroll 8
                for (int r = 0; r < R; r++) {
                    const int32_t x = four(q + r * c.padded + 4);
                    for (int k = 0; k < COLUMNS; k++)
                        sum[sets - 1][r][k] = dot(sum[sets - 1][r][k], high[k], x, 4);
                }
                codes += 256, q += 8;
            }
        }
        const int64_t at = (block * c.groups + g) * BLOCK + first * LANES;
        for (int k = 0; k < COLUMNS; k++) {
            const vf scale = load(l->scales + at + k * LANES);
            const vi zero = INTS((vz) * (const vz_at *)(l->zeros + at + k * LANES)) - (bits == 8 ? CENTRED : 0);
            for (int r = 0; r < R; r++) {
                const int64_t own = (row + r) * c.groups + g;
                const vi exact = (sets == 2 ? sum[0][r][k] + sum[1][r][k] : sum[0][r][k]) - zero * c.sums[own];
                total[r][k] += FLOATS(exact) * (scale * c.scales[own]);
            }
        }
    }
    for (int k = 0; k < COLUMNS; k++) {
        const int64_t output = block * BLOCK + (first + k) * LANES, left = l->outputs - output;
        if (left <= 0) break;
        const vf bias = !l->bias ? (vf){0} : left >= LANES ? load(l->bias + output) : load_some(l->bias + output, left);
        for (int r = 0; r < R; r++) {
            vf v = activate(total[r][k] + bias, l->activation);
            float *y = out.y + (row + r) * out.stride + output;
            if (out.add) v += left >= LANES ? load(y) : load_some(y, left);
            if (left >= LANES)
                store(y, v);
            else
                memcpy(y, &v, (size_t)left * sizeof(float));
        }
    }
}

static inline __attribute__((always_inline)) void stripe(
    const int bits, const Layer *l, Codes c, int64_t from, int64_t to, int64_t block, Out out) {
    for (int first = 0; first < 4; first += COLUMNS) {
        int64_t row = from;
        for (; row + ROWS <= to; row += ROWS) tile(ROWS, bits, l, c, row, block, first, out);
        switch (to - row) {
#if ROWS > 5
        case 5:
            tile(5, bits, l, c, row, block, first, out);
            break;
        case 4:
            tile(4, bits, l, c, row, block, first, out);
            break;
        case 3:
            tile(3, bits, l, c, row, block, first, out);
            break;
#endif
#if ROWS > 2
        case 2:
            tile(2, bits, l, c, row, block, first, out);
            break;
#endif
        case 1:
            tile(1, bits, l, c, row, block, first, out);
        }
    }
}

/* Rows from..to of one block of outputs. */
static __attribute__((noinline)) void product(
    const Layer *l, Codes c, int64_t from, int64_t to, int64_t block, Out out) {
    if (l->bits == 8)
        stripe(8, l, c, from, to, block, out);
    else
        stripe(4, l, c, from, to, block, out);
}

enum { FEW = 4, CHUNK = 48 }; /* rows that each thread makes codes of for itself; rows of one piece of work */

/* One thread's share of a product: pieces of CHUNK rows by a block. */
static void product_share(const Layer *l, Codes c, int64_t rows, Out out, int thread, int threads) {
    const int64_t chunks = (rows + CHUNK - 1) / CHUNK;
    int64_t piece;
    const int64_t end = share(blocks_of(l) * chunks, thread, threads, &piece);
    for (; piece < end; piece++) {
        const int64_t from = piece % chunks * CHUNK, to = from + CHUNK < rows ? from + CHUNK : rows;
        product(l, c, from, to, piece / chunks, out);
    }
}

/* x (rows, I) -> y (rows, O); 1 where there was no memory. */
static int linear(const Layer *l, const float *x, int64_t rows, float *y, int threads) {
    const size_t bytes = (codes_bytes(l, rows) + 63) / 64 * 64;
    const int alone = rows <= FEW;
    char *memory = scratch(bytes * (size_t)(alone ? threads : 1));
    if (!memory) return 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        const Codes c = codes_in(memory + (alone ? bytes * (size_t)thread : 0), l, rows);
        int64_t from = 0, to = rows;
        if (!alone) to = share(rows, thread, team, &from);
        quantize_rows(l, x, from, to, c);
        if (!alone) {
#pragma omp barrier
        }
        product_share(l, c, rows, (Out){y, l->outputs, 0}, thread, team);
    }
    return 0;
}

/* The weights that codes stand for, (O, I): scale * (code - zero), or scale * levels[code]. */
static void dense(const Layer *l, const float *levels, float *weights, int threads) {
    const int64_t groups = groups_of(l), padded = groups * l->group, step = l->bits == 8 ? 4 : 8;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t output = 0; output < l->outputs; output++) {
        const int64_t block = output / BLOCK, lane = output % BLOCK;
        const uint8_t *codes = l->codes + block * padded / step * 256 + lane * 4;
        for (int64_t input = 0; input < l->inputs; input++) {
            const uint8_t byte = codes[input / step * 256 + input % 4];
            const int code = l->bits == 8 ? byte : input % 8 < 4 ? byte & 15 : byte >> 4;
            const int64_t at = (block * groups + input / l->group) * BLOCK + lane;
            const float level = levels ? levels[code] : (float)(code - l->zeros[at]);
            weights[output * l->inputs + input] = level * l->scales[at];
        }
    }
}
