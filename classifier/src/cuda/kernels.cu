// What a BERT does besides its matrix products, over the tokens of several texts end to end, without padding.
//
// Everything is stored as bf16 and computed in f32. The program is compiled for one model when it is opened: WIDTH is the
// width of a token's vector and HEAD_SIZE that of an attention head, both multiples of 8. Nothing is included: the compiler that
// does this (nvrtc) comes without headers. Tests compile the same text for the CPU (emulator.cpp).
//
// `starts` are cumulative lengths: text i has the rows starts[i] to starts[i + 1]. Rows count from 0.

typedef unsigned short Half; // the bits of a bf16

struct alignas(16) Eight { // numbers of a row: what a thread moves at once
    unsigned pairs[4];
};

#define LANES 32
#define ALL_LANES 0xffffffffu
#define VECTORS (WIDTH / 8)                           // of a row
#define LANE_VECTORS ((VECTORS + LANES - 1) / LANES) // of a row that a lane holds

__device__ __forceinline__ float low(unsigned pair) { return __uint_as_float(pair << 16); }

__device__ __forceinline__ float high(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ float wide(Half half) { return __uint_as_float((unsigned)half << 16); }

#ifndef EMULATED
// Both rounded to the nearest, ties to even; the first is the lower half.
__device__ __forceinline__ unsigned pair_of(float first, float second) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}
#endif

__device__ __forceinline__ float sum_of_lanes(float value) {
    for (int distance = LANES / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

__device__ __forceinline__ float greatest_of_lanes(float value) {
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

__device__ __forceinline__ void unpack(const Eight& eight, float (&values)[8]) {
    for (int pair = 0; pair < 4; pair++) {
        values[2 * pair] = low(eight.pairs[pair]);
        values[2 * pair + 1] = high(eight.pairs[pair]);
    }
}

__device__ __forceinline__ Eight packed(const float (&values)[8]) {
    Eight eight;
    for (int pair = 0; pair < 4; pair++) eight.pairs[pair] = pair_of(values[2 * pair], values[2 * pair + 1]);
    return eight;
}

__device__ __forceinline__ void load(const float* memory, int vector, float (&values)[8]) {
    float4 first = ((const float4*)memory)[2 * vector], second = ((const float4*)memory)[2 * vector + 1];
    values[0] = first.x, values[1] = first.y, values[2] = first.z, values[3] = first.w;
    values[4] = second.x, values[5] = second.y, values[6] = second.z, values[7] = second.w;
}

// A row in the registers of a warp: lane l holds its vectors l, l + 32, and so on.
struct Row {
    float values[LANE_VECTORS][8];
};

__device__ __forceinline__ int lane() { return threadIdx.x % LANES; }

// The row that the warp works on, where each has one.
__device__ __forceinline__ int row_of_warp() { return (blockIdx.x * blockDim.x + threadIdx.x) / LANES; }

__device__ __forceinline__ Row row_at(const Half* memory, int row) {
    Row found;
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        Eight eight = {};
        if (vector < VECTORS) eight = ((const Eight*)(memory + (long long)row * WIDTH))[vector];
        unpack(eight, found.values[part]);
    }
    return found;
}

__device__ __forceinline__ void add(Row& sum, const Row& other) {
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++)
        for (int number = 0; number < 8; number++) sum.values[part][number] += other.values[part][number];
}

// LayerNorm, and to memory.
__device__ __forceinline__ void store_normalised(
    const Row& row, const float* weight, const float* bias, float epsilon, Half* out) {
    float sum = 0;
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++)
        for (int number = 0; number < 8; number++) sum += row.values[part][number];
    float mean = sum_of_lanes(sum) / WIDTH;
    float squares = 0;
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        if (part * LANES + lane() >= VECTORS) continue;
        for (int number = 0; number < 8; number++) {
            float difference = row.values[part][number] - mean;
            squares += difference * difference;
        }
    }
    float scale = rsqrtf(sum_of_lanes(squares) / WIDTH + epsilon);
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector >= VECTORS) continue;
        float weights[8], normal[8];
        load(weight, vector, weights);
        load(bias, vector, normal);
        for (int number = 0; number < 8; number++)
            normal[number] += (row.values[part][number] - mean) * scale * weights[number];
        ((Eight*)out)[vector] = packed(normal);
    }
}

// The first vector of each token. A warp a token. `input`: ids, then positions.
extern "C" __global__ void embed(const unsigned* input, int tokens, const Half* words, const Half* places,
    const float* weight, const float* bias, float epsilon, Half* hidden) {
    int token = row_of_warp();
    if (token >= tokens) return;
    Row row = row_at(words, input[token]);
    add(row, row_at(places, input[tokens + token]));
    store_normalised(row, weight, bias, epsilon, hidden + (long long)token * WIDTH);
}

// hidden = LayerNorm(hidden + branch). A warp a row.
extern "C" __global__ void add_norm(
    const Half* branch, int rows, const float* weight, const float* bias, float epsilon, Half* hidden) {
    int number = row_of_warp();
    if (number >= rows) return;
    Row row = row_at(hidden, number);
    add(row, row_at(branch, number));
    store_normalised(row, weight, bias, epsilon, hidden + (long long)number * WIDTH);
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

#define WARPS 4                                    // of a block of attention
#define QUERIES 4                                  // that a warp works on at once
#define PAIRS (HEAD_SIZE / 2)                      // of a head's vector
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

// softmax(query · keyᵀ / sqrt(HEAD_SIZE)) · value for one text and one head a block: blockIdx.x and blockIdx.y.
//
// Rows of `memory` are `stride` long, keys in them from `keys_at` on and values WIDTH after them; rows of `queries` are
// `query_stride` long. Each token is a query, or, with `first_only`, the first of each text alone, whose rows in `queries`
// and `context` are then the numbers of the texts. Keys come in tiles, one a lane, and the softmax is kept up to date as
// they come (Milakov and Gimelshein, 2018): a text may have any length, and nearly every review is one tile.
extern "C" __global__ void __launch_bounds__(WARPS* LANES) attention(const Half* queries, int query_stride,
    const Half* memory, int stride, int keys_at, const unsigned* input, int starts_at, int first_only, Half* context) {
    // A pair more than a row has: lanes that read rows of their own read different banks.
    __shared__ unsigned keys[LANES][PAIRS + 1];
    __shared__ unsigned values[LANES][PAIRS];
    // The numbers of four queries, or the shares they give a key, side by side.
    __shared__ float4 query[WARPS][HEAD_SIZE];
    __shared__ float4 share[WARPS][LANES];

    int text = blockIdx.x, column = blockIdx.y * HEAD_SIZE, warp = threadIdx.x / LANES;
    int start = input[starts_at + text], length = input[starts_at + text + 1] - start;
    int count = first_only ? 1 : length;
    long long first_row = first_only ? text : start;
    const Half* rows = memory + (long long)start * stride + keys_at + column;

    for (int from = 0; from < count; from += WARPS * QUERIES) {
        int own = from + warp * QUERIES, owned = min(QUERIES, count - own);
        for (int number = lane(); number < HEAD_SIZE; number += LANES) {
            float numbers[QUERIES] = {};
            for (int q = 0; q < owned; q++)
                numbers[q] = wide(queries[(first_row + own + q) * query_stride + column + number])
                    * rsqrtf((float)HEAD_SIZE);
            query[warp][number] = make_float4(numbers[0], numbers[1], numbers[2], numbers[3]);
        }
        float greatest[QUERIES], total[QUERIES] = {}, sums[QUERIES][LANE_PAIRS][2] = {};
        for (int q = 0; q < QUERIES; q++) greatest[q] = __uint_as_float(0xff800000u); // -infinity

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
            float scores[QUERIES] = {};
            if (lane() < here) {
#pragma unroll 8
                for (int pair = 0; pair < PAIRS; pair++) {
                    unsigned numbers = keys[lane()][pair];
                    float4 first = query[warp][2 * pair], second = query[warp][2 * pair + 1];
                    scores[0] += first.x * low(numbers) + second.x * high(numbers);
                    scores[1] += first.y * low(numbers) + second.y * high(numbers);
                    scores[2] += first.z * low(numbers) + second.z * high(numbers);
                    scores[3] += first.w * low(numbers) + second.w * high(numbers);
                }
            }
            float shares[QUERIES];
#pragma unroll
            for (int q = 0; q < QUERIES; q++) {
                float before = greatest[q];
                float score = lane() < here ? scores[q] : __uint_as_float(0xff800000u);
                greatest[q] = fmaxf(before, greatest_of_lanes(score));
                float fade = __expf(before - greatest[q]);
                shares[q] = __expf(score - greatest[q]);
                total[q] = total[q] * fade + shares[q];
                for (int part = 0; part < LANE_PAIRS; part++) {
                    sums[q][part][0] *= fade;
                    sums[q][part][1] *= fade;
                }
            }
            share[warp][lane()] = make_float4(shares[0], shares[1], shares[2], shares[3]);
            __syncwarp();
            for (int row = 0; row < here; row++) {
                float4 part_of = share[warp][row];
                float weights[QUERIES] = {part_of.x, part_of.y, part_of.z, part_of.w};
#pragma unroll
                for (int part = 0; part < LANE_PAIRS; part++) {
                    int pair = part * LANES + lane();
                    unsigned numbers = pair < PAIRS ? values[row][pair] : 0;
                    for (int q = 0; q < QUERIES; q++) {
                        sums[q][part][0] += weights[q] * low(numbers);
                        sums[q][part][1] += weights[q] * high(numbers);
                    }
                }
            }
            __syncwarp();
        }
        if (owned <= 0) continue;

#pragma unroll
        for (int q = 0; q < QUERIES; q++) {
            float all = sum_of_lanes(total[q]);
            if (q >= owned) continue;
            unsigned* out = (unsigned*)(context + (first_row + own + q) * WIDTH + column);
            for (int part = 0; part < LANE_PAIRS; part++) {
                int pair = part * LANES + lane();
                if (pair < PAIRS) out[pair] = pair_of(sums[q][part][0] / all, sums[q][part][1] / all);
            }
        }
        __syncwarp(); // before the queries are overwritten
    }
}

// The row of the first token of each text. A warp a text.
extern "C" __global__ void first_rows(
    const Half* hidden, const unsigned* input, int starts_at, int texts, Half* out) {
    int text = row_of_warp();
    if (text >= texts) return;
    const Eight* from = (const Eight*)(hidden + (long long)input[starts_at + text] * WIDTH);
    Eight* to = (Eight*)(out + (long long)text * WIDTH);
    for (int vector = lane(); vector < VECTORS; vector += LANES) to[vector] = from[vector];
}

// The product of each row with one vector. A warp a row.
extern "C" __global__ void score(const Half* hidden, const float* query, int rows, float* scores) {
    int number = row_of_warp();
    if (number >= rows) return;
    Row row = row_at(hidden, number);
    float sum = 0;
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector >= VECTORS) continue;
        float weights[8];
        load(query, vector, weights);
        for (int number = 0; number < 8; number++) sum += row.values[part][number] * weights[number];
    }
    sum = sum_of_lanes(sum);
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

// How a head bends its vector: not at all, by tanh, by x Φ(x), by max(x, 0), by the tanh approximation of x Φ(x).
__device__ __forceinline__ float bent(float x, int bend) {
    switch (bend) {
        case 1: return tanhf(x);
        case 2: return 0.5f * x * (1 + erff(x * 0.70710678f));
        case 3: return fmaxf(x, 0);
        case 4: return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
        default: return x;
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
        float sum = 0;
#pragma unroll
        for (int part = 0; part < LANE_VECTORS; part++) {
            int vector = part * LANES + lane();
            if (vector >= VECTORS) continue;
            float weights[8];
            load(weight + (long long)label * WIDTH, vector, weights);
            for (int number = 0; number < 8; number++) sum += row.values[part][number] * weights[number];
        }
        sum = sum_of_lanes(sum);
        if (lane() == 0) logits[(long long)(before + text) * labels + label] = sum + bias[label];
    }
}
