// What a BERT does besides its matrix products, over the tokens of several texts end to end, without padding.

// The first vector of each token. A warp a token. `input`: ids, then positions.
extern "C" __global__ void embed(const unsigned* input, int tokens, const Half* words, const Half* places,
    const float* weight, const float* bias, float epsilon, Half* hidden) {
    int token = row_of_warp();
    if (token >= tokens) return;
    Row row = row_at(words, input[token]);
    add(row, row_at(places, input[tokens + token]));
    normalise(row, epsilon);
    transform(row, weight, bias);
    store(row, hidden + (long long)token * WIDTH);
}

// hidden = LayerNorm(hidden + branch). A warp a row.
extern "C" __global__ void add_norm(
    const Half* branch, int rows, const float* weight, const float* bias, float epsilon, Half* hidden) {
    int number = row_of_warp();
    if (number >= rows) return;
    Row row = row_at(hidden, number);
    add(row, row_at(branch, number));
    normalise(row, epsilon);
    transform(row, weight, bias);
    store(row, hidden + (long long)number * WIDTH);
}

// x Φ(x), in place. Eight numbers a thread.
extern "C" __global__ void gelu(Half* memory, int vectors) {
    int vector = blockIdx.x * blockDim.x + threadIdx.x;
    if (vector >= vectors) return;
    Eight eight = ((Eight*)memory)[vector];
    float values[8];
    unpack(eight, values);
    for (int number = 0; number < 8; number++) {
        float x = values[number];
        values[number] = 0.5f * x * (1 + erff(x * 0.70710678f));
    }
    ((Eight*)memory)[vector] = packed(values);
}

// Attention of one layer, in blocks as those of `attend`.
extern "C" __global__ void __launch_bounds__(WARPS* LANES, 3) attention(const Half* queries, int query_stride,
    const Half* memory, int stride, int keys_at, const unsigned* input, int starts_at, int first_only, int heads,
    Half* context) {
    attend(queries, query_stride, memory, stride, keys_at, input, starts_at, first_only, heads, context, Kept{}, nullptr);
}

// The product of each row with one vector. A warp a row.
extern "C" __global__ void score(const Half* hidden, const float* query, int rows, float* scores) {
    int number = row_of_warp();
    if (number >= rows) return;
    float sum = product(row_at(hidden, number), query);
    if (lane() == 0) scores[number] = sum;
}

// The mean of each text's rows, weighted by the softmax of their scores. A block a text.
extern "C" __global__ void weighted_mean(
    const Half* hidden, const float* scores, const unsigned* input, int starts_at, Half* out) {
    int start = input[starts_at + blockIdx.x], end = input[starts_at + blockIdx.x + 1];
    float greatest = scores[start], total = 0;
    for (int row = start + 1; row < end; row++) greatest = fmaxf(greatest, scores[row]);
    for (int row = start; row < end; row++) total += __expf(scores[row] - greatest);
    for (int pair = threadIdx.x; pair < WIDTH / 2; pair += blockDim.x) {
        float first = 0, second = 0;
        for (int row = start; row < end; row++) {
            unsigned numbers = ((const unsigned*)(hidden + (long long)row * WIDTH))[pair];
            float share = __expf(scores[row] - greatest) / total;
            first += share * low(numbers);
            second += share * high(numbers);
        }
        ((unsigned*)(out + (long long)blockIdx.x * WIDTH))[pair] = pair_of(first, second);
    }
}

// A NaN is greater than any number.
__device__ __forceinline__ float greater(float one, float other) { return other > one || other != other ? other : one; }

// The greatest of each column over each text's rows. A block a text.
extern "C" __global__ void greatest_rows(const Half* hidden, const unsigned* input, int starts_at, Half* out) {
    int start = input[starts_at + blockIdx.x], end = input[starts_at + blockIdx.x + 1];
    for (int pair = threadIdx.x; pair < WIDTH / 2; pair += blockDim.x) {
        float first = __uint_as_float(0xff800000u), second = first; // -infinity
        for (int row = start; row < end; row++) {
            unsigned numbers = ((const unsigned*)(hidden + (long long)row * WIDTH))[pair];
            first = greater(first, low(numbers));
            second = greater(second, high(numbers));
        }
        ((unsigned*)(out + (long long)blockIdx.x * WIDTH))[pair] = pair_of(first, second);
    }
}

// The logits of each text, behind those of `before` texts, of what goes in bent as `bend` says. A warp a text.
extern "C" __global__ void head(const Half* pooled, int bend, const float* weight, const float* bias, int labels,
    int texts, int before, float* logits) {
    int text = row_of_warp();
    if (text >= texts) return;
    Row row = row_at(pooled, text);
    if (bend) {
#pragma unroll
        for (int part = 0; part < LANE_VECTORS; part++)
            for (int number = 0; number < 8; number++) row.values[part][number] = bent(row.values[part][number], bend);
    }
    for (int label = 0; label < labels; label++) {
        float sum = product(row, weight + (long long)label * WIDTH);
        if (lane() == 0) logits[(long long)(before + text) * labels + label] = sum + bias[label];
    }
}
