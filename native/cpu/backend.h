// The CPU backend: memory, threads and the split of each operation into tasks; the kernels themselves are in the
// tables.
#pragma once

#include "../core/backend.h"
#include "../core/sampling.h"
#include "kernels.h"
#include "ledger.h"
#include "pool.h"

namespace touchstone::cpu {

class CpuBackend final : public Backend {
 public:
  CpuBackend(const ts_context_options& options, uint64_t memory_bytes, const Kernels& kernels);
  ~CpuBackend() override;
  // Starts the threads. TS_OUT_OF_MEMORY if the system refuses them.
  Status Start(int threads);

  Status Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out) override;
  void Free(Buffer* buffer) override;
  ts_memory_stats Memory() const override;
  std::vector<ts_memory_block> Blocks() const override;
  Status CheckResidency(ts_residency_report* out) override;
  Status Upload(const Buffer& to, uint64_t offset, const void* from, uint64_t bytes) override;
  Status Download(void* to, const Buffer& from, uint64_t offset, uint64_t bytes) override;
  Status Copy(const Buffer& to, uint64_t to_offset, const Buffer& from, uint64_t from_offset, uint64_t bytes) override;
  Status Poison(const Buffer& buffer, uint64_t offset, uint64_t bytes) override;

  Status WeightBytes(ts_dtype dtype, int64_t rows, int64_t columns, WeightUse use, uint64_t* bytes) override;
  int64_t LoadGranularity(ts_dtype dtype, WeightUse use) override;
  Status LoadRows(const Weight& weight, WeightUse use, const void* from, int64_t first, int64_t count) override;

  Status BeginPass(const Batch& batch) override;
  Status EndPass() override;
  Status Embed(const Weight& table, Activations out) override;
  Status AddPositions(const Weight& table, Activations out) override;
  Status Norm(ts_norm_kind kind, float epsilon, const Weight& weight, const Weight* bias, Activations x, int64_t rows,
              Activations out) override;
  Status Linear(Activations x, int64_t rows, std::span<const LinearTarget> targets) override;
  Status RopeAndStore(const RopeTables& rope, const KvLayout& kv, int32_t layer, int32_t heads, float* q, float* k,
                      const float* v) override;
  Status Attention(const KvLayout& kv, int32_t layer, int32_t heads, float scale, const float* q, float* out) override;
  Status Activate(ts_activation_kind kind, const float* gate, const float* up, int64_t count, float* out) override;
  Status GatherRows(Activations x, std::span<const int32_t> rows, Activations out) override;
  Status Sample(Activations logits, std::span<SampleRequest> requests) override;
  Status Rope(const RopeTables& rope, int32_t heads, int32_t head_dim, std::span<const int32_t> positions,
              float* x) override;
  Status Softmax(Activations x, int64_t rows, Activations out) override;
  Status Add(const float* a, const float* b, int64_t count, float* out) override;
  Status Temperature(const float* logits, int64_t count, float temperature, float* out) override;

 private:
  // Makes a working buffer at least that large. It grows when a pass needs more than any before it, is in the ledger,
  // and is freed with the last block that somebody else holds.
  Status Reserve(uint64_t bytes, const char* label, Buffer* buffer);
  // Calls function(begin, end) for slices of [0, count), in parallel if there is work enough.
  template <class Function>
  void Slices(int64_t count, int64_t slice, const Function& function);

  const Kernels& kernels_;
  Ledger ledger_;
  Pool pool_;
  std::vector<Sampler> samplers_;  // one a thread
  Batch batch_;
  Buffer quantized_;  // activations of Linear as integers
  Buffer scores_;     // of Attention
  std::vector<AttentionQuery> queries_;
  std::vector<int32_t> query_starts_;
};

}  // namespace touchstone::cpu
