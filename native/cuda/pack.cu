// Loading: stored rows to the layout of layout.cuh, on the device.
#include "layout.cuh"
#include "ops.h"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kPackThreads = 256;

__device__ void PackBlock(int dtype, const QuantizedBlock& block, int row, int in_segment, uint8_t* record) {
  const RecordShape shape = RecordShapeOf(dtype);
  const RecordRow at = RecordRowOf(shape, row);
  if (dtype == TS_Q8_0) {
    for (int i = 0; i < 32; i++) {
      const int vector = 2 * in_segment + i / kVectorBytes;
      record[at.values + vector * RecordRow::kStride + i % kVectorBytes] = block.q[i] ^ 0x80;
    }
  } else {
    uint8_t* nibbles = record + at.values + in_segment * RecordRow::kStride;
    for (int i = 0; i < kVectorBytes; i++) {
      const int column = i / 4 * 8 + i % 4;
      nibbles[i] = static_cast<uint8_t>((block.q[column] & 15) | (block.q[column + 4] & 15) << 4);
    }
  }
  if (shape.high == 16) {
    for (int i = 0; i < 4; i++) {
      int bits = 0;
      for (int t = 0; t < 8; t++) bits |= (block.q[4 * t + i] >> 4) << t;
      record[at.high + 4 * in_segment + i] = static_cast<uint8_t>(bits);
    }
  } else if (shape.high == 32) {
    uint8_t* high = record + at.high + in_segment / 2 * RecordRow::kStride + in_segment % 2 * 8;
    for (int i = 0; i < 8; i++) {
      int bits = 0;
      for (int t = 0; t < 4; t++) bits |= (block.q[i / 4 * 16 + 4 * t + i % 4] >> 4) << (2 * t);
      high[i] = static_cast<uint8_t>(bits);
    }
  }
  uint16_t* header = reinterpret_cast<uint16_t*>(record + at.header);
  if (!IsKFormat(dtype)) {
    header[in_segment] = block.d;
    if (HasMinimum(dtype)) header[kSegmentBlocks + in_segment] = block.m;
    return;
  }
  uint8_t* scales = record + at.scales;
  if (dtype == TS_Q6_K) {
    scales[2 * in_segment] = block.scale[0];
    scales[2 * in_segment + 1] = block.scale[1];
  } else {
    scales[in_segment] = block.scale[0];
    scales[kSegmentBlocks + in_segment] = block.min;
  }
  if (in_segment == 0) {
    header[0] = block.d;
    if (HasMinimum(dtype)) header[1] = block.m;
  }
}

// A thread a block of 32 columns of a row; rows and columns beyond the matrix are zeros.
__global__ void PackBlocksKernel(PackOp op, int64_t blocks, int64_t units) {
  const int64_t unit = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (unit >= units) return;
  const int64_t row = unit / blocks, block = unit % blocks;
  QuantizedBlock values = {};
  if (row < op.count && block < op.columns / kQuantBlock) {
    const BlockShape stored = BlockShapeOf(op.dtype);
    ReadBlock(op.dtype, op.raw + row * (op.columns / stored.elements * stored.bytes), block, &values);
  } else if (op.dtype == TS_Q8_0) {
    for (int i = 0; i < 32; i++) values.q[i] = 0x80;
  }
  const int64_t place = op.first + row;
  const int64_t record = place / kPanelRows * SegmentsOf(op.columns) + block / kSegmentBlocks;
  PackBlock(op.dtype, values, static_cast<int>(place % kPanelRows), static_cast<int>(block % kSegmentBlocks),
            op.weight + record * RecordBytes(op.dtype));
}

// A thread a vector of a row.
template <class Element>
__global__ void PackFloatsKernel(PackOp op, int64_t vectors, int64_t units) {
  constexpr int kElements = kVectorBytes / sizeof(Element), kVectors = kLinearSegment / kElements;
  const int64_t unit = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (unit >= units) return;
  const int64_t row = unit / vectors, vector = unit % vectors;
  const Element* raw = reinterpret_cast<const Element*>(op.raw) + row * op.columns;
  const int64_t place = op.first + row;
  const int64_t record = place / kPanelRows * SegmentsOf(op.columns) + vector / kVectors;
  uint8_t* to = op.weight + record * RecordBytes(op.dtype) + place % kPanelRows * kVectorBytes +
                vector % kVectors * RecordRow::kStride;
  for (int i = 0; i < kElements; i++) {
    const int64_t column = vector * kElements + i;
    reinterpret_cast<Element*>(to)[i] = row < op.count && column < op.columns ? raw[column] : Element{0};
  }
}

__device__ float StoredValue(int dtype, const uint8_t* row, int64_t column) {
  if (dtype == TS_F32) return reinterpret_cast<const float*>(row)[column];
  if (dtype == TS_F16) return FloatFromHalf(reinterpret_cast<const uint16_t*>(row)[column]);
  if (dtype == TS_BF16) return FloatFromBfloat16(reinterpret_cast<const uint16_t*>(row)[column]);
  QuantizedBlock block = {};
  ReadBlock(dtype, row, column / kQuantBlock, &block);
  return BlockValue(dtype, block, static_cast<int>(column % kQuantBlock));
}

__global__ void PackVectorKernel(PackOp op, int64_t units) {
  const int64_t unit = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (unit >= units) return;
  const BlockShape stored = BlockShapeOf(op.dtype);
  const int64_t row = unit / op.columns;
  reinterpret_cast<float*>(op.weight)[op.first * op.columns + unit] =
      StoredValue(op.dtype, op.raw + row * (op.columns / stored.elements * stored.bytes), unit % op.columns);
}

unsigned BlocksFor(int64_t units) { return static_cast<unsigned>((units + kPackThreads - 1) / kPackThreads); }

}  // namespace

uint64_t PackedBytes(int32_t dtype, int64_t rows, int64_t columns) {
  return static_cast<uint64_t>(PanelsOf(rows) * SegmentsOf(columns)) * RecordBytes(dtype);
}

gpu::Status Run(const PackOp& op, gpu::Stream* stream) {
  if (op.vector) {
    const int64_t units = op.count * op.columns;
    return LAUNCH(PackVectorKernel, BlocksFor(units), kPackThreads, 0, stream)(op, units);
  }
  // The last call fills up the last panel.
  const int64_t rows = op.first + op.count == op.rows ? PanelsOf(op.rows) * kPanelRows - op.first : op.count;
  const int64_t segments = SegmentsOf(op.columns);
  if (!IsFloat(op.dtype)) {
    const int64_t blocks = segments * kSegmentBlocks, units = rows * blocks;
    return LAUNCH(PackBlocksKernel, BlocksFor(units), kPackThreads, 0, stream)(op, blocks, units);
  }
  const int64_t vectors = segments * (RecordShapeOf(op.dtype).values / kVectorBytes), units = rows * vectors;
  if (op.dtype == TS_F32) {
    return LAUNCH(PackFloatsKernel<uint32_t>, BlocksFor(units), kPackThreads, 0, stream)(op, vectors, units);
  }
  return LAUNCH(PackFloatsKernel<uint16_t>, BlocksFor(units), kPackThreads, 0, stream)(op, vectors, units);
}

}  // namespace cuda
}  // namespace touchstone
