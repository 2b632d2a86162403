// runtime.h over the CUDA runtime. Device memory comes from cudaMalloc alone.
#include "../runtime.h"

#include <cuda_runtime_api.h>

#include <mutex>
#include <new>

#include "cuda_handles.h"

namespace gpu {
inline namespace GPU_NAMESPACE {
namespace {

Status Failed(cudaError_t error, const char* what, Code code = Code::kInternal) {
  if (error == cudaErrorMemoryAllocation) code = Code::kOutOfMemory;
  if (error == cudaErrorInvalidDevice || error == cudaErrorNoDevice) code = Code::kInvalidDevice;
  // Faults of kernels show at whatever call comes next.
  if (error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure || error == cudaErrorLaunchTimeout ||
      error == cudaErrorIllegalInstruction || error == cudaErrorMisalignedAddress ||
      error == cudaErrorHardwareStackError) {
    code = Code::kLaunchFailed;
  }
  cudaGetLastError();  // forgets an error that is not sticky
  return Status::Error(code, "%s: %s", what, cudaGetErrorString(error));
}

Status Result(cudaError_t error, const char* what) { return error == cudaSuccess ? Status() : Failed(error, what); }

Status Use(const Device* device) { return Result(cudaSetDevice(device->ordinal), "cudaSetDevice"); }

void FormatUuid(const cudaDeviceProp& from, char* to, size_t bytes) {
  const auto* u = reinterpret_cast<const unsigned char*>(from.uuid.bytes);
  std::snprintf(to, bytes, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
                u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

}  // namespace

cudaStream_t NativeStream(Stream* stream) { return stream->stream; }

Status DeviceCount(int* count) {
  *count = 0;
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    *count = 0;
    return Status();
  }
  return Result(error, "cudaGetDeviceCount");
}

Status GetDeviceProperties(int ordinal, DeviceProperties* properties) {
  *properties = DeviceProperties{};
  cudaDeviceProp from;
  cudaError_t error = cudaGetDeviceProperties(&from, ordinal);
  if (error != cudaSuccess) return Failed(error, "cudaGetDeviceProperties");
  std::snprintf(properties->name, sizeof properties->name, "%.255s", from.name);
  FormatUuid(from, properties->uuid, sizeof properties->uuid);
  properties->memory_bytes = properties->free_bytes = from.totalGlobalMem;
  properties->compute_major = from.major;
  properties->compute_minor = from.minor;
  properties->multiprocessors = from.multiProcessorCount;
  properties->max_threads_per_block = from.maxThreadsPerBlock;
  properties->shared_bytes_per_block = from.sharedMemPerBlockOptin;
  error = cudaDriverGetVersion(&properties->driver_version);
  if (error == cudaSuccess) error = cudaRuntimeGetVersion(&properties->runtime_version);
  size_t total = 0;
  if (error == cudaSuccess) error = cudaSetDevice(ordinal);
  if (error == cudaSuccess) error = cudaMemGetInfo(&properties->free_bytes, &total);
  return Result(error, "device properties");
}

Status OpenDevice(int ordinal, Device** device) {
  *device = nullptr;
  const cudaError_t error = cudaSetDevice(ordinal);
  if (error != cudaSuccess) return Failed(error, "cudaSetDevice");
  *device = new (std::nothrow) Device(ordinal);
  return *device != nullptr ? Status() : Status::Error(Code::kInternal, "no host memory for a device");
}

Status CloseDevice(Device* device) {
  if (device == nullptr) return Status();
  if (device->ledger.blocks != 0 || device->streams != 0 || device->events != 0) {
    return Status::Error(Code::kInvalidValue, "the device still has %zu blocks of memory, %zu streams, %zu events",
                         device->ledger.blocks, device->streams.load(), device->events.load());
  }
  delete device;
  return Status();
}

Status GetMemoryInfo(Device* device, size_t* free_bytes, size_t* total_bytes) {
  const Status status = Use(device);
  return status.ok() ? Result(cudaMemGetInfo(free_bytes, total_bytes), "cudaMemGetInfo") : status;
}

Ledger GetLedger(Device* device) {
  const std::lock_guard<std::mutex> lock(device->mutex);
  return device->ledger;
}

Status Allocate(Device* device, size_t bytes, void** memory) {
  *memory = nullptr;
  if (bytes == 0) return Status::Error(Code::kInvalidValue, "an allocation of 0 bytes");
  const Status status = Use(device);
  if (!status.ok()) return status;
  const cudaError_t error = cudaMalloc(memory, bytes);
  if (error != cudaSuccess) {
    size_t free_bytes = 0, total_bytes = 0;
    cudaGetLastError();
    cudaMemGetInfo(&free_bytes, &total_bytes);
    if (error != cudaErrorMemoryAllocation) return Failed(error, "cudaMalloc");
    return Status::Error(Code::kOutOfMemory, "out of device memory: %zu bytes required, %zu available", bytes,
                         free_bytes);
  }
  const std::lock_guard<std::mutex> lock(device->mutex);
  try {
    device->blocks.emplace(*memory, bytes);
  } catch (const std::bad_alloc&) {
    cudaFree(*memory);
    *memory = nullptr;
    return Status::Error(Code::kInternal, "no host memory for the ledger");
  }
  Ledger& ledger = device->ledger;
  ledger.bytes += bytes;
  ledger.blocks++;
  if (ledger.bytes > ledger.peak_bytes) ledger.peak_bytes = ledger.bytes;
  return Status();
}

Status Release(Device* device, void* memory) {
  if (memory == nullptr) return Status();
  const Status status = Use(device);
  if (!status.ok()) return status;
  {
    const std::lock_guard<std::mutex> lock(device->mutex);
    const auto found = device->blocks.find(memory);
    if (found == device->blocks.end()) {
      return Status::Error(Code::kInvalidValue, "release of %p, which is not the start of a live block", memory);
    }
    device->ledger.bytes -= found->second;
    device->ledger.blocks--;
    device->blocks.erase(found);
  }
  return Result(cudaFree(memory), "cudaFree");
}

Status SpaceOf(Device* device, const void* memory, Space* space) {
  const Status status = Use(device);
  if (!status.ok()) return status;
  cudaPointerAttributes attributes;
  const cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
  if (error != cudaSuccess) return Failed(error, "cudaPointerGetAttributes");
  const bool here = attributes.type == cudaMemoryTypeDevice && attributes.device == device->ordinal;
  *space = here ? Space::kDevice : attributes.type == cudaMemoryTypeManaged ? Space::kManaged : Space::kHost;
  return Status();
}

Status CreateStream(Device* device, Stream** stream) {
  *stream = nullptr;
  const Status status = Use(device);
  if (!status.ok()) return status;
  cudaStream_t native;
  const cudaError_t error = cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking);
  if (error != cudaSuccess) return Failed(error, "cudaStreamCreateWithFlags");
  *stream = new (std::nothrow) Stream{device, native};
  if (*stream == nullptr) {
    cudaStreamDestroy(native);
    return Status::Error(Code::kInternal, "no host memory for a stream");
  }
  device->streams++;
  return Status();
}

Status DestroyStream(Stream* stream) {
  if (stream == nullptr) return Status();
  const Status used = Use(stream->device);
  const Status status = Result(cudaStreamDestroy(stream->stream), "cudaStreamDestroy");
  stream->device->streams--;
  delete stream;
  return used.ok() ? status : used;
}

Status Synchronize(Stream* stream) {
  const Status status = Use(stream->device);
  return status.ok() ? Result(cudaStreamSynchronize(stream->stream), "a kernel or copy") : status;
}

namespace {

Status CopyBytes(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, Stream* stream) {
  if (bytes == 0) return Status();
  const Status status = Use(stream->device);
  if (!status.ok()) return status;
  return Result(cudaMemcpyAsync(to, from, bytes, kind, stream->stream), "cudaMemcpyAsync");
}

}  // namespace

// The host's memory is pageable: the runtime has copied it when the call returns.
Status CopyToDevice(void* device_memory, const void* host_memory, size_t bytes, Stream* stream) {
  return CopyBytes(device_memory, host_memory, bytes, cudaMemcpyHostToDevice, stream);
}

Status CopyToHost(void* host_memory, const void* device_memory, size_t bytes, Stream* stream) {
  return CopyBytes(host_memory, device_memory, bytes, cudaMemcpyDeviceToHost, stream);
}

Status CopyOnDevice(void* destination, const void* source, size_t bytes, Stream* stream) {
  return CopyBytes(destination, source, bytes, cudaMemcpyDeviceToDevice, stream);
}

Status Fill(void* device_memory, int byte, size_t bytes, Stream* stream) {
  if (bytes == 0) return Status();
  const Status status = Use(stream->device);
  return status.ok() ? Result(cudaMemsetAsync(device_memory, byte, bytes, stream->stream), "cudaMemsetAsync") : status;
}

Status CreateEvent(Device* device, Event** event) {
  *event = nullptr;
  const Status status = Use(device);
  if (!status.ok()) return status;
  cudaEvent_t native;
  const cudaError_t error = cudaEventCreate(&native);
  if (error != cudaSuccess) return Failed(error, "cudaEventCreate");
  *event = new (std::nothrow) Event{device, native};
  if (*event == nullptr) {
    cudaEventDestroy(native);
    return Status::Error(Code::kInternal, "no host memory for an event");
  }
  device->events++;
  return Status();
}

Status DestroyEvent(Event* event) {
  if (event == nullptr) return Status();
  const Status status = Result(cudaEventDestroy(event->event), "cudaEventDestroy");
  event->device->events--;
  delete event;
  return status;
}

Status Record(Event* event, Stream* stream) {
  return Result(cudaEventRecord(event->event, stream->stream), "cudaEventRecord");
}

Status Wait(Stream* stream, Event* event) {
  return Result(cudaStreamWaitEvent(stream->stream, event->event, 0), "cudaStreamWaitEvent");
}

Status Synchronize(Event* event) { return Result(cudaEventSynchronize(event->event), "cudaEventSynchronize"); }

Status ElapsedMs(Event* start, Event* end, float* milliseconds) {
  return Result(cudaEventElapsedTime(milliseconds, start->event, end->event), "cudaEventElapsedTime");
}

Status BeginCapture(Stream* stream) {
  const Status status = Use(stream->device);
  if (!status.ok()) return status;
  return Result(cudaStreamBeginCapture(stream->stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

Status EndCapture(Stream* stream, Graph** graph) {
  *graph = nullptr;
  cudaGraph_t captured = nullptr;
  cudaError_t error = cudaStreamEndCapture(stream->stream, &captured);
  if (error != cudaSuccess) return Failed(error, "cudaStreamEndCapture");
  cudaGraphExec_t instance = nullptr;
  error = cudaGraphInstantiateWithFlags(&instance, captured, 0);
  cudaGraphDestroy(captured);
  if (error != cudaSuccess) return Failed(error, "cudaGraphInstantiateWithFlags");
  *graph = new (std::nothrow) Graph{instance};
  if (*graph != nullptr) return Status();
  cudaGraphExecDestroy(instance);
  return Status::Error(Code::kInternal, "no host memory for a graph");
}

Status LaunchGraph(Graph* graph, Stream* stream) {
  const Status status = Use(stream->device);
  return status.ok() ? Result(cudaGraphLaunch(graph->instance, stream->stream), "cudaGraphLaunch") : status;
}

Status DestroyGraph(Graph* graph) {
  if (graph == nullptr) return Status();
  const Status status = Result(cudaGraphExecDestroy(graph->instance), "cudaGraphExecDestroy");
  delete graph;
  return status;
}

}  // namespace GPU_NAMESPACE
}  // namespace gpu
