// The devices of a library that has the CPU alone, to compare a plugin with.
#include "../../core/devices.h"
#include "../../cpu/cpu.h"

namespace touchstone {

std::vector<const Device*> AllDevices() {
  const std::span<const Device* const> cpu = CpuDevices();
  return {cpu.begin(), cpu.end()};
}

}  // namespace touchstone
