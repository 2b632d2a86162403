// The arithmetic of the SIMT simulator: CUDA's intrinsics with CUDA's results, bit for bit, in portable C++.
// IEEE-754 fixes +, -, *, /, sqrt and fma; the rest here is conversion and integer work. One difference is allowed:
// which NaN comes out (CUDA returns the canonical NaN, the CPU keeps a payload).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

// Where the target has fused multiply-add, the compiler must not make one of `a * b + c`: the kernels say where it is.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__FMA__) || defined(__aarch64__)
#pragma GCC optimize("fp-contract=off")
#endif

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }

using std::max;
using std::min;

inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline float __int2float_rn(int value) { return static_cast<float>(value); }
inline float __uint2float_rn(unsigned value) { return static_cast<float>(value); }

// To nearest, ties to even; out of range saturates and NaN gives 0, as on the device.
inline int __float2int_rn(float value) {
  if (value != value) return 0;
  if (value >= 2147483648.0f) return INT32_MAX;
  if (value < -2147483648.0f) return INT32_MIN;
  return static_cast<int>(__builtin_rintf(value));
}

inline int __popc(unsigned value) { return std::popcount(value); }
inline int __clz(int value) { return std::countl_zero(static_cast<unsigned>(value)); }
inline int __ffs(int value) { return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32); }

// c plus the dot product of four signed bytes.
inline int __dp4a(int a, int b, int c) {
  unsigned sum = static_cast<unsigned>(c);
  for (int byte = 0; byte < 4; byte++) {
    const int product = static_cast<int8_t>(static_cast<unsigned>(a) >> (8 * byte)) *
                        static_cast<int8_t>(static_cast<unsigned>(b) >> (8 * byte));
    sum += static_cast<unsigned>(product);
  }
  return static_cast<int>(sum);
}

template <class T>
inline T __ldg(const T* address) {
  return *address;
}

struct __half {
  uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }

// Exact. A NaN comes out quiet, with its payload.
inline float __half2float(__half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fff) << 13;
  if (magnitude >= 0x0f800000) {  // infinity or NaN
    const uint32_t quiet = magnitude > 0x0f800000 ? 0x00400000 : 0;
    return std::bit_cast<float>(sign | 0x70000000 | magnitude | quiet);
  }
  // Rescaling by 2^112 moves the exponent bias from 15 to 127 and normalises subnormals, all exactly.
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f));
}

// To nearest, ties to even; beyond 65519.99 infinity; NaN gives the canonical 0x7fff.
inline __half __float2half_rn(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t sign = (bits >> 16) & 0x8000;
  if (magnitude > 0x7f800000) return {0x7fff};
  if (magnitude >= 0x47800000) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (magnitude < 0x38800000) {
    // Subnormal half: adding 0.5 leaves exactly the half's ten bits (steps of 2^-24) in the low mantissa, rounded to
    // even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000))};
  }
  const uint32_t odd = (magnitude >> 13) & 1;
  const uint32_t rounded = magnitude - 0x38000000 + 0x0fff + odd;  // may carry into infinity, which is right
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}
