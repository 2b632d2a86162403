// The device side of the SIMT simulator: what a kernel source sees instead of CUDA when it is compiled as C++.
// Included through native/cuda/device.cuh only. Names and meanings are those of the CUDA C++ Programming Guide; what is
// absent here is outside the subset that kernels keep to. simt_math.h has the arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "../cuda/runtime.h"
#include "simt_math.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

constexpr int warpSize = 32;

// The initial-exec model makes reading an index one instruction. The executor rewrites threadIdx at every switch.
#define SIMT_THREAD_LOCAL extern __thread __attribute__((tls_model("initial-exec")))
SIMT_THREAD_LOCAL uint3 threadIdx, blockIdx;
SIMT_THREAD_LOCAL dim3 blockDim, gridDim;

namespace simt {

// Where in a kernel's source a thread is.
struct Site {
  const char* file;
  int line;
  bool operator==(const Site& other) const { return file == other.file && line == other.line; }
};

enum class WarpOp : uint8_t { kSync, kBallot, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor };

struct LaunchRequest {
  const char* name;
  dim3 grid, block;
  size_t dynamic_shared_bytes;
  void (*invoke)(const void* arguments);  // runs the calling thread's share of the kernel
  const void* arguments;
  size_t argument_bytes;  // they may be copied
};

// The calls below are made by kernel threads. On a fault they do not return.
void Barrier(Site site);
uint64_t WarpCollective(WarpOp op, unsigned mask, uint64_t value, unsigned source, unsigned width, Site site);
void* SharedMemory(const void* declaration, size_t bytes, Site site);
void* DynamicSharedMemory();
void CountAtomic(Site site);

gpu::Status RunKernel(const LaunchRequest& request, gpu::Stream* stream);

template <class... Parameters>
struct Launch {
  void (*kernel)(Parameters...);
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  gpu::Stream* stream;

  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "a graph copies the arguments of a launch");

  gpu::Status operator()(Parameters... arguments) const {
    const Call call{kernel, std::tuple<Parameters...>(arguments...)};
    const auto invoke = [](const void* opaque) {
      const Call& call = *static_cast<const Call*>(opaque);
      std::apply(call.kernel, call.arguments);
    };
    return RunKernel({name, grid, block, shared_bytes, invoke, &call, sizeof call}, stream);
  }
};

template <class... Parameters>
Launch<Parameters...> MakeLaunch(void (*kernel)(Parameters...), const char* name, dim3 grid, dim3 block,
                                 size_t shared_bytes, gpu::Stream* stream) {
  return {kernel, name, grid, block, shared_bytes, stream};
}

}  // namespace simt

#define LAUNCH(kernel, grid, block, shared_bytes, stream) \
  (simt::MakeLaunch(kernel, #kernel, dim3(grid), dim3(block), shared_bytes, stream))

// The address of the declaration's own static tells one array of a kernel from another.
#define SHARED(T, name, n)                                                   \
  static const char name##_declaration = 0;                                  \
  static_assert(sizeof(T) * (n) <= 48 * 1024, "static shared memory limit"); \
  T(&name)[n] = *static_cast<T(*)[n]>(simt::SharedMemory(&name##_declaration, sizeof(T) * (n), {__FILE__, __LINE__}))
#define SHARED_DYNAMIC(T, name) T* name = static_cast<T*>(simt::DynamicSharedMemory())

// Default arguments evaluate at the call, so file and line are the kernel's.
#define SIMT_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SIMT_SITE) { simt::Barrier({file, line}); }

inline void __syncwarp(unsigned mask, SIMT_SITE) {
  simt::WarpCollective(simt::WarpOp::kSync, mask, 0, 0, 32, {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
  return static_cast<unsigned>(simt::WarpCollective(simt::WarpOp::kBallot, mask, predicate != 0, 0, 32, {file, line}));
}
inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}

namespace simt {
template <class T>
inline T Shuffle(WarpOp op, unsigned mask, T value, unsigned source, unsigned width, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a shuffle moves at most eight bytes");
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  bits = WarpCollective(op, mask, bits, source, width, site);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace simt

// `width` is a power of two up to 32. Unlike hardware, reading a lane that the mask does not name is a fault.
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE) {
  return simt::Shuffle(simt::WarpOp::kShuffle, mask, value, source, width, {file, line});
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  return simt::Shuffle(simt::WarpOp::kShuffleUp, mask, value, delta, width, {file, line});
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
  return simt::Shuffle(simt::WarpOp::kShuffleDown, mask, value, delta, width, {file, line});
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SIMT_SITE) {
  return simt::Shuffle(simt::WarpOp::kShuffleXor, mask, value, lanes, width, {file, line});
}

namespace simt {
// CUDA's atomics are for these; floating point is left out on purpose (its order would be visible in the result).
template <class T>
concept Atomic = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

// The same type as T, but not deduced: a literal converts to the pointer's type as in CUDA.
template <class T>
using Same = std::type_identity_t<T>;

template <Atomic T, class F>
inline T Update(T* address, Site site, F next) {
  CountAtomic(site);
  T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(address, &seen, next(seen), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}
}  // namespace simt

template <simt::Atomic T>
inline T atomicAdd(T* address, simt::Same<T> value, SIMT_SITE) {
  simt::CountAtomic({file, line});
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <simt::Atomic T>
inline T atomicExch(T* address, simt::Same<T> value, SIMT_SITE) {
  simt::CountAtomic({file, line});
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
}
template <simt::Atomic T>
inline T atomicOr(T* address, simt::Same<T> value, SIMT_SITE) {
  simt::CountAtomic({file, line});
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}
template <simt::Atomic T>
inline T atomicAnd(T* address, simt::Same<T> value, SIMT_SITE) {
  simt::CountAtomic({file, line});
  return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);
}
template <simt::Atomic T>
inline T atomicMax(T* address, simt::Same<T> value, SIMT_SITE) {
  return simt::Update(address, {file, line}, [value](T seen) { return seen > value ? seen : value; });
}
template <simt::Atomic T>
inline T atomicMin(T* address, simt::Same<T> value, SIMT_SITE) {
  return simt::Update(address, {file, line}, [value](T seen) { return seen < value ? seen : value; });
}
// Returns what was there; the exchange happened if that equals `compare`.
template <simt::Atomic T>
inline T atomicCAS(T* address, simt::Same<T> compare, simt::Same<T> value, SIMT_SITE) {
  simt::CountAtomic({file, line});
  __atomic_compare_exchange_n(address, &compare, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return compare;
}

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
