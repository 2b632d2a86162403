// Operations on single elements: activation, addition, division by a number, narrowing, rotation.
//
// Shape       count elements; rope: [heads][head_dim], of which the first `dims` of each head are rotated.
// Order       none. SwiGLU: Silu(gate) * up. GELU: Gelu(up). Rotation of a pair (a, b) by (cos, sin):
//               a' = fma(-b, sin, a * cos)      b' = fma(b, cos, a * sin)
// Bytes       reads each input once, writes each output once.
// Operations  about 25 an element for the activations, 1 for addition and division, 3 for rotation.
#pragma once

#include "kernels.h"

namespace touchstone::cpu {

template <class Isa>
void Activate(ts_activation_kind kind, const float* gate, const float* up, int64_t count, float* out) {
  if (kind == TS_ACTIVATION_SWIGLU) {
    for (int64_t i = 0; i < count; i++) out[i] = Silu(gate[i]) * up[i];
  } else {
    for (int64_t i = 0; i < count; i++) out[i] = Gelu(up[i]);
  }
}

template <class Isa>
void Sum(const float* a, const float* b, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i++) out[i] = a[i] + b[i];
}

template <class Isa>
void Divide(const float* x, float divisor, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i++) out[i] = x[i] / divisor;
}

template <class Isa>
void ToHalf(const float* x, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; i++) out[i] = HalfFromFloat(x[i]);
}

template <class Isa>
void Rotate(ts_position_kind kind, int dims, const float* cos, const float* sin, int heads, int head_dim, float* x) {
  const int half = dims / 2;
  const int stride = kind == TS_POSITION_ROPE_NEOX ? 1 : 2;
  const int partner = kind == TS_POSITION_ROPE_NEOX ? half : 1;
  for (int head = 0; head < heads; head++) {
    float* values = x + int64_t{head} * head_dim;
    for (int i = 0; i < half; i++) {
      const float a = values[i * stride];
      const float b = values[i * stride + partner];
      values[i * stride] = Fma(-b, sin[i], a * cos[i]);
      values[i * stride + partner] = Fma(b, cos[i], a * sin[i]);
    }
  }
}

}  // namespace touchstone::cpu
