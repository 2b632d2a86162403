// The one way to device memory: an allocator with a ledger of every block. It knows device memory only; memory that
// moves between host and device, or that the device reads over the bus, does not exist here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../../core/backend.h"
#include "../runtime.h"

namespace touchstone::cuda {

// A gpu::Status as a status of the library.
Status FromGpu(const gpu::Status& status);

// Not safe for concurrent use.
class Allocator {
 public:
  // `limit` bounds the sum of all blocks.
  Allocator(gpu::Device* device, gpu::Stream* stream, const ts_context_options& options, uint64_t limit);
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // A block aligned to 256. TS_OUT_OF_MEMORY, with required and available bytes, beyond the limit, when the device has
  // no more, or at the allocation that the options let fail.
  Status Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out);
  void Free(Buffer* buffer);
  ts_memory_stats Stats() const;
  // `space` of each block is what the driver says now.
  std::vector<ts_memory_block> Blocks() const;
  Status CheckResidency(ts_residency_report* out) const;
  // Fills memory with bytes that are NaN in every floating-point format.
  Status Poison(const Buffer& buffer, uint64_t offset, uint64_t bytes);

 private:
  uint64_t Live() const;
  ts_memory_space SpaceOf(const ts_memory_block& block) const;

  gpu::Device* device_;
  gpu::Stream* stream_;
  std::map<uint64_t, ts_memory_block> blocks_;
  uint64_t bytes_of_kind_[4] = {};
  uint64_t limit_;
  uint64_t fail_allocation_;
  bool poison_;
  uint64_t attempts_ = 0;
  uint64_t allocations_ = 0;
  uint64_t peak_ = 0;
};

}  // namespace touchstone::cuda
