// The devices of the built-in library.
#include "core/devices.h"

#include "cpu/cpu.h"
#include "sim/sim_device.h"

namespace touchstone {

std::vector<const Device*> AllDevices() {
  const std::span<const Device*const> cpu = CpuDevices(), sim = SimDevices();
  std::vector<const Device*> all(cpu.begin(), cpu.end());
  all.insert(all.end(), sim.begin(), sim.end());
  return all;
}

}  // namespace touchstone
