#include <algorithm>
#include <memory>

#include "../../core/numerics.h"
#include "../cpu.h"
#include "../pool.h"
#include "checks.h"

namespace touchstone::cputest {
namespace {

Status Open(const Kernels& kernels, int threads, std::unique_ptr<Backend>* backend, uint64_t limit = 0,
            uint64_t fail = 0, bool poison = true) {
  ts_context_options options{};
  options.struct_size = sizeof options;
  options.threads = static_cast<uint32_t>(threads);
  options.isa = kernels.isa;
  options.memory_limit_bytes = limit;
  options.fail_allocation = fail;
  options.poison_memory = poison ? 1 : 0;
  return CpuDevices()[0]->Open(options, backend);
}

// A layer of a small model on a backend: embedding, norm, projections, rotary attention, gated feed-forward.
class Layer {
 public:
  static constexpr int kWidth = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kHidden = 96, kVocab = 50, kLength = 176;
  static constexpr int kKvWidth = kKvHeads * kHeadDim, kBlocks = 7, kLayers = 2;

  explicit Layer(uint64_t seed) : random_(seed) {}

  Status Load(Backend* backend, int dtype) {
    backend_ = backend;
    TS_RETURN_IF_ERROR(Tensor(dtype, kVocab, kWidth, WeightUse::kTied, &table_));
    TS_RETURN_IF_ERROR(Tensor(TS_F32, 1, kWidth, WeightUse::kVector, &norm_));
    TS_RETURN_IF_ERROR(Tensor(dtype, kWidth, kWidth, WeightUse::kLinear, &wq_));
    TS_RETURN_IF_ERROR(Tensor(dtype, kKvWidth, kWidth, WeightUse::kLinear, &wk_));
    TS_RETURN_IF_ERROR(Tensor(dtype, kKvWidth, kWidth, WeightUse::kLinear, &wv_));
    TS_RETURN_IF_ERROR(Tensor(TS_F32, 1, kKvWidth, WeightUse::kVector, &bias_));
    TS_RETURN_IF_ERROR(Tensor(dtype, kHidden, kWidth, WeightUse::kLinear, &gate_));
    TS_RETURN_IF_ERROR(Tensor(dtype, kHidden, kWidth, WeightUse::kLinear, &up_));
    TS_RETURN_IF_ERROR(Tensor(TS_Q8_0, kWidth, kHidden, WeightUse::kLinear, &down_));
    for (Buffer& buffer : buffers_) {
      TS_RETURN_IF_ERROR(backend->Allocate(TS_MEMORY_ACTIVATIONS, kLength * kHidden * sizeof(float), "rows", &buffer));
    }
    kv_.layers = kLayers;
    kv_.kv_heads = kKvHeads;
    kv_.head_dim = kHeadDim;
    TS_RETURN_IF_ERROR(
        backend->Allocate(TS_MEMORY_KV, static_cast<uint64_t>(kv_.BlockBytes() * kBlocks), "kv", &kv_.pool));
    cos_ = random_.Normals(kLength * kHeadDim / 2);
    sin_ = random_.Normals(cos_.size());
    return Status();
  }

  // Evaluates `rows` of two sequences and appends the logits of every row to *out.
  Status Pass(const std::vector<BatchRow>& rows, std::vector<float>* out) {
    static constexpr int32_t kFirst[] = {5, 1, 3, 6}, kSecond[] = {0, 2, 4};
    const BatchSequence sequences[] = {{kFirst, 4}, {kSecond, 3}};
    const auto count = static_cast<int64_t>(rows.size());
    float* x = At(0);
    float *normed = At(1), *q = At(2), *k = At(3), *v = At(4), *hidden = At(5), *gate = At(6), *logits = At(7);
    const RopeTables rope{cos_.data(), sin_.data(), kHeadDim, TS_POSITION_ROPE_NEOX};
    TS_RETURN_IF_ERROR(backend_->BeginPass({rows, sequences}));
    TS_RETURN_IF_ERROR(backend_->Embed(table_, {x, kWidth}));
    TS_RETURN_IF_ERROR(backend_->Norm(TS_NORM_RMS, 1e-5f, norm_, nullptr, {x, kWidth}, count, {normed, kWidth}));
    const LinearTarget projections[] = {
        {&wq_, nullptr, nullptr, q}, {&wk_, &bias_, nullptr, k}, {&wv_, &bias_, nullptr, v}};
    TS_RETURN_IF_ERROR(backend_->Linear({normed, kWidth}, count, projections));
    TS_RETURN_IF_ERROR(backend_->RopeAndStore(rope, kv_, 1, kHeads, q, k, v));
    TS_RETURN_IF_ERROR(backend_->Attention(kv_, 1, kHeads, 0.25f, q, normed));
    const LinearTarget feeds[] = {{&gate_, nullptr, nullptr, gate}, {&up_, nullptr, nullptr, hidden}};
    TS_RETURN_IF_ERROR(backend_->Linear({normed, kWidth}, count, feeds));
    TS_RETURN_IF_ERROR(backend_->Activate(TS_ACTIVATION_SWIGLU, gate, hidden, count * kHidden, hidden));
    const LinearTarget down{&down_, nullptr, x, x};
    TS_RETURN_IF_ERROR(backend_->Linear({hidden, kHidden}, count, {&down, 1}));
    const LinearTarget head{&table_, nullptr, nullptr, logits};
    TS_RETURN_IF_ERROR(backend_->Linear({x, kWidth}, count, {&head, 1}));
    TS_RETURN_IF_ERROR(backend_->EndPass());
    out->insert(out->end(), logits, logits + count * kVocab);
    return Status();
  }

 private:
  Status Tensor(int dtype, int64_t rows, int64_t columns, WeightUse use, Weight* weight) {
    weight->dtype = static_cast<ts_dtype>(dtype);
    weight->rows = rows;
    weight->columns = columns;
    uint64_t bytes = 0;
    TS_RETURN_IF_ERROR(backend_->WeightBytes(weight->dtype, rows, columns, use, &bytes));
    TS_RETURN_IF_ERROR(backend_->Allocate(TS_MEMORY_WEIGHTS, bytes, "weight", &weight->buffer));
    const std::vector<uint8_t> stored = RandomRows(random_, dtype, rows, columns);
    const int64_t step = backend_->LoadGranularity(weight->dtype, use);
    const int64_t row_bytes = static_cast<int64_t>(stored.size()) / rows;
    for (int64_t first = 0; first < rows; first += step) {
      TS_RETURN_IF_ERROR(
          backend_->LoadRows(*weight, use, stored.data() + first * row_bytes, first, std::min(step, rows - first)));
    }
    return Status();
  }

  float* At(int i) { return static_cast<float*>(buffers_[i].data); }

  Random random_;
  Backend* backend_ = nullptr;
  Weight table_, norm_, wq_, wk_, wv_, bias_, gate_, up_, down_;
  Buffer buffers_[8];
  KvLayout kv_;
  std::vector<float> cos_, sin_;
};

// Logits of 100 tokens of one sequence and 70 of another, evaluated in chunks; sorted by sequence and position.
Status Logits(const Kernels& kernels, int dtype, int threads, int chunk, std::vector<float>* out) {
  std::unique_ptr<Backend> backend;
  TS_RETURN_IF_ERROR(Open(kernels, threads, &backend));
  Layer layer(99);
  TS_RETURN_IF_ERROR(layer.Load(backend.get(), dtype));
  constexpr int kLengths[] = {100, 70};
  std::vector<float> logits[2];
  for (int begin = 0; begin < 100; begin += chunk) {
    std::vector<BatchRow> rows;
    int counts[2] = {0, 0};
    for (int sequence = 0; sequence < 2; sequence++) {
      for (int p = begin; p < std::min(begin + chunk, kLengths[sequence]); p++) {
        rows.push_back({(p * 7 + sequence * 13) % Layer::kVocab, p, sequence});
        counts[sequence]++;
      }
    }
    std::vector<float> both;
    TS_RETURN_IF_ERROR(layer.Pass(rows, &both));
    const auto split = both.begin() + counts[0] * Layer::kVocab;
    logits[0].insert(logits[0].end(), both.begin(), split);
    logits[1].insert(logits[1].end(), split, both.end());
  }
  *out = logits[0];
  out->insert(out->end(), logits[1].begin(), logits[1].end());
  return Status();
}

}  // namespace

std::string CheckPass(const Kernels& kernels, int, Random&) {
  for (int dtype : {TS_F32, TS_F16, TS_Q8_0, TS_Q4_1}) {
    std::vector<float> want;
    Status status = Logits(cpu::ScalarKernels(), dtype, 1, 100, &want);
    if (!status.ok()) return status.message();
    for (float value : want) {
      if (!IsFinite(value)) return "the logits of the small layer are not finite";
    }
    constexpr struct { int threads, chunk; } kVariants[] = {{1, 1}, {1, 100}, {2, 37}, {3, 5}, {8, 32}, {8, 100}};
    for (const auto& variant : kVariants) {
      std::vector<float> got;
      status = Logits(kernels, dtype, variant.threads, variant.chunk, &got);
      if (!status.ok()) return status.message();
      const std::string report = Compare("format " + std::to_string(dtype) + ", " + std::to_string(variant.threads) +
                                             " threads, chunks of " + std::to_string(variant.chunk),
                                         got.data(), want.data(), want.size());
      if (!report.empty()) return report;
    }
  }
  return "";
}

std::string CheckPool(const Kernels&, int, Random& random) {
  for (int threads : {1, 2, 3, 8}) {
    cpu::Pool pool;
    if (!pool.Start(threads)) return "the system refuses " + std::to_string(threads) + " threads";
    std::vector<int> runs(300);
    for (int round = 0; round < 2000; round++) {
      const auto tasks = static_cast<int64_t>(random.Below(300));
      std::fill(runs.begin(), runs.end(), 0);
      pool.Run(tasks, [&](int64_t task, int) { runs[task]++; });
      for (int64_t i = 0; i < 300; i++) {
        if (runs[i] != (i < tasks ? 1 : 0)) {
          return "task " + std::to_string(i) + " of " + std::to_string(tasks) + " ran " + std::to_string(runs[i]) +
                 " times on " + std::to_string(threads) + " threads";
        }
      }
    }
  }
  return "";
}

std::string CheckMemory(const Kernels& kernels, int, Random&) {
  std::unique_ptr<Backend> backend;
  Status status = Open(kernels, 2, &backend, 10000, 3);
  if (!status.ok()) return status.message();
  Buffer a, b;
  if (!backend->Allocate(TS_MEMORY_KV, 1000, "a", &a).ok()) return "the first allocation failed";
  if (reinterpret_cast<uintptr_t>(a.data) % 256 != 0) return "a block is not aligned to 256 bytes";
  if (static_cast<const uint8_t*>(a.data)[999] != 0xff) return "fresh memory is not poisoned";
  status = backend->Allocate(TS_MEMORY_WEIGHTS, 9001, "b", &b);
  if (status.code() != TS_OUT_OF_MEMORY || status.required() != 9001 || status.available() != 9000) {
    return "an allocation beyond the limit is not refused with its bytes";
  }
  if (backend->Allocate(TS_MEMORY_WEIGHTS, 1, "b", &b).code() != TS_OUT_OF_MEMORY) {
    return "the third allocation does not fail as asked";
  }
  if (!backend->Allocate(TS_MEMORY_WEIGHTS, 9000, "b", &b).ok()) return "an allocation up to the limit failed";
  ts_memory_stats stats = backend->Memory();
  if (stats.block_count != 2 || stats.kv_bytes != 1000 || stats.weights_bytes != 9000 || stats.peak_bytes != 10000 ||
      stats.allocations != 2) {
    return "the sums of the ledger are wrong";
  }
  if (backend->Upload(a, 990, "0123456789x", 11).code() != TS_INVALID_ARGUMENT)
    return "an upload past the end succeeds";
  backend->Free(&a);
  backend->Free(&b);
  stats = backend->Memory();
  if (stats.block_count != 0 || stats.kv_bytes != 0 || stats.peak_bytes != 10000)
    return "freed blocks stay in the ledger";

  // What the backend reserves for itself goes with the last block of the others.
  status = Open(kernels, 2, &backend);
  if (!status.ok()) return status.message();
  {
    Layer layer(1);
    status = layer.Load(backend.get(), TS_Q8_0);
    std::vector<float> logits;
    if (status.ok()) status = layer.Pass({{1, 0, 0}, {2, 1, 0}}, &logits);
    if (!status.ok()) return status.message();
    const uint64_t before = backend->Memory().allocations;
    for (int i = 2; i < 20 && status.ok(); i++) status = layer.Pass({{i, i, 0}}, &logits);
    if (!status.ok() || backend->Memory().allocations != before) return "a decode pass allocates memory";
    for (const ts_memory_block& block : backend->Blocks()) {
      if (std::string(block.label).rfind("cpu.", 0) == 0) continue;
      Buffer buffer{reinterpret_cast<void*>(block.address), block.bytes, block.id};
      backend->Free(&buffer);
    }
  }
  if (backend->Memory().block_count != 0) return "the backend keeps its working memory";
  return "";
}

std::string CheckSample(const Kernels& kernels, int, Random& random) {
  std::unique_ptr<Backend> backend;
  Status status = Open(kernels, 1, &backend);
  if (!status.ok()) return status.message();
  constexpr int64_t kVocab = 1000;
  for (int round = 0; round < 300; round++) {
    std::vector<float> logits = random.Normals(kVocab, 6.0f);
    for (int i = 0; i < 200; i++) logits[random.Below(kVocab)] = std::round(random.Normal() * 6.0f);  // ties
    const int32_t history[] = {static_cast<int32_t>(random.Below(kVocab)), 3, 3};
    SampleRequest request;
    request.sampling.temperature = round % 5 == 0 ? 0.0f : 0.2f + 0.1f * static_cast<float>(random.Below(15));
    request.sampling.top_k = round % 3 == 0 ? 0 : 1 + random.Below(200);
    request.sampling.top_p = round % 2 == 0 ? 1.0f : 0.05f * static_cast<float>(random.Below(20));
    request.sampling.min_p = round % 4 == 0 ? 0.1f : 0.0f;
    request.sampling.repetition_penalty = round % 6 == 0 ? 1.0f : 1.3f;
    request.sampling.seed = 0x123456789abcdef0u + static_cast<uint64_t>(round);
    request.sampling.top_logprobs = 5;
    request.position = static_cast<uint32_t>(round);
    request.history = history;
    int32_t top[5];
    float top_logprobs[5];
    std::vector<float> probabilities(kVocab);
    request.top_tokens = top;
    request.top_logprobs = top_logprobs;
    request.probabilities = probabilities.data();
    status = backend->Sample({logits.data(), kVocab}, {&request, 1});
    if (!status.ok()) return status.message();

    // The same by sorting everything.
    std::vector<float> scaled(logits);
    if (request.sampling.repetition_penalty != 1.0f) {
      for (int i = history[0] == 3 ? 1 : 0; i < 2; i++) {
        float& logit = scaled[history[i]];
        logit = logit > 0.0f ? logit / 1.3f : logit * 1.3f;
      }
    }
    std::vector<int32_t> order(kVocab);
    for (int32_t i = 0; i < kVocab; i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return scaled[a] > scaled[b]; });
    std::vector<uint64_t> weights(kVocab, 0);
    uint64_t total = 0;
    if (request.sampling.temperature == 0.0f) {
      weights[order[0]] = total = 1;
    } else {
      for (float& logit : scaled) logit = logit / request.sampling.temperature;
      const float largest = scaled[order[0]];
      const int64_t limit = request.sampling.top_k == 0 ? kVocab : request.sampling.top_k;
      uint64_t sum = 0, so_far = 0;
      for (int64_t i = 0; i < limit; i++) sum += ProbabilityWeight(scaled[order[i]] - largest);
      const auto wanted = static_cast<uint64_t>(static_cast<double>(request.sampling.top_p) * static_cast<double>(sum));
      for (int64_t i = 0; i < limit; i++) {
        const uint64_t weight = ProbabilityWeight(scaled[order[i]] - largest);
        so_far += weight;
        if (Exp(scaled[order[i]] - largest) >= request.sampling.min_p) {
          weights[order[i]] = weight;
          total += weight;
        }
        if (request.sampling.top_p < 1.0f && so_far >= wanted) break;
      }
    }
    const uint32_t word = DrawWord(request.sampling.seed, request.position);
    const auto point = static_cast<uint64_t>((static_cast<unsigned __int128>(total) * word) >> 32);
    int32_t token = -1;
    uint64_t sum = 0;
    for (int32_t i = 0; i < kVocab && token < 0; i++) {
      sum += weights[i];
      if (sum > point) token = i;
    }
    if (request.token != token) {
      return "round " + std::to_string(round) + ": token " + std::to_string(request.token) + ", expected " +
             std::to_string(token);
    }
    for (int64_t i = 0; i < kVocab; i++) {
      const float want = static_cast<float>(weights[i]) / static_cast<float>(total);
      const std::string report = Compare("probability of token " + std::to_string(i), &probabilities[i], &want, 1);
      if (!report.empty()) return report;
    }
    std::vector<int32_t> plain(kVocab);
    for (int32_t i = 0; i < kVocab; i++) plain[i] = i;
    std::stable_sort(plain.begin(), plain.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (int i = 0; i < 5; i++) {
      if (top[i] != plain[i]) return "the likeliest tokens are wrong";
    }
    double exact = 0.0;
    for (float logit : logits) exact += std::exp(static_cast<double>(logit) - static_cast<double>(logits[top[0]]));
    if (std::fabs(static_cast<double>(top_logprobs[0]) + std::log(exact)) > 1e-6) return "a log-probability is wrong";
  }
  SampleRequest request;
  const float broken[2] = {0.0f, NAN};
  if (backend->Sample({const_cast<float*>(broken), 2}, {&request, 1}).code() != TS_INFERENCE_FAILED) {
    return "a NaN among the logits is not reported";
  }
  // Known answers of Philox4x32-10, published with the paper's reference implementation (Random123).
  const PhiloxWords zero = Philox({{0, 0, 0, 0}}, 0, 0);
  const PhiloxWords ones = Philox({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u);
  const uint32_t want[8] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u,
                            0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
  for (int i = 0; i < 4; i++) {
    if (zero.word[i] != want[i] || ones.word[i] != want[4 + i]) return "Philox misses its known answers";
  }
  return "";
}

}  // namespace touchstone::cputest
