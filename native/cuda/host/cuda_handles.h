// What the opaque handles of runtime.h are over CUDA.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <map>
#include <mutex>

#include "../runtime.h"

namespace gpu {
inline namespace GPU_NAMESPACE {

struct Device {
  explicit Device(int ordinal) : ordinal(ordinal) {}
  const int ordinal;
  std::mutex mutex;                // guards what follows
  std::map<void*, size_t> blocks;  // by address
  Ledger ledger = {};
  std::atomic<size_t> streams{0}, events{0};
};

struct Stream {
  Device* device;
  cudaStream_t stream;
};

struct Event {
  Device* device;
  cudaEvent_t event;
};

struct Graph {
  cudaGraphExec_t instance;
};

}  // namespace GPU_NAMESPACE
}  // namespace gpu
