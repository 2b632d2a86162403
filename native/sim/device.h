// The simulated device behind native/cuda/runtime.h: bounded memory with a ledger, streams that run at once, launches.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "executor.h"
#include "sim.h"

namespace gpu {
inline namespace GPU_NAMESPACE {

// Every public call holds the mutex of its device: one device, one thing at a time.
struct Device {
  struct Allocation {
    char* mapping;  // with an inaccessible page before and after
    size_t mapping_bytes;
    size_t bytes;   // asked for
    size_t extent;  // rounded up to the alignment; the slack is checked for overruns
  };

  std::mutex mutex;
  simt::Options options;
  std::map<uintptr_t, Allocation> allocations;  // by address
  Ledger ledger = {};
  uint64_t allocation_count = 0;  // since configure
  uint64_t launch_count = 0;
  size_t streams = 0, events = 0;
  simt::Executor executor;
  std::vector<uint32_t> block_order;
  simt::Fault fault;

  // The allocation that holds all of [memory, memory + bytes), or null.
  const Allocation* Find(const void* memory, size_t bytes) const;
  // The first allocation whose slack was written to, as a status.
  Status CheckOverruns();
  Status Launch(const simt::LaunchRequest& request);
};

// A launch that was recorded, with a copy of its arguments.
struct RecordedLaunch {
  simt::LaunchRequest request;
  std::unique_ptr<char[]> arguments;
};

struct Graph {
  std::vector<RecordedLaunch> launches;
};

// Work of a stream is done when the call that queues it returns.
struct Stream {
  Device* device;
  std::unique_ptr<Graph> capture;  // what is being recorded, or null
};

struct Event {
  Device* device;
  bool recorded = false;
  std::chrono::steady_clock::time_point time;
};

}  // namespace GPU_NAMESPACE
}  // namespace gpu
