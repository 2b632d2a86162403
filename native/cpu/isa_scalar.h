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
  // Inputs of one chain of linear; another number gives other bits, and is there to measure the price of the order.
  static constexpr int64_t kSegment = kLinearSegment;
  // Tiles of linear: panels of weights and rows of x that accumulate at once.
  static constexpr int kFloatPanels = 1;
  static constexpr int kFloatColumns = 4;
  static constexpr int kQuantPanels = 1;
  static constexpr int kQuantColumns = 4;
  // Queries of attention at once, and accumulators that fit in registers.
  static constexpr int kAttentionQueries = 4;
  static constexpr int kAttentionAccumulators = 4;

  struct Floats {
    float lane[16];
  };
  struct Ints {
    int32_t lane[16];
  };
  struct Bytes {  // 16 lanes of 4 bytes, as they lie in a panel: inputs 0, 2, 1, 3
    uint8_t byte[64];
  };
  struct Weights {  // 16 lanes of 4 integers, ready for Dot
    int16_t value[64];
  };
  using Sums = Ints;  // of integer products

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

  // Bytes for Dot, as signed numbers or as unsigned ones below 128.
  template <bool kSigned>
  static Weights Widen(Bytes bytes) {
    Weights out;
    for (int lane = 0; lane < 16; lane++) {
      for (int i = 0; i < 4; i++) {
        const uint8_t byte = bytes.byte[lane * 4 + (i % 2 * 2 + i / 2)];
        out.value[lane * 4 + i] = kSigned ? static_cast<int8_t>(byte) : byte;
      }
    }
    return out;
  }
  // Stores 32 integers, -32512 ... 32512, so that 4 of them are what Dot takes.
  static void StoreActivations(const int32_t* integers, int16_t* out) {
    for (int i = 0; i < kQuantBlock; i++) out[i] = static_cast<int16_t>(integers[i]);
  }
  static Sums StartSums(int32_t value) { return BroadcastInt(value); }
  // Adds to each lane the products of its 4 weights with 4 activations: exact for 32 inputs.
  static Sums Dot(Sums sums, const Weights& weights, const int16_t* activations) {
    for (int i = 0; i < 64; i++) sums.lane[i / 4] += int32_t{weights.value[i]} * activations[i % 4];
    return sums;
  }
  static Ints Total(Sums sums) { return sums; }
};

}  // namespace touchstone::cpu
