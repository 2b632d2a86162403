#include <sched.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <new>
#include <string>
#include <thread>

#include "backend.h"
#include "cpu.h"

namespace touchstone {

namespace cpu {
namespace {

// Cores that this process may use.
int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string ModelName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(':');
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos && colon + 2 <= line.size()) {
      return line.substr(colon + 2);
    }
  }
  return "CPU";
}

class CpuDevice final : public Device {
 public:
  ts_device_properties Properties() const override {
    ts_device_properties properties{};
    properties.struct_size = sizeof properties;
    properties.kind = TS_DEVICE_CPU;
    properties.multiprocessors = static_cast<uint32_t>(UsableCores());
    struct sysinfo info {};
    if (sysinfo(&info) == 0) {
      properties.memory_total_bytes = uint64_t{info.totalram} * info.mem_unit;
      properties.memory_free_bytes = uint64_t{info.freeram + info.bufferram} * info.mem_unit;
    }
    std::snprintf(properties.name, sizeof properties.name, "%s", ModelName().c_str());
    std::snprintf(properties.isa, sizeof properties.isa, "%s", KernelsFor(TS_ISA_AUTO)->name);
    return properties;
  }

  Status Open(const ts_context_options& options, std::unique_ptr<Backend>* out) const override {
    constexpr uint32_t kMostThreads = 1024;
    TS_RETURN_IF_ERROR(RequireCanonical(options));
    const Kernels* kernels = KernelsFor(static_cast<ts_isa>(options.isa));
    if (kernels == nullptr) {
      return Status(TS_UNSUPPORTED, "this processor does not have the instruction set number " +
                                        std::to_string(options.isa) + "; the fastest it has is " +
                                        KernelsFor(TS_ISA_AUTO)->name);
    }
    if (options.threads > kMostThreads) {
      return Status(TS_INVALID_ARGUMENT, "threads is " + std::to_string(options.threads) + "; at most " +
                                             std::to_string(kMostThreads) + " are possible");
    }
    auto backend =
        std::unique_ptr<CpuBackend>(new (std::nothrow) CpuBackend(options, Properties().memory_total_bytes, *kernels));
    if (backend == nullptr) return Status(TS_OUT_OF_MEMORY, "the system has no memory for a context");
    TS_RETURN_IF_ERROR(backend->Start(options.threads != 0 ? static_cast<int>(options.threads) : UsableCores()));
    *out = std::move(backend);
    return Status();
  }
};

}  // namespace
}  // namespace cpu

std::span<const Device* const> CpuDevices() {
  static const cpu::CpuDevice device;
  static constexpr std::array<const Device*, 1> devices = {&device};
  return devices;
}

}  // namespace touchstone
