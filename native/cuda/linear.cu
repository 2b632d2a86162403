// Linear layers: prepares the activations of several rows and chooses the kernel.
#include "linear.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kPrepareThreads = 128;

// A warp a block of 32 activations; blocks beyond the inputs are zeros.
__global__ void QuantizeKernel(const float* x, int64_t inputs, int64_t row_blocks, int64_t blocks,
                               QuantizedActivations* out) {
  const int64_t block = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (block >= blocks) return;
  const int64_t column = block % row_blocks * kQuantBlock + threadIdx.x % 32;
  QuantizeByWarp(column < inputs ? x[block / row_blocks * inputs + column] : 0.0f, out + block);
}

// Rows filled up with zeros to whole segments.
__global__ void PadKernel(const float* x, int64_t inputs, int64_t padded, int64_t count, float* out) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t column = i % padded;
  out[i] = column < inputs ? x[i / padded * inputs + column] : 0.0f;
}

gpu::Status Prepare(const LinearOp& op, const void** prepared, gpu::Stream* stream) {
  *prepared = op.scratch;
  const int64_t segments = SegmentsOf(op.inputs);
  if (!IsFloat(op.dtype)) {
    const int64_t blocks = op.rows * segments * kSegmentBlocks,
                  grid = (blocks * 32 + kPrepareThreads - 1) / kPrepareThreads;
    return LAUNCH(QuantizeKernel, static_cast<unsigned>(grid), kPrepareThreads, 0, stream)(
        op.x, op.inputs, segments * kSegmentBlocks, blocks, static_cast<QuantizedActivations*>(op.scratch));
  }
  if (op.inputs % kLinearSegment == 0) {
    *prepared = op.x;
    return gpu::Status();
  }
  const int64_t padded = segments * kLinearSegment, count = op.rows * padded;
  return LAUNCH(PadKernel, static_cast<unsigned>((count + kPrepareThreads - 1) / kPrepareThreads), kPrepareThreads, 0,
                stream)(op.x, op.inputs, padded, count, static_cast<float*>(op.scratch));
}

}  // namespace

uint64_t LinearScratchBytes(int32_t dtype, int64_t inputs, int64_t rows) {
  if (rows == 1 && LinearFuses(dtype, inputs)) return 0;
  const auto blocks = static_cast<uint64_t>(rows * SegmentsOf(inputs) * kSegmentBlocks);
  if (!IsFloat(dtype)) return blocks * sizeof(QuantizedActivations);
  return inputs % kLinearSegment == 0 ? 0 : blocks * kQuantBlock * sizeof(float);
}

gpu::Status Run(const LinearOp& op, gpu::Stream* stream) {
  if (op.rows == 1 && LinearFuses(op.dtype, op.inputs)) return RunDecodeLinear(op, stream);
  const void* prepared = nullptr;
  const gpu::Status status = Prepare(op, &prepared, stream);
  if (!status.ok()) return status;
  return op.rows <= kFewRows ? RunFewLinear(op, prepared, stream) : RunTileLinear(op, prepared, stream);
}

}  // namespace cuda
}  // namespace touchstone
