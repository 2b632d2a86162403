// cuBLAS, which is loaded when a context asks for the fast numerics: the plugin is built and loaded without it.
#pragma once

#include <memory>

#include "fast_linear.h"

namespace touchstone::cuda {

// A multiplier on the device that is current. TS_UNSUPPORTED if cuBLAS is not on this machine, or too old; the text
// names what was looked for.
Status OpenCublas(std::unique_ptr<Multiplier>* out);

}  // namespace touchstone::cuda
