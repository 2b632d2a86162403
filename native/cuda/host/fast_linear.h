// Linear layers of many rows in the numerics TS_NUMERICS_FAST: weights and activations are rounded to binary16, a
// library multiplies them and sums in binary32 in an order of its own. Not canonical: the bits depend on the library,
// the device and the number of rows. They are the same run after run.
#pragma once

#include <memory>

#include "../linear_fast.h"
#include "allocator.h"

namespace touchstone::cuda {

// Multiplies matrices of binary16 on the device. Whoever destroys it has synchronised the stream.
class Multiplier {
 public:
  virtual ~Multiplier() = default;
  // Called once, before the first Multiply: the stream to work on and the memory to work in, both kept.
  virtual Status Start(gpu::Stream* stream, void* workspace, uint64_t bytes) = 0;
  // products[row][output] = sum_k weights[output][k] * x[row][k], all row-major in device memory; `inputs` is a
  // multiple of 128, no size is above 2^31 - 1.
  virtual Status Multiply(const uint16_t* weights, int64_t outputs, const uint16_t* x, int64_t rows, int64_t inputs,
                          float* products) = 0;
};

// Bytes that a FastLinear holds, all of them from its creation on. What does not fit at once is computed in slices.
struct FastSizes {
  uint64_t workspace = uint64_t{32} << 20;
  uint64_t weights = uint64_t{64} << 20;   // binary16
  uint64_t inputs = uint64_t{32} << 20;    // binary16
  uint64_t products = uint64_t{32} << 20;  // binary32
  int64_t rows = 2048;                     // of activations at once
};

class FastLinear {
 public:
  // The stream and the allocator must outlive it. TS_OUT_OF_MEMORY, or what the multiplier answers.
  static Status Create(Allocator* allocator, gpu::Stream* stream, std::unique_ptr<Multiplier> multiplier,
                       const FastSizes& sizes, std::unique_ptr<FastLinear>* out);
  ~FastLinear();
  FastLinear(const FastLinear&) = delete;
  FastLinear& operator=(const FastLinear&) = delete;

  // Enqueues a layer without fusions. TS_UNSUPPORTED if one row of it is larger than the memory for it.
  Status Run(const LinearOp& op);
  // Blocks of the ledger that it holds.
  static constexpr int kBlocks = 5;

 private:
  FastLinear(Allocator* allocator, gpu::Stream* stream, std::unique_ptr<Multiplier> multiplier, const FastSizes& sizes);
  Status Start();
  // Rows [first, first + count) of the activations, which are in inputs_, through one target.
  Status RunTarget(const LinearOp& op, const Target& target, int64_t first, int64_t count);

  Allocator* allocator_;
  gpu::Stream* stream_;
  std::unique_ptr<Multiplier> multiplier_;
  FastSizes sizes_;
  Buffer workspace_, weights_, inputs_, scales_, products_;
};

}  // namespace touchstone::cuda
