// What a kernel source includes, and all it includes for the GPU: real CUDA under nvcc, the SIMT simulator otherwise.
//
//   SHARED(T, name, n)        static shared memory: an array `T name[n]`, n a constant
//   SHARED_DYNAMIC(T, name)   the launch's dynamic shared memory as `T* name`, aligned to 16 bytes
//   LAUNCH_EARLY(...)         as LAUNCH, for a kernel that calls AwaitPrevious: it may start while the kernel before it
//   on
//                             the stream ends, which hides the start of kernels in a graph (programmatic dependent
//                             launch, CUDA C++ Programming Guide; devices since sm_90, toolkits since 12.3; elsewhere
//                             LAUNCH)
//   AwaitPrevious()           every thread calls it before it reads what a kernel before may have written (all but the
//                             weights), and before it writes anything
//   Prefetch(address)         asks for the memory there to be brought nearer; may be called before AwaitPrevious
//   UNROLL, UNROLL_BY(n)      before a loop: asks the compiler to unroll it, whole or n times
//   LAUNCH(kernel, grid, block, shared_bytes, stream)(arguments...)   -> gpu::Status
//
// A kernel that is a template with a comma goes into parentheses: LAUNCH((gather<float, 4>), ...).
// The subset kernels keep to is described in README.md.
#pragma once

#include "runtime.h"

#if defined(__CUDACC__)

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define GPU_PRAGMA(text) _Pragma(#text)
#define UNROLL GPU_PRAGMA(unroll)
#define UNROLL_BY(n) GPU_PRAGMA(unroll n)
#define SHARED(T, name, n) __shared__ T name[n]
#define SHARED_DYNAMIC(T, name)                                              \
  extern __shared__ __align__(16) unsigned char gpu_dynamic_shared_memory[]; \
  T* name = reinterpret_cast<T*>(gpu_dynamic_shared_memory)
#define LAUNCH(kernel, grid, block, shared_bytes, stream) \
  (gpu::MakeLaunch(kernel, #kernel, dim3(grid), dim3(block), shared_bytes, stream, false))
#define LAUNCH_EARLY(kernel, grid, block, shared_bytes, stream) \
  (gpu::MakeLaunch(kernel, #kernel, dim3(grid), dim3(block), shared_bytes, stream, true))

namespace gpu {
inline namespace GPU_NAMESPACE {

cudaStream_t NativeStream(Stream* stream);

__device__ __forceinline__ void AwaitPrevious() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && CUDART_VERSION >= 12030
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ void Prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

template <class... Parameters>
struct Launch {
  void (*kernel)(Parameters...);
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  Stream* stream;
  bool early;

  Status operator()(Parameters... arguments) const {
    constexpr size_t kWithoutOptIn = 48 * 1024;
    if (shared_bytes > kWithoutOptIn) {
      const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
      if (error != cudaSuccess) return Failed(error);
    }
#if CUDART_VERSION >= 12030
    if (early && Awaits()) {
      cudaLaunchAttribute attribute = {};
      attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attribute.val.programmaticStreamSerializationAllowed = 1;
      cudaLaunchConfig_t config = {};
      config.gridDim = grid;
      config.blockDim = block;
      config.dynamicSmemBytes = shared_bytes;
      config.stream = NativeStream(stream);
      config.attrs = &attribute;
      config.numAttrs = 1;
      const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
      return error == cudaSuccess ? Status() : Failed(error);
    }
#endif
    kernel<<<grid, block, shared_bytes, NativeStream(stream)>>>(arguments...);
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? Status() : Failed(error);
  }

  // Whether what runs on this device was compiled for sm_90 or newer, so that AwaitPrevious waits in it.
  bool Awaits() const {
    cudaFuncAttributes attributes;
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion >= 90 &&
           attributes.binaryVersion >= 90;
  }

  Status Failed(cudaError_t error) const {
    return Status::Error(Code::kLaunchFailed, "%s: %s", name, cudaGetErrorString(error));
  }
};

template <class... Parameters>
Launch<Parameters...> MakeLaunch(void (*kernel)(Parameters...), const char* name, dim3 grid, dim3 block,
                                 size_t shared_bytes, Stream* stream, bool early) {
  return {kernel, name, grid, block, shared_bytes, stream, early};
}

}  // namespace GPU_NAMESPACE
}  // namespace gpu

#else

#define UNROLL
#define UNROLL_BY(n)
#define LAUNCH_EARLY LAUNCH

#include "../sim/simt.h"

namespace gpu {
inline namespace GPU_NAMESPACE {
inline void AwaitPrevious() {}
inline void Prefetch(const void*) {}
}  // namespace GPU_NAMESPACE
}  // namespace gpu

#endif
