// CUDA's side of kernels, on the CPU: for tests.
//
// The threads of a block are fibers that take turns: each runs until it waits for its warp, and a warp until it waits for
// its block, so that a missing barrier shows in the result. Blocks run one after the other.

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

// Ends the run: threads that no GPU would run, a barrier that not all of them reach.
[[noreturn]] static void fail(const std::string& problem);

// What CUDA has.

#define EMULATED
#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct Place {
    unsigned x, y;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

struct float4 {
    float x, y, z, w;
};
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static int min(int one, int other) { return one < other ? one : other; }
static float rsqrtf(float x) { return 1 / sqrtf(x); }
#define __expf expf
#define __logf logf

static float __uint_as_float(unsigned bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static unsigned half_of(float number) {
    unsigned bits;
    memcpy(&bits, &number, sizeof bits);
    return std::isnan(number) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
static unsigned pair_of(float first, float second) { return half_of(first) | half_of(second) << 16; }

// Fibers.

static const size_t WARP = 32;

enum class Waits { New, No, ForWarp, ForBlock, Ended };

struct Fiber {
    ucontext_t start;
    jmp_buf place; // where it goes on: a jump is ten times quicker than a change of context
    std::vector<char> stack = std::vector<char>(1 << 16);
    Waits waits;
};

static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static std::function<void()> kernel;

static void wait_for(Waits what) {
    Fiber& own = fibers[threadIdx.x];
    own.waits = what;
    if (!_setjmp(own.place)) _longjmp(scheduler, 1);
}

static void __syncthreads() { wait_for(Waits::ForBlock); }
static void __syncwarp() { wait_for(Waits::ForWarp); }

static float __shfl_xor_sync(unsigned lanes, float value, int distance) {
    // Two, in turn: when one is written again, everybody has passed the barrier of the other.
    static float slots[2][1024];
    static unsigned turns[1024];
    if (lanes != 0xffffffffu) fail("a shuffle that leaves lanes out");
    float* own = slots[turns[threadIdx.x]++ % 2];
    own[threadIdx.x] = value;
    __syncwarp();
    return own[threadIdx.x ^ distance];
}

static float wide_of(unsigned half) { return __uint_as_float(half << 16); }

// A tensor core's product, of what all lanes of the warp bring.
static void multiply(float (&sums)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    static unsigned slots[2][1024][6];
    static unsigned turns[1024];
    auto& own = slots[turns[threadIdx.x]++ % 2];
    for (int part = 0; part < 4; part++) own[threadIdx.x][part] = left[part];
    for (int part = 0; part < 2; part++) own[threadIdx.x][4 + part] = right[part];
    __syncwarp();
    unsigned first = threadIdx.x / WARP * WARP, lane = threadIdx.x % WARP;
    auto number = [](unsigned pair, int place) { return wide_of(place % 2 ? pair >> 16 : pair & 0xffff); };
    for (int result = 0; result < 4; result++) {
        unsigned row = lane / 4 + result / 2 * 8, column = lane % 4 * 2 + result % 2;
        for (int k = 0; k < 16; k++) {
            unsigned one = own[first + row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
            unsigned other = own[first + column * 4 + k % 8 / 2][4 + k / 8];
            sums[result] += number(one, k) * number(other, k);
        }
    }
}

static void run_fiber() {
    kernel();
    wait_for(Waits::Ended);
}

static void resume(Fiber& fiber) {
    if (_setjmp(scheduler)) return;
    if (fiber.waits == Waits::New) setcontext(&fiber.start);
    _longjmp(fiber.place, 1);
}

// Lets the fibers of a warp or a block go on if all wait for it.
static bool release(size_t from, size_t count, Waits what) {
    for (size_t number = from; number < from + count; number++)
        if (fibers[number].waits != what) return false;
    for (size_t number = from; number < from + count; number++) fibers[number].waits = Waits::No;
    return true;
}

// As far as it goes without the others, so that what they should have been waited for is not there. Whether anything moved.
static bool run_warp(size_t first, bool is_reversed) {
    for (bool has_moved = false;;) {
        bool moves = false;
        for (size_t turn = 0; turn < WARP; turn++) {
            threadIdx.x = first + (is_reversed ? WARP - 1 - turn : turn);
            Fiber& fiber = fibers[threadIdx.x];
            if (fiber.waits != Waits::New && fiber.waits != Waits::No) continue;
            resume(fiber);
            moves = true;
        }
        if (!moves && !release(first, WARP, Waits::ForWarp)) return has_moved;
        has_moved = true;
    }
}

static void run_block(bool is_reversed) {
    for (Fiber& fiber : fibers) {
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.data();
        fiber.start.uc_stack.ss_size = fiber.stack.size();
        fiber.waits = Waits::New;
        makecontext(&fiber.start, run_fiber, 0);
    }
    for (;;) {
        bool has_moved = false, has_ended = true;
        for (size_t warp = 0; warp < fibers.size(); warp += WARP)
            has_moved |= run_warp(is_reversed ? fibers.size() - WARP - warp : warp, is_reversed);
        has_moved |= release(0, fibers.size(), Waits::ForBlock);
        for (Fiber& fiber : fibers) has_ended &= fiber.waits == Waits::Ended;
        if (has_ended) return;
        if (!has_moved) fail("a barrier that not all threads reach");
    }
}

// Runs `kernel` in all threads of all blocks.
static void run_grid(Place blocks, unsigned threads, bool is_reversed) {
    gridDim = blocks;
    blockDim = {threads, 1};
    if (threads == 0 || threads % WARP != 0 || threads > 1024) fail("threads that are no whole warps");
    fibers.resize(threads);
    for (blockIdx.y = 0; blockIdx.y < blocks.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < blocks.x; blockIdx.x++) run_block(is_reversed);
}
