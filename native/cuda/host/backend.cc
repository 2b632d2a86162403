#include "backend.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "../layout.cuh"

namespace touchstone::cuda {

namespace {

constexpr uint64_t kStagingBytes = uint64_t{4} << 20;  // of stored rows on their way into a weight
constexpr int32_t kMaxRecordedRows = 16;               // passes of more rows are not worth a graph

Status CheckRange(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  if (offset > buffer.bytes || bytes > buffer.bytes - offset) {
    return Status(TS_INVALID_ARGUMENT, "bytes " + std::to_string(offset) + " ... " + std::to_string(offset + bytes) +
                                           " are outside a block of " + std::to_string(buffer.bytes));
  }
  return Status();
}

uint8_t* BytesAt(const Buffer& buffer, uint64_t offset) { return static_cast<uint8_t*>(buffer.data) + offset; }

}  // namespace

Status CudaBackend::Create(gpu::Device* device, const ts_context_options& options, uint64_t limit,
                           std::unique_ptr<Multiplier> multiplier, std::unique_ptr<Backend>* out) {
  gpu::Stream* stream = nullptr;
  const gpu::Status created = gpu::CreateStream(device, &stream);
  if (!created.ok()) {
    static_cast<void>(gpu::CloseDevice(device));
    return FromGpu(created);
  }
  std::unique_ptr<CudaBackend> backend(new (std::nothrow) CudaBackend(device, stream, options, limit));
  if (backend == nullptr) {
    static_cast<void>(gpu::DestroyStream(stream));
    static_cast<void>(gpu::CloseDevice(device));
    return Status(TS_OUT_OF_MEMORY, "the host has no memory for a context");
  }
  if (multiplier != nullptr) {
    TS_RETURN_IF_ERROR(
        FastLinear::Create(&backend->allocator_, stream, std::move(multiplier), FastSizes(), &backend->fast_));
  }
  *out = std::move(backend);
  return Status();
}

CudaBackend::CudaBackend(gpu::Device* device, gpu::Stream* stream, const ts_context_options& options, uint64_t limit)
    : device_(device), stream_(stream), allocator_(device, stream, options, limit) {}

CudaBackend::~CudaBackend() {
  DropRecordings();
  fast_.reset();
  for (const ts_memory_block& block : allocator_.Blocks()) {
    Buffer buffer{reinterpret_cast<void*>(block.address), block.bytes, block.id};
    allocator_.Free(&buffer);
  }
  static_cast<void>(gpu::DestroyStream(stream_));
  static_cast<void>(gpu::CloseDevice(device_));
}

// --- memory

Status CudaBackend::Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out) {
  return allocator_.Allocate(kind, bytes, label, out);
}

void CudaBackend::Free(Buffer* buffer) {
  static_cast<void>(Flush());  // what is queued may use the block; its failure shows at the next call
  static_cast<void>(gpu::Synchronize(stream_));
  DropRecordings();
  allocator_.Free(buffer);
  Buffer* const own[Working::kCount] = {&working_.batch,   &working_.indices,      &working_.linear,
                                        &working_.scores,  &working_.staging,      &working_.sample,
                                        &working_.history, &working_.probabilities};
  const auto held = std::count_if(std::begin(own), std::end(own), [](const Buffer* block) { return block->id != 0; });
  const int kept = fast_ != nullptr ? FastLinear::kBlocks : 0;
  if (allocator_.Stats().block_count != static_cast<uint32_t>(held + kept)) return;
  for (Buffer* block : own) allocator_.Free(block);
  indices_image_.clear();
}

ts_memory_stats CudaBackend::Memory() const { return allocator_.Stats(); }

std::vector<ts_memory_block> CudaBackend::Blocks() const { return allocator_.Blocks(); }

Status CudaBackend::CheckResidency(ts_residency_report* out) { return allocator_.CheckResidency(out); }

Status CudaBackend::Upload(const Buffer& to, uint64_t offset, const void* from, uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(to, offset, bytes));
  TS_RETURN_IF_ERROR(Flush());
  return FromGpu(gpu::CopyToDevice(BytesAt(to, offset), from, bytes, stream_));
}

Status CudaBackend::Download(void* to, const Buffer& from, uint64_t offset, uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(from, offset, bytes));
  TS_RETURN_IF_ERROR(Flush());
  TS_RETURN_IF_ERROR(FromGpu(gpu::CopyToHost(to, BytesAt(from, offset), bytes, stream_)));
  return FromGpu(gpu::Synchronize(stream_));
}

Status CudaBackend::Copy(const Buffer& to, uint64_t to_offset, const Buffer& from, uint64_t from_offset,
                         uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(to, to_offset, bytes));
  TS_RETURN_IF_ERROR(CheckRange(from, from_offset, bytes));
  TS_RETURN_IF_ERROR(Flush());
  return FromGpu(gpu::CopyOnDevice(BytesAt(to, to_offset), BytesAt(from, from_offset), bytes, stream_));
}

Status CudaBackend::Poison(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  TS_RETURN_IF_ERROR(CheckRange(buffer, offset, bytes));
  TS_RETURN_IF_ERROR(Flush());
  return allocator_.Poison(buffer, offset, bytes);
}

Status CudaBackend::Reserve(uint64_t bytes, const char* label, Buffer* buffer) {
  if (buffer->bytes >= bytes) return Status();
  if (buffer->id != 0) {
    TS_RETURN_IF_ERROR(Flush());
    TS_RETURN_IF_ERROR(FromGpu(gpu::Synchronize(stream_)));
    DropRecordings();
    allocator_.Free(buffer);
  }
  return allocator_.Allocate(TS_MEMORY_ACTIVATIONS, std::bit_ceil(bytes), label, buffer);
}

// --- weights

Status CudaBackend::WeightBytes(ts_dtype dtype, int64_t rows, int64_t columns, WeightUse use, uint64_t* bytes) {
  const BlockShape shape = BlockShapeOf(dtype);
  if (shape.elements == 0) {
    return Status(TS_UNSUPPORTED, "weight format " + std::to_string(dtype) + " is not offered by this device");
  }
  if (rows <= 0 || columns <= 0 || columns % shape.elements != 0) {
    return Status(TS_INVALID_ARGUMENT, "a weight of format " + std::to_string(dtype) + " has " +
                                           std::to_string(columns) + " columns; blocks hold " +
                                           std::to_string(shape.elements));
  }
  *bytes = use == WeightUse::kVector ? static_cast<uint64_t>(rows * columns) * sizeof(float)
                                     : PackedBytes(dtype, rows, columns);
  return Status();
}

int64_t CudaBackend::LoadGranularity(ts_dtype, WeightUse use) { return use == WeightUse::kVector ? 1 : kPanelRows; }

Status CudaBackend::LoadRows(const Weight& weight, WeightUse use, const void* from, int64_t first, int64_t count) {
  TS_RETURN_IF_ERROR(Flush());
  const BlockShape shape = BlockShapeOf(weight.dtype);
  const auto row_bytes = static_cast<uint64_t>(weight.columns / shape.elements * shape.bytes);
  const int64_t granularity = LoadGranularity(weight.dtype, use);
  const auto fitting = static_cast<int64_t>(kStagingBytes / row_bytes) / granularity * granularity;
  const int64_t step = std::min(count, std::max(granularity, fitting));
  TS_RETURN_IF_ERROR(Reserve(static_cast<uint64_t>(step) * row_bytes, "cuda.staging", &working_.staging));
  for (int64_t done = 0; done < count; done += step) {
    PackOp op;
    op.raw = BytesAt(working_.staging, 0);
    op.weight = BytesAt(weight.buffer, 0);
    op.columns = weight.columns;
    op.rows = weight.rows;
    op.first = first + done;
    op.count = std::min(step, count - done);
    op.dtype = weight.dtype;
    op.vector = use == WeightUse::kVector;
    const uint8_t* source = static_cast<const uint8_t*>(from) + static_cast<uint64_t>(done) * row_bytes;
    TS_RETURN_IF_ERROR(FromGpu(
        gpu::CopyToDevice(working_.staging.data, source, static_cast<uint64_t>(op.count) * row_bytes, stream_)));
    TS_RETURN_IF_ERROR(FromGpu(Run(op, stream_)));
  }
  // Kernels read weights before they wait for the kernel before them (AwaitPrevious).
  return FromGpu(gpu::Synchronize(stream_));
}

// --- the queue

void CudaBackend::DropRecordings() {
  for (auto& [rows, recording] : recordings_) static_cast<void>(gpu::DestroyGraph(recording.graph));
  recordings_.clear();
}

Status CudaBackend::Push(const Op& op) {
  try {
    queue_.push_back(op);
  } catch (const std::bad_alloc&) {
    return Status(TS_OUT_OF_MEMORY, "the host has no memory for the operations of a pass");
  }
  return batch_.count <= kMaxRecordedRows ? Status() : Flush();
}

// A norm right before a linear layer of one row is taken into its staging; the layer writes the norm's output as well.
bool CudaBackend::FuseNorm(LinearOp* linear) {
  if (queue_.empty() || linear->rows != 1 || !LinearFuses(linear->dtype, linear->inputs)) return false;
  const NormOp* norm = std::get_if<NormOp>(&queue_.back());
  if (norm == nullptr || norm->rows != 1 || norm->out != linear->x || norm->width != linear->inputs) return false;
  if (norm->x == norm->out) return false;
  for (int i = 0; i < linear->target_count; i++) {
    const Target& target = linear->targets[i];
    if (target.out == norm->x || target.out == norm->out || target.residual == norm->out) return false;
  }
  linear->norm = *norm;
  queue_.pop_back();
  return true;
}

// SwiGLU right after the linear layer of gate and up, one row.
bool CudaBackend::FuseActivation(const ActivateOp& op) {
  if (queue_.empty() || op.kind != TS_ACTIVATION_SWIGLU) return false;
  LinearOp* linear = std::get_if<LinearOp>(&queue_.back());
  if (linear == nullptr || linear->rows != 1 || linear->target_count != 2 || linear->activated != nullptr) return false;
  if (!LinearFuses(linear->dtype, linear->inputs) || op.out == linear->x || op.out == linear->norm.x) return false;
  const int gate = linear->targets[0].out == op.gate ? 0 : 1;
  if (linear->targets[gate].out != op.gate || linear->targets[1 - gate].out != op.up || op.gate == op.up) return false;
  for (const Target& target : {linear->targets[0], linear->targets[1]}) {
    if (target.outputs != op.count || target.residual == op.out) return false;
  }
  if (gate == 1) std::swap(linear->targets[0], linear->targets[1]);
  linear->activated = op.out;
  return true;
}

// The store of k and v right before attention over the same q, when no row attends to another row of the batch.
void CudaBackend::FuseStore(AttentionOp* attention) {
  if (queue_.empty() || !apart_ || attention->count != batch_.count) return;
  const RopeStoreOp* store = std::get_if<RopeStoreOp>(&queue_.back());
  if (store == nullptr || store->q != attention->q || !(store->cache == attention->cache)) return;
  if (attention->out == store->q || attention->out == store->k || attention->out == store->v) return;
  attention->store = *store;
  queue_.pop_back();
}

Status CudaBackend::RunQueue() {
  for (const Op& op : queue_) {
    const gpu::Status status = std::visit([this](const auto& one) { return Run(one, stream_); }, op);
    if (!status.ok()) return FromGpu(status);
  }
  return Status();
}

Status CudaBackend::Record(Recording* recording) {
  TS_RETURN_IF_ERROR(FromGpu(gpu::BeginCapture(stream_)));
  const Status status = RunQueue();
  const Status ended = FromGpu(gpu::EndCapture(stream_, &recording->graph));
  if (status.ok()) return ended;
  static_cast<void>(gpu::DestroyGraph(recording->graph));  // a part of the pass
  recording->graph = nullptr;
  return status;
}

Status CudaBackend::RunOrReplay() {
  if (batch_.count == 0 || batch_.count > kMaxRecordedRows) return RunQueue();
  Recording& recording = recordings_[batch_.count];
  if (recording.ops != queue_) {
    Recording fresh{queue_, nullptr};
    static_cast<void>(gpu::DestroyGraph(recording.graph));
    recording = std::move(fresh);
    return RunQueue();
  }
  if (recording.graph == nullptr) TS_RETURN_IF_ERROR(Record(&recording));
  return FromGpu(gpu::LaunchGraph(recording.graph, stream_));
}

Status CudaBackend::Flush() {
  if (queue_.empty()) return Status();
  Status status;
  try {
    status = RunOrReplay();
  } catch (const std::bad_alloc&) {
    status = Status(TS_OUT_OF_MEMORY, "the host has no memory for the operations of a pass");
  }
  queue_.clear();  // after a failure too: the next pass must not run operations of this one
  return status;
}

Status CudaBackend::UploadIndices(std::span<const int32_t> values, const int32_t** device) {
  constexpr size_t kCapacity = 4096;
  if (indices_used_ + values.size() > working_.indices.bytes / sizeof(int32_t)) {
    TS_RETURN_IF_ERROR(Flush());
    indices_used_ = 0;
    const size_t wanted = std::max(kCapacity, values.size());
    if (wanted * sizeof(int32_t) > working_.indices.bytes) {
      TS_RETURN_IF_ERROR(Reserve(wanted * sizeof(int32_t), "cuda.indices", &working_.indices));
      indices_image_.assign(working_.indices.bytes / sizeof(int32_t), -1);
    }
  }
  int32_t* to = static_cast<int32_t*>(working_.indices.data) + indices_used_;
  const auto image = indices_image_.begin() + static_cast<ptrdiff_t>(indices_used_);
  if (!std::equal(values.begin(), values.end(), image)) {
    TS_RETURN_IF_ERROR(FromGpu(gpu::CopyToDevice(to, values.data(), values.size_bytes(), stream_)));
    std::copy(values.begin(), values.end(), image);
  }
  indices_used_ += values.size();
  *device = to;
  return Status();
}

}  // namespace touchstone::cuda
