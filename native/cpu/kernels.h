// The kernels of one instruction set, as a table. They compute; backend.cc splits the work over threads.
#pragma once

#include "../core/backend.h"
#include "../core/numerics.h"

namespace touchstone::cpu {

// 32 activations as integers of 16 bits.
struct QuantizedActivations {
  int32_t half_sum[2];  // of the first and the last 16 integers
  float step;
  float scaled_sum;  // step * (half_sum[0] + half_sum[1]), rounded once
  int16_t q[32];     // as the instruction set stores them (StoreActivations), 4 to a step of linear.h
};

// One matrix times some rows. Memory of x, out and residual is row-major.
struct LinearJob {
  int dtype;
  const uint8_t* panels;                  // see layout.h
  int64_t outputs;                        // rows of the matrix
  int64_t inputs;                         // its columns
  int64_t rows;                           // rows of x
  const float* x;                         // [rows][inputs]
  const QuantizedActivations* quantized;  // [rows][inputs / 32]; for quantised weights, instead of x
  const float* bias;                      // [outputs, filled up to 16], or null
  const float* residual;                  // [rows][outputs], or null
  float* out;                             // [rows][outputs]
};

// A query row of attention.
struct AttentionRow {
  const int32_t* blocks;  // block table of its sequence
  int32_t position;       // it sees positions 0 ... position
};

struct AttentionJob {
  const uint16_t* pool;  // see KvLayout
  int64_t block_stride;  // elements from a block to the next
  int64_t layer_offset;  // elements from a block's begin to the layer's K
  int64_t half_block;    // elements from K to V
  int kv_heads, heads, head_dim;
  float scale;
  const float* q;  // [rows][heads][head_dim]
  float* out;      // likewise
};

// Queries that one call of the attention kernel takes at most: pairs of a row and a head that share a KV head.
constexpr int kAttentionQueries = 8;

// Floats between the scores of two queries that see up to `positions` positions: whole blocks, and a cache line more,
// so that rows do not fall on the same cache sets.
constexpr int64_t AttentionScoreStride(int64_t positions) {
  return (positions + TS_KV_BLOCK_POSITIONS - 1) / TS_KV_BLOCK_POSITIONS * TS_KV_BLOCK_POSITIONS + 16;
}

struct AttentionQuery {
  int64_t row;
  int head;
  AttentionRow where;
};

struct Kernels {
  ts_isa isa;
  const char* name;
  // x[count * 32] to count blocks.
  void (*quantize)(const float* x, int64_t count, QuantizedActivations* out);
  // Panels [first, first + count) of all rows.
  void (*linear)(const LinearJob& job, int64_t first, int64_t count);
  // One row.
  void (*norm)(ts_norm_kind kind, float epsilon, const float* weight, const float* bias, const float* x, int64_t width,
               float* out);
  void (*softmax)(const float* x, int64_t width, float* out);
  void (*activate)(ts_activation_kind kind, const float* gate, const float* up, int64_t count, float* out);
  // Rotates [heads][head_dim] in place with the tables of one position.
  void (*rope)(ts_position_kind kind, int dims, const float* cos, const float* sin, int heads, int head_dim, float* x);
  void (*to_half)(const float* x, int64_t count, uint16_t* out);
  // Queries of one sequence and one KV head; scores is scratch, [query_count][AttentionScoreStride].
  void (*attention)(const AttentionJob& job, const AttentionQuery* queries, int query_count, float* scores);
  void (*add)(const float* a, const float* b, int64_t count, float* out);
  void (*divide)(const float* x, float divisor, int64_t count, float* out);
  // Sum of ProbabilityWeight(x[i] - largest); fills weights[count] too unless it is null.
  uint64_t (*weigh)(const float* x, int64_t count, float largest, uint64_t* weights);
};

// The tables; call a kernel only if the processor has its instruction set.
const Kernels& ScalarKernels();
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();
const Kernels& NeonKernels();
// Kernels of an instruction set, TS_ISA_AUTO being the fastest; null if the processor lacks it.
const Kernels* KernelsFor(ts_isa isa);

}  // namespace touchstone::cpu
