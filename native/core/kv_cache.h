// The KV cache's pool of blocks: which are free and how many sessions hold each. KV_CACHE.md states the invariants.
#pragma once

#include <cstdint>
#include <vector>

#include "backend.h"

namespace touchstone {

class BlockPool {
 public:
  // All blocks free. May throw std::bad_alloc.
  void Reset(int32_t blocks);

  int32_t total() const { return static_cast<int32_t>(holders_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  // Takes a free block, with one holder; -1 if there is none.
  int32_t Take();
  void Share(int32_t block) { holders_[static_cast<size_t>(block)]++; }
  // Drops one holder; the last one frees the block.
  void Release(int32_t block);
  bool Shared(int32_t block) const { return holders_[static_cast<size_t>(block)] > 1; }

 private:
  std::vector<int32_t> holders_;
  std::vector<int32_t> free_;  // a stack
};

// Blocks that hold `length` positions.
inline int32_t BlocksFor(int64_t length) {
  return static_cast<int32_t>((length + TS_KV_BLOCK_POSITIONS - 1) / TS_KV_BLOCK_POSITIONS);
}

}  // namespace touchstone
