// Single operations on host buffers, for tests of the kernels.
#pragma once

#include <span>
#include <string_view>

#include "context.h"

namespace touchstone {

Status RunOp(Context* context, std::string_view name, std::span<const ts_tensor> inputs,
             std::span<const ts_tensor> outputs, std::span<const ts_parameter> parameters);

}  // namespace touchstone
