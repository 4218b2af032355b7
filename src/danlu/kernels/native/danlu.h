/* What crosses the border between Python (kernels/library.py) and C. Sizes are counted in elements. */
#ifndef DANLU_H
#define DANLU_H
#include <stdint.h>

enum { BLOCK = 64 };  /* outputs that are stored together */
enum activation { NONE, GELU, GELU_TANH, QUICK_GELU, RELU, SILU, TANH };

/* A linear layer of codes. Outputs come in blocks of 64, inputs in groups, both filled up with zeros; P is the inputs
   filled up to whole groups. Each vector of 64 bytes holds 16 outputs by 4 inputs, or by 8 where codes take 4 bits: the
   lower halves of its bytes are the first four of these.
   codes (blocks, P / 4 or P / 8, 4, 64), scales and zeros (blocks, P / group, 64).
   A weight is scale * (code - zero). Inputs become 8-bit codes, with a scale for each row and group, or `input_scale`. */
typedef struct {
    const uint8_t *codes;
    const float *scales;
    const uint8_t *zeros;
    const float *bias;  /* may be absent */
    int64_t outputs, inputs, group;
    int32_t bits, activation;
    float input_scale;  /* 0: as large as a row's group needs it */
} Layer;

typedef struct {
    const float *weight, *bias;  /* absent: no norm; no bias */
    float eps;
    int32_t rms;
} Norm;

/* A block of a transformer; `gate.codes` is absent in a plain feed-forward. */
typedef struct {
    Layer query, key, value, output, up, gate, down;
    Norm attention_norm, mlp_norm;
} Block;

typedef struct {
    int64_t width, heads, kv_heads, head_size;
    float scale;         /* of the scores */
    int32_t norm_after;  /* normalise after each sum, not before each layer */
    int32_t parallel;    /* attention and feed-forward read one norm, and are summed */
    int32_t neighbours;  /* rotary pairs are 2k and 2k + 1, not k and k + K/2 */
} Shape;

/* Rows of a call: x (B, T, D), changed in place. Keys and values of each block: (B, G, room, K), `past` of them filled. */
typedef struct {
    float *x;
    int64_t batch, count, past, room;
    float *const *keys, *const *values;
    const float *cosine, *sine;  /* (B or 1, T, K / 2), or absent */
    const float *scores;         /* (B or 1, H or 1, T, past + T), or absent */
    int64_t turn_stride, scores_batch_stride, scores_head_stride;
    int32_t causal;
} Rows;

/* What a path has. */
typedef struct {
    int (*linear)(const Layer *layer, const float *x, int64_t rows, float *y, int threads);
    void (*dense)(const Layer *layer, const float *levels, float *weights, int threads);
    int (*blocks)(const Shape *shape, const Block *blocks, int64_t depth, const Rows *rows, int threads);
} Path;

extern const Path portable, avx2, avxvnni, avx512vnni;
#endif
