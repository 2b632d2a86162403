// Runs every operation in every format on two devices and compares all bits.
//   check <library>[:device] <library>[:device] [seeds]
#include <algorithm>
#include <cmath>

#include "library.h"

namespace bench {
namespace {

constexpr int kFormats[] = {TS_F32,  TS_F16,  TS_BF16, TS_Q4_0, TS_Q4_1, TS_Q5_0,
                            TS_Q5_1, TS_Q8_0, TS_Q4_K, TS_Q5_K, TS_Q6_K};

struct Operand {
  int dtype;
  std::vector<uint64_t> shape;
  std::vector<uint8_t> bytes;
};

Operand Floats(std::vector<uint64_t> shape, float size, Random* random) {
  int64_t count = 1;
  for (uint64_t extent : shape) count *= static_cast<int64_t>(extent);
  return {TS_F32, std::move(shape), RandomRows(TS_F32, 1, count, size, random)};
}

Operand Integers(const std::vector<int32_t>& values) {
  Operand operand{TS_I32, {values.size()}, std::vector<uint8_t>(values.size() * 4)};
  if (!values.empty()) std::memcpy(operand.bytes.data(), values.data(), operand.bytes.size());
  return operand;
}

Operand Output(int dtype, std::vector<uint64_t> shape) {
  uint64_t count = 4;
  for (uint64_t extent : shape) count *= extent;
  return {dtype, std::move(shape), std::vector<uint8_t>(count, 0xaa)};
}

ts_tensor TensorOf(Operand* operand) {
  ts_tensor tensor{};
  tensor.dtype = operand->dtype;
  tensor.dims = static_cast<uint32_t>(operand->shape.size());
  for (size_t i = 0; i < TS_MAX_DIMS; i++) tensor.shape[i] = i < operand->shape.size() ? operand->shape[i] : 1;
  tensor.data = operand->bytes.data();
  tensor.bytes = operand->bytes.size();
  return tensor;
}

class Checker {
 public:
  Checker(Library want, Library got) : want_(want), got_(got) {}
  int failures = 0, cases = 0;

  void Run(const std::string& label, const char* op, std::vector<Operand> inputs, const std::vector<Operand>& outputs,
           const std::vector<ts_parameter>& parameters) {
    cases++;
    std::vector<Operand> want = outputs, got = outputs;
    const std::string want_error = RunOn(want_, op, &inputs, &want, parameters);
    const std::string got_error = RunOn(got_, op, &inputs, &got, parameters);
    if (!want_error.empty() || !got_error.empty()) return Fail(label, want_error + " / " + got_error);
    for (size_t i = 0; i < outputs.size(); i++) {
      for (size_t at = 0; at < want[i].bytes.size(); at += 4) {
        if (std::memcmp(want[i].bytes.data() + at, got[i].bytes.data() + at, 4) == 0) continue;
        float a, b;
        std::memcpy(&a, want[i].bytes.data() + at, 4);
        std::memcpy(&b, got[i].bytes.data() + at, 4);
        if (std::isnan(a) && std::isnan(b)) continue;
        char text[160];
        std::snprintf(text, sizeof text, "output %zu, element %zu of %zu: %a (0x%08x) wanted, %a (0x%08x) found", i,
                      at / 4, want[i].bytes.size() / 4, a, touchstone::FloatBits(a), b, touchstone::FloatBits(b));
        return Fail(label, text);
      }
    }
  }

 private:
  std::string RunOn(const Library& library, const char* op, std::vector<Operand>* inputs, std::vector<Operand>* outputs,
                    const std::vector<ts_parameter>& parameters) {
    std::vector<ts_tensor> in, out;
    for (Operand& operand : *inputs) in.push_back(TensorOf(&operand));
    for (Operand& operand : *outputs) out.push_back(TensorOf(&operand));
    ts_error error = NewError();
    const ts_status status = library.api->op_run(library.context, op, in.data(), static_cast<uint32_t>(in.size()),
                                                 out.data(), static_cast<uint32_t>(out.size()), parameters.data(),
                                                 static_cast<uint32_t>(parameters.size()), &error);
    return status == TS_OK ? "" : error.message;
  }

  void Fail(const std::string& label, const std::string& text) {
    failures++;
    std::printf("FAIL %s: %s\n", label.c_str(), text.c_str());
  }

  Library want_, got_;
};

std::string Label(const char* op, int dtype, uint64_t seed, std::initializer_list<uint64_t> sizes) {
  std::string label = std::string(op) + " format " + std::to_string(dtype) + " seed " + std::to_string(seed) + " sizes";
  for (uint64_t size : sizes) label += " " + std::to_string(size);
  return label;
}

void CheckMatrices(Checker* checker, uint64_t seed) {
  Random random(seed);
  for (int dtype : kFormats) {
    const uint32_t block = static_cast<uint32_t>(touchstone::BlockShapeOf(dtype).elements);
    for (const uint32_t rows : {1u, 1 + random.Below(4), 5 + random.Below(12), 17 + random.Below(40)}) {
      const uint32_t columns = block * (1 + random.Below(block == 1 ? 700 : block == 32 ? 24 : 4));
      const uint32_t outputs = 1 + random.Below(150);
      std::vector<Operand> inputs = {{dtype, {columns, outputs}, RandomRows(dtype, outputs, columns, 1, &random)},
                                     Floats({columns, rows}, 2, &random)};
      if (random.Below(2) != 0) inputs.push_back(Floats({outputs}, 1, &random));
      checker->Run(Label("linear", dtype, seed, {columns, outputs, rows}), "linear", inputs,
                   {Output(TS_F32, {outputs, rows})}, {});
      std::vector<int32_t> ids(rows);
      for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(outputs));
      checker->Run(Label("embedding", dtype, seed, {columns, outputs, rows}), "embedding", {inputs[0], Integers(ids)},
                   {Output(TS_F32, {columns, rows})}, {});
    }
  }
}

void CheckRows(Checker* checker, uint64_t seed) {
  Random random(seed);
  const uint32_t width = 1 + random.Below(1500), rows = 1 + random.Below(5);
  const Operand x = Floats({width, rows}, 3, &random), weight = Floats({width}, 1, &random);
  const ts_parameter epsilon = {"epsilon", 1e-5};
  const auto out = [&] { return std::vector<Operand>{Output(TS_F32, {width, rows})}; };
  checker->Run(Label("rms_norm", 0, seed, {width, rows}), "rms_norm", {x, weight}, out(), {epsilon});
  checker->Run(Label("layer_norm", 0, seed, {width, rows}), "layer_norm", {x, weight, Floats({width}, 1, &random)},
               out(), {epsilon});
  checker->Run(Label("softmax", 0, seed, {width, rows}), "softmax", {x}, out(), {});
  const uint32_t count = 1 + random.Below(3000);
  const Operand a = Floats({count}, 8, &random), b = Floats({count}, 8, &random);
  const std::vector<Operand> flat = {Output(TS_F32, {count})};
  checker->Run(Label("swiglu", 0, seed, {count}), "swiglu", {a, b}, flat, {});
  checker->Run(Label("gelu", 0, seed, {count}), "gelu", {a}, flat, {});
  checker->Run(Label("add", 0, seed, {count}), "add", {a, b}, flat, {});
  for (const double temperature : {0.0, 0.7}) {
    checker->Run(Label("temperature", 0, seed, {count}), "temperature", {a}, flat, {{"temperature", temperature}});
  }
}

void CheckHeads(Checker* checker, uint64_t seed) {
  Random random(seed);
  const uint32_t kv_heads = 1 + random.Below(3), heads = kv_heads * (1 + random.Below(4));
  const uint32_t head_dim = 2 * (1 + random.Below(66)), rows = 1 + random.Below(6);
  const uint32_t length = rows + random.Below(random.Below(4) == 0 ? 900 : 100);
  const uint32_t dims = 2 * (1 + random.Below(head_dim / 2));
  std::vector<int32_t> positions(rows);
  for (uint32_t i = 0; i < rows; i++) positions[i] = static_cast<int32_t>(length - rows + i);
  const Operand q = Floats({head_dim, heads, rows}, 1, &random);
  for (const double kind : {double{TS_POSITION_ROPE_NEOX}, double{TS_POSITION_ROPE_INTERLEAVED}}) {
    checker->Run(
        Label("rope", 0, seed, {head_dim, heads, rows, dims}), "rope",
        {q, Integers(positions), Floats({dims / 2, length}, 1, &random), Floats({dims / 2, length}, 1, &random)},
        {Output(TS_F32, {head_dim, heads, rows})}, {{"kind", kind}});
  }
  checker->Run(Label("attention", 0, seed, {head_dim, heads, kv_heads, rows, length}), "attention",
               {q, Floats({head_dim, kv_heads, length}, 1, &random), Floats({head_dim, kv_heads, length}, 1, &random),
                Integers(positions)},
               {Output(TS_F32, {head_dim, heads, rows})}, {{"scale", 1 / std::sqrt(double(head_dim))}});
}

void CheckSampling(Checker* checker, uint64_t seed) {
  Random random(seed);
  const uint32_t vocab = 1 + random.Below(seed % 4 == 0 ? 9000 : 700);
  Operand logits = Floats({vocab}, 12, &random);
  if (seed % 3 == 0) {  // many ties
    auto* values = reinterpret_cast<float*>(logits.bytes.data());
    for (uint32_t i = 0; i < vocab; i++) values[i] = std::round(values[i] / 4);
  }
  std::vector<int32_t> history(random.Below(40));
  for (int32_t& id : history) id = static_cast<int32_t>(random.Below(vocab));
  for (int variant = 0; variant < 10; variant++) {
    const auto pick = [&](double off, double on) { return random.Below(2) != 0 ? off : on; };
    const double temperature = variant == 0 ? 0 : variant == 1 ? 1e-38 : 0.2 + random.Below(18) / 10.0;
    const std::vector<ts_parameter> parameters = {{"temperature", temperature},
                                                  {"top_k", pick(0, 1 + random.Below(60))},
                                                  {"top_p", pick(1, random.Below(1000) / 1000.0)},
                                                  {"min_p", pick(0, random.Below(300) / 1000.0)},
                                                  {"repetition_penalty", pick(1, 0.5 + random.Below(14) / 10.0)},
                                                  {"seed_low", double(random.Below(0xffffffff))},
                                                  {"seed_high", double(random.Below(0xffffffff))},
                                                  {"position", double(random.Below(4096))}};
    checker->Run(Label("sample", 0, seed, {vocab, history.size(), static_cast<uint64_t>(variant)}), "sample",
                 {logits, Integers(history)}, {Output(TS_I32, {1}), Output(TS_F32, {vocab})}, parameters);
  }
  std::vector<int32_t> counter(4), key(2);
  for (int32_t& word : counter) word = static_cast<int32_t>(random.Next());
  for (int32_t& word : key) word = static_cast<int32_t>(random.Next());
  checker->Run(Label("philox", 0, seed, {}), "philox", {Integers(counter), Integers(key)}, {Output(TS_I32, {4})}, {});
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  if (argc < 3) bench::Die("usage: check <library>[:device] <library>[:device] [seeds]");
  const uint64_t seeds = argc > 3 ? std::stoull(argv[3]) : 20;
  const bench::Library want = bench::Open(argv[1]), got = bench::Open(argv[2], 7);
  bench::Checker checker(want, got);
  for (uint64_t seed = 1; seed <= seeds; seed++) {
    bench::CheckMatrices(&checker, seed);
    bench::CheckRows(&checker, seed);
    bench::CheckHeads(&checker, seed);
    bench::CheckSampling(&checker, seed);
  }
  std::printf("%s and %s: %d of %d cases differ\n", want.properties.name, got.properties.name, checker.failures,
              checker.cases);
  return checker.failures == 0 ? 0 : 1;
}
