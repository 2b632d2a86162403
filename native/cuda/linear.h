// The three ways of a linear layer, all of the same order and so of the same bits; Run(LinearOp) chooses.
#pragma once

#include "ops.h"

namespace touchstone {
namespace cuda {

// Rows that the kernel with split segments takes; beyond, tiles.
constexpr int64_t kFewRows = 16;

// One row, staged in shared memory, with the fusions: linear_decode.cu.
gpu::Status RunDecodeLinear(const LinearOp& op, gpu::Stream* stream);
// A thread a row of the weight, a segment and up to 4 rows: linear_few.cu. The activations are prepared.
gpu::Status RunFewLinear(const LinearOp& op, const void* prepared, gpu::Stream* stream);
// A thread a row of the weight and 16 rows: linear_tile.cu. The activations are prepared.
gpu::Status RunTileLinear(const LinearOp& op, const void* prepared, gpu::Stream* stream);

}  // namespace cuda
}  // namespace touchstone
