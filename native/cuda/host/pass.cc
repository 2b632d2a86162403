// The operations of a pass: each becomes a value and is queued.
#include <algorithm>
#include <bit>
#include <cstring>

#include "../../core/formats.h"
#include "../linear.h"
#include "backend.h"

namespace touchstone::cuda {

namespace {

const float* Floats(const Weight& weight) { return static_cast<const float*>(weight.buffer.data); }
const float* Floats(const Weight* weight) { return weight != nullptr ? Floats(*weight) : nullptr; }
const uint8_t* Bytes(const Weight& weight) { return static_cast<const uint8_t*>(weight.buffer.data); }

Cache CacheOf(const KvLayout& kv, int32_t layer) {
  Cache cache;
  cache.pool = static_cast<uint16_t*>(kv.pool.data);
  cache.block_stride = kv.BlockBytes() / 2;
  cache.half_block = kv.HalfBlockElements();
  cache.layer_offset = int64_t{layer} * 2 * cache.half_block;
  cache.kv_heads = kv.kv_heads;
  cache.head_dim = kv.head_dim;
  return cache;
}

}  // namespace

Status CudaBackend::BeginPass(const Batch& batch) {
  TS_RETURN_IF_ERROR(Flush());
  const size_t rows = batch.rows.size();
  longest_ = 0;
  apart_ = std::adjacent_find(batch.rows.begin(), batch.rows.end(), [](const BatchRow& a, const BatchRow& b) {
             return a.sequence == b.sequence;
           }) == batch.rows.end();
  indices_used_ = 0;
  std::vector<int32_t> image;
  try {
    constexpr size_t kInts = sizeof(Row) / sizeof(int32_t);
    std::vector<int32_t> starts;
    size_t ints = rows * kInts;
    for (const BatchSequence& sequence : batch.sequences) {
      starts.push_back(static_cast<int32_t>(ints));
      ints += static_cast<size_t>(sequence.block_count);
    }
    image.reserve(ints);
    for (const BatchRow& row : batch.rows) {
      image.insert(image.end(), {row.token, row.position, starts[static_cast<size_t>(row.sequence)]});
      longest_ = std::max<int64_t>(longest_, row.position + 1);
    }
    for (const BatchSequence& sequence : batch.sequences) {
      image.insert(image.end(), sequence.blocks, sequence.blocks + sequence.block_count);
    }
  } catch (const std::bad_alloc&) {
    return Status(TS_OUT_OF_MEMORY, "the host has no memory for the rows of a pass");
  }
  constexpr uint64_t kLeast = 65536;
  TS_RETURN_IF_ERROR(
      Reserve(std::max<uint64_t>(kLeast, image.size() * sizeof(int32_t)), "cuda.batch", &working_.batch));
  batch_.rows = static_cast<const Row*>(working_.batch.data);
  batch_.tables = static_cast<const int32_t*>(working_.batch.data);
  batch_.count = static_cast<int32_t>(rows);
  return FromGpu(gpu::CopyToDevice(working_.batch.data, image.data(), image.size() * sizeof(int32_t), stream_));
}

Status CudaBackend::EndPass() {
  const Status status = Flush();
  batch_ = DeviceBatch();
  return status;
}

Status CudaBackend::Embed(const Weight& table, Activations out) {
  if (batch_.count == 0) return Status();
  EmbedOp op;
  op.batch = batch_;
  op.table = Bytes(table);
  op.out = out.data;
  op.width = table.columns;
  op.dtype = table.dtype;
  return Push(op);
}

Status CudaBackend::AddPositions(const Weight& table, Activations out) {
  if (batch_.count == 0) return Status();
  EmbedOp op;
  op.batch = batch_;
  op.table = Bytes(table);
  op.out = out.data;
  op.width = table.columns;
  op.dtype = table.dtype;
  op.add_positions = true;
  return Push(op);
}

Status CudaBackend::Norm(ts_norm_kind kind, float epsilon, const Weight& weight, const Weight* bias, Activations x,
                         int64_t rows, Activations out) {
  if (rows == 0) return Status();
  NormOp op;
  op.x = x.data;
  op.weight = Floats(weight);
  op.bias = Floats(bias);
  op.out = out.data;
  op.width = x.width;
  op.rows = rows;
  op.epsilon = epsilon;
  op.kind = kind;
  return Push(op);
}

Status CudaBackend::Linear(Activations x, int64_t rows, std::span<const LinearTarget> targets) {
  if (rows == 0) return Status();
  const bool fast = fast_ != nullptr && rows > kFewRows;
  uint64_t scratch = 0;
  for (const LinearTarget& target : targets) {
    if (fast) break;
    scratch = std::max(scratch, LinearScratchBytes(target.weight->dtype, target.weight->columns, rows));
  }
  if (scratch != 0) TS_RETURN_IF_ERROR(Reserve(scratch, "cuda.linear_inputs", &working_.linear));
  for (size_t first = 0; first < targets.size();) {
    LinearOp op;
    op.x = x.data;
    op.inputs = x.width;
    op.rows = rows;
    op.dtype = targets[first].weight->dtype;
    op.scratch = scratch != 0 ? working_.linear.data : nullptr;
    for (; first < targets.size() && op.target_count < kMaxTargets; first++) {
      const LinearTarget& from = targets[first];
      if (from.weight->dtype != op.dtype) break;
      Target& target = op.targets[op.target_count++];
      target.weight = Bytes(*from.weight);
      target.bias = Floats(from.bias);
      target.residual = from.residual;
      target.out = from.out;
      target.outputs = from.weight->rows;
    }
    if (fast) {
      TS_RETURN_IF_ERROR(Flush());
      TS_RETURN_IF_ERROR(fast_->Run(op));
      continue;
    }
    FuseNorm(&op);
    TS_RETURN_IF_ERROR(Push(op));
  }
  return Status();
}

Status CudaBackend::RopeAndStore(const RopeTables& rope, const KvLayout& kv, int32_t layer, int32_t heads, float* q,
                                 float* k, const float* v) {
  if (batch_.count == 0) return Status();
  RopeStoreOp op;
  op.batch = batch_;
  op.cache = CacheOf(kv, layer);
  op.cos = rope.cos;
  op.sin = rope.sin;
  op.q = q;
  op.k = k;
  op.v = v;
  op.dims = rope.dims;
  op.kind = rope.kind;
  op.heads = heads;
  return Push(op);
}

Status CudaBackend::Attention(const KvLayout& kv, int32_t layer, int32_t heads, float scale, const float* q,
                              float* out) {
  AttentionOp op;
  op.batch = batch_;
  op.cache = CacheOf(kv, layer);
  op.q = q;
  op.out = out;
  op.heads = heads;
  op.scale = scale;
  // A power of two, so that passes of growing sequences are equal for a while.
  constexpr int64_t kLeastStride = 512;
  op.score_stride = std::max(kLeastStride, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(longest_))));
  int64_t step = batch_.count;
  if (op.score_stride > kSharedScores) {
    constexpr uint64_t kScratchBytes = uint64_t{64} << 20;
    const uint64_t row_bytes = static_cast<uint64_t>(heads * op.score_stride) * sizeof(float);
    step = std::clamp<int64_t>(static_cast<int64_t>(kScratchBytes / row_bytes), 1, std::max(1, batch_.count));
    TS_RETURN_IF_ERROR(Reserve(static_cast<uint64_t>(step) * row_bytes, "cuda.scores", &working_.scores));
    op.scores = static_cast<float*>(working_.scores.data);
  }
  for (int64_t first = 0; first < batch_.count; first += step) {
    op.first = static_cast<int32_t>(first);
    op.count = static_cast<int32_t>(std::min<int64_t>(step, batch_.count - first));
    FuseStore(&op);
    TS_RETURN_IF_ERROR(Push(op));
  }
  return Status();
}

Status CudaBackend::Activate(ts_activation_kind kind, const float* gate, const float* up, int64_t count, float* out) {
  if (count == 0) return Status();
  ActivateOp op;
  op.gate = gate;
  op.up = up;
  op.out = out;
  op.count = count;
  op.kind = kind;
  return FuseActivation(op) ? Status() : Push(op);
}

Status CudaBackend::GatherRows(Activations x, std::span<const int32_t> rows, Activations out) {
  if (rows.empty()) return Status();
  GatherOp op;
  TS_RETURN_IF_ERROR(UploadIndices(rows, &op.rows));
  op.x = x.data;
  op.out = out.data;
  op.width = x.width;
  op.count = static_cast<int64_t>(rows.size());
  return Push(op);
}

// --- sampling

Status CudaBackend::ChooseOne(const float* logits, int64_t width, int64_t index, SampleRequest* request) {
  // The scratch of SampleOp, one after another, each aligned to 256.
  const auto room = [](uint64_t bytes) { return (bytes + 255) / 256 * 256; };
  const auto elements = static_cast<uint64_t>(width);
  const uint64_t scaled = room(SamplePartialBytes()), weights = scaled + room(4 * elements);
  const uint64_t result = weights + room(8 * elements);
  TS_RETURN_IF_ERROR(Reserve(result + sizeof(SampleResult), "cuda.sampling", &working_.sample));
  auto* scratch = static_cast<uint8_t*>(working_.sample.data);
  const ts_sampling& sampling = request->sampling;
  SampleOp op;
  op.logits = logits;
  op.partials = scratch;
  op.scaled = reinterpret_cast<float*>(scratch + scaled);
  op.weights = reinterpret_cast<unsigned long long*>(scratch + weights);
  op.result = reinterpret_cast<SampleResult*>(scratch + result);
  op.width = width;
  op.seed = sampling.seed;
  op.position = request->position;
  op.top_k = sampling.top_k;
  op.temperature = sampling.temperature;
  op.top_p = sampling.top_p;
  op.min_p = sampling.min_p;
  op.penalty = sampling.repetition_penalty;
  const bool report = request->top_tokens != nullptr && request->top_logprobs != nullptr;
  op.top = report ? sampling.top_logprobs : 0;
  if (op.top > kMaxTop) {
    return Status(TS_INVALID_ARGUMENT, "top_logprobs is " + std::to_string(op.top) + "; at most " +
                                           std::to_string(kMaxTop) + " are possible");
  }
  if (op.penalty != 1.0f && !request->history.empty()) {
    TS_RETURN_IF_ERROR(Reserve(request->history.size_bytes(), "cuda.history", &working_.history));
    op.history = static_cast<const int32_t*>(working_.history.data);
    op.history_count = static_cast<int64_t>(request->history.size());
    TS_RETURN_IF_ERROR(FromGpu(
        gpu::CopyToDevice(working_.history.data, request->history.data(), request->history.size_bytes(), stream_)));
  }
  if (request->probabilities != nullptr) {
    TS_RETURN_IF_ERROR(Reserve(4 * elements, "cuda.probabilities", &working_.probabilities));
    op.probabilities = static_cast<float*>(working_.probabilities.data);
  }
  TS_RETURN_IF_ERROR(RunNow(op));
  SampleResult chosen;
  TS_RETURN_IF_ERROR(Download(&chosen, working_.sample, result, sizeof chosen));
  if (chosen.finite == 0) {
    return Status(TS_INFERENCE_FAILED, "the logits of row " + std::to_string(index) +
                                           " hold NaN or an infinity; the model's weights are likely damaged");
  }
  request->token = chosen.token;
  request->logprob = chosen.logprob;
  std::copy_n(chosen.top_tokens, op.top, request->top_tokens);
  std::copy_n(chosen.top_logprobs, op.top, request->top_logprobs);
  if (request->probabilities == nullptr) return Status();
  return Download(request->probabilities, working_.probabilities, 0, 4 * elements);
}

Status CudaBackend::Sample(Activations logits, std::span<SampleRequest> requests) {
  for (size_t i = 0; i < requests.size(); i++) {
    const auto row = static_cast<int64_t>(i);
    TS_RETURN_IF_ERROR(ChooseOne(logits.data + row * logits.width, logits.width, row, &requests[i]));
  }
  return Status();
}

// --- single operations

Status CudaBackend::Rope(const RopeTables& rope, int32_t heads, int32_t head_dim, std::span<const int32_t> positions,
                         float* x) {
  if (positions.empty()) return Status();
  RopeOp op;
  TS_RETURN_IF_ERROR(UploadIndices(positions, &op.positions));
  op.cos = rope.cos;
  op.sin = rope.sin;
  op.x = x;
  op.dims = rope.dims;
  op.kind = rope.kind;
  op.heads = heads;
  op.head_dim = head_dim;
  op.rows = static_cast<int32_t>(positions.size());
  return RunNow(op);
}

Status CudaBackend::Softmax(Activations x, int64_t rows, Activations out) {
  if (rows == 0) return Status();
  SoftmaxOp op;
  op.x = x.data;
  op.out = out.data;
  op.width = x.width;
  op.rows = rows;
  return RunNow(op);
}

Status CudaBackend::Add(const float* a, const float* b, int64_t count, float* out) {
  if (count == 0) return Status();
  AddOp op;
  op.a = a;
  op.b = b;
  op.out = out;
  op.count = count;
  return RunNow(op);
}

Status CudaBackend::Temperature(const float* logits, int64_t count, float temperature, float* out) {
  if (count == 0) return Status();
  TemperatureOp op;
  op.x = logits;
  op.out = out;
  op.count = count;
  op.temperature = temperature;
  return RunNow(op);
}

}  // namespace touchstone::cuda
