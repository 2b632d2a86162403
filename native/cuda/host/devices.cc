// The devices of the plugin: every CUDA device of the machine.
#include "../../core/devices.h"

#include <cstdio>
#include <memory>

#include "backend.h"
#include "cublas.h"

namespace touchstone {
namespace cuda {
namespace {

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int ordinal) : ordinal_(ordinal) {}

  ts_device_properties Properties() const override {
    ts_device_properties out{};
    out.struct_size = sizeof out;
    out.kind = TS_DEVICE_CUDA;
    out.ordinal = static_cast<uint32_t>(ordinal_);
    gpu::DeviceProperties properties{};
    const gpu::Status status = gpu::GetDeviceProperties(ordinal_, &properties);
    if (!status.ok()) {
      std::snprintf(out.name, sizeof out.name, "%.120s", status.text);
      return out;
    }
    out.compute_major = static_cast<uint32_t>(properties.compute_major);
    out.compute_minor = static_cast<uint32_t>(properties.compute_minor);
    out.multiprocessors = static_cast<uint32_t>(properties.multiprocessors);
    out.driver_version = static_cast<uint32_t>(properties.driver_version);
    out.runtime_version = static_cast<uint32_t>(properties.runtime_version);
    out.memory_total_bytes = properties.memory_bytes;
    out.memory_free_bytes = properties.free_bytes;
    std::snprintf(out.name, sizeof out.name, "%.127s", properties.name);
    std::snprintf(out.isa, sizeof out.isa, "sm_%d%d", properties.compute_major, properties.compute_minor);
    std::snprintf(out.uuid, sizeof out.uuid, "%.47s", properties.uuid);
    return out;
  }

  Status Open(const ts_context_options& options, std::unique_ptr<Backend>* out) const override {
    gpu::Device* device = nullptr;
    gpu::Status status = gpu::OpenDevice(ordinal_, &device);
    if (!status.ok()) return FromGpu(status);
    size_t free_bytes = 0, total_bytes = 0;
    status = gpu::GetMemoryInfo(device, &free_bytes, &total_bytes);
    if (!status.ok()) {
      static_cast<void>(gpu::CloseDevice(device));
      return FromGpu(status);
    }
    std::unique_ptr<Multiplier> multiplier;
    if (options.numerics == TS_NUMERICS_FAST) {
      const Status opened = OpenCublas(&multiplier);
      if (!opened.ok()) {
        static_cast<void>(gpu::CloseDevice(device));
        return opened;
      }
    }
    const uint64_t limit = options.memory_limit_bytes != 0 ? options.memory_limit_bytes : free_bytes;
    return CudaBackend::Create(device, options, limit, std::move(multiplier), out);
  }

 private:
  int ordinal_;
};

std::vector<std::unique_ptr<CudaDevice>> FindDevices() {
  std::vector<std::unique_ptr<CudaDevice>> devices;
  int count = 0;
  if (!gpu::DeviceCount(&count).ok()) count = 0;
  for (int i = 0; i < count; i++) devices.push_back(std::make_unique<CudaDevice>(i));
  return devices;
}

}  // namespace
}  // namespace cuda

std::vector<const Device*> AllDevices() {
  static const std::vector<std::unique_ptr<cuda::CudaDevice>> devices = cuda::FindDevices();
  std::vector<const Device*> all;
  for (const auto& device : devices) all.push_back(device.get());
  return all;
}

}  // namespace touchstone
