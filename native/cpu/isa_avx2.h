// 16 lanes as two AVX2 registers. Included under the target pragma of its source.
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace touchstone::cpu {

struct Avx2 {
  static constexpr ts_isa kIsa = TS_ISA_AVX2;
  static constexpr const char* kName = "avx2";
  static constexpr int64_t kSegment = kLinearSegment;
  static constexpr int kFloatPanels = 1;
  static constexpr int kFloatColumns = 6;
  static constexpr int kQuantPanels = 1;
  static constexpr int kQuantColumns = 4;
  static constexpr int kAttentionQueries = 6;
  static constexpr int kAttentionAccumulators = 6;

  struct Floats {
    __m256 low, high;
  };
  struct Ints {
    __m256i low, high;
  };
  using Bytes = Ints;
  struct Weights {
    Ints first, second;  // lanes of two 16-bit numbers: inputs 0 and 1, and 2 and 3
  };
  using Sums = Ints;

  static Floats Broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static Floats Load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static Floats LoadHalf(const void* from) {
    const __m128i* halves = static_cast<const __m128i*>(from);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
  }
  static __m256 WidenBfloat16(__m128i value) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(value), 16));
  }
  static Floats LoadBfloat16(const void* from) {
    const __m128i* halves = static_cast<const __m128i*>(from);
    return {WidenBfloat16(_mm_loadu_si128(halves)), WidenBfloat16(_mm_loadu_si128(halves + 1))};
  }
  static void Store(float* to, Floats value) {
    _mm256_storeu_ps(to, value.low);
    _mm256_storeu_ps(to + 8, value.high);
  }
  static Floats MulAdd(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static Floats Add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static Floats Mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static Floats Negate(Floats a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(a.low, sign), _mm256_xor_ps(a.high, sign)};
  }

  static Ints BroadcastInt(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
  static Ints AddInt(Ints a, Ints b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
  static Ints MulInt(Ints a, Ints b) { return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)}; }
  static Floats ToFloat(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
  static Ints LoadUnsigned8(const uint8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
  }
  static Ints LoadSigned8(const uint8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
  }

  static Bytes LoadBytes(const uint8_t* from) {
    const __m256i* halves = reinterpret_cast<const __m256i*>(from);
    return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
  }
  static Bytes And(Bytes a, int byte) {
    const __m256i mask = _mm256_set1_epi8(static_cast<char>(byte));
    return {_mm256_and_si256(a.low, mask), _mm256_and_si256(a.high, mask)};
  }
  static Bytes Or(Bytes a, Bytes b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
  static Bytes LowNibbles(Bytes a) { return And(a, 15); }
  static Bytes HighNibbles(Bytes a) { return And({_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)}, 15); }
  template <int kBit>
  static Bytes ShiftToFour(Bytes a) {
    if constexpr (kBit < 4) return {_mm256_slli_epi16(a.low, 4 - kBit), _mm256_slli_epi16(a.high, 4 - kBit)};
    if constexpr (kBit > 4) return {_mm256_srli_epi16(a.low, kBit - 4), _mm256_srli_epi16(a.high, kBit - 4)};
    return a;
  }
  template <int kBit>
  static Bytes WithFifthBit(Bytes low, Bytes high) {
    return Or(low, And(ShiftToFour<kBit>(high), 0x10));
  }
  template <int kBit>
  static Bytes WithUpperBits(Bytes low, Bytes high) {
    return Or(low, And(ShiftToFour<kBit>(high), 0x30));
  }

  template <bool kSigned>
  static Weights Widen(Bytes bytes) {
    if constexpr (kSigned) {
      return {{_mm256_srai_epi16(_mm256_slli_epi16(bytes.low, 8), 8),
               _mm256_srai_epi16(_mm256_slli_epi16(bytes.high, 8), 8)},
              {_mm256_srai_epi16(bytes.low, 8), _mm256_srai_epi16(bytes.high, 8)}};
    }
    const __m256i even = _mm256_set1_epi16(0xff);
    return {{_mm256_and_si256(bytes.low, even), _mm256_and_si256(bytes.high, even)},
            {_mm256_srli_epi16(bytes.low, 8), _mm256_srli_epi16(bytes.high, 8)}};
  }
  static void StoreActivations(const int32_t* integers, int16_t* out) {
    for (int i = 0; i < kQuantBlock; i++) out[i] = static_cast<int16_t>(integers[i]);
  }
  static Sums AddPairs(Sums sums, Ints weights, const int16_t* activations) {
    int32_t pair;
    memcpy(&pair, activations, sizeof pair);
    const __m256i x = _mm256_set1_epi32(pair);
    return AddInt(sums, {_mm256_madd_epi16(weights.low, x), _mm256_madd_epi16(weights.high, x)});
  }
  static Sums StartSums(int32_t value) { return BroadcastInt(value); }
  static Sums Dot(Sums sums, const Weights& weights, const int16_t* activations) {
    return AddPairs(AddPairs(sums, weights.first, activations), weights.second, activations + 2);
  }
  static Ints Total(Sums sums) { return sums; }
};

}  // namespace touchstone::cpu
