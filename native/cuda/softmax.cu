// Softmax: a block a row. The exact maximum first, then the canonical sum by one warp; see cpu/softmax.h.
#include "ops.h"
#include "reduce.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kSoftmaxThreads = 128;

__global__ void SoftmaxKernel(SoftmaxOp op) {
  SHARED(float, maxima, 33);
  SHARED(float, sum, 1);
  const float* x = op.x + int64_t{blockIdx.x} * op.width;
  float* out = op.out + int64_t{blockIdx.x} * op.width;
  float largest = x[0];
  bool ordered = true;
  for (int64_t i = threadIdx.x; i < op.width; i += blockDim.x) {
    ordered = ordered && x[i] == x[i];
    largest = x[i] > largest ? x[i] : largest;
  }
  if (!ordered) largest = FloatFromBits(0x7fc00000u);
  largest = BlockMaximum(largest, maxima);
  for (int64_t i = threadIdx.x; i < op.width; i += blockDim.x) out[i] = Exp(x[i] - largest);
  __syncthreads();
  if (threadIdx.x < 32) {
    float lane = 0.0f;
    for (int64_t i = threadIdx.x; i < op.width; i += 32) lane = lane + out[i];
    lane = FoldWarp(lane);
    if (threadIdx.x == 0) sum[0] = lane;
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < op.width; i += blockDim.x) out[i] = out[i] / sum[0];
}

}  // namespace

gpu::Status Run(const SoftmaxOp& op, gpu::Stream* stream) {
  return LAUNCH(SoftmaxKernel, static_cast<unsigned>(op.rows), kSoftmaxThreads, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
