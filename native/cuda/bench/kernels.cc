// Times each kernel of a decode pass of the 0.5B shape by itself: many launches in one graph, each on weights of its
// own so that the cache does not help, beside a plain copy on the device.
//   kernels [format]
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../../core/formats.h"
#include "../ops.h"

namespace {

namespace cuda = touchstone::cuda;

constexpr int64_t kWidth = 896, kHidden = 4864, kVocab = 151936, kHeads = 14, kKvHeads = 2, kHeadDim = 64;
constexpr int kLayers = 24;

void Check(const gpu::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.text);
  std::exit(1);
}

struct Bench {
  gpu::Device* device = nullptr;
  gpu::Stream* stream = nullptr;
  gpu::Event *start = nullptr, *end = nullptr;

  Bench() {
    Check(gpu::OpenDevice(0, &device));
    Check(gpu::CreateStream(device, &stream));
    Check(gpu::CreateEvent(device, &start));
    Check(gpu::CreateEvent(device, &end));
  }

  template <class T>
  T* Zeros(int64_t count) {
    void* memory = nullptr;
    Check(gpu::Allocate(device, static_cast<size_t>(count) * sizeof(T), &memory));
    Check(gpu::Fill(memory, 0, static_cast<size_t>(count) * sizeof(T), stream));
    return static_cast<T*>(memory);
  }

  template <class T>
  T* Upload(const std::vector<T>& values) {
    T* memory = Zeros<T>(static_cast<int64_t>(values.size()));
    Check(gpu::CopyToDevice(memory, values.data(), values.size() * sizeof(T), stream));
    return memory;
  }

  // Microseconds of one of `count` launches.
  double Time(int count, const std::function<gpu::Status(int)>& launch) {
    gpu::Graph* graph = nullptr;
    Check(gpu::BeginCapture(stream));
    for (int i = 0; i < count; i++) Check(launch(i));
    Check(gpu::EndCapture(stream, &graph));
    float best = 1e30f;
    for (int run = 0; run < 8; run++) {
      float milliseconds = 0;
      Check(gpu::Record(start, stream));
      Check(gpu::LaunchGraph(graph, stream));
      Check(gpu::Record(end, stream));
      Check(gpu::Synchronize(end));
      Check(gpu::ElapsedMs(start, end, &milliseconds));
      best = milliseconds < best ? milliseconds : best;
    }
    Check(gpu::DestroyGraph(graph));
    return double(best) * 1e3 / count;
  }
};

void Report(const std::string& name, double microseconds, double bytes) {
  std::printf("%-34s %9.2f us %9.1f GB/s\n", name.c_str(), microseconds, bytes * 1e-3 / microseconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, int> formats = {
      {"F32", TS_F32},   {"F16", TS_F16},   {"BF16", TS_BF16}, {"Q8_0", TS_Q8_0}, {"Q4_0", TS_Q4_0}, {"Q4_1", TS_Q4_1},
      {"Q5_0", TS_Q5_0}, {"Q5_1", TS_Q5_1}, {"Q4_K", TS_Q4_K}, {"Q5_K", TS_Q5_K}, {"Q6_K", TS_Q6_K}};
  const auto format = formats.find(argc > 1 ? argv[1] : "F16");
  if (format == formats.end()) {
    std::fprintf(stderr, "usage: kernels [F32|F16|BF16|Q8_0|Q4_0|Q4_1|Q5_0|Q5_1|Q4_K|Q5_K|Q6_K]\n");
    return 1;
  }
  const int dtype = format->second;
  // Rows of whole blocks: 896 columns are none of the K formats, whose blocks hold 256.
  const bool k_format = touchstone::BlockShapeOf(dtype).elements == 256;
  const int64_t width = k_format ? 1024 : kWidth;
  Bench bench;
  std::printf("%s\n", format->first.c_str());

  constexpr int64_t kCopyBytes = int64_t{1} << 30;
  uint8_t *from = bench.Zeros<uint8_t>(kCopyBytes), *to = bench.Zeros<uint8_t>(kCopyBytes);
  float copy_ms = 0, best_ms = 1e30f;
  for (int i = 0; i < 5; i++) {
    Check(gpu::Record(bench.start, bench.stream));
    Check(gpu::CopyOnDevice(to, from, kCopyBytes, bench.stream));
    Check(gpu::Record(bench.end, bench.stream));
    Check(gpu::Synchronize(bench.end));
    Check(gpu::ElapsedMs(bench.start, bench.end, &copy_ms));
    best_ms = copy_ms < best_ms ? copy_ms : best_ms;
  }
  Report("copy of 1 GiB, read and written", double(best_ms) * 1e3, 2.0 * kCopyBytes);
  Check(gpu::Release(bench.device, from));
  Check(gpu::Release(bench.device, to));

  float* x = bench.Zeros<float>(512 * kHidden);
  float* y = bench.Zeros<float>(512 * kHidden);
  float* z = bench.Zeros<float>(512 * kHidden);
  float* ones = bench.Zeros<float>(kHidden);
  float* logits = bench.Zeros<float>(kVocab);
  cuda::NormOp norm;
  norm.x = x;
  norm.weight = ones;
  norm.out = z;
  norm.width = width;
  norm.rows = 1;
  norm.epsilon = 1e-6f;

  const auto linear = [&](const std::string& name, int64_t inputs, const std::vector<int64_t>& outputs, int copies,
                          bool normed, bool activated, int64_t rows) {
    std::vector<cuda::LinearOp> ops(static_cast<size_t>(copies));
    double bytes = 0;
    for (cuda::LinearOp& op : ops) {
      op.inputs = inputs;
      op.rows = rows;
      op.dtype = dtype;
      op.x = normed ? z : x;
      if (normed) op.norm = norm;
      bytes = 0;
      for (int64_t output : outputs) {
        cuda::Target& target = op.targets[op.target_count++];
        const auto size = static_cast<int64_t>(cuda::PackedBytes(dtype, output, inputs));
        target.weight = bench.Zeros<uint8_t>(size);
        target.out = output == kVocab ? logits : y;
        target.outputs = output;
        bytes += double(size);
      }
      if (activated) op.activated = y;
      const uint64_t scratch = cuda::LinearScratchBytes(dtype, inputs, rows);
      if (scratch != 0) op.scratch = bench.Zeros<uint8_t>(static_cast<int64_t>(scratch));
    }
    Report(name, bench.Time(copies, [&](int i) { return cuda::Run(ops[size_t(i)], bench.stream); }), bytes);
    if (rows > 1) {
      const double us = bench.Time(copies, [&](int i) { return cuda::Run(ops[size_t(i)], bench.stream); });
      std::printf("%34s %9.2f TFLOP/s\n", "", bytes == 0 ? 0 : 2e-6 * double(rows * inputs) * double(outputs[0]) / us);
    }
    for (const cuda::LinearOp& op : ops) {
      for (int i = 0; i < op.target_count; i++) {
        Check(gpu::Release(bench.device, const_cast<uint8_t*>(op.targets[i].weight)));
      }
      Check(gpu::Release(bench.device, op.scratch));
    }
  };
  linear("norm, q k v", width, {kHeads * kHeadDim, kKvHeads * kHeadDim, kKvHeads * kHeadDim}, kLayers, true, false, 1);
  linear("q k v", width, {kHeads * kHeadDim, kKvHeads * kHeadDim, kKvHeads * kHeadDim}, kLayers, false, false, 1);
  linear("attention output", width, {width}, kLayers, false, false, 1);
  linear("norm, gate and up, swiglu", width, {kHidden, kHidden}, kLayers, true, true, 1);
  linear("down", kHidden, {width}, kLayers, false, false, 1);
  linear("norm, head", width, {kVocab}, 4, true, false, 1);
  linear("down, 8 rows", kHidden, {width}, kLayers, false, false, 8);
  linear("down, 512 rows", kHidden, {width}, kLayers, false, false, 512);
  linear("up, 512 rows", width, {kHidden}, kLayers, false, false, 512);

  for (const int32_t length : {32, 256, 1024, 4096}) {
    const int32_t blocks = length / 32;
    cuda::Cache cache;
    cache.half_block = kKvHeads * kHeadDim * 32;
    cache.block_stride = 2 * cache.half_block * kLayers;
    cache.kv_heads = kKvHeads;
    cache.head_dim = kHeadDim;
    cache.pool = bench.Zeros<uint16_t>(cache.block_stride * blocks);
    std::vector<int32_t> batch = {0, length - 1, 3};
    for (int32_t i = 0; i < blocks; i++) batch.push_back(i);
    cuda::DeviceBatch device_batch;
    device_batch.tables = bench.Upload(batch);
    device_batch.rows = reinterpret_cast<const cuda::Row*>(device_batch.tables);
    device_batch.count = 1;
    cuda::AttentionOp op;
    op.batch = device_batch;
    op.q = x;
    op.out = y;
    op.count = 1;
    op.heads = kHeads;
    op.scale = 0.125f;
    op.score_stride = length < 512 ? 512 : length;
    const double bytes = 4.0 * kKvHeads * kHeadDim * length;
    const auto layered = [&](int i) {
      cuda::Cache layer = cache;
      layer.layer_offset = 2 * cache.half_block * i;
      return layer;
    };
    Report("attention over " + std::to_string(length),
           bench.Time(kLayers,
                      [&](int i) {
                        op.cache = layered(i);
                        return cuda::Run(op, bench.stream);
                      }),
           bytes);
    if (length == 32) {
      cuda::RopeStoreOp rope;
      rope.batch = device_batch;
      rope.cos = rope.sin = ones;
      rope.q = y;
      rope.k = z;
      rope.v = x;
      rope.heads = kHeads;
      rope.cache = cache;
      rope.dims = 0;
      Report("store k and v", bench.Time(kLayers, [&](int) { return cuda::Run(rope, bench.stream); }), 1024);
    }
    Check(gpu::Release(bench.device, cache.pool));
    Check(gpu::Release(bench.device, const_cast<int32_t*>(device_batch.tables)));
  }
  Report("norm", bench.Time(kLayers, [&](int) { return cuda::Run(norm, bench.stream); }), 2.0 * 4 * double(width));

  cuda::SampleOp sample;
  sample.logits = logits;
  sample.scaled = bench.Zeros<float>(kVocab);
  sample.weights = bench.Zeros<unsigned long long>(kVocab);
  sample.partials = bench.Zeros<uint8_t>(static_cast<int64_t>(cuda::SamplePartialBytes()));
  sample.result = bench.Zeros<cuda::SampleResult>(1);
  sample.width = kVocab;
  std::vector<float> values(kVocab);
  for (size_t i = 0; i < values.size(); i++) values[i] = std::sin(float(i) * 12.9898f) * 8;
  Check(gpu::CopyToDevice(logits, values.data(), values.size() * sizeof(float), bench.stream));
  Report("greedy choice", bench.Time(8, [&](int) { return cuda::Run(sample, bench.stream); }), 2.0 * 4 * kVocab);
  sample.temperature = 0.8f;
  Report("draw", bench.Time(8, [&](int) { return cuda::Run(sample, bench.stream); }), 2.0 * 4 * kVocab);
  sample.top_k = 40;
  sample.top_p = 0.95f;
  Report("draw, top-k and top-p", bench.Time(8, [&](int) { return cuda::Run(sample, bench.stream); }),
         2.0 * 4 * kVocab);
  return 0;
}
