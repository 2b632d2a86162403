#include "isa_scalar.h"
#include "table.h"

namespace touchstone::cpu {

const Kernels& ScalarKernels() {
  static constexpr Kernels kTable = TableOf<Scalar>();
  return kTable;
}

}  // namespace touchstone::cpu
