// What the kernels of linear layers share.
#pragma once

#include "linear.h"
#include "weights.cuh"

namespace touchstone {
namespace cuda {

// The part of the targets' rows that a block of threads takes; `units` of rows a block, blocks of the targets in turn.
struct Place {
  int target;
  int64_t block;  // within the target
};

__device__ __forceinline__ Place PlaceOf(const LinearOp& op, int64_t block, int64_t rows_per_block) {
  Place place = {0, block};
  while (place.target + 1 < op.target_count) {
    const int64_t blocks = (op.targets[place.target].outputs + rows_per_block - 1) / rows_per_block;
    if (place.block < blocks) break;
    place.block -= blocks;
    place.target++;
  }
  return place;
}

inline int64_t BlocksOf(const LinearOp& op, int64_t rows_per_block) {
  int64_t blocks = 0;
  for (int i = 0; i < op.target_count; i++) blocks += (op.targets[i].outputs + rows_per_block - 1) / rows_per_block;
  return blocks;
}

// Bias and residual, then the store. Returns the value.
__device__ __forceinline__ float Finish(const Target& target, float total, int64_t row, int64_t output) {
  const int64_t at = row * target.outputs + output;
  if (target.bias != nullptr) total = total + target.bias[output];
  if (target.residual != nullptr) total = total + target.residual[at];
  target.out[at] = total;
  return total;
}

// One warp quantises 32 activations, one a lane; see cpu/quantize.h.
__device__ __forceinline__ void QuantizeByWarp(float value, QuantizedActivations* out) {
  const int lane = threadIdx.x % 32;
  uint32_t largest = FloatBits(value) & 0x7fffffffu;
  for (int lanes = 16; lanes > 0; lanes /= 2) largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, lanes));
  const QuantStep step = QuantStepOf(FloatFromBits(largest));
  int q = static_cast<int>(FloatBits(value * step.inverse + 12582912.0f) - 0x4b400000u);
  if (step.inverse == 0.0f) q = 0;
  int sum = q;
  for (int lanes = 8; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
  const int other = __shfl_xor_sync(0xffffffffu, sum, 16);
  const int high = (q + 128) >> 8;
  out->high[lane] = static_cast<int8_t>(high);
  out->low[lane] = static_cast<int8_t>(q - 256 * high);
  if (lane == 0) {
    out->half_sum[0] = sum;
    out->half_sum[1] = other;
    out->step = step.step;
    out->scaled_sum = step.step * static_cast<float>(sum + other);
  }
}

// Calls RunOne<dtype>(arguments...) for the format of the operation.
#define TS_FOR_DTYPE(dtype, RunOne, ...)                                                                  \
  switch (dtype) {                                                                                        \
    case TS_F32:                                                                                          \
      return RunOne<TS_F32>(__VA_ARGS__);                                                                 \
    case TS_F16:                                                                                          \
      return RunOne<TS_F16>(__VA_ARGS__);                                                                 \
    case TS_BF16:                                                                                         \
      return RunOne<TS_BF16>(__VA_ARGS__);                                                                \
    case TS_Q4_0:                                                                                         \
      return RunOne<TS_Q4_0>(__VA_ARGS__);                                                                \
    case TS_Q4_1:                                                                                         \
      return RunOne<TS_Q4_1>(__VA_ARGS__);                                                                \
    case TS_Q5_0:                                                                                         \
      return RunOne<TS_Q5_0>(__VA_ARGS__);                                                                \
    case TS_Q5_1:                                                                                         \
      return RunOne<TS_Q5_1>(__VA_ARGS__);                                                                \
    case TS_Q8_0:                                                                                         \
      return RunOne<TS_Q8_0>(__VA_ARGS__);                                                                \
    case TS_Q4_K:                                                                                         \
      return RunOne<TS_Q4_K>(__VA_ARGS__);                                                                \
    case TS_Q5_K:                                                                                         \
      return RunOne<TS_Q5_K>(__VA_ARGS__);                                                                \
    case TS_Q6_K:                                                                                         \
      return RunOne<TS_Q6_K>(__VA_ARGS__);                                                                \
    default:                                                                                              \
      return gpu::Status::Error(gpu::Code::kInvalidValue, "weight format %d is not offered", int(dtype)); \
  }

}  // namespace cuda
}  // namespace touchstone
