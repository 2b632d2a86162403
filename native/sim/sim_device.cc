#include "sim_device.h"

#include <array>
#include <cstdio>

#include "../cuda/host/backend.h"
#include "sim.h"

namespace touchstone {
namespace {

class SimDevice final : public Device {
 public:
  ts_device_properties Properties() const override {
    ts_device_properties out{};
    gpu::DeviceProperties properties{};
    static_cast<void>(gpu::GetDeviceProperties(0, &properties));  // number 0 always exists
    out.struct_size = sizeof out;
    out.kind = TS_DEVICE_SIM;
    out.compute_major = static_cast<uint32_t>(properties.compute_major);
    out.compute_minor = static_cast<uint32_t>(properties.compute_minor);
    out.multiprocessors = static_cast<uint32_t>(properties.multiprocessors);
    out.memory_total_bytes = properties.memory_bytes;
    out.memory_free_bytes = properties.free_bytes;
    std::snprintf(out.name, sizeof out.name, "%.127s", properties.name);
    std::snprintf(out.isa, sizeof out.isa, "simt");
    return out;
  }

  Status Open(const ts_context_options& options, std::unique_ptr<Backend>* out) const override {
    TS_RETURN_IF_ERROR(RequireCanonical(options));
    simt::Options simulator;
    if (options.memory_limit_bytes != 0) simulator.memory_bytes = options.memory_limit_bytes;
    if (options.order_seed != 0) simulator.seed = options.order_seed;
    gpu::Device* device = nullptr;
    gpu::Status status = gpu::OpenDevice(0, &device);
    if (!status.ok()) return cuda::FromGpu(status);
    status = simt::Configure(device, simulator);
    if (!status.ok()) {
      static_cast<void>(gpu::CloseDevice(device));
      return cuda::FromGpu(status);
    }
    return cuda::CudaBackend::Create(device, options, simulator.memory_bytes, nullptr, out);
  }
};

}  // namespace

std::span<const Device* const> SimDevices() {
  static const SimDevice device;
  static constexpr std::array<const Device*, 1> devices = {&device};
  return devices;
}

}  // namespace touchstone
