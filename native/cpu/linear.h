// Linear: out[row][i] = sum_k weight[i][k] * x[row][k] (+ bias[i]) (+ residual[row][i]).
//
// Shape       weight [outputs][inputs] in panels of 16 outputs (layout.h), x [rows][inputs], out [rows][outputs].
// Order       Floating-point weights: one chain of fma over k ascending. Quantised weights: x is quantised to 16 bits
//             per 32 inputs (quantize.h), the products of a block are summed as integers, exactly, and the chain takes
//             one fma a block:
//               chain = fma(d * step, float(sum), chain), d * step rounded once, d the block's weight scale, float(sum)
//             rounded once; with a minimum m, then chain = fma(m, scaled_sum, chain). Q6_K: a block is two of 16.
//             Chains are cut into segments of 128 inputs that start at +0; a total starts at +0 and takes the segments
//             in ascending order; then the bias is added, then the residual.
// Bytes       the weights once for each group of columns of a tile; x and out once a panel (from cache).
// Operations  2 * rows * outputs * inputs.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "layout.h"

namespace touchstone::cpu {

template <class Isa>
struct Linear {
  using Floats = typename Isa::Floats;
  using Bytes = typename Isa::Bytes;
  using Sums = typename Isa::Sums;

  // Adds bias and residual to a tile's totals and stores what lies within the matrix.
  template <int kPanels, int kColumns>
  static void Finish(const LinearJob& job, int64_t panel, int64_t row, Floats (&total)[kPanels][kColumns]) {
    for (int p = 0; p < kPanels; p++) {
      const int64_t output = (panel + p) * kPanelRows;
      const int64_t count = std::min<int64_t>(kPanelRows, job.outputs - output);
      for (int j = 0; j < kColumns; j++) {
        Floats value = total[p][j];
        if (job.bias != nullptr) value = Isa::Add(value, Isa::Load(job.bias + output));
        const int64_t at = (row + j) * job.outputs + output;
        if (count == kPanelRows) {
          if (job.residual != nullptr) value = Isa::Add(value, Isa::Load(job.residual + at));
          Isa::Store(job.out + at, value);
        } else {
          float lanes[kPanelRows];
          Isa::Store(lanes, value);
          for (int64_t i = 0; i < count; i++) {
            job.out[at + i] = job.residual != nullptr ? lanes[i] + job.residual[at + i] : lanes[i];
          }
        }
      }
    }
  }

  template <int kPanels, int kColumns>
  static void Clear(Floats (&sums)[kPanels][kColumns]) {
    for (auto& panel : sums) {
      for (Floats& sum : panel) sum = Isa::Broadcast(0.0f);
    }
  }

  template <int kPanels, int kColumns>
  static void AddTo(Floats (&total)[kPanels][kColumns], const Floats (&segment)[kPanels][kColumns]) {
    for (int p = 0; p < kPanels; p++) {
      for (int j = 0; j < kColumns; j++) total[p][j] = Isa::Add(total[p][j], segment[p][j]);
    }
  }

  template <int kDtype, int kPanels, int kColumns>
  static void FloatTile(const LinearJob& job, int64_t panel, int64_t row) {
    constexpr int kBytes = kDtype == TS_F32 ? 4 : 2;
    const int64_t panel_bytes = job.inputs * kPanelRows * kBytes;
    const uint8_t* weights = job.panels + panel * panel_bytes;
    const float* x = job.x + row * job.inputs;
    Floats total[kPanels][kColumns];
    Clear(total);
    for (int64_t begin = 0; begin < job.inputs; begin += Isa::kSegment) {
      Floats segment[kPanels][kColumns];
      Clear(segment);
      const int64_t end = std::min(job.inputs, begin + Isa::kSegment);
      for (int64_t k = begin; k < end; k++) {
        Floats w[kPanels];
        for (int p = 0; p < kPanels; p++) {
          const uint8_t* from = weights + p * panel_bytes + k * kPanelRows * kBytes;
          if constexpr (kDtype == TS_F32) {
            w[p] = Isa::Load(reinterpret_cast<const float*>(from));
          } else if constexpr (kDtype == TS_F16) {
            w[p] = Isa::LoadHalf(from);
          } else {
            w[p] = Isa::LoadBfloat16(from);
          }
        }
        for (int j = 0; j < kColumns; j++) {
          const Floats value = Isa::Broadcast(x[j * job.inputs + k]);
          for (int p = 0; p < kPanels; p++) segment[p][j] = Isa::MulAdd(w[p], value, segment[p][j]);
        }
      }
      AddTo(total, segment);
    }
    Finish(job, panel, row, total);
  }

  // Inputs 4t ... 4t + 3 of 16 rows; `values` is the sub-block's first byte after its header.
  template <int kDtype, int kT>
  static Bytes Values(const uint8_t* values) {
    if constexpr (kDtype == TS_Q8_0) {
      return Isa::LoadBytes(values + kT * 64);
    } else {
      const Bytes pair = Isa::LoadBytes(values + kT / 2 * 64);
      const Bytes low = kT % 2 == 0 ? Isa::LowNibbles(pair) : Isa::HighNibbles(pair);
      constexpr PanelShape kShape = PanelShapeOf(kDtype);
      if constexpr (kShape.high == 64) {
        return Isa::template WithFifthBit<kT>(low, Isa::LoadBytes(values + 256));
      } else if constexpr (kShape.high == 128) {
        return Isa::template WithUpperBits<kT % 4 * 2>(low, Isa::LoadBytes(values + 256 + kT / 4 * 64));
      } else {
        return low;
      }
    }
  }

  // Adds the products of inputs 4 kFrom ... 4 kTo - 1 to the sums, to kSplit sums of each output in turn.
  template <int kDtype, int kFrom, int kTo, int kSplit, int kPanels, int kColumns>
  static void Steps(const uint8_t* const (&values)[kPanels], const QuantizedActivations* const (&x)[kColumns],
                    Sums (&sums)[kSplit][kPanels][kColumns]) {
    if constexpr (kFrom < kTo) {
      typename Isa::Weights w[kPanels];
      for (int p = 0; p < kPanels; p++) w[p] = Isa::template Widen<kDtype == TS_Q8_0>(Values<kDtype, kFrom>(values[p]));
      for (int j = 0; j < kColumns; j++) {
        for (int p = 0; p < kPanels; p++) {
          Sums& sum = sums[kFrom % kSplit][p][j];
          sum = Isa::Dot(sum, w[p], x[j]->q + 4 * kFrom);
        }
      }
      Steps<kDtype, kFrom + 1, kTo>(values, x, sums);
    }
  }

  // Adds to the chains what inputs 4 kFrom ... 4 kTo - 1, which share the scales, contribute.
  template <int kDtype, int kFrom, int kTo, int kPanels, int kColumns>
  static void Scaled(const uint8_t* const (&values)[kPanels], const Floats (&scale)[kPanels],
                     const QuantizedActivations* const (&x)[kColumns], Floats (&chain)[kPanels][kColumns]) {
    constexpr int kOffset = kDtype == TS_Q8_0 ? 0 : QuantOffset(kDtype);
    constexpr int kSplit = kPanels * kColumns < 4 ? 2 : 1;  // so that few outputs need not wait for each addition
    Sums sums[kSplit][kPanels][kColumns];
    for (int j = 0; j < kColumns; j++) {
      int32_t ones = 0;
      for (int half = kFrom / 4; half < kTo / 4; half++) ones += x[j]->half_sum[half];
      for (int p = 0; p < kPanels; p++) {
        sums[0][p][j] = Isa::StartSums(-kOffset * ones);
        if constexpr (kSplit == 2) sums[1][p][j] = Isa::StartSums(0);
      }
    }
    Steps<kDtype, kFrom, kTo>(values, x, sums);
    for (int j = 0; j < kColumns; j++) {
      const Floats step = Isa::Broadcast(x[j]->step);
      for (int p = 0; p < kPanels; p++) {
        typename Isa::Ints sum = Isa::Total(sums[0][p][j]);
        if constexpr (kSplit == 2) sum = Isa::AddInt(sum, Isa::Total(sums[1][p][j]));
        chain[p][j] = Isa::MulAdd(Isa::Mul(scale[p], step), Isa::ToFloat(sum), chain[p][j]);
      }
    }
  }

  template <int kDtype, int kPanels, int kColumns>
  static void QuantTile(const LinearJob& job, int64_t panel, int64_t row) {
    constexpr PanelShape kShape = PanelShapeOf(kDtype);
    constexpr bool kSubScales = kShape.sub_header != 0;
    constexpr bool kMinimum = kShape.header == 64;
    constexpr bool kHalves = kDtype == TS_Q6_K;
    constexpr int kAhead = 4096;  // bytes: a single row is bound by memory
    const int64_t blocks = job.inputs / kQuantBlock;
    const int64_t panel_bytes = job.inputs / kShape.group * kShape.GroupBytes();
    const uint8_t* weights = job.panels + panel * panel_bytes;
    Floats total[kPanels][kColumns];
    Clear(total);
    for (int64_t begin = 0; begin < blocks; begin += Isa::kSegment / kQuantBlock) {
      Floats segment[kPanels][kColumns];
      Clear(segment);
      const int64_t end = std::min(blocks, begin + Isa::kSegment / kQuantBlock);
      for (int64_t block = begin; block < end; block++) {
        const uint8_t* group[kPanels];
        const uint8_t* sub[kPanels];
        const uint8_t* values[kPanels];
        const QuantizedActivations* x[kColumns];
        for (int p = 0; p < kPanels; p++) {
          constexpr int kPer = kShape.group / kQuantBlock;
          group[p] = weights + p * panel_bytes + block / kPer * kShape.GroupBytes();
          sub[p] = group[p] + kShape.header + block % kPer * kShape.SubBytes();
          values[p] = sub[p] + kShape.sub_header;
          if constexpr (kColumns == 1) {
            for (int byte = 0; byte < kShape.SubBytes(); byte += 64) __builtin_prefetch(sub[p] + kAhead + byte);
          }
        }
        for (int j = 0; j < kColumns; j++) x[j] = job.quantized + (row + j) * blocks + block;

        Floats scale[kPanels];  // exact products
        for (int p = 0; p < kPanels; p++) {
          scale[p] = Isa::LoadHalf(group[p]);
          if constexpr (kSubScales && !kHalves) scale[p] = Isa::Mul(scale[p], Isa::ToFloat(Isa::LoadUnsigned8(sub[p])));
        }
        if constexpr (kHalves) {
          Floats first[kPanels], second[kPanels];
          for (int p = 0; p < kPanels; p++) {
            first[p] = Isa::Mul(scale[p], Isa::ToFloat(Isa::LoadSigned8(sub[p])));
            second[p] = Isa::Mul(scale[p], Isa::ToFloat(Isa::LoadSigned8(sub[p] + 16)));
          }
          Scaled<kDtype, 0, 4>(values, first, x, segment);
          Scaled<kDtype, 4, 8>(values, second, x, segment);
        } else {
          Scaled<kDtype, 0, 8>(values, scale, x, segment);
        }
        if constexpr (kMinimum) {
          for (int p = 0; p < kPanels; p++) {
            Floats m = Isa::LoadHalf(group[p] + 32);
            if constexpr (kSubScales) m = Isa::Negate(Isa::Mul(m, Isa::ToFloat(Isa::LoadUnsigned8(sub[p] + 16))));
            for (int j = 0; j < kColumns; j++) {
              segment[p][j] = Isa::MulAdd(m, Isa::Broadcast(x[j]->scaled_sum), segment[p][j]);
            }
          }
        }
      }
      AddTo(total, segment);
    }
    Finish(job, panel, row, total);
  }

  template <int kDtype, int kPanels, int kColumns>
  static void Tile(const LinearJob& job, int64_t panel, int64_t row) {
    if constexpr (kDtype == TS_F32 || kDtype == TS_F16 || kDtype == TS_BF16) {
      FloatTile<kDtype, kPanels, kColumns>(job, panel, row);
    } else {
      QuantTile<kDtype, kPanels, kColumns>(job, panel, row);
    }
  }

  // A tile of exactly `columns` columns, 1 ... kColumns.
  template <int kDtype, int kPanels, int kColumns>
  static void Exactly(const LinearJob& job, int64_t panel, int64_t row, int64_t columns) {
    if (columns == kColumns) return Tile<kDtype, kPanels, kColumns>(job, panel, row);
    if constexpr (kColumns > 1) Exactly<kDtype, kPanels, kColumns - 1>(job, panel, row, columns);
  }

  // All rows of kPanels panels, in as few tiles of at most kColumns columns as there can be, as wide as each other.
  template <int kDtype, int kPanels, int kColumns>
  static void Columns(const LinearJob& job, int64_t panel) {
    int64_t row = 0;
    for (int64_t tiles = (job.rows + kColumns - 1) / kColumns; tiles > 0; tiles--) {
      const int64_t columns = (job.rows - row + tiles - 1) / tiles;
      Exactly<kDtype, kPanels, kColumns>(job, panel, row, columns);
      row += columns;
    }
  }

  template <int kDtype>
  static void Panels(const LinearJob& job, int64_t first, int64_t count) {
    constexpr bool kFloat = kDtype == TS_F32 || kDtype == TS_F16 || kDtype == TS_BF16;
    constexpr int kPanels = kFloat ? Isa::kFloatPanels : Isa::kQuantPanels;
    constexpr int kColumns = kFloat ? Isa::kFloatColumns : Isa::kQuantColumns;
    int64_t panel = first;
    // A single row of quantised weights is bound by memory: one panel after the other is one stream.
    if (kFloat || job.rows > 1) {
      for (; panel + kPanels <= first + count; panel += kPanels) Columns<kDtype, kPanels, kColumns>(job, panel);
    }
    for (; panel < first + count; panel++) Columns<kDtype, 1, kColumns>(job, panel);
  }

  static void Run(const LinearJob& job, int64_t first, int64_t count) {
    switch (job.dtype) {
      case TS_F32:
        return Panels<TS_F32>(job, first, count);
      case TS_F16:
        return Panels<TS_F16>(job, first, count);
      case TS_BF16:
        return Panels<TS_BF16>(job, first, count);
      case TS_Q4_0:
        return Panels<TS_Q4_0>(job, first, count);
      case TS_Q4_1:
        return Panels<TS_Q4_1>(job, first, count);
      case TS_Q5_0:
        return Panels<TS_Q5_0>(job, first, count);
      case TS_Q5_1:
        return Panels<TS_Q5_1>(job, first, count);
      case TS_Q8_0:
        return Panels<TS_Q8_0>(job, first, count);
      case TS_Q4_K:
        return Panels<TS_Q4_K>(job, first, count);
      case TS_Q5_K:
        return Panels<TS_Q5_K>(job, first, count);
      case TS_Q6_K:
        return Panels<TS_Q6_K>(job, first, count);
      default:
        return;
    }
  }
};

}  // namespace touchstone::cpu
