// The memory ledger: every block that a context holds, until it is freed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../core/backend.h"

namespace touchstone::cpu {

// Not safe for concurrent use.
class Ledger {
 public:
  explicit Ledger(const ts_context_options& options, uint64_t default_limit);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // A block of at least one byte, aligned to 256. TS_OUT_OF_MEMORY beyond the limit, when the system has no more, or at
  // the allocation that the options let fail.
  Status Allocate(ts_memory_kind kind, uint64_t bytes, const std::string& label, Buffer* out);
  void Free(Buffer* buffer);
  ts_memory_stats Stats() const;
  std::vector<ts_memory_block> Blocks() const;
  // Fills memory with bytes that are NaN in every floating-point format.
  static void Poison(void* data, uint64_t bytes);

 private:
  uint64_t Live() const;

  std::map<uint64_t, ts_memory_block> blocks_;
  uint64_t bytes_of_kind_[4] = {};
  uint64_t limit_;
  uint64_t fail_allocation_;
  bool poison_;
  uint64_t attempts_ = 0;
  uint64_t allocations_ = 0;
  uint64_t peak_ = 0;
};

}  // namespace touchstone::cpu
