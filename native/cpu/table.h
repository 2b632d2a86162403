// The table of kernels of one instruction set: instantiates every kernel template.
#pragma once

#include "attention.h"
#include "elementwise.h"
#include "linear.h"
#include "norm.h"
#include "quantize.h"
#include "softmax.h"

namespace touchstone::cpu {

template <class Isa>
constexpr Kernels TableOf() {
  Kernels table{};
  table.isa = Isa::kIsa;
  table.name = Isa::kName;
  table.quantize = Quantize<Isa>;
  table.linear = Linear<Isa>::Run;
  table.norm = Norm<Isa>;
  table.softmax = Softmax<Isa>;
  table.activate = Activate<Isa>;
  table.rope = Rotate<Isa>;
  table.to_half = ToHalf<Isa>;
  table.attention = Attention<Isa>::Run;
  table.add = Sum<Isa>;
  table.divide = Divide<Isa>;
  table.weigh = Weigh<Isa>;
  return table;
}

}  // namespace touchstone::cpu
