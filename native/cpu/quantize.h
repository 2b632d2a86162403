// Quantisation of activations to 16 bits, for linear layers with quantised weights.
//
// Shape       x [count * 32] to count blocks of 32.
// Order       none: the largest magnitude and integer sums do not depend on one. step = largest / 32512;
//             q = x * (32512 / largest) rounded to the nearest integer, ties to even; see QuantStepOf for the edges.
// Bytes       reads 128, writes 80 a block.
// Operations  about 5 an element.
#pragma once

#include "kernels.h"

namespace touchstone::cpu {

template <class Isa>
void Quantize(const float* x, int64_t count, QuantizedActivations* out) {
  for (int64_t block = 0; block < count; block++) {
    const float* from = x + block * kQuantBlock;
    QuantizedActivations& to = out[block];
    uint32_t largest = 0;  // magnitudes compare like their bits; NaN is above infinity
    for (int i = 0; i < kQuantBlock; i++) {
      const uint32_t magnitude = FloatBits(from[i]) & 0x7fffffffu;
      largest = magnitude > largest ? magnitude : largest;
    }
    const QuantStep step = QuantStepOf(FloatFromBits(largest));
    int32_t q[kQuantBlock];
    for (int i = 0; i < kQuantBlock; i++) {
      // The product is at most 32512.01 in magnitude; adding 1.5 * 2^23 rounds it into the low bits of the sum.
      const float shifted = from[i] * step.inverse + 12582912.0f;
      q[i] = static_cast<int32_t>(FloatBits(shifted) - 0x4b400000u);
    }
    if (step.inverse == 0.0f) {
      for (int32_t& value : q) value = 0;  // infinity * 0 is not 0
    }
    int32_t sum[2] = {0, 0};
    for (int i = 0; i < kQuantBlock; i++) sum[i / 16] += q[i];
    Isa::StoreActivations(q, to.q);
    to.half_sum[0] = sum[0];
    to.half_sum[1] = sum[1];
    to.step = step.step;
    to.scaled_sum = step.step * static_cast<float>(sum[0] + sum[1]);
  }
}

}  // namespace touchstone::cpu
