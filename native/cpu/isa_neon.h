// 16 lanes as four arm64 registers. Included under the target pragma of its source; needs the dot product extension.
#pragma once

#include <arm_neon.h>

#include "kernels.h"

namespace touchstone::cpu {

struct Neon {
  static constexpr ts_isa kIsa = TS_ISA_NEON;
  static constexpr const char* kName = "neon";
  static constexpr int64_t kSegment = kLinearSegment;
  static constexpr int kFloatPanels = 1;
  static constexpr int kFloatColumns = 4;
  static constexpr int kQuantPanels = 1;
  static constexpr int kQuantColumns = 2;
  static constexpr int kAttentionQueries = 4;
  static constexpr int kAttentionAccumulators = 4;

  struct Floats {
    float32x4_t part[4];
  };
  struct Ints {
    int32x4_t part[4];
  };
  struct Bytes {
    uint8x16_t part[4];
  };
  struct Weights {
    int8x16_t part[4];
  };
  // An activation is 256 high + low, both of 8 bits; the products of either are added apart.
  struct Sums {
    Ints high, low;
  };

  // Applies an operation to each of the four registers.
  template <class Out, class Function>
  static Out Each(const Function& function) {
    return {{function(0), function(1), function(2), function(3)}};
  }

  static Floats Broadcast(float value) {
    return Each<Floats>([&](int) { return vdupq_n_f32(value); });
  }
  static Floats Load(const float* from) {
    return Each<Floats>([&](int i) { return vld1q_f32(from + 4 * i); });
  }
  static Floats LoadHalf(const void* from) {
    const auto* halves = static_cast<const uint16_t*>(from);
    return Each<Floats>([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + 4 * i))); });
  }
  static Floats LoadBfloat16(const void* from) {
    const auto* halves = static_cast<const uint16_t*>(from);
    return Each<Floats>([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(halves + 4 * i), 16)); });
  }
  static void Store(float* to, Floats value) {
    for (int i = 0; i < 4; i++) vst1q_f32(to + 4 * i, value.part[i]);
  }
  static Floats MulAdd(Floats a, Floats b, Floats c) {
    return Each<Floats>([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
  }
  static Floats Add(Floats a, Floats b) {
    return Each<Floats>([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
  }
  static Floats Mul(Floats a, Floats b) {
    return Each<Floats>([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
  }
  static Floats Negate(Floats a) {
    return Each<Floats>([&](int i) { return vnegq_f32(a.part[i]); });
  }

  static Ints BroadcastInt(int32_t value) {
    return Each<Ints>([&](int) { return vdupq_n_s32(value); });
  }
  static Ints AddInt(Ints a, Ints b) {
    return Each<Ints>([&](int i) { return vaddq_s32(a.part[i], b.part[i]); });
  }
  static Ints MulInt(Ints a, Ints b) {
    return Each<Ints>([&](int i) { return vmulq_s32(a.part[i], b.part[i]); });
  }
  static Floats ToFloat(Ints a) {
    return Each<Floats>([&](int i) { return vcvtq_f32_s32(a.part[i]); });
  }
  static Ints LoadUnsigned8(const uint8_t* from) {
    const uint8x16_t bytes = vld1q_u8(from);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
             vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
             vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
  }
  static Ints LoadSigned8(const uint8_t* from) {
    const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(from));
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return {{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)),
             vmovl_s16(vget_high_s16(high))}};
  }

  static Bytes LoadBytes(const uint8_t* from) {
    return Each<Bytes>([&](int i) { return vld1q_u8(from + 16 * i); });
  }
  static Bytes LowNibbles(Bytes a) {
    return Each<Bytes>([&](int i) { return vandq_u8(a.part[i], vdupq_n_u8(15)); });
  }
  static Bytes HighNibbles(Bytes a) {
    return Each<Bytes>([&](int i) { return vshrq_n_u8(a.part[i], 4); });
  }
  // low | (the bits of `mask` at kBit of high) << 4
  template <int kBit>
  static Bytes WithBits(Bytes low, Bytes high, uint8_t mask) {
    const int8x16_t shift = vdupq_n_s8(static_cast<int8_t>(4 - kBit));
    const uint8x16_t place = vdupq_n_u8(static_cast<uint8_t>(mask << 4));
    return Each<Bytes>([&](int i) { return vorrq_u8(low.part[i], vandq_u8(vshlq_u8(high.part[i], shift), place)); });
  }
  template <int kBit>
  static Bytes WithFifthBit(Bytes low, Bytes high) {
    return WithBits<kBit>(low, high, 1);
  }
  template <int kBit>
  static Bytes WithUpperBits(Bytes low, Bytes high) {
    return WithBits<kBit>(low, high, 3);
  }

  template <bool>
  static Weights Widen(Bytes bytes) {
    return Each<Weights>([&](int i) { return vreinterpretq_s8_u8(bytes.part[i]); });
  }
  // Of every 4 integers the high bytes, then the low ones, in the order of a panel's bytes.
  static void StoreActivations(const int32_t* integers, int16_t* out) {
    int8_t bytes[2 * kQuantBlock];
    for (int i = 0; i < kQuantBlock; i++) {
      const int32_t high = (integers[i] + 128) >> 8;
      const int at = i / 4 * 8 + (i % 2 * 2 + i % 4 / 2);
      bytes[at] = static_cast<int8_t>(high);
      bytes[at + 4] = static_cast<int8_t>(integers[i] - 256 * high);
    }
    memcpy(out, bytes, sizeof bytes);
  }
  static Ints AddProducts(Ints sum, const Weights& weights, const int16_t* bytes) {
    int32_t four;
    memcpy(&four, bytes, sizeof four);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
    return Each<Ints>([&](int i) { return vdotq_s32(sum.part[i], weights.part[i], x); });
  }
  static Sums StartSums(int32_t value) { return {BroadcastInt(0), BroadcastInt(value)}; }
  static Sums Dot(const Sums& sums, const Weights& weights, const int16_t* activations) {
    return {AddProducts(sums.high, weights, activations), AddProducts(sums.low, weights, activations + 2)};
  }
  static Ints Total(const Sums& sums) {
    return Each<Ints>([&](int i) { return vaddq_s32(vshlq_n_s32(sums.high.part[i], 8), sums.low.part[i]); });
  }
};

}  // namespace touchstone::cpu
