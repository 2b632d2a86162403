// Weights in registers: a block of 32 columns of a row, and its step of the canonical chain of a linear layer; see
// cpu/linear.h for the order.
#pragma once

#include "layout.cuh"

namespace touchstone {
namespace cuda {

// What a chain meets: float activations, or quantised ones for quantised weights. A block is 32 floats or one struct.
template <int kDtype>
struct ActivationOf {
  using Type = QuantizedActivations;
  static constexpr int kPerBlock = 1;
};
template <>
struct ActivationOf<TS_F32> {
  using Type = float;
  static constexpr int kPerBlock = kQuantBlock;
};
template <>
struct ActivationOf<TS_F16> : ActivationOf<TS_F32> {};
template <>
struct ActivationOf<TS_BF16> : ActivationOf<TS_F32> {};

// As loaded; converted where it is used, so that loads need not wait for each other.
template <int kDtype>
struct WeightBlock {
  static constexpr int kVectors = RecordShapeOf(kDtype).values / kSegmentBlocks / kVectorBytes;
  uint4 values[kVectors];
  uint32_t high[2];
  uint16_t d, m;
  uint8_t scale[2];
};

// Block `index` (0 ... 3) of row `row` of a record.
template <int kDtype>
__device__ __forceinline__ void LoadBlock(const uint8_t* record, int row, int index, WeightBlock<kDtype>* out) {
  constexpr RecordShape kShape = RecordShapeOf(kDtype);
  constexpr int kVectors = WeightBlock<kDtype>::kVectors;
  const RecordRow at = RecordRowOf(kShape, row);
  UNROLL
  for (int i = 0; i < kVectors; i++) {
    out->values[i] =
        __ldg(reinterpret_cast<const uint4*>(record + at.values + (index * kVectors + i) * RecordRow::kStride));
  }
  if (kShape.high == 16) {
    out->high[0] = __ldg(reinterpret_cast<const uint32_t*>(record + at.high + 4 * index));
  } else if (kShape.high == 32) {
    const uint2 high =
        __ldg(reinterpret_cast<const uint2*>(record + at.high + index / 2 * RecordRow::kStride + index % 2 * 8));
    out->high[0] = high.x;
    out->high[1] = high.y;
  }
  if (IsFloat(kDtype)) return;
  const uint16_t* header = reinterpret_cast<const uint16_t*>(record + at.header);
  const uint8_t* scales = record + at.scales;
  out->d = __ldg(header + (IsKFormat(kDtype) ? 0 : index));
  if (HasMinimum(kDtype)) out->m = __ldg(header + (IsKFormat(kDtype) ? 1 : kSegmentBlocks + index));
  if (kDtype == TS_Q6_K) {
    out->scale[0] = __ldg(scales + 2 * index);
    out->scale[1] = __ldg(scales + 2 * index + 1);
  } else if (IsKFormat(kDtype)) {
    out->scale[0] = __ldg(scales + index);
    out->scale[1] = __ldg(scales + kSegmentBlocks + index);
  }
}

__device__ __forceinline__ float HalfBits(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

// The floats of one vector: 4 of F32, 8 of F16 and BF16.
template <int kDtype>
__device__ __forceinline__ void Unpack(const uint4& vector, float* out) {
  const uint32_t words[4] = {vector.x, vector.y, vector.z, vector.w};
  UNROLL
  for (int i = 0; i < 4; i++) {
    if (kDtype == TS_F32) {
      out[i] = FloatFromBits(words[i]);
    } else if (kDtype == TS_F16) {
      out[2 * i] = HalfBits(words[i]);
      out[2 * i + 1] = HalfBits(words[i] >> 16);
    } else {
      out[2 * i] = FloatFromBits(words[i] << 16);
      out[2 * i + 1] = FloatFromBits(words[i] & 0xffff0000u);
    }
  }
}

// One block's part of the chains of kColumns rows of float activations, `stride` floats apart.
template <int kDtype, int kColumns>
__device__ __forceinline__ void Accumulate(const WeightBlock<kDtype>& weights, const float* x, int64_t stride,
                                           float (&chain)[kColumns]) {
  constexpr int kElements = kDtype == TS_F32 ? 4 : 8;
  UNROLL
  for (int v = 0; v < WeightBlock<kDtype>::kVectors; v++) {
    float w[kElements];
    Unpack<kDtype>(weights.values[v], w);
    UNROLL
    for (int column = 0; column < kColumns; column++) {
      UNROLL
      for (int i = 0; i < kElements; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(x + column * stride + v * kElements + i);
        chain[column] = Fma(w[i], four.x, chain[column]);
        chain[column] = Fma(w[i + 1], four.y, chain[column]);
        chain[column] = Fma(w[i + 2], four.z, chain[column]);
        chain[column] = Fma(w[i + 3], four.w, chain[column]);
      }
    }
  }
}

// The 32 integers of a block, 4 to a word, ascending; without their offset except Q8_0.
template <int kDtype>
__device__ __forceinline__ void Integers(const WeightBlock<kDtype>& weights, int (&words)[8]) {
  if (kDtype == TS_Q8_0) {
    UNROLL
    for (int v = 0; v < WeightBlock<kDtype>::kVectors; v++) {
      words[4 * v] = static_cast<int>(weights.values[v].x);
      words[4 * v + 1] = static_cast<int>(weights.values[v].y);
      words[4 * v + 2] = static_cast<int>(weights.values[v].z);
      words[4 * v + 3] = static_cast<int>(weights.values[v].w);
    }
    return;
  }
  const uint4& nibbles = weights.values[0];
  const uint32_t packed[4] = {nibbles.x, nibbles.y, nibbles.z, nibbles.w};
  UNROLL
  for (int t = 0; t < 8; t++) {
    uint32_t word = (packed[t / 2] >> (t % 2 * 4)) & 0x0f0f0f0fu;
    if (RecordShapeOf(kDtype).high == 16) word |= ((weights.high[0] >> t) & 0x01010101u) << 4;
    if (RecordShapeOf(kDtype).high == 32) word |= ((weights.high[t / 4] >> (t % 4 * 2)) & 0x03030303u) << 4;
    words[t] = static_cast<int>(word);
  }
}

// Adds the products of 16 weights, 4 to a word, with 16 activations: exact.
__device__ __forceinline__ int DotHalf(const int* words, const uint4& activations, int sum) {
  sum = __dp4a(words[0], static_cast<int>(activations.x), sum);
  sum = __dp4a(words[1], static_cast<int>(activations.y), sum);
  sum = __dp4a(words[2], static_cast<int>(activations.z), sum);
  return __dp4a(words[3], static_cast<int>(activations.w), sum);
}

// As above for quantised activations, `stride` blocks apart.
template <int kDtype, int kColumns>
__device__ __forceinline__ void Accumulate(const WeightBlock<kDtype>& weights, const QuantizedActivations* x,
                                           int64_t stride, float (&chain)[kColumns]) {
  constexpr int kOffset = kDtype == TS_Q8_0 ? 0 : QuantOffset(kDtype);
  int words[8];
  Integers<kDtype>(weights, words);
  const float d = HalfBits(weights.d);
  float scales[2] = {d, d}, m = 0.0f;  // exact products
  if (HasMinimum(kDtype)) m = HalfBits(weights.m);
  if (kDtype == TS_Q4_K || kDtype == TS_Q5_K) {
    scales[0] = d * static_cast<float>(weights.scale[0]);
    m = -(m * static_cast<float>(weights.scale[1]));
  } else if (kDtype == TS_Q6_K) {
    scales[0] = d * static_cast<float>(static_cast<int8_t>(weights.scale[0]));
    scales[1] = d * static_cast<float>(static_cast<int8_t>(weights.scale[1]));
  }
  UNROLL
  for (int column = 0; column < kColumns; column++) {
    const uint4* vectors = reinterpret_cast<const uint4*>(x + column * stride);
    const uint4 head = vectors[0];
    const int ones[2] = {static_cast<int>(head.x), static_cast<int>(head.y)};
    const float step = FloatFromBits(head.z);
    const int high[2] = {DotHalf(words, vectors[1], 0), DotHalf(words + 4, vectors[2], 0)};
    if (kDtype == TS_Q6_K) {
      UNROLL
      for (int half = 0; half < 2; half++) {
        const int sum = DotHalf(words + 4 * half, vectors[3 + half], 256 * high[half] - kOffset * ones[half]);
        chain[column] = Fma(scales[half] * step, static_cast<float>(sum), chain[column]);
      }
    } else {
      int sum = 256 * (high[0] + high[1]) - kOffset * (ones[0] + ones[1]);
      sum = DotHalf(words + 4, vectors[4], DotHalf(words, vectors[3], sum));
      chain[column] = Fma(scales[0] * step, static_cast<float>(sum), chain[column]);
    }
    if (HasMinimum(kDtype)) chain[column] = Fma(m, FloatFromBits(head.w), chain[column]);
  }
}

}  // namespace cuda
}  // namespace touchstone
