// Attention over the paged KV cache, for up to kAttentionQueries queries that share a sequence and a KV head.
//
// Shape       q, out [rows][heads][head_dim]; K of a block [head_dim][32 positions], V [32 positions][head_dim],
// binary16. Order       score = scale * (one chain of fma over head_dim ascending, from +0). Exact maximum over
// positions 0 ... position;
//             e = Exp(score - maximum); sum of e: canonical vector sum over positions. Weighted V: per element one
//             chain of fma(e, v, chain) over the positions of a KV block ascending, from +0; a total starts at +0 and
//             takes the blocks ascending; out = total / sum.
// Bytes       K and V of all positions once for all queries of the call; scores once written, three times read (cache).
// Operations  4 * head_dim * positions a query, and about 25 * positions for the exponentials.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "softmax.h"

namespace touchstone::cpu {

template <class Isa>
struct Attention {
  using Floats = typename Isa::Floats;
  static constexpr int kBlock = TS_KV_BLOCK_POSITIONS;

  // Scores of kQueries queries against 16 * kHalves positions of a block, from position `first`. `next` is what the
  // next call reads.
  template <int kQueries, int kHalves>
  static void Scores(const AttentionJob& job, const uint16_t* k, int first, const uint16_t* next, const float* const* q,
                     float* const* scores) {
    Floats dot[kHalves][kQueries];
    for (auto& half : dot) {
      for (Floats& value : half) value = Isa::Broadcast(0.0f);
    }
    for (int d = 0; d < job.head_dim; d++) {
      __builtin_prefetch(next + d * kBlock);
      Floats keys[kHalves];
      for (int h = 0; h < kHalves; h++) keys[h] = Isa::LoadHalf(k + d * kBlock + first + 16 * h);
      for (int i = 0; i < kQueries; i++) {
        const Floats value = Isa::Broadcast(q[i][d]);
        for (int h = 0; h < kHalves; h++) dot[h][i] = Isa::MulAdd(keys[h], value, dot[h][i]);
      }
    }
    const Floats scale = Isa::Broadcast(job.scale);
    for (int h = 0; h < kHalves; h++) {
      for (int i = 0; i < kQueries; i++) Isa::Store(scores[i] + first + 16 * h, Isa::Mul(dot[h][i], scale));
    }
  }

  // Adds `count` positions of a block to the totals of kQueries queries, elements [d, d + 16 * kChunks) of the head.
  template <int kQueries, int kChunks>
  static void Values(const AttentionJob& job, const uint16_t* v, int count, int d, const float* const* e,
                     float* const* totals) {
    Floats chain[kChunks][kQueries];
    for (auto& chunk : chain) {
      for (Floats& value : chunk) value = Isa::Broadcast(0.0f);
    }
    const uint16_t* from = v + d;
    for (int j = 0; j < count; j++, from += job.head_dim) {
      Floats values[kChunks];
      for (int c = 0; c < kChunks; c++) values[c] = Isa::LoadHalf(from + 16 * c);
      for (int i = 0; i < kQueries; i++) {
        const Floats weight = Isa::Broadcast(e[i][j]);
        for (int c = 0; c < kChunks; c++) chain[c][i] = Isa::MulAdd(values[c], weight, chain[c][i]);
      }
    }
    for (int i = 0; i < kQueries; i++) {
      for (int c = 0; c < kChunks; c++) {
        float* total = totals[i] + d + 16 * c;
        Isa::Store(total, Isa::Add(Isa::Load(total), chain[c][i]));
      }
    }
  }

  // The same for the last elements of a head that is not a multiple of 16, from element d on.
  template <int kQueries>
  static void LastValues(const AttentionJob& job, const uint16_t* v, int count, int d, const float* const* e,
                         float* const* totals) {
    for (int i = 0; i < kQueries; i++) {
      for (int element = d; element < job.head_dim; element++) {
        float chain = 0.0f;
        for (int j = 0; j < count; j++) {
          chain = Fma(e[i][j], FloatFromHalf(v[int64_t{j} * job.head_dim + element]), chain);
        }
        totals[i][element] = totals[i][element] + chain;
      }
    }
  }

  // The same for the whole head, as many chunks at a time as registers allow.
  template <int kQueries>
  static void AllValues(const AttentionJob& job, const uint16_t* v, int count, const float* const* e,
                        float* const* totals) {
    constexpr int kChunks = std::max(1, std::min(4, Isa::kAttentionAccumulators / kQueries));
    int d = 0;
    for (; d + 16 * kChunks <= job.head_dim; d += 16 * kChunks) Values<kQueries, kChunks>(job, v, count, d, e, totals);
    for (; d + 16 <= job.head_dim; d += 16) Values<kQueries, 1>(job, v, count, d, e, totals);
    if (d < job.head_dim) LastValues<kQueries>(job, v, count, d, e, totals);
  }

  template <int kQueries>
  static void Queries(const AttentionJob& job, const AttentionQuery* queries, float* scores) {
    const int kv_head = queries[0].head / (job.heads / job.kv_heads);
    const int64_t head_offset = job.layer_offset + int64_t{kv_head} * job.head_dim * kBlock;
    const int32_t* table = queries[0].where.blocks;
    int32_t longest = 0;
    const float* q[kQueries];
    float* row_scores[kQueries];
    float* totals[kQueries];
    int32_t lengths[kQueries];
    float sums[kQueries];
    for (int i = 0; i < kQueries; i++) {
      lengths[i] = queries[i].where.position + 1;
      longest = std::max(longest, lengths[i]);
      const int64_t at = (queries[i].row * job.heads + queries[i].head) * job.head_dim;
      q[i] = job.q + at;
      totals[i] = job.out + at;
    }
    const int32_t blocks = (longest + kBlock - 1) / kBlock;
    for (int i = 0; i < kQueries; i++) row_scores[i] = scores + i * AttentionScoreStride(longest);

    for (int32_t block = 0; block < blocks; block++) {
      float* at[kQueries];
      for (int i = 0; i < kQueries; i++) at[i] = row_scores[i] + int64_t{block} * kBlock;
      const uint16_t* k = job.pool + table[block] * job.block_stride + head_offset;
      const uint16_t* next = job.pool + table[std::min(block + 1, blocks - 1)] * job.block_stride + head_offset;
      if constexpr (2 * kQueries <= Isa::kAttentionAccumulators) {
        Scores<kQueries, 2>(job, k, 0, next, q, at);
      } else {
        Scores<kQueries, 1>(job, k, 0, next, q, at);
        Scores<kQueries, 1>(job, k, 16, next, q, at);
      }
    }
    for (int i = 0; i < kQueries; i++) {
      const float largest = Largest<Isa>(row_scores[i], lengths[i]);
      sums[i] = ExpSum<Isa>(row_scores[i], lengths[i], largest, row_scores[i]);
      for (int d = 0; d < job.head_dim; d++) totals[i][d] = 0.0f;
    }
    for (int32_t block = 0; block < blocks; block++) {
      const uint16_t* v = job.pool + table[block] * job.block_stride + head_offset + job.half_block;
      const uint16_t* next =
          job.pool + table[std::min(block + 1, blocks - 1)] * job.block_stride + head_offset + job.half_block;
      for (int line = 0; line < job.head_dim * kBlock; line += 32) __builtin_prefetch(next + line);
      const float* e[kQueries];
      bool whole = true;
      for (int i = 0; i < kQueries; i++) {
        e[i] = row_scores[i] + int64_t{block} * kBlock;
        whole = whole && lengths[i] >= (block + 1) * kBlock;
      }
      if (whole) {
        AllValues<kQueries>(job, v, kBlock, e, totals);
        continue;
      }
      for (int i = 0; i < kQueries; i++) {
        const int count = std::clamp(lengths[i] - block * kBlock, 0, kBlock);
        if (count > 0) AllValues<1>(job, v, count, e + i, totals + i);
      }
    }
    for (int i = 0; i < kQueries; i++) {
      for (int d = 0; d < job.head_dim; d++) totals[i][d] = totals[i][d] / sums[i];
    }
  }

  // Calls Queries for exactly `count` queries, 1 ... kQueries.
  template <int kQueries>
  static void Exactly(const AttentionJob& job, const AttentionQuery* queries, int count, float* scores) {
    if (count == kQueries) return Queries<kQueries>(job, queries, scores);
    if constexpr (kQueries > 1) Exactly<kQueries - 1>(job, queries, count, scores);
  }

  static void Run(const AttentionJob& job, const AttentionQuery* queries, int count, float* scores) {
    for (int done = 0; done < count; done += Isa::kAttentionQueries) {
      Exactly<Isa::kAttentionQueries>(job, queries + done, std::min(count - done, Isa::kAttentionQueries), scores);
    }
  }
};

}  // namespace touchstone::cpu
