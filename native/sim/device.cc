#include "device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace gpu {
inline namespace GPU_NAMESPACE {
namespace {

constexpr size_t kAlignment = 256;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
size_t PageBytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

void Protect(const Device::Allocation& allocation, int protection) {
  mprotect(allocation.mapping + PageBytes(), allocation.mapping_bytes - 2 * PageBytes(), protection);
}

// In guard mode, opens one allocation, or all, to the host for a scope.
class Access {
 public:
  explicit Access(Device* device) : device_(device), only_(nullptr) { Set(PROT_READ | PROT_WRITE); }
  Access(Device* device, const Device::Allocation* only) : device_(device), only_(only) { Set(PROT_READ | PROT_WRITE); }
  ~Access() { Set(PROT_NONE); }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

 private:
  void Set(int protection) {
    if (!device_->options.guard) return;
    if (only_) return Protect(*only_, protection);
    for (const auto& [address, allocation] : device_->allocations) Protect(allocation, protection);
  }
  Device* device_;
  const Device::Allocation* only_;
};

Status NotDeviceMemory(const char* what, const void* memory, size_t bytes) {
  return Status::Error(Code::kInvalidValue, "%s: %zu bytes at %p are not inside one block of device memory", what,
                       bytes, memory);
}

Status NotHostMemory(const char* what, const void* memory) {
  return Status::Error(Code::kInvalidValue, "%s: %p is device memory where host memory is expected", what, memory);
}

Status NotWhileRecording(const char* what) {
  return Status::Error(Code::kInvalidValue, "%s while the stream records a graph", what);
}

// Whether this is the address that SIM_EVICTED names, in decimal: the driver then says that the block there has left
// the device. A residency check must notice, and cannot know beforehand.
bool Evicted(const void* memory) {
  const char* evicted = std::getenv("SIM_EVICTED");
  return evicted != nullptr && std::strtoull(evicted, nullptr, 10) == reinterpret_cast<uintptr_t>(memory);
}

}  // namespace

const Device::Allocation* Device::Find(const void* memory, size_t bytes) const {
  const auto address = reinterpret_cast<uintptr_t>(memory);
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return nullptr;
  const auto& [start, allocation] = *--after;
  const size_t offset = address - start;
  return offset <= allocation.bytes && bytes <= allocation.bytes - offset ? &allocation : nullptr;
}

Status Device::CheckOverruns() {
#ifndef SIMT_ASAN  // which sees them as they happen
  unsigned char intact[kAlignment + 1];
  simt::Poison(intact, sizeof intact);
  for (const auto& [address, allocation] : allocations) {
    const size_t slack = allocation.extent - allocation.bytes;
    if (slack == 0) continue;
    const Access access(this, &allocation);
    if (std::memcmp(reinterpret_cast<void*>(address + allocation.bytes), intact + allocation.bytes % 2, slack) != 0) {
      return Status::Error(Code::kLaunchFailed, "a kernel wrote past the end of a block of device memory of %zu bytes",
                           allocation.bytes);
    }
  }
#endif
  return Status();
}

Status Device::Launch(const simt::LaunchRequest& request) {
  fault = simt::Fault();
  const dim3 &grid = request.grid, &block = request.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
      threads > simt::kMaxBlockThreads) {
    return Status::Error(Code::kLaunchFailed, "%s: a block of (%u,%u,%u) threads; at most 1024 in all, 64 in z",
                         request.name, block.x, block.y, block.z);
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return Status::Error(Code::kLaunchFailed, "%s: a grid of (%u,%u,%u) blocks; at most (2147483647,65535,65535)",
                         request.name, grid.x, grid.y, grid.z);
  }
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  constexpr uint64_t kMaxBlocks = 1 << 26;  // the simulator's own, to bound the memory of the order
  if (blocks > kMaxBlocks) {
    return Status::Error(Code::kLaunchFailed, "%s: %llu blocks; the simulator runs at most %llu", request.name,
                         static_cast<unsigned long long>(blocks), static_cast<unsigned long long>(kMaxBlocks));
  }
  if (request.dynamic_shared_bytes > simt::kMaxSharedBytes) {
    return Status::Error(Code::kLaunchFailed, "%s: %zu bytes of shared memory; at most %zu", request.name,
                         request.dynamic_shared_bytes, simt::kMaxSharedBytes);
  }
  try {
    block_order.resize(blocks);
  } catch (const std::bad_alloc&) {
    return Status::Error(Code::kInternal, "%s: no host memory to order %llu blocks", request.name,
                         static_cast<unsigned long long>(blocks));
  }

  simt::Random random;
  const uint64_t launch = launch_count++;
  random.Reset(options.seed, launch);
  for (uint32_t i = 0; i < blocks; i++) {
    const uint32_t j = random.Below(i + 1);
    block_order[i] = block_order[j];
    block_order[j] = i;
  }
  const Access access(this);
  executor.Begin(request);
  for (const uint32_t id : block_order) {
    const uint3 index = {id % grid.x, id / grid.x % grid.y, id / grid.x / grid.y};
    if (executor.RunBlock(index, random.Next())) continue;
    fault = executor.fault();
    return Status::Error(Code::kLaunchFailed, "%s: %s", request.name, fault.text);
  }
  return Status();
}

Status DeviceCount(int* count) {
  *count = 1;
  return Status();
}

Status GetDeviceProperties(int ordinal, DeviceProperties* properties) {
  if (ordinal != 0) return Status::Error(Code::kInvalidDevice, "sim:%d: there is one simulated device, sim:0", ordinal);
  *properties = DeviceProperties{};
  std::snprintf(properties->name, sizeof properties->name, "SIMT simulator");
  properties->memory_bytes = properties->free_bytes = simt::Options().memory_bytes;
  properties->compute_major = 7;
  properties->compute_minor = 5;
  properties->multiprocessors = 1;
  properties->max_threads_per_block = simt::kMaxBlockThreads;
  properties->shared_bytes_per_block = simt::kMaxSharedBytes;
  properties->simulated = true;
  return Status();
}

Status OpenDevice(int ordinal, Device** device) {
  *device = nullptr;
  if (ordinal != 0) return Status::Error(Code::kInvalidDevice, "sim:%d: there is one simulated device, sim:0", ordinal);
  try {
    *device = new Device;
  } catch (const std::bad_alloc&) {
    return Status::Error(Code::kInternal, "no host memory for a simulated device");
  }
  return Status();
}

Status CloseDevice(Device* device) {
  if (device == nullptr) return Status();
  {
    const std::lock_guard lock(device->mutex);
    if (device->ledger.blocks != 0 || device->streams != 0 || device->events != 0) {
      return Status::Error(Code::kInvalidValue, "the device still has %zu blocks of memory, %zu streams, %zu events",
                           device->ledger.blocks, device->streams, device->events);
    }
  }
  delete device;
  return Status();
}

Status GetMemoryInfo(Device* device, size_t* free_bytes, size_t* total_bytes) {
  const std::lock_guard lock(device->mutex);
  *total_bytes = device->options.memory_bytes;
  *free_bytes = device->options.memory_bytes - device->ledger.bytes;
  return Status();
}

Ledger GetLedger(Device* device) {
  const std::lock_guard lock(device->mutex);
  return device->ledger;
}

Status Allocate(Device* device, size_t bytes, void** memory) {
  *memory = nullptr;
  if (bytes == 0) return Status::Error(Code::kInvalidValue, "an allocation of 0 bytes");
  const std::lock_guard lock(device->mutex);
  const size_t available = device->options.memory_bytes - device->ledger.bytes;
  const bool injected = ++device->allocation_count == device->options.fail_allocation;
  if (injected || bytes > available) {
    return Status::Error(Code::kOutOfMemory, "out of device memory: %zu bytes required, %zu available%s", bytes,
                         available, injected ? " (injected failure)" : "");
  }
  const size_t page = PageBytes(), extent = RoundUp(bytes, kAlignment), span = RoundUp(extent, page);
  void* mapping = mmap(nullptr, span + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return Status::Error(Code::kOutOfMemory, "the host has no memory for %zu bytes of simulated device memory", bytes);
  }
  // The end, not the start, lies at a page's edge: overruns are likelier than underruns.
  const Device::Allocation allocation = {static_cast<char*>(mapping), span + 2 * page, bytes, extent};
  char* data = allocation.mapping + page + span - extent;
  Protect(allocation, PROT_READ | PROT_WRITE);
  simt::Poison(data, extent);
  SIMT_POISON(data + bytes, extent - bytes);
  if (device->options.guard) Protect(allocation, PROT_NONE);
  try {
    device->allocations.emplace(reinterpret_cast<uintptr_t>(data), allocation);
  } catch (const std::bad_alloc&) {
    munmap(mapping, allocation.mapping_bytes);
    return Status::Error(Code::kInternal, "no host memory for the ledger");
  }
  Ledger& ledger = device->ledger;
  ledger.bytes += bytes;
  ledger.blocks++;
  ledger.peak_bytes = std::max(ledger.peak_bytes, ledger.bytes);
  *memory = data;
  return Status();
}

Status Release(Device* device, void* memory) {
  if (memory == nullptr) return Status();
  const std::lock_guard lock(device->mutex);
  const auto found = device->allocations.find(reinterpret_cast<uintptr_t>(memory));
  if (found == device->allocations.end()) {
    return Status::Error(Code::kInvalidValue, "release of %p, which is not the start of a live block", memory);
  }
  const Status overrun = device->CheckOverruns();
  const Device::Allocation allocation = found->second;
  device->allocations.erase(found);
  device->ledger.bytes -= allocation.bytes;
  device->ledger.blocks--;
  SIMT_UNPOISON(allocation.mapping, allocation.mapping_bytes);
  munmap(allocation.mapping, allocation.mapping_bytes);
  return overrun;
}

Status SpaceOf(Device* device, const void* memory, Space* space) {
  const std::lock_guard lock(device->mutex);
  *space = device->Find(memory, 1) != nullptr && !Evicted(memory) ? Space::kDevice : Space::kHost;
  return Status();
}

Status CreateStream(Device* device, Stream** stream) {
  const std::lock_guard lock(device->mutex);
  *stream = new (std::nothrow) Stream{device, nullptr};
  if (*stream == nullptr) return Status::Error(Code::kInternal, "no host memory for a stream");
  device->streams++;
  return Status();
}

Status DestroyStream(Stream* stream) {
  if (stream == nullptr) return Status();
  const std::lock_guard lock(stream->device->mutex);
  stream->device->streams--;
  delete stream;
  return Status();
}

Status Synchronize(Stream* stream) {
  const std::lock_guard lock(stream->device->mutex);
  if (stream->capture != nullptr) return NotWhileRecording("synchronisation");
  return stream->device->CheckOverruns();
}

Status CopyToDevice(void* device_memory, const void* host_memory, size_t bytes, Stream* stream) {
  if (bytes == 0) return Status();
  Device* device = stream->device;
  const std::lock_guard lock(device->mutex);
  if (stream->capture != nullptr) return NotWhileRecording("copy to device");
  const Device::Allocation* to = device->Find(device_memory, bytes);
  if (to == nullptr) return NotDeviceMemory("copy to device", device_memory, bytes);
  if (device->Find(host_memory, 1)) return NotHostMemory("copy to device", host_memory);
  const Access access(device, to);
  std::memcpy(device_memory, host_memory, bytes);
  return Status();
}

Status CopyToHost(void* host_memory, const void* device_memory, size_t bytes, Stream* stream) {
  if (bytes == 0) return Status();
  Device* device = stream->device;
  const std::lock_guard lock(device->mutex);
  if (stream->capture != nullptr) return NotWhileRecording("copy to host");
  const Device::Allocation* from = device->Find(device_memory, bytes);
  if (from == nullptr) return NotDeviceMemory("copy to host", device_memory, bytes);
  if (device->Find(host_memory, 1)) return NotHostMemory("copy to host", host_memory);
  const Access access(device, from);
  std::memcpy(host_memory, device_memory, bytes);
  return Status();
}

Status CopyOnDevice(void* destination, const void* source, size_t bytes, Stream* stream) {
  if (bytes == 0) return Status();
  Device* device = stream->device;
  const std::lock_guard lock(device->mutex);
  if (stream->capture != nullptr) return NotWhileRecording("copy on device");
  if (!device->Find(destination, bytes)) return NotDeviceMemory("copy on device", destination, bytes);
  if (!device->Find(source, bytes)) return NotDeviceMemory("copy on device", source, bytes);
  const Access access(device);
  std::memmove(destination, source, bytes);
  return Status();
}

Status Fill(void* device_memory, int byte, size_t bytes, Stream* stream) {
  if (bytes == 0) return Status();
  Device* device = stream->device;
  const std::lock_guard lock(device->mutex);
  if (stream->capture != nullptr) return NotWhileRecording("fill");
  const Device::Allocation* to = device->Find(device_memory, bytes);
  if (to == nullptr) return NotDeviceMemory("fill", device_memory, bytes);
  const Access access(device, to);
  std::memset(device_memory, byte, bytes);
  return Status();
}

Status CreateEvent(Device* device, Event** event) {
  const std::lock_guard lock(device->mutex);
  *event = new (std::nothrow) Event{device, false, {}};
  if (*event == nullptr) return Status::Error(Code::kInternal, "no host memory for an event");
  device->events++;
  return Status();
}

Status DestroyEvent(Event* event) {
  if (event == nullptr) return Status();
  const std::lock_guard lock(event->device->mutex);
  event->device->events--;
  delete event;
  return Status();
}

Status Record(Event* event, Stream* stream) {
  const std::lock_guard lock(event->device->mutex);
  if (event->device != stream->device) return Status::Error(Code::kInvalidValue, "the event is another device's");
  event->recorded = true;
  event->time = std::chrono::steady_clock::now();
  return Status();
}

Status Wait(Stream* stream, Event* event) {
  const std::lock_guard lock(event->device->mutex);
  if (event->device != stream->device) return Status::Error(Code::kInvalidValue, "the event is another device's");
  return Status();
}

Status Synchronize(Event*) { return Status(); }

Status ElapsedMs(Event* start, Event* end, float* milliseconds) {
  if (start->device != end->device) return Status::Error(Code::kInvalidValue, "the events are of two devices");
  const std::lock_guard lock(start->device->mutex);
  if (!start->recorded || !end->recorded) return Status::Error(Code::kInvalidValue, "an event was never recorded");
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return Status();
}

Status BeginCapture(Stream* stream) {
  const std::lock_guard lock(stream->device->mutex);
  if (stream->capture != nullptr) return Status::Error(Code::kInvalidValue, "the stream is recording already");
  stream->capture.reset(new (std::nothrow) Graph);
  if (stream->capture == nullptr) return Status::Error(Code::kInternal, "no host memory for a graph");
  return Status();
}

Status EndCapture(Stream* stream, Graph** graph) {
  const std::lock_guard lock(stream->device->mutex);
  *graph = stream->capture.release();
  if (*graph == nullptr) return Status::Error(Code::kInvalidValue, "the stream is not recording");
  return Status();
}

Status LaunchGraph(Graph* graph, Stream* stream) {
  for (const RecordedLaunch& launch : graph->launches) {
    const Status status = simt::RunKernel(launch.request, stream);
    if (!status.ok()) return status;
  }
  return Status();
}

Status DestroyGraph(Graph* graph) {
  delete graph;
  return Status();
}

}  // namespace GPU_NAMESPACE
}  // namespace gpu

namespace simt {

gpu::Status Configure(gpu::Device* device, const Options& options) {
  const std::lock_guard lock(device->mutex);
  if (device->ledger.bytes > options.memory_bytes) {
    return gpu::Status::Error(gpu::Code::kInvalidValue, "%zu bytes are in use, more than the new limit of %zu",
                              device->ledger.bytes, options.memory_bytes);
  }
  device->options = options;
  device->allocation_count = 0;
  device->launch_count = 0;
  for (const auto& [address, allocation] : device->allocations) {
    gpu::Protect(allocation, options.guard ? PROT_NONE : PROT_READ | PROT_WRITE);
  }
  return gpu::Status();
}

Fault LastFault(gpu::Device* device) {
  const std::lock_guard lock(device->mutex);
  return device->fault;
}

gpu::Status RunKernel(const LaunchRequest& request, gpu::Stream* stream) {
  const std::lock_guard lock(stream->device->mutex);
  if (stream->capture == nullptr) return stream->device->Launch(request);
  try {
    gpu::RecordedLaunch launch{request, std::make_unique<char[]>(request.argument_bytes)};
    std::memcpy(launch.arguments.get(), request.arguments, request.argument_bytes);
    launch.request.arguments = launch.arguments.get();
    stream->capture->launches.push_back(std::move(launch));
  } catch (const std::bad_alloc&) {
    return gpu::Status::Error(gpu::Code::kInternal, "%s: no host memory to record the launch", request.name);
  }
  return gpu::Status();
}

}  // namespace simt
