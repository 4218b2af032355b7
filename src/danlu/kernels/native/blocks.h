/* A stack of transformer blocks in one call: what stands between the linear layers never leaves this file. Every thread
   goes through all phases; a barrier stands between two where one thread reads what another wrote.

   Shapes: M = B T rows, D width, H heads, G key heads, K head size, F inner. */
#include <sched.h>
#include "attention.h"

typedef struct {
    int here, turn;
} Meeting;

/* What all threads share: the buffers of a call, and one thread's view of it. */
typedef struct {
    const Shape *shape;
    const Rows *rows;
    int64_t count; /* M */
    float *query, *key, *value, *context, *up, *gate;
    char *codes; /* one area for all threads, or one each where rows are few */
    size_t codes_size;
    char *own; /* one area each: a row, or what a head needs */
    size_t own_size;
    int alone; /* rows are few: each thread makes its own codes of all */
    int thread, team;
    Meeting *meeting;
} Work;

static void normalize(const Norm *n, const float *x, float *out, int64_t width) {
    vf total = {0}, squares = {0};
    if (!n->rms)
        for (int64_t i = 0; i < width; i += LANES) total += load(x + i);
    const float mean = n->rms ? 0 : sum_of(total) / (float)width;
    for (int64_t i = 0; i < width; i += LANES) {
        const vf v = load(x + i) - mean;
        squares = add_product(squares, v, v);
    }
    const float scale = 1.0f / sqrtf(sum_of(squares) / (float)width + n->eps);
    for (int64_t i = 0; i < width; i += LANES) {
        const vf v = (load(x + i) - mean) * scale * load(n->weight + i);
        store(out + i, n->bias ? v + load(n->bias + i) : v);
    }
}

/* This thread's rows, or all of them where each thread works alone. */
static int64_t own_rows(const Work *w, int64_t *from) {
    if (!w->alone) return share(w->count, w->thread, w->team, from);
    *from = 0;
    return w->count;
}

/* Until all threads are here. OpenMP's own may put a thread to sleep, which takes longer than most phases; this one asks
   again and again, and lets others run after a while. */
static void barrier(const Work *w) {
    if (w->team == 1) return;
    const int turn = __atomic_load_n(&w->meeting->turn, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&w->meeting->here, 1, __ATOMIC_ACQ_REL) == w->team) {
        __atomic_store_n(&w->meeting->here, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&w->meeting->turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int asked = 0; __atomic_load_n(&w->meeting->turn, __ATOMIC_ACQUIRE) == turn; asked++)
        if (asked > 4000) sched_yield();
}

/* Codes of rows (M, I) for a layer: of their norm if there is one, of x * times if there is that. Ends with all codes there
   that this thread will read. */
static Codes prepare(const Work *w, const Layer *l, const Norm *norm, const float *x, const float *times) {
    const Codes c = codes_in(w->codes + (w->alone ? w->codes_size * (size_t)w->thread : 0), l, w->count);
    float *row = (float *)(w->own + w->own_size * (size_t)w->thread);
    int64_t from;
    const int64_t to = own_rows(w, &from), width = l->inputs;
    for (int64_t m = from; m < to; m++) {
        const float *source = x + m * width;
        if (norm && norm->weight) {
            normalize(norm, source, row, width);
            source = row;
        }
        if (times) {
            for (int64_t i = 0; i < width; i += LANES) store(row + i, load(x + m * width + i) * load(times + m * width + i));
            source = row;
        }
        const Codes one = {c.q + m * c.padded, c.scales + m * c.groups, c.sums + m * c.groups, c.padded, c.groups};
        quantize_rows(l, source, 0, 1, one);
    }
    if (!w->alone) barrier(w);
    return c;
}

static void apply(const Work *w, const Layer *l, Codes c, float *y, int add) {
    product_share(l, c, w->count, (Out){y, l->outputs, add}, w->thread, w->team);
}

/* Turn pairs of one head's numbers by their angles. */
static void turn(float *x, const float *cosine, const float *sine, int64_t half, int neighbours) {
    for (int64_t k = 0; k < half; k++) {
        float *left = x + (neighbours ? 2 * k : k), *right = x + (neighbours ? 2 * k + 1 : k + half);
        const float l = *left, r = *right;
        *left = l * cosine[k] - r * sine[k];
        *right = r * cosine[k] + l * sine[k];
    }
}

/* Turn queries and keys, and put keys and values where they are kept. */
static void place(const Work *w, float *keys, float *values) {
    const Shape *s = w->shape;
    const Rows *rows = w->rows;
    const int64_t size = s->head_size, half = size / 2;
    int64_t m;
    const int64_t end = share(w->count, w->thread, w->team, &m);
    for (; m < end; m++) {
        const int64_t b = m / rows->count, t = m % rows->count;
        float *query = w->query + m * s->heads * size, *key = w->key + m * s->kv_heads * size;
        const float *value = w->value + m * s->kv_heads * size;
        if (rows->cosine) {
            const float *cosine = rows->cosine + b * rows->turn_stride + t * half;
            const float *sine = rows->sine + b * rows->turn_stride + t * half;
            for (int64_t h = 0; h < s->heads; h++) turn(query + h * size, cosine, sine, half, s->neighbours);
            for (int64_t g = 0; g < s->kv_heads; g++) turn(key + g * size, cosine, sine, half, s->neighbours);
        }
        for (int64_t g = 0; g < s->kv_heads; g++) {
            const int64_t to = ((b * s->kv_heads + g) * rows->room + rows->past + t) * size;
            memcpy(keys + to, key + g * size, (size_t)size * sizeof(float));
            memcpy(values + to, value + g * size, (size_t)size * sizeof(float));
        }
    }
}

static void heads(const Work *w, const float *keys, const float *values) {
    const Shape *s = w->shape;
    const Rows *rows = w->rows;
    const int64_t size = s->head_size, seen = rows->past + rows->count;
    int64_t piece;
    const int64_t end = share(rows->batch * s->heads, w->thread, w->team, &piece);
    for (; piece < end; piece++) {
        const int64_t b = piece / s->heads, h = piece % s->heads, g = h / (s->heads / s->kv_heads);
        const int64_t kept = (b * s->kv_heads + g) * rows->room * size;
        const int64_t own = (b * rows->count * s->heads + h) * size;
        const Head head = {
            .queries = w->query + own, .keys = keys + kept, .values = values + kept,
            .added = rows->scores ? rows->scores + b * rows->scores_batch_stride + h * rows->scores_head_stride : NULL,
            .out = w->context + own, .count = rows->count, .seen = seen, .head_size = size,
            .query_stride = s->heads * size, .out_stride = s->heads * size, .scale = s->scale, .causal = rows->causal,
            .room = (float *)(w->own + w->own_size * (size_t)w->thread),
        };
        attend(&head);
    }
}

/* x becomes its norm, row by row. */
static void settle(const Work *w, const Norm *norm, float *x) {
    const int64_t width = w->shape->width;
    int64_t m;
    const int64_t end = share(w->count, w->thread, w->team, &m);
    for (; m < end; m++) normalize(norm, x + m * width, x + m * width, width);
    barrier(w);
}

static void feed_forward(const Work *w, const Block *b, Codes c, float *x) {
    const int gated = b->gate.codes != NULL;
    apply(w, &b->up, c, w->up, 0);
    if (gated) apply(w, &b->gate, c, w->gate, 0);
    barrier(w);
    const Codes inner = prepare(w, &b->down, NULL, w->up, gated ? w->gate : NULL);
    apply(w, &b->down, inner, x, 1);
    barrier(w);
}

static void block(const Work *w, const Block *b, float *keys, float *values) {
    const Shape *s = w->shape;
    float *x = w->rows->x;
    const Norm *first = s->norm_after ? NULL : &b->attention_norm, *second = s->norm_after ? NULL : &b->mlp_norm;
    Codes c = prepare(w, &b->query, first, x, NULL);
    apply(w, &b->query, c, w->query, 0);
    apply(w, &b->key, c, w->key, 0);
    apply(w, &b->value, c, w->value, 0);
    if (s->parallel) { /* the feed-forward reads the same codes, before x changes */
        apply(w, &b->up, c, w->up, 0);
        if (b->gate.codes) apply(w, &b->gate, c, w->gate, 0);
    }
    barrier(w);
    place(w, keys, values);
    barrier(w);
    heads(w, keys, values);
    barrier(w);
    c = prepare(w, &b->output, NULL, w->context, NULL);
    apply(w, &b->output, c, x, 1);
    barrier(w);
    if (s->parallel) {
        c = prepare(w, &b->down, NULL, w->up, b->gate.codes ? w->gate : NULL);
        apply(w, &b->down, c, x, 1);
        barrier(w);
        return;
    }
    if (s->norm_after) settle(w, &b->attention_norm, x);
    c = prepare(w, &b->up, second, x, NULL);
    feed_forward(w, b, c, x);
    if (s->norm_after) settle(w, &b->mlp_norm, x);
}

static size_t whole(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* x (B, T, D) goes through `depth` blocks; 1 where there was no memory. Widths are multiples of 16. */
static int blocks(const Shape *s, const Block *b, int64_t depth, const Rows *rows, int threads) {
    const int64_t count = rows->batch * rows->count, inner = b->up.outputs;
    const int64_t wide = s->heads * s->head_size, narrow = s->kv_heads * s->head_size;
    Work shared = {.shape = s, .rows = rows, .count = count, .alone = count <= FEW && !s->norm_after};
    const size_t each = shared.alone ? (size_t)threads : 1;
    shared.codes_size = whole(most(most(codes_bytes(&b->query, count), codes_bytes(&b->output, count)),
                                   most(codes_bytes(&b->up, count), codes_bytes(&b->down, count))));
    shared.own_size = whole(sizeof(float) * most((size_t)head_room(rows->past + rows->count, s->head_size),
                                                 (size_t)(inner > s->width ? inner : s->width)));
    const size_t floats[] = {wide, narrow, narrow, wide, inner, inner};
    float **const buffers[] = {&shared.query, &shared.key, &shared.value, &shared.context, &shared.up, &shared.gate};
    size_t bytes = shared.codes_size * each + shared.own_size * (size_t)threads;
    for (int i = 0; i < 6; i++) bytes += whole(floats[i] * (size_t)count * sizeof(float));
    char *memory = scratch(bytes);
    if (!memory) return 1;
    shared.codes = memory;
    shared.own = memory + shared.codes_size * each;
    memory = shared.own + shared.own_size * (size_t)threads;
    for (int i = 0; i < 6; i++) {
        *buffers[i] = (float *)memory;
        memory += whole(floats[i] * (size_t)count * sizeof(float));
    }
    Meeting meeting = {0, 0};
    shared.meeting = &meeting;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Work own = shared;
        own.thread = omp_get_thread_num(), own.team = omp_get_num_threads();
        for (int64_t i = 0; i < depth; i++) block(&own, b + i, rows->keys[i], rows->values[i]);
    }
    give_back();
    return 0;
}
