#include "backend.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "layout.h"

namespace touchstone::cpu {

namespace {

constexpr int64_t kSliceElements = 16384;  // elementwise work of one task

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

Status CheckRange(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  if (offset > buffer.bytes || bytes > buffer.bytes - offset) {
    return Status(TS_INVALID_ARGUMENT, "bytes " + std::to_string(offset) + " ... " + std::to_string(offset + bytes) +
                                           " are outside a block of " + std::to_string(buffer.bytes));
  }
  return Status();
}

uint8_t* BytesAt(const Buffer& buffer, uint64_t offset) { return static_cast<uint8_t*>(buffer.data) + offset; }

}  // namespace

CpuBackend::CpuBackend(const ts_context_options& options, uint64_t memory_bytes, const Kernels& kernels)
    : kernels_(kernels), ledger_(options, memory_bytes) {}

CpuBackend::~CpuBackend() = default;

Status CpuBackend::Start(int threads) {
  if (!pool_.Start(threads)) {
    return Status(TS_OUT_OF_MEMORY, "the system refuses " + std::to_string(threads) + " threads; ask for fewer");
  }
  samplers_.assign(static_cast<size_t>(pool_.threads()), Sampler(kernels_.weigh));
  return Status();
}

// --- memory

Status CpuBackend::Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out) {
  return ledger_.Allocate(kind, bytes, label, out);
}

void CpuBackend::Free(Buffer* buffer) {
  ledger_.Free(buffer);
  const uint32_t own = (quantized_.id != 0 ? 1 : 0) + (scores_.id != 0 ? 1 : 0);
  if (own != 0 && ledger_.Stats().block_count == own) {
    ledger_.Free(&quantized_);
    ledger_.Free(&scores_);
  }
}

ts_memory_stats CpuBackend::Memory() const { return ledger_.Stats(); }

std::vector<ts_memory_block> CpuBackend::Blocks() const { return ledger_.Blocks(); }

Status CpuBackend::CheckResidency(ts_residency_report* out) {
  *out = ts_residency_report{};
  out->struct_size = sizeof *out;
  out->blocks_checked = ledger_.Stats().block_count;  // the host has one memory space
  return Status();
}

Status CpuBackend::Upload(const Buffer& to, uint64_t offset, const void* from, uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(to, offset, bytes));
  if (bytes != 0) std::memcpy(BytesAt(to, offset), from, bytes);
  return Status();
}

Status CpuBackend::Download(void* to, const Buffer& from, uint64_t offset, uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(from, offset, bytes));
  if (bytes != 0) std::memcpy(to, BytesAt(from, offset), bytes);
  return Status();
}

Status CpuBackend::Copy(const Buffer& to, uint64_t to_offset, const Buffer& from, uint64_t from_offset,
                        uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(to, to_offset, bytes));
  TS_RETURN_IF_ERROR(CheckRange(from, from_offset, bytes));
  if (bytes != 0) std::memmove(BytesAt(to, to_offset), BytesAt(from, from_offset), bytes);
  return Status();
}

Status CpuBackend::Poison(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(buffer, offset, bytes));
  Ledger::Poison(BytesAt(buffer, offset), bytes);
  return Status();
}

Status CpuBackend::Reserve(uint64_t bytes, const char* label, Buffer* buffer) {
  if (buffer->bytes >= bytes) return Status();
  if (buffer->id != 0) ledger_.Free(buffer);
  return ledger_.Allocate(TS_MEMORY_ACTIVATIONS, bytes, label, buffer);
}

// --- weights

Status CpuBackend::WeightBytes(ts_dtype dtype, int64_t rows, int64_t columns, WeightUse use, uint64_t* bytes) {
  const BlockShape shape = BlockShapeOf(dtype);
  if (shape.elements == 0) {
    return Status(TS_UNSUPPORTED, "weight format " + std::to_string(dtype) + " is not offered by the CPU");
  }
  if (rows <= 0 || columns <= 0 || columns % shape.elements != 0) {
    return Status(TS_INVALID_ARGUMENT, "a weight of format " + std::to_string(dtype) + " has " +
                                           std::to_string(columns) + " columns; blocks hold " +
                                           std::to_string(shape.elements));
  }
  if (use == WeightUse::kVector) {
    *bytes = static_cast<uint64_t>(RoundUp(rows * columns, kPanelRows)) * sizeof(float);
  } else {
    *bytes = static_cast<uint64_t>(PanelCount(rows) * PanelBytes(dtype, columns));
  }
  return Status();
}

int64_t CpuBackend::LoadGranularity(ts_dtype, WeightUse use) { return use == WeightUse::kVector ? 1 : kPanelRows; }

Status CpuBackend::LoadRows(const Weight& weight, WeightUse use, const void* from, int64_t first, int64_t count) {
  uint8_t* to = static_cast<uint8_t*>(weight.buffer.data);
  const BlockShape shape = BlockShapeOf(weight.dtype);
  const int64_t row_bytes = weight.columns / shape.elements * shape.bytes;
  const auto* source = static_cast<const uint8_t*>(from);
  if (use == WeightUse::kVector) {
    float* values = reinterpret_cast<float*>(to);
    for (int64_t row = 0; row < count; row++) {
      DequantizeRow(weight.dtype, weight.columns, source + row * row_bytes, values + (first + row) * weight.columns);
    }
    const int64_t filled = (first + count) * weight.columns;
    if (first + count == weight.rows) std::fill(values + filled, values + RoundUp(filled, kPanelRows), 0.0f);
    return Status();
  }
  const int64_t panels = PanelCount(count);
  pool_.Run(panels, [&](int64_t panel, int) {
    const int64_t at = panel * kPanelRows;
    PackRows(weight.dtype, weight.columns, source + at * row_bytes, first + at,
             std::min<int64_t>(kPanelRows, count - at), to);
  });
  return Status();
}

// --- the pass

template <class Function>
void CpuBackend::Slices(int64_t count, int64_t slice, const Function& function) {
  pool_.Run((count + slice - 1) / slice, [&](int64_t task, int) {
    const int64_t begin = task * slice;
    function(begin, std::min(count, begin + slice));
  });
}

Status CpuBackend::BeginPass(const Batch& batch) {
  batch_ = batch;
  return Status();
}

Status CpuBackend::EndPass() { return Status(); }

Status CpuBackend::Embed(const Weight& table, Activations out) {
  const auto* panels = static_cast<const uint8_t*>(table.buffer.data);
  pool_.Run(static_cast<int64_t>(batch_.rows.size()), [&](int64_t row, int) {
    UnpackRow(table.dtype, table.columns, panels, batch_.rows[row].token, out.data + row * out.width);
  });
  return Status();
}

Status CpuBackend::AddPositions(const Weight& table, Activations out) {
  const auto* panels = static_cast<const uint8_t*>(table.buffer.data);
  TS_RETURN_IF_ERROR(
      Reserve(static_cast<uint64_t>(pool_.threads() * table.columns) * sizeof(float), "cpu.scores", &scores_));
  float* scratch = static_cast<float*>(scores_.data);
  pool_.Run(static_cast<int64_t>(batch_.rows.size()), [&](int64_t row, int thread) {
    float* position = scratch + thread * table.columns;
    UnpackRow(table.dtype, table.columns, panels, batch_.rows[row].position, position);
    kernels_.add(out.data + row * out.width, position, table.columns, out.data + row * out.width);
  });
  return Status();
}

Status CpuBackend::Norm(ts_norm_kind kind, float epsilon, const Weight& weight, const Weight* bias, Activations x,
                        int64_t rows, Activations out) {
  const auto* weights = static_cast<const float*>(weight.buffer.data);
  const auto* biases = bias != nullptr ? static_cast<const float*>(bias->buffer.data) : nullptr;
  Slices(rows, std::max<int64_t>(1, kSliceElements / x.width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      kernels_.norm(kind, epsilon, weights, biases, x.data + row * x.width, x.width, out.data + row * out.width);
    }
  });
  return Status();
}

Status CpuBackend::Linear(Activations x, int64_t rows, std::span<const LinearTarget> targets) {
  if (rows == 0) return Status();
  const bool quantize =
      std::any_of(targets.begin(), targets.end(), [](const LinearTarget& t) { return IsQuantized(t.weight->dtype); });
  QuantizedActivations* quantized = nullptr;
  if (quantize) {
    const int64_t blocks = x.width / kQuantBlock;
    TS_RETURN_IF_ERROR(Reserve(static_cast<uint64_t>(rows * blocks) * sizeof(QuantizedActivations),
                               "cpu.quantized_activations", &quantized_));
    quantized = static_cast<QuantizedActivations*>(quantized_.data);
    Slices(rows * blocks, kSliceElements / kQuantBlock, [&](int64_t begin, int64_t end) {
      kernels_.quantize(x.data + begin * kQuantBlock, end - begin, quantized + begin);
    });
  }
  // The panels of all targets are one range of work; tasks are a few panels of one target.
  const int64_t panels = std::accumulate(targets.begin(), targets.end(), int64_t{0},
                                         [](int64_t sum, const auto& t) { return sum + PanelCount(t.weight->rows); });
  const int64_t task_panels = panels >= 8 * pool_.threads() ? 4 : 2;
  const auto tasks_of = [=](const LinearTarget& t) {
    return (PanelCount(t.weight->rows) + task_panels - 1) / task_panels;
  };
  const int64_t tasks = std::accumulate(targets.begin(), targets.end(), int64_t{0},
                                        [&](int64_t sum, const auto& t) { return sum + tasks_of(t); });
  pool_.Run(tasks, [&](int64_t task, int) {
    size_t index = 0;
    for (; task >= tasks_of(targets[index]); index++) task -= tasks_of(targets[index]);
    const LinearTarget& target = targets[index];
    const Weight& weight = *target.weight;
    LinearJob job{};
    job.dtype = weight.dtype;
    job.panels = static_cast<const uint8_t*>(weight.buffer.data);
    job.outputs = weight.rows;
    job.inputs = weight.columns;
    job.rows = rows;
    job.x = x.data;
    job.quantized = quantized;
    job.bias = target.bias != nullptr ? static_cast<const float*>(target.bias->buffer.data) : nullptr;
    job.residual = target.residual;
    job.out = target.out;
    const int64_t first = task * task_panels;
    kernels_.linear(job, first, std::min(task_panels, PanelCount(weight.rows) - first));
  });
  return Status();
}

Status CpuBackend::RopeAndStore(const RopeTables& rope, const KvLayout& kv, int32_t layer, int32_t heads, float* q,
                                float* k, const float* v) {
  auto* pool = static_cast<uint16_t*>(kv.pool.data);
  const int64_t block_elements = kv.BlockBytes() / 2;
  const int64_t kv_width = int64_t{kv.kv_heads} * kv.head_dim;
  pool_.Run(static_cast<int64_t>(batch_.rows.size()), [&](int64_t row, int) {
    const BatchRow& at = batch_.rows[row];
    float* key = k + row * kv_width;
    if (rope.dims != 0) {
      const int64_t table = int64_t{at.position} * (rope.dims / 2);
      kernels_.rope(rope.kind, rope.dims, rope.cos + table, rope.sin + table, heads, kv.head_dim,
                    q + row * heads * kv.head_dim);
      kernels_.rope(rope.kind, rope.dims, rope.cos + table, rope.sin + table, kv.kv_heads, kv.head_dim, key);
    }
    const int32_t block = batch_.sequences[at.sequence].blocks[at.position / TS_KV_BLOCK_POSITIONS];
    const int64_t slot = at.position % TS_KV_BLOCK_POSITIONS;
    uint16_t* keys = pool + block * block_elements + int64_t{layer} * 2 * kv.HalfBlockElements();
    uint16_t* values = keys + kv.HalfBlockElements();
    for (int64_t i = 0; i < kv_width; i++) keys[i * TS_KV_BLOCK_POSITIONS + slot] = HalfFromFloat(key[i]);
    for (int64_t head = 0; head < kv.kv_heads; head++) {
      kernels_.to_half(v + row * kv_width + head * kv.head_dim, kv.head_dim,
                       values + (head * TS_KV_BLOCK_POSITIONS + slot) * kv.head_dim);
    }
  });
  return Status();
}

Status CpuBackend::Attention(const KvLayout& kv, int32_t layer, int32_t heads, float scale, const float* q,
                             float* out) {
  AttentionJob job{};
  job.pool = static_cast<const uint16_t*>(kv.pool.data);
  job.block_stride = kv.BlockBytes() / 2;
  job.half_block = kv.HalfBlockElements();
  job.layer_offset = int64_t{layer} * 2 * job.half_block;
  job.kv_heads = kv.kv_heads;
  job.heads = heads;
  job.head_dim = kv.head_dim;
  job.scale = scale;
  job.q = q;
  job.out = out;

  // Queries that share a sequence and a KV head are neighbours, cut into tiles; small tiles if they would not fill the
  // threads.
  const auto rows = static_cast<int64_t>(batch_.rows.size());
  const int group = heads / kv.kv_heads;
  int tile = kAttentionQueries;
  while (tile > 1 && rows * heads < int64_t{tile} * pool_.threads()) tile /= 2;
  int64_t longest = 0;
  try {
    queries_.clear();
    query_starts_.clear();
    for (int64_t first = 0; first < rows;) {
      const int32_t sequence = batch_.rows[first].sequence;
      int64_t end = first;
      while (end < rows && batch_.rows[end].sequence == sequence) end++;
      for (int kv_head = 0; kv_head < kv.kv_heads; kv_head++) {
        int in_tile = tile;
        for (int64_t row = first; row < end; row++) {
          const int32_t position = batch_.rows[row].position;
          longest = std::max<int64_t>(longest, position + 1);
          for (int i = 0; i < group; i++, in_tile++) {
            if (in_tile == tile) {
              query_starts_.push_back(static_cast<int32_t>(queries_.size()));
              in_tile = 0;
            }
            queries_.push_back({row, kv_head * group + i, {batch_.sequences[sequence].blocks, position}});
          }
        }
      }
      first = end;
    }
    query_starts_.push_back(static_cast<int32_t>(queries_.size()));
  } catch (const std::bad_alloc&) {
    return Status(TS_OUT_OF_MEMORY, "the system has no memory for the list of attention queries");
  }
  const int64_t thread_scores = kAttentionQueries * AttentionScoreStride(longest);
  TS_RETURN_IF_ERROR(
      Reserve(static_cast<uint64_t>(pool_.threads() * thread_scores) * sizeof(float), "cpu.scores", &scores_));
  float* scores = static_cast<float*>(scores_.data);
  pool_.Run(static_cast<int64_t>(query_starts_.size()) - 1, [&](int64_t task, int thread) {
    const int32_t begin = query_starts_[task];
    kernels_.attention(job, queries_.data() + begin, query_starts_[task + 1] - begin, scores + thread * thread_scores);
  });
  return Status();
}

Status CpuBackend::Activate(ts_activation_kind kind, const float* gate, const float* up, int64_t count, float* out) {
  Slices(count, kSliceElements, [&](int64_t begin, int64_t end) {
    kernels_.activate(kind, gate != nullptr ? gate + begin : nullptr, up + begin, end - begin, out + begin);
  });
  return Status();
}

Status CpuBackend::GatherRows(Activations x, std::span<const int32_t> rows, Activations out) {
  for (size_t i = 0; i < rows.size(); i++) {
    std::memcpy(out.data + static_cast<int64_t>(i) * out.width, x.data + rows[i] * x.width,
                static_cast<size_t>(x.width) * sizeof(float));
  }
  return Status();
}

Status CpuBackend::Sample(Activations logits, std::span<SampleRequest> requests) {
  std::vector<Status> results(requests.size());
  pool_.Run(static_cast<int64_t>(requests.size()), [&](int64_t row, int thread) {
    try {
      results[row] = samplers_[thread].Choose(logits.data + row * logits.width, logits.width, &requests[row]);
    } catch (const std::bad_alloc&) {
      results[row] = Status(TS_OUT_OF_MEMORY, "the system has no memory for choosing a token");
    }
  });
  for (const Status& status : results) TS_RETURN_IF_ERROR(status);
  return Status();
}

// --- single operations

Status CpuBackend::Rope(const RopeTables& rope, int32_t heads, int32_t head_dim, std::span<const int32_t> positions,
                        float* x) {
  for (size_t row = 0; row < positions.size(); row++) {
    const int64_t table = int64_t{positions[row]} * (rope.dims / 2);
    kernels_.rope(rope.kind, rope.dims, rope.cos + table, rope.sin + table, heads, head_dim,
                  x + static_cast<int64_t>(row) * heads * head_dim);
  }
  return Status();
}

Status CpuBackend::Softmax(Activations x, int64_t rows, Activations out) {
  pool_.Run(rows,
            [&](int64_t row, int) { kernels_.softmax(x.data + row * x.width, x.width, out.data + row * out.width); });
  return Status();
}

Status CpuBackend::Add(const float* a, const float* b, int64_t count, float* out) {
  Slices(count, kSliceElements,
         [&](int64_t begin, int64_t end) { kernels_.add(a + begin, b + begin, end - begin, out + begin); });
  return Status();
}

Status CpuBackend::Temperature(const float* logits, int64_t count, float temperature, float* out) {
  if (temperature == 0.0f) {
    if (out != logits) std::memcpy(out, logits, static_cast<size_t>(count) * sizeof(float));
    return Status();
  }
  Slices(count, kSliceElements,
         [&](int64_t begin, int64_t end) { kernels_.divide(logits + begin, temperature, end - begin, out + begin); });
  return Status();
}

}  // namespace touchstone::cpu
