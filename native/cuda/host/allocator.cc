#include "allocator.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace touchstone::cuda {

Status FromGpu(const gpu::Status& status) {
  switch (status.code) {
    case gpu::Code::kOk:
      return Status();
    case gpu::Code::kInvalidDevice:
      return Status(TS_INVALID_DEVICE, status.text);
    case gpu::Code::kOutOfMemory:
      return Status(TS_OUT_OF_MEMORY, status.text);
    case gpu::Code::kLaunchFailed:
      return Status(TS_KERNEL_LAUNCH_FAILED, status.text);
    default:
      return Status(TS_INTERNAL, status.text);
  }
}

Allocator::Allocator(gpu::Device* device, gpu::Stream* stream, const ts_context_options& options, uint64_t limit)
    : device_(device),
      stream_(stream),
      limit_(limit),
      fail_allocation_(options.fail_allocation),
      poison_(options.poison_memory != 0) {}

Allocator::~Allocator() {
  for (auto& [id, block] : blocks_) static_cast<void>(gpu::Release(device_, reinterpret_cast<void*>(block.address)));
}

uint64_t Allocator::Live() const {
  uint64_t live = 0;
  for (uint64_t bytes : bytes_of_kind_) live += bytes;
  return live;
}

Status Allocator::Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out) {
  attempts_++;
  const uint64_t left = limit_ - Live();
  if (attempts_ == fail_allocation_) {
    return Status::OutOfMemory("allocation of " + label + " failed as the context's options ask", bytes, left);
  }
  if (bytes == 0) return Status(TS_INVALID_ARGUMENT, "allocation of 0 bytes for " + label);
  const auto refuse = [&](uint64_t available) {
    return Status::OutOfMemory("not enough device memory for " + label + ": " + std::to_string(bytes) +
                                   " bytes needed, " + std::to_string(available) +
                                   " available; raise the limit, free the device or use a smaller model",
                               bytes, available);
  };
  if (bytes > left) return refuse(left);
  void* data = nullptr;
  const gpu::Status status = gpu::Allocate(device_, bytes, &data);
  if (status.code == gpu::Code::kOutOfMemory) {
    size_t free_bytes = 0, total_bytes = 0;
    if (!gpu::GetMemoryInfo(device_, &free_bytes, &total_bytes).ok()) free_bytes = 0;
    return refuse(std::min<uint64_t>(left, free_bytes));
  }
  if (!status.ok()) return FromGpu(status);
  ts_memory_block block{};
  block.id = ++allocations_;
  block.address = reinterpret_cast<uint64_t>(data);
  block.bytes = bytes;
  block.kind = kind;
  block.space = TS_SPACE_DEVICE;
  std::strncpy(block.label, label.c_str(), sizeof block.label - 1);
  try {
    blocks_.emplace(block.id, block);
  } catch (const std::bad_alloc&) {
    static_cast<void>(gpu::Release(device_, data));
    return Status::OutOfMemory("the host has no memory for the ledger entry of " + label, bytes, left);
  }
  bytes_of_kind_[kind] += bytes;
  peak_ = std::max(peak_, Live());
  *out = Buffer{data, bytes, block.id};
  if (!poison_) return Status();
  const Status poisoned = Poison(*out, 0, bytes);
  if (!poisoned.ok()) Free(out);
  return poisoned;
}

void Allocator::Free(Buffer* buffer) {
  const auto found = blocks_.find(buffer->id);
  if (found != blocks_.end()) {
    bytes_of_kind_[found->second.kind] -= found->second.bytes;
    // What the driver could complain about here, it reports at the next call too.
    static_cast<void>(gpu::Release(device_, reinterpret_cast<void*>(found->second.address)));
    blocks_.erase(found);
  }
  *buffer = Buffer{};
}

ts_memory_stats Allocator::Stats() const {
  ts_memory_stats stats{};
  stats.struct_size = sizeof stats;
  stats.block_count = static_cast<uint32_t>(blocks_.size());
  stats.weights_bytes = bytes_of_kind_[TS_MEMORY_WEIGHTS];
  stats.kv_bytes = bytes_of_kind_[TS_MEMORY_KV];
  stats.activations_bytes = bytes_of_kind_[TS_MEMORY_ACTIVATIONS];
  stats.other_bytes = bytes_of_kind_[TS_MEMORY_OTHER];
  stats.peak_bytes = peak_;
  stats.limit_bytes = limit_;
  stats.allocations = allocations_;
  return stats;
}

ts_memory_space Allocator::SpaceOf(const ts_memory_block& block) const {
  gpu::Space space = gpu::Space::kHost;
  if (!gpu::SpaceOf(device_, reinterpret_cast<void*>(block.address), &space).ok()) return TS_SPACE_HOST;
  return static_cast<ts_memory_space>(space);
}

std::vector<ts_memory_block> Allocator::Blocks() const {
  std::vector<ts_memory_block> blocks;
  blocks.reserve(blocks_.size());
  for (const auto& [id, block] : blocks_) {
    blocks.push_back(block);
    blocks.back().space = SpaceOf(block);
  }
  return blocks;
}

Status Allocator::CheckResidency(ts_residency_report* out) const {
  *out = ts_residency_report{};
  out->struct_size = sizeof *out;
  for (const auto& [id, block] : blocks_) {
    out->blocks_checked++;
    if (SpaceOf(block) == TS_SPACE_DEVICE) continue;
    if (out->blocks_outside++ != 0) continue;
    out->first_id = id;
    std::memcpy(out->first_label, block.label, sizeof out->first_label);
  }
  if (out->blocks_outside == 0) return Status();
  return Status(TS_RESIDENCY_FAILED, std::to_string(out->blocks_outside) + " of " +
                                         std::to_string(out->blocks_checked) +
                                         " blocks are not in device memory, the first being " + out->first_label);
}

Status Allocator::Poison(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  return FromGpu(gpu::Fill(static_cast<uint8_t*>(buffer.data) + offset, 0xff, bytes, stream_));
}

}  // namespace touchstone::cuda
