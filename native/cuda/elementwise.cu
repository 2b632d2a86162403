// Operations on single elements; see cpu/elementwise.h.
#include "../core/numerics.h"
#include "device.cuh"
#include "ops.h"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kElementThreads = 256;

__device__ __forceinline__ int64_t Element() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

__global__ void ActivateKernel(ActivateOp op) {
  const int64_t i = Element();
  if (i >= op.count) return;
  op.out[i] = op.kind == TS_ACTIVATION_SWIGLU ? Silu(op.gate[i]) * op.up[i] : Gelu(op.up[i]);
}

__global__ void AddKernel(AddOp op) {
  const int64_t i = Element();
  if (i < op.count) op.out[i] = op.a[i] + op.b[i];
}

__global__ void TemperatureKernel(TemperatureOp op) {
  const int64_t i = Element();
  if (i < op.count) op.out[i] = op.temperature == 0.0f ? op.x[i] : op.x[i] / op.temperature;
}

unsigned GridFor(int64_t count) { return static_cast<unsigned>((count + kElementThreads - 1) / kElementThreads); }

}  // namespace

gpu::Status Run(const ActivateOp& op, gpu::Stream* stream) {
  return LAUNCH(ActivateKernel, GridFor(op.count), kElementThreads, 0, stream)(op);
}

gpu::Status Run(const AddOp& op, gpu::Stream* stream) {
  return LAUNCH(AddKernel, GridFor(op.count), kElementThreads, 0, stream)(op);
}

gpu::Status Run(const TemperatureOp& op, gpu::Stream* stream) {
  return LAUNCH(TemperatureKernel, GridFor(op.count), kElementThreads, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
