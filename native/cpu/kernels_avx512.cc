// Everything that does not compute is included before the target pragma: a function that the linker may share with
// another source must not be compiled for an instruction set that the processor may lack.
#include "../core/numerics.h"
#include "kernels.h"
#include "layout.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own header
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

#include "isa_avx512.h"
#include "table.h"

namespace touchstone::cpu {

const Kernels& Avx512Kernels() {
  static constexpr Kernels kTable = TableOf<Avx512>();
  return kTable;
}

}  // namespace touchstone::cpu

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // __x86_64__
