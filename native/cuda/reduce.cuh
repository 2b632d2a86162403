// Sums and maxima of a warp or a block. The sum of floats follows the canonical order; everything else has no order.
#pragma once

#include "../core/numerics.h"
#include "device.cuh"

namespace touchstone {
namespace cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

// Folds 32 lanes as FoldLanes does; the sum is lane 0's.
__device__ __forceinline__ float FoldWarp(float lane) {
  for (int width = kSumLanes / 2; width > 0; width /= 2) lane = lane + __shfl_down_sync(kAllLanes, lane, width);
  return lane;
}

// Mean (0 for RMS) and factor of a norm over x(0) ... x(width - 1), computed by one warp; every lane gets them. See
// cpu/norm.h.
struct NormFactors {
  float mean, factor;
};

// Elements lane, lane + 32, ... of x, `kNormBatch` at a time without a remainder, so that their loads do not wait for
// one another; `none` beyond the width.
constexpr int kNormBatch = 8;

template <class Input>
__device__ __forceinline__ void NormBatch(const Input& x, int first, int width, float none,
                                          float (&values)[kNormBatch]) {
  UNROLL
  for (int j = 0; j < kNormBatch; j++) values[j] = first + 32 * j < width ? x(first + 32 * j) : none;
}

template <class Input>
__device__ __forceinline__ NormFactors ComputeNorm(bool layer, float epsilon, int width, const Input& x) {
  const int lane = threadIdx.x % 32;
  float values[kNormBatch];
  NormFactors out;
  out.mean = 0.0f;
  if (layer) {
    float sum = 0.0f;  // never -0, so that adding 0 changes no bit
    for (int first = lane; first < width; first += 32 * kNormBatch) {
      NormBatch(x, first, width, 0.0f, values);
      UNROLL
      for (int j = 0; j < kNormBatch; j++) sum = sum + values[j];
    }
    out.mean = __shfl_sync(kAllLanes, FoldWarp(sum) / static_cast<float>(width), 0);
  }
  float sum = 0.0f;
  for (int first = lane; first < width; first += 32 * kNormBatch) {
    NormBatch(x, first, width, out.mean, values);
    UNROLL
    for (int j = 0; j < kNormBatch; j++) {
      const float centred = values[j] - out.mean;
      sum = Fma(centred, centred, sum);
    }
  }
  sum = FoldWarp(sum);
  out.factor = __shfl_sync(kAllLanes, 1.0f / sqrtf(sum / static_cast<float>(width) + epsilon), 0);
  return out;
}

__device__ __forceinline__ float NormValue(const NormFactors& norm, float x, float weight, const float* bias, int i) {
  return bias != nullptr ? Fma((x - norm.mean) * norm.factor, weight, bias[i]) : (x * norm.factor) * weight;
}

// The largest of all threads' values, or NaN if one of them is; for all threads of a block of whole warps. `shared`
// holds 33 floats.
__device__ __forceinline__ float BlockMaximum(float value, float* shared) {
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, step);
    if (!(value >= other) && value == value) value = other;
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) {
      const float other = shared[warp];
      if (!(value >= other) && value == value) value = other;
    }
    shared[32] = value;
  }
  __syncthreads();
  return shared[32];
}

// The sum of all threads' integers, for all threads of a block of whole warps. `shared` holds 33.
__device__ __forceinline__ unsigned long long BlockSum(unsigned long long value, unsigned long long* shared) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) value += shared[warp];
    shared[32] = value;
  }
  __syncthreads();
  return shared[32];
}

}  // namespace cuda
}  // namespace touchstone
