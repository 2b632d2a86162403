// Linear layers of one row: a thread a row of the weight and a segment of 128 columns, so that all of a weight is read
// at once; then the segments are added ascending. The activations are staged in shared memory once for each block of
// threads; on the way there a norm and the quantisation may be applied, and an activation on the way out. A block
// lives for a few microseconds, most of them spent waiting for memory: so the weights of a thread's first segment, of
// the norm and the biases are on their way before the activations are waited for, and loads are issued in batches
// without a remainder.
#include "linear.cuh"
#include "reduce.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kDecodeThreads = 320;
constexpr int kDecodePanels = 4;
constexpr int kPaddedSegment = kLinearSegment + 4;  // floats; spreads segments over the banks
constexpr int64_t kDecodeSharedBytes = 48 * 1024;
constexpr int kStageBatch = 8;  // loads of a thread that are under way at once while activations are staged

// Shared memory: floats of x, its quantised blocks (quantised weights), partial sums [segments][outputs of the block].
struct Staging {
  int64_t quantized, partial, bytes;
};

__host__ __device__ inline Staging StagingOf(int dtype, int64_t segments, int64_t outputs) {
  Staging at;
  at.quantized = segments * kPaddedSegment * 4;
  at.partial = at.quantized + (IsFloat(dtype) ? 0 : segments * kSegmentBlocks * int64_t{sizeof(QuantizedActivations)});
  at.bytes = at.partial + segments * outputs * 4;
  return at;
}

__device__ __forceinline__ float& Staged(float* x, int i) {
  return x[i / kLinearSegment * kPaddedSegment + i % kLinearSegment];
}

// What is added to an output's sum.
struct Ending {
  float bias = 0, residual = 0;
};

__device__ __forceinline__ Ending EndingOf(const Target& target, int64_t output) {
  Ending ending;
  if (target.bias != nullptr) ending.bias = target.bias[output];
  return ending;
}

__device__ __forceinline__ void LoadResidual(const Target& target, int64_t output, Ending* ending) {
  if (target.residual != nullptr) ending->residual = target.residual[output];
}

// As the Finish of several rows.
__device__ __forceinline__ float Finish(const Target& target, const Ending& ending, float total, int64_t output) {
  if (target.bias != nullptr) total = total + ending.bias;
  if (target.residual != nullptr) total = total + ending.residual;
  target.out[output] = total;
  return total;
}

// Elements first, first + blockDim.x, ...; 0 beyond `count`.
__device__ __forceinline__ void LoadBatch(const float* from, int first, int count, float (&values)[kStageBatch]) {
  UNROLL
  for (int j = 0; j < kStageBatch; j++) {
    const int i = first + j * static_cast<int>(blockDim.x);
    values[j] = i < count ? from[i] : 0.0f;
  }
}

// Copies x to shared memory, filled up with zeros, and normalises it if the operation says so. `weight` holds the
// thread's first batch of the norm's weight.
__device__ __forceinline__ void Stage(const LinearOp& op, int segments, float (&weight)[kStageBatch], float* x) {
  SHARED(float, factors, 2);
  const int inputs = static_cast<int>(op.inputs), padded = segments * kLinearSegment;
  const int threads = blockDim.x, step = kStageBatch * threads;
  const NormOp& norm = op.norm;
  const float* from = norm.x != nullptr ? norm.x : op.x;
  for (int first = threadIdx.x; first < padded; first += step) {
    float values[kStageBatch];
    LoadBatch(from, first, inputs, values);
    UNROLL
    for (int j = 0; j < kStageBatch; j++) {
      if (first + j * threads < padded) Staged(x, first + j * threads) = values[j];
    }
  }
  __syncthreads();
  if (norm.x == nullptr) return;
  if (threadIdx.x < 32) {
    const NormFactors computed =
        ComputeNorm(norm.kind == TS_NORM_LAYER, norm.epsilon, inputs, [x](int i) { return Staged(x, i); });
    if (threadIdx.x == 0) {
      factors[0] = computed.mean;
      factors[1] = computed.factor;
    }
  }
  __syncthreads();
  const NormFactors computed = {factors[0], factors[1]};
  for (int first = threadIdx.x; first < inputs; first += step) {
    if (first >= step) LoadBatch(norm.weight, first, inputs, weight);
    UNROLL
    for (int j = 0; j < kStageBatch; j++) {
      const int i = first + j * threads;
      if (i >= inputs) continue;
      const float value = NormValue(computed, Staged(x, i), weight[j], norm.bias, i);
      Staged(x, i) = value;
      if (blockIdx.x == 0) norm.out[i] = value;
    }
  }
  __syncthreads();
}

// Blocks of two to a multiprocessor at least: then a layer's blocks run all at once. F32 needs the registers.
constexpr int ResidentBlocks(int dtype) { return dtype == TS_F32 ? 1 : 2; }

template <int kDtype>
__global__ void __launch_bounds__(kDecodeThreads, ResidentBlocks(kDtype)) DecodeKernel(LinearOp op, int panels) {
  SHARED_DYNAMIC(unsigned char, memory);
  const int segments = static_cast<int>(SegmentsOf(op.inputs));
  const bool pair = op.activated != nullptr;  // then a block takes the same rows of both targets
  const int outputs = (pair ? 2 : 1) * panels * kPanelRows, units = outputs / kPanelRows * segments;
  const Staging at = StagingOf(kDtype, segments, outputs);
  float* x = reinterpret_cast<float*>(memory);
  QuantizedActivations* quantized = reinterpret_cast<QuantizedActivations*>(memory + at.quantized);
  float* partial = reinterpret_cast<float*>(memory + at.partial);
  const Place place = pair ? Place{0, blockIdx.x} : PlaceOf(op, blockIdx.x, int64_t{panels} * kPanelRows);
  const int64_t last_panel = PanelsOf(op.targets[place.target].outputs) - 1;
  const int row = threadIdx.x % kPanelRows, step = blockDim.x / kPanelRows;

  WeightBlock<kDtype> blocks[kSegmentBlocks];
  int unit = threadIdx.x / kPanelRows;
  const auto load = [&] {
    const int local = unit / segments;  // panel of the block; a part block repeats the last one
    const int64_t panel = min(place.block * panels + local % panels, last_panel);
    const uint8_t* record =
        op.targets[place.target + local / panels].weight + (panel * segments + unit % segments) * RecordBytes(kDtype);
    UNROLL
    for (int i = 0; i < kSegmentBlocks; i++) LoadBlock(record, row, i, &blocks[i]);
  };
  if (unit < units) load();
  float norm_weight[kStageBatch] = {};
  if (op.norm.x != nullptr) LoadBatch(op.norm.weight, threadIdx.x, static_cast<int>(op.inputs), norm_weight);
  // The first threads finish an output each (of each target).
  const int64_t output = place.block * panels * kPanelRows + threadIdx.x;
  const bool finishes =
      static_cast<int>(threadIdx.x) < panels * kPanelRows && output < op.targets[place.target].outputs;
  Ending endings[2];
  if (finishes) endings[0] = EndingOf(op.targets[place.target], output);
  if (finishes && pair) endings[1] = EndingOf(op.targets[1], output);
  gpu::AwaitPrevious();
  if (finishes) LoadResidual(op.targets[place.target], output, &endings[0]);
  if (finishes && pair) LoadResidual(op.targets[1], output, &endings[1]);
  Stage(op, segments, norm_weight, x);
  if (!IsFloat(kDtype)) {
    for (int block = threadIdx.x / 32; block < segments * kSegmentBlocks; block += blockDim.x / 32) {
      QuantizeByWarp(Staged(x, block * kQuantBlock + threadIdx.x % 32), quantized + block);
    }
    __syncthreads();
  }
  for (bool first = true; unit < units; unit += step, first = false) {
    if (!first) load();
    const int segment = unit % segments;
    float chain[1] = {0.0f};
    UNROLL
    for (int i = 0; i < kSegmentBlocks; i++) {
      if constexpr (IsFloat(kDtype)) {
        Accumulate(blocks[i], x + segment * kPaddedSegment + i * kQuantBlock, 0, chain);
      } else {
        Accumulate(blocks[i], quantized + segment * kSegmentBlocks + i, 0, chain);
      }
    }
    partial[segment * outputs + unit / segments * kPanelRows + row] = chain[0];
  }
  __syncthreads();

  if (!finishes) return;
  float value = 0.0f;
  UNROLL
  for (int target = 0; target < 2; target++) {
    if (target == 1 && !pair) break;
    float total = 0.0f;
    const float* from = partial + target * panels * kPanelRows + threadIdx.x;
    UNROLL_BY(8)
    for (int segment = 0; segment < segments; segment++) total = total + from[segment * outputs];
    const float gate = value;
    value = Finish(op.targets[place.target + target], endings[target], total, output);
    if (target == 1) op.activated[output] = Silu(gate) * value;
  }
}

template <int kDtype>
gpu::Status RunDecode(const LinearOp& op, gpu::Stream* stream) {
  const bool pair = op.activated != nullptr;
  const int64_t segments = SegmentsOf(op.inputs);
  int64_t all = 0;
  for (int i = 0; i < (pair ? 1 : op.target_count); i++) all += PanelsOf(op.targets[i].outputs);
  // Few rows a block while that leaves multiprocessors idle, more to share the staging beyond.
  constexpr int64_t kBlocksWanted = 256;
  int64_t panels = all / kBlocksWanted;
  panels = panels < 1 ? 1 : panels > kDecodePanels ? kDecodePanels : panels;
  if (pair && panels > kDecodePanels / 2) panels = kDecodePanels / 2;
  const int64_t rows = panels * kPanelRows;
  const int64_t grid = pair ? (op.targets[0].outputs + rows - 1) / rows : BlocksOf(op, rows);
  // A unit a thread, and enough of them to stage the activations in one batch.
  int64_t threads = (pair ? 2 : 1) * rows * segments;
  const int64_t staging = segments * kLinearSegment / kStageBatch;
  if (threads < staging) threads = staging;
  threads = threads > kDecodeThreads ? kDecodeThreads : (threads + 31) / 32 * 32;
  const int64_t bytes = StagingOf(kDtype, segments, (pair ? 2 : 1) * rows).bytes;
  return LAUNCH_EARLY(DecodeKernel<kDtype>, static_cast<unsigned>(grid), static_cast<unsigned>(threads),
                      static_cast<size_t>(bytes), stream)(op, static_cast<int>(panels));
}

}  // namespace

bool LinearFuses(int32_t dtype, int64_t inputs) {
  return StagingOf(dtype, SegmentsOf(inputs), kDecodePanels * kPanelRows).bytes + 64 <= kDecodeSharedBytes;
}

gpu::Status RunDecodeLinear(const LinearOp& op, gpu::Stream* stream) { TS_FOR_DTYPE(op.dtype, RunDecode, op, stream); }

}  // namespace cuda
}  // namespace touchstone
