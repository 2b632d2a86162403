// Softmax of one row, and the sums that sampling needs.
//
// Shape       x, out [width].
// Order       the exact maximum first; out = e / sum with e = Exp(x - maximum) and the canonical vector sum over e.
//             Weigh: integers, so no order.
// Bytes       reads x twice, out once; writes out twice.
// Operations  about 25 * width.
#pragma once

#include "kernels.h"

namespace touchstone::cpu {

// The largest of x, or NaN if one of them is.
template <class Isa>
float Largest(const float* x, int64_t count) {
  constexpr int kLanes = 32;
  float lanes[kLanes];
  int32_t unordered[kLanes] = {};
  for (float& lane : lanes) lane = x[0];
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int lane = 0; lane < kLanes; lane++) {
      const float value = x[i + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
      unordered[lane] |= value != value;
    }
  }
  for (int64_t i = whole; i < count; i++) {
    lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    unordered[0] |= x[i] != x[i];
  }
  for (int lane = 1; lane < kLanes; lane++) {
    lanes[0] = lanes[lane] > lanes[0] ? lanes[lane] : lanes[0];
    unordered[0] |= unordered[lane];
  }
  return unordered[0] != 0 ? FloatFromBits(0x7fc00000u) : lanes[0];
}

// out = Exp(x - largest); returns the canonical sum of out.
template <class Isa>
float ExpSum(const float* x, int64_t count, float largest, float* out) {
  float lanes[kSumLanes] = {};
  const int64_t whole = count / kSumLanes * kSumLanes;
  for (int64_t i = 0; i < count; i++) out[i] = Exp(x[i] - largest);
  for (int64_t i = 0; i < whole; i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; lane++) lanes[lane] = lanes[lane] + out[i + lane];
  }
  for (int64_t i = whole; i < count; i++) lanes[i - whole] = lanes[i - whole] + out[i];
  return FoldLanes(lanes);
}

template <class Isa>
void Softmax(const float* x, int64_t width, float* out) {
  const float sum = ExpSum<Isa>(x, width, Largest<Isa>(x, width), out);
  for (int64_t i = 0; i < width; i++) out[i] = out[i] / sum;
}

template <class Isa>
uint64_t Weigh(const float* x, int64_t count, float largest, uint64_t* weights) {
  uint64_t total = 0;
  for (int64_t i = 0; i < count; i++) {
    const uint64_t weight = ProbabilityWeight(x[i] - largest);
    if (weights != nullptr) weights[i] = weight;
    total += weight;
  }
  return total;
}

}  // namespace touchstone::cpu
