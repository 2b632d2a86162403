// Linear layers of many rows: a thread a row of the weight and 16 rows of activations, which the block of threads
// shares segment by segment.
#include "linear.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kTileColumns = 16;
constexpr int kTileThreads = 128;

template <int kDtype>
__global__ void __launch_bounds__(kTileThreads) TileKernel(LinearOp op, const void* prepared) {
  using Activation = typename ActivationOf<kDtype>::Type;
  constexpr int kPerSegment = kSegmentBlocks * ActivationOf<kDtype>::kPerBlock;
  constexpr int kVectors = kPerSegment * int{sizeof(Activation)} / kVectorBytes;  // of a segment of a row
  SHARED(uint4, tile, kTileColumns * kVectors);
  const int segments = static_cast<int>(SegmentsOf(op.inputs));
  const Place place = PlaceOf(op, blockIdx.x, kTileThreads);
  const Target& target = op.targets[place.target];
  const int64_t first_row = int64_t{blockIdx.y} * kTileColumns;
  const int columns = static_cast<int>(min(int64_t{kTileColumns}, op.rows - first_row));
  const uint4* from = static_cast<const uint4*>(prepared) + first_row * segments * kVectors;
  const int64_t output = place.block * kTileThreads + threadIdx.x;
  const int64_t panel = min(output / kPanelRows, PanelsOf(target.outputs) - 1);
  const uint8_t* records = target.weight + panel * segments * RecordBytes(kDtype);
  const int row = static_cast<int>(output % kPanelRows);
  const Activation* x = reinterpret_cast<const Activation*>(tile);

  float total[kTileColumns] = {};
  for (int segment = 0; segment < segments; segment++) {
    __syncthreads();
    for (int i = threadIdx.x; i < kTileColumns * kVectors; i += kTileThreads) {
      // A part tile repeats its last row.
      const int64_t column = min(i / kVectors, columns - 1);
      tile[i] = __ldg(from + (column * segments + segment) * kVectors + i % kVectors);
    }
    __syncthreads();
    float chain[kTileColumns] = {};
    UNROLL_BY(1)
    for (int i = 0; i < kSegmentBlocks; i++) {
      WeightBlock<kDtype> block;
      LoadBlock(records + segment * RecordBytes(kDtype), row, i, &block);
      Accumulate(block, x + i * ActivationOf<kDtype>::kPerBlock, kPerSegment, chain);
    }
    UNROLL
    for (int column = 0; column < kTileColumns; column++) total[column] = total[column] + chain[column];
  }
  if (output >= target.outputs) return;
  UNROLL
  for (int column = 0; column < kTileColumns; column++) {
    if (column < columns) Finish(target, total[column], first_row + column, output);
  }
}

template <int kDtype>
gpu::Status RunTile(const LinearOp& op, const void* prepared, gpu::Stream* stream) {
  const dim3 grid(static_cast<unsigned>(BlocksOf(op, kTileThreads)),
                  static_cast<unsigned>((op.rows + kTileColumns - 1) / kTileColumns));
  return LAUNCH(TileKernel<kDtype>, grid, kTileThreads, 0, stream)(op, prepared);
}

}  // namespace

gpu::Status RunTileLinear(const LinearOp& op, const void* prepared, gpu::Stream* stream) {
  TS_FOR_DTYPE(op.dtype, RunTile, op, prepared, stream);
}

}  // namespace cuda
}  // namespace touchstone
