// Rotary positions, and the write into the KV cache. A block a row.
#include "ops.h"
#include "rotate.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kRopeThreads = 128;

__global__ void RopeStoreKernel(RopeStoreOp op) {
  gpu::AwaitPrevious();
  const Row& row = op.batch.rows[blockIdx.x];
  const Cache& cache = op.cache;
  const int head_dim = cache.head_dim, width = cache.kv_heads * head_dim;
  float* k = op.k + int64_t{blockIdx.x} * width;
  const float* v = op.v + int64_t{blockIdx.x} * width;
  if (op.dims != 0) {
    const int64_t table = int64_t{row.position} * (op.dims / 2);
    float* q = op.q + int64_t{blockIdx.x} * op.heads * head_dim;
    Rotate(op.kind, op.dims, op.cos + table, op.sin + table, op.heads, head_dim, q);
    Rotate(op.kind, op.dims, op.cos + table, op.sin + table, cache.kv_heads, head_dim, k);
  }
  __syncthreads();
  constexpr int kBlock = TS_KV_BLOCK_POSITIONS;
  const int block = op.batch.tables[row.table + row.position / kBlock], slot = row.position % kBlock;
  uint16_t* keys = cache.pool + block * cache.block_stride + cache.layer_offset;
  uint16_t* values = keys + cache.half_block;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    keys[int64_t{i} * kBlock + slot] = HalfFromFloat(k[i]);
    values[(int64_t{i / head_dim} * kBlock + slot) * head_dim + i % head_dim] = HalfFromFloat(v[i]);
  }
}

__global__ void RopeKernel(RopeOp op) {
  const int64_t table = int64_t{op.positions[blockIdx.x]} * (op.dims / 2);
  Rotate(op.kind, op.dims, op.cos + table, op.sin + table, op.heads, op.head_dim,
         op.x + int64_t{blockIdx.x} * op.heads * op.head_dim);
}

}  // namespace

gpu::Status Run(const RopeStoreOp& op, gpu::Stream* stream) {
  return LAUNCH_EARLY(RopeStoreKernel, static_cast<unsigned>(op.batch.count), kRopeThreads, 0, stream)(op);
}

gpu::Status Run(const RopeOp& op, gpu::Stream* stream) {
  return LAUNCH(RopeKernel, static_cast<unsigned>(op.rows), kRopeThreads, 0, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
