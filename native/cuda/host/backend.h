// The CUDA backend, which is the simulator's as well. Operations of a pass are queued and run at its end (or when a
// result is asked for): neighbours are fused where that changes no bit, and a pass of a few rows whose operations are
// those of the pass before is replayed as a graph. What differs between such passes (tokens, positions, block tables)
// lies in device buffers that BeginPass fills.
#pragma once

#include <map>
#include <memory>
#include <variant>
#include <vector>

#include "../../core/backend.h"
#include "../ops.h"
#include "allocator.h"
#include "fast_linear.h"

namespace touchstone::cuda {

class CudaBackend final : public Backend {
 public:
  // Takes over the device, also on failure. `limit` bounds the ledger. With a multiplier, linear layers of more than
  // kFewRows rows go through it: TS_NUMERICS_FAST.
  static Status Create(gpu::Device* device, const ts_context_options& options, uint64_t limit,
                       std::unique_ptr<Multiplier> multiplier, std::unique_ptr<Backend>* out);
  ~CudaBackend() override;

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
  using Op = std::variant<EmbedOp, NormOp, LinearOp, RopeStoreOp, AttentionOp, ActivateOp, GatherOp>;

  // The operations of a pass with that many rows, and their graph once they came twice in a row.
  struct Recording {
    std::vector<Op> ops;
    gpu::Graph* graph = nullptr;
  };

  // Working memory of the backend itself: in the ledger, grown when a pass needs more, freed with the last block that
  // somebody else holds.
  struct Working {
    Buffer batch, indices, linear, scores, staging, sample, history, probabilities;
    static constexpr int kCount = 8;
  };

  CudaBackend(gpu::Device* device, gpu::Stream* stream, const ts_context_options& options, uint64_t limit);
  Status Reserve(uint64_t bytes, const char* label, Buffer* buffer);
  void DropRecordings();

  Status Push(const Op& op);
  bool FuseNorm(LinearOp* linear);
  bool FuseActivation(const ActivateOp& op);
  void FuseStore(AttentionOp* attention);
  // Runs what is queued, and leaves nothing of it whatever comes.
  Status Flush();
  Status RunOrReplay();
  Status Record(Recording* recording);
  Status RunQueue();
  template <class T>
  Status RunNow(const T& op) {
    TS_RETURN_IF_ERROR(Flush());
    return FromGpu(Run(op, stream_));
  }
  // Copies row numbers to the device for the operations of this pass.
  Status UploadIndices(std::span<const int32_t> values, const int32_t** device);
  Status ChooseOne(const float* logits, int64_t width, int64_t index, SampleRequest* request);

  gpu::Device* device_;
  gpu::Stream* stream_;
  Allocator allocator_;
  Working working_;
  std::unique_ptr<FastLinear> fast_;  // null in canonical numerics
  std::vector<Op> queue_;
  std::map<int32_t, Recording> recordings_;  // by rows
  DeviceBatch batch_;
  bool apart_ = false;                  // each row of the batch has a sequence of its own
  int64_t longest_ = 0;                 // positions that a row of the batch sees at most
  std::vector<int32_t> indices_image_;  // what is in working_.indices
  size_t indices_used_ = 0;
};

}  // namespace touchstone::cuda
