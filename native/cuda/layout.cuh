// How a weight matrix lies in device memory: records of 8 rows times 128 columns (a segment of the canonical order of
// linear layers), panel by panel of 8 rows, segment by segment. Both edges are filled up with zeros, which change no
// result. Within a record every part is [...][8 rows][bytes], so that neighbouring threads, being neighbouring rows,
// read neighbouring addresses:
//
//   values   vectors of 16 bytes: F32 4, F16 and BF16 8, Q8_0 16 (signed) consecutive columns; otherwise a block of 32
//            as nibbles: byte [g][i] holds column 8g + i in its low half and 8g + 4 + i in its high half
//   high     Q5: one vector, a word a block, bit t of byte i belonging to column 4t + i;
//            Q6_K: two vectors, two words a block, bits 2t of byte i of word h belonging to column 16h + 4t + i
//   scales   K formats: 8 bytes, u8 scale[4], u8 min[4], one a block; Q6_K: i8 scale[8], two a block
//   header   K formats: binary16 d (and m, not Q6_K) of the 256 columns that the segment is half of;
//            otherwise binary16 d[4] (and m[4]), one a block
#pragma once

#include "../core/formats.h"
#include "../core/numerics.h"
#include "device.cuh"

namespace touchstone {
namespace cuda {

constexpr int kPanelRows = 8;
constexpr int kSegmentBlocks = kLinearSegment / kQuantBlock;
constexpr int kVectorBytes = 16;

// Bytes of the parts of one row of a record.
struct RecordShape {
  int values, high, scales, header;
  __host__ __device__ constexpr int RowBytes() const { return values + high + scales + header; }
};

__host__ __device__ constexpr RecordShape RecordShapeOf(int dtype) {
  switch (dtype) {
    case TS_F32:
      return {512, 0, 0, 0};
    case TS_F16:
    case TS_BF16:
      return {256, 0, 0, 0};
    case TS_Q8_0:
      return {128, 0, 0, 8};
    case TS_Q4_0:
      return {64, 0, 0, 8};
    case TS_Q4_1:
      return {64, 0, 0, 16};
    case TS_Q5_0:
      return {64, 16, 0, 8};
    case TS_Q5_1:
      return {64, 16, 0, 16};
    case TS_Q4_K:
      return {64, 0, 8, 4};
    case TS_Q5_K:
      return {64, 16, 8, 4};
    case TS_Q6_K:
      return {64, 32, 8, 2};
    default:
      return {0, 0, 0, 0};
  }
}

__host__ __device__ constexpr bool HasMinimum(int dtype) {
  return dtype == TS_Q4_1 || dtype == TS_Q5_1 || dtype == TS_Q4_K || dtype == TS_Q5_K;
}
__host__ __device__ constexpr bool IsKFormat(int dtype) {
  return dtype == TS_Q4_K || dtype == TS_Q5_K || dtype == TS_Q6_K;
}
__host__ __device__ constexpr bool IsFloat(int dtype) { return dtype == TS_F32 || dtype == TS_F16 || dtype == TS_BF16; }

__host__ __device__ inline int64_t SegmentsOf(int64_t columns) {
  return (columns + kLinearSegment - 1) / kLinearSegment;
}
__host__ __device__ inline int64_t PanelsOf(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }
__host__ __device__ constexpr int RecordBytes(int dtype) { return kPanelRows * RecordShapeOf(dtype).RowBytes(); }

// Where a row's share of each part of a record begins, and the distance between its vectors.
struct RecordRow {
  int64_t values, high, scales, header;
  static constexpr int kStride = kPanelRows * kVectorBytes;
};

__host__ __device__ inline RecordRow RecordRowOf(const RecordShape& shape, int row) {
  RecordRow at;
  at.values = row * kVectorBytes;
  at.high = kPanelRows * shape.values + row * kVectorBytes;
  at.scales = kPanelRows * (shape.values + shape.high) + row * shape.scales;
  at.header = kPanelRows * (shape.values + shape.high + shape.scales) + row * shape.header;
  return at;
}

// 32 activations quantised to 16 bits, each 256 high + low; see cpu/quantize.h and NUMERICS.md.
struct alignas(16) QuantizedActivations {
  int32_t half_sum[2];
  float step, scaled_sum;
  int8_t high[32], low[32];
};

template <class T>
__device__ __forceinline__ T LoadAs(const void* from) {
  return *reinterpret_cast<const T*>(from);
}

}  // namespace cuda
}  // namespace touchstone
