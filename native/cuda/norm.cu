// RMS and layer norm: a block a row. One warp sums in the order of cpu/norm.h, all write.
#include "ops.h"
#include "reduce.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kNormThreads = 128;

__global__ void __launch_bounds__(kNormThreads) NormKernel(NormOp op) {
  SHARED(float, factors, 2);
  gpu::AwaitPrevious();
  const float* x = op.x + int64_t{blockIdx.x} * op.width;
  float* out = op.out + int64_t{blockIdx.x} * op.width;
  const int width = static_cast<int>(op.width);
  if (threadIdx.x < 32) {
    const NormFactors computed = ComputeNorm(op.kind == TS_NORM_LAYER, op.epsilon, width, [x](int i) { return x[i]; });
    if (threadIdx.x == 0) {
      factors[0] = computed.mean;
      factors[1] = computed.factor;
    }
  }
  __syncthreads();
  const NormFactors norm = {factors[0], factors[1]};
  for (int i = threadIdx.x; i < width; i += kNormThreads) out[i] = NormValue(norm, x[i], op.weight[i], op.bias, i);
}

}  // namespace

gpu::Status Run(const NormOp& op, gpu::Stream* stream) {
  return LAUNCH_EARLY(NormKernel, static_cast<unsigned>(op.rows), kNormThreads, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
