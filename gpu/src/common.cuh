// What our kernels have in common.
//
// Numbers are stored as bf16 where nothing else is said, and computed in f32. WIDTH is the width of a token's vector and HEAD_SIZE
// that of an attention head, both multiples of 8. Nothing is included: the compiler that does this (nvrtc) comes without headers.
// Tests compile the same text for the CPU (emulator.cpp).
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

// Takes the mean away and divides by the standard deviation, and says what it has multiplied with.
__device__ __forceinline__ float normalise(Row& row, float epsilon) {
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
            row.values[part][number] -= mean;
            squares += row.values[part][number] * row.values[part][number];
        }
    }
    float scale = rsqrtf(sum_of_lanes(squares) / WIDTH + epsilon);
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++)
        for (int number = 0; number < 8; number++) row.values[part][number] *= scale;
    return scale;
}

// row · weight + bias, number by number.
__device__ __forceinline__ void transform(Row& row, const float* weight, const float* bias) {
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector >= VECTORS) continue;
        float weights[8], biases[8];
        load(weight, vector, weights);
        load(bias, vector, biases);
        for (int number = 0; number < 8; number++)
            row.values[part][number] = row.values[part][number] * weights[number] + biases[number];
    }
}

// The product with a vector of f32, to every lane.
__device__ __forceinline__ float product(const Row& row, const float* weight) {
    float sum = 0;
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector >= VECTORS) continue;
        float weights[8];
        load(weight, vector, weights);
        for (int number = 0; number < 8; number++) sum += row.values[part][number] * weights[number];
    }
    return sum_of_lanes(sum);
}

__device__ __forceinline__ void store(const Row& row, Half* out) {
#pragma unroll
    for (int part = 0; part < LANE_VECTORS; part++) {
        int vector = part * LANES + lane();
        if (vector < VECTORS) ((Eight*)out)[vector] = packed(row.values[part]);
    }
}

// Bends a number: not at all, by tanh, by x Φ(x), by max(x, 0), by the tanh approximation of x Φ(x).
__device__ __forceinline__ float bent(float x, int bend) {
    switch (bend) {
        case 1: return tanhf(x);
        case 2: return 0.5f * x * (1 + erff(x * 0.70710678f));
        case 3: return fmaxf(x, 0);
        case 4: return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
        default: return x;
    }
}

#define WARPS 4                         // of a block of attention
#define QUERIES 16                      // that a warp works on: the rows of a tensor core's tile
#define KEYS 32                         // that it reads at once
#define KEY_TILES (KEYS / 8)            // columns of a tile
#define STEPS ((HEAD_SIZE + 15) / 16)   // of a product over a head's vector, 16 numbers each
#define PAIRS (HEAD_SIZE / 2)           // of a head's vector
#define HEAD_TILES (HEAD_SIZE / 8)

#ifndef EMULATED
// sums += left · right on a tensor core: 16 rows, 8 columns, 16 products each. Lane l holds of the left the pairs l % 4 and
// l % 4 + 4 of the rows l / 4 and l / 4 + 8, of the right those of the column l / 4, and of the sums the pair l % 4 of the
// same two rows.
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}
#endif

// Of the four lanes that hold a row of a tile.
__device__ __forceinline__ float sum_of_row(float value) {
    value += __shfl_xor_sync(ALL_LANES, value, 1);
    return value + __shfl_xor_sync(ALL_LANES, value, 2);
}

__device__ __forceinline__ float greatest_of_row(float value) {
    value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

// A pair of a row, or zeros beyond its end and where there `is` no such row.
__device__ __forceinline__ unsigned pair_at(const Half* row, int pair, bool is) {
    return is && pair < PAIRS ? ((const unsigned*)row)[pair] : 0;
}

// Where nothing is dropped.
struct Kept {
    __device__ __forceinline__ float factor(int, int, int) const { return 1; }
};

// softmax(query · keyᵀ / sqrt(HEAD_SIZE)) · value for one text, sixteen of its queries and one head a warp. Blocks are numbered
// by text and, in blockIdx.y, by WARPS heads side by side and then by sixteen queries.
//
// Rows of `memory` are `stride` long, keys in them from `keys_at` on and values WIDTH after them; rows of `queries` are
// `query_stride` long. Each token is a query, or, with `first_only`, the first of each text alone, whose rows in `queries`
// and `context` are then the numbers of the texts. Keys come in tiles, and the softmax is kept up to date as they come
// (Milakov and Gimelshein, 2018): a text may have any length, and nearly every review is one tile.
//
// `dropping` says what the share of a key is multiplied with, by the numbers of query, key and head. Where there are
// `logarithms`, a row for each query and a column for each head, they get the logarithm of what the softmax divides by.
template <class Dropping>
__device__ __forceinline__ void attend(const Half* queries, int query_stride, const Half* memory, int stride, int keys_at,
    const unsigned* input, int starts_at, int first_only, int heads, Half* context, Dropping dropping, float* logarithms) {
    // Rows of values, which a tensor core takes by columns; a vector more, so that lanes read different banks.
    __shared__ Eight tiles[WARPS][KEYS][HEAD_TILES + 1];

    int groups = (heads + WARPS - 1) / WARPS, warp = threadIdx.x / LANES;
    int head = blockIdx.y % groups * WARPS + warp, from = blockIdx.y / groups * QUERIES;
    int start = input[starts_at + blockIdx.x], length = input[starts_at + blockIdx.x + 1] - start;
    int count = first_only ? 1 : length, column = head * HEAD_SIZE;
    if (head >= heads || from >= count) return;

    long long first_row = first_only ? blockIdx.x : start;
    const Half* keys = memory + (long long)start * stride + keys_at + column;
    const Half* values = keys + WIDTH;
    Eight(&tile)[KEYS][HEAD_TILES + 1] = tiles[warp];
    int pair = lane() % 4, rows[2] = {from + lane() / 4, from + lane() / 4 + 8};

    unsigned asked[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; step++)
        for (int part = 0; part < 4; part++) {
            int row = rows[part % 2];
            const Half* query = queries + (first_row + row) * query_stride + column;
            asked[step][part] = pair_at(query, 8 * step + pair + part / 2 * 4, row < count);
        }
    float greatest[2], total[2] = {}, sums[HEAD_TILES][4] = {};
    greatest[0] = greatest[1] = __uint_as_float(0xff800000u); // -infinity

    for (int key = 0; key < length; key += KEYS) {
        int here = min(KEYS, length - key);
        __syncwarp(); // before the last tile is overwritten
        // Beyond the end zeros, whose shares are 0, and no numbers that are none.
        for (int number = lane(); number < KEYS * HEAD_TILES; number += LANES) {
            int row = number / HEAD_TILES, vector = number % HEAD_TILES;
            Eight found = {};
            if (row < here) found = ((const Eight*)(values + (long long)(key + row) * stride))[vector];
            tile[row][vector] = found;
        }
        __syncwarp();

        float scores[KEY_TILES][4] = {}, best[2] = {greatest[0], greatest[1]};
#pragma unroll
        for (int part = 0; part < KEY_TILES; part++) {
            if (8 * part < here) {
                int row = 8 * part + lane() / 4;
                const Half* vector = keys + (long long)(key + row) * stride;
#pragma unroll
                for (int step = 0; step < STEPS; step++) {
                    unsigned right[2];
                    for (int half = 0; half < 2; half++)
                        right[half] = pair_at(vector, 8 * step + pair + 4 * half, row < here);
                    multiply(scores[part], asked[step], right);
                }
            }
            for (int number = 0; number < 4; number++) {
                bool is = 8 * part + 2 * pair + number % 2 < here;
                scores[part][number] = is ? scores[part][number] * rsqrtf((float)HEAD_SIZE) : __uint_as_float(0xff800000u);
                best[number / 2] = fmaxf(best[number / 2], scores[part][number]);
            }
        }
        for (int row = 0; row < 2; row++) {
            best[row] = greatest_of_row(best[row]);
            float fade = __expf(greatest[row] - best[row]);
            greatest[row] = best[row];
            total[row] *= fade;
            for (int part = 0; part < HEAD_TILES; part++) {
                sums[part][2 * row] *= fade;
                sums[part][2 * row + 1] *= fade;
            }
        }
#pragma unroll
        for (int part = 0; part < KEY_TILES; part++)
            for (int number = 0; number < 4; number++) {
                float share = __expf(scores[part][number] - greatest[number / 2]);
                total[number / 2] += share;
                scores[part][number] = share * dropping.factor(rows[number / 2], key + 8 * part + 2 * pair + number % 2, head);
            }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            if (16 * step >= here) continue;
            const float(&low_keys)[4] = scores[2 * step], (&high_keys)[4] = scores[2 * step + 1];
            unsigned left[4] = {pair_of(low_keys[0], low_keys[1]), pair_of(low_keys[2], low_keys[3]),
                pair_of(high_keys[0], high_keys[1]), pair_of(high_keys[2], high_keys[3])};
#pragma unroll
            for (int part = 0; part < HEAD_TILES; part++) {
                unsigned right[2];
                for (int half = 0; half < 2; half++) {
                    int row = 16 * step + 8 * half + 2 * pair;
                    unsigned one = ((const Half*)&tile[row][part])[lane() / 4];
                    unsigned other = ((const Half*)&tile[row + 1][part])[lane() / 4];
                    right[half] = one | other << 16;
                }
                multiply(sums[part], left, right);
            }
        }
    }
    for (int row = 0; row < 2; row++) {
        float all = sum_of_row(total[row]);
        if (rows[row] >= count) continue;
        long long number = first_row + rows[row];
        if (logarithms && pair == 0) logarithms[number * heads + head] = greatest[row] + __logf(all);
        unsigned* out = (unsigned*)(context + number * WIDTH + column);
        for (int part = 0; part < HEAD_TILES; part++)
            out[4 * part + pair] = pair_of(sums[part][2 * row] / all, sums[part][2 * row + 1] / all);
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
