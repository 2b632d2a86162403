// RMS and layer norm: a warp a row, in the order of cpu/norm.h.
#include "ops.h"
#include "reduce.cuh"

namespace touchstone {
namespace cuda {
namespace {

__global__ void NormKernel(NormOp op) {
  const float* x = op.x + int64_t{blockIdx.x} * op.width;
  float* out = op.out + int64_t{blockIdx.x} * op.width;
  const int width = static_cast<int>(op.width);
  const NormFactors norm = ComputeNorm(op.kind == TS_NORM_LAYER, op.epsilon, width, [x](int i) { return x[i]; });
  for (int i = threadIdx.x; i < width; i += 32) out[i] = NormValue(norm, x[i], op.weight[i], op.bias, i);
}

}  // namespace

gpu::Status Run(const NormOp& op, gpu::Stream* stream) {
  return LAUNCH(NormKernel, static_cast<unsigned>(op.rows), 32, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
