// Kernels with one planted error each. The offending line is marked by NEXT_LINE, so that tests check the report's
// line.
#include <cstdlib>
#include <cstring>

#include "../../cuda/device.cuh"
#include "../sim.h"
#include "common.h"
#include "simtest.h"

namespace {

int planted_line;
// The next line is the one that the report must name.
#define NEXT_LINE planted_line = __LINE__ + 1

__global__ void DivergentBarrier(int*) {
  if (threadIdx.x < 40) {
    if (threadIdx.x == 0) NEXT_LINE;
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void ExitBeforeBarrier(int*) {
  if (blockIdx.x == 2 && threadIdx.x == 17) return;
  NEXT_LINE;
  __syncthreads();
}

__global__ void FewerBarriersInLoop(int*) {
  const int rounds = threadIdx.x == 5 ? 2 : 3;
  for (int i = 0; i < rounds; i++) {
    NEXT_LINE;
    __syncthreads();
  }
}

__global__ void ShuffleNamesExitedLane(int* out) {
  if (threadIdx.x == 33) return;
  NEXT_LINE;
  out[0] = __shfl_xor_sync(0xffffffffu, 1, 1);
}

__global__ void ShuffleNamesMissingLane(int* out) {
  NEXT_LINE;
  out[0] = __shfl_down_sync(0xffffffffu, 1, 1);
}

__global__ void VoteNamesAbsentLane(int* out) {
  if (threadIdx.x == 9) {
    __syncthreads();
  } else {
    NEXT_LINE;
    out[0] = __any_sync(0xffffffffu, 1);
    __syncthreads();
  }
}

__global__ void DivergentWarpOperations(int* out) {
  if (threadIdx.x % 32 < 16) {
    NEXT_LINE;
    out[0] = __shfl_sync(0xffffffffu, 1, 0);
  } else {
    out[0] = static_cast<int>(__ballot_sync(0xffffffffu, 1));
  }
}

__global__ void MaskOmitsCaller(int* out) {
  if (threadIdx.x != 4) return;
  NEXT_LINE;
  out[0] = __shfl_sync(0x0000000fu, 1, 0);
}

__global__ void ShuffleReadsOutsideMask(int* out) {
  if (threadIdx.x >= 8) return;
  NEXT_LINE;
  out[0] = __shfl_sync(0x000000ffu, 1, 8);
}

__global__ void SpinsForever(int* out) {
  if (threadIdx.x == 3) {
    while (true) {
      NEXT_LINE;
      if (atomicAdd(out + 1, 0) == 1) break;
    }
  }
  __syncthreads();
}

__global__ void SharedOverrun(int* out) {
  SHARED(int, values, 30);
  int* escaped = values;
  escaped[threadIdx.x] = 1;
  __syncthreads();
  out[0] = escaped[0];
}

__global__ void TooMuchShared(int* out) {
  SHARED_DYNAMIC(int, dynamic);
  NEXT_LINE;
  SHARED(int, values, 12000);
  values[0] = dynamic[0] = 1;
  out[0] = values[0];
}

struct Planted {
  const char* name;
  void (*kernel)(int*);
  unsigned grid, block;
  size_t shared_bytes;
};

const Planted kPlanted[] = {
    {"divergent barrier", DivergentBarrier, 1, 64, 0},
    {"exit before barrier", ExitBeforeBarrier, 4, 64, 0},
    {"fewer barriers in a loop", FewerBarriersInLoop, 1, 64, 0},
    {"shuffle names exited lane", ShuffleNamesExitedLane, 1, 64, 0},
    {"shuffle names missing lane", ShuffleNamesMissingLane, 1, 40, 0},
    {"vote names absent lane", VoteNamesAbsentLane, 1, 32, 0},
    {"divergent warp operations", DivergentWarpOperations, 1, 32, 0},
    {"mask omits caller", MaskOmitsCaller, 1, 32, 0},
    {"shuffle reads outside mask", ShuffleReadsOutsideMask, 1, 32, 0},
    {"spin", SpinsForever, 1, 32, 0},
    {"shared overrun", SharedOverrun, 1, 32, 0},
    {"too much shared", TooMuchShared, 1, 32, 40000},
    {"block too large", FewerBarriersInLoop, 1, 1025, 0},
    {"empty grid", FewerBarriersInLoop, 0, 32, 0},
    {"too much dynamic shared", FewerBarriersInLoop, 1, 32, 70000},
};

}  // namespace

extern "C" simtest_result simtest_run_planted(const char* name, uint64_t seed) {
  simtest_result result = {};
  result.code = -1;
  for (const Planted& planted : kPlanted) {
    if (std::strcmp(planted.name, name) != 0) continue;
    planted_line = 0;
    simtest::Bench bench(seed);
    int* memory = bench.Upload<int>(std::vector<int>(64, 0));
    gpu::Status status = bench.status;
    if (status.ok()) {
      status = LAUNCH(planted.kernel, planted.grid, planted.block, planted.shared_bytes, bench.stream)(memory);
    }
    result = simtest::Describe(bench, status);
  }
  return result;
}

extern "C" int simtest_planted_line(void) { return planted_line; }

extern "C" int simtest_sanitized(void) {
#ifdef __SANITIZE_ADDRESS__
  return 1;
#else
  return 0;
#endif
}
