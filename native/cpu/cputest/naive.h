// A plain rendering of NUMERICS.md, one loop an operation, with which the kernels are compared bit for bit.
#pragma once

#include <vector>

#include "../../core/formats.h"
#include "../../core/numerics.h"

namespace touchstone::cputest {

struct NaiveBlock {
  float step;
  float scaled_sum;
  int32_t q[32];
};

inline NaiveBlock NaiveQuantize(const float* x) {
  NaiveBlock out{};
  float largest = 0.0f;
  bool finite = true;
  for (int i = 0; i < 32; i++) {
    finite = finite && std::isfinite(x[i]);
    largest = std::fmax(largest, std::fabs(x[i]));
  }
  if (!finite) {
    out.step = std::nanf("");
  } else if (largest >= 0x1p-100f) {
    out.step = largest / 32512.0f;
    const float inverse = 32512.0f / largest;
    for (int i = 0; i < 32; i++) out.q[i] = static_cast<int32_t>(std::nearbyint(x[i] * inverse));
  }
  int32_t sum = 0;
  for (int32_t q : out.q) sum += q;
  out.scaled_sum = out.step * static_cast<float>(sum);
  return out;
}

// One output of a linear layer from the stored row at `weights`.
inline float NaiveLinear(int dtype, const uint8_t* weights, const float* x, int64_t inputs) {
  float total = 0.0f;
  for (int64_t begin = 0; begin < inputs; begin += 128) {
    const int64_t end = std::min(inputs, begin + 128);
    float chain = 0.0f;
    if (!IsQuantized(dtype)) {
      for (int64_t k = begin; k < end; k++) {
        float w;
        if (dtype == TS_F32) {
          memcpy(&w, weights + 4 * k, sizeof w);
        } else {
          uint16_t bits;
          memcpy(&bits, weights + 2 * k, sizeof bits);
          w = dtype == TS_F16 ? FloatFromHalf(bits) : FloatFromBfloat16(bits);
        }
        chain = std::fma(w, x[k], chain);
      }
    } else {
      for (int64_t k = begin; k < end; k += 32) {
        QuantizedBlock block;
        ReadBlock(dtype, weights, k / 32, &block);
        const NaiveBlock activations = NaiveQuantize(x + k);
        int32_t sums[2] = {0, 0};
        for (int i = 0; i < 32; i++) sums[i / 16] += (block.q[i] - QuantOffset(dtype)) * activations.q[i];
        if (dtype == TS_Q6_K) {
          for (int half = 0; half < 2; half++) {
            const float scale = BlockScale(dtype, block, 16 * half) * activations.step;
            chain = std::fma(scale, static_cast<float>(sums[half]), chain);
          }
        } else {
          const float scale = BlockScale(dtype, block, 0) * activations.step;
          chain = std::fma(scale, static_cast<float>(sums[0] + sums[1]), chain);
        }
        if (dtype == TS_Q4_1 || dtype == TS_Q5_1 || dtype == TS_Q4_K || dtype == TS_Q5_K) {
          chain = std::fma(BlockMinimum(dtype, block), activations.scaled_sum, chain);
        }
      }
    }
    total = total + chain;
  }
  return total;
}

inline float NaiveSum(const std::vector<float>& terms) {
  float lanes[32] = {};
  for (size_t i = 0; i < terms.size(); i++) lanes[i % 32] = lanes[i % 32] + terms[i];
  for (int width = 16; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] = lanes[i] + lanes[i + width];
  }
  return lanes[0];
}

inline float NaiveSumOfSquares(const std::vector<float>& terms) {
  float lanes[32] = {};
  for (size_t i = 0; i < terms.size(); i++) lanes[i % 32] = std::fma(terms[i], terms[i], lanes[i % 32]);
  for (int width = 16; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] = lanes[i] + lanes[i + width];
  }
  return lanes[0];
}

inline std::vector<float> NaiveNorm(ts_norm_kind kind, float epsilon, const std::vector<float>& weight,
                                    const std::vector<float>& bias, const std::vector<float>& x) {
  const auto width = static_cast<float>(x.size());
  const float mean = kind == TS_NORM_LAYER ? NaiveSum(x) / width : 0.0f;
  std::vector<float> centred(x);
  for (float& value : centred) value = value - mean;
  const float r = 1.0f / std::sqrt(NaiveSumOfSquares(centred) / width + epsilon);
  std::vector<float> out(x.size());
  for (size_t i = 0; i < x.size(); i++) {
    out[i] = kind == TS_NORM_LAYER ? std::fma(centred[i] * r, weight[i], bias[i]) : x[i] * r * weight[i];
  }
  return out;
}

inline std::vector<float> NaiveExponentials(const std::vector<float>& x) {
  float largest = x[0];
  for (float value : x) largest = std::isnan(value) || value > largest ? value : largest;
  std::vector<float> out(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = Exp(x[i] - largest);
  return out;
}

// One query against keys and values [positions][head_dim], already rounded to binary16.
inline std::vector<float> NaiveAttention(const float* q, int head_dim, const std::vector<float>& keys,
                                         const std::vector<float>& values, int positions, float scale) {
  std::vector<float> scores(static_cast<size_t>(positions));
  for (int p = 0; p < positions; p++) {
    float chain = 0.0f;
    for (int d = 0; d < head_dim; d++) chain = std::fma(keys[p * head_dim + d], q[d], chain);
    scores[p] = chain * scale;
  }
  const std::vector<float> e = NaiveExponentials(scores);
  const float sum = NaiveSum(e);
  std::vector<float> out(static_cast<size_t>(head_dim));
  for (int d = 0; d < head_dim; d++) {
    float total = 0.0f;
    for (int begin = 0; begin < positions; begin += 32) {
      float chain = 0.0f;
      for (int p = begin; p < std::min(positions, begin + 32); p++)
        chain = std::fma(e[p], values[p * head_dim + d], chain);
      total = total + chain;
    }
    out[d] = total / sum;
  }
  return out;
}

}  // namespace touchstone::cputest
