// Rows of an embedding table, and the choice of rows.
#include "layout.cuh"
#include "ops.h"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kEmbedThreads = 128;

__device__ void UnpackBlock(int dtype, const uint8_t* record, int row, int in_segment, QuantizedBlock* block) {
  const RecordShape shape = RecordShapeOf(dtype);
  const RecordRow at = RecordRowOf(shape, row);
  if (dtype == TS_Q8_0) {
    for (int i = 0; i < 32; i++) {
      const int vector = 2 * in_segment + i / kVectorBytes;
      block->q[i] = record[at.values + vector * RecordRow::kStride + i % kVectorBytes] ^ 0x80;
    }
  } else {
    const uint8_t* nibbles = record + at.values + in_segment * RecordRow::kStride;
    for (int i = 0; i < kVectorBytes; i++) {
      const int column = i / 4 * 8 + i % 4;
      block->q[column] = nibbles[i] & 15;
      block->q[column + 4] = nibbles[i] >> 4;
    }
  }
  for (int i = 0; i < 32; i++) {
    int bits = 0;
    if (shape.high == 16) {
      bits = record[at.high + 4 * in_segment + i % 4] >> (i / 4) & 1;
    } else if (shape.high == 32) {
      const uint8_t* high = record + at.high + in_segment / 2 * RecordRow::kStride + in_segment % 2 * 8;
      bits = high[i / 16 * 4 + i % 4] >> (i % 16 / 4 * 2) & 3;
    }
    block->q[i] = static_cast<uint8_t>(block->q[i] | bits << 4);
  }
  const uint16_t* header = reinterpret_cast<const uint16_t*>(record + at.header);
  const uint8_t* scales = record + at.scales;
  block->d = header[IsKFormat(dtype) ? 0 : in_segment];
  block->m = !HasMinimum(dtype) ? 0 : header[IsKFormat(dtype) ? 1 : kSegmentBlocks + in_segment];
  block->scale[0] = block->scale[1] = 1;
  block->min = 0;
  if (dtype == TS_Q6_K) {
    block->scale[0] = scales[2 * in_segment];
    block->scale[1] = scales[2 * in_segment + 1];
  } else if (IsKFormat(dtype)) {
    block->scale[0] = scales[in_segment];
    block->min = scales[kSegmentBlocks + in_segment];
  }
}

// A thread a block of 32 columns of a row of the batch.
__global__ void EmbedKernel(EmbedOp op) {
  const Row& row = op.batch.rows[blockIdx.x];
  const int64_t block = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const int64_t column = block * kQuantBlock;
  if (column >= op.width) return;
  const int64_t source = op.add_positions ? row.position : row.token;
  const int64_t index = source / kPanelRows * SegmentsOf(op.width) + block / kSegmentBlocks;
  const uint8_t* record = op.table + index * RecordBytes(op.dtype);
  const int in_panel = static_cast<int>(source % kPanelRows), in_segment = static_cast<int>(block % kSegmentBlocks);
  float* out = op.out + int64_t{blockIdx.x} * op.width + column;
  QuantizedBlock values = {};
  if (!IsFloat(op.dtype)) UnpackBlock(op.dtype, record, in_panel, in_segment, &values);
  const int64_t left = op.width - column;
  for (int i = 0; i < kQuantBlock && i < left; i++) {
    const int place = in_segment * kQuantBlock + i;  // in the segment
    float value;
    if (op.dtype == TS_F32) {
      value = LoadAs<float>(record + place / 4 * RecordRow::kStride + in_panel * kVectorBytes + place % 4 * 4);
    } else if (IsFloat(op.dtype)) {
      const uint16_t bits =
          LoadAs<uint16_t>(record + place / 8 * RecordRow::kStride + in_panel * kVectorBytes + place % 8 * 2);
      value = op.dtype == TS_F16 ? FloatFromHalf(bits) : FloatFromBfloat16(bits);
    } else {
      value = BlockValue(op.dtype, values, i);
    }
    out[i] = op.add_positions ? out[i] + value : value;
  }
}

__global__ void GatherKernel(GatherOp op) {
  gpu::AwaitPrevious();
  const int64_t column = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (column < op.width) {
    op.out[int64_t{blockIdx.x} * op.width + column] = op.x[int64_t{op.rows[blockIdx.x]} * op.width + column];
  }
}

}  // namespace

gpu::Status Run(const EmbedOp& op, gpu::Stream* stream) {
  const int64_t blocks = (op.width + kQuantBlock - 1) / kQuantBlock;
  const dim3 grid(static_cast<unsigned>(op.batch.count), static_cast<unsigned>((blocks + 31) / 32));
  return LAUNCH(EmbedKernel, grid, 32, 0, stream)(op);
}

gpu::Status Run(const GatherOp& op, gpu::Stream* stream) {
  const dim3 grid(static_cast<unsigned>(op.count),
                  static_cast<unsigned>((op.width + kEmbedThreads - 1) / kEmbedThreads));
  return LAUNCH_EARLY(GatherKernel, grid, kEmbedThreads, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
