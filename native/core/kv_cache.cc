#include "kv_cache.h"

namespace touchstone {

void BlockPool::Reset(int32_t blocks) {
  holders_.assign(static_cast<size_t>(blocks), 0);
  free_.resize(static_cast<size_t>(blocks));
  for (int32_t i = 0; i < blocks; i++) free_[static_cast<size_t>(i)] = blocks - 1 - i;  // low numbers go first
}

int32_t BlockPool::Take() {
  if (free_.empty()) return -1;
  const int32_t block = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockPool::Release(int32_t block) {
  // free_ once held every block, so that push_back never allocates.
  if (--holders_[static_cast<size_t>(block)] == 0) free_.push_back(block);
}

}  // namespace touchstone
