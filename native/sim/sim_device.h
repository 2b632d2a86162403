// The SIMT simulator as a device of the library.
#pragma once

#include <span>

#include "../core/backend.h"

namespace touchstone {

// The simulator: one device. Static.
std::span<const Device* const> SimDevices();

}  // namespace touchstone
