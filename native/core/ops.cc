// Single operations. Each takes its operands to the device, runs the backend's kernel and brings the outputs back. The
// list with shapes and parameters is in native/README.md.
#include "ops.h"

#include <array>
#include <cmath>
#include <cstring>

#include "guard.h"
#include "numerics.h"
#include "step.h"

namespace touchstone {
namespace {

constexpr uint64_t kMostElements = uint64_t{1} << 40;

// One call of op_run: checked access to its operands and parameters, and device buffers that live as long as it does.
class OpCall {
 public:
  OpCall(Context* context, std::span<const ts_tensor> inputs, std::span<const ts_tensor> outputs,
         std::span<const ts_parameter> parameters)
      : backend_(*context->backend), inputs_(inputs), outputs_(outputs), parameters_(parameters) {}
  OpCall(const OpCall&) = delete;
  OpCall& operator=(const OpCall&) = delete;
  ~OpCall() {
    for (Buffer& buffer : buffers_) backend_.Free(&buffer);
  }

  Backend& backend() { return backend_; }
  const ts_tensor& input(size_t i) const { return inputs_[i]; }
  const ts_tensor& output(size_t i) const { return outputs_[i]; }
  size_t input_count() const { return inputs_.size(); }
  int64_t InputDim(size_t i, uint32_t d) const { return Dim(inputs_[i], d); }
  int64_t OutputDim(size_t i, uint32_t d) const { return Dim(outputs_[i], d); }

  // Numbers of operands and names of parameters that the operation has.
  Status CheckSignature(size_t least_inputs, size_t most_inputs, size_t outputs,
                        std::span<const char* const> parameters) const {
    if (inputs_.size() < least_inputs || inputs_.size() > most_inputs) {
      return Invalid("there are " + std::to_string(inputs_.size()) + " inputs; the operation takes " +
                     std::to_string(least_inputs) + " to " + std::to_string(most_inputs));
    }
    if (outputs_.size() != outputs) {
      return Invalid("there are " + std::to_string(outputs_.size()) + " outputs; the operation has " +
                     std::to_string(outputs));
    }
    for (const ts_parameter& parameter : parameters_) {
      if (parameter.name == nullptr) return Invalid("a parameter has no name");
      bool known = false;
      for (const char* name : parameters) known = known || std::strcmp(name, parameter.name) == 0;
      if (!known) return Invalid("the operation has no parameter " + std::string(parameter.name));
    }
    for (size_t i = 0; i < inputs_.size(); i++) TS_RETURN_IF_ERROR(CheckTensor("input", i, inputs_[i]));
    for (size_t i = 0; i < outputs_.size(); i++) TS_RETURN_IF_ERROR(CheckTensor("output", i, outputs_[i]));
    return Status();
  }

  // The operand must have this dtype (-1: any) and shape; dimensions left out are 1.
  Status CheckInput(size_t i, int dtype, std::array<int64_t, 4> shape) const {
    return CheckShape("input", i, inputs_[i], dtype, shape);
  }
  Status CheckOutput(size_t i, int dtype, std::array<int64_t, 4> shape) const {
    return CheckShape("output", i, outputs_[i], dtype, shape);
  }

  Status Parameter(const char* name, double least, double most, double* value) const {
    for (const ts_parameter& parameter : parameters_) {
      if (std::strcmp(parameter.name, name) != 0) continue;
      if (!(parameter.value >= least && parameter.value <= most)) {
        return Invalid("parameter " + std::string(name) + " must be " + std::to_string(least) + " to " +
                       std::to_string(most));
      }
      *value = parameter.value;
      return Status();
    }
    return Invalid("parameter " + std::string(name) + " is missing");
  }
  Status Parameter(const char* name, double least, double most, float* value) const {
    double number = 0;
    TS_RETURN_IF_ERROR(Parameter(name, least, most, &number));
    *value = static_cast<float>(number);
    return Status();
  }
  Status Parameter(const char* name, double least, double most, uint32_t* value) const {
    double number = 0;
    TS_RETURN_IF_ERROR(Parameter(name, least, most, &number));
    if (number != std::floor(number)) return Invalid("parameter " + std::string(name) + " must be a whole number");
    *value = static_cast<uint32_t>(number);
    return Status();
  }

  // Integers of an I32 input, each in [least, most].
  Status Integers(size_t i, int64_t least, int64_t most, std::vector<int32_t>* values) const {
    const ts_tensor& tensor = inputs_[i];
    values->resize(tensor.bytes / sizeof(int32_t));
    if (!values->empty()) std::memcpy(values->data(), tensor.data, tensor.bytes);
    for (int32_t value : *values) {
      if (value < least || value > most) {
        return Invalid("input " + std::to_string(i) + " holds " + std::to_string(value) + "; it must be " +
                       std::to_string(least) + " to " + std::to_string(most));
      }
    }
    return Status();
  }

  Status Scratch(uint64_t bytes, Buffer* buffer) {
    buffers_.reserve(buffers_.size() + 1);
    TS_RETURN_IF_ERROR(backend_.Allocate(TS_MEMORY_ACTIVATIONS, bytes, "op_run", buffer));
    buffers_.push_back(*buffer);
    return Status();
  }
  // An F32 input on the device.
  Status Floats(size_t i, float** floats) {
    Buffer buffer;
    TS_RETURN_IF_ERROR(Scratch(inputs_[i].bytes, &buffer));
    TS_RETURN_IF_ERROR(backend_.Upload(buffer, 0, inputs_[i].data, inputs_[i].bytes));
    *floats = static_cast<float*>(buffer.data);
    return Status();
  }
  // An input as a weight in the backend's layout.
  Status Load(size_t i, WeightUse use, Weight* weight) {
    const ts_tensor& tensor = inputs_[i];
    weight->name = "input " + std::to_string(i);
    weight->dtype = static_cast<ts_dtype>(tensor.dtype);
    weight->columns = Dim(tensor, 0);
    weight->rows = Dim(tensor, 1);
    uint64_t bytes = 0;
    TS_RETURN_IF_ERROR(backend_.WeightBytes(weight->dtype, weight->rows, weight->columns, use, &bytes));
    TS_RETURN_IF_ERROR(Scratch(bytes, &weight->buffer));
    return backend_.LoadRows(*weight, use, tensor.data, 0, weight->rows);
  }
  // Buffer for output i; Finish copies it to the caller.
  Status Output(size_t i, Buffer* buffer) {
    TS_RETURN_IF_ERROR(Scratch(outputs_[i].bytes, buffer));
    results_.push_back({i, *buffer});
    return Status();
  }
  Status Output(size_t i, float** floats) {
    Buffer buffer;
    TS_RETURN_IF_ERROR(Output(i, &buffer));
    *floats = static_cast<float*>(buffer.data);
    return Status();
  }
  Status Finish() {
    for (const auto& [i, buffer] : results_) {
      TS_RETURN_IF_ERROR(backend_.Download(outputs_[i].data, buffer, 0, outputs_[i].bytes));
    }
    return Status();
  }

 private:
  static int64_t Dim(const ts_tensor& tensor, uint32_t d) {
    return d < tensor.dims ? static_cast<int64_t>(tensor.shape[d]) : 1;
  }

  static Status CheckTensor(const char* kind, size_t i, const ts_tensor& tensor) {
    const std::string name = std::string(kind) + " " + std::to_string(i);
    if (tensor.dims < 1 || tensor.dims > TS_MAX_DIMS) return Invalid(name + " must have 1 to 4 dimensions");
    uint64_t elements = 1;
    for (uint32_t d = 0; d < tensor.dims; d++) {
      if (tensor.shape[d] != 0 && elements > kMostElements / tensor.shape[d]) return Invalid(name + " is too large");
      elements *= tensor.shape[d];
    }
    if (elements == 0) return tensor.bytes == 0 ? Status() : Invalid(name + ".bytes must be 0 for an empty shape");
    const auto columns = static_cast<int64_t>(tensor.shape[0]);
    const uint64_t bytes = StoredRowBytes(tensor.dtype, columns) * (elements / tensor.shape[0]);
    if (bytes == 0) return Invalid(name + " has an unknown dtype or rows that are not whole blocks of it");
    if (tensor.bytes != bytes) {
      return Invalid(name + ".bytes is " + std::to_string(tensor.bytes) + "; dtype and shape need " +
                     std::to_string(bytes));
    }
    return tensor.data != nullptr ? Status() : Invalid(name + ".data is NULL");
  }

  static Status CheckShape(const char* kind, size_t i, const ts_tensor& tensor, int dtype,
                           const std::array<int64_t, 4>& shape) {
    const std::string name = std::string(kind) + " " + std::to_string(i);
    if (dtype >= 0 && tensor.dtype != dtype) {
      return Invalid(name + " has dtype " + std::to_string(tensor.dtype) + ", not " + std::to_string(dtype));
    }
    std::string expected;
    bool fits = true;
    for (uint32_t d = 0; d < TS_MAX_DIMS; d++) {
      fits = fits && Dim(tensor, d) == shape[d];
      expected += (d > 0 ? ", " : "") + std::to_string(shape[d]);
    }
    if (!fits) return Invalid(name + " must have the shape [" + expected + "]");
    for (uint32_t d = 0; d < TS_MAX_DIMS; d++) {
      if (shape[d] == 0) return Invalid(name + " is empty");
    }
    return Status();
  }

  Backend& backend_;
  std::span<const ts_tensor> inputs_, outputs_;
  std::span<const ts_parameter> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<std::pair<size_t, Buffer>> results_;
};

using Shape = std::array<int64_t, 4>;

Status EmbeddingOp(OpCall* call) {
  TS_RETURN_IF_ERROR(call->CheckSignature(2, 2, 1, {}));
  const int64_t width = call->InputDim(0, 0), vocab = call->InputDim(0, 1), rows = call->InputDim(1, 0);
  TS_RETURN_IF_ERROR(call->CheckInput(0, -1, Shape{width, vocab, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(1, TS_I32, Shape{rows, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{width, rows, 1, 1}));
  std::vector<int32_t> ids;
  TS_RETURN_IF_ERROR(call->Integers(1, 0, vocab - 1, &ids));
  Weight table;
  float* out = nullptr;
  TS_RETURN_IF_ERROR(call->Load(0, WeightUse::kEmbedding, &table));
  TS_RETURN_IF_ERROR(call->Output(0, &out));
  std::vector<BatchRow> batch;
  for (size_t i = 0; i < ids.size(); i++) batch.push_back({ids[i], static_cast<int32_t>(i), 0});
  const BatchSequence sequence[] = {{nullptr, 0}};
  TS_RETURN_IF_ERROR(call->backend().BeginPass({batch, sequence}));
  TS_RETURN_IF_ERROR(call->backend().Embed(table, {out, width}));
  TS_RETURN_IF_ERROR(call->backend().EndPass());
  return call->Finish();
}

Status LinearOp(OpCall* call) {
  TS_RETURN_IF_ERROR(call->CheckSignature(2, 3, 1, {}));
  const int64_t columns = call->InputDim(0, 0), outputs = call->InputDim(0, 1), rows = call->InputDim(1, 1);
  TS_RETURN_IF_ERROR(call->CheckInput(0, -1, Shape{columns, outputs, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(1, TS_F32, Shape{columns, rows, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{outputs, rows, 1, 1}));
  Weight weight, bias;
  float *x = nullptr, *out = nullptr;
  TS_RETURN_IF_ERROR(call->Load(0, WeightUse::kLinear, &weight));
  if (call->input_count() == 3) {
    TS_RETURN_IF_ERROR(call->CheckInput(2, TS_F32, Shape{outputs, 1, 1, 1}));
    TS_RETURN_IF_ERROR(call->Load(2, WeightUse::kVector, &bias));
  }
  TS_RETURN_IF_ERROR(call->Floats(1, &x));
  TS_RETURN_IF_ERROR(call->Output(0, &out));
  const LinearTarget target[] = {{&weight, bias.present() ? &bias : nullptr, nullptr, out}};
  TS_RETURN_IF_ERROR(call->backend().Linear({x, columns}, rows, target));
  return call->Finish();
}

Status NormOp(OpCall* call, ts_norm_kind kind) {
  static constexpr const char* kParameters[] = {"epsilon"};
  const size_t inputs = kind == TS_NORM_LAYER ? 3 : 2;
  TS_RETURN_IF_ERROR(call->CheckSignature(inputs, inputs, 1, kParameters));
  const int64_t width = call->InputDim(0, 0), rows = call->InputDim(0, 1);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{width, rows, 1, 1}));
  for (size_t i = 1; i < inputs; i++) TS_RETURN_IF_ERROR(call->CheckInput(i, TS_F32, Shape{width, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{width, rows, 1, 1}));
  float epsilon = 0, *x = nullptr, *out = nullptr;
  Weight weight, bias;
  TS_RETURN_IF_ERROR(call->Parameter("epsilon", 0, 1, &epsilon));
  TS_RETURN_IF_ERROR(call->Floats(0, &x));
  TS_RETURN_IF_ERROR(call->Load(1, WeightUse::kVector, &weight));
  if (kind == TS_NORM_LAYER) TS_RETURN_IF_ERROR(call->Load(2, WeightUse::kVector, &bias));
  TS_RETURN_IF_ERROR(call->Output(0, &out));
  TS_RETURN_IF_ERROR(
      call->backend().Norm(kind, epsilon, weight, bias.present() ? &bias : nullptr, {x, width}, rows, {out, width}));
  return call->Finish();
}

Status RopeOp(OpCall* call) {
  static constexpr const char* kParameters[] = {"kind"};
  TS_RETURN_IF_ERROR(call->CheckSignature(4, 4, 1, kParameters));
  const int64_t head_dim = call->InputDim(0, 0), heads = call->InputDim(0, 1), rows = call->InputDim(0, 2);
  const int64_t half = call->InputDim(2, 0), length = call->InputDim(2, 1);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{head_dim, heads, rows, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(1, TS_I32, Shape{rows, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(2, TS_F32, Shape{half, length, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(3, TS_F32, Shape{half, length, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{head_dim, heads, rows, 1}));
  if (2 * half > head_dim) return Invalid("input 2 rotates more elements than a head has");
  uint32_t kind = 0;
  TS_RETURN_IF_ERROR(call->Parameter("kind", TS_POSITION_ROPE_NEOX, TS_POSITION_ROPE_INTERLEAVED, &kind));
  std::vector<int32_t> positions;
  TS_RETURN_IF_ERROR(call->Integers(1, 0, length - 1, &positions));
  float *cos = nullptr, *sin = nullptr;
  TS_RETURN_IF_ERROR(call->Floats(2, &cos));
  TS_RETURN_IF_ERROR(call->Floats(3, &sin));
  Buffer x;
  TS_RETURN_IF_ERROR(call->Output(0, &x));
  TS_RETURN_IF_ERROR(call->backend().Upload(x, 0, call->input(0).data, call->input(0).bytes));
  const RopeTables tables{cos, sin, static_cast<int32_t>(2 * half), static_cast<ts_position_kind>(kind)};
  TS_RETURN_IF_ERROR(call->backend().Rope(tables, static_cast<int32_t>(heads), static_cast<int32_t>(head_dim),
                                          positions, static_cast<float*>(x.data)));
  return call->Finish();
}

// Keys and values go to a cache of their own through RopeAndStore, without rotation, as the pass stores them.
Status AttentionOp(OpCall* call) {
  static constexpr const char* kParameters[] = {"scale"};
  TS_RETURN_IF_ERROR(call->CheckSignature(4, 4, 1, kParameters));
  const int64_t head_dim = call->InputDim(0, 0), heads = call->InputDim(0, 1), rows = call->InputDim(0, 2);
  const int64_t kv_heads = call->InputDim(1, 1), length = call->InputDim(1, 2);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{head_dim, heads, rows, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(1, TS_F32, Shape{head_dim, kv_heads, length, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(2, TS_F32, Shape{head_dim, kv_heads, length, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(3, TS_I32, Shape{rows, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{head_dim, heads, rows, 1}));
  if (heads % kv_heads != 0) return Invalid("the heads of input 1 do not divide those of input 0");
  if (heads * head_dim > (int64_t{1} << 20) || length > (int64_t{1} << 24)) return Invalid("input 0 or 1 is too large");
  float scale = 0;
  TS_RETURN_IF_ERROR(call->Parameter("scale", -1e30, 1e30, &scale));
  std::vector<int32_t> positions;
  TS_RETURN_IF_ERROR(call->Integers(3, 0, length - 1, &positions));

  KvLayout kv;
  kv.layers = 1;
  kv.kv_heads = static_cast<int32_t>(kv_heads);
  kv.head_dim = static_cast<int32_t>(head_dim);
  std::vector<int32_t> table(static_cast<size_t>(BlocksFor(length)));
  for (size_t i = 0; i < table.size(); i++) table[i] = static_cast<int32_t>(i);
  float *q = nullptr, *k = nullptr, *v = nullptr, *unused = nullptr, *out = nullptr;
  TS_RETURN_IF_ERROR(call->Scratch(table.size() * static_cast<uint64_t>(kv.BlockBytes()), &kv.pool));
  TS_RETURN_IF_ERROR(call->Floats(0, &q));
  TS_RETURN_IF_ERROR(call->Floats(1, &k));
  TS_RETURN_IF_ERROR(call->Floats(1, &unused));  // stands for the queries while keys and values are stored
  TS_RETURN_IF_ERROR(call->Floats(2, &v));
  TS_RETURN_IF_ERROR(call->Output(0, &out));

  Backend& backend = call->backend();
  const BatchSequence whole{table.data(), static_cast<int32_t>(table.size())};
  std::vector<BatchRow> batch;
  for (int32_t i = 0; i < length; i++) batch.push_back({0, i, 0});
  TS_RETURN_IF_ERROR(backend.BeginPass({batch, {&whole, 1}}));
  TS_RETURN_IF_ERROR(backend.RopeAndStore(RopeTables{}, kv, 0, kv.kv_heads, unused, k, v));
  TS_RETURN_IF_ERROR(backend.EndPass());
  // Each query is a sequence of its own, so that positions may come in any order.
  const std::vector<BatchSequence> sequences(positions.size(), whole);
  batch.clear();
  for (size_t i = 0; i < positions.size(); i++) batch.push_back({0, positions[i], static_cast<int32_t>(i)});
  TS_RETURN_IF_ERROR(backend.BeginPass({batch, sequences}));
  TS_RETURN_IF_ERROR(backend.Attention(kv, 0, static_cast<int32_t>(heads), scale, q, out));
  TS_RETURN_IF_ERROR(backend.EndPass());
  return call->Finish();
}

Status SoftmaxOp(OpCall* call) {
  TS_RETURN_IF_ERROR(call->CheckSignature(1, 1, 1, {}));
  const int64_t width = call->InputDim(0, 0), rows = call->InputDim(0, 1);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{width, rows, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{width, rows, 1, 1}));
  float *x = nullptr, *out = nullptr;
  TS_RETURN_IF_ERROR(call->Floats(0, &x));
  TS_RETURN_IF_ERROR(call->Output(0, &out));
  TS_RETURN_IF_ERROR(call->backend().Softmax({x, width}, rows, {out, width}));
  return call->Finish();
}

enum class Elementwise { kSwiGlu, kGelu, kAdd };

Status ElementwiseOp(OpCall* call, Elementwise operation) {
  const size_t inputs = operation == Elementwise::kGelu ? 1 : 2;
  TS_RETURN_IF_ERROR(call->CheckSignature(inputs, inputs, 1, {}));
  const int64_t count = call->InputDim(0, 0);
  float* x[2] = {};
  for (size_t i = 0; i < inputs; i++) {
    TS_RETURN_IF_ERROR(call->CheckInput(i, TS_F32, Shape{count, 1, 1, 1}));
    TS_RETURN_IF_ERROR(call->Floats(i, &x[i]));
  }
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{count, 1, 1, 1}));
  float* out = nullptr;
  TS_RETURN_IF_ERROR(call->Output(0, &out));
  Backend& backend = call->backend();
  switch (operation) {
    case Elementwise::kSwiGlu:
      TS_RETURN_IF_ERROR(backend.Activate(TS_ACTIVATION_SWIGLU, x[0], x[1], count, out));
      break;
    case Elementwise::kGelu:
      TS_RETURN_IF_ERROR(backend.Activate(TS_ACTIVATION_GELU, nullptr, x[0], count, out));
      break;
    case Elementwise::kAdd:
      TS_RETURN_IF_ERROR(backend.Add(x[0], x[1], count, out));
      break;
  }
  return call->Finish();
}

Status TemperatureOp(OpCall* call) {
  static constexpr const char* kParameters[] = {"temperature"};
  TS_RETURN_IF_ERROR(call->CheckSignature(1, 1, 1, kParameters));
  const int64_t count = call->InputDim(0, 0);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{count, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{count, 1, 1, 1}));
  float temperature = 0, *x = nullptr, *out = nullptr;
  TS_RETURN_IF_ERROR(call->Parameter("temperature", 0, 2, &temperature));
  TS_RETURN_IF_ERROR(call->Floats(0, &x));
  TS_RETURN_IF_ERROR(call->Output(0, &out));
  TS_RETURN_IF_ERROR(call->backend().Temperature(x, count, temperature, out));
  return call->Finish();
}

Status SampleOp(OpCall* call) {
  static constexpr const char* kParameters[] = {"temperature",        "top_k",    "top_p",     "min_p",
                                                "repetition_penalty", "seed_low", "seed_high", "position"};
  TS_RETURN_IF_ERROR(call->CheckSignature(2, 2, 2, kParameters));
  const int64_t vocab = call->InputDim(0, 0);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{vocab, 1, 1, 1}));
  if (call->input(1).dtype != TS_I32) return Invalid("input 1 must be I32");
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_I32, Shape{1, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(1, TS_F32, Shape{vocab, 1, 1, 1}));
  constexpr double kMost32 = 4294967295.0;
  SampleRequest request;
  ts_sampling& sampling = request.sampling;
  uint32_t seed_low = 0, seed_high = 0;
  sampling.struct_size = sizeof sampling;
  TS_RETURN_IF_ERROR(call->Parameter("temperature", 0, 2, &sampling.temperature));
  TS_RETURN_IF_ERROR(call->Parameter("top_k", 0, kMost32, &sampling.top_k));
  TS_RETURN_IF_ERROR(call->Parameter("top_p", 0, 1, &sampling.top_p));
  TS_RETURN_IF_ERROR(call->Parameter("min_p", 0, 1, &sampling.min_p));
  TS_RETURN_IF_ERROR(call->Parameter("repetition_penalty", 0, 2, &sampling.repetition_penalty));
  TS_RETURN_IF_ERROR(call->Parameter("seed_low", 0, kMost32, &seed_low));
  TS_RETURN_IF_ERROR(call->Parameter("seed_high", 0, kMost32, &seed_high));
  TS_RETURN_IF_ERROR(call->Parameter("position", 0, kMost32, &request.position));
  sampling.seed = uint64_t{seed_high} << 32 | seed_low;
  TS_RETURN_IF_ERROR(CheckSampling(sampling));
  std::vector<int32_t> history;
  TS_RETURN_IF_ERROR(call->Integers(1, 0, vocab - 1, &history));
  request.history = history;
  request.probabilities = static_cast<float*>(call->output(1).data);
  float* logits = nullptr;
  TS_RETURN_IF_ERROR(call->Floats(0, &logits));
  TS_RETURN_IF_ERROR(call->backend().Sample({logits, vocab}, {&request, 1}));
  std::memcpy(call->output(0).data, &request.token, sizeof request.token);
  return Status();
}

// Computed by the host, from the header whose rules all backends follow.
Status ScoreOp(OpCall* call) {
  TS_RETURN_IF_ERROR(call->CheckSignature(2, 2, 3, {}));
  const int64_t vocab = call->InputDim(0, 0), rows = call->InputDim(0, 1);
  const int64_t top = call->OutputDim(1, 0);
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_F32, Shape{vocab, rows, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(1, TS_I32, Shape{rows, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_F32, Shape{rows, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(1, TS_I32, Shape{top, rows, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(2, TS_F32, Shape{top, rows, 1, 1}));
  if (top > 20) return Invalid("outputs 1 and 2 are for 1 to 20 likely tokens");
  std::vector<int32_t> tokens;
  TS_RETURN_IF_ERROR(call->Integers(1, 0, vocab - 1, &tokens));
  Sampler sampler(&WeighPlainly);
  for (int64_t row = 0; row < rows; row++) {
    SampleRequest request;
    request.sampling.repetition_penalty = 1;
    request.sampling.top_logprobs = static_cast<uint32_t>(top);
    request.top_tokens = static_cast<int32_t*>(call->output(1).data) + row * top;
    request.top_logprobs = static_cast<float*>(call->output(2).data) + row * top;
    const float* logits = static_cast<const float*>(call->input(0).data) + row * vocab;
    TS_RETURN_IF_ERROR(sampler.Score(logits, vocab, tokens[static_cast<size_t>(row)], &request));
    static_cast<float*>(call->output(0).data)[row] = request.logprob;
  }
  return Status();
}

// Computed by the host: the generator itself, from the header that all backends compile.
Status PhiloxOp(OpCall* call) {
  TS_RETURN_IF_ERROR(call->CheckSignature(2, 2, 1, {}));
  TS_RETURN_IF_ERROR(call->CheckInput(0, TS_I32, Shape{4, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckInput(1, TS_I32, Shape{2, 1, 1, 1}));
  TS_RETURN_IF_ERROR(call->CheckOutput(0, TS_I32, Shape{4, 1, 1, 1}));
  PhiloxWords counter;
  uint32_t key[2];
  std::memcpy(counter.word, call->input(0).data, sizeof counter.word);
  std::memcpy(key, call->input(1).data, sizeof key);
  const PhiloxWords out = Philox(counter, key[0], key[1]);
  std::memcpy(call->output(0).data, out.word, sizeof out.word);
  return Status();
}

}  // namespace

Status RunOp(Context* context, std::string_view name, std::span<const ts_tensor> inputs,
             std::span<const ts_tensor> outputs, std::span<const ts_parameter> parameters) {
  OpCall call(context, inputs, outputs, parameters);
  if (name == "embedding") return EmbeddingOp(&call);
  if (name == "linear") return LinearOp(&call);
  if (name == "rms_norm") return NormOp(&call, TS_NORM_RMS);
  if (name == "layer_norm") return NormOp(&call, TS_NORM_LAYER);
  if (name == "rope") return RopeOp(&call);
  if (name == "attention") return AttentionOp(&call);
  if (name == "softmax") return SoftmaxOp(&call);
  if (name == "swiglu") return ElementwiseOp(&call, Elementwise::kSwiGlu);
  if (name == "gelu") return ElementwiseOp(&call, Elementwise::kGelu);
  if (name == "add") return ElementwiseOp(&call, Elementwise::kAdd);
  if (name == "temperature") return TemperatureOp(&call);
  if (name == "sample") return SampleOp(&call);
  if (name == "score") return ScoreOp(&call);
  if (name == "philox") return PhiloxOp(&call);
  return Status(TS_UNSUPPORTED, "there is no operation " + std::string(name) + "; native/README.md lists them");
}

}  // namespace touchstone
