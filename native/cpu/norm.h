// Norms of one row.
//
// Shape       x, weight, bias, out [width].
// Order       canonical vector sum (32 lanes, folded in halves). RMS: lanes take fma(x, x, lane); out = (x * r) *
// weight with
//             r = 1 / sqrt(sum / width + epsilon). Layer: mean = sum / width; lanes take fma(x - mean, x - mean, lane);
//             out = fma((x - mean) * r, weight, bias).
// Bytes       reads x twice (Layer: three times) and the vectors once, writes out once.
// Operations  5 * width (Layer: 8 * width).
#pragma once

#include "kernels.h"

namespace touchstone::cpu {

template <class Isa>
void Norm(ts_norm_kind kind, float epsilon, const float* weight, const float* bias, const float* x, int64_t width,
          float* out) {
  float lanes[kSumLanes] = {};
  float mean = 0.0f;
  const int64_t whole = width / kSumLanes * kSumLanes;
  if (kind == TS_NORM_LAYER) {
    for (int64_t i = 0; i < whole; i += kSumLanes) {
      for (int lane = 0; lane < kSumLanes; lane++) lanes[lane] = lanes[lane] + x[i + lane];
    }
    for (int64_t i = whole; i < width; i++) lanes[i - whole] = lanes[i - whole] + x[i];
    mean = FoldLanes(lanes) / static_cast<float>(width);
    for (float& lane : lanes) lane = 0.0f;
  }
  for (int64_t i = 0; i < whole; i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; lane++) {
      const float centred = x[i + lane] - mean;
      lanes[lane] = Fma(centred, centred, lanes[lane]);
    }
  }
  for (int64_t i = whole; i < width; i++) {
    const float centred = x[i] - mean;
    lanes[i - whole] = Fma(centred, centred, lanes[i - whole]);
  }
  const float r = 1.0f / std::sqrt(FoldLanes(lanes) / static_cast<float>(width) + epsilon);
  if (kind == TS_NORM_LAYER) {
    for (int64_t i = 0; i < width; i++) out[i] = Fma((x[i] - mean) * r, weight[i], bias[i]);
  } else {
    for (int64_t i = 0; i < width; i++) out[i] = (x[i] * r) * weight[i];
  }
}

}  // namespace touchstone::cpu
