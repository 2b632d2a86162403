// The canonical arithmetic of NUMERICS.md, shared by C++, CUDA and the simulator. Include it first in every source that
// computes: it also switches off the contraction of a * b + c into a fused operation. Every function here is a fixed
// sequence of IEEE-754 binary32 operations, rounded to nearest even and without flush to zero, so that it has the same
// bits on every device. NaN stays NaN; the bits of a NaN are not fixed.
#pragma once

#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__) && !defined(__CUDACC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define TS_NUMERIC __host__ __device__ __forceinline__
#else
#define TS_NUMERIC static inline __attribute__((always_inline))
#endif

namespace touchstone {

// a * b + c, rounded once.
TS_NUMERIC float Fma(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#elif defined(__GNUC__)
  return __builtin_fmaf(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

TS_NUMERIC uint32_t FloatBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

TS_NUMERIC float FloatFromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

TS_NUMERIC bool IsFinite(float value) { return (FloatBits(value) & 0x7f800000u) != 0x7f800000u; }

// Nearest integer, ties to even, for |value| <= 2^22.
TS_NUMERIC float RoundToEven(float value) { return (value + 12582912.0f) - 12582912.0f; }

// Widening of binary16: exact.
TS_NUMERIC float FloatFromHalf(uint16_t half) {
  const uint32_t magnitude = uint32_t{half} & 0x7fffu;
  const uint32_t sign = (uint32_t{half} & 0x8000u) << 16;
  const uint32_t finite = FloatBits(FloatFromBits(magnitude << 13) * FloatFromBits(0x77800000u));  // times 2^112
  const uint32_t special = (magnitude << 13) | 0x7f800000u;
  return FloatFromBits(sign | (magnitude >= 0x7c00u ? special : finite));
}

// Narrowing to binary16: nearest, ties to even; beyond the range to infinity.
TS_NUMERIC uint16_t HalfFromFloat(float value) {
  const uint32_t bits = FloatBits(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t subnormal = FloatBits(FloatFromBits(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  return static_cast<uint16_t>(sign | half);
}

// Widening of bfloat16: exact.
TS_NUMERIC float FloatFromBfloat16(uint16_t value) { return FloatFromBits(uint32_t{value} << 16); }

// e^x. Range reduction x = n ln2 + r with two fma, a polynomial of degree 6 in r, then two exact or once-rounded
// scalings by powers of two. Error at most 0.91 ulp over all floats (measured over every float against float64;
// NUMERICS.md).
TS_NUMERIC float Exp(float x) {
  x = -104.0f > x ? -104.0f : x;  // e^-104 rounds to 0
  x = 89.0f < x ? 89.0f : x;      // e^89 rounds to infinity
  const float magic = 12582912.0f;
  const float shifted = Fma(x, 0x1.715476p+0f, magic);
  const float n = shifted - magic;
  const float r = Fma(n, -0x1.7f7d1cp-20f, Fma(n, -0x1.62e4p-1f, x));
  float p = 0x1.6a2352p-10f;
  p = Fma(p, r, 0x1.123a6cp-7f);
  p = Fma(p, r, 0x1.5558f4p-5f);
  p = Fma(p, r, 0x1.55549p-3f);
  p = Fma(p, r, 0x1.fffffcp-2f);
  p = Fma(p, r, 1.0f);
  p = Fma(p, r, 1.0f);
  const int32_t exponent = static_cast<int32_t>(FloatBits(shifted) - 0x4b400000u);
  const int32_t half = exponent >> 1;
  const float first = FloatFromBits(static_cast<uint32_t>(half + 127) << 23);
  const float second = FloatFromBits(static_cast<uint32_t>(exponent - half + 127) << 23);
  return p * first * second;
}

// Natural logarithm of a positive normal x: x = 2^e m with m in [sqrt(1/2), sqrt(2)), then the series in f / (2 + f).
TS_NUMERIC float Log(float x) {
  const uint32_t shifted = FloatBits(x) - 0x3f3504f3u;  // bits of sqrt(1/2)
  const int32_t exponent = static_cast<int32_t>(shifted) >> 23;
  const float m = FloatFromBits((shifted & 0x7fffffu) + 0x3f3504f3u);
  const float e = static_cast<float>(exponent);
  const float f = m - 1.0f;
  const float s = f / (2.0f + f);
  const float z = s * s;
  float p = 0x1.c71c72p-3f;       // 2/9
  p = Fma(p, z, 0x1.24924ap-2f);  // 2/7
  p = Fma(p, z, 0x1.99999ap-2f);  // 2/5
  p = Fma(p, z, 0x1.555556p-1f);  // 2/3
  const float half_square = 0.5f * f * f;
  const float tail = Fma(s, Fma(z, p, half_square), e * 0x1.7f7d1cp-20f);
  return Fma(e, 0x1.62e4p-1f, f - (half_square - tail));
}

// x * sigmoid(x).
TS_NUMERIC float Silu(float x) { return x / (1.0f + Exp(-x)); }

// The tanh form of GELU, x/2 * (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), written as x * sigmoid(2u), which
// loses nothing to cancellation.
TS_NUMERIC float Gelu(float x) {
  const float u2 = x * Fma(x * x, 0x1.2444f2p-4f, 0x1.988454p+0f);
  return x / (1.0f + Exp(-u2));
}

// --- canonical vector sum: element i joins lane i mod 32, ascending; the lanes are then folded in halves.

constexpr int kSumLanes = 32;

// Folds 32 lanes: lane i takes lane i + 16 for i < 16, then i + 8, i + 4, i + 2, i + 1. Destroys the lanes.
TS_NUMERIC float FoldLanes(float* lanes) {
  for (int width = kSumLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] = lanes[i] + lanes[i + width];
  }
  return lanes[0];
}

// --- canonical order of linear layers and attention

constexpr int kLinearSegment = 128;  // inputs of one chain of fma
constexpr int kQuantBlock = 32;      // inputs that share a step when they are quantised

// Steps from 0 to the largest of 32 activations: 127 * 256, so that an integer splits into 256 h + l with h and l
// in int8, for processors that multiply bytes.
constexpr float kQuantSteps = 32512.0f;

// The step of 32 activations with the largest magnitude `largest`, and the factor that maps them to -32512 ... 32512.
// Magnitudes below 2^-100 count as 0. If an element is not finite, `largest` must be NaN or infinite, and the step is
// NaN.
struct QuantStep {
  float step;
  float inverse;  // steps per unit
};

TS_NUMERIC QuantStep QuantStepOf(float largest) {
  QuantStep out;
  if (!IsFinite(largest)) {
    out.step = FloatFromBits(0x7fc00000u);
    out.inverse = 0.0f;
  } else if (largest < 0x1p-100f) {
    out.step = 0.0f;
    out.inverse = 0.0f;
  } else {
    out.step = largest / kQuantSteps;
    out.inverse = kQuantSteps / largest;
  }
  return out;
}

// --- random numbers

struct PhiloxWords {
  uint32_t word[4];
};

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11).
TS_NUMERIC PhiloxWords Philox(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; round++) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.word[2];
    PhiloxWords next;
    next.word[0] = static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0;
    next.word[1] = static_cast<uint32_t>(product1);
    next.word[2] = static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1;
    next.word[3] = static_cast<uint32_t>(product0);
    counter = next;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// The random word that chooses the token at `position`.
TS_NUMERIC uint32_t DrawWord(uint64_t seed, uint32_t position) {
  PhiloxWords counter;
  counter.word[0] = position;
  counter.word[1] = 0;
  counter.word[2] = 0;
  counter.word[3] = 0;
  return Philox(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)).word[0];
}

// --- sampling: probabilities are integers, so that their sums do not depend on an order.

// Tokens of the largest vocabulary: their weights sum to at most 2^63.
constexpr int64_t kMostTokens = int64_t{1} << 23;

// Weight of a token whose logit is `difference` (at most 0) below the largest: e^difference in steps of 2^-40, rounded
// down, in two parts of 20 bits, all of whose operations are exact. At most 2^40.
TS_NUMERIC uint64_t ProbabilityWeight(float difference) {
  const float scaled = Exp(difference) * 0x1p20f;
  const int32_t high = static_cast<int32_t>(scaled);
  const int32_t low = static_cast<int32_t>((scaled - static_cast<float>(high)) * 0x1p20f);
  return (static_cast<uint64_t>(high) << 20) + static_cast<uint64_t>(low);
}

// floor(total * word / 2^32): a number in [0, total).
TS_NUMERIC uint64_t DrawPoint(uint64_t total, uint32_t word) {
  return (total >> 32) * word + (((total & 0xffffffffu) * word) >> 32);
}

// Natural log-probability of a token `difference` below the largest, when all weights sum to `total`.
TS_NUMERIC float LogProbability(float difference, uint64_t total) {
  return difference - Log(static_cast<float>(total) * 0x1p-40f);
}

}  // namespace touchstone
