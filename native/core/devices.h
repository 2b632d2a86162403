// Which devices a library offers. Each library links exactly one definition of AllDevices: devices.cc of package native
// for the built-in library, devices.cu of the plugin for CUDA.
#pragma once

#include <span>
#include <vector>

#include "backend.h"

namespace touchstone {

// All devices in the order of their index. Static objects.
std::vector<const Device*> AllDevices();

}  // namespace touchstone
