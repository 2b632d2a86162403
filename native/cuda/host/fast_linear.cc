#include "fast_linear.h"

#include <algorithm>
#include <new>

#include "../layout.cuh"

namespace touchstone::cuda {

namespace {

uint16_t* Halves(const Buffer& buffer) { return static_cast<uint16_t*>(buffer.data); }
float* Floats(const Buffer& buffer) { return static_cast<float*>(buffer.data); }

}  // namespace

Status FastLinear::Create(Allocator* allocator, gpu::Stream* stream, std::unique_ptr<Multiplier> multiplier,
                          const FastSizes& sizes, std::unique_ptr<FastLinear>* out) {
  out->reset(new (std::nothrow) FastLinear(allocator, stream, std::move(multiplier), sizes));
  if (*out == nullptr) return Status(TS_OUT_OF_MEMORY, "the host has no memory for a context");
  const Status status = (*out)->Start();
  if (!status.ok()) out->reset();
  return status;
}

FastLinear::FastLinear(Allocator* allocator, gpu::Stream* stream, std::unique_ptr<Multiplier> multiplier,
                       const FastSizes& sizes)
    : allocator_(allocator), stream_(stream), multiplier_(std::move(multiplier)), sizes_(sizes) {}

FastLinear::~FastLinear() {
  static_cast<void>(gpu::Synchronize(stream_));
  multiplier_.reset();  // before its workspace
  for (Buffer* buffer : {&workspace_, &weights_, &inputs_, &scales_, &products_}) allocator_->Free(buffer);
}

Status FastLinear::Start() {
  const auto allocate = [this](uint64_t bytes, const char* label, Buffer* buffer) {
    return allocator_->Allocate(TS_MEMORY_ACTIVATIONS, bytes, label, buffer);
  };
  TS_RETURN_IF_ERROR(allocate(sizes_.workspace, "fast.workspace", &workspace_));
  TS_RETURN_IF_ERROR(allocate(sizes_.weights, "fast.weights", &weights_));
  TS_RETURN_IF_ERROR(allocate(sizes_.inputs, "fast.inputs", &inputs_));
  TS_RETURN_IF_ERROR(allocate(static_cast<uint64_t>(sizes_.rows) * sizeof(float), "fast.scales", &scales_));
  TS_RETURN_IF_ERROR(allocate(sizes_.products, "fast.products", &products_));
  return multiplier_->Start(stream_, workspace_.data, workspace_.bytes);
}

Status FastLinear::RunTarget(const LinearOp& op, const Target& target, int64_t first, int64_t count) {
  const int64_t inputs = FastInputs(op.inputs);
  const uint64_t fitting = std::min(sizes_.weights / (static_cast<uint64_t>(inputs) * sizeof(uint16_t)),
                                    sizes_.products / (static_cast<uint64_t>(count) * sizeof(float)));
  const int64_t step = static_cast<int64_t>(fitting) / kPanelRows * kPanelRows;
  for (int64_t output = 0; output < target.outputs; output += step) {
    const int64_t outputs = std::min(step, target.outputs - output);
    UnpackOp unpack;
    unpack.weight = target.weight;
    unpack.out = Halves(weights_);
    unpack.columns = op.inputs;
    unpack.first = output;
    unpack.rows = PanelsOf(outputs) * kPanelRows;
    unpack.dtype = op.dtype;
    TS_RETURN_IF_ERROR(FromGpu(cuda::Run(unpack, stream_)));
    TS_RETURN_IF_ERROR(
        multiplier_->Multiply(Halves(weights_), outputs, Halves(inputs_), count, inputs, Floats(products_)));
    FinishOp finish;
    finish.target = target;
    finish.products = Floats(products_);
    finish.inverse = Floats(scales_);
    finish.first_output = output;
    finish.outputs = outputs;
    finish.first_row = first;
    finish.rows = count;
    TS_RETURN_IF_ERROR(FromGpu(cuda::Run(finish, stream_)));
  }
  return Status();
}

Status FastLinear::Run(const LinearOp& op) {
  const uint64_t row_bytes = static_cast<uint64_t>(FastInputs(op.inputs)) * sizeof(uint16_t);
  const uint64_t most_bytes = std::min(sizes_.inputs, sizes_.weights / kPanelRows);
  if (row_bytes > most_bytes) {
    return Status(TS_UNSUPPORTED, "a linear layer of " + std::to_string(op.inputs) +
                                      " inputs is too wide for the fast numerics, which take " +
                                      std::to_string(most_bytes / sizeof(uint16_t)) + "; use the canonical ones");
  }
  const int64_t step = std::min(sizes_.rows, static_cast<int64_t>(sizes_.inputs / row_bytes));
  for (int64_t first = 0; first < op.rows; first += step) {
    NarrowOp narrow;
    narrow.x = op.x + first * op.inputs;
    narrow.out = Halves(inputs_);
    narrow.inverse = Floats(scales_);
    narrow.columns = op.inputs;
    narrow.rows = std::min(step, op.rows - first);
    TS_RETURN_IF_ERROR(FromGpu(cuda::Run(narrow, stream_)));
    for (int i = 0; i < op.target_count; i++) {
      TS_RETURN_IF_ERROR(RunTarget(op, op.targets[i], first, narrow.rows));
    }
  }
  return Status();
}

}  // namespace touchstone::cuda
