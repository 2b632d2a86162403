// What lies around a linear layer's product in binary16: the weights out of their records, the activations, the end.
#include "linear.cuh"
#include "linear_fast.h"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kUnpackThreads = 256;
constexpr int kNarrowThreads = 256;
constexpr int kFinishThreads = 256;

__device__ __forceinline__ void StoreHalves(const float* values, int count, uint16_t* out) {
  for (int i = 0; i < count; i += 8) {
    uint32_t words[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
      words[j] = HalfFromFloat(values[i + 2 * j]) | uint32_t{HalfFromFloat(values[i + 2 * j + 1])} << 16;
    }
    *reinterpret_cast<uint4*>(out + i) = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

// The 32 values of a block, as BlockValue of core/formats.h gives them.
template <int kDtype>
__device__ __forceinline__ void Dequantise(const WeightBlock<kDtype>& block, float (&values)[kQuantBlock]) {
  if (IsFloat(kDtype)) {
    constexpr int kElements = kDtype == TS_F32 ? 4 : 8;
    UNROLL
    for (int v = 0; v < WeightBlock<kDtype>::kVectors; v++) Unpack<kDtype>(block.values[v], values + v * kElements);
    return;
  }
  constexpr int kOffset = kDtype == TS_Q8_0 ? 0 : QuantOffset(kDtype);
  int words[8];
  Integers<kDtype>(block, words);
  const float d = HalfBits(block.d);
  float minimum = 0.0f;
  if (HasMinimum(kDtype)) minimum = HalfBits(block.m);
  if (kDtype == TS_Q4_K || kDtype == TS_Q5_K) minimum = -(minimum * static_cast<float>(block.scale[1]));
  UNROLL
  for (int i = 0; i < kQuantBlock; i++) {
    const int byte = words[i / 4] >> (8 * (i % 4));
    const int integer = kDtype == TS_Q8_0 ? static_cast<int8_t>(byte) : static_cast<uint8_t>(byte) - kOffset;
    float scale = d;
    if (kDtype == TS_Q6_K) scale = d * static_cast<float>(static_cast<int8_t>(block.scale[i / 16]));
    if (kDtype == TS_Q4_K || kDtype == TS_Q5_K) scale = d * static_cast<float>(block.scale[0]);
    values[i] = scale * static_cast<float>(integer) + minimum;
  }
}

// A thread a block of 32 columns of a row; neighbouring threads are the rows of a panel.
template <int kDtype>
__global__ void __launch_bounds__(kUnpackThreads) UnpackKernel(UnpackOp op, int64_t blocks, int64_t units) {
  const int64_t unit = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (unit >= units) return;
  const int row = static_cast<int>(unit % kPanelRows);
  const int64_t block = unit / kPanelRows % blocks, panel = unit / kPanelRows / blocks;
  const int64_t record = (op.first / kPanelRows + panel) * (blocks / kSegmentBlocks) + block / kSegmentBlocks;
  WeightBlock<kDtype> stored;
  LoadBlock(op.weight + record * RecordBytes(kDtype), row, static_cast<int>(block % kSegmentBlocks), &stored);
  float values[kQuantBlock];
  Dequantise<kDtype>(stored, values);
  StoreHalves(values, kQuantBlock, op.out + ((panel * kPanelRows + row) * blocks + block) * kQuantBlock);
}

template <int kDtype>
gpu::Status RunUnpack(const UnpackOp& op, gpu::Stream* stream) {
  const int64_t blocks = SegmentsOf(op.columns) * kSegmentBlocks, units = op.rows * blocks;
  const auto grid = static_cast<unsigned>((units + kUnpackThreads - 1) / kUnpackThreads);
  return LAUNCH(UnpackKernel<kDtype>, grid, kUnpackThreads, 0, stream)(op, blocks, units);
}

// The power of two that a row whose largest magnitude has these bits is multiplied by, and its inverse.
struct RowScale {
  float factor, inverse;
};

__device__ __forceinline__ RowScale RowScaleOf(uint32_t largest) {
  constexpr int kBias = 127, kTop = 14, kLeast = -100;
  const int exponent = static_cast<int>(largest >> 23) - kBias;
  if (exponent < kLeast || exponent > kBias) return {1.0f, 1.0f};
  return {FloatFromBits(static_cast<uint32_t>(kBias + kTop - exponent) << 23),
          FloatFromBits(static_cast<uint32_t>(kBias - kTop + exponent) << 23)};
}

// A block of threads a row.
__global__ void __launch_bounds__(kNarrowThreads) NarrowKernel(NarrowOp op, int64_t padded) {
  SHARED(unsigned, largest_of_warp, kNarrowThreads / 32);
  const float* x = op.x + int64_t{blockIdx.x} * op.columns;
  uint32_t largest = 0;
  for (int64_t i = threadIdx.x; i < op.columns; i += kNarrowThreads) {
    largest = max(largest, FloatBits(x[i]) & 0x7fffffffu);
  }
  for (int step = 16; step > 0; step /= 2) largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  if (threadIdx.x % 32 == 0) largest_of_warp[threadIdx.x / 32] = largest;
  __syncthreads();
  for (int i = 0; i < kNarrowThreads / 32; i++) largest = max(largest, largest_of_warp[i]);
  const RowScale scale = RowScaleOf(largest);
  if (threadIdx.x == 0) op.inverse[blockIdx.x] = scale.inverse;
  uint16_t* out = op.out + int64_t{blockIdx.x} * padded;
  for (int64_t i = threadIdx.x; i < padded; i += kNarrowThreads) {
    out[i] = i < op.columns ? HalfFromFloat(x[i] * scale.factor) : uint16_t{0};
  }
}

// A thread an output of a row.
__global__ void __launch_bounds__(kFinishThreads) FinishKernel(FinishOp op) {
  const int64_t output = int64_t{blockIdx.x} * kFinishThreads + threadIdx.x, row = blockIdx.y;
  if (output >= op.outputs) return;
  const float total = op.products[row * op.outputs + output] * op.inverse[row];
  Finish(op.target, total, op.first_row + row, op.first_output + output);
}

}  // namespace

int64_t FastInputs(int64_t inputs) { return SegmentsOf(inputs) * kLinearSegment; }

gpu::Status Run(const UnpackOp& op, gpu::Stream* stream) { TS_FOR_DTYPE(op.dtype, RunUnpack, op, stream); }

gpu::Status Run(const NarrowOp& op, gpu::Stream* stream) {
  return LAUNCH(NarrowKernel, static_cast<unsigned>(op.rows), kNarrowThreads, 0, stream)(op, FastInputs(op.columns));
}

gpu::Status Run(const FinishOp& op, gpu::Stream* stream) {
  const dim3 grid(static_cast<unsigned>((op.outputs + kFinishThreads - 1) / kFinishThreads),
                  static_cast<unsigned>(op.rows));
  return LAUNCH(FinishKernel, grid, kFinishThreads, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
