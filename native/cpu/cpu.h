// The CPU as a device.
#pragma once

#include <span>

#include "../core/backend.h"

namespace touchstone {

// The host's processor: one device. Static.
std::span<const Device* const> CpuDevices();

}  // namespace touchstone
