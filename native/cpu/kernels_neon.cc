// Everything that does not compute is included before the target pragma: a function that the linker may share with
// another source must not be compiled for an instruction set that the processor may lack.
#include "../core/numerics.h"
#include "kernels.h"
#include "layout.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include "isa_neon.h"
#include "table.h"

namespace touchstone::cpu {

const Kernels& NeonKernels() {
  static constexpr Kernels kTable = TableOf<Neon>();
  return kTable;
}

}  // namespace touchstone::cpu

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // __aarch64__
