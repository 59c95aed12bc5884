// One step of AdamW (Loshchilov and Hutter, 2019), and what clipping needs to know. Everything is f32.

// The sums of the squares of each block's share of the numbers, from out[at] on. Blocks of 256 threads.
extern "C" __global__ void squares(const float* numbers, int count, float* out, int at) {
    __shared__ float sums[8];
    float sum = 0;
    for (int number = blockIdx.x * blockDim.x + threadIdx.x; number < count; number += blockDim.x * gridDim.x)
        sum += numbers[number] * numbers[number];
    sum = sum_of_lanes(sum);
    if (lane() == 0) sums[threadIdx.x / LANES] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < 8; warp++) sum += sums[warp];
    out[at + blockIdx.x] = sum;
}

// A thread a number. The gradient is multiplied with `scale` first; `rate` and `correction` have the corrections of the moments in
// them.
extern "C" __global__ void adamw(float* parameter, const float* gradient, float* first, float* second, int count, float scale,
    float decay, float kept_of_first, float kept_of_second, float rate, float correction, float epsilon) {
    int number = blockIdx.x * blockDim.x + threadIdx.x;
    if (number >= count) return;
    float slope = gradient[number] * scale;
    float one = first[number] * kept_of_first + slope * (1 - kept_of_first);
    float two = second[number] * kept_of_second + slope * slope * (1 - kept_of_second);
    first[number] = one;
    second[number] = two;
    parameter[number] = parameter[number] * decay - one / (sqrtf(two) * correction + epsilon) * rate;
}
