// Linear layers of a few rows: a thread a row of the weight, a segment and up to 4 rows of activations; then the
// segments are added ascending.
#include "linear.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kFewColumns = 4;
constexpr int kFewThreads = 256;
constexpr int kFewSegments = 8;  // at a time; their partial sums are in shared memory

template <int kDtype>
__global__ void __launch_bounds__(kFewThreads) FewKernel(LinearOp op, const void* prepared) {
  using Activation = typename ActivationOf<kDtype>::Type;
  constexpr int kPerBlock = ActivationOf<kDtype>::kPerBlock;
  SHARED(float, partial, kFewSegments* kPanelRows* kFewColumns);
  const int segments = static_cast<int>(SegmentsOf(op.inputs));
  const int64_t stride = int64_t{segments} * kSegmentBlocks * kPerBlock;  // from a row of activations to the next
  const Place place = PlaceOf(op, blockIdx.x, kPanelRows);
  const Target& target = op.targets[place.target];
  const int64_t first_row = int64_t{blockIdx.y} * kFewColumns;
  const int columns = static_cast<int>(min(int64_t{kFewColumns}, op.rows - first_row));
  const Activation* x = static_cast<const Activation*>(prepared) + first_row * stride;
  const uint8_t* records = target.weight + place.block * segments * RecordBytes(kDtype);
  const int row = threadIdx.x % kPanelRows, local = threadIdx.x / kPanelRows;

  float total = 0.0f;  // of output threadIdx.x % 8 and column threadIdx.x / 8, in the first 32 threads
  for (int begin = 0; begin < segments; begin += kFewSegments) {
    const int count = min(kFewSegments, segments - begin);
    if (local < count) {
      float chain[kFewColumns] = {};
      WeightBlock<kDtype> blocks[kSegmentBlocks];
      UNROLL
      for (int i = 0; i < kSegmentBlocks; i++) {
        LoadBlock(records + (begin + local) * RecordBytes(kDtype), row, i, &blocks[i]);
      }
      const Activation* from = x + (begin + local) * kSegmentBlocks * kPerBlock;
      UNROLL
      for (int i = 0; i < kSegmentBlocks; i++) {
        // A part tile repeats its first row.
        if (columns == kFewColumns) {
          Accumulate(blocks[i], from + i * kPerBlock, stride, chain);
        } else {
          for (int column = 0; column < columns; column++) {
            float one[1] = {chain[column]};
            Accumulate(blocks[i], from + i * kPerBlock + column * stride, 0, one);
            chain[column] = one[0];
          }
        }
      }
      UNROLL
      for (int column = 0; column < kFewColumns; column++) {
        partial[(local * kFewColumns + column) * kPanelRows + row] = chain[column];
      }
    }
    __syncthreads();
    if (local < kFewColumns) {
      for (int i = 0; i < count; i++) total = total + partial[(i * kFewColumns + local) * kPanelRows + row];
    }
    __syncthreads();
  }
  const int64_t output = place.block * kPanelRows + row;
  if (local < columns && output < target.outputs) Finish(target, total, first_row + local, output);
}

template <int kDtype>
gpu::Status RunFew(const LinearOp& op, const void* prepared, gpu::Stream* stream) {
  const dim3 grid(static_cast<unsigned>(BlocksOf(op, kPanelRows)),
                  static_cast<unsigned>((op.rows + kFewColumns - 1) / kFewColumns));
  const int64_t segments = SegmentsOf(op.inputs);
  const unsigned threads = static_cast<unsigned>((segments < kFewSegments ? segments : kFewSegments) * kPanelRows);
  return LAUNCH(FewKernel<kDtype>, grid, threads < 32 ? 32 : threads, 0, stream)(op, prepared);
}

}  // namespace

gpu::Status RunFewLinear(const LinearOp& op, const void* prepared, gpu::Stream* stream) {
  TS_FOR_DTYPE(op.dtype, RunFew, op, prepared, stream);
}

}  // namespace cuda
}  // namespace touchstone
