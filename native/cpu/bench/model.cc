#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../../core/formats.h"
#include "../../core/numerics.h"
#include "../cpu.h"
#include "bench.h"

namespace touchstone {
namespace {

constexpr int kLayers = 24, kWidth = 896, kHeads = 14, kKvHeads = 2, kHeadDim = 64, kHidden = 4864, kVocab = 151936;
constexpr int kKvWidth = kKvHeads * kHeadDim, kContext = 4608, kMaxRows = 512;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Layer {
  Weight attention_norm, query, key, value, query_bias, kv_bias, output, feed_norm, gate, up, down;
};

}  // namespace
}  // namespace touchstone

struct bench_model {
  std::unique_ptr<touchstone::Backend> backend;
  touchstone::Layer layers[touchstone::kLayers];
  touchstone::Weight table, norm;
  touchstone::Buffer buffers[8];
  touchstone::KvLayout kv;
  std::vector<float> cos, sin;
  std::vector<int32_t> blocks;
  std::vector<uint8_t> random;
  uint64_t weight_bytes = 0;
  double operations = 0.0;
  double load_seconds = 0.0;
};

namespace touchstone {
namespace {

// Loads a tensor of random values, 16 rows or more at a time, as the model loader does.
Status Load(bench_model* model, int dtype, int64_t rows, int64_t columns, WeightUse use, Weight* weight) {
  Backend& backend = *model->backend;
  // As in real files, rows that are no multiple of 256 are stored in a format with blocks of 32.
  if (BlockShapeOf(dtype).elements != 0 && columns % BlockShapeOf(dtype).elements != 0) {
    dtype = dtype == TS_Q6_K ? TS_Q8_0 : TS_Q5_0;
  }
  weight->dtype = static_cast<ts_dtype>(dtype);
  weight->rows = rows;
  weight->columns = columns;
  uint64_t bytes = 0;
  TS_RETURN_IF_ERROR(backend.WeightBytes(weight->dtype, rows, columns, use, &bytes));
  TS_RETURN_IF_ERROR(backend.Allocate(TS_MEMORY_WEIGHTS, bytes, "weight", &weight->buffer));
  const int64_t row_bytes = columns / BlockShapeOf(dtype).elements * BlockShapeOf(dtype).bytes;
  const int64_t step = use == WeightUse::kVector ? rows : 512;
  const double begin = Seconds();
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    if (static_cast<uint64_t>(count * row_bytes) > model->random.size()) {
      return Status(TS_INTERNAL, "too few random bytes");
    }
    TS_RETURN_IF_ERROR(backend.LoadRows(*weight, use, model->random.data(), first, count));
  }
  model->load_seconds += Seconds() - begin;
  if (use != WeightUse::kVector) {
    model->weight_bytes += bytes;
    model->operations += 2.0 * static_cast<double>(rows * columns);
  }
  return Status();
}

Status Fill(bench_model* model, int dtype) {
  // Small random numbers in every format: each byte below 32 makes scales and values below 2^-6.
  std::mt19937 random(1);
  model->random.resize(size_t{512} * kHidden * 4);
  for (uint8_t& byte : model->random) byte = static_cast<uint8_t>(random() & 31);
  for (Layer& layer : model->layers) {
    TS_RETURN_IF_ERROR(Load(model, TS_F32, 1, kWidth, WeightUse::kVector, &layer.attention_norm));
    TS_RETURN_IF_ERROR(Load(model, TS_F32, 1, kWidth, WeightUse::kVector, &layer.feed_norm));
    TS_RETURN_IF_ERROR(Load(model, TS_F32, 1, kWidth, WeightUse::kVector, &layer.query_bias));
    TS_RETURN_IF_ERROR(Load(model, TS_F32, 1, kKvWidth, WeightUse::kVector, &layer.kv_bias));
    TS_RETURN_IF_ERROR(Load(model, dtype, kWidth, kWidth, WeightUse::kLinear, &layer.query));
    TS_RETURN_IF_ERROR(Load(model, dtype, kKvWidth, kWidth, WeightUse::kLinear, &layer.key));
    TS_RETURN_IF_ERROR(Load(model, dtype, kKvWidth, kWidth, WeightUse::kLinear, &layer.value));
    TS_RETURN_IF_ERROR(Load(model, dtype, kWidth, kWidth, WeightUse::kLinear, &layer.output));
    TS_RETURN_IF_ERROR(Load(model, dtype, kHidden, kWidth, WeightUse::kLinear, &layer.gate));
    TS_RETURN_IF_ERROR(Load(model, dtype, kHidden, kWidth, WeightUse::kLinear, &layer.up));
    TS_RETURN_IF_ERROR(Load(model, dtype, kWidth, kHidden, WeightUse::kLinear, &layer.down));
  }
  TS_RETURN_IF_ERROR(Load(model, TS_F32, 1, kWidth, WeightUse::kVector, &model->norm));
  // Quantised files keep the tied table in Q8_0.
  TS_RETURN_IF_ERROR(
      Load(model, IsQuantized(dtype) ? TS_Q8_0 : dtype, kVocab, kWidth, WeightUse::kTied, &model->table));
  const int64_t widths[8] = {kWidth, kWidth, kWidth, kKvWidth, kKvWidth, kHidden, kHidden, kVocab};
  for (int i = 0; i < 8; i++) {
    const int64_t rows = i == 7 ? 1 : kMaxRows;
    TS_RETURN_IF_ERROR(model->backend->Allocate(
        TS_MEMORY_ACTIVATIONS, static_cast<uint64_t>(rows * widths[i]) * sizeof(float), "rows", &model->buffers[i]));
  }
  model->kv.layers = kLayers;
  model->kv.kv_heads = kKvHeads;
  model->kv.head_dim = kHeadDim;
  constexpr int kBlocks = kContext / TS_KV_BLOCK_POSITIONS;
  for (int i = 0; i < kBlocks; i++) model->blocks.push_back(i);
  TS_RETURN_IF_ERROR(model->backend->Allocate(TS_MEMORY_KV, static_cast<uint64_t>(model->kv.BlockBytes() * kBlocks),
                                              "kv", &model->kv.pool));
  memset(model->kv.pool.data, 0, model->kv.pool.bytes);
  model->cos.assign(size_t{kContext} * kHeadDim / 2, 0.8f);
  model->sin.assign(model->cos.size(), 0.6f);
  return Status();
}

Status Evaluate(bench_model* model, int first, int count) {
  Backend& backend = *model->backend;
  std::vector<BatchRow> rows;
  for (int i = 0; i < count; i++) rows.push_back({(first + i) % kVocab, first + i, 0});
  const BatchSequence sequence{model->blocks.data(), static_cast<int32_t>(model->blocks.size())};
  const auto at = [&](int i) { return static_cast<float*>(model->buffers[i].data); };
  float *x = at(0), *normed = at(1), *q = at(2), *k = at(3), *v = at(4), *gate = at(5), *up = at(6), *logits = at(7);
  const RopeTables rope{model->cos.data(), model->sin.data(), kHeadDim, TS_POSITION_ROPE_NEOX};
  TS_RETURN_IF_ERROR(backend.BeginPass({rows, {&sequence, 1}}));
  TS_RETURN_IF_ERROR(backend.Embed(model->table, {x, kWidth}));
  for (int i = 0; i < kLayers; i++) {
    const Layer& layer = model->layers[i];
    TS_RETURN_IF_ERROR(
        backend.Norm(TS_NORM_RMS, 1e-6f, layer.attention_norm, nullptr, {x, kWidth}, count, {normed, kWidth}));
    const LinearTarget projections[] = {{&layer.query, &layer.query_bias, nullptr, q},
                                        {&layer.key, &layer.kv_bias, nullptr, k},
                                        {&layer.value, &layer.kv_bias, nullptr, v}};
    TS_RETURN_IF_ERROR(backend.Linear({normed, kWidth}, count, projections));
    TS_RETURN_IF_ERROR(backend.RopeAndStore(rope, model->kv, i, kHeads, q, k, v));
    TS_RETURN_IF_ERROR(backend.Attention(model->kv, i, kHeads, 0.125f, q, normed));
    const LinearTarget output{&layer.output, nullptr, x, x};
    TS_RETURN_IF_ERROR(backend.Linear({normed, kWidth}, count, {&output, 1}));
    TS_RETURN_IF_ERROR(
        backend.Norm(TS_NORM_RMS, 1e-6f, layer.feed_norm, nullptr, {x, kWidth}, count, {normed, kWidth}));
    const LinearTarget feeds[] = {{&layer.gate, nullptr, nullptr, gate}, {&layer.up, nullptr, nullptr, up}};
    TS_RETURN_IF_ERROR(backend.Linear({normed, kWidth}, count, feeds));
    TS_RETURN_IF_ERROR(backend.Activate(TS_ACTIVATION_SWIGLU, gate, up, int64_t{count} * kHidden, gate));
    const LinearTarget down{&layer.down, nullptr, x, x};
    TS_RETURN_IF_ERROR(backend.Linear({gate, kHidden}, count, {&down, 1}));
  }
  float* last = x + (count - 1) * kWidth;
  TS_RETURN_IF_ERROR(backend.Norm(TS_NORM_RMS, 1e-6f, model->norm, nullptr, {last, kWidth}, 1, {normed, kWidth}));
  const LinearTarget head{&model->table, nullptr, nullptr, logits};
  TS_RETURN_IF_ERROR(backend.Linear({normed, kWidth}, 1, {&head, 1}));
  SampleRequest request;
  request.sampling.repetition_penalty = 1.0f;
  request.sampling.top_p = 1.0f;
  TS_RETURN_IF_ERROR(backend.Sample({logits, kVocab}, {&request, 1}));
  return backend.EndPass();
}

}  // namespace
}  // namespace touchstone

bench_model* bench_open(int isa, int threads, int dtype, const char** error) {
  using namespace touchstone;
  static std::string text;
  auto model = std::make_unique<bench_model>();
  ts_context_options options{};
  options.struct_size = sizeof options;
  options.isa = isa;
  options.threads = static_cast<uint32_t>(threads);
  Status status = CpuDevices()[0]->Open(options, &model->backend);
  if (status.ok()) status = Fill(model.get(), dtype);
  if (!status.ok()) {
    text = status.message();
    *error = text.c_str();
    return nullptr;
  }
  return model.release();
}

void bench_close(bench_model* model) { delete model; }

uint64_t bench_weight_bytes(const bench_model* model) { return model->weight_bytes; }

double bench_load_seconds(const bench_model* model) { return model->load_seconds; }

double bench_token_operations(const bench_model* model) { return model->operations; }

double bench_step(bench_model* model, int first, int rows) {
  const double begin = touchstone::Seconds();
  if (first + rows > touchstone::kContext || rows > touchstone::kMaxRows) return -1.0;
  return touchstone::Evaluate(model, first, rows).ok() ? touchstone::Seconds() - begin : -1.0;
}

int bench_cores(void) { return static_cast<int>(touchstone::CpuDevices()[0]->Properties().multiprocessors); }
