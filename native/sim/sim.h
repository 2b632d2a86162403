// What the simulator offers beyond native/cuda/runtime.h: options, and the account of the last fault. The environment
// variable SIM_EVICTED holds the address, in decimal, of a block that its driver is to say has left the device.
#pragma once

#include <cstdint>

#include "../cuda/runtime.h"

namespace simt {

struct Options {
  size_t memory_bytes = size_t{1} << 30;  // bounds what is allocated, counted in requested bytes
  uint64_t seed = 1;                      // orders blocks and threads
  bool guard = false;                     // device memory is inaccessible to the host while no kernel or copy runs
  uint64_t fail_allocation = 0;           // the n-th allocation from now on reports kOutOfMemory; 0: none
};

// Applies to what follows; kInvalidValue if more than memory_bytes is in use already, or a field is out of range.
gpu::Status Configure(gpu::Device* device, const Options& options);

enum class FaultKind : int {
  kNone = 0,
  kDivergentBarrier,      // threads of a block wait at two __syncthreads, or one exited while others wait
  kMaskOmitsCaller,       // a warp operation's mask does not name the calling lane
  kMaskNamesExitedLane,   // ... names a lane that has exited, or that the block does not have
  kMaskNamesAbsentLane,   // ... names a lane that waits elsewhere, or a shuffle reads a lane outside the mask
  kDeadlock,              // threads spin on atomics and nothing else in the block can run
  kSharedMemoryExceeded,  // static and dynamic shared memory together are over the limit
  kSharedMemoryOverrun,   // something was written past the end of a shared array
  kStackExhausted,        // the host has no memory for another fiber
};

const char* FaultName(FaultKind kind);

// The thread named is the lowest-numbered one concerned; file points to a string with static lifetime.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  unsigned block[3] = {}, thread[3] = {};
  const char* file = "";
  int line = 0;
  char text[384] = {};  // the whole sentence, without the kernel's name
};

// The fault of the most recent launch on the device; kNone if that launch was clean.
Fault LastFault(gpu::Device* device);

}  // namespace simt
