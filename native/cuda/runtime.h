// The runtime calls a GPU backend makes, under one set of names with two implementations: CUDA's in the plugin, and
// native/sim/device.cc, the SIMT simulator's. A source that keeps to this header and device.cuh runs on both.
//
// Every call returns a Status; nothing throws or aborts. All calls may be made from any host thread; work on one device
// is serialised. Pointers to device memory must not be dereferenced by the host.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

// Both implementations may live in one process (the CUDA one as a plugin), hence two distinct inline namespaces.
#if defined(__CUDACC__) || defined(TOUCHSTONE_CUDA)
#define GPU_NAMESPACE cuda_runtime
#else
#define GPU_NAMESPACE sim_runtime
#endif

namespace gpu {
inline namespace GPU_NAMESPACE {

enum class Code : int {
  kOk = 0,
  kInvalidValue,   // an argument is wrong; nothing was done
  kInvalidDevice,  // no such device
  kOutOfMemory,    // device memory is exhausted; the text has required and available bytes
  kLaunchFailed,   // a kernel could not be started or stopped with a fault
  kInternal,       // the driver or the host system failed
};

// A code and, unless it is kOk, a text of at most 511 characters.
struct [[nodiscard]] Status {
  Code code = Code::kOk;
  char text[512];

  Status() { text[0] = 0; }
  bool ok() const { return code == Code::kOk; }

  [[gnu::format(printf, 2, 3)]] static Status Error(Code code, const char* format, ...) {
    Status status;
    status.code = code;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(status.text, sizeof status.text, format, arguments);
    va_end(arguments);
    return status;
  }
};

struct DeviceProperties {
  char name[256];
  char uuid[48];  // as the driver's tools print it; empty if there is none
  size_t memory_bytes, free_bytes;
  int driver_version, runtime_version;  // 1000 * major + 10 * minor; 0 if there is none
  int compute_major, compute_minor;
  int multiprocessors;
  int max_threads_per_block;
  size_t shared_bytes_per_block;  // the most static plus dynamic shared memory a launch may ask for
  bool simulated;
};

// What is allocated now, by requested bytes, and the highest `bytes` ever was.
struct Ledger {
  size_t bytes, blocks, peak_bytes;
};

// Where a block of memory lives, by the driver's word.
enum class Space : int { kHost = 0, kDevice = 1, kManaged = 2 };

struct Device;
struct Stream;
struct Event;
struct Graph;

Status DeviceCount(int* count);
Status GetDeviceProperties(int ordinal, DeviceProperties* properties);

// The caller owns the device and closes it last: closing with live memory, streams or events is kInvalidValue.
Status OpenDevice(int ordinal, Device** device);
Status CloseDevice(Device* device);

Status GetMemoryInfo(Device* device, size_t* free_bytes, size_t* total_bytes);
Ledger GetLedger(Device* device);

// Device memory, aligned to 256 bytes, with arbitrary content. Zero bytes is kInvalidValue; Release(nullptr) is
// harmless.
Status Allocate(Device* device, size_t bytes, void** memory);
Status Release(Device* device, void* memory);
Status SpaceOf(Device* device, const void* memory, Space* space);

Status CreateStream(Device* device, Stream** stream);
Status DestroyStream(Stream* stream);
Status Synchronize(Stream* stream);

// In stream order. CopyToDevice is done with its host buffer when it returns; that of CopyToHost holds the bytes once
// the stream is synchronised.
Status CopyToDevice(void* device_memory, const void* host_memory, size_t bytes, Stream* stream);
Status CopyToHost(void* host_memory, const void* device_memory, size_t bytes, Stream* stream);
Status CopyOnDevice(void* destination, const void* source, size_t bytes, Stream* stream);
Status Fill(void* device_memory, int byte, size_t bytes, Stream* stream);

Status CreateEvent(Device* device, Event** event);
Status DestroyEvent(Event* event);
Status Record(Event* event, Stream* stream);
Status Wait(Stream* stream, Event* event);  // later work of the stream starts after the event
Status Synchronize(Event* event);
Status ElapsedMs(Event* start, Event* end, float* milliseconds);

// Between these two, launches on the stream are recorded instead of run; copies and synchronisation are not allowed.
// EndCapture must follow BeginCapture even after a failure; *graph is null unless it succeeds.
Status BeginCapture(Stream* stream);
Status EndCapture(Stream* stream, Graph** graph);
// Runs what was recorded, with the arguments it was recorded with.
Status LaunchGraph(Graph* graph, Stream* stream);
Status DestroyGraph(Graph* graph);

}  // namespace GPU_NAMESPACE
}  // namespace gpu
