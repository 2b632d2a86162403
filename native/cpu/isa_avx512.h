// 16 lanes as one AVX-512 register. Included under the target pragma of its source.
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace touchstone::cpu {

struct Avx512 {
  static constexpr ts_isa kIsa = TS_ISA_AVX512;
  static constexpr const char* kName = "avx512";
  static constexpr int64_t kSegment = kLinearSegment;
  static constexpr int kFloatPanels = 4;
  static constexpr int kFloatColumns = 6;
  static constexpr int kQuantPanels = 2;
  static constexpr int kQuantColumns = 6;
  static constexpr int kAttentionQueries = 8;
  static constexpr int kAttentionAccumulators = 16;

  using Floats = __m512;
  using Ints = __m512i;
  using Bytes = __m512i;
  struct Weights {
    __m512i first, second;  // lanes of two 16-bit numbers: inputs 0 and 1, and 2 and 3
  };
  using Sums = __m512i;

  static Floats Broadcast(float value) { return _mm512_set1_ps(value); }
  static Floats Load(const float* from) { return _mm512_loadu_ps(from); }
  static Floats LoadHalf(const void* from) {
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(static_cast<const __m256i*>(from)));
  }
  static Floats LoadBfloat16(const void* from) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static void Store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
  static Floats MulAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats Mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats Negate(Floats a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }

  static Ints BroadcastInt(int32_t value) { return _mm512_set1_epi32(value); }
  static Ints AddInt(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints MulInt(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
  static Floats ToFloat(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Ints LoadUnsigned8(const uint8_t* from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Ints LoadSigned8(const uint8_t* from) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }

  static Bytes LoadBytes(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static Bytes LowNibbles(Bytes a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
  static Bytes HighNibbles(Bytes a) { return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15)); }
  template <int kBit>
  static Bytes ShiftToFour(Bytes high) {
    if constexpr (kBit < 4) return _mm512_slli_epi16(high, 4 - kBit);
    if constexpr (kBit > 4) return _mm512_srli_epi16(high, kBit - 4);
    return high;
  }
  // 0xea: (a & b) | c
  template <int kBit>
  static Bytes WithFifthBit(Bytes low, Bytes high) {
    return _mm512_ternarylogic_epi32(ShiftToFour<kBit>(high), _mm512_set1_epi8(0x10), low, 0xea);
  }
  template <int kBit>
  static Bytes WithUpperBits(Bytes low, Bytes high) {
    return _mm512_ternarylogic_epi32(ShiftToFour<kBit>(high), _mm512_set1_epi8(0x30), low, 0xea);
  }

  template <bool kSigned>
  static Weights Widen(Bytes bytes) {
    if constexpr (kSigned) return {_mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8), _mm512_srai_epi16(bytes, 8)};
    return {_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(bytes, 8)};
  }
  static void StoreActivations(const int32_t* integers, int16_t* out) {
    for (int i = 0; i < kQuantBlock; i++) out[i] = static_cast<int16_t>(integers[i]);
  }
  static __m512i Pair(const int16_t* activations) {
    int32_t pair;
    memcpy(&pair, activations, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static Sums StartSums(int32_t value) { return _mm512_set1_epi32(value); }
  static Sums Dot(Sums sums, const Weights& weights, const int16_t* activations) {
    sums = _mm512_dpwssd_epi32(sums, weights.first, Pair(activations));
    return _mm512_dpwssd_epi32(sums, weights.second, Pair(activations + 2));
  }
  static Ints Total(Sums sums) { return sums; }
};

}  // namespace touchstone::cpu
