// The operations of the CUDA backend as plain values: what a kernel needs to know, all pointers device memory. The
// backend queues them, compares them with those of an earlier pass and runs them; Run lies beside each kernel. This
// header is C++17 for the sake of older CUDA compilers.
#pragma once

#include <cstdint>

#include "../include/touchstone.h"
#include "runtime.h"

#if __cplusplus >= 202002L
#define TS_COMPARABLE(Type) bool operator==(const Type&) const = default
#else
#define TS_COMPARABLE(Type) static_assert(true, "")
#endif

namespace touchstone {
namespace cuda {

// A token of the batch.
struct Row {
  int32_t token, position;
  int32_t table;  // where its sequence's block table begins in the batch's tables
};

// The batch in device memory, the same addresses for every pass of the same size.
struct DeviceBatch {
  const Row* rows = nullptr;
  const int32_t* tables = nullptr;
  int32_t count = 0;
  TS_COMPARABLE(DeviceBatch);
};

// One layer of the KV cache; offsets in elements. See KvLayout in core/backend.h.
struct Cache {
  uint16_t* pool = nullptr;
  int64_t block_stride = 0, layer_offset = 0, half_block = 0;
  int32_t kv_heads = 0, head_dim = 0;
  TS_COMPARABLE(Cache);
};

// Rows [first, first + count) of a stored tensor, at `raw`, into a weight's layout (layout.cuh); vectors to float32.
struct PackOp {
  const uint8_t* raw = nullptr;
  uint8_t* weight = nullptr;
  int64_t columns = 0, rows = 0, first = 0, count = 0;
  int32_t dtype = 0;
  bool vector = false;
};

// out[row] = table[token], or out[row] += table[position].
struct EmbedOp {
  DeviceBatch batch;
  const uint8_t* table = nullptr;
  float* out = nullptr;
  int64_t width = 0;
  int32_t dtype = 0;
  bool add_positions = false;
  TS_COMPARABLE(EmbedOp);
};

struct NormOp {
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float* out = nullptr;
  int64_t width = 0, rows = 0;
  float epsilon = 0;
  int32_t kind = 0;
  TS_COMPARABLE(NormOp);
};

struct Target {
  const uint8_t* weight = nullptr;
  const float* bias = nullptr;
  const float* residual = nullptr;
  float* out = nullptr;
  int64_t outputs = 0;
  TS_COMPARABLE(Target);
};

constexpr int kMaxTargets = 4;

// All targets have the same format and inputs. With one row, a norm before and an activation after may be fused.
struct LinearOp {
  Target targets[kMaxTargets];
  NormOp norm;  // x is its output if norm.x is not null
  const float* x = nullptr;
  void* scratch = nullptr;     // LinearScratchBytes
  float* activated = nullptr;  // if not null: activation of targets 0 (gate) and 1 (up)
  int64_t inputs = 0, rows = 0;
  int32_t dtype = 0, target_count = 0;
  TS_COMPARABLE(LinearOp);
};

// Rotates q and k (if dims is not 0) and writes k and v to the cache.
struct RopeStoreOp {
  DeviceBatch batch;
  Cache cache;
  const float* cos = nullptr;
  const float* sin = nullptr;
  float* q = nullptr;
  float* k = nullptr;
  const float* v = nullptr;
  int32_t dims = 0, kind = 0, heads = 0;
  TS_COMPARABLE(RopeStoreOp);
};

struct RopeOp {
  const int32_t* positions = nullptr;
  const float* cos = nullptr;
  const float* sin = nullptr;
  float* x = nullptr;
  int32_t dims = 0, kind = 0, heads = 0, head_dim = 0, rows = 0;
};

// Most positions whose scores fit in shared memory.
constexpr int64_t kSharedScores = 8192;

struct AttentionOp {
  DeviceBatch batch;
  Cache cache;
  const float* q = nullptr;
  float* out = nullptr;
  float* scores = nullptr;   // [count][heads][score_stride]; null: in shared memory, for strides up to kSharedScores
  int64_t score_stride = 0;  // at least every row's position + 1
  int32_t first = 0, count = 0;  // rows of the batch
  int32_t heads = 0;
  float scale = 0;
  // If store.k is not null, no row sees another, and the kernel does the store's work for its rows: it rotates q and k
  // as it reads them (q and k in memory stay as they are) and writes k and v to the cache.
  RopeStoreOp store;
  TS_COMPARABLE(AttentionOp);
};

struct ActivateOp {
  const float* gate = nullptr;
  const float* up = nullptr;
  float* out = nullptr;
  int64_t count = 0;
  int32_t kind = 0;
  TS_COMPARABLE(ActivateOp);
};

struct GatherOp {
  const float* x = nullptr;
  const int32_t* rows = nullptr;
  float* out = nullptr;
  int64_t width = 0, count = 0;
  TS_COMPARABLE(GatherOp);
};

struct SoftmaxOp {
  const float* x = nullptr;
  float* out = nullptr;
  int64_t width = 0, rows = 0;
};

struct AddOp {
  const float* a = nullptr;
  const float* b = nullptr;
  float* out = nullptr;
  int64_t count = 0;
};

struct TemperatureOp {
  const float* x = nullptr;
  float* out = nullptr;
  int64_t count = 0;
  float temperature = 0;
};

constexpr int kMaxTop = 20;

// What the choice of a token gave.
struct SampleResult {
  int32_t token, finite;  // finite is 0 if a logit is NaN or an infinity; then nothing else is valid
  float logprob;
  int32_t top_tokens[kMaxTop];
  float top_logprobs[kMaxTop];
};

// Chooses a token from one row of logits. `scaled` and `weights` are scratch of `width` elements, `partials` of
// SamplePartialBytes.
struct SampleOp {
  const float* logits = nullptr;
  float* scaled = nullptr;
  unsigned long long* weights = nullptr;
  void* partials = nullptr;
  const int32_t* history = nullptr;
  float* probabilities = nullptr;  // or null
  SampleResult* result = nullptr;
  int64_t width = 0, history_count = 0;
  uint64_t seed = 0;
  uint32_t position = 0, top_k = 0, top = 0;
  float temperature = 0, top_p = 1, min_p = 0, penalty = 1;
};

gpu::Status Run(const PackOp& op, gpu::Stream* stream);
gpu::Status Run(const EmbedOp& op, gpu::Stream* stream);
gpu::Status Run(const NormOp& op, gpu::Stream* stream);
gpu::Status Run(const LinearOp& op, gpu::Stream* stream);
gpu::Status Run(const RopeStoreOp& op, gpu::Stream* stream);
gpu::Status Run(const RopeOp& op, gpu::Stream* stream);
gpu::Status Run(const AttentionOp& op, gpu::Stream* stream);
gpu::Status Run(const ActivateOp& op, gpu::Stream* stream);
gpu::Status Run(const GatherOp& op, gpu::Stream* stream);
gpu::Status Run(const SoftmaxOp& op, gpu::Stream* stream);
gpu::Status Run(const AddOp& op, gpu::Stream* stream);
gpu::Status Run(const TemperatureOp& op, gpu::Stream* stream);
gpu::Status Run(const SampleOp& op, gpu::Stream* stream);

// Scratch memory of a LinearOp; 0 if it needs none.
uint64_t LinearScratchBytes(int32_t dtype, int64_t inputs, int64_t rows);
// Whether a LinearOp of one row with that many inputs can take a norm and an activation in.
bool LinearFuses(int32_t dtype, int64_t inputs);
uint64_t SamplePartialBytes();
// Bytes of a matrix in the layout of layout.cuh.
uint64_t PackedBytes(int32_t dtype, int64_t rows, int64_t columns);

}  // namespace cuda
}  // namespace touchstone
