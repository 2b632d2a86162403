// The fast numerics without their library: the kernels around it, and the backend over a multiplier of the test's own.
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "../../core/formats.h"
#include "../../cuda/device.cuh"
#include "../../cuda/host/backend.h"
#include "../../cuda/layout.cuh"
#include "common.h"

namespace {

using touchstone::BlockShape;
using touchstone::LinearTarget;
using touchstone::Status;
using touchstone::Weight;
using namespace touchstone::cuda;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(engine_() % static_cast<uint64_t>(most - least + 1));
  }
  float Float() { return static_cast<float>(engine_() >> 40) * 0x1p-23f - 1.0f; }
  std::vector<float> Floats(int64_t count, float size) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = Float() * size;
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

// Stored rows whose values are finite and of about unit size.
std::vector<uint8_t> StoredRows(Random* random, int dtype, int64_t rows, int64_t columns) {
  const BlockShape shape = touchstone::BlockShapeOf(dtype);
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * columns / shape.elements * shape.bytes));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random->Between(0, 255));
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(shape.bytes)) {
    const auto half = [&](size_t offset) {
      const uint16_t bits = touchstone::HalfFromFloat(0.01f + 0.01f * std::fabs(random->Float()));
      std::memcpy(&bytes[at + offset], &bits, sizeof bits);
    };
    const float value = random->Float();
    switch (dtype) {
      case TS_F32:
        std::memcpy(&bytes[at], &value, sizeof value);
        break;
      case TS_BF16:
        std::memcpy(&bytes[at], reinterpret_cast<const uint8_t*>(&value) + 2, 2);
        break;
      case TS_Q6_K:
        half(208);
        break;
      default:
        half(0);
        if (HasMinimum(dtype)) half(2);
    }
  }
  return bytes;
}

float StoredValue(int dtype, const std::vector<uint8_t>& stored, int64_t columns, int64_t row, int64_t column) {
  const BlockShape shape = touchstone::BlockShapeOf(dtype);
  const uint8_t* from = stored.data() + row * (columns / shape.elements * shape.bytes);
  float value = 0;
  if (dtype == TS_F32) {
    std::memcpy(&value, from + 4 * column, sizeof value);
    return value;
  }
  if (dtype == TS_F16) return touchstone::FloatFromHalf(touchstone::LoadHalf(from + 2 * column));
  if (dtype == TS_BF16) return touchstone::FloatFromBfloat16(touchstone::LoadHalf(from + 2 * column));
  touchstone::QuantizedBlock block = {};
  touchstone::ReadBlock(dtype, from, column / 32, &block);
  return touchstone::BlockValue(dtype, block, static_cast<int>(column % 32));
}

__global__ void MultiplyKernel(const uint16_t* weights, int64_t outputs, const uint16_t* x, int64_t rows,
                               int64_t inputs, float* products) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= outputs * rows) return;
  float sum = 0;
  for (int64_t k = 0; k < inputs; k++) {
    sum = touchstone::Fma(touchstone::FloatFromHalf(weights[i % outputs * inputs + k]),
                          touchstone::FloatFromHalf(x[i / outputs * inputs + k]), sum);
  }
  products[i] = sum;
}

// Sums ascending, and counts its calls.
class PlainMultiplier final : public Multiplier {
 public:
  explicit PlainMultiplier(int* calls) : calls_(calls) {}
  Status Start(gpu::Stream* stream, void* workspace, uint64_t bytes) override {
    stream_ = stream;
    return workspace != nullptr && bytes > 0 ? Status() : Status(TS_INTERNAL, "no workspace");
  }
  Status Multiply(const uint16_t* weights, int64_t outputs, const uint16_t* x, int64_t rows, int64_t inputs,
                  float* products) override {
    ++*calls_;
    return FromGpu(LAUNCH(MultiplyKernel, static_cast<unsigned>((outputs * rows + 127) / 128), 128, 0, stream_)(
        weights, outputs, x, rows, inputs, products));
  }

 private:
  int* calls_;
  gpu::Stream* stream_ = nullptr;
};

std::string failure;

const char* Fail(const std::string& text) {
  failure = text;
  return failure.c_str();
}

uint8_t* Pack(simtest::Bench* bench, int dtype, const std::vector<uint8_t>& stored, int64_t rows, int64_t columns) {
  PackOp pack;
  pack.raw = bench->Upload(stored);
  pack.weight = bench->Allocate<uint8_t>(PackedBytes(dtype, rows, columns));
  pack.columns = columns;
  pack.rows = pack.count = rows;
  pack.dtype = dtype;
  bench->Check(Run(pack, bench->stream));
  return pack.weight;
}

}  // namespace

extern "C" const char* simtest_unpack(int dtype, uint64_t seed) {
  simtest::Bench bench(seed + 1);
  Random random(seed);
  const int64_t rows = random.Between(9, 30);
  const int64_t columns = touchstone::BlockShapeOf(dtype).elements * random.Between(1, 5);
  const std::vector<uint8_t> stored = StoredRows(&random, dtype, rows, columns);
  UnpackOp op;
  op.weight = Pack(&bench, dtype, stored, rows, columns);
  op.columns = columns;
  op.first = kPanelRows * random.Between(0, 1);
  op.rows = PanelsOf(rows) * kPanelRows - op.first;
  op.dtype = dtype;
  const int64_t inputs = FastInputs(columns);
  op.out = bench.Allocate<uint16_t>(static_cast<size_t>(op.rows * inputs));
  bench.Check(Run(op, bench.stream));
  const std::vector<uint16_t> got = bench.Download(op.out, static_cast<size_t>(op.rows * inputs));
  if (!bench.status.ok()) return Fail(bench.status.text);
  for (int64_t i = 0; i < op.rows * inputs; i++) {
    const int64_t row = op.first + i / inputs, column = i % inputs;
    const bool inside = row < rows && column < columns;
    const float want = inside ? StoredValue(dtype, stored, columns, row, column) : 0.0f;
    const float half = touchstone::FloatFromHalf(touchstone::HalfFromFloat(want));
    if (touchstone::FloatFromHalf(got[static_cast<size_t>(i)]) != half) {
      return Fail("row " + std::to_string(row) + ", column " + std::to_string(column) + " of " + std::to_string(rows) +
                  " x " + std::to_string(columns) + " is " +
                  std::to_string(touchstone::FloatFromHalf(got[static_cast<size_t>(i)])) + ", not " +
                  std::to_string(half));
    }
  }
  return "";
}

extern "C" const char* simtest_fast_linear(int dtype, uint64_t seed) {
  simtest::Bench bench(seed + 1);
  Random random(seed);
  const BlockShape shape = touchstone::BlockShapeOf(dtype);
  const int64_t columns = shape.elements * random.Between(1, 600 / shape.elements), outputs = random.Between(1, 60);
  const int64_t rows = random.Between(5, 40);
  const std::vector<uint8_t> stored = StoredRows(&random, dtype, outputs, columns);
  // Rows of all magnitudes: what binary16 could not hold, what would vanish in it, and zeros.
  std::vector<float> x = random.Floats(rows * columns, 1.0f);
  const float sizes[] = {1.0f, 1e30f, 1e-25f, 0.0f, 3e6f};
  for (int64_t i = 0; i < rows * columns; i++) x[static_cast<size_t>(i)] *= sizes[i / columns % 5];
  const std::vector<float> bias = random.Floats(outputs, 1.0f), residual = random.Floats(rows * outputs, 1.0f);

  LinearOp op;
  op.x = bench.Upload(x);
  op.inputs = columns;
  op.rows = rows;
  op.dtype = dtype;
  op.target_count = 2;
  const uint8_t* weight = Pack(&bench, dtype, stored, outputs, columns);
  float* in_place = bench.Upload(residual);
  op.targets[0] = {weight, bench.Upload(bias), in_place, in_place, outputs};
  op.targets[1] = {weight, nullptr, nullptr, bench.Allocate<float>(static_cast<size_t>(rows * outputs)), outputs};
  if (!bench.status.ok()) return Fail(bench.status.text);

  ts_context_options options{};
  Allocator allocator(bench.device, bench.stream, options, uint64_t{1} << 30);
  FastSizes slices;  // small ones, so that rows and outputs are cut
  slices.workspace = 256;
  slices.weights = static_cast<uint64_t>(16 * FastInputs(columns)) * 2;
  slices.inputs = static_cast<uint64_t>(11 * FastInputs(columns)) * 2;
  slices.products = 24 * 9 * 4;
  slices.rows = 9;
  int calls = 0;
  {
    std::unique_ptr<FastLinear> fast;
    Status status =
        FastLinear::Create(&allocator, bench.stream, std::make_unique<PlainMultiplier>(&calls), slices, &fast);
    if (status.ok() && allocator.Stats().block_count != FastLinear::kBlocks) return Fail("blocks held");
    if (status.ok()) status = fast->Run(op);
    if (!status.ok()) return Fail(status.message());
  }
  if (allocator.Stats().block_count != 0) return Fail("blocks are left behind");
  if (calls != 2 * ((rows + 8) / 9) * ((outputs + 15) / 16)) return Fail("calls: " + std::to_string(calls));
  for (int target = 0; target < 2; target++) {
    const std::vector<float> got = bench.Download(op.targets[target].out, static_cast<size_t>(rows * outputs));
    for (int64_t i = 0; i < rows * outputs; i++) {
      double want = 0, magnitude = 0;
      for (int64_t k = 0; k < columns; k++) {
        const double term = double{StoredValue(dtype, stored, columns, i % outputs, k)} *
                            x[static_cast<size_t>(i / outputs * columns + k)];
        want += term;
        magnitude += std::fabs(term);
      }
      // Two roundings to binary16 a term, and what is small against its row.
      double bound = magnitude * 0x1.1p-10 + 1e-6 * sizes[i / outputs % 5];
      if (target == 0) {
        want += double{bias[static_cast<size_t>(i % outputs)]} + residual[static_cast<size_t>(i)];
        bound += 1e-6;
      }
      if (!(std::fabs(got[static_cast<size_t>(i)] - want) <= bound)) {
        return Fail("target " + std::to_string(target) + ", row " + std::to_string(i / outputs) + ", output " +
                    std::to_string(i % outputs) + ": " + std::to_string(got[static_cast<size_t>(i)]) + ", not " +
                    std::to_string(want));
      }
    }
  }
  return bench.status.ok() ? "" : Fail(bench.status.text);
}

extern "C" const char* simtest_fast_backend(void) {
  constexpr int64_t kColumns = 300, kOutputs = 21, kMostRows = 20;
  Random random(1);
  const std::vector<uint8_t> stored = StoredRows(&random, TS_F16, kOutputs, kColumns);
  const std::vector<float> x = random.Floats(kMostRows * kColumns, 1.0f);
  int calls = 0;
  // The outputs of the first `rows` rows of x.
  const auto linear = [&](bool fast, int64_t rows, std::vector<float>* out) -> Status {
    gpu::Device* device = nullptr;
    TS_RETURN_IF_ERROR(FromGpu(gpu::OpenDevice(0, &device)));
    std::unique_ptr<touchstone::Backend> backend;
    std::unique_ptr<Multiplier> multiplier;
    if (fast) multiplier = std::make_unique<PlainMultiplier>(&calls);
    TS_RETURN_IF_ERROR(
        CudaBackend::Create(device, ts_context_options{}, uint64_t{1} << 30, std::move(multiplier), &backend));
    const uint64_t before = backend->Memory().activations_bytes;
    Weight weight;
    weight.dtype = TS_F16;
    weight.rows = kOutputs;
    weight.columns = kColumns;
    uint64_t bytes = 0;
    const auto use = touchstone::WeightUse::kLinear;
    TS_RETURN_IF_ERROR(backend->WeightBytes(weight.dtype, weight.rows, weight.columns, use, &bytes));
    TS_RETURN_IF_ERROR(backend->Allocate(TS_MEMORY_WEIGHTS, bytes, "weight", &weight.buffer));
    TS_RETURN_IF_ERROR(backend->LoadRows(weight, use, stored.data(), 0, weight.rows));
    touchstone::Buffer in, result;
    out->resize(static_cast<size_t>(rows * kOutputs));
    TS_RETURN_IF_ERROR(backend->Allocate(TS_MEMORY_OTHER, x.size() * sizeof(float), "in", &in));
    TS_RETURN_IF_ERROR(backend->Allocate(TS_MEMORY_OTHER, out->size() * sizeof(float), "out", &result));
    TS_RETURN_IF_ERROR(backend->Upload(in, 0, x.data(), x.size() * sizeof(float)));
    const LinearTarget target[] = {{&weight, nullptr, nullptr, static_cast<float*>(result.data)}};
    TS_RETURN_IF_ERROR(backend->Linear({static_cast<float*>(in.data), kColumns}, rows, target));
    TS_RETURN_IF_ERROR(backend->Download(out->data(), result, 0, out->size() * sizeof(float)));
    for (touchstone::Buffer* buffer : {&weight.buffer, &in, &result}) backend->Free(buffer);
    if (backend->Memory().activations_bytes != before) return Status(TS_INTERNAL, "scratch is left behind");
    return Status();
  };
  for (const int64_t rows : {int64_t{1}, int64_t{16}, int64_t{17}, kMostRows}) {
    std::vector<float> canonical, fast;
    const int before = calls;
    Status status = linear(false, rows, &canonical);
    if (status.ok()) status = linear(true, rows, &fast);
    if (!status.ok()) return Fail(status.message());
    const bool many = rows > 16;
    if ((calls > before) != many) return Fail(std::to_string(rows) + " rows: the multiplier's calls");
    if ((std::memcmp(canonical.data(), fast.data(), fast.size() * sizeof(float)) != 0) != many) {
      return Fail(std::to_string(rows) + " rows: the bits against the canonical ones");
    }
  }
  return "";
}
