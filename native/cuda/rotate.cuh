// Rotation of heads: a pair (a, b) by (cos, sin) becomes a' = fma(-b, sin, a * cos), b' = fma(b, cos, a * sin).
#pragma once

#include "../core/numerics.h"
#include "../include/touchstone.h"
#include "device.cuh"

namespace touchstone {
namespace cuda {

// Rotates [heads][head_dim] in place, the block's threads sharing the pairs.
__device__ __forceinline__ void Rotate(int kind, int dims, const float* cos, const float* sin, int heads, int head_dim,
                                       float* x) {
  const int half = dims / 2;
  const bool neox = kind == TS_POSITION_ROPE_NEOX;
  for (int unit = threadIdx.x; unit < heads * half; unit += blockDim.x) {
    const int i = unit % half;
    float* first = x + int64_t{unit / half} * head_dim + (neox ? i : 2 * i);
    float* second = first + (neox ? half : 1);
    const float a = *first, b = *second;
    *first = Fma(-b, sin[i], a * cos[i]);
    *second = Fma(b, cos[i], a * sin[i]);
  }
}

}  // namespace cuda
}  // namespace touchstone
