#include "ledger.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace touchstone::cpu {

namespace {
constexpr uint64_t kAlignment = 256;
}

Ledger::Ledger(const ts_context_options& options, uint64_t default_limit)
    : limit_(options.memory_limit_bytes != 0 ? options.memory_limit_bytes : default_limit),
      fail_allocation_(options.fail_allocation),
      poison_(options.poison_memory != 0) {}

Ledger::~Ledger() {
  for (auto& [id, block] : blocks_) std::free(reinterpret_cast<void*>(block.address));
}

uint64_t Ledger::Live() const {
  uint64_t live = 0;
  for (uint64_t bytes : bytes_of_kind_) live += bytes;
  return live;
}

Status Ledger::Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out) {
  attempts_++;
  const uint64_t available = limit_ - Live();
  const uint64_t rounded = bytes > UINT64_MAX - kAlignment ? UINT64_MAX : (bytes + kAlignment - 1) & ~(kAlignment - 1);
  if (attempts_ == fail_allocation_) {
    return Status::OutOfMemory("allocation of " + label + " failed as the context's options ask", bytes, available);
  }
  if (bytes == 0) return Status(TS_INVALID_ARGUMENT, "allocation of 0 bytes for " + label);
  if (bytes > available) {
    return Status::OutOfMemory("not enough memory for " + label + ": " + std::to_string(bytes) + " bytes needed, " +
                                   std::to_string(available) + " available; raise the limit or use a smaller model",
                               bytes, available);
  }
  void* data = rounded == UINT64_MAX ? nullptr : std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) {
    return Status::OutOfMemory("the system has no memory for " + label, bytes, available);
  }
  allocations_++;
  ts_memory_block block{};
  block.id = allocations_;
  block.address = reinterpret_cast<uint64_t>(data);
  block.bytes = bytes;
  block.kind = kind;
  block.space = TS_SPACE_HOST;
  std::strncpy(block.label, label.c_str(), sizeof block.label - 1);
  try {
    blocks_.emplace(block.id, block);
  } catch (const std::bad_alloc&) {
    std::free(data);
    return Status::OutOfMemory("the system has no memory for " + label, bytes, available);
  }
  if (poison_) Poison(data, bytes);
  bytes_of_kind_[kind] += bytes;
  peak_ = std::max(peak_, Live());
  *out = Buffer{data, bytes, block.id};
  return Status();
}

void Ledger::Free(Buffer* buffer) {
  const auto found = blocks_.find(buffer->id);
  if (found != blocks_.end()) {
    bytes_of_kind_[found->second.kind] -= found->second.bytes;
    std::free(reinterpret_cast<void*>(found->second.address));
    blocks_.erase(found);
  }
  *buffer = Buffer{};
}

ts_memory_stats Ledger::Stats() const {
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

std::vector<ts_memory_block> Ledger::Blocks() const {
  std::vector<ts_memory_block> blocks;
  blocks.reserve(blocks_.size());
  for (const auto& [id, block] : blocks_) blocks.push_back(block);
  return blocks;
}

void Ledger::Poison(void* data, uint64_t bytes) { std::memset(data, 0xff, bytes); }

}  // namespace touchstone::cpu
