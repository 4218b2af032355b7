/* Attention of one head in float32 (Vaswani et al. 2017, eq. 1): queries (T, K), keys and values (S, K). K is a multiple
   of 16. */

/* R rows of a (depth numbers each) times b (depth, 16 C columns), R and C known to the compiler. */
static inline __attribute__((always_inline)) void float_tile(
    const int R, const int C, const float *a, int64_t a_stride, int64_t depth, const float *b, int64_t b_stride,
    float *out, int64_t out_stride) {
    vf total[R][C];
    for (int r = 0; r < R; r++)
        for (int k = 0; k < C; k++) total[r][k] = (vf){0};
    for (int64_t d = 0; d < depth; d++) {
        vf column[C];
        for (int k = 0; k < C; k++) column[k] = load(b + d * b_stride + k * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const vf x = ALL(a[r * a_stride + d]);
            for (int k = 0; k < C; k++) total[r][k] = add_product(total[r][k], x, column[k]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int k = 0; k < C; k++) store(out + r * out_stride + k * LANES, total[r][k]);
}

/* a (rows <= ROWS, depth) times b (depth, columns), columns a multiple of 16. */
static __attribute__((noinline)) void multiply(
    int rows, const float *a, int64_t a_stride, int64_t depth, const float *b, int64_t b_stride, int64_t columns,
    float *out, int64_t out_stride) {
    int64_t at = 0;
    for (; at + COLUMNS * LANES <= columns && rows == ROWS; at += COLUMNS * LANES)
        float_tile(ROWS, COLUMNS, a, a_stride, depth, b + at, b_stride, out + at, out_stride);
    for (; at < columns; at += LANES)
        for (int r = 0; r < rows; r++)
            float_tile(1, 1, a + r * a_stride, a_stride, depth, b + at, b_stride, out + r * out_stride + at, out_stride);
}

/* Scores (n) become weights that are still to be divided by their sum, which is returned; `n` is filled up with zeros to
   a multiple of 16. */
static float soft_weights(float *scores, int64_t n) {
    vf most = ALL(-3.4e38f), total = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) most = larger(most, load(scores + i));
    float largest = largest_of(most);
    for (int64_t j = i; j < n; j++) largest = scores[j] > largest ? scores[j] : largest;
    for (int64_t j = n; j % LANES; j++) scores[j] = -3.4e38f;
    for (i = 0; i < n; i += LANES) {
        vf weight = exponential(load(scores + i) - largest);
        if (i + LANES > n)
            for (int64_t j = n - i; j < LANES; j++) weight[j] = 0;
        store(scores + i, weight);
        total += weight;
    }
    return sum_of(total);
}

typedef struct {
    const float *queries, *keys, *values, *added; /* added to the scores, (T, S), or absent */
    float *out;
    int64_t count, seen, head_size, query_stride, out_stride;
    float scale;
    int32_t causal;
    float *room; /* of head_room numbers */
} Head;

enum { TURNED = 6 }; /* from this many queries on, keys are turned around first */

static int64_t head_room(int64_t seen, int64_t head_size) {
    const int64_t columns = (seen + BLOCK - 1) / BLOCK * BLOCK;
    return columns * (head_size + ROWS) + ROWS * head_size;
}

static void head_scores(const Head *h, int rows, const float *queries, const float *turned, int64_t columns, float *scores) {
    if (turned) {
        multiply(rows, queries, h->query_stride, h->head_size, turned, columns, columns, scores, columns);
        return;
    }
    for (int r = 0; r < rows; r++)
        for (int64_t s = 0; s < h->seen; s++) {
            vf total = {0};
            for (int64_t d = 0; d < h->head_size; d += LANES)
                total = add_product(total, load(queries + r * h->query_stride + d), load(h->keys + s * h->head_size + d));
            scores[r * columns + s] = sum_of(total);
        }
}

static __attribute__((noinline)) void attend(const Head *h) {
    const int64_t columns = (h->seen + BLOCK - 1) / BLOCK * BLOCK;
    float *turned = h->room, *scores = turned + columns * h->head_size, *products = scores + columns * ROWS;
    if (h->count >= TURNED) {
        for (int64_t s = 0; s < columns; s += LANES)
            for (int64_t d = 0; d < h->head_size; d++)
                for (int64_t i = s; i < s + LANES; i++)
                    turned[d * columns + i] = i < h->seen ? h->keys[i * h->head_size + d] : 0;
    } else {
        turned = NULL;
    }
    for (int64_t first = 0; first < h->count; first += ROWS) {
        const int rows = (int)(h->count - first < ROWS ? h->count - first : ROWS);
        const int64_t reach = h->causal ? h->seen - h->count + first + rows : h->seen; /* what the last of them sees */
        head_scores(h, rows, h->queries + first * h->query_stride, turned, columns, scores);
        float sums[ROWS];
        for (int r = 0; r < rows; r++) {
            float *own = scores + r * columns;
            const int64_t visible = h->causal ? h->seen - h->count + first + r + 1 : h->seen;
            for (int64_t s = 0; s < visible; s++) own[s] *= h->scale;
            if (h->added)
                for (int64_t s = 0; s < visible; s++) own[s] += h->added[(first + r) * h->seen + s];
            sums[r] = soft_weights(own, visible);
            for (int64_t s = visible; s < reach; s++) own[s] = 0;
        }
        multiply(rows, scores, columns, reach, h->values, h->head_size, h->head_size, products, h->head_size);
        for (int r = 0; r < rows; r++)
            for (int64_t d = 0; d < h->head_size; d += LANES)
                store(h->out + (first + r) * h->out_stride + d, load(products + r * h->head_size + d) / sums[r]);
    }
}
