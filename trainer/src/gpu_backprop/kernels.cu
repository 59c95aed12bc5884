// What a BERT's training does besides its matrix products, forward and backward, over the tokens of several texts end to
// end. Gradients of parameters are f32, all others bf16. Every sum has one order, so that a step gives the same bits again.

// Which numbers are dropped: a function of the number of an element, as bert/src/dropout.rs has it.
struct Mask {
    unsigned low, high, threshold;
    float scale;

    __device__ __forceinline__ float factor(unsigned element) const {
        unsigned hash = element + low;
        hash = ((hash ^ (hash >> 17)) * 0xed5ad4bbu) ^ high;
        hash = (hash ^ (hash >> 11)) * 0xac4c1b51u;
        hash = (hash ^ (hash >> 15)) * 0x31848babu;
        hash ^= hash >> 14;
        return hash < threshold ? 0 : scale;
    }
};

// A row of a matrix whose rows are token vectors, numbered as its token's.
__device__ __forceinline__ void drop(Row& row, Mask mask, int token) {
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++)
        for (int number = 0; number < 8; number++)
            row.values[part][number] *= mask.factor((unsigned)token * WIDTH + (part * LANES + lane()) * 8 + number);
}

__device__ __forceinline__ void add_floats(Row& row, const float* numbers) {
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector >= VECTORS) continue;
        float found[8];
        load(numbers, vector, found);
        for (int number = 0; number < 8; number++) row.values[part][number] += found[number];
    }
}

// The token of a row: its own number or, with `first_only`, the first of the text that has this number.
__device__ __forceinline__ int token_of(const unsigned* input, int starts_at, int first_only, int row) {
    return first_only ? input[starts_at + row] : row;
}

// f32 to bf16. Eight numbers a thread.
extern "C" __global__ void halve(const float* numbers, int vectors, Half* out, int at) {
    int vector = blockIdx.x * blockDim.x + threadIdx.x;
    if (vector >= vectors) return;
    float values[8];
    load(numbers, vector, values);
    ((Eight*)(out + at))[vector] = packed(values);
}

extern "C" __global__ void clear(float* numbers, int count) {
    for (int number = blockIdx.x * blockDim.x + threadIdx.x; number < count; number += blockDim.x * gridDim.x) numbers[number] = 0;
}

// The first vector of each token: the sum of its rows, normalised, and some of it dropped. A warp a token. `input`: ids,
// then positions. Every token gets `first_constant` and `second_constant`, as far as there are so many `constants`.
extern "C" __global__ void embed(const unsigned* input, int tokens, const float* words, const float* places,
    const float* first_constant, const float* second_constant, int constants, const float* weight, const float* bias,
    float epsilon, unsigned low, unsigned high, unsigned threshold, float kept, Half* normal, float* scales, Half* hidden) {
    int token = row_of_warp();
    if (token >= tokens) return;
    Row row = {};
    add_floats(row, words + (long long)input[token] * WIDTH);
    add_floats(row, places + (long long)input[tokens + token] * WIDTH);
    if (constants > 0) add_floats(row, first_constant);
    if (constants > 1) add_floats(row, second_constant);
    float scale = normalise(row, epsilon);
    if (lane() == 0) scales[token] = scale;
    store(row, normal + (long long)token * WIDTH);
    transform(row, weight, bias);
    drop(row, {low, high, threshold, kept}, token);
    store(row, hidden + (long long)token * WIDTH);
}

// out = LayerNorm(dropout(branch) + residual). A warp a row.
extern "C" __global__ void add_norm(const Half* branch, const Half* residual, int rows, const unsigned* input, int starts_at,
    int first_only, const float* weight, const float* bias, float epsilon, unsigned low, unsigned high, unsigned threshold,
    float kept, Half* normal, float* scales, Half* out) {
    int number = row_of_warp();
    if (number >= rows) return;
    Row row = row_at(branch, number);
    drop(row, {low, high, threshold, kept}, token_of(input, starts_at, first_only, number));
    add(row, row_at(residual, number));
    float scale = normalise(row, epsilon);
    if (lane() == 0) scales[number] = scale;
    store(row, normal + (long long)number * WIDTH);
    transform(row, weight, bias);
    store(row, out + (long long)number * WIDTH);
}

// Turns the gradient of what `add_norm` gave into that of the residual, and writes that of the branch. A warp a row.
extern "C" __global__ void norm_backward(Half* gradient, const Half* normal, const float* scales, int rows,
    const unsigned* input, int starts_at, int first_only, const float* weight, unsigned low, unsigned high,
    unsigned threshold, float kept, Half* branch_gradient) {
    int number = row_of_warp();
    if (number >= rows) return;
    Row row = row_at(gradient, number), normals = row_at(normal, number);
    float sum = 0, product = 0;
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector >= VECTORS) continue;
        float weights[8];
        load(weight, vector, weights);
        for (int i = 0; i < 8; i++) {
            row.values[part][i] *= weights[i];
            sum += row.values[part][i];
            product += row.values[part][i] * normals.values[part][i];
        }
    }
    float mean = sum_of_lanes(sum) / WIDTH, mean_product = sum_of_lanes(product) / WIDTH, scale = scales[number];
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++)
        for (int i = 0; i < 8; i++)
            row.values[part][i] = scale * (row.values[part][i] - mean - normals.values[part][i] * mean_product);
    store(row, gradient + (long long)number * WIDTH);
    drop(row, {low, high, threshold, kept}, token_of(input, starts_at, first_only, number));
    store(row, branch_gradient + (long long)number * WIDTH);
}

// Drops some of rows that are token vectors, in place. A warp a row.
extern "C" __global__ void drop_rows(Half* memory, int rows, unsigned low, unsigned high, unsigned threshold, float kept) {
    int number = row_of_warp();
    if (number >= rows) return;
    Row row = row_at(memory, number);
    drop(row, {low, high, threshold, kept}, number);
    store(row, memory + (long long)number * WIDTH);
}

// Bends each number. Eight numbers a thread.
extern "C" __global__ void bend(const Half* memory, int kind, int vectors, Half* out) {
    int vector = blockIdx.x * blockDim.x + threadIdx.x;
    if (vector >= vectors) return;
    float values[8];
    unpack(((const Eight*)memory)[vector], values);
    for (int number = 0; number < 8; number++) values[number] = bent(values[number], kind);
    ((Eight*)out)[vector] = packed(values);
}

// How fast the bent number grows with x.
__device__ __forceinline__ float slope(float x, int bend) {
    switch (bend) {
        case 1: {
            float y = tanhf(x);
            return 1 - y * y;
        }
        case 2: return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * __expf(-0.5f * x * x);
        case 3: return x > 0 ? 1 : 0;
        case 4: {
            float y = tanhf(0.79788456f * (x + 0.044715f * x * x * x));
            return 0.5f * (1 + y) + 0.5f * x * (1 - y * y) * 0.79788456f * (1 + 0.134145f * x * x);
        }
        default: return 1;
    }
}

// Turns the gradient of what was bent into that of `memory`, which went in. Eight numbers a thread.
extern "C" __global__ void bend_backward(const Half* memory, int kind, int vectors, Half* gradient) {
    int vector = blockIdx.x * blockDim.x + threadIdx.x;
    if (vector >= vectors) return;
    float values[8], gradients[8];
    unpack(((const Eight*)memory)[vector], values);
    unpack(((const Eight*)gradient)[vector], gradients);
    for (int number = 0; number < 8; number++) gradients[number] *= slope(values[number], kind);
    ((Eight*)gradient)[vector] = packed(gradients);
}

// What dropout multiplies a text's shares with.
struct Dropped {
    Mask mask;
    unsigned first;
    int length;

    __device__ __forceinline__ float factor(int query, int key, int head) const {
        return mask.factor(first + (head * length + query) * length + key);
    }
};

// Of the block's text. `input` has the number of each text's first share from `scores_at` on.
__device__ __forceinline__ Dropped dropped(const unsigned* input, int starts_at, int scores_at, Mask mask) {
    int length = input[starts_at + blockIdx.x + 1] - input[starts_at + blockIdx.x];
    return {mask, input[scores_at + blockIdx.x], length};
}

// Attention of one layer, with dropout, in blocks as those of `attend`.
extern "C" __global__ void __launch_bounds__(WARPS* LANES, 3) attention(const Half* queries, int query_stride,
    const Half* memory, int stride, int keys_at, const unsigned* input, int starts_at, int scores_at, int first_only,
    int heads, unsigned low, unsigned high, unsigned threshold, float kept, Half* context, float* logarithms) {
    Dropped dropping = dropped(input, starts_at, scores_at, {low, high, threshold, kept});
    attend(queries, query_stride, memory, stride, keys_at, input, starts_at, first_only, heads, context, dropping, logarithms);
}

#define OWN 4                                      // rows that a warp works on at once, on the way back
#define LANE_PAIRS ((PAIRS + LANES - 1) / LANES) // of a head's vector that a lane sums up

// Keys or values of one head, from memory to shared memory, by all threads of a block.
template <int STRIDE>
__device__ __forceinline__ void load_tile(unsigned (&tile)[LANES][STRIDE], const Half* memory, int stride, int rows) {
    for (int number = threadIdx.x; number < rows * (HEAD_SIZE / 8); number += blockDim.x) {
        int row = number / (HEAD_SIZE / 8), vector = number % (HEAD_SIZE / 8);
        Eight eight = ((const Eight*)(memory + (long long)row * stride))[vector];
        for (int pair = 0; pair < 4; pair++) tile[row][4 * vector + pair] = eight.pairs[pair];
    }
}


// Four rows of a head's vectors side by side, times `scale`, in shared memory of a warp.
__device__ __forceinline__ void side_by_side(
    float4* to, const Half* rows, int stride, int count, float scale) {
    for (int number = lane(); number < HEAD_SIZE; number += LANES) {
        float numbers[OWN] = {};
        for (int row = 0; row < count; row++) numbers[row] = wide(rows[(long long)row * stride + number]) * scale;
        to[number] = make_float4(numbers[0], numbers[1], numbers[2], numbers[3]);
    }
}

// The products of four vectors side by side with one.
__device__ __forceinline__ void products(const float4* four, const unsigned* one, float (&sums)[OWN]) {
#pragma unroll 4
    for (int pair = 0; pair < PAIRS; pair++) {
        float4 first = four[2 * pair], second = four[2 * pair + 1];
        unsigned numbers = one[pair];
        sums[0] += first.x * low(numbers) + second.x * high(numbers);
        sums[1] += first.y * low(numbers) + second.y * high(numbers);
        sums[2] += first.z * low(numbers) + second.z * high(numbers);
        sums[3] += first.w * low(numbers) + second.w * high(numbers);
    }
}

// Adds the rows of a tile, each as often as its four shares say.
template <int STRIDE>
__device__ __forceinline__ void mix(
    float (&sums)[OWN][LANE_PAIRS][2], const float4* shares, const unsigned (&tile)[LANES][STRIDE], int rows) {
    for (int row = 0; row < rows; row++) {
        float4 share = shares[row];
        float weights[OWN] = {share.x, share.y, share.z, share.w};
#pragma unroll
        for (int part = 0; part < LANE_PAIRS; part++) {
            int pair = part * LANES + lane();
            unsigned numbers = pair < PAIRS ? tile[row][pair] : 0;
            for (int q = 0; q < OWN; q++) {
                sums[q][part][0] += weights[q] * low(numbers);
                sums[q][part][1] += weights[q] * high(numbers);
            }
        }
    }
}

__device__ __forceinline__ void store_mixed(const float (&sums)[OWN][LANE_PAIRS][2], Half* rows, int stride, int count) {
#pragma unroll
    for (int q = 0; q < OWN; q++) {
        if (q >= count) continue;
        unsigned* out = (unsigned*)(rows + (long long)q * stride);
        for (int part = 0; part < LANE_PAIRS; part++) {
            int pair = part * LANES + lane();
            if (pair < PAIRS) out[pair] = pair_of(sums[q][part][0], sums[q][part][1]);
        }
    }
}

// The gradients of the queries, in rows as theirs, from that of what attention gave; and for `attention_keys` the `means` of
// each query's gradients of its shares, in rows as those of `logarithms`. A block a text and a head.
extern "C" __global__ void __launch_bounds__(WARPS* LANES, 3) attention_queries(const Half* queries, int query_stride,
    const Half* memory, int stride, int keys_at, const unsigned* input, int starts_at, int scores_at, int first_only,
    int heads, unsigned low, unsigned high, unsigned threshold, float kept, const Half* context, const float* logarithms,
    const Half* context_gradient, float* means, Half* query_gradient) {
    __shared__ unsigned keys[LANES][PAIRS + 1];
    __shared__ unsigned values[LANES][PAIRS + 1];
    __shared__ float4 query[WARPS][HEAD_SIZE];
    __shared__ float4 gradient[WARPS][HEAD_SIZE];
    __shared__ float4 share[WARPS][LANES];

    Dropped dropping = dropped(input, starts_at, scores_at, {low, high, threshold, kept});
    int text = blockIdx.x, head = blockIdx.y, column = head * HEAD_SIZE, warp = threadIdx.x / LANES;
    int start = input[starts_at + text], length = dropping.length;
    int count = first_only ? 1 : length;
    long long first_row = first_only ? text : start;
    const Half* rows = memory + (long long)start * stride + keys_at + column;
    float scale = rsqrtf((float)HEAD_SIZE);

    for (int from = 0; from < count; from += WARPS * OWN) {
        int own = from + warp * OWN, owned = min(OWN, count - own);
        long long own_row = first_row + own;
        side_by_side(query[warp], queries + own_row * query_stride + column, query_stride, owned, scale);
        side_by_side(gradient[warp], context_gradient + own_row * WIDTH + column, WIDTH, owned, 1);
        float mean[OWN] = {}, logarithm[OWN] = {}, sums[OWN][LANE_PAIRS][2] = {};
#pragma unroll
        for (int q = 0; q < OWN; q++) {
            if (q < owned)
                for (int number = lane(); number < HEAD_SIZE; number += LANES) {
                    long long at = (own_row + q) * WIDTH + column + number;
                    mean[q] += wide(context[at]) * wide(context_gradient[at]);
                }
            mean[q] = sum_of_lanes(mean[q]);
            if (q >= owned) continue;
            logarithm[q] = logarithms[(own_row + q) * heads + head];
            if (lane() == 0) means[(own_row + q) * heads + head] = mean[q];
        }
        for (int key = 0; key < length; key += LANES) {
            int here = min(LANES, length - key);
            if (from == 0 || length > LANES) { // else the one tile is still there
                __syncthreads();
                load_tile(keys, rows + (long long)key * stride, stride, here);
                load_tile(values, rows + (long long)key * stride + WIDTH, stride, here);
                __syncthreads();
            }
            if (owned <= 0) continue;

            __syncwarp();
            float scores[OWN] = {}, slopes[OWN] = {}, shares[OWN] = {};
            if (lane() < here) {
                products(query[warp], keys[lane()], scores);
                products(gradient[warp], values[lane()], slopes);
#pragma unroll
                for (int q = 0; q < OWN; q++) {
                    if (q >= owned) continue;
                    float dropped_slope = slopes[q] * dropping.factor(own + q, key + lane(), head);
                    shares[q] = __expf(scores[q] - logarithm[q]) * (dropped_slope - mean[q]) * scale;
                }
            }
            share[warp][lane()] = make_float4(shares[0], shares[1], shares[2], shares[3]);
            __syncwarp();
            mix(sums, share[warp], keys, here);
            __syncwarp();
        }
        if (owned <= 0) continue;
        store_mixed(sums, query_gradient + own_row * query_stride + column, query_stride, owned);
        __syncwarp(); // before the queries are overwritten
    }
}

// The gradients of keys and values, in rows as theirs. A block a text and a head; what a warp works on are keys here, and what
// comes in tiles are queries.
extern "C" __global__ void __launch_bounds__(WARPS* LANES, 3) attention_keys(const Half* queries, int query_stride,
    const Half* memory, int stride, int keys_at, const unsigned* input, int starts_at, int scores_at, int first_only,
    int heads, unsigned low, unsigned high, unsigned threshold, float kept, const float* logarithms, const float* means,
    const Half* context_gradient, Half* memory_gradient) {
    __shared__ unsigned asked[LANES][PAIRS + 1];
    __shared__ unsigned gradients[LANES][PAIRS + 1];
    __shared__ float4 key[WARPS][HEAD_SIZE];
    __shared__ float4 value[WARPS][HEAD_SIZE];
    __shared__ float4 key_share[WARPS][LANES];
    __shared__ float4 value_share[WARPS][LANES];

    Dropped dropping = dropped(input, starts_at, scores_at, {low, high, threshold, kept});
    int text = blockIdx.x, head = blockIdx.y, column = head * HEAD_SIZE, warp = threadIdx.x / LANES;
    int start = input[starts_at + text], length = dropping.length;
    int count = first_only ? 1 : length;
    long long first_row = first_only ? text : start;
    long long keys_from = (long long)start * stride + keys_at + column;
    float scale = rsqrtf((float)HEAD_SIZE);

    for (int from = 0; from < length; from += WARPS * OWN) {
        int own = from + warp * OWN, owned = min(OWN, length - own);
        const Half* rows = memory + keys_from + (long long)own * stride;
        side_by_side(key[warp], rows, stride, owned, scale);
        side_by_side(value[warp], rows + WIDTH, stride, owned, 1);
        float key_sums[OWN][LANE_PAIRS][2] = {}, value_sums[OWN][LANE_PAIRS][2] = {};
        for (int tile = 0; tile < count; tile += LANES) {
            int here = min(LANES, count - tile);
            long long row = first_row + tile;
            if (from == 0 || count > LANES) { // else the one tile is still there
                __syncthreads();
                load_tile(asked, queries + row * query_stride + column, query_stride, here);
                load_tile(gradients, context_gradient + row * WIDTH + column, WIDTH, here);
                __syncthreads();
            }
            if (owned <= 0) continue;

            __syncwarp();
            float scores[OWN] = {}, slopes[OWN] = {}, of_key[OWN] = {}, of_value[OWN] = {};
            if (lane() < here) {
                products(key[warp], asked[lane()], scores);
                products(value[warp], gradients[lane()], slopes);
                float logarithm = logarithms[(row + lane()) * heads + head], mean = means[(row + lane()) * heads + head];
#pragma unroll
                for (int q = 0; q < OWN; q++) {
                    if (q >= owned) continue;
                    float factor = dropping.factor(tile + lane(), own + q, head);
                    float probability = __expf(scores[q] - logarithm);
                    of_value[q] = probability * factor;
                    of_key[q] = probability * (slopes[q] * factor - mean) * scale;
                }
            }
            key_share[warp][lane()] = make_float4(of_key[0], of_key[1], of_key[2], of_key[3]);
            value_share[warp][lane()] = make_float4(of_value[0], of_value[1], of_value[2], of_value[3]);
            __syncwarp();
            mix(key_sums, key_share[warp], asked, here);
            mix(value_sums, value_share[warp], gradients, here);
            __syncwarp();
        }
        if (owned <= 0) continue;
        Half* out = memory_gradient + keys_from + (long long)own * stride;
        store_mixed(key_sums, out, stride, owned);
        store_mixed(value_sums, out + WIDTH, stride, owned);
        __syncwarp(); // before the keys are overwritten
    }
}

#define COLUMN_PAIRS 32  // that a block of sum_columns works on
#define COLUMN_GROUPS 8  // of rows, side by side in a block
#define COLUMN_ROWS 256  // that a block sums

// Sums of columns over COLUMN_ROWS rows, and of their products with `normal`, whose rows are as long as there are columns:
// partial[chunk][0 or 1][column], for the chunk blockIdx.y.
extern "C" __global__ void sum_columns(const Half* memory, int at, int stride, const Half* normal, int has_normal, int rows,
    int columns, float* partial) {
    __shared__ float sums[COLUMN_GROUPS][4 * COLUMN_PAIRS];
    int pair = threadIdx.x % COLUMN_PAIRS, group = threadIdx.x / COLUMN_PAIRS;
    int column = 2 * (blockIdx.x * COLUMN_PAIRS + pair);
    int from = blockIdx.y * COLUMN_ROWS, until = min(rows, from + COLUMN_ROWS);
    float sum[4] = {};
    if (column < columns)
        for (int row = from + group; row < until; row += COLUMN_GROUPS) {
            unsigned numbers = *(const unsigned*)(memory + at + (long long)row * stride + column);
            sum[0] += low(numbers);
            sum[1] += high(numbers);
            if (!has_normal) continue;
            unsigned normals = *(const unsigned*)(normal + (long long)row * columns + column);
            sum[2] += low(numbers) * low(normals);
            sum[3] += high(numbers) * high(normals);
        }
    for (int number = 0; number < 4; number++) sums[group][4 * pair + number] = sum[number];
    __syncthreads();
    if (group != 0 || column >= columns) return;
    for (int other = 1; other < COLUMN_GROUPS; other++)
        for (int number = 0; number < 4; number++) sum[number] += sums[other][4 * pair + number];
    float* out = partial + (long long)blockIdx.y * 2 * columns + column;
    out[0] = sum[0], out[1] = sum[1];
    out[columns] = sum[2], out[columns + 1] = sum[3];
}

// The sums over all chunks, of the sums (which = 0) or the products (1), to `out`, or added to it. A thread a column.
extern "C" __global__ void finish_columns(const float* partial, int which, int chunks, int columns, int adds, float* out) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    float sum = adds ? out[column] : 0;
    for (int chunk = 0; chunk < chunks; chunk++) sum += partial[(2 * (long long)chunk + which) * columns + column];
    out[column] = sum;
}

// Adds the gradients of the tokens that have a row of a table to that row's, a warp a row and LANES vectors of it. `plan`
// has from `at` on the rows, where the tokens of each start, with the end of the last, and the tokens.
extern "C" __global__ void add_to_rows(const Half* gradient, const unsigned* plan, int at, int groups, float* table) {
    int group = row_of_warp(), vector = blockIdx.y * LANES + lane();
    if (group >= groups || vector >= VECTORS) return;
    const unsigned *starts = plan + at + groups, *tokens = starts + groups + 1;
    float sums[8] = {};
    int end = starts[group + 1];
    for (int number = starts[group]; number < end; number++) {
        float values[8];
        unpack(((const Eight*)(gradient + (long long)tokens[number] * WIDTH))[vector], values);
        for (int i = 0; i < 8; i++) sums[i] += values[i];
    }
    float* out = table + (long long)plan[at + group] * WIDTH + 8 * vector;
    for (int i = 0; i < 8; i++) out[i] += sums[i];
}

// Adds the rows of the first tokens to those of all tokens. A warp a text.
extern "C" __global__ void add_first_rows(const Half* first, const unsigned* input, int starts_at, int texts, Half* rows) {
    int text = row_of_warp();
    if (text >= texts) return;
    int token = input[starts_at + text];
    Row row = row_at(rows, token);
    add(row, row_at(first, text));
    store(row, rows + (long long)token * WIDTH);
}

// The logits of each text. A warp a text.
extern "C" __global__ void classify(
    const Half* pooled, const float* weight, const float* bias, int labels, int texts, float* logits) {
    int text = row_of_warp();
    if (text >= texts) return;
    Row row = row_at(pooled, text);
    for (int label = 0; label < labels; label++) {
        float sum = product(row, weight + (long long)label * WIDTH);
        if (lane() == 0) logits[(long long)text * labels + label] = sum + bias[label];
    }
}

// The gradient of what was classified, from those of the logits. A warp a text.
extern "C" __global__ void classify_backward(
    const float* logit_gradients, const float* weight, int labels, int texts, Half* gradient) {
    int text = row_of_warp();
    if (text >= texts) return;
    Row row = {};
    for (int label = 0; label < labels; label++) {
        float share = logit_gradients[(long long)text * labels + label];
#pragma unroll
        for (int part = 0; part < LANE_VECTORS; part++) {
            int vector = part * LANES + lane();
            if (vector >= VECTORS) continue;
            float weights[8];
            load(weight + (long long)label * WIDTH, vector, weights);
            for (int number = 0; number < 8; number++) row.values[part][number] += share * weights[number];
        }
    }
    store(row, gradient + (long long)text * WIDTH);
}

// The gradients of the classifier's weight and bias. A thread a column; blockIdx.y is the label.
extern "C" __global__ void classifier_gradients(const float* logit_gradients, const Half* pooled, int labels, int texts,
    int adds, float* weight_gradient, float* bias_gradient) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, label = blockIdx.y;
    if (column >= WIDTH) return;
    float* out = weight_gradient + (long long)label * WIDTH + column;
    float sum = adds ? *out : 0, all = adds ? bias_gradient[label] : 0;
    for (int text = 0; text < texts; text++) {
        float share = logit_gradients[(long long)text * labels + label];
        sum += share * wide(pooled[(long long)text * WIDTH + column]);
        all += share;
    }
    *out = sum;
    if (column == 0) bias_gradient[label] = all;
}
