// What a device must offer to the forward pass. The pass itself (core/model.cc) is written once, over these operations;
// cpu/ and cuda/ implement them. Operations are coarse, so that a backend may fuse inside them. All of them follow the
// orders of summation in NUMERICS.md to the bit, whatever the device, the batch or the number of threads.
//
// Activations are float32, row-major [rows][width], in device memory. "Row" is one token of the current batch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "status.h"

namespace touchstone {

// A block of device memory. Owned by the backend that allocated it until Free.
struct Buffer {
  void* data = nullptr;  // device address
  uint64_t bytes = 0;
  uint64_t id = 0;  // its number in the ledger; 0 is no block
};

// Part of a buffer of float32 activations.
struct Activations {
  float* data = nullptr;  // device address
  int64_t width = 0;      // elements of a row; rows are contiguous
};

// A weight tensor in the backend's own layout. A matrix maps `columns` inputs to `rows` outputs; a vector has one row.
struct Weight {
  std::string name;
  ts_dtype dtype = TS_F32;
  int64_t rows = 0;
  int64_t columns = 0;
  Buffer buffer;
  bool present() const { return buffer.id != 0; }
};

// How a weight is used; decides its layout.
enum class WeightUse {
  kLinear,     // read by Linear
  kEmbedding,  // read by Embed
  kTied,       // read by both
  kVector,     // norm weights and biases, kept as float32
};

// A token of the batch.
struct BatchRow {
  int32_t token = 0;     // id
  int32_t position = 0;  // its place in its sequence
  int32_t sequence = 0;  // index into Batch::sequences
};

// A sequence of the batch with its blocks of the KV cache.
struct BatchSequence {
  const int32_t* blocks = nullptr;  // block table, host memory: blocks[p / 32] holds position p
  int32_t block_count = 0;
};

// What one forward pass evaluates. Rows of a sequence are adjacent and ascend in position.
struct Batch {
  std::span<const BatchRow> rows;
  std::span<const BatchSequence> sequences;
};

// The KV cache of a model: one pool of blocks of TS_KV_BLOCK_POSITIONS positions over all layers, values in binary16.
// Block b, layer l begins at element ((b * layers + l) * 2) * kv_heads * head_dim * 32 of the pool: first
// K as [kv_head][head_dim][32 positions], so that positions are lanes, then V as [kv_head][32 positions][head_dim].
struct KvLayout {
  Buffer pool;
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int64_t HalfBlockElements() const { return int64_t{kv_heads} * head_dim * TS_KV_BLOCK_POSITIONS; }
  int64_t BlockBytes() const { return 2 * HalfBlockElements() * layers * 2; }
};

// Rotary tables, device memory: [context_length][dims / 2] each.
struct RopeTables {
  const float* cos = nullptr;
  const float* sin = nullptr;
  int32_t dims = 0;
  ts_position_kind kind = TS_POSITION_LEARNED;
};

// One output of Linear: out[row][i] = sum_k weight[i][k] * x[row][k] (+ bias[i]) (+ residual[row][i]).
struct LinearTarget {
  const Weight* weight = nullptr;
  const Weight* bias = nullptr;     // may be null
  const float* residual = nullptr;  // may be null; may be equal to out
  float* out = nullptr;
};

// How to choose a token from one row of logits, and what came of it.
struct SampleRequest {
  ts_sampling sampling{};
  uint32_t position = 0;             // of the token to choose: the counter of the random numbers
  std::span<const int32_t> history;  // ids of the session's tokens, host memory
  int32_t token = -1;                // out
  float logprob = 0;                 // out
  int32_t* top_tokens = nullptr;     // out, [sampling.top_logprobs], or null
  float* top_logprobs = nullptr;     // out, likewise
  // Out, [width], host memory, or null: probabilities the draw was made from, zero for what was filtered out.
  float* probabilities = nullptr;
};

// A device with its memory ledger. Not safe for concurrent use; core serialises calls.
class Backend {
 public:
  virtual ~Backend() = default;

  // --- memory: every block is in the ledger until it is freed
  virtual Status Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label,
                          Buffer* out) = 0;  // 256-aligned
  virtual void Free(Buffer* buffer) = 0;     // sets it to the empty buffer
  virtual ts_memory_stats Memory() const = 0;
  virtual std::vector<ts_memory_block> Blocks() const = 0;
  virtual Status CheckResidency(ts_residency_report* out) = 0;
  virtual Status Upload(const Buffer& to, uint64_t offset, const void* from, uint64_t bytes) = 0;
  virtual Status Download(void* to, const Buffer& from, uint64_t offset, uint64_t bytes) = 0;
  virtual Status Copy(const Buffer& to, uint64_t to_offset, const Buffer& from, uint64_t from_offset,
                      uint64_t bytes) = 0;
  virtual Status Poison(const Buffer& buffer, uint64_t offset, uint64_t bytes) = 0;  // NaN patterns

  // --- weights
  // Bytes that Allocate will be asked for, or TS_UNSUPPORTED if the format is not offered.
  virtual Status WeightBytes(ts_dtype dtype, int64_t rows, int64_t columns, WeightUse use, uint64_t* bytes) = 0;
  // Rows that LoadRows must be given at once, except for the last call (the interleave of the layout).
  virtual int64_t LoadGranularity(ts_dtype dtype, WeightUse use) = 0;
  // Converts rows [first, first + count) of the stored tensor (host memory, at `from`) into the weight's layout.
  virtual Status LoadRows(const Weight& weight, WeightUse use, const void* from, int64_t first, int64_t count) = 0;

  // --- one forward pass: BeginPass, operations, EndPass. A backend may queue operations until EndPass or Download.
  virtual Status BeginPass(const Batch& batch) = 0;
  virtual Status EndPass() = 0;

  // out[row] = table[token of the row]
  virtual Status Embed(const Weight& table, Activations out) = 0;
  // out[row] += table[position of the row]
  virtual Status AddPositions(const Weight& table, Activations out) = 0;
  // out = norm(x); bias is null for RMS.
  virtual Status Norm(ts_norm_kind kind, float epsilon, const Weight& weight, const Weight* bias, Activations x,
                      int64_t rows, Activations out) = 0;
  // All targets read the same x; quantised weights meet x quantised to 16 bits per 32 elements, once for all targets.
  virtual Status Linear(Activations x, int64_t rows, std::span<const LinearTarget> targets) = 0;
  // Rotates q [row][head][head_dim] in place and k likewise, then writes k and v to the cache at each row's position.
  virtual Status RopeAndStore(const RopeTables& rope, const KvLayout& kv, int32_t layer, int32_t heads, float* q,
                              float* k, const float* v) = 0;
  // out[row][head] = softmax(scale * q.K) V over positions 0 ... position of the row.
  virtual Status Attention(const KvLayout& kv, int32_t layer, int32_t heads, float scale, const float* q,
                           float* out) = 0;
  // out = silu(gate) * up, or gelu(up) with a null gate.
  virtual Status Activate(ts_activation_kind kind, const float* gate, const float* up, int64_t count, float* out) = 0;
  // out[i] = x[rows[i]]; rows are indices into the batch, host memory.
  virtual Status GatherRows(Activations x, std::span<const int32_t> rows, Activations out) = 0;
  // Chooses a token for each row of logits [requests.size()][width]; TS_INFERENCE_FAILED if a row holds NaN or an
  // infinity.
  virtual Status Sample(Activations logits, std::span<SampleRequest> requests) = 0;

  // --- single operations that only op_run asks for (the pass reaches them inside coarser ones); count elements
  virtual Status Rope(const RopeTables& rope, int32_t heads, int32_t head_dim, std::span<const int32_t> positions,
                      float* x) = 0;
  virtual Status Softmax(Activations x, int64_t rows, Activations out) = 0;
  virtual Status Add(const float* a, const float* b, int64_t count, float* out) = 0;
  virtual Status Temperature(const float* logits, int64_t count, float temperature, float* out) = 0;
};

// For devices that have no other numerics than the canonical ones.
inline Status RequireCanonical(const ts_context_options& options) {
  if (options.numerics == TS_NUMERICS_CANONICAL) return Status();
  return Status(TS_UNSUPPORTED,
                "this device does not offer the fast numerics (cuBLAS); CUDA devices alone do: open one "
                "of them, or use the canonical numerics");
}

// A device that a library offers: its properties and how to open it. Each backend defines its own list.
class Device {
 public:
  virtual ~Device() = default;
  virtual ts_device_properties Properties() const = 0;
  virtual Status Open(const ts_context_options& options, std::unique_ptr<Backend>* out) const = 0;
};

}  // namespace touchstone
