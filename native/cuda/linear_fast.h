// The kernels around a linear layer's product in binary16 (host/fast_linear.h): not canonical. All pointers are device
// memory. C++17, as ops.h.
#pragma once

#include "ops.h"

namespace touchstone {
namespace cuda {

// Inputs of the products: whole segments, the rest zeros.
int64_t FastInputs(int64_t inputs);

// Rows [first, first + rows) of a weight, dequantised and rounded to binary16: out[row][FastInputs(columns)]. A value
// beyond 65504 becomes an infinity. `first` and `rows` are multiples of kPanelRows; rows beyond the weight are zeros.
struct UnpackOp {
  const uint8_t* weight = nullptr;
  uint16_t* out = nullptr;
  int64_t columns = 0, first = 0, rows = 0;
  int32_t dtype = 0;
};

// Rows of activations rounded to binary16: out[row][FastInputs(columns)]. Each row is first multiplied by a power of
// two that takes its largest magnitude to 2^14 ... 2^15, so that none overflows; inverse[row] undoes it. Rows that are
// all below 2^-100, or hold NaN or an infinity, are taken as they are.
struct NarrowOp {
  const float* x = nullptr;
  uint16_t* out = nullptr;
  float* inverse = nullptr;
  int64_t columns = 0, rows = 0;
};

// Outputs [first_output, first_output + outputs) of rows [first_row, first_row + rows) of a target from their products
// [rows][outputs]: undoes the scaling, adds bias and residual.
struct FinishOp {
  Target target;
  const float* products = nullptr;
  const float* inverse = nullptr;
  int64_t first_output = 0, outputs = 0, first_row = 0, rows = 0;
};

gpu::Status Run(const UnpackOp& op, gpu::Stream* stream);
gpu::Status Run(const NarrowOp& op, gpu::Stream* stream);
gpu::Status Run(const FinishOp& op, gpu::Stream* stream);

}  // namespace cuda
}  // namespace touchstone
