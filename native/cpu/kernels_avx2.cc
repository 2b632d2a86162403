// Everything that does not compute is included before the target pragma: a function that the linker may share with
// another source must not be compiled for an instruction set that the processor may lack.
#include "../core/numerics.h"
#include "kernels.h"
#include "layout.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#include "isa_avx2.h"
#include "table.h"

namespace touchstone::cpu {

const Kernels& Avx2Kernels() {
  static constexpr Kernels kTable = TableOf<Avx2>();
  return kTable;
}

}  // namespace touchstone::cpu

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // __x86_64__
