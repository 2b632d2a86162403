// Attention over the paged KV cache: a block a row of the batch and a head, for prefill and decode alike.
//
// Order as in cpu/attention.h: a score is scale times one chain of fma over the head's elements; the exact maximum; e =
// Exp(score - maximum) with the canonical sum; per element of V one chain of fma over the 32 positions of a cache
// block, blocks added ascending; then the division by the sum. Here threads are positions for the scores, and (cache
// block, element) pairs for V, kGroupBlocks cache blocks at a time.
#include "ops.h"
#include "reduce.cuh"
#include "rotate.cuh"

namespace touchstone {
namespace cuda {
namespace {

constexpr int kBlock = TS_KV_BLOCK_POSITIONS;
constexpr int kAttentionThreads = 256;
constexpr int kMaxHeadDim = 1024;
constexpr int kPartialFloats = 2048;  // partial sums of V of a group of cache blocks

// What a pair of neighbouring binary16 values is.
__device__ __forceinline__ float2 HalfPair(uint32_t bits) {
  return make_float2(__half2float(__ushort_as_half(static_cast<uint16_t>(bits))),
                     __half2float(__ushort_as_half(static_cast<uint16_t>(bits >> 16))));
}

// What the kernel that stores the row's own key and value may bring near before it waits: the angles of its rotation,
// into `angles` (cosines, then sines), and the cache. All of these were written by earlier passes.
__device__ __forceinline__ void Anticipate(const AttentionOp& op, const Row& row, int kv_head, float* angles) {
  const Cache& cache = op.cache;
  const int half = op.store.dims / 2;
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    angles[i] = op.store.cos[int64_t{row.position} * half + i];
    angles[half + i] = op.store.sin[int64_t{row.position} * half + i];
  }
  constexpr int kLine = 64;  // elements
  const int lines = (cache.head_dim * kBlock + kLine - 1) / kLine, blocks = (row.position + kBlock - 1) / kBlock;
  for (int unit = threadIdx.x; unit < blocks * lines; unit += blockDim.x) {
    const uint16_t* keys = cache.pool + op.batch.tables[row.table + unit / lines] * cache.block_stride +
                           cache.layer_offset + int64_t{kv_head} * cache.head_dim * kBlock + unit % lines * kLine;
    gpu::Prefetch(keys);
    gpu::Prefetch(keys + cache.half_block);
  }
}

// Loads the row's query and its own key and value, rotates them, rounds key and value as the cache holds them, and
// writes them there by the first head of those that share them.
__device__ __forceinline__ void StoreOwn(const AttentionOp& op, int64_t index, int head, const Row& row,
                                         const float* angles, float* query, float* own_k, float* own_v) {
  const Cache& cache = op.cache;
  const int head_dim = cache.head_dim, group = op.heads / cache.kv_heads, kv_head = head / group;
  const int64_t query_at = (index * op.heads + head) * head_dim, at = (index * cache.kv_heads + kv_head) * head_dim;
  for (int d = threadIdx.x; d < head_dim; d += blockDim.x) {
    const float q = op.q[query_at + d], k = op.store.k[at + d], v = op.store.v[at + d];
    query[d] = q;
    own_k[d] = k;
    own_v[d] = v;
  }
  __syncthreads();
  if (op.store.dims != 0) {
    const float* sines = angles + op.store.dims / 2;
    Rotate(op.store.kind, op.store.dims, angles, sines, 1, head_dim, query);
    Rotate(op.store.kind, op.store.dims, angles, sines, 1, head_dim, own_k);
  }
  __syncthreads();
  const int slot = row.position % kBlock;
  uint16_t* keys = cache.pool + op.batch.tables[row.table + row.position / kBlock] * cache.block_stride +
                   cache.layer_offset + int64_t{kv_head} * head_dim * kBlock;
  for (int d = threadIdx.x; d < head_dim; d += blockDim.x) {
    const uint16_t k = HalfFromFloat(own_k[d]), v = HalfFromFloat(own_v[d]);
    own_k[d] = FloatFromHalf(k);
    own_v[d] = FloatFromHalf(v);
    if (head % group != 0) continue;
    keys[d * kBlock + slot] = k;
    keys[cache.half_block + slot * head_dim + d] = v;
  }
}

// One block's chain over its `positions` for elements d and d + 1 (or d alone).
template <bool kPair>
__device__ __forceinline__ float2 ValueChain(const uint16_t* v, const float* e, int positions, int head_dim) {
  float2 chain = make_float2(0.0f, 0.0f);
  const auto step = [&](int j) {
    if (kPair) {
      const float2 pair = HalfPair(*reinterpret_cast<const uint32_t*>(v + j * head_dim));
      chain.x = Fma(pair.x, e[j], chain.x);
      chain.y = Fma(pair.y, e[j], chain.y);
    } else {
      chain.x = Fma(__half2float(__ushort_as_half(v[j * head_dim])), e[j], chain.x);
    }
  };
  if (positions == kBlock) {
    UNROLL
    for (int j = 0; j < kBlock; j++) step(j);
  } else {
    UNROLL_BY(4)
    for (int j = 0; j < positions; j++) step(j);
  }
  return chain;
}

template <bool kPair>
__global__ void __launch_bounds__(kAttentionThreads) AttentionKernel(AttentionOp op) {
  SHARED_DYNAMIC(float, memory);
  SHARED(float, partial, kPartialFloats);
  SHARED(float, maxima, 33);
  SHARED(float, sum, 1);
  const Cache& cache = op.cache;
  const int64_t index = op.first + int64_t{blockIdx.x};
  const Row row = op.batch.rows[index];  // the batch is not a kernel's work
  const int head = blockIdx.y, head_dim = cache.head_dim, length = row.position + 1;
  const int kv_head = head / (op.heads / cache.kv_heads);
  const int64_t at = (index * op.heads + head) * head_dim;
  const uint16_t* keys = cache.pool + cache.layer_offset + int64_t{kv_head} * head_dim * kBlock;
  const uint16_t* values = keys + cache.half_block;
  const int32_t* table = op.batch.tables + row.table;
  float *query = memory, *own_k = query + head_dim, *own_v = own_k + head_dim, *angles = own_v + head_dim;
  float* scores =
      op.scores != nullptr ? op.scores + (int64_t{blockIdx.x} * op.heads + head) * op.score_stride : angles + head_dim;
  const bool own = op.store.k != nullptr;
  const int cached = own ? length - 1 : length;  // positions to read from the cache

  if (own) Anticipate(op, row, kv_head, angles);
  gpu::AwaitPrevious();
  if (own) {
    StoreOwn(op, index, head, row, angles, query, own_k, own_v);
  } else {
    for (int d = threadIdx.x; d < head_dim; d += blockDim.x) query[d] = op.q[at + d];
  }
  __syncthreads();

  // A thread takes two neighbouring positions; the last thread, the row's own.
  float largest = -INFINITY;
  bool ordered = true;
  const auto keep = [&](int position, float chain) {
    const float score = chain * op.scale;
    scores[position] = score;
    ordered = ordered && score == score;
    largest = score > largest ? score : largest;
  };
  for (int first = 2 * threadIdx.x; first < cached; first += 2 * blockDim.x) {
    const uint16_t* k = keys + table[first / kBlock] * cache.block_stride + first % kBlock;
    const bool both = first + 1 < cached;  // what lies beyond was never written
    float2 chain = make_float2(0.0f, 0.0f);
    UNROLL_BY(32)
    for (int d = 0; d < head_dim; d++) {
      const float2 pair = HalfPair(both ? *reinterpret_cast<const uint32_t*>(k + d * kBlock) : k[d * kBlock]);
      chain.x = Fma(pair.x, query[d], chain.x);
      chain.y = Fma(pair.y, query[d], chain.y);
    }
    keep(first, chain.x);
    if (both) keep(first + 1, chain.y);
  }
  if (own && threadIdx.x == blockDim.x - 1) {
    float chain = 0.0f;
    UNROLL_BY(16)
    for (int d = 0; d < head_dim; d++) chain = Fma(own_k[d], query[d], chain);
    keep(cached, chain);
  }
  if (!ordered) largest = FloatFromBits(0x7fc00000u);
  largest = BlockMaximum(largest, maxima);

  for (int i = threadIdx.x; i < length; i += blockDim.x) scores[i] = Exp(scores[i] - largest);
  __syncthreads();
  if (threadIdx.x < 32) {
    float lane = 0.0f;
    UNROLL_BY(8)
    for (int i = threadIdx.x; i < length; i += 32) lane = lane + scores[i];
    lane = FoldWarp(lane);
    if (threadIdx.x == 0) sum[0] = lane;
  }

  const int blocks = (length + kBlock - 1) / kBlock;
  const int group = kPartialFloats / head_dim;  // cache blocks at a time
  constexpr int kWidth = kPair ? 2 : 1;
  const int units = (head_dim + kWidth - 1) / kWidth;  // of a cache block
  float totals[kMaxHeadDim / kAttentionThreads] = {};
  for (int begin = 0; begin < blocks; begin += group) {
    const int count = min(group, blocks - begin);
    for (int unit = threadIdx.x; unit < count * units; unit += blockDim.x) {
      const int block = begin + unit / units, d = unit % units * kWidth;
      const uint16_t* v = values + table[block] * cache.block_stride + d;
      float2 chain = ValueChain<kPair>(v, scores + block * kBlock, min(kBlock, cached - block * kBlock), head_dim);
      if (own && block == blocks - 1) {
        chain.x = Fma(own_v[d], scores[cached], chain.x);
        if (kPair) chain.y = Fma(own_v[d + 1], scores[cached], chain.y);
      }
      float* to = partial + (block - begin) * head_dim + d;
      to[0] = chain.x;
      if (kPair) to[1] = chain.y;
    }
    __syncthreads();
    for (int i = 0, d = threadIdx.x; d < head_dim; i++, d += blockDim.x) {
      for (int block = 0; block < count; block++) totals[i] = totals[i] + partial[block * head_dim + d];
    }
    __syncthreads();
  }
  for (int i = 0, d = threadIdx.x; d < head_dim; i++, d += blockDim.x) op.out[at + d] = totals[i] / sum[0];
}

}  // namespace

gpu::Status Run(const AttentionOp& op, gpu::Stream* stream) {
  if (op.cache.head_dim > kMaxHeadDim) {
    return gpu::Status::Error(gpu::Code::kInvalidValue, "head_dim is %d; at most %d", op.cache.head_dim, kMaxHeadDim);
  }
  const dim3 grid(static_cast<unsigned>(op.count), static_cast<unsigned>(op.heads));
  const int64_t floats = 4 * op.cache.head_dim + (op.scores != nullptr ? 0 : op.score_stride);
  const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
  if (op.cache.head_dim % 2 == 0) {
    return LAUNCH_EARLY(AttentionKernel<true>, grid, kAttentionThreads, bytes, stream)(op);
  }
  return LAUNCH_EARLY(AttentionKernel<false>, grid, kAttentionThreads, bytes, stream)(op);
}

}  // namespace cuda
}  // namespace touchstone
