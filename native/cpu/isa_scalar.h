// 16 lanes in plain C++. An instruction set is a struct with the types and operations below; the kernels are templates
// over it, so that each is written once. A lane is a row of a weight panel, a position of a KV block or an element of a
// head.
#pragma once

#include "../core/numerics.h"
#include "kernels.h"

namespace touchstone::cpu {

struct Scalar {
  static constexpr ts_isa kIsa = TS_ISA_SCALAR;
  static constexpr const char* kName = "scalar";
  // If so, Dot takes bytes of 8 bits less 128, that is, as the stored integers of Q8_0.
  static constexpr bool kSigned8 = false;
  // Inputs of one chain of linear; another number gives other bits, and is there to measure the price of the order.
  static constexpr int64_t kSegment = kLinearSegment;
  // Tiles of linear: panels of weights and rows of x that accumulate at once.
  static constexpr int kFloatPanels = 1;
  static constexpr int kFloatColumns = 4;
  static constexpr int kQuantPanels = 1;
  static constexpr int kQuantColumns = 4;
  // Steps of 4 inputs whose products of so many bits may be added in 16 bits (see isa_avx2.h); 0: none are.
  static constexpr int NarrowSteps(int) { return 0; }
  // Queries of attention at once, and accumulators that fit in registers.
  static constexpr int kAttentionQueries = 4;
  static constexpr int kAttentionAccumulators = 4;

  struct Floats {
    float lane[16];
  };
  struct Ints {
    int32_t lane[16];
  };
  struct Bytes {  // 16 lanes of 4 unsigned bytes
    uint8_t byte[64];
  };

  static Floats Broadcast(float value) {
    Floats out;
    for (float& lane : out.lane) lane = value;
    return out;
  }
  static Floats Load(const float* from) {
    Floats out;
    memcpy(out.lane, from, sizeof out.lane);
    return out;
  }
  static Floats LoadHalf(const void* from) {
    uint16_t half[16];
    memcpy(half, from, sizeof half);
    Floats out;
    for (int i = 0; i < 16; i++) out.lane[i] = FloatFromHalf(half[i]);
    return out;
  }
  static Floats LoadBfloat16(const void* from) {
    uint16_t value[16];
    memcpy(value, from, sizeof value);
    Floats out;
    for (int i = 0; i < 16; i++) out.lane[i] = FloatFromBfloat16(value[i]);
    return out;
  }
  static void Store(float* to, Floats value) { memcpy(to, value.lane, sizeof value.lane); }
  static Floats MulAdd(Floats a, Floats b, Floats c) {
    for (int i = 0; i < 16; i++) c.lane[i] = Fma(a.lane[i], b.lane[i], c.lane[i]);
    return c;
  }
  static Floats Add(Floats a, Floats b) {
    for (int i = 0; i < 16; i++) a.lane[i] = a.lane[i] + b.lane[i];
    return a;
  }
  static Floats Mul(Floats a, Floats b) {
    for (int i = 0; i < 16; i++) a.lane[i] = a.lane[i] * b.lane[i];
    return a;
  }
  static Floats Negate(Floats a) {
    for (float& lane : a.lane) lane = -lane;
    return a;
  }

  static Ints BroadcastInt(int32_t value) {
    Ints out;
    for (int32_t& lane : out.lane) lane = value;
    return out;
  }
  static Ints AddInt(Ints a, Ints b) {
    for (int i = 0; i < 16; i++) a.lane[i] += b.lane[i];
    return a;
  }
  static Ints MulInt(Ints a, Ints b) {
    for (int i = 0; i < 16; i++) a.lane[i] *= b.lane[i];
    return a;
  }
  static Floats ToFloat(Ints a) {
    Floats out;
    for (int i = 0; i < 16; i++) out.lane[i] = static_cast<float>(a.lane[i]);
    return out;
  }
  static Ints LoadUnsigned8(const uint8_t* from) {
    Ints out;
    for (int i = 0; i < 16; i++) out.lane[i] = from[i];
    return out;
  }
  static Ints LoadSigned8(const uint8_t* from) {
    Ints out;
    for (int i = 0; i < 16; i++) out.lane[i] = static_cast<int8_t>(from[i]);
    return out;
  }

  static Bytes LoadBytes(const uint8_t* from) {
    Bytes out;
    memcpy(out.byte, from, sizeof out.byte);
    return out;
  }
  static Bytes LowNibbles(Bytes a) {
    for (uint8_t& byte : a.byte) byte &= 15;
    return a;
  }
  static Bytes HighNibbles(Bytes a) {
    for (uint8_t& byte : a.byte) byte >>= 4;
    return a;
  }
  // low | (bit kBit of high) << 4
  template <int kBit>
  static Bytes WithFifthBit(Bytes low, Bytes high) {
    for (int i = 0; i < 64; i++) low.byte[i] = static_cast<uint8_t>(low.byte[i] | (((high.byte[i] >> kBit) & 1) << 4));
    return low;
  }
  // low | (bits kBit and kBit + 1 of high) << 4
  template <int kBit>
  static Bytes WithUpperBits(Bytes low, Bytes high) {
    for (int i = 0; i < 64; i++) low.byte[i] = static_cast<uint8_t>(low.byte[i] | (((high.byte[i] >> kBit) & 3) << 4));
    return low;
  }
  // Adds to each lane the products of its 4 bytes with 4 activations (-127 ... 127): exact. kBits: width of the bytes.
  template <int kBits>
  static Ints Dot(Ints sum, Bytes weights, const int8_t* activations) {
    for (int i = 0; i < 64; i++) sum.lane[i / 4] += int32_t{weights.byte[i]} * activations[i % 4];
    return sum;
  }
};

}  // namespace touchstone::cpu
